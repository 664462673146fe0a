"""When memory runs out, the batch is halved and the work goes on."""

from __future__ import annotations

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
