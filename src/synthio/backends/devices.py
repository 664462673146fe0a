"""Devices, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from synthio.errors import BackendError, ConfigError

T = TypeVar("T")
U = TypeVar("U")


#: Other models of the run may lie on the same device.
_NOT_EVEN_ONE = "out of memory with a batch of 1; use a smaller model or shorter clips, or put another on device=cpu"


def resolve_device(name: str) -> torch.device:
    """``auto`` -> CUDA, then MPS, then CPU. Raises `ConfigError` for a device that is not here."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind = name.partition(":")[0]
    if not available.get(kind, False):
        here = ", ".join(kind for kind, present in available.items() if present)
        raise ConfigError(f"device {name!r} is not available; found {here}; use `auto` or one of these")
    device = torch.device(name)
    if (device.index or 0) >= (count := torch.cuda.device_count() if kind == "cuda" else 1):
        raise ConfigError(f"device {name!r} is not available; found {count} of {kind}, counted from 0")
    return device


def free_device_memory() -> None:
    """Hand what no tensor holds any more back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_batches(
    items: Sequence[T], batch_size: int, call: Callable[[Sequence[T]], Sequence[U]], warn: Callable[[str], None]
) -> list[U]:
    """Apply ``call`` to consecutive batches; when memory runs out, halve the batch and go on.

    Raises: `BackendError` when even one item does not fit.
    """
    results: list[U] = []
    while len(results) < len(items):
        batch = items[len(results) : len(results) + batch_size]
        try:
            results.extend(call(batch))
            continue
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(batch) == 1:
                raise BackendError(_NOT_EVEN_ONE) from error
        # Outside the handler, whose traceback holds what the failed batch had made.
        free_device_memory()
        batch_size = max(1, len(batch) // 2)
        warn(f"out of memory: going on with batches of {batch_size}")
    return results
