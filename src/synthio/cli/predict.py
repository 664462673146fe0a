"""`synthio predict`: a trained classifier on new files."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from synthio.cli.common import (
    Json,
    Quiet,
    console_of,
    print_result,
    reporter_of,
    silence_library_bars,
)
from synthio.errors import DataError

commands = typer.Typer()


@commands.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A trained classifier: the `model` that `synthio run` names.")],
    files: Annotated[list[Path], typer.Argument(help="Audio files, or folders with some.")],
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`.")] = "auto",
    as_csv: Annotated[bool, typer.Option("--csv", help="Path, labels and the probability of every class.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify audio files with a trained classifier."""

    from synthio.api import predict as predict_files
    from synthio.audio import with_folders
    from synthio.datasets.rows import clean

    wanted = with_folders(files)
    silence_library_bars()
    with reporter_of(quiet).task("predict", len(wanted)) as advance:
        found: list[dict[str, Any]] = []
        for predicted in predict_files(model, wanted, device=device):
            found.append(vars(predicted) | {"path": clean(str(predicted.path))})
            advance(1)

    def text() -> None:
        console = console_of(soft_wrap=True)
        for row in found:
            labels = ", ".join(f"{label} {row['scores'][label]:.2f}" for label in row["labels"])
            console.print(f"{row['path']}: {row['failed'] or labels or 'none'}", markup=False, highlight=False)

    def table() -> None:
        classes = next((list(row["scores"]) for row in found if row["scores"]), [])
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["path", "labels", *classes])
        for row in found:
            scores = (f"{row['scores'][name]:.6f}" for name in classes if row["scores"])
            writer.writerow([row["path"], "|".join(row["labels"]), *scores])

    print_result(found, as_json, table if as_csv else text)
    told = console_of(stderr=True, soft_wrap=True)
    failed = [row for row in found if row["failed"]]
    for row in failed if as_csv or as_json else []:
        told.print(f"{row['path']}: {row['failed']}", style="yellow", markup=False)
    if unheard := [row for row in found if row["unheard_s"]]:
        told.print(
            f"{len(unheard)} file(s) are longer than what the classifier hears, and only their beginning was heard (of "
            f"{unheard[0]['path']} all but {unheard[0]['unheard_s']:.1f} s); cut longer recordings into clips",
            style="yellow",
            markup=False,
        )
    if failed:
        raise typer.Exit(DataError.exit_code)
