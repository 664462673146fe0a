"""What a bench would run, and whether its data can be drawn, before any model loads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthio.backends.quiet import quiet
from synthio.bench.recipe import BenchRecipe, run_config
from synthio.bench.results import Result
from synthio.bench.runner import Shard, check_cells, finished_cells, of_shard
from synthio.errors import SynthioError
from synthio.formats import some
from synthio.progress import Reporter
from synthio.stages.clips import draw_problems


@dataclass(frozen=True)
class BenchPlan:
    """Of one shard."""

    draws: int
    cells: int
    finished: int
    problems: Mapping[str, str]
    """Of the draws of data that cannot be made, or of cells that cannot use them; and what models and arms lack."""


@quiet("transformers")
def plan_bench(recipe: BenchRecipe, shard: Shard, known: Sequence[Result], reporter: Reporter) -> BenchPlan:
    """Count, and open the files that every draw would use; all files where the splits are drawn without groups.

    ``known``: as of `run_cells`. Raises: `ConfigError` for a recipe that cannot be planned.
    """
    draws = of_shard(recipe, shard)
    configs = {cell: run_config(recipe, cell) for cells in draws.values() for cell in cells}
    finished = {result.cell for result in (*known, *finished_cells(recipe)[0])} & {cell.key for cell in configs}
    problems: dict[str, str] = {}
    with reporter.task("draws of data", len(draws)) as advance:
        for name, cells in draws.items():
            found = map("; ".join, draw_problems([configs[cell] for cell in cells]))
            stopped = {cell.name: why for cell, why in zip(cells, found, strict=True) if why}
            # What stops every cell in the same way is of the draw.
            shared = len(stopped) == len(cells) and len(set(stopped.values())) == 1
            problems |= {name: stopped[cells[0].name]} if shared else stopped
            advance(1)
    try:
        check_cells(recipe, [config for cell, config in configs.items() if cell.key not in finished])
    except SynthioError as error:
        problems["models and arms"] = str(error)
    return BenchPlan(len(draws), len(configs), len(finished), problems)


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """Lines ``esc50-n50-s0, esc50-n50-s1: reason``: what has the same reason is told once."""
    names = defaultdict(list)
    for name, reason in reasons.items():
        names[reason].append(name)
    return [f"{some(own)}: {reason}" for reason, own in names.items()]
