"""A sequence in parts, for what takes only so many items at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive runs of at most ``size`` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
