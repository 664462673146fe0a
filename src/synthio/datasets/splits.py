"""Train, valid and test for data that comes without them: stratified, seeded, groups kept whole.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), which also covers several labels per clip: rarest
label first, each unit to the split that lacks that label most. Units are taken in an order drawn from the seed and
their own names, so the order of files never matters. It leaves shares far from the wanted ones where units are few and
large, and off by the roundings of many small classes; so units then change places as long as that evens them out.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from synthio.errors import DataError
from synthio.formats import some
from synthio.records import Split
from synthio.seeds import derive_seed, numpy_generator

Part = TypeVar("Part", bound=str)


@dataclass(frozen=True)
class Item:
    """One clip to place."""

    id: str
    labels: tuple[str, ...]
    group: str
    """Clips that share it land in one split."""


def assign_splits(items: Sequence[Item], shares: Mapping[Part, float], seed: int) -> dict[str, Part]:
    """Place every item in one of the splits (or folds) in ``shares`` (share of clips per split; one may be 0).

    Every label gets a training clip; with three groups or more (single-label data) it gets one in every split.
    Returns: split by item id.
    """
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.group].append(item)
    counts = {group: Counter(label for item in unit for label in item.labels) for group, unit in units.items()}
    waiting = sorted(units, key=lambda group: (-len(units[group]), derive_seed(seed, "split", group), group))
    tally = _Tally(shares, sum(counts.values(), Counter()), len(items))
    assigned: dict[str, Part] = {}
    while waiting:
        left = sum((counts[group] for group in waiting), Counter[str]())
        rarest = min(left, key=lambda label: (left[label], label), default=None)
        for group in [group for group in waiting if rarest is None or rarest in counts[group]]:
            split = tally.place(counts[group], rarest, len(units[group]))
            assigned.update((item.id, split) for item in units[group])
        waiting = [group for group in waiting if units[group][0].id not in assigned]
    placed = _evened({group: assigned[unit[0].id] for group, unit in units.items()}, items, shares)
    return {item.id: placed[item.group] for item in items}


_Array = npt.NDArray[np.float64]
#: Beyond, pairs are many and single units small.
_MOST_SWAPPED = 150


def _evened(placed: Mapping[str, Part], items: Sequence[Item], shares: Mapping[Part, float]) -> dict[str, Part]:
    """Move units, and swap pairs, while the splits' shares of clips and labels come nearer to the wanted ones and no
    split loses a label that it has."""
    names = [split for split, share in shares.items() if share > 0]
    groups, _, counts = _counts(items)
    home = np.array([names.index(placed[group]) for group in groups])
    wanted = np.array([[shares[split]] for split in names]) * counts.sum(axis=0)
    held = _held(counts, home, len(names))
    while (change := _best_change(counts, home, held - wanted, held)) is not None:
        rows, homes = change
        home[rows] = homes
        held = _held(counts, home, len(names))
    return {group: names[k] for group, k in zip(groups, home, strict=True)}


def _counts(items: Sequence[Item]) -> tuple[list[str], list[str], _Array]:
    """The groups and the labels, sorted, and what each group holds, ``(groups, labels + 1)``: clips of each label, and
    in the last column all clips."""
    groups, labels = sorted({item.group for item in items}), sorted({name for item in items for name in item.labels})
    row_of, column_of = ({name: k for k, name in enumerate(names)} for names in (groups, labels))
    counts = np.zeros((len(groups), len(labels) + 1))
    for item in items:
        counts[row_of[item.group], [*(column_of[name] for name in item.labels), -1]] += 1
    return groups, labels, counts


def _held(counts: _Array, home: npt.NDArray[np.int64], splits: int) -> _Array:
    """What each split holds, ``(splits, labels + 1)``."""
    return np.stack([counts[home == k].sum(axis=0) for k in range(splits)])


def _best_change(
    counts: _Array, home: npt.NDArray[np.int64], excess: _Array, held: _Array
) -> tuple[list[int], list[int]] | None:
    """Which units go where, of one move or swap; None when none evens anything out."""
    found: tuple[float, list[int], list[int]] = (-1e-9, [], [])
    for source, target in itertools.permutations(range(len(held)), 2):
        mine, theirs = np.flatnonzero(home == source), np.flatnonzero(home == target)
        partners = [None, *theirs] if source < target and len(home) <= _MOST_SWAPPED else [None]
        for other in partners:
            leaving = counts[mine] - (0.0 if other is None else counts[other])
            change = _cost(excess[source] - leaving, counts) + _cost(excess[target] + leaving, counts)
            change -= _cost(excess[source], counts) + _cost(excess[target], counts)
            lost = ((held[source] > 0) & (held[source] <= leaving)) | ((held[target] > 0) & (held[target] <= -leaving))
            change[lost.any(axis=1)] = np.inf
            if change.size and change.min() < found[0]:
                row = int(mine[change.argmin()])
                swapped = ([row], [target]) if other is None else ([row, int(other)], [target, source])
                found = (float(change.min()), *swapped)
    return None if not found[1] else found[1:]


def _cost(excess: _Array, counts: _Array) -> _Array:
    """How far a split is from its share of the clips, and on average of each label's."""
    share = np.abs(excess) / np.maximum(1, counts.sum(axis=0))
    return np.asarray(share[..., -1] + share[..., :-1].sum(axis=-1) / max(1, share.shape[-1] - 1))


_DRAWS = 100_000
_MIN_PER_CLASS = 3
_LEAST_CLASSES = 0.75


def draw_splits(items: Sequence[Item], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """As `assign_splits`, but random: each group goes to a split with the probability of its share, again and again
    until every class has enough clips in training and test and no share is lopsided.

    Seeds then differ as much as the groups allow, which an interval over seeds needs; the best assignment, where
    groups are few, is nearly always the same one.
    Raises: `DataError` when no draw is admissible.
    """
    if not items:
        return {}
    names = [split for split, share in shares.items() if share > 0]
    probabilities = np.array([shares[split] for split in names])
    groups, labels, counts = _counts(items)
    least = np.minimum(_MIN_PER_CLASS, counts[:, :-1].sum(axis=0) // len(names))
    _check_groups(labels, counts, least, names)
    generator = numpy_generator(seed, "draw splits")
    for _ in range(_DRAWS):
        drawn = generator.choice(len(names), size=len(groups), p=probabilities)
        everything = _held(counts, drawn, len(names))
        held, found = everything[:, :-1], everything[:, -1] / len(items)
        enough = all((held[k] >= least).all() for k, split in enumerate(names) if split != "valid")
        if enough and (held > 0).mean(axis=1).min() >= _LEAST_CLASSES and (found >= probabilities / 2).all():
            split_of = dict(zip(groups, drawn, strict=True))
            return {item.id: names[int(split_of[item.group])] for item in items}
    raise DataError(
        f"no random split of {len(groups)} groups, of {_DRAWS} drawn, has {_MIN_PER_CLASS} clips of every class in "
        "training and test, most classes in each split, and half its share or more; set data.split_method to "
        "stratified, or merge rare classes"
    )


def _check_groups(labels: Sequence[str], counts: _Array, least: _Array, names: Sequence[Split]) -> None:
    """Whether the classes are in enough groups for any draw: each is missing from as many splits, at least, as there
    are more splits than groups of it. ``counts``: ``(groups, labels + 1)``, ``least``: ``(labels,)``.

    Raises: `DataError` where they are not.
    """
    groups = (counts[:, :-1] > 0).sum(axis=0)
    missing = np.maximum(0, len(names) - groups)
    of_needed = missing[least > 0]
    # Only validation may lack a class of which training and test need clips.
    spare = names.count("valid")
    most = int((1 - _LEAST_CLASSES) * len(labels))
    if (of_needed > spare).any() or of_needed.sum() > spare * most or missing.sum() > len(names) * most:
        found = zip(labels, groups, counts.sum(axis=0)[:-1], missing, strict=True)
        few = [f"{label!r} is in {of} group(s) (of {clips:.0f} clips)" for label, of, clips, lacks in found if lacks]
        raise DataError(
            f"no random split of {len(counts)} groups has enough classes in each of {len(names)} splits, as groups "
            f"stay whole: {some(few)}; add clips of other groups, merge rare classes, or set data.split_method to "
            "stratified"
        )


def fold_splits(items: Sequence[Item], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """As `assign_splits`, but for the test one of `count_folds` parts, which are the same for every seed: that of
    number ``seed``, counted round. So as many seeds as there are folds test on every group once. Without a share for
    the test it is `assign_splits`.
    """
    if "test" not in shares:
        return assign_splits(items, shares, seed)
    count = count_folds(shares["test"])
    folds = assign_splits(items, dict.fromkeys(map(str, range(count)), 1 / count), 0)
    rest = [item for item in items if folds[item.id] != str(seed % count)]
    left = shares["train"] + shares["valid"]
    learning: dict[Split, float] = {"train": shares["train"] / left, "valid": shares["valid"] / left}
    others = assign_splits(rest, learning, seed)
    return {item.id: others.get(item.id, "test") for item in items}


def count_folds(test_share: float) -> int:
    """Into how many parts clips are divided so that each is about that share of them."""
    return round(1 / test_share)


class _Tally(Generic[Part]):
    """What each split holds so far, against its share."""

    def __init__(self, shares: Mapping[Part, float], labels: Counter[str], size: int) -> None:
        self._shares = {split: share for split, share in shares.items() if share > 0}
        self._labels, self._size = labels, size
        self._held: dict[Part, Counter[str]] = {split: Counter() for split in self._shares}
        self._sizes: Counter[Part] = Counter()

    def place(self, unit: Counter[str], label: str | None, size: int) -> Part:
        """Put one unit into the split that lacks it most."""
        split = max(self._shares, key=lambda split: self._lack(split, unit, label))
        self._held[split].update(unit)
        self._sizes[split] += size
        return split

    def _lack(self, split: Part, unit: Counter[str], label: str | None) -> tuple[float, ...]:
        """Labels new to the split first (training above all), then the label's deficit, then the split's own."""
        share, held = self._shares[split], self._held[split]
        new = sum(held[name] == 0 for name in unit)
        deficit = share * self._labels[label] - held[label] if label is not None else 0.0
        total = share * self._size - self._sizes[split]
        return (new * (split == "train"), new, round(deficit, 9), round(total, 9), split == "train", split == "test")
