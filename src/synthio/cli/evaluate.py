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
    from synthio.evaluation_page import change, table_rows
    from synthio.pipeline import Pipeline
    from synthio.stages.evaluate import Evaluation

    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet), may_run=("clips", "align", "evaluate"))
    page = as_given(pipeline.run_stage("evaluate"), pipeline)
    evaluation = pipeline.folders.evaluate.summary_as(Evaluation)

    def text() -> None:
        console = console_of()
        table = Table("measure", "real", *evaluation.generated)
        for row in table_rows(evaluation):
            table.add_row(row.measure, *row.values)
        console.print(table)
        if "aligned" in evaluation.generated:
            console.print(change(evaluation.generated["base"], evaluation.generated["aligned"]))
        console.print(f"samples: {page}", soft_wrap=True)

    print_result({**evaluation.model_dump(mode="json"), "page": str(page)}, as_json, text)
