"""What is installed, which devices there are, and what a recipe would load."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import is_offline_mode

from synthio.backends import pocket
from synthio.backends.choices import PLACES, AnySection, check_section
from synthio.backends.devices import resolve_device
from synthio.backends.loading import missing_weights_advice
from synthio.backends.located import cached_snapshot, check_model, local_folder
from synthio.backends.memory import device_bytes, needed_bytes, weights_bytes
from synthio.backends.parts import UsedModel, used_model, used_parts
from synthio.backends.quiet import quiet
from synthio.config import READERS, RunConfig
from synthio.errors import ConfigError, ModelError, SynthioError
from synthio.formats import size
from synthio.optional import OPTIONAL, is_installed
from synthio.registry import packages_of, plugins
from synthio.versions import versions


def examine(config: RunConfig | None) -> dict[str, Any]:
    """Everything that `synthio doctor` shows, as plain values; loads no model."""
    import torch

    devices = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "mps": torch.backends.mps.is_available(),
    }
    optional = {name: f"{'installed' if is_installed(name) else 'missing'}: {use}" for name, use in OPTIONAL.items()}
    found: dict[str, Any] = {
        "versions": versions(),
        "devices": devices,
        "optional": optional,
        "cache": str(pocket.cache_folder()),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "pocket": {part: _state(part) for part in ("t2a", "clap", "classifier")},
        "plugins": _plugins(),
        "offline": is_offline_mode(),
    }
    if config is not None:
        found["models"] = _models(config)
    return found


def _plugins() -> dict[str, str]:
    """The packages of each."""
    built_in = {"data.reader": READERS} | {key: names for key, names, _ in PLACES.values()}
    return {
        f"{key}={name}": " and ".join(packages_of(key, name)) + (" (not used: it is built in)" if name in names else "")
        for key, names in built_in.items()
        for name in plugins(key)
    }


def _state(part: str) -> str:
    try:
        return f"shipped, {pocket.digest(part)}"
    except SynthioError as error:
        return f"missing: {error}"


def _models(config: RunConfig) -> dict[str, str]:
    """One line per part: its model, where that is, and the device it would run on."""
    return {part: _line(part, config) for part in used_parts(config)}


def _line(part: str, config: RunConfig) -> str:
    try:
        used = used_model(part, config)
        section = getattr(config, used.section)
        if isinstance(section, AnySection):
            check_section(section)
    except ConfigError as error:
        return f"unusable: {error}"
    if used.kind == "endpoint":
        variable = section.endpoint.api_key_variable
        key = "is set" if os.environ.get(variable) else "is not set"
        return f"{used.name} at {section.endpoint.base_url}; {variable} {key}"
    if used.kind == "none":
        if used.name == "clap":
            # Tags come of the CLAP that also filters.
            return f"clap: the model of clap; {_device(config.clap.device)}"
        return f"{used.name}: {used.plugin or 'no model'}"
    return f"{used.name}: {_where(used)}{_weights(used, config)}; {_device(section.device)}"


def _device(name: str) -> str:
    try:
        device = resolve_device(name)
    except ConfigError as error:
        return f"device none: {error}"
    return f"device {device} with {size(device_bytes(device))} of memory"


def _weights(used: UsedModel, config: RunConfig) -> str:
    """The memory that its weights take, where they are here."""
    try:
        weights = weights_bytes(used, config)
    except ConfigError:
        # The device is not here, as is told beside.
        return ""
    if weights is None:
        return ""
    needed = needed_bytes(used, weights)
    return f", {size(weights)} of weights" + (f" ({size(needed)} in training)" if needed > weights else "")


def _where(used: UsedModel) -> str:
    """Whether a model is here; hub ids are looked up in the local cache only, so this needs no network."""
    if used.name == "pocket":
        return "this installation"
    is_here = local_folder(used.name) is not None
    try:
        check_model("model", used.name)
    except ModelError as error:
        return f"{'unusable local folder' if is_here else 'nowhere'}: {error}"
    if is_here:
        return "local folder"
    snapshot = cached_snapshot(used.name, used.revision)
    if snapshot is None:
        return "hub, not downloaded yet"
    if any(snapshot.rglob("*.safetensors")):
        return "hub cache"
    return f"hub cache, without safetensors weights: {missing_weights_advice(used.section)}"


@quiet("transformers", "diffusers")
def prepare() -> dict[str, str]:
    """Convert and cache every pocket model, so that the first run does not wait. Returns their folders."""
    return {
        "text encoder": str(pocket.minilm_folder()),
        "t2a": str(pocket.t2a_folder()),
        "clap": str(pocket.clap_folder()),
        "classifier": str(pocket.classifier_folder()),
        "llm": str(pocket.gemma_folder()),
    }
