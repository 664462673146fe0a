"""Opens a text-to-audio pipeline of diffusers: `pocket`, a local folder or a hub id."""

from __future__ import annotations

from collections.abc import Mapping

from synthio.backends import (
    mel_codec,  # noqa: F401  (diffusers loads a component's class only from modules that are imported already)
    pocket,
)
from synthio.backends.audioldm2 import AudioLDM2
from synthio.backends.devices import part_dtypes, resolve_device
from synthio.backends.diffusion import DiffusionGenerator
from synthio.backends.loading import loading
from synthio.backends.located import check_model
from synthio.backends.stable_audio import StableAudio, StableAudio3
from synthio.config import T2AConfig
from synthio.errors import ModelError
from synthio.optional import OPTIONAL

#: By the class that a pipeline's model_index.json names.
FAMILIES: Mapping[str, type[DiffusionGenerator]] = {
    "StableAudio3Pipeline": StableAudio3,
    "StableAudioPipeline": StableAudio,
    "AudioLDM2Pipeline": AudioLDM2,
}


def load_pipeline(config: T2AConfig) -> DiffusionGenerator:
    """Load `pocket`, a local folder or a hub id.

    Raises: `ModelError` when it cannot be found or is of another family; `ConfigError` for a missing device.
    """
    import diffusers

    device = resolve_device(config.device)
    check_model("t2a.model", config.model)
    source = str(pocket.t2a_folder()) if config.model == "pocket" else config.model
    family = _pipeline_class(source, config.revision)
    if family not in FAMILIES:
        raise ModelError(
            f"t2a.model {source!r} is a {family}; expected one of {', '.join(FAMILIES)}, or a plug-in for another "
            "(docs/plugins.md)"
        )
    cure = f"torchsde is for {OPTIONAL['torchsde']}"
    with loading("t2a", source, "use t2a.model=pocket", cure):
        pipeline = getattr(diffusers, family).from_pretrained(
            source, revision=config.revision, dtype=part_dtypes(config.dtype), use_safetensors=True
        )
        return FAMILIES[family](pipeline, config, device)


def _pipeline_class(source: str, revision: str | None) -> str:
    from diffusers import DiffusionPipeline

    with loading("t2a", source, "use t2a.model=pocket"):
        return str(DiffusionPipeline.load_config(source, revision=revision).get("_class_name"))
