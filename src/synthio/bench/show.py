"""Collect what a bench has finished and write its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio.bench.arms import resolve_arms
from synthio.bench.recipe import BenchRecipe, plan, run_config
from synthio.bench.render import to_html, to_latex, to_markdown
from synthio.bench.results import Result, read_results, write_results
from synthio.bench.runner import finished_cells
from synthio.bench.statistics import redraw_correction
from synthio.bench.tables import BenchTables, make_tables
from synthio.config import DataConfig
from synthio.errors import DataError
from synthio.store import write_text


@dataclass(frozen=True)
class Shown:
    """The tables and where they were written."""

    tables: BenchTables
    markdown: str
    files: tuple[Path, ...]
    stale: int
    """Finished cells that were left out: made with other settings or models than the recipe's and today's."""


def show(recipe: BenchRecipe, results: Sequence[Path] = ()) -> Shown:
    """The tables of the bench's finished cells, or of those in the CSV files ``results``, of whatever settings.

    Raises: `DataError` for files that cannot be read or contradict each other, and when there is no cell.
    """
    if not results:
        return show_finished(recipe)
    cells = {cell.key for cells in plan(recipe).values() for cell in cells}
    return _write(recipe, [result for result in read_results(results) if result.cell in cells], 0)


def show_finished(recipe: BenchRecipe, known: Sequence[Result] = ()) -> Shown:
    """The tables of the bench's finished cells and of the ``known`` ones that it did not make itself."""
    found, stale = finished_cells(recipe)
    return _write(recipe, list({result.cell: result for result in (*known, *found)}.values()), stale)


def _write(recipe: BenchRecipe, found: Sequence[Result], stale: int) -> Shown:
    """Write results.csv and the tables to the bench's folder."""
    cells = [cell for cells in plan(recipe).values() for cell in cells]
    if not found and not stale:
        raise DataError(
            f"{recipe.output}: 0 of {len(cells)} cells are finished; run `synthio bench` with the same recipe"
        )
    _check_settings(found)
    arms = resolve_arms(recipe.arms, recipe.own_arms)
    one_each = {cell.dataset: cell for cell in cells}.values()
    tables = make_tables(
        found,
        recipe.reference,
        {name: arm.title for name, arm in arms.items()},
        len(cells),
        _corrections({cell.dataset: run_config(recipe, arms, cell).data for cell in one_each}, found),
    )
    markdown = to_markdown(tables)
    table = recipe.output / "results.csv"
    write_results(table, found)
    pages = {"tables.md": markdown, "tables.tex": to_latex(tables), "tables.html": to_html(tables)}
    for name, text in pages.items():
        write_text(recipe.output / name, text)
    return Shown(tables, markdown, (table, *(recipe.output / name for name in pages)), stale)


def _corrections(of_dataset: Mapping[str, DataConfig], found: Sequence[Result]) -> dict[str, float]:
    """The `redraw_correction` of each dataset whose seeds draw its test. Results of before do not say: there
    ``data.split_method: random`` does."""
    fractions: dict[str, float] = {}
    for result in found:
        data = of_dataset[result.dataset]
        guessed = data.test_fraction if data.split_method == "random" else 0.0
        told = guessed if result.test_fraction is None else result.test_fraction
        fractions[result.dataset] = max(told, fractions.get(result.dataset, 0.0))
    return {name: redraw_correction(fraction) for name, fraction in fractions.items() if fraction > 0}


def _check_settings(results: Sequence[Result]) -> None:
    """An arm's cells of one dataset must come from one recipe. Raises: `DataError` when they do not."""
    recipes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for result in results:
        recipes[result.dataset, result.arm].add(result.recipe)
    if mixed := [f"{arm} on {dataset}" for (dataset, arm), keys in sorted(recipes.items()) if len(keys) > 1]:
        raise DataError(
            f"results of {', '.join(mixed)} come from different settings or models; expected one per arm and dataset: "
            "leave out the older files"
        )
