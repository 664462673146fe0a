"""What the weights of a run's models take of a device's memory, by the headers of their files: no model loads.

Lower bounds: what a model computes with them comes on top.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import get_local_safetensors_metadata
from huggingface_hub.errors import SafetensorsParsingError

from synthio.backends.devices import is_out_of_memory, language_dtype, part_dtypes, resolve_device
from synthio.backends.located import cached_snapshot, local_folder
from synthio.backends.parts import UsedModel
from synthio.config import RunConfig

if TYPE_CHECKING:
    import torch

#: Weights, their gradients, and the two moments of AdamW.
_TRAINED = 4


def weights_bytes(used: UsedModel, config: RunConfig) -> int | None:
    """Bytes of a part's weights in the number format that they are loaded in; None for pocket models, for those of an
    endpoint or a plug-in, and for what is not here or damaged.

    Raises: `ConfigError` for a language model whose device is not here.
    """
    if used.kind != "weights" or used.plugin or used.name == "pocket":
        return None
    folder = local_folder(used.name) or cached_snapshot(used.name, used.revision)
    if folder is None:
        return None
    parts = [path.parent for path in folder.glob("*/config.json")] if (folder / "model_index.json").is_file() else []
    try:
        return sum(_bytes(part, _format(used, part.name, config)) for part in parts or [folder]) or None
    except (OSError, SafetensorsParsingError):
        return None


def needed_bytes(used: UsedModel, weights: int) -> int:
    """The bytes of a part's weights, of a classifier with what its training keeps beside them."""
    return weights * _TRAINED if used.part == "classifier" else weights


def device_bytes(device: torch.device) -> int:
    """All the memory of a device: of a card, what MPS recommends to use at most, or the machine's."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_bytes(device: torch.device) -> int:
    """What other programs leave of `device_bytes`, as far as it is known: of a card."""
    import torch

    if device.type != "cuda":
        return device_bytes(device)
    try:
        # What this process holds it may use again.
        return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_reserved(device))
    except RuntimeError as error:
        # A full card has no room for the question either.
        if not is_out_of_memory(error):
            raise
        return 0


def _format(used: UsedModel, part: str, config: RunConfig) -> torch.dtype | None:
    """The floating-point format that weights are loaded in; None for their own."""
    import torch

    if used.part == "t2a":
        formats = part_dtypes(config.t2a.dtype)
        return formats.get(part, formats["default"])
    if used.part in ("llm", "captioner"):
        return language_dtype(resolve_device(getattr(config, used.section).device))
    return torch.float32


def _bytes(folder: Path, loaded_in: torch.dtype | None) -> int:
    total = 0
    for path in _weights(folder):
        for tensor in get_local_safetensors_metadata(path).files_metadata[path.name].tensors.values():
            start, end = tensor.data_offsets
            is_float = "F" in tensor.dtype
            total += tensor.parameter_count * loaded_in.itemsize if is_float and loaded_in else end - start
    return total


def _weights(folder: Path) -> Iterator[Path]:
    """The files that transformers and diffusers load by default, whole or in shards: not variants such as
    ``model.fp16.safetensors``, nor what lies beside them."""
    for path in sorted(folder.glob("*.safetensors")):
        name, _, shard = path.stem.partition("-")
        if name in ("model", "diffusion_pytorch_model") and (not shard or shard[0].isdigit()):
            yield path
