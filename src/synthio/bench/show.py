"""Collect what a bench has finished and write its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from synthio.bench.recipe import BenchRecipe, all_cells, resolve_arms
from synthio.bench.render import to_html, to_latex, to_markdown
from synthio.bench.results import Result, read_kept, read_results, write_results
from synthio.bench.runner import finished_cells, fitting_results
from synthio.bench.statistics import Estimate, redraw_correction
from synthio.bench.tables import ArmComparison, BenchTables, make_tables
from synthio.errors import DataError
from synthio.writing import write_text


@dataclass(frozen=True)
class Shown:
    """The tables and where they were written."""

    tables: BenchTables
    markdown: str
    files: tuple[Path, ...]
    stale: int
    """Finished cells that were left out: made with other settings or models than the recipe's and today's, or of
    other data than is there now, or read or compared otherwise."""


def show(recipe: BenchRecipe, results: Sequence[Path]) -> Shown:
    """The tables of the bench's finished cells, or of those in the CSV files ``results``: there also of other settings
    or models than the recipe's, which the tables then say.

    Raises: `DataError` for files that cannot be read or contradict each other, for arms of a dataset of which some
        fit the recipe and others do not, and when there is no cell.
    """
    cells = {cell.key for cell in all_cells(recipe)}
    if results:
        found, stale = [result for result in read_results(results) if result.cell in cells], 0
    else:
        found, stale = finished_cells(recipe)
    if not found and not stale:
        raise DataError(
            f"{recipe.output}: 0 of {len(cells)} cells are finished; run `synthio bench` with the same recipe"
        )
    return _write(recipe, found, stale, results)


def show_finished(recipe: BenchRecipe) -> Shown:
    """The tables of the bench's finished cells, also of none. Raises: `DataError` as `show` does for the others."""
    return _write(recipe, *finished_cells(recipe))


def with_intervals(value: Any) -> Any:
    """Tables, or a part of them, for JSON: their fields, the interval of every estimate, and each comparison's p-value
    before correction."""
    if isinstance(value, Mapping):
        return {key: with_intervals(own) for key, own in value.items()}
    if isinstance(value, tuple):
        return [with_intervals(own) for own in value]
    if not is_dataclass(value):
        return value
    told = {field.name: with_intervals(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Estimate):
        return {**told, "low": value.low, "high": value.high}
    return {**told, "p_value": value.difference.p_value} if isinstance(value, ArmComparison) else told


def _write(recipe: BenchRecipe, found: Sequence[Result], stale: int, sources: Sequence[Path] = ()) -> Shown:
    """Write results.csv and the tables to the bench's folder, over none of the ``sources``."""
    cells = all_cells(recipe)
    _check_settings(found)
    tables = make_tables(
        found,
        recipe.reference,
        {name: arm.title for name, arm in resolve_arms(recipe).items()},
        len(cells),
        _corrections(found),
        _other_settings(recipe, found),
    )
    markdown = to_markdown(tables)
    pages = {"tables.md": markdown, "tables.tex": to_latex(tables), "tables.html": to_html(tables)}
    table = recipe.output / "results.csv"
    written = [recipe.output / name for name in pages]
    # It may have rows that are no cells of this recipe, and nowhere else.
    if table.resolve() not in {path.resolve() for path in sources}:
        write_results(table, [*found, *_beside(table, {cell.key for cell in cells}, found)])
        written.insert(0, table)
    for name, text in pages.items():
        write_text(recipe.output / name, text)
    return Shown(tables, markdown, tuple(written), stale)


def _beside(table: Path, cells: Collection[tuple[str, int, str, int]], found: Sequence[Result]) -> list[Result]:
    """Rows of results.csv that are no ``cells`` of the recipe: it may have more arms, sizes or seeds than are asked for
    now. Without those of an arm that was ``found`` with other settings since, which `show` would refuse beside them.
    A damaged file has none: the cells' own files are what counts."""
    try:
        kept = [result for result in read_kept(table) if result.cell not in cells]
    except DataError:
        return []
    today = {(result.dataset, result.arm): result.recipe for result in found}
    return [result for result in kept if today.get((result.dataset, result.arm), result.recipe) == result.recipe]


def _corrections(found: Sequence[Result]) -> dict[str, float]:
    """The `redraw_correction` of each dataset whose seeds draw its test."""
    fractions: dict[str, float] = {}
    for result in found:
        fractions[result.dataset] = max(result.test_fraction, fractions.get(result.dataset, 0.0))
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


def _other_settings(recipe: BenchRecipe, found: Sequence[Result]) -> dict[str, int]:
    """Cells of other settings or models than the recipe's and today's, by dataset.

    Raises: `DataError` for a dataset with such cells and others: their arms were not made alike.
    """
    fitting = {result.cell for result in fitting_results(recipe, found)}
    others: dict[str, int] = {}
    for dataset in sorted({result.dataset for result in found}):
        own = [result for result in found if result.dataset == dataset]
        misfits = [result for result in own if result.cell not in fitting]
        if misfits and len(misfits) < len(own):
            arms = sorted({result.arm for result in misfits})
            rest = sorted({result.arm for result in own} - set(arms))
            raise DataError(
                f"results of {', '.join(arms)} on {dataset} are of other settings or models than this recipe's, those "
                f"of {', '.join(rest)} are not; expected arms that were made alike: leave out the older files, show "
                "the arms apart (arms=[...]), or do it where the models are"
            )
        if misfits:
            others[dataset] = len(misfits)
    return others
