"""Splits keep their promises: shares, whole groups, every class in training, and folds that test each group once."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthio.config import RunConfig
from synthio.datasets.splits import Item, assign_splits, count_folds, draw_splits, fold_splits
from synthio.errors import DataError
from synthio.records import Split

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# ----------------------------------------------------------------------------------------------------------- stratified

SHARES: dict[Split, float] = {"train": 0.5, "valid": 0.2, "test": 0.3}


def singles(counts: dict[str, int]) -> list[Item]:
    return [Item(f"{label}/{i}", (label,), f"{label}/{i}") for label, count in counts.items() for i in range(count)]


def placed(items: list[Item], splits: dict[str, Split]) -> Counter[tuple[str, Split]]:
    return Counter((label, splits[item.id]) for item in items for label in item.labels)


def test_shares_are_met_where_they_can_be() -> None:
    items = singles({"a": 10, "b": 40, "c": 100})
    counts = placed(items, assign_splits(items, SHARES, 0))
    for label, n in (("a", 10), ("b", 40), ("c", 100)):
        assert [counts[label, split] for split in SHARES] == [n * 0.5, n * 0.2, n * 0.3]


def test_roundings_of_many_small_classes_even_out() -> None:
    items = singles({f"class {i}": 5 for i in range(20)})
    sizes = Counter(assign_splits(items, SHARES, 0).values())
    assert sizes == {"train": 50, "valid": 20, "test": 30}


@unhurried
@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 12), min_size=1, max_size=6),
    st.floats(0.01, 0.45),
    st.floats(0.01, 0.45),
    st.integers(0, 99),
)
def test_each_class_is_in_training_and_in_the_others_when_it_can(
    counts: dict[str, int], valid: float, test: float, seed: int
) -> None:
    items = singles(counts)
    splits = assign_splits(items, {"train": 1 - valid - test, "valid": valid, "test": test}, seed)
    assert splits.keys() == {item.id for item in items}
    found = placed(items, splits)
    for label, n in counts.items():
        assert found[label, "train"] >= 1
        assert n < 2 or found[label, "valid"] + found[label, "test"] >= 1
        assert n < 3 or (found[label, "valid"] >= 1 and found[label, "test"] >= 1)


@pytest.mark.parametrize("seed", range(5))
def test_few_large_groups_are_placed_nearly_as_evenly_as_they_can_be(seed: int) -> None:
    """Against all assignments that have as many labels in training, and in all splits."""
    generator = np.random.default_rng(seed)
    sites = generator.choice(6, size=150, p=generator.dirichlet(np.ones(6)))
    items = [Item(str(i), (str(generator.integers(5)),), str(site)) for i, site in enumerate(sites)]
    labels = {item.labels[0] for item in items}

    def judged(split_of: Mapping[str, Split]) -> tuple[int, int, float]:
        counts = Counter((item.labels[0], split_of[item.group]) for item in items)
        sizes = Counter(split_of[item.group] for item in items)
        off = sum(abs(sizes[split] / 150 - share) for split, share in SHARES.items())
        off += sum(
            abs(counts[label, split] / sum(counts[label, s] for s in SHARES) - share) / len(labels)
            for label in labels
            for split, share in SHARES.items()
        )
        return sum(split == "train" for _, split in counts), len(counts), off

    splits = assign_splits(items, SHARES, seed)
    trained, covered, off = judged({item.group: splits[item.id] for item in items})
    groups = sorted({item.group for item in items})
    every = (judged(dict(zip(groups, a, strict=True))) for a in itertools.product(SHARES, repeat=len(groups)))
    assert off <= min(o for t, c, o in every if t >= trained and c >= covered) + 0.1


labelled = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


@unhurried
@given(labelled, st.integers(0, 99), st.randoms(use_true_random=False))
def test_groups_stay_whole_labels_train_and_order_is_nothing(
    clips: list[tuple[list[str], int]], seed: int, shuffler: random.Random
) -> None:
    items = [Item(str(i), tuple(labels), f"g{group}") for i, (labels, group) in enumerate(clips)]
    splits = assign_splits(items, SHARES, seed)
    homes: dict[str, set[Split]] = {}
    for item in items:
        homes.setdefault(item.group, set()).add(splits[item.id])
    assert all(len(home) == 1 for home in homes.values())
    found = placed(items, splits)
    assert all(found[label, "train"] for item in items for label in item.labels)
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert assign_splits(shuffled, SHARES, seed) == splits


def test_the_seed_draws_and_a_share_of_zero_stays_empty() -> None:
    items = singles({"a": 20, "b": 20})
    assert assign_splits(items, SHARES, 0) != assign_splits(items, SHARES, 1)
    assert set(assign_splits(items, {"train": 0.8, "valid": 0.2, "test": 0.0}, 0).values()) == {"train", "valid"}


@pytest.mark.parametrize("seed", range(8))
def test_a_large_group_goes_to_training_first(seed: int) -> None:
    items = [Item(str(i), ("a",), "big" if i < 50 else f"small {i}") for i in range(54)]
    splits = assign_splits(items, SHARES, seed)
    assert splits["0"] == "train"
    assert set(splits.values()) == {"train", "valid", "test"}


def test_clips_without_labels_are_placed_too() -> None:
    assert len(assign_splits([Item(str(i), (), str(i)) for i in range(10)], SHARES, 0)) == 10


# ---------------------------------------------------------------------------------------------------- random, and folds


def grouped(groups: int, per_group: int, labels: str = "abc") -> list[Item]:
    return [
        Item(f"{label}{group}-{k}", (label,), f"g{group}")
        for group in range(groups)
        for label in labels
        for k in range(per_group)
    ]


DRAWN_SHARES: dict[Split, float] = {"train": 0.4, "valid": 0.2, "test": 0.4}


@given(groups=st.integers(8, 15), per_group=st.integers(1, 4), seed=st.integers(0, 50))
@settings(max_examples=40)
def test_random_splits_keep_groups_whole_and_every_class_on_both_sides(groups: int, per_group: int, seed: int) -> None:
    items_ = grouped(groups, per_group)
    found = draw_splits(items_, DRAWN_SHARES, seed)
    assert set(found) == {item.id for item in items_}
    for group in {item.group for item in items_}:
        assert len({found[item.id] for item in items_ if item.group == group}) == 1
    for split in ("train", "test"):
        assert {item.labels[0] for item in items_ if found[item.id] == split} == set("abc")
    assert found == draw_splits(items_[::-1], DRAWN_SHARES, seed)


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
            found = draw_splits(items_, DRAWN_SHARES, seed)
            for split, share in DRAWN_SHARES.items():
                own = [item for item in items_ if found[item.id] == split]
                assert len(own) >= share / 2 * len(items_)
                assert len({item.labels for item in own}) >= 0.75 * len({item.labels for item in items_})


def test_seeds_draw_different_groups() -> None:
    tests = {
        frozenset(id_ for id_, split in draw_splits(grouped(11, 3), DRAWN_SHARES, seed).items() if split == "test")
        for seed in range(6)
    }
    assert len(tests) == 6


def test_without_an_admissible_draw_it_says_so() -> None:
    with pytest.raises(DataError, match="set data.split_method to stratified"):
        draw_splits(grouped(1, 9), DRAWN_SHARES, 0)


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
        draw_splits(items_, DRAWN_SHARES, 0)


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
    st.sampled_from([DRAWN_SHARES, {"train": 0.6, "valid": 0.4}, {"train": 0.5, "test": 0.5}]),
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
    one, other = (fold_splits(found_items, DRAWN_SHARES, seed) for seed in (1, 1 + count_folds(DRAWN_SHARES["test"])))
    tests = [{id_ for id_, split in found.items() if split == "test"} for found in (one, other)]
    assert tests[0] == tests[1] and one != other
    assert fold_splits(found_items[::-1], DRAWN_SHARES, 1) == one


def test_folds_without_groups_are_of_single_clips() -> None:
    found = fold_splits(singles({"a": 40, "b": 20}), {"train": 0.6, "valid": 0.2, "test": 0.2}, 3)
    assert Counter((id_[0], split) for id_, split in found.items()) == {
        **{("a", "train"): 24, ("a", "valid"): 8, ("a", "test"): 8},
        **{("b", "train"): 12, ("b", "valid"): 4, ("b", "test"): 4},
    }


@pytest.mark.parametrize("fraction", [0.0, 0.04, 0.6])
def test_folds_need_the_share_of_one(fraction: float) -> None:
    data = {"path": "demo", "split_method": "folds", "test_fraction": fraction, "valid_fraction": 0.1}
    with pytest.raises(ValueError, match="folds needs a data.test_fraction of 0.05 to 0.5, the share of one fold"):
        RunConfig.model_validate({"data": data})
