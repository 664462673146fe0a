"""Low-resource sampling: how many of each class, nested in n, blind to order."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthio.bench.runner import frequency_thirds
from synthio.config import RunConfig, SampleConfig
from synthio.data_check import check_data
from synthio.datasets.sampling import long_tail_weights, proportional, sample, unfilled
from synthio.datasets.splits import Item, count_folds, draw_splits, fold_splits
from synthio.errors import DataError
from synthio.records import Split


def items(counts: dict[str, int]) -> list[Item]:
    return [Item(f"{label}{k}", (label,), f"{label}{k}") for label, count in counts.items() for k in range(count)]


def classes(ids: list[str]) -> Counter[str]:
    return Counter(id_.rstrip("0123456789") for id_ in ids)


def drawn(counts: dict[str, int], seed: int = 0, **config: object) -> Counter[str]:
    training = {"train": items(counts)}
    return classes(sample(training, SampleConfig.model_validate(config), seed)["train"])  # type: ignore[arg-type]


def test_stratified_keeps_shares_and_gives_every_class_one() -> None:
    assert drawn({"a": 100, "b": 50, "c": 50, "d": 1}, train=41) == {"a": 20, "b": 10, "c": 10, "d": 1}


def test_balanced_takes_equally_many_where_there_are_enough() -> None:
    assert drawn({"a": 100, "b": 50, "c": 2}, train=20, shape="balanced") == {"a": 9, "b": 9, "c": 2}


def test_long_tail_falls_exponentially() -> None:
    counts = drawn(dict.fromkeys("abcde", 100), train=62, shape="long_tail", imbalance_factor=16)
    assert sorted(counts.values(), reverse=True) == [32, 16, 8, 4, 2]
    assert long_tail_weights(5, 16) == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
    assert long_tail_weights(1, 16) == [1.0]


@pytest.mark.parametrize(
    ("shape", "found"),
    [("long_tail", {"a": (9, 32)}), ("balanced", {"a": (9, 12)}), ("stratified", {})],
)
def test_classes_that_cannot_fill_their_part_of_a_draw_are_found(shape: str, found: dict[str, tuple[int, int]]) -> None:
    seed = next(s for s in range(99) if head(s) == "a")
    config = SampleConfig.model_validate({"train": 62, "shape": shape, "imbalance_factor": 16})
    counts = {"a": 9, **dict.fromkeys("bcde", 100)}
    assert unfilled(items(counts), config, seed) == found
    assert unfilled(items(dict.fromkeys("abcde", 100)), config, seed) == {}
    assert unfilled(items(counts), SampleConfig(), seed) == {}


def test_a_class_may_be_filled_by_clips_that_count_for_another() -> None:
    """Of 39 dogs it was told that there are 3, though a dog was in every clip that was drawn."""
    several = [Item(f"x{k}", ("dog", "abcd"[k % 4]), f"x{k}") for k in range(36)]
    several += [Item(f"y{k}", ("dog",), f"y{k}") for k in range(3)]
    assert unfilled(several, SampleConfig(train=20, shape="balanced"), 0) == {}


def head(seed: int) -> str:
    return drawn(dict.fromkeys("abcde", 100), seed, train=62, shape="long_tail").most_common(1)[0][0]


def test_seeds_have_other_heads_and_other_clips() -> None:
    many = dict.fromkeys("abcdefgh", 50)
    heads = {drawn(many, seed, train=60, shape="long_tail").most_common(1)[0][0] for seed in range(8)}
    assert len(heads) > 1


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    small=st.integers(0, 30),
    more=st.integers(0, 30),
    seed=st.integers(0, 5),
    shape=st.sampled_from(["stratified", "balanced", "long_tail"]),
)
def test_exactly_n_one_of_each_class_nested_and_blind_to_order(
    sizes: list[int], small: int, more: int, seed: int, shape: str
) -> None:
    counts = {chr(97 + k): size for k, size in enumerate(sizes)}
    total, least = sum(sizes), len(sizes)
    n, larger = min(total, least + small), min(total, least + small + more)
    config = {size: SampleConfig.model_validate({"train": size, "shape": shape}) for size in (n, larger)}
    first = sample({"train": items(counts)}, config[n], seed)["train"]
    assert len(first) == len(set(first)) == n
    assert set(classes(first)) == set(counts)
    assert set(first) <= set(sample({"train": items(counts)}, config[larger], seed)["train"])
    assert first == sample({"train": items(counts)[::-1]}, config[n], seed)["train"]


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(1, 50), min_size=1), st.integers(0, 100))
@settings(max_examples=50)
def test_seats_are_proportional_within_one_quotient(weights: dict[str, int], total: int) -> None:
    seats = proportional(weights, total)
    assert sum(seats.values()) == min(total, sum(weights.values()))
    assert all(0 <= seats[name] <= weights[name] for name in weights)


def test_validation_follows_training_and_test_has_its_own_limit() -> None:
    splits: dict[Split, list[Item]] = {
        "train": items({"a": 30, "b": 30}),
        "valid": items({"a": 60, "b": 20}),
        "test": items({"a": 60, "b": 20}),
    }
    kept = sample(splits, SampleConfig(train=20, test=8), 0)
    assert classes(kept["train"]) == {"a": 10, "b": 10}
    assert classes(kept["valid"]) == {"a": 15, "b": 5}
    assert classes(kept["test"]) == {"a": 6, "b": 2}
    assert len(sample(splits, SampleConfig(train=20, valid=4), 0)["valid"]) == 4
    assert len(sample(splits, SampleConfig(), 0)["valid"]) == 80


@pytest.mark.parametrize("train", [3, 101])
def test_more_than_there_is_or_fewer_than_classes_is_refused(train: int) -> None:
    with pytest.raises(DataError, match="100 clips of 4 classes"):
        drawn(dict.fromkeys("abcd", 25), train=train)


def test_a_clip_with_several_labels_counts_for_its_rarest() -> None:
    several = [Item(f"x{k}", ("common", "rare"), f"x{k}") for k in range(2)]
    several += [Item(f"y{k}", ("common",), f"y{k}") for k in range(20)]
    kept = sample({"train": several}, SampleConfig(train=4), 0)["train"]
    assert any(id_.startswith("x") for id_ in kept)


@given(
    st.lists(st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3), min_size=8, max_size=40),
    st.integers(0, 20),
    st.integers(0, 9),
)
def test_several_labels_per_clip_every_class_once_and_exactly_n(labels: list[set[str]], more: int, seed: int) -> None:
    several = [Item(f"i{k}", tuple(sorted(names)), f"i{k}") for k, names in enumerate(labels)]
    n = min(len(several), 6 + more)
    kept = set(sample({"train": several}, SampleConfig(train=n), seed)["train"])
    assert len(kept) == n
    found = {name for item in several if item.id in kept for name in item.labels}
    assert found == {name for item in several for name in item.labels}


def test_thirds_by_frequency() -> None:
    assert frequency_thirds({"other": 90, "rub": 10}) == {"head": ["other"], "medium": [], "tail": ["rub"]}
    assert frequency_thirds({"a": 9, "b": 5, "c": 5, "d": 1}) == {"head": ["a", "b"], "medium": ["c"], "tail": ["d"]}


def test_through_the_reader(small_data: Path, tmp_path: Path) -> None:
    def check(n: int) -> dict[str, int]:
        data = {"path": str(small_data), "sample": {"train": n, "test": 4}}
        found = check_data(RunConfig.model_validate({"run_folder": tmp_path, "data": data}))
        return dict(found.splits) | {"problems": len(found.problems)}

    assert check(4) == {"train": 4, "valid": 4, "test": 4, "problems": 0}
    assert check(100)["problems"] == 1


# ------------------------------------------------------------------------------------------------------ random splits


def grouped(groups: int, per_group: int, labels: str = "abc") -> list[Item]:
    return [
        Item(f"{label}{group}-{k}", (label,), f"g{group}")
        for group in range(groups)
        for label in labels
        for k in range(per_group)
    ]


SHARES: dict[Split, float] = {"train": 0.4, "valid": 0.2, "test": 0.4}


@given(groups=st.integers(8, 15), per_group=st.integers(1, 4), seed=st.integers(0, 50))
@settings(max_examples=40)
def test_random_splits_keep_groups_whole_and_every_class_on_both_sides(groups: int, per_group: int, seed: int) -> None:
    items_ = grouped(groups, per_group)
    found = draw_splits(items_, SHARES, seed)
    assert set(found) == {item.id for item in items_}
    for group in {item.group for item in items_}:
        assert len({found[item.id] for item in items_ if item.group == group}) == 1
    for split in ("train", "test"):
        assert {item.labels[0] for item in items_ if found[item.id] == split} == set("abc")
    assert found == draw_splits(items_[::-1], SHARES, seed)


def test_no_random_split_is_lopsided_or_without_most_classes() -> None:
    """Of few groups: some draws have one group, or one class, for validation."""
    of_one_class = [
        Item(f"{label}{group}-{k}", (label,), f"{label}{group}")
        for label in "abcd"
        for group in range(4)
        for k in range(3)
    ]
    for items_ in (grouped(12, 1), of_one_class):
        for seed in range(40):
            found = draw_splits(items_, SHARES, seed)
            for split, share in SHARES.items():
                own = [item for item in items_ if found[item.id] == split]
                assert len(own) >= share / 2 * len(items_)
                assert len({item.labels for item in own}) >= 0.75 * len({item.labels for item in items_})


def test_seeds_draw_different_groups() -> None:
    tests = {
        frozenset(id_ for id_, split in draw_splits(grouped(11, 3), SHARES, seed).items() if split == "test")
        for seed in range(6)
    }
    assert len(tests) == 6


def test_without_an_admissible_draw_it_says_so() -> None:
    with pytest.raises(DataError, match="set data.split_method to stratified"):
        draw_splits(grouped(1, 9), SHARES, 0)


@pytest.mark.parametrize(
    ("groups", "few"),
    [
        ({"a": [2] * 9, "b": [2] * 9, "rare": [1, 1]}, "'rare' is in 2 group(s) (of 2 clips)"),
        ({"a": [2] * 9, "b": [2] * 9, "c": [2] * 9, "d": [2] * 9, "rare": [9]}, "'rare' is in 1 group(s) (of 9 clips)"),
        (
            {"a": [2] * 9, "b": [2] * 9, "c": [5] * 2, "d": [5, 4]},
            "'c' is in 2 group(s) (of 10 clips), 'd' is in 2 group(s) (of 9 clips)",
        ),
    ],
)
def test_classes_in_fewer_groups_than_splits_are_told_of_before_any_draw(
    groups: dict[str, list[int]], few: str
) -> None:
    items_ = [
        Item(f"{label}{group}-{k}", (label,), f"{label}{group}")
        for label, sizes in groups.items()
        for group, size in enumerate(sizes)
        for k in range(size)
    ]
    with pytest.raises(DataError, match=f" 3 splits, .*: {re.escape(few)}; add clips"):
        draw_splits(items_, SHARES, 0)


def is_admissible(items_: list[Item], split_of: dict[str, Split], shares: dict[Split, float]) -> bool:
    """As the description of `draw_splits` has it, of one assignment of the groups."""
    clips = Counter(label for item in items_ for label in item.labels)
    for split, share in shares.items():
        own = [item for item in items_ if split_of[item.group] == split]
        held = Counter(label for item in own for label in item.labels)
        if len(held) < 0.75 * len(clips) or len(own) / len(items_) < share / 2:
            return False
        if split != "valid" and any(held[label] < min(3, clips[label] // len(shares)) for label in clips):
            return False
    return True


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([*"abcd", "ab", "cd", "ad"]), st.integers(1, 4)),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from([SHARES, {"train": 0.6, "valid": 0.4}, {"train": 0.5, "test": 0.5}]),
)
@settings(max_examples=300)
def test_what_some_draw_can_fulfil_is_drawn(units: list[tuple[int, str, int]], shares: dict[Split, float]) -> None:
    items_ = [
        Item(f"{number}-{k}", tuple(labels), f"g{group}")
        for number, (group, labels, size) in enumerate(units)
        for k in range(size)
    ]
    groups = sorted({item.group for item in items_})
    every = [dict(zip(groups, splits, strict=True)) for splits in itertools.product(list(shares), repeat=len(groups))]
    if any(is_admissible(items_, split_of, shares) for split_of in every):
        found = draw_splits(items_, shares, 0)
        assert is_admissible(items_, {item.group: found[item.id] for item in items_}, shares)


@given(st.integers(4, 12), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=30)
def test_as_many_seeds_as_folds_test_on_every_group_once(groups: int, count: int, first_seed: int) -> None:
    """Whole groups, however the seeds are counted, and each class is in training where two groups have it."""
    found_items = grouped(groups, 3)
    shares: dict[Split, float] = {"train": 0.8 - 1 / count, "valid": 0.2, "test": 1 / count}
    tested: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + count):
        found = fold_splits(found_items, shares, seed)
        assert found.keys() == {item.id for item in found_items}
        assert len({(item.group, found[item.id]) for item in found_items}) == groups
        tested += Counter({item.group for item in found_items if found[item.id] == "test"})
        in_training = {item.labels for item in found_items if found[item.id] == "train"}
        assert in_training == {item.labels for item in found_items}
    assert tested == {item.group: 1 for item in found_items}


def test_folds_are_those_of_the_data_and_the_rest_is_drawn_by_the_seed() -> None:
    found_items = grouped(10, 3)
    one, other = (fold_splits(found_items, SHARES, seed) for seed in (1, 1 + count_folds(SHARES["test"])))
    tests = [{id_ for id_, split in found.items() if split == "test"} for found in (one, other)]
    assert tests[0] == tests[1] and one != other
    assert fold_splits(found_items[::-1], SHARES, 1) == one


def test_folds_without_groups_are_of_single_clips() -> None:
    found = fold_splits(items({"a": 40, "b": 20}), {"train": 0.6, "valid": 0.2, "test": 0.2}, 3)
    assert Counter((id_[0], split) for id_, split in found.items()) == {
        **{("a", "train"): 24, ("a", "valid"): 8, ("a", "test"): 8},
        **{("b", "train"): 12, ("b", "valid"): 4, ("b", "test"): 4},
    }


@pytest.mark.parametrize("fraction", [0.0, 0.04, 0.6])
def test_folds_need_the_share_of_one(fraction: float) -> None:
    data = {"path": "demo", "split_method": "folds", "test_fraction": fraction, "valid_fraction": 0.1}
    with pytest.raises(ValueError, match="folds needs a data.test_fraction of 0.05 to 0.5, the share of one fold"):
        RunConfig.model_validate({"data": data})
