"""Which model each part of a run uses: what is checked before a run, what `synthio doctor` and the report show, and
what the figures of a bench depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synthio.backends.choices import AnySection, ModelSource, backend_of, check_section, plugin_of
from synthio.backends.devices import resolve_device
from synthio.backends.located import check_model
from synthio.config import RunConfig, T2AConfig
from synthio.errors import ConfigError


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
    plugin: str | None = None
    """The package that adds it, with its version."""


#: The section of each part.
_SECTIONS: Mapping[str, str] = {
    "classifier": "train",
    "t2a": "t2a",
    "clap": "clap",
    "llm": "imagine",
    "captioner": "caption",
}


def used_parts(config: RunConfig) -> list[str]:
    """Every part; no language model where captions are templates."""
    return [part for part in _SECTIONS if part != "llm" or config.imagine.mode != "template"]


def used_models(config: RunConfig) -> list[UsedModel]:
    """Every part's. Raises: as `used_model`."""
    return [used_model(part, config) for part in used_parts(config)]


def used_model(part: str, config: RunConfig) -> UsedModel:
    """One part's. Raises: `ConfigError` for a plug-in that cannot be imported."""
    name = _SECTIONS[part]
    section = getattr(config, name)
    if not isinstance(section, AnySection):
        return UsedModel(part, name, section.model, section.revision, "weights")
    source, plugin = backend_of(section).source, plugin_of(section)
    if source == "weights":
        return UsedModel(part, name, section.model, section.revision, source, plugin)
    if source == "endpoint" and not isinstance(section, T2AConfig):
        return UsedModel(part, name, section.endpoint.model, None, source, plugin)
    return UsedModel(part, name, section.kind, None, source, plugin)


def check_models(config: RunConfig) -> None:
    """Whether every model name and device that a run uses can be one, every endpoint's key, and what plug-ins are
    given, before anything loads.

    Raises: `ModelError` for a name that is neither a folder nor a hub id, `ConfigError` for a device or a key that is
    not here, options that a backend does not have, and an alignment that a generator cannot do.
    """
    from synthio.backends.endpoint import check_key

    for section in (config.caption, config.imagine, config.t2a):
        check_section(section)
    for used in used_models(config):
        if used.kind == "weights":
            check_model(f"{used.section}.model", used.name)
            resolve_device(getattr(config, used.section).device)
        elif used.kind == "endpoint" and _is_asked(used, config):
            check_key(getattr(config, used.section).endpoint)
    aligns = config.train.adds_synthetic and config.align.method != "none"
    if aligns and not backend_of(config.t2a).alignable:
        raise ConfigError(
            f"align.method is {config.align.method}, but t2a.kind={config.t2a.kind} cannot be aligned; set "
            "align.method to none"
        )


def _is_asked(used: UsedModel, config: RunConfig) -> bool:
    """Captions of real clips are made for MixCap alone, and new ones for synthetic clips."""
    return config.train.adds_synthetic and (used.section == "imagine" or config.imagine.mode == "mixcap")
