"""`synthio data`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from synthio.cli.common import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    console_of,
    fail_after,
    print_result,
    reporter_of,
)
from synthio.errors import DataError

if TYPE_CHECKING:
    from synthio.data_check import DataCheck
    from synthio.datasets.cut import Cut
    from synthio.datasets.hub import Exported
    from synthio.datasets.prepare import Prepared

commands = typer.Typer(no_args_is_help=True, help="Check and prepare the data before a run.")


@commands.command("check")
def data_check(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Show counts, groups, durations, unusable files and everything in the data that would stop a run."""
    from synthio.config import RunConfig
    from synthio.data_check import check_data
    from synthio.recipes import load_recipe

    # Nothing is written, so that a run that was copied may be looked at.
    config = load_recipe(recipe, overrides or [], RunConfig)
    check = check_data(config, reporter_of(as_json))

    def text() -> None:
        console = console_of()
        console.print(f"domain: {config.data.domain}")
        _show_data(console, check)

    print_result(check, as_json, text)
    if check.problems:
        told = f"{len(check.problems)} problem(s) would stop a run"
        fail_after(DataError("\n".join([told, *check.problems])), as_json)


def _show_data(console: Console, check: DataCheck) -> None:
    from synthio.datasets.checks import rejection_lines
    from synthio.records import SPLITS

    if check.counts:
        table = Table("class", *SPLITS)
        for label, row in sorted(check.counts.items()):
            table.add_row(label, *(str(row[split]) for split in SPLITS))
        table.add_section()
        table.add_row("clips", *(str(check.splits[split]) for split in SPLITS))
        console.print(table)
        groups = ", ".join(f"{count} in {split}" for split, count in check.groups.items())
        console.print(f"groups: {groups if any(check.groups.values()) else 'none, every clip stands for itself'}")
        durations = (check.duration_min_s, check.duration_median_s, check.duration_max_s)
        console.print("durations: {:.2f} to {:.2f} to {:.2f} s (least, median, most)".format(*durations))
    for line in rejection_lines(check.rejected):
        console.print(f"unusable: {line}", style="yellow", soft_wrap=True)
    for warning in check.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if not check.problems:
        console.print("nothing here stops a run")


@commands.command("list")
def data_list(as_json: Json = False) -> None:
    """List the readers that this installation knows, and the official datasets among them."""
    from synthio.datasets import OFFICIAL, READERS
    from synthio.registry import plugins

    own = ["auto", *(name for name in READERS if name not in OFFICIAL)]
    added = [name for name in plugins("data.reader") if name not in {*own, *OFFICIAL}]
    facts = ("title", "column", "metric", "domain", "licence", "homepage")
    value = {
        "readers": [*own, *OFFICIAL, *added],
        "official": {name: {fact: getattr(found, fact) for fact in facts} for name, found in OFFICIAL.items()},
    }

    def text() -> None:
        from rich.table import Column

        console = console_of()
        console.print(f"readers: {', '.join(own)}, and the official datasets of the paper:")
        table = Table(
            Column("reader", no_wrap=True), "dataset", "table 1", "licence", Column("homepage", overflow="fold")
        )
        for name, found in OFFICIAL.items():
            table.add_row(name, found.title, found.column, found.licence, found.homepage)
        console.print(table)
        if added:
            console.print(f"of plug-ins: {', '.join(added)}")

    print_result(value, as_json, text)


@commands.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="An official dataset: a name that `synthio data list` shows.")],
    root: Annotated[
        Path, typer.Option(help="The folder with the archives of the dataset, or with the unpacked dataset.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Verify and unpack the archives of an official dataset, and count its clips. Downloads nothing."""
    from synthio.datasets.prepare import prepare as prepare_dataset

    prepared = prepare_dataset(name, root, reporter_of(quiet or as_json))
    print_result(prepared, as_json, lambda: _show_prepared(prepared))


def _show_prepared(prepared: Prepared) -> None:
    from synthio.datasets.prepare import NOT_HERE

    console = console_of(soft_wrap=True)
    here = {archive: what for archive, what in prepared.archives.items() if what != NOT_HERE}
    for archive, what in here.items():
        console.print(f"{archive}: {what}")
    if missing := [archive for archive in prepared.archives if archive not in here]:
        console.print(f"not here (needed only to unpack): {', '.join(missing)}")
    table = Table("class", *prepared.splits)
    for label, counts in prepared.counts.items():
        table.add_row(label, *map(str, counts.values()))
    table.add_section()
    table.add_row("files", *map(str, prepared.splits.values()))
    console.print(table)
    for reason, count in prepared.rejected.items():
        console.print(f"{count} rejected: {reason}", style="yellow")
    console.print(f"recipe (or include recipes/datasets/{prepared.name}.yaml and set data.path):")
    console.print(prepared.recipe)


@commands.command("cut")
def data_cut(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Annotations: CSV, TSV or JSONL tables, Raven selection tables, Audacity label files."),
    ],
    output: Annotated[Path, typer.Option(help="The folder to write the clips and their table to.")],
    audio: Annotated[
        Path | None, typer.Option(help="The folder with the recordings. Default: the folder of each table.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The name of the column with the label.")] = None,
    recording_column: Annotated[
        str | None,
        typer.Option(
            help="The column that names the recording. Default: a column with a usual name, else the table's name."
        ),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="The column with the site, device or animal whose clips stay in one split (`folder`: the folders of "
            "the recordings). Default: the column `group`, else the recording."
        ),
    ] = None,
    margin_s: Annotated[float, typer.Option(min=0, help="Seconds to add before and after every annotation.")] = 0.0,
    max_duration_s: Annotated[
        float, typer.Option(min=0.1, max=120, help="Longer annotations are cut into equal pieces.")
    ] = 10.0,
    rest_label: Annotated[
        str | None, typer.Option(help="Also cut as many clips of what is not annotated, with this label.")
    ] = None,
    drop_overlapping: Annotated[
        bool, typer.Option("--drop-overlapping", help="Leave out clips that also contain a sound with another label.")
    ] = False,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Leave out annotations for which a detector's confidence (BirdNET's `Confidence`) was lower."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Cut clips out of annotated long recordings: one clip per sound, with the recording as the group."""
    from synthio.datasets.annotations import ColumnNames
    from synthio.datasets.cut import CutConfig, cut_recordings

    columns = ColumnNames(label_column, recording_column, group_column)
    config = CutConfig(output, audio, columns, margin_s, max_duration_s, rest_label, drop_overlapping, min_confidence)
    cut = cut_recordings(tables, config, reporter_of(quiet or as_json))
    print_result(cut, as_json, lambda: _show_cut(cut, max_duration_s))


def _show_counts(console: Console, counts: Mapping[str, int]) -> None:
    table = Table("class", "clips")
    for label, count in counts.items():
        table.add_row(label, str(count))
    console.print(table)


def _show_cut(cut: Cut, max_duration_s: float) -> None:
    console = console_of(soft_wrap=True)
    _show_counts(console, cut.counts)
    for columns, count in cut.columns.items():
        console.print(f"{count} table(s): {columns}")
    told = f"{sum(cut.counts.values())} clips of {cut.recordings} recording(s) in {cut.groups} group(s)"
    console.print(told)
    if cut.overlapping:
        console.print(
            f"{cut.overlapping} clip(s) also hold a sound of another label (column `also`): a classifier of one label "
            "per clip learns better without them (--drop-overlapping)",
            style="yellow",
        )
    for reason, count in cut.rejected.items():
        console.print(f"{count} annotation(s) not cut: {reason} (rejected.csv)", style="yellow")
    console.print("recipe:")
    line = f"data: {{path: {json.dumps(cut.table, ensure_ascii=False)}, max_duration_s: {max_duration_s:g}}}"
    console.print(line)


@commands.command("export")
def data_export(
    source: Annotated[
        str,
        typer.Argument(help="A folder that `save_to_disk` wrote, a folder of data files, or OWNER/NAME on the hub."),
    ],
    output: Annotated[Path, typer.Option(help="The folder to write the clips and their table to.")],
    subset: Annotated[str | None, typer.Option(help="The configuration of a dataset that has several.")] = None,
    revision: Annotated[str | None, typer.Option(help="The commit or tag on the hub. Default: the newest.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="A split to write, as the dataset calls it (repeatable). Default: all.")
    ] = None,
    audio_column: Annotated[
        str | None, typer.Option(help="The column with the audio, where there are several.")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="The column with the label. Default: `label`, `labels`, or the only column of class labels."),
    ] = None,
    label_separator: Annotated[str, typer.Option(help="What to write between several labels of a clip.")] = "|",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write out the clips of a Hugging Face dataset as files, with their table. Needs the package `datasets`."""
    from synthio.datasets.hub import ExportConfig, export_dataset

    config = ExportConfig(output, subset, revision, tuple(split or ()), audio_column, label_column, label_separator)
    exported = export_dataset(source, config, reporter_of(quiet or as_json))
    print_result(exported, as_json, lambda: _show_exported(exported))


def _show_exported(exported: Exported) -> None:
    console = console_of(soft_wrap=True)
    _show_counts(console, exported.counts)
    splits = ", ".join(f"{count} {split}" for split, count in exported.splits.items())
    console.print(f"clips: {splits}; labels of the column {exported.label_column!r}")
    if exported.columns:
        console.print(f"other columns (data.group_column may name one): {', '.join(exported.columns)}")
    if exported.missing:
        console.print(
            f"{exported.missing} clip(s) have no audio in the dataset; `data check` lists them", style="yellow"
        )
    console.print("recipe:")
    separator = exported.label_separator
    several = "" if separator is None else f", label_separator: {json.dumps(separator, ensure_ascii=False)}"
    line = f"data: {{path: {json.dumps(exported.table, ensure_ascii=False)}{several}}}"
    console.print(line)
