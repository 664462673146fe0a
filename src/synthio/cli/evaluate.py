"""`synthio evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from synthio.cli.common import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    as_given,
    config_of,
    console_of,
    print_result,
    reporter_of,
)
from synthio.errors import ConfigError
from synthio.formats import MISSING, in_points, percent

if TYPE_CHECKING:
    from synthio.listening import Listening
    from synthio.metrics import Interval

commands = typer.Typer(no_args_is_help=True, help="Evaluate one part of the method alone.")


@commands.command("t2a")
def evaluate_t2a(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Have an independent judge compare the generator before and after alignment, on template prompts. Aligns first.
    For data with one label per clip."""
    from synthio.evaluation import evaluate, finished_evaluation
    from synthio.evaluation_page import table_rows
    from synthio.pipeline import Pipeline

    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet), may_run=("clips", "align", "evaluate"))
    page = as_given(evaluate(pipeline), pipeline)
    finished = finished_evaluation(pipeline)
    evaluation = finished.evaluation

    def text() -> None:
        console = console_of()
        table = Table("measure", "real", *evaluation.generated)
        for row in table_rows(evaluation):
            table.add_row(row.measure, *row.values)
        console.print(table)
        console.print(finished.alignment)
        console.print(f"samples: {page}", soft_wrap=True)

    words = {"alignment": finished.alignment, "warnings": finished.warnings, "page": str(page)}
    print_result({**evaluation.model_dump(mode="json"), **words}, as_json, text)


@commands.command("listening")
def evaluate_listening(
    recipe: Recipe,
    overrides: Overrides = None,
    clips: Annotated[
        int, typer.Option(min=4, max=2000, help="How many clips a new test has, half of them synthetic.")
    ] = 60,
    only: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only clips with this label (repeatable). Default: those of all classes."),
    ] = None,
    answers: Annotated[
        list[Path] | None,
        typer.Option(help="A filled-in answers.csv: says what this listener found. One per listener."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a blind listening test of real and accepted synthetic clips, or say what its answers show (--answers)."""
    from synthio.evaluation import make_listening_test
    from synthio.listening import evaluate_answers, read_answers, read_solution
    from synthio.pipeline import Pipeline

    if answers and only:
        raise ConfigError("--class is for a new test; the answers are of all clips of the test that is there")
    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet=True), may_run=())
    if not answers:
        page = as_given(make_listening_test(pipeline, clips, only or ()), pipeline)
        told = f"listening test: {page}\nanswers go to:  {page.with_name('answers.csv')}"
        words = {"page": str(page), "answers": str(page.with_name("answers.csv"))}
        print_result(words, as_json, lambda: console_of(soft_wrap=True).print(told))
        return
    solution = read_solution(pipeline.root / "listening")
    found = [evaluate_answers(path, solution, read_answers(path, solution)) for path in answers]

    def text() -> None:
        for listener in found:
            _show_listening(listener)

    print_result({"listeners": found}, as_json, text)


def _show_listening(found: Listening) -> None:
    console = console_of()
    table = Table(str(found.answers), "real clips", "synthetic clips", "synthetic minus real, points")
    counts = found.recognised.clips
    table.add_row("clips with an answer", str(counts["real"]), str(counts["synthetic"]), "")
    measures = {"recognised": found.recognised, "taken for real": found.taken_for_real}
    for name, shares in measures.items():
        columns = (_with_interval(found_share, percent) for found_share in (shares.real, shares.synthetic))
        table.add_row(name, *columns, _with_interval(shares.difference, in_points))
    console.print(table)
    for name, shares in measures.items():
        if all(shares.clips.values()):
            console.print(shares.compared(name))
    by_class = Table("recognised, by class", "real clips", "synthetic clips")
    for label, kinds in found.per_class.items():
        by_class.add_row(label, *(f"{right} of {asked}" for right, asked in (kinds["real"], kinds["synthetic"])))
    console.print(by_class)
    for mistake in found.mistakes:
        heard = ", ".join(mistake.heard) or "none of the classes"
        wanted = ", ".join(mistake.labels)
        console.print(f"clip {mistake.number}: {wanted}, heard as {heard} ({mistake.clip_id})", soft_wrap=True)


def _with_interval(found: Interval, shown: Callable[[float], str]) -> str:
    if math.isnan(found.mean):
        return MISSING
    return f"{shown(found.mean)} ({shown(found.low)} to {shown(found.high)})"
