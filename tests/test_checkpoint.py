"""Training state survives a round trip, also for parameters that never had a gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from full_disk import no_file_above
from safetensors.torch import save

from synthio.checkpoint import cached_tensors, restore_checkpoint, save_checkpoint
from synthio.errors import StoreError


def test_round_trip_continues_exactly(tmp_path: Path) -> None:
    def make() -> tuple[dict[str, torch.nn.Parameter], torch.optim.AdamW]:
        torch.manual_seed(0)
        parameters = {name: torch.nn.Parameter(torch.randn(3)) for name in ("used", "unused")}
        return parameters, torch.optim.AdamW(parameters.values(), lr=0.1)

    def step(parameters: dict[str, torch.nn.Parameter], optimiser: torch.optim.AdamW) -> None:
        optimiser.zero_grad()
        parameters["used"].square().sum().backward()
        optimiser.step()

    first, optimiser = make()
    step(first, optimiser)
    save_checkpoint(tmp_path / "c", 1, first, optimiser, {"best": first["used"]}, {"rows": [1]})
    step(first, optimiser)
    second, fresh = make()
    with torch.no_grad():
        second["unused"].zero_()
    done, extra, notes = restore_checkpoint(tmp_path / "c", second, fresh)
    assert (done, notes) == (1, {"rows": [1]})
    torch.testing.assert_close(extra["best"], second["used"].detach())
    step(second, fresh)
    torch.testing.assert_close(second["used"], first["used"])
    torch.testing.assert_close(second["unused"], first["unused"])


def test_no_checkpoint_is_step_zero(tmp_path: Path) -> None:
    assert restore_checkpoint(tmp_path / "none", {}, torch.optim.AdamW([torch.zeros(1)])) == (0, {}, {})


def test_a_checkpoint_that_the_disk_does_not_take_is_a_store_error_and_the_old_one_stays(tmp_path: Path) -> None:
    path, weights = tmp_path / "c", torch.nn.Parameter(torch.arange(100_000.0))
    optimiser = torch.optim.AdamW([weights])
    save_checkpoint(path, 1, {"weights": weights}, optimiser, {}, {})
    with no_file_above(10_000), pytest.raises(StoreError, match="cannot be written"):
        save_checkpoint(path, 2, {"weights": weights}, optimiser, {}, {})
    assert restore_checkpoint(path, {"weights": weights}, optimiser)[0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_tensors_are_made_once_and_a_disk_that_does_not_take_them_is_a_store_error(tmp_path: Path) -> None:
    def make() -> dict[str, torch.Tensor]:
        return {"turned": torch.arange(200_000).reshape(2, -1).T, "half": torch.ones(3, dtype=torch.bfloat16)}

    with no_file_above(10_000), pytest.raises(StoreError, match="cannot be written"):
        cached_tensors(tmp_path, "key", make)
    assert not list(tmp_path.iterdir())
    made = cached_tensors(tmp_path, "key", make)
    again = cached_tensors(tmp_path, "key", dict)
    for name, tensor in make().items():
        assert torch.equal(made[name], tensor) and torch.equal(again[name], tensor)
        assert again[name].dtype == tensor.dtype


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"{}\n"])
def test_a_damaged_checkpoint_is_told_with_what_to_delete(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """As a disk that is full or an interrupted copy leaves it: it was a traceback."""
    path, weights = tmp_path / "c", torch.nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.AdamW([weights])
    save_checkpoint(path, 7, {"weights": weights}, optimiser, {}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=rf"{path}: is damaged \(.*delete it and run the same command again"):
        restore_checkpoint(path, {"weights": weights}, optimiser)
    # Whole, but none of ours.
    path.write_bytes(save({"weights": torch.ones(3)}))
    with pytest.raises(StoreError, match="is damaged"):
        restore_checkpoint(path, {"weights": weights}, optimiser)


def test_damaged_tensors_are_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "key.safetensors"
    cached_tensors(tmp_path, "key", lambda: {"a": torch.ones(9)})
    for damaged in (kept.read_bytes()[:-1], b""):
        kept.write_bytes(damaged)
        assert cached_tensors(tmp_path, "key", lambda: {"a": torch.ones(9)})["a"].sum() == 9
        assert cached_tensors(tmp_path, "key", dict)["a"].sum() == 9
