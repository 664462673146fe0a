"""When memory runs out, the batch is halved and the work goes on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import pytest
import torch

from synthio.backends.devices import Batches, in_batches, is_out_of_memory, resolve_device
from synthio.errors import BackendError, ConfigError


def mps_error(_: str) -> RuntimeError:
    return RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, max allowed: 18.1 GB).")


def cudnn_error(_: str) -> RuntimeError:
    return RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ...")


def cpu_error(_: str) -> RuntimeError:
    """The real one."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, mps_error, cudnn_error, cpu_error])
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
