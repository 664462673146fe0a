"""The models of a run, each loaded when a stage first needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

from synthio.backends.captioner import Captioner
from synthio.backends.choices import Resources, load_captioner, load_language_model, load_text_to_audio
from synthio.backends.clap import Clap, load_clap
from synthio.backends.devices import resolve_device
from synthio.backends.identity import model_identity
from synthio.backends.llm import LanguageModel
from synthio.backends.located import hub_commit, is_distilled
from synthio.backends.memory import device_bytes, free_bytes, needed_bytes, weights_bytes
from synthio.backends.parts import UsedModel, used_models
from synthio.backends.text_to_audio import Alignable, TextToAudio
from synthio.config import RunConfig, T2AConfig
from synthio.errors import ModelError
from synthio.formats import size
from synthio.progress import Reporter
from synthio.store import StageFolder

#: What `Models` keeps, and the part of the run that it is.
_KEPT = {"generator": "t2a", "clap": "clap", "language_model": "llm"}

#: The sections whose models a stage loads, by the stage's name without the number of a round.
_LOADED_BY = {
    "caption": ("caption", "clap"),
    **dict.fromkeys(("extract", "imagine", "reflect"), ("imagine",)),
    **dict.fromkeys(("losers", "align", "generate", "samples"), ("t2a",)),
    **dict.fromkeys(("filter", "retrieve"), ("clap",)),
    **dict.fromkeys(("gate", "train"), ("train",)),
    "evaluate": ("clap", "train"),
}


def hub_commits(config: RunConfig, stage: str) -> dict[str, str]:
    """By identity, the commits that the hub cache has of the models that a stage loads. An identity has the name of a
    branch, which moves: a key must be the same before and after the download."""
    sections = _LOADED_BY.get(stage.partition("-")[0], ())
    return {
        model_identity(used.part, used.name, used.revision): commit
        for used in used_models(config)
        if used.kind == "weights" and used.section in sections and (commit := hub_commit(used.name, used.revision))
    }


def sampler_warning(config: T2AConfig) -> str | None:
    """What to tell of a model that would sample as the pocket model does, only as nothing else was said; else None."""
    knobs = {"num_inference_steps", "guidance_scale"} - config.model_fields_set
    # What a plug-in makes of them is not known.
    if config.kind != "diffusers" or config.is_pocket or not knobs:
        return None
    values = " and ".join(f"t2a.{name} = {getattr(config, name):g}" for name in sorted(knobs, reverse=True))
    return (
        f"{values}: the default, which suits the pocket model; set what t2a.model {config.model!r} needs (diffusers: "
        "Stable Audio Open 100 steps and guidance 7, AudioLDM2 200 steps and guidance 3.5, Stable Audio 3 8 steps and "
        "guidance 1, its base model 100 steps and guidance above 1)"
    )


def model_warnings(config: RunConfig) -> list[str]:
    """What to tell of a run's models before one loads, as far as their folders or the hub cache have them: as
    `sampler_warning`, of a generator that alignment suits badly, and of those that their device cannot hold.

    Raises: `ConfigError` for a device that is not here.
    """
    told = [_too_large(used, config) for used in used_models(config)]
    if config.train.adds_synthetic:
        told += [sampler_warning(config.t2a), _distilled_warning(config)]
    return [warning for warning in told if warning is not None]


def _too_large(used: UsedModel, config: RunConfig) -> str | None:
    section = getattr(config, used.section)
    if used.part != "classifier" and not config.train.adds_synthetic:
        return None
    if (weights := weights_bytes(used, config)) is None:
        return None
    needed, device = needed_bytes(used, weights), resolve_device(section.device)
    if needed <= (free := free_bytes(device)):
        return None
    there = device_bytes(device)
    holds = f"{size(there)} in all" if needed > there else f"{size(free)} of {size(there)} free, beside other programs"
    half = ", t2a.dtype=float16" if used.part == "t2a" and config.t2a.dtype == "float32" else ""
    return (
        f"{used.section}.model {used.name!r} needs {size(needed)} for its weights"
        f"{' and their training' if used.part == 'classifier' else ''}, and {device} has {holds}: "
        f"take a smaller model{half} or another {used.section}.device"
    )


def _distilled_warning(config: RunConfig) -> str | None:
    t2a = config.t2a
    if config.align.method == "none" or t2a.kind != "diffusers" or not is_distilled(t2a.model, t2a.revision):
        return None
    return (
        f"align.method = {config.align.method}: t2a.model {t2a.model!r} is distilled (its sampler adds noise at every "
        "step), and alignment trains it as if it were not; use the base checkpoint that it was made from (Stable Audio "
        "3: the one called -base), or set align.method to none"
    )


class Models:
    """Models of a run, each loaded when a stage first needs it.

    Full-size generators and language models are never held together: before one loads, what other stages have loaded
    goes, and is loaded again when it is needed again. Pocket models are.
    """

    def __init__(
        self, config: RunConfig, root: Path, align_folder: Callable[[], StageFolder], reporter: Reporter
    ) -> None:
        """``align_folder`` is asked for only when the recipe aligns: its name depends on the clips."""
        self._config, self._root, self._align_folder, self._reporter = config, root, align_folder, reporter

    def release(self) -> None:
        """Forget what is loaded, so that trainings have the memory; a stage that needs a model again loads it."""
        self._forget(_KEPT)

    def _make_room(self, part: str) -> None:
        """Before a part's model loads: forget what is not to be held beside it. Pocket models may be held together, and
        a model behind an endpoint takes no memory here; what a plug-in loads is not known."""
        loaded = {
            used.part: used.name
            for used in used_models(self._config)
            if used.kind == "weights" or (used.plugin and used.kind == "none")
        }
        if part in loaded:
            self._forget(
                name
                for name, other in _KEPT.items()
                if other in loaded and not loaded[part] == loaded[other] == "pocket"
            )

    def _forget(self, kept: Iterable[str]) -> None:
        from accelerate.utils.memory import clear_device_cache

        for name in kept:
            self.__dict__.pop(name, None)
        clear_device_cache()

    @property
    def base_generator(self) -> TextToAudio:
        """A fresh unaligned text-to-audio model; alignment puts adapters on it, so it is not shared."""
        if warning := sampler_warning(self._config.t2a):
            self._reporter.warn(warning)
        self._make_room("t2a")
        return load_text_to_audio(self._config.t2a, self._resources(self._root / "cache" / "t2a"))

    @property
    def alignable_generator(self) -> Alignable:
        """The same, for alignment. Raises: `ModelError` for a plug-in's that only says that it can be aligned."""
        generator = self.base_generator
        if not isinstance(generator, Alignable):
            raise ModelError(f"{generator} loads what is no synthio.plugins.Alignable; set align.method to none")
        # A model of the hub may be here only now.
        if warning := _distilled_warning(self._config):
            self._reporter.warn(warning)
        return generator

    @cached_property
    def generator(self) -> TextToAudio:
        """The text-to-audio model with the run's adapter on it, when alignment chose one."""
        if not self.is_aligned:
            return self.base_generator
        folder, generator = self._align_folder(), self.alignable_generator
        try:
            generator.load_adapter(folder.path / "adapter")
        except ModelError as error:
            raise folder.damaged("adapter", error) from error
        return generator

    @property
    def is_aligned(self) -> bool:
        """Whether alignment is finished and kept an adapter."""
        if self._config.align.method == "none":
            return False
        folder = self._align_folder()
        # A kill may have left an adapter of a stage that was not finished.
        return folder.done and (folder.path / "adapter").is_dir()

    @cached_property
    def clap(self) -> Clap:
        """The CLAP that captions and filters; small enough to be held beside another."""
        return load_clap(self._config.clap, self._reporter)

    @property
    def captioner(self) -> Captioner:
        """A fresh captioner, which one stage needs; an audio language model must not fill the memory of the others."""
        self._make_room("captioner")
        # A bench's draws hear many clips of each other.
        cache = self._config.retrieve.cache or self._root / "cache"
        return load_captioner(self._config.caption, self._resources(cache / "captions"))

    @cached_property
    def language_model(self) -> LanguageModel:
        """The language model, behind its response cache."""
        self._make_room("llm")
        return load_language_model(self._config.imagine, self._resources(self._root / "cache" / "llm"))

    def _resources(self, cache_folder: Path) -> Resources:
        return Resources(self._reporter, cache_folder, lambda: self.clap)
