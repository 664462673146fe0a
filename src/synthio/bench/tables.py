"""From results to tables: one per n, with arms as rows and datasets as columns. `bench.render` shows them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal, TypeVar

from synthio.bench import paper
from synthio.bench.results import Result
from synthio.bench.statistics import (
    Estimate,
    RankAgreement,
    estimate,
    holm,
    paired_differences,
    rank_agreement,
    regret,
    stratified,
)
from synthio.errors import DataError
from synthio.formats import in_percent
from synthio.metrics import CONFIDENCE

Mark = Literal["best", "second", ""]
Bin = Literal["head", "medium", "tail"]
Key = TypeVar("Key", bound=Hashable)

_GATED_ARM, _GATED_CHOICES = "synthio_auto", ("gold", "synthio")
BINS: tuple[Bin, ...] = ("head", "medium", "tail")


# --------------------------------------------------------------------------------------------------------- the values


@dataclass(frozen=True)
class ArmComparison:
    """An arm minus the reference, paired by seed: within a dataset, or over datasets that weigh the same each."""

    arm: str
    reference: str
    n: int
    datasets: tuple[str, ...]
    """The only one, or those pooled."""
    difference: Estimate
    """In fractions."""
    seeds: int
    """That both arms have; over several datasets, the fewest."""
    adjusted_p: float | None = None
    """By Holm over ``family``; None when there is no test."""
    family: int = 0
    """Comparisons that were tested together."""

    @property
    def significant(self) -> Literal["better", "worse", ""]:
        """After Holm's correction."""
        if self.adjusted_p is None or self.adjusted_p >= 1 - CONFIDENCE:
            return ""
        return "better" if self.difference.mean > 0 else "worse"


@dataclass(frozen=True)
class TableCell:
    """An arm on a dataset, or its mean over datasets."""

    score: Estimate
    """Fraction; of a mean over datasets, `stratified`."""
    seeds: int
    complete: bool
    """Whether the arm has every seed that any arm of the column has."""
    versus: ArmComparison | None
    """Against the reference; None for itself and without common seeds."""
    paper: float | None
    """The paper's number, a fraction."""
    mark: Mark = ""


@dataclass(frozen=True)
class Column:
    """A dataset."""

    dataset: str
    metric: str
    seeds: int
    """That any arm has."""


@dataclass(frozen=True)
class Row:
    """An arm."""

    arm: str
    title: str
    cells: tuple[TableCell | None, ...]
    """One per column; None where nothing is finished."""
    mean: TableCell | None
    """Over the datasets; None when there is one only, or one is missing."""
    added: float | None
    """Clips added to training, median over the cells."""
    cost_s: float | None
    """The arm's own trainings and every stage it needed, median over the cells."""


@dataclass(frozen=True)
class FrequencyRow:
    """An arm's mean score per class, by how frequent the classes are in long-tailed training data."""

    dataset: str
    arm: str
    title: str
    scores: Mapping[Bin, Estimate | None]
    seeds: Mapping[Bin, int]
    """That the arm has."""
    most: Mapping[Bin, int]
    """Seeds that any arm has on the dataset; 0 where no class is of that frequency."""


@dataclass(frozen=True)
class GateRegret:
    """What the gated arm gives away against the better of its two choices, over the cells that have all three.

    A cell, or a dataset, where it beats both counts below 0.
    """

    arm: str
    choices: tuple[str, str]
    cells: int
    let_in: int
    """Cells in which it added synthetic clips."""
    per_cell: float
    """Mean over cells: the better one chosen in every cell with hindsight, so the noise of seeds counts as regret."""
    per_dataset: float
    """Mean over datasets: the better one chosen once per dataset, by its mean over seeds."""
    least_gain: float
    """Smallest mean difference to the first choice, the reference, over datasets."""


@dataclass(frozen=True)
class BenchTable:
    """Everything about one n."""

    n: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[ArmComparison, ...]
    """Every arm against the reference on every dataset, one family."""
    pooled: tuple[ArmComparison, ...]
    """Every arm against the reference over at least two datasets, a family of its own."""
    ranking: RankAgreement | None
    """Order of the arms' means over the paper's datasets, against the paper's."""
    frequency: tuple[FrequencyRow, ...]
    gate: GateRegret | None
    """None without finished cells of the gated arm."""


@dataclass(frozen=True)
class BenchTables:
    """The benchmark as far as it is finished."""

    reference: str
    reference_title: str
    finished: int
    """Cells (dataset, n, arm, seed)."""
    expected: int
    tables: tuple[BenchTable, ...]
    redrawn: tuple[str, ...]
    """Datasets whose seeds draw their own test clips."""
    other_settings: Mapping[str, int]
    """By dataset, cells of other settings or models than the recipe's."""


@dataclass(frozen=True)
class _Scores:
    """Results of one n."""

    results: Mapping[tuple[str, str], Mapping[int, Result]]
    """By (dataset, arm), then by seed."""
    corrections: Mapping[str, float]
    """By dataset: `redraw_correction`; 0 where it has none."""

    def own(self, dataset: str, arm: str) -> Mapping[int, Result]:
        """By seed."""
        return self.results.get((dataset, arm), {})

    def values(self, dataset: str, arm: str) -> dict[int, float]:
        """Scores by seed."""
        return {seed: result.value for seed, result in self.own(dataset, arm).items()}

    def estimate(self, dataset: str, values: Sequence[float]) -> Estimate:
        """Of one dataset's values, one per seed."""
        return estimate(values, self.corrections.get(dataset, 0.0))

    def stratified(self, values: Mapping[str, Sequence[float]]) -> Estimate:
        """Over datasets, of each one's values."""
        return stratified(list(values.values()), [self.corrections.get(name, 0.0) for name in values])


def make_tables(
    results: Sequence[Result],
    reference: str,
    arm_titles: Mapping[str, str],
    expected_cells: int,
    corrections: Mapping[str, float],
    other_settings: Mapping[str, int],
) -> BenchTables:
    """Tables of results with at most one row per cell, as `read_results` gives them.

    ``arm_titles`` gives every arm's name for people, in the order of the rows; arms without a result are left out.
    ``corrections`` has the `redraw_correction` of datasets whose seeds draw their own test clips, ``other_settings``
    the number of cells that do not fit the recipe, by dataset.
    Raises: `DataError` when a dataset has two metrics.
    """
    _check_metrics(results)
    present = {result.arm for result in results}
    titles = {arm: title for arm, title in arm_titles.items() if arm in present}
    tables = tuple(
        _table(n, [result for result in results if result.n == n], reference, titles, corrections)
        for n in sorted({result.n for result in results})
    )
    redrawn = tuple(sorted({result.dataset for result in results} & corrections.keys()))
    return BenchTables(reference, arm_titles[reference], len(results), expected_cells, tables, redrawn, other_settings)


def _check_metrics(results: Iterable[Result]) -> None:
    metrics: dict[str, set[str]] = {}
    for result in results:
        metrics.setdefault(result.dataset, set()).add(result.metric)
    for dataset, found in metrics.items():
        if len(found) > 1:
            raise DataError(
                f"dataset {dataset!r} has results in {' and '.join(sorted(found))}; expected one metric per dataset; "
                "leave out the files with the other one"
            )


def _table(
    n: int, results: Sequence[Result], reference: str, titles: Mapping[str, str], corrections: Mapping[str, float]
) -> BenchTable:
    by_arm: dict[tuple[str, str], dict[int, Result]] = {}
    for result in results:
        by_arm.setdefault((result.dataset, result.arm), {})[result.seed] = result
    scores = _Scores(by_arm, corrections)
    columns = _columns(results)
    datasets = [column.dataset for column in columns]
    comparisons = _adjusted(_compare(scores, n, arm, reference, [name]) for name in datasets for arm in titles)
    pooled = _adjusted(_compare(scores, n, arm, reference, datasets) for arm in titles if len(datasets) > 1)
    rows = _rows(scores, n, columns, titles, [*comparisons, *pooled])
    return BenchTable(
        n,
        columns,
        rows,
        comparisons,
        pooled,
        _ranking(n, columns, rows),
        _frequency(scores, datasets, titles),
        _gate_regret(scores, datasets),
    )


def _columns(results: Iterable[Result]) -> tuple[Column, ...]:
    """The paper's datasets in its order, then others by name."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for result in results:
        seeds.setdefault((result.dataset, result.metric), set()).add(result.seed)
    order = list(paper.DATASETS)
    place = {key: (order.index(key[0]) if key[0] in order else len(order), key[0]) for key in seeds}
    return tuple(Column(*key, len(seeds[key])) for key in sorted(seeds, key=place.__getitem__))


def _compare(scores: _Scores, n: int, arm: str, reference: str, datasets: Sequence[str]) -> ArmComparison | None:
    """None for the reference itself and without common seeds.

    Over several datasets, those with one common seed are left out while others have more, as they have no variance;
    None when fewer than two are left.
    """
    if arm == reference:
        return None
    paired = {name: paired_differences(scores.values(name, arm), scores.values(name, reference)) for name in datasets}
    fewest = 2 if any(len(found) > 1 for found in paired.values()) else 1
    used = {name: list(found.values()) for name, found in paired.items() if len(found) >= fewest}
    if len(used) < min(2, len(datasets)):
        return None
    return ArmComparison(arm, reference, n, tuple(used), scores.stratified(used), min(map(len, used.values())))


def _adjusted(comparisons: Iterable[ArmComparison | None]) -> tuple[ArmComparison, ...]:
    """One family: Holm's correction over those that can be tested."""
    there = [comparison for comparison in comparisons if comparison is not None]
    p_values = {index: p for index, c in enumerate(there) if (p := c.difference.p_value) is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return tuple(replace(c, adjusted_p=adjusted.get(index), family=len(p_values)) for index, c in enumerate(there))


def _rows(
    scores: _Scores, n: int, columns: Sequence[Column], titles: Mapping[str, str], comparisons: Sequence[ArmComparison]
) -> tuple[Row, ...]:
    versus = {(c.arm, c.datasets): c for c in comparisons}
    cells = {
        arm: [_cell(scores, n, column, arm, versus.get((arm, (column.dataset,)))) for column in columns]
        for arm in titles
    }
    every = tuple(column.dataset for column in columns)
    means = [_mean(scores, every, arm, cells[arm], versus.get((arm, every))) for arm in titles]
    # Marks are by column, rows by arm.
    marked = list(zip(*(_marked(column) for column in zip(*cells.values(), strict=True)), strict=True))
    return tuple(
        Row(arm, titles[arm], own, mean, *_effort(scores, every, arm))
        for arm, own, mean in zip(titles, marked, _marked(means), strict=True)
    )


def _cell(scores: _Scores, n: int, column: Column, arm: str, versus: ArmComparison | None) -> TableCell | None:
    values = list(scores.values(column.dataset, arm).values())
    if not values:
        return None
    # The paper has no balanced accuracy.
    number = None if column.metric == "balanced accuracy" else paper.paper_value(n, arm, column.dataset)
    return TableCell(scores.estimate(column.dataset, values), len(values), len(values) == column.seeds, versus, number)


def _mean(
    scores: _Scores, datasets: Sequence[str], arm: str, cells: Sequence[TableCell | None], versus: ArmComparison | None
) -> TableCell | None:
    there = [cell for cell in cells if cell is not None]
    if len(datasets) < 2 or len(there) < len(datasets):
        return None
    score = scores.stratified({name: list(scores.values(name, arm).values()) for name in datasets})
    numbers = [cell.paper for cell in there if cell.paper is not None]
    number = sum(numbers) / len(numbers) if len(numbers) == len(datasets) else None
    return TableCell(score, min(cell.seeds for cell in there), all(cell.complete for cell in there), versus, number)


def _marked(column: Sequence[TableCell | None]) -> list[TableCell | None]:
    """Best and second-best of the complete cells, compared as printed, so that equal numbers have equal marks."""
    ranked = sorted({in_percent(cell.score.mean) for cell in column if cell and cell.complete}, key=float, reverse=True)
    if len(ranked) < 2:
        return list(column)
    marks: dict[str, Mark] = {ranked[0]: "best", ranked[1]: "second"}
    return [
        cell and (replace(cell, mark=marks.get(in_percent(cell.score.mean), "")) if cell.complete else cell)
        for cell in column
    ]


def _effort(scores: _Scores, datasets: Sequence[str], arm: str) -> tuple[float | None, float | None]:
    """Added clips and seconds, medians over the cells."""
    own = [result for name in datasets for result in scores.own(name, arm).values()]
    if not own:
        return None, None
    return median(result.n_added for result in own), median(result.train_s + result.shared_s for result in own)


def _ranking(n: int, columns: Sequence[Column], rows: Sequence[Row]) -> RankAgreement | None:
    """Over the datasets that the paper has, and the arms that have all of them here and there.

    Only with all seeds: those that an arm lacks may be the hard ones.
    """
    shared = in_paper(n, columns)
    ours, papers = {}, {}
    for row in rows:
        cells = [row.cells[index] for index in shared]
        means = [cell.score.mean for cell in cells if cell is not None and cell.complete]
        numbers = [cell.paper for cell in cells if cell is not None and cell.paper is not None]
        if len(means) == len(numbers) == len(shared) > 0:
            ours[row.arm], papers[row.arm] = sum(means) / len(means), sum(numbers) / len(numbers)
    return rank_agreement(ours, papers)


def in_paper(n: int, columns: Sequence[Column]) -> list[int]:
    """Indices of the columns that the paper has numbers for."""
    return [index for index, c in enumerate(columns) if paper.paper_value(n, "gold", c.dataset) is not None]


def _gate_regret(scores: _Scores, datasets: Sequence[str]) -> GateRegret | None:
    arms = (_GATED_ARM, *_GATED_CHOICES)
    values = {
        arm: {(name, seed): v for name in datasets for seed, v in scores.values(name, arm).items()} for arm in arms
    }
    per_cell = _own_regret(values)
    if not per_cell:
        return None
    means: dict[str, dict[str, float]] = {arm: {} for arm in arms}
    for name in sorted({name for name, _ in per_cell}):
        for arm in arms:
            means[arm][name] = fmean(values[arm][cell] for cell in per_cell if cell[0] == name)
    gold = means[_GATED_CHOICES[0]]
    gains = [means[_GATED_ARM][name] - gold[name] for name in gold]
    return GateRegret(
        _GATED_ARM,
        _GATED_CHOICES,
        len(per_cell),
        sum(scores.own(name, _GATED_ARM)[seed].n_added > 0 for name, seed in per_cell),
        fmean(per_cell.values()),
        fmean(_own_regret(means).values()),
        min(gains),
    )


def _own_regret(values: Mapping[str, Mapping[Key, float]]) -> dict[Key, float]:
    return regret(values[_GATED_ARM], [values[arm] for arm in _GATED_CHOICES])


def _frequency(scores: _Scores, datasets: Sequence[str], titles: Mapping[str, str]) -> tuple[FrequencyRow, ...]:
    rows = []
    for dataset in datasets:
        by_arm = {arm: _by_bin(scores.own(dataset, arm)) for arm in titles}
        most = {name: len({seed for bins in by_arm.values() for seed in bins[name]}) for name in BINS}
        for arm, bins in by_arm.items():
            if any(bins.values()):
                found = {name: list(values.values()) for name, values in bins.items()}
                means = {name: scores.estimate(dataset, own) if own else None for name, own in found.items()}
                seeds = {name: len(own) for name, own in found.items()}
                rows.append(FrequencyRow(dataset, arm, titles[arm], means, seeds, most))
    return tuple(rows)


def _by_bin(results: Mapping[int, Result]) -> dict[Bin, dict[int, float]]:
    """Scores by seed."""
    return {
        name: {seed: v for seed, result in results.items() if (v := getattr(result, name)) is not None} for name in BINS
    }
