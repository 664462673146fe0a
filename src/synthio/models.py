"""The models of a run, each loaded when a stage first needs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from synthio.config import RunConfig
from synthio.progress import Reporter
from synthio.store import StageFolder


class Models:
    """Models of a run, each loaded when a stage first needs it."""

    def __init__(
        self, config: RunConfig, root: Path, align_folder: Callable[[], StageFolder], reporter: Reporter
    ) -> None:
        """``align_folder`` is asked for only when the recipe aligns: its name depends on the clips."""
        self._config, self._root, self._align_folder, self._reporter = config, root, align_folder, reporter

    def release(self) -> None:
        """Forget what is loaded, so that trainings have the memory; a stage that needs a model again loads it."""
        from synthio.backends.devices import free_device_memory

        for name in ("generator", "clap", "language_model"):
            self.__dict__.pop(name, None)
        free_device_memory()

    @property
    def base_generator(self) -> Any:
        """A fresh unaligned text-to-audio model; alignment puts adapters on it, so it is not shared."""
        from synthio.backends.text_to_audio import load_text_to_audio

        return load_text_to_audio(self._config.t2a)

    @cached_property
    def generator(self) -> Any:
        """The text-to-audio model with the run's adapter on it, when alignment chose one."""
        generator = self.base_generator
        if self.is_aligned:
            generator.load_adapter(self._align_folder().path / "adapter")
        return generator

    @property
    def is_aligned(self) -> bool:
        """Whether alignment kept an adapter."""
        return self._config.align.method != "none" and (self._align_folder().path / "adapter").is_dir()

    @cached_property
    def clap(self) -> Any:
        """The CLAP that captions and filters."""
        from synthio.backends.clap import load_clap

        return load_clap(self._config.clap, self._reporter)

    @property
    def captioner(self) -> Any:
        """A fresh captioner, which one stage needs; an audio language model must not fill the memory of the others.
        Only CLAP tagging needs the CLAP."""
        from synthio.backends.choices import load_captioner

        return load_captioner(self._config.caption, self.clap if self._config.caption.kind == "clap" else None)

    @cached_property
    def language_model(self) -> Any:
        """The language model, behind its response cache."""
        from synthio.backends.choices import load_language_model

        return load_language_model(self._config.imagine, self._root / "cache" / "llm")
