"""`synthio predict`: a trained classifier on new files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synthio.cli.common import (
    Json,
    Quiet,
    console_of,
    print_data,
    print_result,
    reporter_of,
)
from synthio.errors import ConfigError, DataError
from synthio.formats import printable
from synthio.writing import csv_line

if TYPE_CHECKING:
    from synthio.api import FilePrediction
    from synthio.progress import Advance, Reporter

commands = typer.Typer()

Row = Mapping[str, Any]
Form = Literal["lines", "csv", "json"]


@commands.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or a trained classifier (the folder `model` in it).")],
    files: Annotated[list[Path], typer.Argument(help="Audio files, or folders with audio files.")],
    window_s: Annotated[
        float | None, typer.Option("--window-s", help="Classify long recordings in windows of this many seconds.")
    ] = None,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`.")] = "auto",
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print CSV: one row per file or window, with its labels and the probability of each class."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify new audio files with a trained classifier."""
    if as_csv and as_json:
        raise ConfigError("expected one of --csv and --json, found both")
    from synthio.api import predict as predict_files
    from synthio.files import with_folders

    wanted = with_folders(files)
    answers = predict_files(model, wanted, window_s=window_s, device=device)
    form: Form = "csv" if as_csv else "json" if as_json else "lines"
    print_answers(answers, sum(parts(path, window_s) for path in wanted), window_s, form, reporter_of(quiet))


def print_answers(
    answers: Iterable[FilePrediction], expected: int, window_s: float | None, form: Form, reporter: Reporter
) -> None:
    """Each answer as it comes, JSON at the end. ``expected``: how many, for the bar.

    Raises: `typer.Exit` where a file could not be heard.
    """
    found: list[Row] = []
    with reporter.task("predict", expected) as advance:
        rows = _counted(answers, found, expected, advance)
        if form == "csv":
            _print_csv(rows)
        elif form == "lines":
            _print_lines(rows, window_s)
        else:
            list(rows)
    # JSON is one document, of all.
    print_result(found, form == "json", lambda: None)
    # A silent window is an answer of its own; a file that cannot be heard at all is a failure.
    failed = [row for row in found if row["failed"] and (window_s is None or not row["end_s"])]
    _tell(found, failed if form != "lines" else [])
    if failed:
        raise typer.Exit(DataError.exit_code)


def parts(path: Path, window_s: float | None) -> int:
    """Windows of a file, by its header; 1 where it has no say."""
    from synthio.audio import duration_s

    try:
        return 1 if window_s is None else max(1, math.ceil(duration_s(path) / window_s))
    except DataError:
        return 1


def _counted(answers: Iterable[FilePrediction], found: list[Row], expected: int, advance: Advance) -> Iterator[Row]:
    """The answers as rows, each kept in ``found``. ``expected``: how many; headers may be wrong."""
    from synthio.datasets.rows import normalised_text

    for answer in answers:
        found.append(vars(answer) | {"path": normalised_text(str(answer.path))})
        yield found[-1]
        advance(min(1, expected))
        expected -= min(1, expected)
    advance(expected)


def _print_lines(rows: Iterable[Row], window_s: float | None) -> None:
    for row in rows:
        labels = ", ".join(f"{label} {row['scores'][label]:.2f}" for label in row["labels"])
        where = f" {row['start_s']:.2f} to {row['end_s']:.2f} s" if window_s is not None and row["end_s"] else ""
        # A console of its own would write into the bar.
        print(printable(f"{row['path']}{where}: {row['failed'] or labels or 'none'}"), flush=True)


_COLUMNS = ("path", "start_s", "end_s", "labels", "failed")


def _print_csv(rows: Iterator[Row]) -> None:
    """The header waits for the first row that names the classes."""
    ahead: list[Row] = []
    while not (ahead and ahead[-1]["scores"]) and (row := next(rows, None)) is not None:
        ahead.append(row)
    classes = list(ahead[-1]["scores"]) if ahead else []
    _print_cells([*_COLUMNS, *(f"score: {name}" if name in _COLUMNS else name for name in classes)])
    for row in chain(ahead, rows):
        scores = (f"{row['scores'][name]:.6f}" if row["scores"] else "" for name in classes)
        span = (f"{row[name]:.3f}" for name in ("start_s", "end_s"))
        _print_cells([row["path"], *span, "|".join(row["labels"]), row["failed"], *scores])


def _print_cells(cells: Sequence[str]) -> None:
    print_data(csv_line(cells))


def _tell(found: Sequence[Row], failed: Sequence[Row]) -> None:
    """What the answers do not say: which files ``failed``, and which were not heard to the end."""
    told = console_of(stderr=True, soft_wrap=True)
    for row in failed:
        told.print(f"{row['path']}: {row['failed']}", style="yellow")
    if unheard := [row for row in found if row["unheard_s"]]:
        told.print(
            f"{len(unheard)} file(s) are longer than what the classifier hears, and only their beginning was heard (of "
            f"{unheard[0]['path']} all but {unheard[0]['unheard_s']:.1f} s); --window-s hears all, window by window",
            style="yellow",
        )
