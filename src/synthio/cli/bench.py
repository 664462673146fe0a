"""`synthio bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from synthio.cli.common import (
    Json,
    Overrides,
    Quiet,
    console_of,
    fail_after,
    print_result,
    reporter_of,
)
from synthio.errors import BenchIncomplete

if TYPE_CHECKING:
    from synthio.bench.dry_run import BenchPlan
    from synthio.bench.show import Shown


class _RunByDefault(TyperGroup):
    """`synthio bench RECIPE` is `synthio bench run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Compare arms: datasets x sizes x arms x seeds. `synthio bench RECIPE` means `synthio bench run RECIPE`.",
)


@commands.command("run")
def bench_run(
    recipe: Annotated[Path, typer.Argument(help="The bench recipe (a YAML file); see docs/comparing.md.")],
    overrides: Overrides = None,
    shard: Annotated[str, typer.Option(help="i/k: run only part i (from 0) of k parts of the draws of data.")] = "0/1",
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="results.csv of an earlier run. Its cells are kept, and not run again where settings and models fit."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count cells, check the data of each draw, and stop before any model loads."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the cells that are not finished, then write the tables. Resumes where it stopped."""
    from synthio.bench.dry_run import grouped, plan_bench
    from synthio.bench.recipe import BenchRecipe
    from synthio.bench.results import read_results
    from synthio.bench.runner import fitting_results, given_file, keep_given, parse_shard, run_cells
    from synthio.bench.show import show_finished
    from synthio.recipes import load_recipe

    part = parse_shard(shard)
    bench = load_recipe(recipe, overrides or [], BenchRecipe)
    if dry_run:
        known = fitting_results(bench, read_results(results or []))
        _show_plan(plan_bench(bench, part, known, reporter_of(quiet)), as_json)
        return
    given = keep_given(bench, read_results(results or []))
    known = fitting_results(bench, given)
    reporter = reporter_of(quiet)
    if given:
        reporter.note(
            f"{len(known)} of {len(given)} cells of --results fit this recipe and are not run again; they are kept in "
            f"{given_file(bench)}"
        )
    failed = run_cells(bench, part, reporter, known)
    _show_bench(show_finished(bench), failed, as_json)
    if failed:
        told = f"{len(failed)} cell(s) failed; the tables have of these only what was finished before"
        fail_after(BenchIncomplete("\n".join([told, *grouped(failed)])), as_json)


def _show_plan(plan: BenchPlan, as_json: bool) -> None:
    from synthio.bench.dry_run import grouped

    def text() -> None:
        print(f"{plan.draws} draws of data, {plan.cells} cells; finished are {plan.finished}")
        console = console_of(soft_wrap=True)
        for dataset, warnings in plan.warnings.items():
            for warning in warnings:
                console.print(f"warning: {dataset}: {warning}", style="yellow")

    print_result(plan, as_json, text)
    if plan.problems:
        told = f"{len(plan.problems)} problem(s), with which cells would fail"
        fail_after(BenchIncomplete("\n".join([told, *grouped(plan.problems)])), as_json)


@commands.command("show")
def bench_show(
    recipe: Annotated[Path, typer.Argument(help="The bench recipe (a YAML file).")],
    overrides: Overrides = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="results.csv of a shard. Shards are joined, and the bench's own folder is not read."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the tables of the cells that are finished so far. Nothing runs."""
    from synthio.bench.recipe import BenchRecipe
    from synthio.bench.show import show
    from synthio.recipes import load_recipe

    _show_bench(show(load_recipe(recipe, overrides or [], BenchRecipe), results or []), {}, as_json)


def _show_bench(shown: Shown, failed: dict[str, str], as_json: bool) -> None:
    from synthio.bench.render import settings_note
    from synthio.bench.show import with_intervals

    def text() -> None:
        print(shown.markdown)
        told = console_of(stderr=True)
        for path in shown.files:
            told.print(str(path), soft_wrap=True)
        if note := settings_note(shown.tables):
            told.print(note, style="yellow")
        if shown.stale:
            told.print(
                f"{shown.stale} finished cell(s) of other settings, models or data are left out; `synthio bench` makes "
                "them again",
                style="yellow",
            )

    value = {"files": list(map(str, shown.files)), "stale": shown.stale, "failed": failed}
    print_result({**with_intervals(shown.tables), **value}, as_json, text)
