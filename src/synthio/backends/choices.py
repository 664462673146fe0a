"""Which of several backends a recipe asks for: its language model and its captioner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from synthio.backends.audio_llm import TransformersCaptioner
from synthio.backends.captioner import Captioner, TemplateCaptioner
from synthio.backends.clap import Clap
from synthio.backends.clap_tagger import ClapTagger
from synthio.backends.endpoint_captioner import EndpointCaptioner
from synthio.backends.endpoint_llm import EndpointLanguageModel
from synthio.backends.llm import CachedLanguageModel, LanguageModel, NoLanguageModel
from synthio.backends.local_llm import LocalLanguageModel
from synthio.config import CaptionConfig, ImagineConfig
from synthio.errors import ModelError
from synthio.progress import Reporter


def load_language_model(config: ImagineConfig, cache_folder: Path, reporter: Reporter) -> LanguageModel:
    """The language model of a recipe, with its replies cached in ``cache_folder``; ``reporter`` hears its warnings.

    Raises: `ModelError` for a model that cannot be loaded, `MissingDependency` without the pocket wheels,
    `ConfigError` for a missing key or device.
    """
    if config.mode == "template":
        return NoLanguageModel()
    if config.kind == "endpoint":
        remote = EndpointLanguageModel(config.endpoint, reporter)
        return CachedLanguageModel(remote, cache_folder, config.endpoint.max_tokens)
    local = LocalLanguageModel(config.model, config.revision, config.device, config.batch_size, reporter)
    return CachedLanguageModel(local, cache_folder)


def load_captioner(
    config: CaptionConfig, clap: Callable[[], Clap], reporter: Reporter, cache_folder: Path
) -> Captioner:
    """The captioner of a recipe; ``clap`` is called for ``kind: clap`` only; ``reporter`` hears its warnings; what an
    endpoint answers is cached in ``cache_folder``.

    Raises: `ModelError` for a model that cannot be loaded or hears no audio, `ConfigError` for a missing key or
    device.
    """
    if config.kind == "template":
        return TemplateCaptioner()
    if config.kind == "endpoint":
        return EndpointCaptioner(config.endpoint, reporter, cache_folder)
    if config.kind == "clap":
        return ClapTagger(clap(), config.tags_per_clip)
    if config.model == "pocket":
        raise ModelError(
            "caption.model is `pocket`, but there is no pocket audio language model: set caption.model to a folder or "
            "hub id, such as Qwen/Qwen2-Audio-7B-Instruct, or caption.kind=clap"
        )
    return TransformersCaptioner(config.model, config.revision, config.device, config.batch_size, reporter)
