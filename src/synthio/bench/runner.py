"""Run the cells of a bench, one draw after the other, resumably; a finished cell is one small file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from synthio.arms import model_folder, read_trainings
from synthio.backends.identity import local_folder, model_content, prompts_identity
from synthio.backends.parts import used_models
from synthio.backends.quiet import quiet
from synthio.bench.recipe import BenchRecipe, Cell, all_cells, plan, run_config
from synthio.bench.results import Result, keep_results, read_kept
from synthio.comparison import read_comparison
from synthio.config import (
    ALIGNMENT_VERSION,
    AUDIO_CAPTION_VERSION,
    CAPTION_VERSION,
    CLIPS_VERSION,
    COMPARISON_VERSION,
    FULL_SIZE_ALIGNMENT_VERSION,
    FULL_SIZE_TRAINING_VERSION,
    GATE_VERSION,
    HALF_PRECISION_VERSION,
    LOCAL_LLM_VERSION,
    SPLIT_VERSION,
    TRAINING_VERSION,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from synthio.datasets import read_rows
from synthio.datasets.keys import RowContent, drawn_fingerprint, row_content
from synthio.datasets.official import OFFICIAL
from synthio.datasets.rows import NO_FILE
from synthio.errors import ConfigError, DataError, SynthioError
from synthio.pipeline import Pipeline, check_recipe
from synthio.progress import Reporter
from synthio.recipes import Section
from synthio.stage_folders import COMPARISON_FIELDS, EXECUTION_FIELDS, without_other_kinds
from synthio.stages.retrieve import corpus_digest, corpus_root
from synthio.store import fingerprint, write_text
from synthio.verdict import Comparison

Read = TypeVar("Read")


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of the draws (`of_shard`): machines or processes share a bench without talking."""

    index: int
    count: int


def parse_shard(text: str) -> Shard:
    """``0/2`` is the first of two. Raises: `ConfigError` for anything else."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ConfigError(f"--shard is {text!r}; expected i/k with 0 <= i < k, for example 0/2 and 1/2")
    return Shard(int(index), int(count))


class _Finished(BaseModel):
    """A cell on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: str
    """`content_key` when it was made."""
    result: Result


@quiet("transformers", "diffusers")
def run_cells(recipe: BenchRecipe, shard: Shard, reporter: Reporter, known: Sequence[Result]) -> dict[str, str]:
    """Run what is not finished. A cell that fails is told, kept as a reason, and does not stop the others.

    ``known``: results of cells that need not be run (see `fitting_results`).
    Returns: reasons of the failed cells, by name.
    Raises: `ConfigError` for a recipe that cannot be planned, and as `check_cells`; both before anything runs.
    """
    draws = list(of_shard(recipe, shard).values())
    if not draws:
        reporter.note(f"shard {shard.index}/{shard.count} has none of the {len(plan(recipe))} draws: nothing to run")
    configs = {cell: run_config(recipe, cell) for cells in draws for cell in cells}
    elsewhere = {result.cell for result in known}
    # What is finished needs nothing more, and is looked at when its turn comes.
    unfinished = [c for c in configs if c.key not in elsewhere and _read(_file(recipe, c)) is None]
    check_cells(recipe, [configs[cell] for cell in unfinished])
    failed = {}
    for cells in draws:
        for cell in cells:
            if cell.key in elsewhere:
                continue
            try:
                run_cell(recipe, configs[cell], cell, reporter)
            except SynthioError as error:
                failed[cell.name] = f"{type(error).__name__}: {error}"
                reporter.warn(f"{cell.name} failed: {failed[cell.name]}")
    return failed


def of_shard(recipe: BenchRecipe, shard: Shard) -> dict[str, list[Cell]]:
    """The draws that a shard runs, by name. Each has some of every dataset, where there are seeds enough, and seeds,
    sizes or datasets that are added behind the others move no draw to another shard."""
    datasets = list(recipe.datasets)

    def turn(cell: Cell) -> int:
        return datasets.index(cell.dataset) + recipe.sizes.index(cell.n) + cell.seed

    draws = plan(recipe).items()
    return {name: cells for name, cells in draws if turn(cells[0]) % shard.count == shard.index}


def check_cells(recipe: BenchRecipe, configs: Iterable[RunConfig]) -> None:
    """Whether all that the cells need besides their data is here.

    Raises: as `check_recipe`, and `ConfigError` when what the bench makes would count as corpus.
    """
    # These sections are the same in every draw.
    checked = {"train", "t2a", "clap", "caption", "align", "imagine", "retrieve"}
    alike = {config.model_dump_json(include=checked): config for config in configs}
    for config in alike.values():
        check_recipe(config)
        if "retrieval" in config.train.arms and recipe.output.resolve().is_relative_to(corpus_root(config).resolve()):
            raise ConfigError(
                f"output is {recipe.output}, inside retrieve.corpus ({config.retrieve.corpus}), where every audio file "
                "may be retrieved, those that other draws have made too; set output to a folder outside"
            )


def run_cell(recipe: BenchRecipe, config: RunConfig, cell: Cell, reporter: Reporter) -> Result:
    """One arm's run as far as its test predictions; a finished one of the same content is only read."""
    path = _file(recipe, cell)
    finished = _read(path)
    # Where the data cannot be read now, nothing says that the figure is of other data: it stays.
    key = content_key(config)
    if finished is not None and finished.content == key:
        return finished.result
    # Of other settings or data: it must not stand in a table when this run fails.
    path.unlink(missing_ok=True)
    pipeline = Pipeline(config, reporter)
    folder = pipeline.predictions()
    comparison = read_comparison(folder, pipeline.clips(), config)
    seconds = pipeline.timings("folder")
    trainings = read_trainings(folder)
    train_s = sum(seconds.pop(own.name, 0.0) for own in (folder.path, *trainings))
    result = cell_result(cell, config, comparison, train_s, sum(seconds.values()), drawn_test(config))
    # The weights of thousands of cells would fill a disk.
    for own, training in trainings.items():
        shutil.rmtree(model_folder(own, training.arm), ignore_errors=True)
    write_text(path, _Finished(content=key, result=result).model_dump_json(indent=1))
    reporter.note(f"{cell.name}: {result.metric} {100 * result.value:.1f}")
    return result


def _read(path: Path) -> _Finished | None:
    """A finished cell; None for one that is not there, or not readable and so to be made again."""
    try:
        return _Finished.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


#: Sections of the recipe that an arm does not depend on, by what `train.arms` holds.
_CLIPS_OF_ITS_OWN = ("t2a", "caption", "align", "imagine", "filter", "reflect", "gate")
_UNUSED_SECTIONS: dict[str, tuple[str, ...]] = {"synthio": (), "retrieval": _CLIPS_OF_ITS_OWN}


def settings_key(config: RunConfig) -> str:
    """Of what the figures of all seeds and sizes of an arm on a dataset have in common: the recipe and the models'
    weights, as far as the arm uses them. The same on every machine: without seed, n, paths, devices and batch sizes of
    inference."""
    (arm,) = config.train.arms
    unused = _UNUSED_SECTIONS.get(arm, (*_CLIPS_OF_ITS_OWN, "clap"))
    if config.train.use_synthetic != "auto":
        unused = (*unused, "gate")
    content = config.model_dump(mode="json", exclude={"run_folder", "report", "evaluate", "seed", "retrieve", *unused})
    sections = {name: getattr(config, name) for name in content}
    content |= {n: without_other_kinds(own).key_content() for n, own in sections.items() if isinstance(own, Section)}
    content["data"] = {k: v for k, v in content["data"].items() if k not in {"path", "audio_folder", "domain"}}
    # A cell has one arm, which is compared with others in the tables; as if at the defaults, as published results are.
    content["train"] |= {name: TrainConfig.model_fields[name].default for name in COMPARISON_FIELDS}
    content["data"]["sample"].pop("train")
    # A field of recipes when results were published.
    content["include"] = None
    # Stages have it also when it is empty.
    if not config.data.label_names:
        del content["data"]["label_names"]
    if "imagine" in content:
        # Only where clips have several labels, and there also the default.
        content["imagine"].pop("labels", None)
        if config.data.label_separator is not None:
            content["imagine"]["labels"] = config.imagine.labels
    _drop_places(config, content, unused)
    content |= _versions(config, unused)
    if arm != "gold":
        content["captions_per_clip"] = config.imagine.captions_per_clip
    return fingerprint([TRAINING_VERSION, content, _identities(config, unused)])


def _versions(config: RunConfig, unused: Collection[str]) -> dict[str, Any]:
    """Of how the stages that an arm uses work, and of what they ask."""
    versions: dict[str, Any] = {}
    if config.data.split_method == "stratified":
        versions["split_version"] = SPLIT_VERSION
    if config.train.model != "pocket":
        versions["full_size_training"] = FULL_SIZE_TRAINING_VERSION
    if "t2a" not in unused and config.t2a.dtype != "float32":
        versions["half_precision_version"] = HALF_PRECISION_VERSION
    # Templates depend on no caption of a real clip, and on no prompt.
    if "imagine" not in unused and config.imagine.mode != "template":
        versions["prompts"] = [CAPTION_VERSION, prompts_identity("caption"), prompts_identity("imagine")]
        if config.caption.kind == "transformers":
            versions["audio_captions"] = AUDIO_CAPTION_VERSION
        if config.imagine.kind == "local" and not config.imagine.is_pocket:
            versions["local_llm"] = LOCAL_LLM_VERSION
    if "align" not in unused and config.align.method != "none":
        versions["alignment"] = ALIGNMENT_VERSION
        if not config.t2a.is_pocket:
            versions["full_size_alignment"] = FULL_SIZE_ALIGNMENT_VERSION
    if "gate" not in unused:
        versions["gate_version"] = GATE_VERSION
    if plugins := [[u.section, u.plugin] for u in used_models(config) if u.plugin and u.section not in unused]:
        versions["plugins"] = plugins
    return versions


def _drop_places(config: RunConfig, content: dict[str, Any], unused: Collection[str]) -> None:
    """Leave out of the sections what differs from machine to machine: devices, folders, addresses."""
    for section, fields in EXECUTION_FIELDS.items():
        for field in fields:
            content.get(section, {}).pop(field, None)
    for section in {"train", "t2a", "clap", "caption", "imagine"} - set(unused):
        if local_folder(content[section]["model"]) is not None:
            content[section]["model"] = "a local folder"
    for section in {"caption", "imagine"} - set(unused):
        endpoint = getattr(config, section).endpoint.key_content()
        asked = {name: endpoint[name] for name in ("model", "max_tokens") if name in endpoint}
        content[section]["endpoint"] = asked if "max_tokens" in asked else asked["model"]


def _identities(config: RunConfig, unused: Collection[str]) -> list[str]:
    """Of the models' weights."""
    return [
        model_content(used.part, used.name, used.revision)
        for used in used_models(config)
        if used.kind == "weights" and used.section not in unused
    ]


def content_key(config: RunConfig) -> str:
    """Of everything that one cell's figures depend on: `settings_key`, seed, n, the data's and the corpus' files, and
    how clips are read and predictions compared."""
    corpus = corpus_digest(config) if "retrieval" in config.train.arms else None
    return _cell_content(settings_key(config), config, drawn_fingerprint(config, _there(config)), corpus)


def _cell_content(settings: str, config: RunConfig, drawn: str, corpus: str | None) -> str:
    data = [config.data.domain, drawn, CLIPS_VERSION, COMPARISON_VERSION]
    return fingerprint([settings, config.seed, *data, corpus])


def _there(config: RunConfig) -> RowContent:
    """`row_content`. Raises: `DataError` also when no file is there, as of a disk that is not mounted."""
    rows = row_content(config)
    if all(row[-1] == NO_FILE for row in rows):
        raise DataError(f"{config.data.path}: none of its files is there")
    return rows


class _Contents:
    """Whether finished cells are of the data that is there; what cells have in common is read once."""

    def __init__(self, recipe: BenchRecipe) -> None:
        self._recipe = recipe
        # None for what cannot be read.
        self._rows: dict[str, RowContent | None] = {}
        self._drawn: dict[tuple[str, int], str | None] = {}
        self._corpora: dict[str | None, str | None] = {}

    def current(self, cell: Cell, finished: _Finished) -> bool:
        """Its settings are looked at elsewhere. Where the data cannot be read now, nothing says that the figure is of
        other data."""
        config = run_config(self._recipe, cell)
        retrieves = "retrieval" in config.train.arms
        drawn, corpus = self._drawn_of(config), self._corpus_of(config) if retrieves else None
        if drawn is None or (retrieves and corpus is None):
            return True
        return finished.content == _cell_content(finished.result.recipe, config, drawn, corpus)

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


def drawn_test(config: RunConfig) -> float:
    """The share of clips that the run's seed draws for the test; 0 where it is the same for all seeds, since the data
    has splits of its own, or since groups are split as evenly as can be."""
    rows = read_rows(config.data)
    evenly = config.data.split_method == "stratified" and any(row.group is not None for row in rows)
    return 0.0 if evenly or any(row.split is not None for row in rows) else config.data.test_fraction


def cell_result(
    cell: Cell,
    config: RunConfig,
    comparison: Comparison,
    train_s: float,
    shared_s: float,
    test_fraction: float,
) -> Result:
    """The row of one arm, by the metric that the paper has for the dataset."""
    (arm,) = comparison.arms
    thirds = _thirds(comparison, arm.arm) if config.data.sample.shape == "long_tail" else {}
    official = OFFICIAL.get(config.data.reader)
    by_f1 = official is not None and official.metric == "F1"
    return Result(
        dataset=cell.dataset,
        n=cell.n,
        arm=cell.arm,
        seed=cell.seed,
        metric="macro-F1" if by_f1 else comparison.metric,
        value=arm.macro_f1 if by_f1 else arm.mean,
        macro_f1=arm.macro_f1,
        head=thirds.get("head"),
        medium=thirds.get("medium"),
        tail=thirds.get("tail"),
        n_train=arm.n_train,
        n_added=arm.n_added,
        n_valid=comparison.n_valid,
        n_test=comparison.n_test,
        test_fraction=test_fraction,
        train_s=round(train_s, 3),
        shared_s=round(shared_s, 3),
        recipe=settings_key(config),
    )


def _thirds(comparison: Comparison, arm: str) -> dict[str, float | None]:
    """Mean score of the classes in each third by training clips."""
    counts = {row.label: row.n_train for row in comparison.classes if row.n_train}
    scores = {row.label: row.scores[arm] for row in comparison.classes}
    means: dict[str, float | None] = {}
    for name, labels in frequency_thirds(counts).items():
        known = [score for label in labels if (score := scores[label]) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def frequency_thirds(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Classes by training clips: ``head``, ``medium``, ``tail``, thirds of the classes (ties by name); the first ones
    may have one more. Of two classes the rarer one is the tail."""
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    third, over = divmod(len(ordered), 3)
    head = third + (over > 0)
    tail = 1 if len(ordered) == 2 else third
    return {
        "head": ordered[:head],
        "medium": ordered[head : len(ordered) - tail],
        "tail": ordered[len(ordered) - tail :],
    }


def finished_cells(recipe: BenchRecipe) -> tuple[list[Result], int]:
    """Results of the recipe's cells that are in its folder, made there or given (`keep_given`), and how many cells were
    left out because what is there is of other settings or models, or, where it was made there, of other data or another
    corpus than are there now, or of data that was read or compared otherwise; nothing is loaded here.

    Raises: `DataError` when the given results cannot be read.
    """
    cells = all_cells(recipe)
    files = {cell: finished for cell in cells if (finished := _read(_file(recipe, cell))) is not None}
    given = read_kept(given_file(recipe))
    contents = _Contents(recipe)
    made = [finished.result for cell, finished in files.items() if contents.current(cell, finished)]
    on_disk = [*given, *(finished.result for finished in files.values())]
    there = {result.cell for result in on_disk} & {cell.key for cell in cells}
    # What was made here comes last, and counts.
    found = {result.cell: result for result in fitting_results(recipe, [*given, *made])}
    return list(found.values()), len(there - found.keys())


def fitting_results(recipe: BenchRecipe, results: Iterable[Result]) -> list[Result]:
    """Those of the results, of another machine or an earlier run, that are cells of the recipe with today's settings
    and models. That the dataset and its `data.domain` are the same cannot be seen from here: its name must stand for
    that."""
    cells = {cell.key for cell in all_cells(recipe)}

    @cache
    def key(dataset: str, arm: str) -> str:
        # The same for every size and seed.
        return settings_key(run_config(recipe, Cell(dataset, recipe.sizes[0], 0, arm)))

    return [result for result in results if result.cell in cells and result.recipe == key(result.dataset, result.arm)]


def keep_given(recipe: BenchRecipe, results: Iterable[Result]) -> list[Result]:
    """Keep results of another machine or an earlier run in the bench's folder, of whatever cells and settings; those
    that were made there are there, and are checked against the data again.

    Returns: all that are kept. Raises: as `keep_results`.
    """

    def made_here(result: Result) -> bool:
        made = _read(_file(recipe, Cell(result.dataset, result.n, result.seed, result.arm)))
        return made is not None and made.result.recipe == result.recipe

    return keep_results(given_file(recipe), [result for result in results if not made_here(result)])


def given_file(recipe: BenchRecipe) -> Path:
    """Results that `synthio bench run --results` was given: results.csv is written anew from these and from cells/."""
    return recipe.output / "given.csv"


def _file(recipe: BenchRecipe, cell: Cell) -> Path:
    return recipe.output / "cells" / f"{cell.name}.json"
