"""Which model each part of a run uses: what is checked before a run, what `synthio doctor` and the report show, and
what the figures of a bench depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from synthio.backends.identity import check_model
from synthio.config import CaptionConfig, ImagineConfig, RunConfig

ModelSource = Literal["weights", "endpoint", "none"]
"""Where a part's model is: loaded here, asked over the network, or none of its own."""

#: By the `kind` of a captioner or a language model.
SOURCES: Mapping[str, ModelSource] = MappingProxyType(
    {"local": "weights", "transformers": "weights", "endpoint": "endpoint", "clap": "none", "template": "none"}
)


@dataclass(frozen=True)
class UsedModel:
    """The model of one part."""

    part: str
    """As in `backends.identity`."""
    section: str
    """Of the recipe."""
    name: str
    revision: str | None
    kind: ModelSource


def used_models(config: RunConfig) -> list[UsedModel]:
    """Every part's; without a language model where captions are templates."""
    used = [
        UsedModel("classifier", "train", config.train.model, config.train.revision, "weights"),
        UsedModel("t2a", "t2a", config.t2a.model, config.t2a.revision, "weights"),
        UsedModel("clap", "clap", config.clap.model, config.clap.revision, "weights"),
    ]
    if config.imagine.mode != "template":
        used.append(_of_kind("llm", "imagine", config.imagine))
    return [*used, _of_kind("captioner", "caption", config.caption)]


def _of_kind(part: str, name: str, section: ImagineConfig | CaptionConfig) -> UsedModel:
    source = SOURCES[section.kind]
    if source == "weights":
        return UsedModel(part, name, section.model, section.revision, source)
    return UsedModel(part, name, section.endpoint.model if source == "endpoint" else section.kind, None, source)


def check_models(config: RunConfig) -> None:
    """Whether every model name and device that a run uses can be one, and every endpoint's key, before anything loads.

    Raises: `ModelError` for a name that is neither a folder nor a hub id, `ConfigError` for a device or a key that is
    not here.
    """
    from synthio.backends.devices import resolve_device
    from synthio.backends.endpoint import check_key

    for used in used_models(config):
        if used.kind == "weights":
            check_model(f"{used.section}.model", used.name)
            resolve_device(getattr(config, used.section).device)
        elif used.kind == "endpoint" and _is_asked(used, config):
            check_key(getattr(config, used.section).endpoint)


def _is_asked(used: UsedModel, config: RunConfig) -> bool:
    """Captions of real clips are made for MixCap alone, and new ones for synthetic clips."""
    return config.train.adds_synthetic and (used.section == "imagine" or config.imagine.mode == "mixcap")
