"""When memory runs out, the batch is halved and the work goes on."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch

from synthio.backends.devices import in_batches, resolve_device
from synthio.errors import BackendError, ConfigError


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_halves_until_it_fits_and_loses_nothing(error: type[Exception]) -> None:
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


def test_other_errors_pass_through() -> None:
    def call(batch: Sequence[int]) -> Sequence[int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_batches([1], 1, call, lambda message: None)


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
