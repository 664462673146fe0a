"""What a bench would run, and whether its data can be drawn, before any model loads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from synthio.backends.quiet import quiet
from synthio.bench.recipe import BenchRecipe, Cell, run_config
from synthio.bench.results import Result
from synthio.bench.runner import Shard, check_cells, finished_cells, of_shard
from synthio.data_check import DataCheck, check_draw
from synthio.errors import SynthioError
from synthio.formats import some
from synthio.plan import run_warnings
from synthio.progress import Reporter


@dataclass(frozen=True)
class BenchPlan:
    """Of one shard."""

    draws: int
    cells: int
    finished: int
    problems: Mapping[str, str]
    """Of the draws of data that cannot be made, or of cells that cannot use them; and what models and arms lack."""
    warnings: Mapping[str, tuple[str, ...]]
    """By dataset: what `synthio run --dry-run` would tell of its first draw with any of the arms. Of other draws it is
    much the same in other numbers."""


@quiet("transformers")
def plan_bench(recipe: BenchRecipe, shard: Shard, known: Sequence[Result], reporter: Reporter) -> BenchPlan:
    """Count, and open the files that every draw would use; all files where the splits are drawn without groups.

    ``known``: as of `run_cells`. Raises: `ConfigError` for a recipe that cannot be planned.
    """
    draws = of_shard(recipe, shard)
    configs = {cell: run_config(recipe, cell) for cells in draws.values() for cell in cells}
    finished = {result.cell for result in (*known, *finished_cells(recipe)[0])} & {cell.key for cell in configs}
    problems: dict[str, str] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    with reporter.task("draws of data", len(draws)) as advance:
        for name, cells in draws.items():
            drawn = [configs[cell] for cell in cells]
            checked = check_draw(drawn)
            problems |= _draw_problems(name, cells, checked)
            told = chain.from_iterable(map(run_warnings, drawn, checked))
            warnings.setdefault(cells[0].dataset, tuple(dict.fromkeys(told)))
            advance(1)
    try:
        check_cells(recipe, [config for cell, config in configs.items() if cell.key not in finished])
    except SynthioError as error:
        problems["models and arms"] = str(error)
    return BenchPlan(len(draws), len(configs), len(finished), problems, warnings)


def _draw_problems(draw: str, cells: Sequence[Cell], checked: Sequence[DataCheck]) -> dict[str, str]:
    """Why cells of a draw would fail, by name; what stops every cell in the same way is of the draw."""
    found = ["; ".join(check.problems) for check in checked]
    stopped = {cell.name: why for cell, why in zip(cells, found, strict=True) if why}
    shared = len(stopped) == len(cells) and len(set(stopped.values())) == 1
    return {draw: stopped[cells[0].name]} if shared else stopped


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """Lines ``esc50-n50-s0, esc50-n50-s1: reason``: what has the same reason is told once."""
    names = defaultdict(list)
    for name, reason in reasons.items():
        names[reason].append(name)
    return [f"{some(own)}: {reason}" for reason, own in names.items()]
