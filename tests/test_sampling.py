"""Low-resource sampling: how many of each class, nested in n, blind to order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthio.bench.runner import frequency_thirds
from synthio.config import RunConfig, SampleConfig
from synthio.data_check import check_data
from synthio.datasets.sampling import long_tail_weights, proportional, sample, unfilled
from synthio.datasets.splits import Item
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
