"""What safetensors files keep: the state of a training (weights, AdamW moments, a step number), and tensors that took
long to make. Nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from synthio.errors import StoreError
from synthio.writing import replacing

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path,
    step: int,
    parameters: Mapping[str, torch.Tensor],
    optimiser: torch.optim.AdamW,
    extra: Mapping[str, torch.Tensor],
    notes: Mapping[str, Any],
) -> None:
    """Write atomically. ``extra`` are further tensors (an average, the best weights); ``notes`` is JSON-able."""
    tensors = {f"weight/{name}": p.detach().contiguous() for name, p in parameters.items()}
    tensors |= {f"extra/{name}": tensor.detach().clone().contiguous() for name, tensor in extra.items()}
    for name, parameter in parameters.items():
        # A parameter that never had a gradient (an unused conditioning path) has no moments.
        moments = optimiser.state.get(parameter, {})
        tensors |= {f"{key}/{name}": moments[key].contiguous() for key in _MOMENTS if key in moments}
    with replacing(path) as partial:
        # Not `save_file`, whose error of a full disk is none of the system's.
        partial.write_bytes(save(tensors, metadata={"step": str(step), "notes": json.dumps(notes)}))


def cached_tensors(folder: Path, key: str, make: Callable[[], Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """``make()``, kept as ``folder/<key>.safetensors``; ``key`` must change with whatever the tensors depend on."""
    path = folder / f"{key}.safetensors"
    with suppress(FileNotFoundError, SafetensorError):
        return load_file(str(path))
    # None yet, or damaged.
    made = {name: tensor.contiguous() for name, tensor in make().items()}
    with replacing(path) as partial:
        partial.write_bytes(save(made))
    return load_file(str(path))


def restore_checkpoint(
    path: Path, parameters: Mapping[str, torch.Tensor], optimiser: torch.optim.AdamW
) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]]:
    """Put weights and moments back.

    Returns: the number of steps done, the extra tensors and the notes; ``(0, {}, {})`` without a checkpoint.
    Raises: `StoreError` for one that is damaged.
    """
    if not path.is_file():
        return 0, {}, {}
    step, notes, tensors = _read_checkpoint(path)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            if f"{_MOMENTS[0]}/{name}" in tensors:
                moments = {key: tensors[f"{key}/{name}"].to(parameter.device) for key in _MOMENTS}
                optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    extra = {key.removeprefix("extra/"): value for key, value in tensors.items() if key.startswith("extra/")}
    return step, extra, notes


def _read_checkpoint(path: Path) -> tuple[int, dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(str(path), "pt") as reader:
            metadata = reader.metadata() or {}
            tensors = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118  (not a mapping)
        return int(metadata["step"]), json.loads(metadata["notes"]), tensors
    except (SafetensorError, KeyError, ValueError) as error:
        # Not made anew without a word: it may be of days, and a backup may have it.
        raise StoreError(
            f"{path}: is damaged ({error}); delete it and run the same command again: the training starts anew"
        ) from error
