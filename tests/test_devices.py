"""When memory runs out, the batch is halved and the work goes on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synthio.backends.classifier import find_classifier, fit_frontend, load_classifier
from synthio.backends.devices import Batches, in_batches, is_out_of_memory, resolve_device
from synthio.backends.fine_tuning import predict
from synthio.errors import BackendError, ConfigError


def mps_error(_: str) -> RuntimeError:
    return RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, max allowed: 18.1 GB).")


def cudnn_error(_: str) -> RuntimeError:
    return RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ...")


def buffer_error(_: str) -> RuntimeError:
    return RuntimeError("Invalid buffer size: 12.00 GiB")


def cublas_error(_: str) -> RuntimeError:
    return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def convolution_error(_: str) -> RuntimeError:
    return RuntimeError("GET was unable to find an engine to execute this computation")


def cpu_error(_: str) -> RuntimeError:
    """The real one."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError,
        torch.OutOfMemoryError,
        mps_error,
        buffer_error,
        cublas_error,
        convolution_error,
        cudnn_error,
        cpu_error,
    ],
)
def test_halves_until_it_fits_and_loses_nothing(error: Callable[[str], Exception]) -> None:
    sizes: list[int] = []
    warnings: list[str] = []

    def call(batch: Sequence[int]) -> Sequence[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("no memory")
        return [item * 10 for item in batch]

    assert in_batches(range(10), 8, call, warnings.append) == [item * 10 for item in range(10)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    assert len(warnings) == 2 and "batches of 2" in warnings[-1]


class _DoublePrecision(TorchDispatchMode):
    """Devices on which tensors of double precision come into being."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves(made) if isinstance(value, torch.Tensor)]
        self.devices |= {tensor.device.type for tensor in tensors if tensor.dtype == torch.float64}
        return made


def test_predictions_have_double_precision_on_the_cpu_alone(ast_model: Path) -> None:
    """MPS has none: on an Apple GPU every run ended at its first prediction."""
    source = find_classifier(str(ast_model))
    frontend = fit_frontend(source, [16_000])
    model = load_classifier(source, frontend, ["a", "b"], "single_label_classification", 0)
    inputs = [frontend.inputs(np.ones(16_000, np.float32))]
    # Of a network on `meta` nothing can be copied.
    with _DoublePrecision() as seen, pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        predict(model.to("meta"), inputs, 1, torch.device("meta"))
    assert seen.devices <= {"cpu"}


def test_a_batch_of_one_that_does_not_fit_says_what_to_do() -> None:
    def call(batch: Sequence[int]) -> Sequence[int]:
        raise MemoryError

    with pytest.raises(BackendError, match="smaller model or shorter clips"):
        in_batches([1, 2], 2, call, lambda message: None)


def test_the_size_that_fitted_is_kept_for_the_next_call() -> None:
    """Every call once began at the full size again, and ran out of memory again."""
    sizes: list[int] = []
    warnings: list[str] = []

    def call(batch: Sequence[int]) -> Sequence[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("no memory")
        return batch

    batches = Batches(6, warnings.append)
    assert [batches.apply(range(6), call) for _ in range(2)] == [list(range(6))] * 2
    assert sizes == [6, 3, 3, 3, 3]
    assert warnings == ["out of memory: going on with batches of 3"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes cannot be multiplied"), RuntimeError()])
def test_other_errors_pass_through(error: Exception) -> None:
    def call(batch: Sequence[int]) -> Sequence[int]:
        raise error

    with pytest.raises(type(error)):
        in_batches([1, 2], 2, call, lambda message: None)
    assert not is_out_of_memory(error)


def test_devices_have_names() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(ConfigError, match="tpu"):
        resolve_device("tpu")


def test_a_card_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"'cuda:2' is not available; found 2 of cuda, counted from 0"):
        resolve_device("cuda:2")


def test_what_a_failed_batch_made_is_freed_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        pass

    alive: list[weakref.ref[Made]] = []
    at_cleaning: list[bool] = []

    def call(batch: Sequence[int]) -> Sequence[int]:
        made = Made()
        alive.append(weakref.ref(made))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no memory")
        return batch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: at_cleaning.append(alive[-1]() is None))
    assert in_batches([1, 2], 2, call, lambda message: None) == [1, 2]
    assert at_cleaning == [True]
