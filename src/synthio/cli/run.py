"""`synthio run`, each stage as a command, and `synthio generate --prompt`."""

from __future__ import annotations

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
    print_data,
    print_result,
    reporter_of,
)
from synthio.errors import ConfigError

if TYPE_CHECKING:
    from synthio.pipeline import Pipeline
    from synthio.plan import Plan

commands = typer.Typer()


@commands.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop before any model loads.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run every stage: caption, imagine, align, generate, filter, reflect, train, report. Resumes where it stopped."""
    config = config_of(recipe, overrides)
    if dry_run:
        from synthio.plan import make_plan

        plan = make_plan(config)
        print_result(plan, as_json, lambda: _show_plan(plan))
        return
    from synthio.pipeline import Pipeline

    pipeline = Pipeline(config, reporter_of(quiet))
    pipeline.run()
    _show_result(pipeline, as_json)


@commands.command()
def preview(
    recipe: Recipe,
    overrides: Overrides = None,
    clips_per_class: Annotated[
        int, typer.Option(min=1, max=50, help="Training clips of each class to make a synthetic clip for.")
    ] = 2,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look and listen before a run: captions, synthetic clips and the filter's verdicts for a few training clips."""
    from synthio.formats import reason_words
    from synthio.preview import make_preview

    config = config_of(recipe, overrides)
    found = make_preview(config, clips_per_class, reporter_of(quiet))

    def text() -> None:
        console, reasons = console_of(), reason_words(config.filter.rule)
        table = Table("class", "caption of the real clip", "new caption", "filter")
        for example in found.examples:
            table.add_row(", ".join(example.labels), example.caption or "", example.prompt, reasons[example.reason])
        console.print(table)
        accepted = sum(example.reason == "accepted" for example in found.examples)
        console.print(f"the filter accepts {accepted} of {len(found.examples)} clips")
        console.print(f"preview: {found.page}", soft_wrap=True)

    print_result(found, as_json, text)


def _show_plan(plan: Plan) -> None:
    console = console_of()
    console.print(f"{plan.classes} classes; clips: {plan.clips}; unusable files: {plan.rejected}")
    table = Table("stage", "items", "of", "estimate")
    for row in plan.stages:
        left = "finished" if row.finished else _seconds(row.estimate_s, row.most_s)
        table.add_row(row.stage, str(row.items), row.unit, left)
    rows = plan.stages
    known = [(r.estimate_s, r.most_s) for r in rows if r.estimate_s is not None and r.most_s is not None]
    more = "" if len(known) == len(plan.stages) else "and what is unknown"
    total = _seconds(sum(least for least, _ in known), sum(most for _, most in known)) if known else "unknown"
    table.add_row("together", "", more, total)
    console.print(table)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def _seconds(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return "unknown"
    return f"{least:.0f} s" if round(least) == round(most) else f"{least:.0f} to {most:.0f} s"


def _show_result(pipeline: Pipeline, as_json: bool) -> None:
    from synthio.report_data import funnel_round

    finished = pipeline.finished()
    comparison = finished.comparison
    value = {
        "verdict": finished.verdict,
        "effect": finished.effect,
        "recommended_arm": finished.recommended_arm,
        "warnings": finished.warnings,
        "rejected_files": finished.clips_folder.summary()["rejected"],
        "comparison": comparison,
        "confusion": finished.confusion,
        "gate": finished.gate,
        "funnel": [funnel_round(r) for r in finished.rounds],
        "seconds": finished.seconds,
        "model": str(pipeline.config.run_folder / "model"),
        "model_seed": finished.model_seed,
        "report": str(as_given(finished.page, pipeline)),
        "dataset": str(pipeline.config.run_folder / "dataset") if finished.rounds else None,
    }

    def text() -> None:
        console = console_of()
        table = Table("arm", comparison.metric, "macro-F1", "real clips", "added clips")
        for arm in comparison.arms:
            spread = "" if arm.std is None else f" ± {100 * arm.std:.1f}"
            score = f"{100 * arm.mean:.1f}{spread}"
            table.add_row(arm.arm, score, f"{100 * arm.macro_f1:.1f}", str(arm.n_train), str(arm.n_added))
        if comparison.constant:
            always = comparison.constant
            score, f1 = f"{100 * always.mean:.1f}", f"{100 * always.macro_f1:.1f}"
            table.add_row(f"always {always.label!r}", score, f1, "", "", style="dim")
        console.print(table)
        console.print(finished.verdict, style="bold")
        for name in ("report", "dataset", "model"):
            if value[name] is not None:
                console.print(f"{name + ':':<9}{value[name]}", soft_wrap=True)

    print_result(value, as_json, text)


def _stage(stage: str, recipe: Path, overrides: list[str] | None, quiet: bool, as_json: bool) -> None:
    from synthio.pipeline import Pipeline

    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet), may_run=("clips", stage))
    result = as_given(pipeline.run_stage(stage), pipeline)
    print_result({"stage": stage, "result": str(result)}, as_json, lambda: print_data(str(result)))


def _stage_command(stage: str, help_text: str) -> None:
    @commands.command(stage, help=help_text)
    def command(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
        _stage(stage, recipe, overrides, quiet, as_json)


_stage_command("caption", "Write a caption for every real training clip.")
_stage_command("imagine", "Write new captions that keep the label.")
_stage_command("align", "Align the generator with the training clips.")


@commands.command()
def generate(
    recipe: Annotated[
        Path | None, typer.Argument(help="The recipe (a YAML file); with --prompt it may be left out.")
    ] = None,
    overrides: Overrides = None,
    prompt: Annotated[
        str | None, typer.Option(help="Generate one clip for this prompt, instead of running the stage.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --prompt: the file to write. Default: clip.flac.")
    ] = None,
    duration_s: Annotated[
        float | None, typer.Option(help="With --prompt: length of the clip, 0.1 to 120 s. Default: 2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --prompt: seed of the clip. Default: 0.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Generate clips for the new captions, or, with --prompt, one clip."""
    if prompt is None:
        if recipe is None:
            raise ConfigError("generate needs a recipe, or --prompt 'a sound' to try one prompt")
        if (output, duration_s, seed) != (None, None, None):
            raise ConfigError(
                "--output, --duration-s and --seed belong to --prompt; the stage takes them from the recipe"
            )
        _stage("generate", recipe, overrides, quiet, as_json)
        return
    from synthio.api import generate_clip

    config, reporter = None if recipe is None else config_of(recipe, overrides), reporter_of(quiet)
    output, seed = output or Path("clip.flac"), seed or 0
    duration_s = 2.0 if duration_s is None else duration_s
    clip = generate_clip(prompt, output, duration_s=duration_s, seed=seed, config=config, reporter=reporter)
    value = {"prompt": prompt, "seed": seed, "output": str(clip.path), "model": clip.model}
    print_result(value, as_json, lambda: print_data(str(clip.path)))


_stage_command("filter", "Filter the generated clips, and have rejected captions rewritten, for a few rounds.")
_stage_command("retrieve", "Find clips for the retrieval arm in another corpus.")
_stage_command("train", "Train and compare the classifiers.")


@commands.command()
def report(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Write the report page of a finished run, and print what `synthio run` prints."""
    from synthio.pipeline import Pipeline

    pipeline = Pipeline(config_of(recipe, overrides), reporter_of(quiet), may_run=("clips", "report"))
    pipeline.run_stage("report")
    _show_result(pipeline, as_json)
