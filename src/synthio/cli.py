"""The command line: parse, call, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from synthio.errors import BenchIncomplete, ConfigError, DataError, SynthioError

if TYPE_CHECKING:
    from synthio.config import RunConfig
    from synthio.progress import Reporter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn 50 to 500 labelled clips into a better classifier with aligned synthetic audio.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at the data before a run.")
pretrain_app = typer.Typer(no_args_is_help=True, help="Train the pocket models from a captioned corpus.")
app.add_typer(data_app, name="data")
app.add_typer(pretrain_app, name="pretrain")
evaluate_app = typer.Typer(no_args_is_help=True, help="Measure one part alone.")
app.add_typer(evaluate_app, name="evaluate")


class _RunByDefault(TyperGroup):
    """`synthio bench RECIPE` is `synthio bench run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=_RunByDefault, no_args_is_help=True, help="The comparison table: datasets x sizes x arms x seeds."
)
app.add_typer(bench_app, name="bench")

Recipe = Annotated[Path, typer.Argument(help="A recipe (YAML); see docs/configuration.md.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, for example train.seeds=5")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"synthio {version('synthio')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a `SynthioError` becomes one message and its exit code."""
    try:
        app()
    except SynthioError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
        _console(stderr=True, soft_wrap=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _console(stderr=True).print("interrupted: run the same command again, it resumes", style="yellow")
        raise SystemExit(130) from None


def _config(recipe: Path, overrides: list[str] | None) -> RunConfig:
    from synthio.config import RunConfig
    from synthio.recipes import load_recipe

    return load_recipe(recipe, overrides or [], RunConfig)


def _reporter(quiet: bool) -> Reporter:
    import logging
    import warnings

    from synthio.progress import ConsoleReporter, Reporter

    # The libraries' own chatter; our progress says what matters.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|torchsde|transformers|diffusers|peft|huggingface_hub)\.")
    return Reporter() if quiet else ConsoleReporter()


def _console(stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Labels and file names are not to become emoji. Wrapped softly, a path stays whole; tables need the hard wrap."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, emoji=False)


def _silence_library_bars() -> None:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _print(value: Any, as_json: bool, text: Callable[[], None]) -> None:
    if as_json:
        # JSON has no NaN: null.
        print(to_json(value, indent=2, inf_nan_mode="null", fallback=str).decode())
    else:
        text()


@app.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop before any model loads.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Every stage: align, caption, imagine, generate, filter, reflect, train, report. Resumes where it stopped."""
    config = _config(recipe, overrides)
    if dry_run:
        from synthio.plan import make_plan

        plan = make_plan(config)
        _print(plan.as_dict(), as_json, lambda: _show_plan(plan))
        return
    from synthio.pipeline import Pipeline

    _silence_library_bars()
    pipeline = Pipeline(config, _reporter(quiet))
    page = pipeline.run()
    _show_result(pipeline, page, as_json)


def _show_plan(plan: Any) -> None:
    console = _console()
    console.print(f"{plan.classes} classes; clips: {plan.clips}; unusable files: {plan.rejected}")
    table = Table("stage", "items", "of", "estimate")
    for row in plan.stages:
        table.add_row(row.stage, str(row.items), row.unit, _seconds(row.estimate_s, row.most_s))
    known = [(row.estimate_s, row.most_s) for row in plan.stages if row.estimate_s is not None]
    more = "" if len(known) == len(plan.stages) else "and what is unknown"
    table.add_row("together", "", more, _seconds(sum(least for least, _ in known), sum(most for _, most in known)))
    console.print(table)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)


def _seconds(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return "unknown"
    return f"{least:.0f} s" if round(least) == round(most) else f"{least:.0f} to {most:.0f} s"


def _show_result(pipeline: Any, page: Path, as_json: bool) -> None:
    from synthio import metrics
    from synthio.results import funnel_round

    finished = pipeline.finished()
    comparison = finished.comparison
    funnel = [funnel_round(r) for r in finished.rounds]
    verdict = metrics.verdict(comparison)
    value = {
        "verdict": verdict,
        "comparison": comparison.model_dump(mode="json"),
        "gate": None if finished.gate is None else finished.gate.model_dump(mode="json"),
        "funnel": [vars(row) for row in funnel],
        "seconds": finished.seconds,
        "model": str(finished.model_folder(metrics.recommended_arm(comparison))),
        "report": str(page),
        "dataset": str(pipeline.root / "dataset"),
    }

    def text() -> None:
        console = _console()
        table = Table("arm", comparison.metric, "macro-F1", "real clips", "added clips")
        for arm in comparison.arms:
            score = f"{100 * arm.mean:.1f} ± {100 * arm.std:.1f}"
            table.add_row(arm.arm, score, f"{100 * arm.macro_f1:.1f}", str(arm.n_train), str(arm.n_added))
        if comparison.constant:
            said, score, f1 = comparison.constant.label, comparison.constant.mean, comparison.constant.macro_f1
            table.add_row(escape(f"always {said!r}"), f"{100 * score:.1f}", f"{100 * f1:.1f}", "", "", style="dim")
        console.print(table)
        console.print(verdict, style="bold", markup=False)
        for name in ("report", "dataset", "model"):
            console.print(f"{name + ':':<9}{value[name]}", markup=False, highlight=False, soft_wrap=True)

    _print(value, as_json, text)


def _stage(stage: str, recipe: Path, overrides: list[str] | None, quiet: bool, as_json: bool) -> None:
    from synthio.pipeline import Pipeline

    _silence_library_bars()
    pipeline = Pipeline(_config(recipe, overrides), _reporter(quiet), may_run=("clips", stage))
    result = pipeline.run_stage(stage)
    _print({"stage": stage, "result": str(result)}, as_json, lambda: print(result))


@app.command()
def caption(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Describe the real training clips."""
    _stage("caption", recipe, overrides, quiet, as_json)


@app.command()
def align(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Align the generator with the training clips."""
    _stage("align", recipe, overrides, quiet, as_json)


@app.command()
def imagine(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Write new captions."""
    _stage("imagine", recipe, overrides, quiet, as_json)


@app.command()
def generate(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe; may be left out with --prompt.")] = None,
    overrides: Overrides = None,
    prompt: Annotated[str | None, typer.Option(help="Try one prompt instead of running the stage.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="With --prompt: the file to write.")] = Path(
        "clip.flac"
    ),
    duration_s: Annotated[float, typer.Option(min=0.1, max=120, help="With --prompt.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="With --prompt.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Generate clips for the imagined captions; or, with --prompt, one clip."""
    if prompt is None:
        if recipe is None:
            raise ConfigError("generate needs a recipe, or --prompt 'a sound' to try one prompt")
        _stage("generate", recipe, overrides, quiet, as_json)
        return
    if not prompt.strip():
        raise ConfigError("--prompt is empty; expected a sound, such as 'Sound of a flute'")
    from synthio.api import generate_clip

    _silence_library_bars()
    _reporter(quiet)
    config = None if recipe is None else _config(recipe, overrides)
    generate_clip(prompt, output, duration_s=duration_s, seed=seed, config=config)
    _print({"prompt": prompt, "seed": seed, "output": str(output)}, as_json, lambda: print(output))


@app.command("filter")
def filter_(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Judge the generated clips, and send rejected captions back, for a few rounds."""
    _stage("filter", recipe, overrides, quiet, as_json)


@app.command()
def retrieve(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Find the clips of the retrieval arm in another corpus."""
    _stage("retrieve", recipe, overrides, quiet, as_json)


@app.command()
def train(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Train and compare the classifiers."""
    _stage("train", recipe, overrides, quiet, as_json)


@app.command()
def report(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """Write the report page."""
    _stage("report", recipe, overrides, quiet, as_json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A trained classifier: the `model` that `synthio run` names.")],
    files: Annotated[list[Path], typer.Argument(help="Audio files, or folders with some.")],
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`.")] = "auto",
    as_csv: Annotated[bool, typer.Option("--csv", help="Path, labels and the probability of every class.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Classify audio files with a trained classifier."""
    import csv

    from synthio.api import predict as predict_files
    from synthio.audio import with_folders
    from synthio.datasets.rows import clean

    wanted = with_folders(files)
    _silence_library_bars()
    with _reporter(quiet).task("predict", len(wanted)) as advance:
        found: list[dict[str, Any]] = []
        for predicted in predict_files(model, wanted, device=device):
            found.append(vars(predicted) | {"path": clean(str(predicted.path))})
            advance(1)

    def text() -> None:
        console = _console(soft_wrap=True)
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

    _print(found, as_json, table if as_csv else text)
    told = _console(stderr=True, soft_wrap=True)
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


@evaluate_app.command("t2a")
def evaluate_t2a(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False, as_json: Json = False) -> None:
    """The generator on template prompts, base and aligned side by side, by an independent judge. Aligns first."""
    from synthio.evaluation_page import change, table_rows
    from synthio.pipeline import Pipeline
    from synthio.stages.evaluate import Evaluation

    _silence_library_bars()
    pipeline = Pipeline(_config(recipe, overrides), _reporter(quiet), may_run=("clips", "align", "evaluate"))
    page = pipeline.run_stage("evaluate")
    evaluation = Evaluation.model_validate(pipeline.evaluation_folder.summary())

    def text() -> None:
        console = _console()
        table = Table("measure", "real", *evaluation.generated)
        for row in table_rows(evaluation):
            table.add_row(row.measure, *row.values)
        console.print(table)
        if "aligned" in evaluation.generated:
            console.print(change(evaluation.generated["base"], evaluation.generated["aligned"]), markup=False)
        console.print(f"samples: {page}", markup=False, highlight=False, soft_wrap=True)

    _print({**evaluation.model_dump(mode="json"), "page": str(page)}, as_json, text)


@bench_app.command("run")
def bench_run(
    recipe: Annotated[Path, typer.Argument(help="A bench recipe (YAML); see docs/benchmark.md.")],
    overrides: Overrides = None,
    shard: Annotated[str, typer.Option(help="i/k: every k-th draw of data from the i-th on.")] = "0/1",
    results: Annotated[
        list[Path] | None,
        typer.Option(help="results.csv of an earlier run: kept, and not run again where settings and models fit."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run what is not finished, then write the tables. Resumes where it stopped."""
    from synthio.bench.recipe import BenchRecipe
    from synthio.bench.results import read_results
    from synthio.bench.runner import fitting_results, given_file, keep_given, parse_shard, run_cells
    from synthio.bench.show import show_finished
    from synthio.recipes import load_recipe

    part = parse_shard(shard)
    bench = load_recipe(recipe, overrides or [], BenchRecipe)
    given = keep_given(bench, read_results(results or []))
    known = fitting_results(bench, given)
    _silence_library_bars()
    reporter = _reporter(quiet)
    if given:
        reporter.note(
            f"{len(known)} of {len(given)} cells of --results fit this recipe and are not run again; they are kept in "
            f"{given_file(bench)}"
        )
    failed = run_cells(bench, part, reporter, known)
    _show_bench(show_finished(bench), failed, as_json)
    if failed and as_json:
        raise typer.Exit(BenchIncomplete.exit_code)
    if failed:
        lines = [f"{name}: {reason}" for name, reason in failed.items()]
        raise BenchIncomplete("\n".join([f"{len(failed)} cell(s) failed; the tables are without them", *lines]))


@bench_app.command("show")
def bench_show(
    recipe: Annotated[Path, typer.Argument(help="A bench recipe (YAML).")],
    overrides: Overrides = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="results.csv of shards to join, instead of the bench's own folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The tables of what is finished so far; nothing runs."""
    from synthio.bench.recipe import BenchRecipe
    from synthio.bench.show import show
    from synthio.recipes import load_recipe

    _show_bench(show(load_recipe(recipe, overrides or [], BenchRecipe), results or []), {}, as_json)


def _show_bench(shown: Any, failed: dict[str, str], as_json: bool) -> None:
    from dataclasses import asdict

    from synthio.bench.render import settings_note

    def text() -> None:
        print(shown.markdown)
        told = _console(stderr=True)
        for path in shown.files:
            told.print(str(path), markup=False, highlight=False, soft_wrap=True)
        if note := settings_note(shown.tables):
            told.print(note, style="yellow", markup=False)
        if shown.stale:
            told.print(
                f"{shown.stale} finished cell(s) of other settings or models are left out; `synthio bench` makes them "
                "again",
                style="yellow",
            )

    value = {"files": list(map(str, shown.files)), "stale": shown.stale, "failed": failed}
    _print({**asdict(shown.tables), **value}, as_json, text)


@data_app.command("check")
def data_check(recipe: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Counts, groups, durations, unusable files and everything in the data that would stop a run."""
    from synthio.stages.clips import check_data

    config = _config(recipe, overrides)
    check = check_data(config)

    def text() -> None:
        console = _console()
        console.print(f"domain: {config.data.domain}", markup=False)
        _show_data(console, check)

    _print(check.as_dict(), as_json, text)
    if check.problems and as_json:
        # They are in it; a second document would make the first unreadable.
        raise typer.Exit(DataError.exit_code)
    if check.problems:
        raise DataError("\n".join([f"{len(check.problems)} problem(s) would stop a run", *check.problems]))


def _show_data(console: Console, check: Any) -> None:
    if check.counts:
        table = Table("class", "train", "valid", "test")
        for label, row in sorted(check.counts.items()):
            table.add_row(escape(label), *(str(row[split]) for split in ("train", "valid", "test")))
        table.add_section()
        table.add_row("clips", *(str(check.splits[split]) for split in ("train", "valid", "test")))
        console.print(table)
        groups = ", ".join(f"{count} in {split}" for split, count in check.groups.items())
        console.print(f"groups: {groups if any(check.groups.values()) else 'none, every clip stands for itself'}")
        durations = (check.duration_min_s, check.duration_median_s, check.duration_max_s)
        console.print("durations: {:.2f} to {:.2f} to {:.2f} s (least, median, most)".format(*durations))
    by_reason: dict[str, list[str]] = {}
    for clip in check.rejected:
        by_reason.setdefault(clip.reason, []).append(clip.path)
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        console.print(f"unusable: {reason}: {', '.join(paths[:5])}{more}", style="yellow", markup=False)
    for warning in check.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if not check.problems:
        console.print("nothing here stops a run")


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """The readers that this installation knows, and the official datasets among them."""
    from synthio.datasets import OFFICIAL, READERS

    own = [name for name in READERS if name not in OFFICIAL]
    facts = ("title", "column", "metric", "domain", "licence", "homepage")
    value = {
        "readers": list(READERS),
        "official": {name: {fact: getattr(found, fact) for fact in facts} for name, found in OFFICIAL.items()},
    }

    def text() -> None:
        from rich.table import Column

        console = _console()
        console.print(f"readers: auto, {', '.join(own)}, and the official datasets of the paper:")
        table = Table(
            Column("reader", no_wrap=True), "dataset", "table 1", "licence", Column("homepage", overflow="fold")
        )
        for name, found in OFFICIAL.items():
            table.add_row(name, *map(escape, (found.title, found.column, found.licence, found.homepage)))
        console.print(table)

    _print(value, as_json, text)


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="An official dataset; `synthio data list` names them.")],
    root: Annotated[Path, typer.Option(help="The folder with its archives, or with the unpacked dataset.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Verify and unpack the archives of an official dataset, and count what it holds. Downloads nothing."""
    from synthio.datasets.prepare import prepare as prepare_dataset

    prepared = prepare_dataset(name, root, _reporter(quiet or as_json))
    _print(prepared.as_dict(), as_json, lambda: _show_prepared(prepared))


def _show_prepared(prepared: Any) -> None:
    from synthio.datasets.prepare import NOT_HERE

    console = _console(soft_wrap=True)
    here = {archive: what for archive, what in prepared.archives.items() if what != NOT_HERE}
    for archive, what in here.items():
        console.print(f"{archive}: {what}", markup=False, highlight=False)
    if missing := [archive for archive in prepared.archives if archive not in here]:
        console.print(f"not here (needed only to unpack): {', '.join(missing)}", markup=False, highlight=False)
    table = Table("class", *prepared.splits)
    for label, counts in prepared.counts.items():
        table.add_row(escape(label), *map(str, counts.values()))
    table.add_section()
    table.add_row("files", *map(str, prepared.splits.values()))
    console.print(table)
    for reason, count in prepared.rejected.items():
        console.print(f"{count} rejected: {reason}", style="yellow", markup=False)
    console.print(f"recipe (or include recipes/datasets/{prepared.name}.yaml and set data.path):", highlight=False)
    console.print(prepared.recipe, markup=False, highlight=False)


@data_app.command("cut")
def data_cut(
    tables: Annotated[
        list[Path], typer.Argument(help="CSV, TSV or JSONL tables, Raven selection tables, Audacity label files.")
    ],
    output: Annotated[Path, typer.Option(help="The folder for the clips and their table.")],
    audio: Annotated[
        Path | None, typer.Option(help="The folder with the recordings; beside each table when not given.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The column with the label, by its own name.")] = None,
    recording_column: Annotated[
        str | None, typer.Option(help="The column that names the recording; else the table's own name does.")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="The column with the site, device or animal, whose clips stay together; else `group`, or recordings."
        ),
    ] = None,
    margin_s: Annotated[float, typer.Option(min=0, help="Seconds added before and after every annotation.")] = 0.0,
    max_duration_s: Annotated[
        float, typer.Option(min=0.1, max=120, help="Longer annotations are cut into equal pieces.")
    ] = 10.0,
    rest_label: Annotated[
        str | None, typer.Option(help="Also cut as many clips of what is not annotated, under this label.")
    ] = None,
    drop_overlapping: Annotated[
        bool, typer.Option("--drop-overlapping", help="Leave out clips that also hold a sound of another label.")
    ] = False,
    min_confidence: Annotated[
        float | None, typer.Option(help="Leave out what a detector (BirdNET's `Confidence`) was less sure of.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Cut clips out of annotated long recordings, one per sound, with the recording as its group."""
    from synthio.datasets.annotations import ColumnNames
    from synthio.datasets.cut import CutConfig, cut_recordings

    columns = ColumnNames(label_column, recording_column, group_column)
    config = CutConfig(output, audio, columns, margin_s, max_duration_s, rest_label, drop_overlapping, min_confidence)
    cut = cut_recordings(tables, config, _reporter(quiet or as_json))
    _print(cut.as_dict(), as_json, lambda: _show_cut(cut, max_duration_s))


def _show_cut(cut: Any, max_duration_s: float) -> None:
    console = _console(soft_wrap=True)
    table = Table("class", "clips")
    for label, count in cut.counts.items():
        table.add_row(escape(label), str(count))
    console.print(table)
    for columns, count in cut.columns.items():
        console.print(f"{count} table(s): {columns}", markup=False, highlight=False)
    told = f"{sum(cut.counts.values())} clips of {cut.recordings} recording(s) in {cut.groups} group(s)"
    console.print(told, highlight=False)
    if cut.overlapping:
        console.print(
            f"{cut.overlapping} clip(s) also hold a sound of another label (column `also`): a classifier of one label "
            "per clip learns better without them (--drop-overlapping)",
            style="yellow",
            highlight=False,
        )
    for reason, count in cut.rejected.items():
        console.print(f"{count} annotation(s) not cut: {reason} (rejected.csv)", style="yellow", markup=False)
    console.print("recipe:", highlight=False)
    line = f"data: {{path: {json.dumps(cut.table, ensure_ascii=False)}, max_duration_s: {max_duration_s:g}}}"
    console.print(line, markup=False, highlight=False)


@app.command()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="Also say what this recipe would load.")] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """What is installed, which devices there are, which models are here."""
    from synthio.doctor import examine

    found = examine(None if recipe is None else _config(recipe, overrides))

    def text() -> None:
        for name, value in found.items():
            rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
            print(f"{name}:" if rows is not None else f"{name}: {value}")
            for key, row in rows or ():
                print(f"  {key}: {row}")

    _print(found, as_json, text)


@app.command()
def prepare(as_json: Json = False) -> None:
    """Convert and cache the pocket models now (about two minutes, once)."""
    from synthio.doctor import prepare as prepare_models

    _silence_library_bars()
    folders = prepare_models()
    _print(folders, as_json, lambda: print("\n".join(f"{part}: {folder}" for part, folder in folders.items())))


def _pretrain(part: str, recipe: Path, overrides: list[str] | None, quiet: bool) -> None:
    from synthio.pretrain import make_part

    _silence_library_bars()
    print(make_part(part, recipe, overrides or [], _reporter(quiet)))


@pretrain_app.command("recordings")
def pretrain_recordings(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Fetch what the corpus and the evaluation sets are made of."""
    _pretrain("recordings", recipe, overrides, quiet)


@pretrain_app.command("autoencoder")
def pretrain_autoencoder(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Waveform to latents and back."""
    _pretrain("autoencoder", recipe, overrides, quiet)


@pretrain_app.command("t2a")
def pretrain_t2a(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Text to latents."""
    _pretrain("t2a", recipe, overrides, quiet)


@pretrain_app.command("clap")
def pretrain_clap(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Audio and text in one space."""
    _pretrain("clap", recipe, overrides, quiet)


@pretrain_app.command("classifier")
def pretrain_classifier(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Audio tagging."""
    _pretrain("classifier", recipe, overrides, quiet)
