"""Low-resource sampling: n clips in total, seeded, stratified as the published code does it, balanced, or long-tailed.

Within a class, clips come in an order drawn from the seed and their own ids, so that the n = 50 clips of a seed are
among its n = 100, and the order of files never matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from synthio.config import SampleConfig
from synthio.datasets.splits import Item
from synthio.errors import DataError
from synthio.records import HELD_OUT_SPLITS, Split
from synthio.seeds import derive_seed


def sample(items: Mapping[Split, Sequence[Item]], config: SampleConfig, seed: int) -> dict[Split, list[str]]:
    """Ids of the clips to keep, by split.

    Training: ``config.train`` clips in ``config.shape``. Validation: as many at most as ``config.valid``, or as the
    training clips; test: ``config.test``; both as frequent by class as they are. A clip with several labels counts for
    its rarest one.
    Raises: `DataError` when the training clips cannot be drawn so.
    """
    kept = {split: [item.id for item in of_split] for split, of_split in items.items()}
    if config.train is not None:
        kept["train"] = _draw_training(items["train"], config, seed)
    limits = {"valid": config.train if config.valid is None else config.valid, "test": config.test}
    for split in HELD_OUT_SPLITS:
        limit = limits[split]
        if limit is not None and len(items.get(split, ())) > limit:
            queues = _queues(items[split], seed)
            kept[split] = _take(queues, proportional({k: len(v) for k, v in queues.items()}, limit))
    return kept


def _draw_training(items: Sequence[Item], config: SampleConfig, seed: int) -> list[str]:
    assert config.train is not None
    queues, cover = _queues(items, seed), _cover(items, seed)
    if not len(cover) <= config.train <= len(items):
        classes = len({label for item in items for label in item.labels})
        raise DataError(
            f"data.sample.train is {config.train}; the training split has {len(items)} clips of {classes} classes; "
            f"expected {len(cover)} to {len(items)}: every class once at least"
        )
    sizes = {label: len(queue) for label, queue in queues.items()}
    drawn = _take(queues, proportional(_weights(sizes, config, seed), config.train, least=1, most=sizes))
    return list(dict.fromkeys([*cover, *drawn]))[: config.train]


def _weights(sizes: Mapping[str, int], config: SampleConfig, seed: int) -> Mapping[str, float]:
    if config.shape == "balanced":
        return dict.fromkeys(sizes, 1.0)
    if config.shape == "long_tail":
        order = sorted(sizes, key=lambda label: derive_seed(seed, "long-tail", label))
        return dict(zip(order, long_tail_weights(len(order), config.imbalance_factor), strict=True))
    return sizes


def unfilled(items: Sequence[Item], config: SampleConfig, seed: int) -> dict[str, tuple[int, int]]:
    """Classes with fewer training clips than ``config.shape`` asks of them, whose places others take: how many there
    are, and how many it asks."""
    if config.train is None:
        return {}
    sizes = {label: len(queue) for label, queue in _queues(items, seed).items()}
    asked = proportional(_weights(sizes, config, seed), config.train, least=1, most=dict.fromkeys(sizes, config.train))
    there = Counter(label for item in items for label in item.labels)
    return {label: (there[label], asked[label]) for label in sizes if there[label] < asked[label]}


def _cover(items: Sequence[Item], seed: int) -> list[str]:
    """The first clip of every class that no clip before it has, rarest class first. With one label per clip these are
    the heads of the queues."""
    counts = Counter(label for item in items for label in item.labels)
    drawn = _in_drawn_order(items, seed)
    chosen: dict[str, tuple[str, ...]] = {}
    for label in sorted(counts, key=lambda label: (counts[label], label)):
        if not any(label in labels for labels in chosen.values()):
            first = next(item for item in drawn if label in item.labels)
            chosen[first.id] = first.labels
    return list(chosen)


def long_tail_weights(classes: int, imbalance_factor: float) -> list[float]:
    """Exponential decay ``f^(-k / (K - 1))`` (Cui et al. 2019): the first class weighs ``f`` times the last."""
    return [imbalance_factor ** (-k / max(1, classes - 1)) for k in range(classes)]


def proportional(
    weights: Mapping[str, float], total: int, least: int = 0, most: Mapping[str, int] | None = None
) -> dict[str, int]:
    """``total`` seats in proportion to ``weights``: one by one to the largest quotient (Webster's method), with at
    least ``least`` and at most ``most`` each (without ``most``, at most the weight itself); fewer when all are full."""
    limits = {name: int(weight) for name, weight in weights.items()} if most is None else dict(most)
    seats = {name: min(least, limits[name]) for name in weights}
    while sum(seats.values()) < total and any(seats[name] < limits[name] for name in seats):
        open_names = [name for name in seats if seats[name] < limits[name]]
        chosen = max(open_names, key=lambda name: (weights[name] / (seats[name] + 0.5), name))
        seats[chosen] += 1
    return seats


def _queues(items: Sequence[Item], seed: int) -> dict[str, list[str]]:
    """Ids by class, each class in its drawn order."""
    counts = Counter(label for item in items for label in item.labels)
    queues: dict[str, list[str]] = defaultdict(list)
    for item in _in_drawn_order(items, seed):
        queues[min(item.labels, key=lambda label: (counts[label], label))].append(item.id)
    return dict(sorted(queues.items()))


def _in_drawn_order(items: Sequence[Item], seed: int) -> list[Item]:
    return sorted(items, key=lambda item: derive_seed(seed, "sample", item.id))


def _take(queues: Mapping[str, Sequence[str]], seats: Mapping[str, int]) -> list[str]:
    return [item for label, queue in queues.items() for item in queue[: seats[label]]]
