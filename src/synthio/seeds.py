"""Seeds. An item's seed derives from the run's seed and the item's id, so batch size, order and worker count change no
random draw (the habit of descript-audiotools), and a result by the rounding of other batch sizes at most."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


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
