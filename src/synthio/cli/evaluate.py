"""`synthio evaluate`."""

from __future__ import annotations

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

commands = typer.Typer(no_args_is_help=True, help="Evaluate one part of the method alone.")


@commands.command("t2a")
def evaluate_t2a(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Have an independent judge compare the generator before and after alignment, on template prompts. Aligns first."""
    from synthio.evaluation_page import table_rows
    from synthio.pipeline import Pipeline

    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet), may_run=("clips", "align", "evaluate"))
    page = as_given(pipeline.run_stage("evaluate"), pipeline)
    finished = pipeline.finished_evaluation()
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
