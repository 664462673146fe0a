"""Devices, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from synthio.errors import BackendError, ConfigError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
U = TypeVar("U")


#: How libraries say it, beside the phrases that accelerate knows: MPS of one large buffer, and cuBLAS, cuDNN and
#: convolutions that find no room for their workspace.
_OUT_OF_MEMORY = (
    "Invalid buffer size",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
)
#: Other models of the run may lie on the same device.
_NOT_EVEN_ONE = "out of memory with a batch of 1; use a smaller model or shorter clips, or put another on device=cpu"


def resolve_device(name: str) -> torch.device:
    """``auto`` -> CUDA, then MPS, then CPU. Raises `ConfigError` for a device that is not here."""
    import torch

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


def language_dtype(device: torch.device) -> torch.dtype | None:
    """The number format that language models are loaded in: half precision is slow or inexact on CPUs. None on
    accelerators, which run the checkpoint's own."""
    import torch

    return torch.float32 if device.type == "cpu" else None


def part_dtypes(dtype: str) -> dict[str, torch.dtype]:
    """The number formats that the parts of a diffusers pipeline are loaded in, by name; those of the others are
    ``default``.

    In half precision, what turns latents into sound puts a noise floor under every synthetic clip, which real clips do
    not have.
    """
    import torch

    return {"vae": torch.float32, "vocoder": torch.float32, "default": getattr(torch, dtype)}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA's allocator has a class of its own, those of MPS, cuBLAS, cuDNN
    and the CPU's allocator are told by their words."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY):
        return True
    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))


class Batches:
    """Consecutive batches of a model's work; the size that memory allowed once is the size from then on."""

    def __init__(self, batch_size: int, warn: Callable[[str], None]) -> None:
        self._batch_size, self._warn = batch_size, warn

    def apply(self, items: Sequence[T], call: Callable[[Sequence[T]], Sequence[U]]) -> list[U]:
        """Apply ``call`` to consecutive batches; when memory runs out, halve the batch and go on.

        Raises: `BackendError` when even one item does not fit.
        """
        from accelerate.utils.memory import clear_device_cache

        results: list[U] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self._batch_size]
            try:
                results.extend(call(batch))
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise BackendError(_NOT_EVEN_ONE) from error
            # Outside the handler, whose traceback holds what the failed batch had made.
            clear_device_cache()
            self._batch_size = max(1, len(batch) // 2)
            self._warn(f"out of memory: going on with batches of {self._batch_size}")
        return results


def in_batches(
    items: Sequence[T], batch_size: int, call: Callable[[Sequence[T]], Sequence[U]], warn: Callable[[str], None]
) -> list[U]:
    """`Batches` for one call. Raises: `BackendError` when even one item does not fit."""
    return Batches(batch_size, warn).apply(items, call)
