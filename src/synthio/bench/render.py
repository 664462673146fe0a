"""Tables of the benchmark for people: Markdown, LaTeX and HTML.

`_section` puts the numbers into words once, and the three renderers only lay words out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from synthio import pages
from synthio.bench.statistics import Estimate
from synthio.bench.tables import (
    BINS,
    ArmComparison,
    BenchTable,
    BenchTables,
    Bin,
    FrequencyRow,
    GateRegret,
    Mark,
    Row,
    TableCell,
    in_paper,
)
from synthio.formats import in_percent, in_points, markdown, printable
from synthio.metrics import CONFIDENCE

MISSING = "."
_VERDICT_ARM = "synthio"


def verdict(comparison: ArmComparison) -> str:
    """The comparison in a sentence or two. It helped, or hurt, only where the whole interval is on one side of 0."""
    c = comparison
    where = c.datasets[0] if len(c.datasets) == 1 else f"mean over {len(c.datasets)} datasets"
    found = f"{where}, n = {c.n}: {c.arm} minus {c.reference}: {in_points(c.difference.mean)} points"
    low, high = _possible(c.difference)
    if c.adjusted_p is None or low is None or high is None:
        reason = "one common seed" if c.seeds == 1 else f"the same in all {c.seeds} seeds"
        return f"{found} ({reason}, so no interval). No claim."
    interval = f"{100 * CONFIDENCE:.0f}% CI {in_percent(low)} to {in_percent(high)}"
    found += f" ({interval}; Holm-adjusted {_p_words(c.adjusted_p)}; {_seeds(c.seeds)}). "
    if low <= 0 <= high:
        return f"{found}Not shown to help or to hurt."
    effect = "helped" if low > 0 else "hurt"
    if c.significant:
        return f"{found}{c.arm} {effect}."
    return f"{found}{c.arm} {effect} by this comparison alone; not shown after correction for all {c.family} of them."


def _possible(difference: Estimate) -> tuple[float | None, float | None]:
    """The interval, where a t interval of few seeds may reach beyond what scores, which are shares, can differ by."""
    low, high = difference.low, difference.high
    return None if low is None else max(low, -1.0), None if high is None else min(high, 1.0)


def _p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


@dataclass(frozen=True)
class Entry:
    """A table's field in words: ``text``, set by ``mark``, and what follows it."""

    text: str
    mark: Mark = ""
    after: str = ""


@dataclass(frozen=True)
class Grid:
    """A table in words."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class SizeSection:
    """One n in words."""

    heading: str
    grids: tuple[Grid, ...]
    sentences: tuple[str, ...]


def _section(table: BenchTable, reference_title: str) -> SizeSection:
    grids = [_score_grid(table), *_difference_grids(table, reference_title)]
    if table.frequency:
        grids.append(_frequency_grid(table))
    told = [*table.pooled, *table.comparisons]
    sentences = [verdict(comparison) for comparison in told if comparison.arm == _VERDICT_ARM]
    if table.ranking is not None:
        sentences.append(
            f"Order of the arms against the paper's: Spearman {table.ranking.spearman:.2f}, Kendall "
            f"{table.ranking.kendall:.2f} over {table.ranking.arms} arms with all seeds, by their means "
            f"over {len(in_paper(table.n, table.columns))} of the paper's ten datasets."
        )
    if table.gate is not None:
        sentences.append(_gate_sentence(table.gate))
    return SizeSection(f"n = {table.n}", tuple(grids), tuple(sentences))


def _gate_sentence(gate: GateRegret) -> str:
    choices = " and ".join(gate.choices)
    return (
        f"The gate ({gate.arm}) took synthetic clips in {gate.let_in} of {gate.cells} cells: "
        f"{in_points(gate.least_gain)} points against {gate.choices[0]} on the dataset where that is least; regret "
        f"against the better of {choices} {in_percent(gate.per_dataset)} points when that is chosen once per dataset, "
        f"{in_percent(gate.per_cell)} when it is chosen in each cell with hindsight, where the noise of seeds counts "
        "too; what beats both counts below 0."
    )


def _score_grid(table: BenchTable) -> Grid:
    means = len(table.columns) > 1
    heads = [f"{c.dataset} ({c.metric}, {_seeds(c.seeds)})" for c in table.columns]
    header = ("arm", *heads, *(["mean over datasets"] if means else []), "added clips", "cost (s)")
    rows = []
    for row in table.rows:
        most = [column.seeds for column in table.columns]
        entries = [_entry(cell, seeds) for cell, seeds in zip(row.cells, most, strict=True)]
        if means:
            entries.append(_entry(row.mean, min(most)))
        effort = [Entry(MISSING if value is None else f"{value:,.0f}") for value in (row.added, row.cost_s)]
        rows.append((Entry(row.title), *entries, *effort))
    return Grid(f"Scores in percent, n = {table.n}", header, tuple(rows))


def _entry(cell: TableCell | None, seeds: int) -> Entry:
    if cell is None:
        return Entry(MISSING)
    after = _spread(cell.score)
    if cell.versus is not None and cell.versus.significant:
        after.append("↑" if cell.versus.significant == "better" else "↓")
    if not cell.complete:
        after += _missing(cell.seeds, seeds) or ["(partial)"]
    if cell.paper is not None:
        after.append(f"[{100 * cell.paper:.2f}]")  # As the paper prints it.
    return Entry(in_percent(cell.score.mean), cell.mark, " ".join(after))


def _spread(score: Estimate) -> list[str]:
    return [] if score.half_width is None else [f"± {in_percent(min(score.half_width, 1.0))}"]


def _missing(seeds: int, most: int) -> list[str]:
    return [f"({seeds} of {_seeds(most)})"] if seeds < most else []


def _difference_grids(table: BenchTable, reference_title: str) -> list[Grid]:
    """Over the datasets, then for each of them."""
    grids = []
    if table.pooled:
        caption = f"Mean difference from {reference_title} over datasets, n = {table.n}"
        counts = {"datasets": lambda c: f"{len(c.datasets)} of {len(table.columns)}", "fewest seeds": _seeds_of}
        grids.append(_difference_grid(table, table.pooled, caption, counts))
    for column in table.columns:
        if own := [c for c in table.comparisons if c.datasets == (column.dataset,)]:
            caption = f"Difference from {reference_title} on {column.dataset}, n = {table.n}"
            grids.append(_difference_grid(table, own, caption, {"seeds": _seeds_of}))
    return grids


def _seeds_of(comparison: ArmComparison) -> str:
    return str(comparison.seeds)


def _difference_grid(
    table: BenchTable,
    comparisons: Iterable[ArmComparison],
    caption: str,
    counts: Mapping[str, Callable[[ArmComparison], str]],
) -> Grid:
    """``counts``: further columns, and what they say of each comparison."""
    interval = f"{100 * CONFIDENCE:.0f}% interval"
    titles = {row.arm: row.title for row in table.rows}
    rows = []
    for c in comparisons:
        (low, high), p = _possible(c.difference), c.difference.p_value
        tested = [MISSING] * 3
        if c.adjusted_p is not None and low is not None and high is not None and p is not None:
            tested = [f"{in_points(low)} to {in_points(high)}", _p(p), _p(c.adjusted_p)]
        words = (titles[c.arm], in_points(c.difference.mean), *tested, *(count(c) for count in counts.values()))
        rows.append(tuple(Entry(word) for word in words))
    return Grid(caption, ("arm", "difference (points)", interval, "p", "p after Holm", *counts), tuple(rows))


def _p(p: float) -> str:
    return _p_words(p).removeprefix("p ").removeprefix("= ")


def _frequency_grid(table: BenchTable) -> Grid:
    def entry(row: FrequencyRow, name: Bin) -> Entry:
        score = row.scores[name]
        if score is None:
            return Entry(MISSING)
        after = [*_spread(score), *_missing(row.seeds[name], row.most[name])]
        return Entry(in_percent(score.mean), after=" ".join(after))

    rows = tuple(
        (Entry(row.dataset), Entry(row.title), *(entry(row, name) for name in BINS)) for row in table.frequency
    )
    caption = f"Mean score per class in percent, by frequency of the class in training, n = {table.n}"
    return Grid(caption, ("dataset", "arm", *BINS), rows)


def _progress(tables: BenchTables) -> str:
    return f"{tables.finished} of {tables.expected} cells finished."


def settings_note(tables: BenchTables) -> str:
    """Which cells are of other settings or models than the recipe's; empty when none is."""
    if not tables.other_settings:
        return ""
    return (
        f"{sum(tables.other_settings.values())} of {tables.finished} cells are of other settings or models than this "
        f"recipe's: all of {', '.join(tables.other_settings)}."
    )


def _shown(table: BenchTable, row: Row) -> tuple[TableCell | None, ...]:
    return row.cells if len(table.columns) == 1 else (*row.cells, row.mean)


def _notes(tables: BenchTables, best: str, second: str) -> list[str]:
    """How to read the tables; ``best`` and ``second`` say how the renderer sets the marks."""
    cells = [cell for table in tables.tables for row in table.rows for cell in _shown(table, row)]
    scores = (
        f"Scores are percent on the test split, means over seeds; ± is half of the {100 * CONFIDENCE:.0f}% Student's t "
        "interval over seeds, none where all seeds have the same score. It covers what changes with the seed, so "
        "neither other test clips where the split is fixed nor other datasets."
    )
    marks = (
        f"{best}: best mean of a column; {second}: second-best. Numbers that print alike share a mark, and only arms "
        "with all seeds of the column compete (for the mean, of all columns)."
    )
    notes = [scores, marks, *_comparison_notes(tables)]
    if told := settings_note(tables):
        notes.insert(0, told)
    if tables.redrawn:
        notes.append(
            f"{', '.join(tables.redrawn)}: every seed draws its own groups for test and training, and the draws share "
            "some. Intervals and tests count that (Nadeau and Bengio 2003). More seeds narrow them little, more groups "
            "would."
        )
    notes += _missing_notes(tables, cells)
    if any(cell is not None and cell.paper is not None for cell in cells):
        notes.append("[x]: Table 1 of the paper, arXiv:2410.02056; its splits, seeds and metric may differ from ours.")
    notes.append(
        "Added clips and cost are medians over cells. Cost is the seconds of the arm's own trainings and of every "
        "stage that it needed, counted in full even when other arms share it."
    )
    if any(table.frequency for table in tables.tables):
        notes.append("Head, medium and tail: the classes that are most, middling and least frequent in training.")
    return notes


def _missing_notes(tables: BenchTables, cells: Sequence[TableCell | None]) -> list[str]:
    """Only of what there is."""
    compared = _compared(tables)
    scores = [score for table in tables.tables for row in table.frequency for score in row.scores.values()]
    notes = []
    if any(cell is None for cell in cells):
        notes.append(f"{MISSING} among the scores: not finished yet.")
    if any(cell is not None and not cell.complete for cell in cells):
        notes.append("(k of m seeds), (partial): some seeds are missing.")
    if any(comparison.adjusted_p is None for comparison in compared):
        notes.append(
            f"{MISSING} beside a difference: no test and no interval, as there is one common seed, or the same "
            "difference in all of them."
        )
    if any(score is None for score in scores):
        notes.append(f"{MISSING} among head, medium and tail: no score of a class of that frequency.")
    return notes


def _compared(tables: BenchTables) -> list[ArmComparison]:
    return [comparison for table in tables.tables for comparison in (*table.comparisons, *table.pooled)]


def _comparison_notes(tables: BenchTables) -> list[str]:
    compared = _compared(tables)
    name = tables.reference_title
    if not compared:
        return [f"No comparisons: no other arm shares a finished seed with the reference, {name}."]
    tested = ", ".join(f"{t.comparisons[0].family} for n = {t.n}" for t in tables.tables if t.comparisons)
    alpha = f"{1 - CONFIDENCE:.2f}"
    notes = [
        f"↑ better, ↓ worse than {name}: paired t-test on the seeds that both have (at least "
        f"{min(comparison.seeds for comparison in compared)}), p < {alpha} after Holm's correction over all tested "
        f"comparisons of the table ({tested}). Differences that do not vary over seeds are not tested. With few seeds, "
        "only large differences can show, and the test leans on normal differences."
    ]
    if any(table.pooled for table in tables.tables):
        notes.append(
            "Over datasets, every dataset's mean difference weighs the same; the variance is the sum of the datasets' "
            "own over their number squared, with Welch-Satterthwaite degrees of freedom, and Holm's correction is over "
            "the arms. Datasets with one common seed are left out while others have more. The datasets are taken as "
            "given: this says nothing about others. Metrics are averaged as they are."
        )
    return notes


# ----------------------------------------------------------------------------------------------------------- renderers

_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    # Braced, since a row may not begin with a bracket: \\ would take it for its argument.
    | {"[": "{[}", "]": "{]}", "\n": " ", "\r": " "}
)


def to_markdown(tables: BenchTables) -> str:
    """For GitHub, and for a terminal; names are escaped."""
    blocks = ["# Benchmark", _progress(tables)]
    for section in (_section(table, tables.reference_title) for table in tables.tables):
        blocks.append(f"## {section.heading}")
        blocks += [f"{markdown(grid.caption)}:\n\n{_markdown_grid(grid)}" for grid in section.grids]
        if section.sentences:
            blocks.append("\n".join(f"- {markdown(sentence)}" for sentence in section.sentences))
    blocks.append("## How to read this")
    blocks.append("\n".join(f"- {markdown(note)}" for note in _notes(tables, "Bold", "italic")))
    return "\n\n".join(blocks) + "\n"


def _markdown_grid(grid: Grid) -> str:
    lines = [[markdown(name) for name in grid.header], ["---", *["---:"] * (len(grid.header) - 1)]]
    lines += [[_markdown_entry(entry) for entry in row] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_entry(entry: Entry) -> str:
    form = {"best": "**{}**", "second": "_{}_", "": "{}"}[entry.mark]
    return f"{form.format(markdown(entry.text))} {markdown(entry.after)}".rstrip()


def to_latex(tables: BenchTables) -> str:
    """To ``\\input`` into a document with the package booktabs; names are escaped."""
    blocks = [r"% Needs \usepackage{booktabs}.", _latex(_progress(tables))]
    for section in (_section(table, tables.reference_title) for table in tables.tables):
        blocks += [_latex_grid(grid) for grid in section.grids]
        if section.sentences:
            blocks.append(_latex_list(section.sentences))
    blocks.append(_latex_list(_notes(tables, "Bold", "underlined")))
    return "\n\n".join(blocks) + "\n"


def _latex(text: str) -> str:
    signed = re.sub(r"(?<![\w$])-(?=\d)", "−", text).translate(_LATEX)
    return printable(signed).replace("−", "$-$")


def _latex_list(sentences: Sequence[str]) -> str:
    items = "\n".join(rf"\item {_latex(sentence)}" for sentence in sentences)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"


def _latex_grid(grid: Grid) -> str:
    lines = [
        r"\begin{table*}\centering\small\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex(grid.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
        r"\toprule",
        _latex_row(_latex(name) for name in grid.header),
        r"\midrule",
        *(_latex_row(_latex_entry(entry) for entry in row) for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines)


def _latex_row(fields: Iterable[str]) -> str:
    return rf"{' & '.join(fields)} \\"


def _latex_entry(entry: Entry) -> str:
    before, behind = {"best": (r"\textbf{", "}"), "second": (r"\underline{", "}"), "": ("", "")}[entry.mark]
    return f"{before}{_latex(entry.text)}{behind} {_latex(entry.after)}".rstrip()


def to_html(tables: BenchTables) -> str:
    """A page that needs nothing else; everything is escaped."""
    return pages.render(
        "bench",
        progress=_progress(tables),
        sections=[_section(table, tables.reference_title) for table in tables.tables],
        notes=_notes(tables, "Bold", "underlined"),
    )
