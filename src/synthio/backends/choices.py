"""Which of several backends a recipe asks for: its captioner, language model and generator, built in or a plug-in's."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, overload

from synthio.config import CaptionConfig, ImagineConfig, T2AConfig
from synthio.errors import BackendError, ConfigError, ModelError
from synthio.progress import Reporter
from synthio.registry import Plugin, at_work, load_plugin, package_of, said_of

if TYPE_CHECKING:
    from synthio.backends.captioner import Captioner
    from synthio.backends.clap import Clap
    from synthio.backends.llm import LanguageModel
    from synthio.backends.text_to_audio import TextToAudio

T = TypeVar("T")
AnySection = CaptionConfig | ImagineConfig | T2AConfig
"""A section with a ``kind``."""

ModelSource = Literal["weights", "endpoint", "none"]
"""Where a part's model is: loaded here, asked over the network, or none that a recipe names."""


@dataclass(frozen=True)
class Resources:
    """What a backend may use beside its section of the recipe."""

    reporter: Reporter
    """Hears notes and warnings."""
    cache_folder: Path
    """For answers that cost money, so that another run need not ask again."""
    clap: Callable[[], Clap]
    """Loads the CLAP of the recipe."""


@dataclass(frozen=True, kw_only=True)
class Backend(Plugin):
    """One of the choices of a recipe's ``kind``."""

    sources: ClassVar[tuple[ModelSource, ...]] = get_args(ModelSource)
    """What ``source`` may be."""

    load: Callable[..., Any]
    source: ModelSource
    """`weights`: the section's ``model`` and ``revision`` name them; `endpoint`: its ``endpoint`` does."""

    def __post_init__(self) -> None:
        """Raises: `ConfigError` for what no run can use."""
        super().__post_init__()
        found = None
        if not callable(self.load):
            found = f"load is {self.load!r}; expected a function of the section and of Resources"
        elif self.source not in self.sources:
            found = f"source is {self.source!r}; expected {' or '.join(self.sources)}"
        if found:
            raise ConfigError(f"{type(self).__name__}: {found}")


@dataclass(frozen=True, kw_only=True)
class CaptionerBackend(Backend):
    """Of ``caption.kind``."""

    load: Callable[[CaptionConfig, Resources], Captioner]
    """Called when the stage needs it. Raises: `ModelError`, `MissingDependency`, `ConfigError`."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelBackend(Backend):
    """Of ``imagine.kind``. Replies are cached by what is asked and the model's ``name``."""

    load: Callable[[ImagineConfig, Resources], LanguageModel]
    """Called when a stage needs it. Raises: `ModelError`, `MissingDependency`, `ConfigError`."""
    allowance: Callable[[ImagineConfig], int] = lambda config: 0
    """Tokens that a reply may have, beside what each request says; what less of them cut is asked again."""

    def __post_init__(self) -> None:
        """Raises: `ConfigError` for what no run can use."""
        super().__post_init__()
        if not callable(self.allowance):
            raise ConfigError(
                f"{type(self).__name__}: allowance is {self.allowance!r}; expected a function of the section"
            )


@dataclass(frozen=True, kw_only=True)
class TextToAudioBackend(Backend):
    """Of ``t2a.kind``."""

    load: Callable[[T2AConfig, Resources], TextToAudio]
    """Called when a stage needs it. Raises: `ModelError`, `MissingDependency`, `ConfigError`."""
    sources = ("weights", "none")
    alignable: bool = False
    """Whether what it loads is an `Alignable`; else ``align.method`` must be `none`."""


def _clap_tagger(config: CaptionConfig, resources: Resources) -> Captioner:
    from synthio.backends.clap_tagger import ClapTagger

    return ClapTagger(resources.clap(), config.tags_per_clip)


def _endpoint_captioner(config: CaptionConfig, resources: Resources) -> Captioner:
    from synthio.backends.endpoint_captioner import EndpointCaptioner

    return EndpointCaptioner(config.endpoint, resources.reporter, resources.cache_folder)


def _audio_llm(config: CaptionConfig, resources: Resources) -> Captioner:
    from synthio.backends.audio_llm import TransformersCaptioner

    if config.model == "pocket":
        raise ModelError(
            "caption.model is `pocket`, but there is no pocket audio language model: set caption.model to a folder or "
            "hub id, such as Qwen/Qwen2-Audio-7B-Instruct, or caption.kind=clap"
        )
    return TransformersCaptioner(config.model, config.revision, config.device, config.batch_size, resources.reporter)


def _template_captioner(config: CaptionConfig, resources: Resources) -> Captioner:
    from synthio.backends.captioner import TemplateCaptioner

    return TemplateCaptioner()


def _local_llm(config: ImagineConfig, resources: Resources) -> LanguageModel:
    from synthio.backends.local_llm import LocalLanguageModel

    return LocalLanguageModel(config.model, config.revision, config.device, config.batch_size, resources.reporter)


def _endpoint_llm(config: ImagineConfig, resources: Resources) -> LanguageModel:
    from synthio.backends.endpoint_llm import EndpointLanguageModel

    return EndpointLanguageModel(config.endpoint, resources.reporter)


def _diffusers(config: T2AConfig, resources: Resources) -> TextToAudio:
    from synthio.backends.diffusers_pipelines import load_pipeline

    return load_pipeline(config)


#: By their names in a recipe, which `config` lists.
CAPTIONERS: Mapping[str, CaptionerBackend] = {
    "clap": CaptionerBackend(load=_clap_tagger, source="none"),
    "endpoint": CaptionerBackend(load=_endpoint_captioner, source="endpoint"),
    "transformers": CaptionerBackend(load=_audio_llm, source="weights"),
    "template": CaptionerBackend(load=_template_captioner, source="none"),
}
LANGUAGE_MODELS: Mapping[str, LanguageModelBackend] = {
    "local": LanguageModelBackend(load=_local_llm, source="weights"),
    "endpoint": LanguageModelBackend(
        load=_endpoint_llm, source="endpoint", allowance=lambda config: config.endpoint.max_tokens
    ),
}
GENERATORS: Mapping[str, TextToAudioBackend] = {
    "diffusers": TextToAudioBackend(load=_diffusers, source="weights", alignable=True)
}


#: The key of each section's kind, what is built in there, and what a plug-in's is.
PLACES: Mapping[type, tuple[str, Mapping[str, Backend], type[Backend]]] = {
    CaptionConfig: ("caption.kind", CAPTIONERS, CaptionerBackend),
    ImagineConfig: ("imagine.kind", LANGUAGE_MODELS, LanguageModelBackend),
    T2AConfig: ("t2a.kind", GENERATORS, TextToAudioBackend),
}


@overload
def backend_of(section: ImagineConfig) -> LanguageModelBackend: ...
@overload
def backend_of(section: T2AConfig) -> TextToAudioBackend: ...
@overload
def backend_of(section: AnySection) -> Backend: ...
def backend_of(section: AnySection) -> Backend:
    """The section's. Raises: `ConfigError` for a plug-in that cannot be imported."""
    key, built_in, kind = PLACES[type(section)]
    return built_in.get(section.kind) or load_plugin(key, section.kind, kind)


def plugin_of(section: AnySection) -> str | None:
    """``birdcap 0.1``: the package whose plug-in the section names; None where its kind is built in.

    Raises: `ConfigError` where two packages add it.
    """
    key, built_in, _ = PLACES[type(section)]
    return None if section.kind in built_in else package_of(key, section.kind)


def check_section(section: AnySection) -> None:
    """Whether a section gives its backend what that takes. Raises: `ConfigError` for options and a model that are not
    its."""
    key = PLACES[type(section)][0]
    backend, plugin = backend_of(section), plugin_of(section)
    backend.check(section.options, key, section.kind)
    if plugin and backend.source == "weights" and section.model == "pocket":
        raise ConfigError(
            f"{key.replace('kind', 'model')} is `pocket`, which {plugin} cannot load: name a model of its own"
        )


def load_language_model(config: ImagineConfig, resources: Resources) -> LanguageModel:
    """The language model of a recipe, with its replies cached in the folder of ``resources``.

    Raises: as `load_uncached` and `allowance_of`.
    """
    from synthio.backends.llm import CachedLanguageModel, NoLanguageModel

    if config.mode == "template":
        return NoLanguageModel()
    allowance = allowance_of(config)
    return CachedLanguageModel(load_uncached(config, resources), resources.cache_folder, allowance)


def allowance_of(config: ImagineConfig) -> int:
    """See `LanguageModelBackend.allowance`. Raises: `BackendError` for what a plug-in's raises, or is no number."""
    with at_work(f"the allowance of imagine.kind={config.kind}", BackendError):
        return operator.index(backend_of(config).allowance(config))


def load_uncached(config: ImagineConfig, resources: Resources) -> LanguageModel:
    """The language model of a recipe, which is asked again what it was asked before.

    Raises: as `LanguageModelBackend.load`, `BackendError` for what else a plug-in raises.
    """
    from synthio.backends.checked import CheckedLanguageModel

    def checked(model: LanguageModel, plugin: str) -> LanguageModel:
        return CheckedLanguageModel(model, plugin, _asked(config))

    return _load(config, resources, checked)


def _asked(config: ImagineConfig) -> str:
    """What the replies of a plug-in depend on beside the requests: they are cached by it."""
    from synthio.backends.identity import model_identity

    content: list[Any] = [plugin_of(config), config.options]
    match backend_of(config).source:
        case "weights":
            content.append(model_identity("llm", config.model, config.revision))
        case "endpoint":
            content += config.endpoint.asked
    return json.dumps(content, sort_keys=True)


def load_captioner(config: CaptionConfig, resources: Resources) -> Captioner:
    """The captioner of a recipe. Raises: as `CaptionerBackend.load`, `BackendError` for what else a plug-in raises."""
    from synthio.backends.checked import CheckedCaptioner

    return _load(config, resources, CheckedCaptioner)


def load_text_to_audio(config: T2AConfig, resources: Resources) -> TextToAudio:
    """The generator of a recipe.

    Raises: as `TextToAudioBackend.load`, `BackendError` for what else a plug-in raises.
    """
    from synthio.backends.checked import CheckedTextToAudio

    return _load(config, resources, CheckedTextToAudio)


def _load(section: AnySection, resources: Resources, checked: Callable[[T, str], T]) -> T:
    """``checked``: of what a plug-in loads and what messages call it."""
    check_section(section)
    key, built_in, _ = PLACES[type(section)]
    load: Callable[[AnySection, Resources], T] = backend_of(section).load
    if section.kind in built_in:
        return load(section, resources)
    plugin = said_of(key, section.kind)
    with at_work(plugin, BackendError):
        loaded = load(section, resources)
    return checked(loaded, plugin)
