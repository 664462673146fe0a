"""Seeds, and draws by them. An item's seed derives from the run's seed and the item's id, so batch size, order and
worker count change no random draw (the habit of descript-audiotools), and a result by the rounding of other batch
sizes at most."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def derive_seed(run_seed: int, *parts: str | int) -> int:
    """A 63-bit seed from the run's seed and the parts that name the item (stage, record id, step)."""
    text = "\x1f".join([str(run_seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(run_seed: int, *parts: str | int) -> np.random.Generator:
    """A NumPy generator for one item."""
    return np.random.default_rng(derive_seed(run_seed, *parts))


def torch_generator(run_seed: int, *parts: str | int) -> torch.Generator:
    """A CPU torch generator for one item; draws move to the device afterwards, so devices agree."""
    import torch

    return torch.Generator("cpu").manual_seed(derive_seed(run_seed, *parts))


@contextmanager
def global_state_kept() -> Iterator[None]:
    """Puts the global random states of Python and NumPy back after the block, for libraries that seed or draw from
    them: the caller's draws go on as if they had not."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def shuffled_passes(items: int, draws: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices below ``items``, ``(draws,)``: pass after pass over all of them, each in its own order."""
    passes = [generator.permutation(items) for _ in range(-(-draws // items))]
    return np.array(passes, dtype=np.int64).reshape(-1)[:draws]


def balanced_passes(
    classes: Sequence[str] | npt.NDArray[np.int64], draws: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of items, ``(draws,)``: every class as likely as any other, in shuffled passes over its items
    (class-balanced sampling, Kang et al. 2020)."""
    of_item = np.asarray(classes)
    present = np.unique(of_item)
    drawn = generator.choice(present, draws)
    order = np.empty(draws, dtype=np.int64)
    for value in present:
        slots, items = np.flatnonzero(drawn == value), np.flatnonzero(of_item == value)
        order[slots] = items[shuffled_passes(len(items), len(slots), generator)]
    return order


def in_turn(
    items: Iterable[T], kind_of: Callable[[T], tuple[str, ...]], seed_of: Callable[[T], int], run_seed: int
) -> list[T]:
    """The items in a random order that takes their kinds in turn, so that none is missing among the first ones, where
    these are as many. The order of the kinds is random too, and the same for all items."""
    kinds: dict[tuple[str, ...], list[T]] = defaultdict(list)
    for item in sorted(items, key=seed_of):
        kinds[kind_of(item)].append(item)
    turns = [(turn, kind, item) for kind, own in kinds.items() for turn, item in enumerate(own)]
    return [item for turn, kind, item in sorted(turns, key=lambda row: (row[0], derive_seed(run_seed, *row[1])))]
