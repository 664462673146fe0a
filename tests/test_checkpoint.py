"""Training state survives a round trip, also for parameters that never had a gradient."""

from __future__ import annotations

from pathlib import Path

import torch

from synthio.checkpoint import restore_checkpoint, save_checkpoint


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
