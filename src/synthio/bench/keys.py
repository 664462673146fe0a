"""What the figures of a bench's cells depend on: the settings of their arm, and their data."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from synthio.backends.identity import model_content, prompts_identity
from synthio.backends.parts import used_models
from synthio.bench.recipe import BenchRecipe, Cell, run_config
from synthio.config import STAGE_VERSIONS, RunConfig, SampleConfig
from synthio.datasets.keys import RowContent, drawn_fingerprint, row_content
from synthio.datasets.rows import NO_FILE
from synthio.errors import DataError
from synthio.stage_folders import COMPARISON_FIELDS, section_content
from synthio.stages.retrieve import corpus_digest
from synthio.store import fingerprint

Read = TypeVar("Read")

#: The sections of the recipe that the stages of an arm read.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "splits": ("data",),
    "train": ("train",),
    "retrieve": ("clap",),
    "caption": ("caption", "clap"),
    "losers": ("align",),
    "align": ("align",),
    "imagine": ("imagine",),
    "generate": ("t2a",),
    "filter": ("filter", "reflect", "clap"),
    "gate": ("gate",),
}
#: Fields that differ from machine to machine or are in the cell's own key, and those that compare arms: a cell has one.
_LEFT_OUT = {"data": frozenset({"path", "audio_folder", "domain"}), "train": COMPARISON_FIELDS}


def settings_key(config: RunConfig) -> str:
    """Of what the figures of all seeds and sizes of an arm on a dataset have in common: the recipe, the models' weights
    and how the stages work, as far as the arm uses them. The same on every machine: without seed, n, paths, devices and
    batch sizes of inference."""
    (arm,), imagine = config.train.arms, config.imagine
    stages = _stages(config)
    sections = {section for stage in stages for section in _SECTIONS[stage]}
    parts = [
        {section: _content(config, section) for section in sections},
        {stage: STAGE_VERSIONS[stage] for stage in stages},
        _models(config, sections),
        # Also of arms without language model: the number of copies.
        None if arm == "gold" else imagine.captions_per_clip,
        # No model is asked for templates.
        {stage: prompts_identity(stage) for stage in stages & {"caption", "imagine"} if imagine.mode != "template"},
    ]
    return fingerprint(parts)


def _stages(config: RunConfig) -> set[str]:
    """Those whose way of working changes the figures of the recipe's one arm."""
    stages = {"splits", "train"}
    if "retrieval" in config.train.arms:
        stages |= {"retrieve"}
    if config.train.adds_synthetic:
        stages |= {"imagine", "generate", "filter"}
        if config.imagine.mode == "mixcap":
            stages |= {"caption"}
        if config.align.method != "none":
            stages |= {"losers", "align"}
        if config.train.asks_gate:
            stages |= {"gate"}
    return stages


def _content(config: RunConfig, section: str) -> dict[str, Any]:
    """`section_content` without what differs from machine to machine and from cell to cell."""
    content = section_content(config, section)
    if section == "data":
        del content["sample"]["train"]
    if "endpoint" in content:
        # Where it is, and how patient the machine is with it.
        for field in ("base_url", "timeout_s", "max_retries"):
            del content["endpoint"][field]
    return {name: value for name, value in content.items() if name not in _LEFT_OUT.get(section, ())}


def _models(config: RunConfig, sections: Collection[str]) -> list[tuple[str | None, ...]]:
    """What the models are that these sections name."""
    return [
        (
            used.section,
            used.plugin,
            model_content(used.part, used.name, used.revision) if used.kind == "weights" else None,
        )
        for used in used_models(config)
        if used.section in sections
    ]


def content_key(config: RunConfig) -> str:
    """Of everything that one cell's figures depend on: `settings_key`, seed, n, the data's and the corpus' files, and
    how clips are read and predictions compared."""
    corpus = corpus_digest(config) if "retrieval" in config.train.arms else None
    return _cell_content(settings_key(config), config, drawn_fingerprint(config, _there(config)), corpus)


def _cell_content(settings: str, config: RunConfig, drawn: str, corpus: str | None) -> str:
    data = [config.data.domain, drawn, STAGE_VERSIONS["clips"], STAGE_VERSIONS["compare"]]
    return fingerprint([settings, config.seed, *data, corpus])


def _there(config: RunConfig) -> RowContent:
    """`row_content`. Raises: `DataError` also when no file is there, as of a disk that is not mounted."""
    rows = row_content(config)
    if all(row[-1] == NO_FILE for row in rows):
        raise DataError(f"{config.data.path}: none of its files is there")
    return rows


class Contents:
    """`content_key` of many cells; what they have in common is read once."""

    def __init__(self, recipe: BenchRecipe) -> None:
        self._recipe = recipe
        # None for what cannot be read.
        self._rows: dict[str, RowContent | None] = {}
        self._drawn: dict[tuple[str, int], str | None] = {}
        self._corpora: dict[str | None, str | None] = {}

    def key(self, cell: Cell, settings: str) -> str | None:
        """With the ``settings`` that it was made with; None where its data, or corpus, cannot be read now."""
        config = run_config(self._recipe, cell)
        retrieves = "retrieval" in config.train.arms
        drawn, corpus = self._drawn_of(config), self._corpus_of(config) if retrieves else None
        if drawn is None or (retrieves and corpus is None):
            return None
        return _cell_content(settings, config, drawn, corpus)

    def _drawn_of(self, config: RunConfig) -> str | None:
        draw = config.data.model_dump_json(), config.seed
        if draw not in self._drawn:
            rows = self._rows_of(config)
            self._drawn[draw] = None if rows is None else drawn_fingerprint(config, rows)
        return self._drawn[draw]

    def _rows_of(self, config: RunConfig) -> RowContent | None:
        whole = config.data.model_copy(update={"sample": SampleConfig()}).model_dump_json()
        if whole not in self._rows:
            self._rows[whole] = _or_none(_there, config)
        return self._rows[whole]

    def _corpus_of(self, config: RunConfig) -> str | None:
        corpus = config.retrieve.corpus
        if corpus not in self._corpora:
            self._corpora[corpus] = _or_none(corpus_digest, config)
        return self._corpora[corpus]


def _or_none(read: Callable[[RunConfig], Read], config: RunConfig) -> Read | None:
    try:
        return read(config)
    except DataError:
        return None
