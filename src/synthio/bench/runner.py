"""Run the cells of a bench, one draw after the other, resumably; a finished cell is one small file."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from synthio.arms import model_folder, read_trainings
from synthio.backends.quiet import quiet
from synthio.bench.keys import Contents, content_key, settings_key
from synthio.bench.recipe import BenchRecipe, Cell, all_cells, plan, run_config
from synthio.bench.results import Result, keep_results, read_kept
from synthio.comparison import read_comparison
from synthio.config import RunConfig
from synthio.datasets import read_rows
from synthio.datasets.official import OFFICIAL
from synthio.errors import ConfigError, SynthioError
from synthio.frozen import Frozen
from synthio.metrics import known_mean
from synthio.pipeline import Pipeline, check_recipe
from synthio.progress import Reporter
from synthio.stages.retrieve import corpus_root
from synthio.verdict import Comparison
from synthio.writing import write_text


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of the draws (`of_shard`): machines or processes share a bench without talking."""

    index: int
    count: int


def parse_shard(text: str) -> Shard:
    """``0/2`` is the first of two. Raises: `ConfigError` for anything else."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(f"--shard is {text!r}; expected i/k with 0 <= i < k, for example 0/2 and 1/2")
    return Shard(int(index), int(count))


class _Finished(Frozen):
    """A cell on disk."""

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
        return datasets.index(cell.dataset) + recipe.sizes_of(cell.dataset).index(cell.n) + cell.seed

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
    return {name: known_mean(scores[label] for label in labels) for name, labels in frequency_thirds(counts).items()}


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
    contents = Contents(recipe)
    # Where the data cannot be read now, nothing says that a figure is of other data.
    made = [
        finished.result
        for cell, finished in files.items()
        if contents.key(cell, finished.result.recipe) in (None, finished.content)
    ]
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
        return settings_key(run_config(recipe, Cell(dataset, recipe.sizes_of(dataset)[0], 0, arm)))

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
