"""`synthio predict`: a trained classifier on new files."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

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

commands = typer.Typer()

Rows = Sequence[Mapping[str, Any]]


@commands.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or a trained classifier: the `model` in it.")],
    files: Annotated[list[Path], typer.Argument(help="Audio files, or folders with some.")],
    window_s: Annotated[
        float | None, typer.Option("--window-s", help="Hear long recordings in windows of so many seconds.")
    ] = None,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`.")] = "auto",
    as_csv: Annotated[
        bool, typer.Option("--csv", help="One row per file or window: labels, probability per class.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify audio files with a trained classifier."""
    if as_csv and as_json:
        raise ConfigError("expected one of --csv and --json, found both")
    from synthio.api import predict as predict_files
    from synthio.audio import with_folders
    from synthio.datasets.rows import clean

    wanted = with_folders(files)
    with reporter_of(quiet).task("predict", len(wanted)) as advance:
        found: list[dict[str, Any]] = []
        for predicted in predict_files(model, wanted, window_s=window_s, device=device):
            name = clean(str(predicted.path))
            if found and name != found[-1]["path"]:
                advance(1)
            found.append(vars(predicted) | {"path": name})
        advance(1)

    print_result(found, as_json, lambda: _print_csv(found) if as_csv else _print_lines(found))
    # A silent window is an answer of its own; a file that cannot be heard at all is a failure.
    failed = [row for row in found if row["failed"] and (window_s is None or not row["end_s"])]
    _tell(found, failed if as_csv or as_json else [])
    if failed:
        raise typer.Exit(DataError.exit_code)


def _print_lines(found: Rows) -> None:
    files = Counter(row["path"] for row in found)
    console = console_of(soft_wrap=True)
    for row in found:
        labels = ", ".join(f"{label} {row['scores'][label]:.2f}" for label in row["labels"])
        where = f" {row['start_s']:.2f} to {row['end_s']:.2f} s" if files[row["path"]] > 1 and row["end_s"] else ""
        console.print(f"{row['path']}{where}: {row['failed'] or labels or 'none'}", markup=False, highlight=False)


_COLUMNS = ("path", "start_s", "end_s", "labels", "failed")


def _print_csv(found: Rows) -> None:
    classes = next((list(row["scores"]) for row in found if row["scores"]), [])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"score: {name}" if name in _COLUMNS else name for name in classes)])
    for row in found:
        scores = (f"{row['scores'][name]:.6f}" if row["scores"] else "" for name in classes)
        span = (f"{row[name]:.3f}" for name in ("start_s", "end_s"))
        writer.writerow([row["path"], *span, "|".join(row["labels"]), row["failed"], *scores])
    print_data(table.getvalue().removesuffix("\n"))


def _tell(found: Rows, failed: Rows) -> None:
    """What the answers do not say: which files ``failed``, and which were not heard to the end."""
    told = console_of(stderr=True, soft_wrap=True)
    for row in failed:
        told.print(f"{row['path']}: {row['failed']}", style="yellow", markup=False)
    if unheard := [row for row in found if row["unheard_s"]]:
        told.print(
            f"{len(unheard)} file(s) are longer than what the classifier hears, and only their beginning was heard (of "
            f"{unheard[0]['path']} all but {unheard[0]['unheard_s']:.1f} s); --window-s hears all, window by window",
            style="yellow",
            markup=False,
        )
