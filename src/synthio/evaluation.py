"""`synthio evaluate`: the generator of a run before and after alignment, and a listening test of the run's clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from synthio.backends.modes import own_modes
from synthio.backends.quiet import quiet
from synthio.backends.text_to_audio import TextToAudio
from synthio.evaluation_page import FinishedEvaluation, figure_warnings, write_page
from synthio.listening import Kind, draw_test, write_test
from synthio.pipeline import Pipeline
from synthio.records import EvaluatedClip, GeneratorState, Samples, of_split
from synthio.results import accepted_clips
from synthio.stages.clips import all_warnings
from synthio.stages.evaluate import Evaluation, check_clips, evaluate_generator
from synthio.stages.samples import generate_samples, plan_samples
from synthio.store import check_run_folder, working_in


@own_modes()
@quiet("transformers", "diffusers")
def evaluate(run: Pipeline) -> Path:
    """Evaluate the generator before and after alignment; returns the page of samples."""
    check_run_folder(run.root)
    clips = run.clips()
    check_clips(clips)
    run.alignment()

    made = _samples_of_states(run)
    run.once(
        run.folders.evaluate,
        "evaluate",
        EvaluatedClip,
        lambda context: evaluate_generator(context, clips, made, run.models.clap),
    )
    finished = finished_evaluation(run)
    for warning in finished.warnings:
        run.reporter.warn(warning)
    with working_in(run.root):
        page = write_page(finished, run.root / "evaluation" / "index.html", run.reporter)
    run.write_recipe()
    return page


def finished_evaluation(run: Pipeline) -> FinishedEvaluation:
    """What `evaluate` found; nothing runs. Raises: `MissingArtefact` naming the stage that has not run."""
    with run.only_reading():
        clips, align_folder, made = run.clips(), run.alignment(), _samples_of_states(run)
        run.once(run.folders.evaluate, "evaluate", EvaluatedClip, lambda context: None)
    data = all_warnings(run.config, clips, run.folders.clips)
    aligning = align_folder.summary()["warnings"] if align_folder else []
    evaluation = run.folders.evaluate.summary_as(Evaluation)
    real: dict[str, list[Path]] = defaultdict(list)
    for clip in of_split(clips, "train"):
        real[clip.labels[0]].append(Path(clip.path))
    return FinishedEvaluation(
        name=run.root.name,
        evaluation=evaluation,
        made=made,
        align_method=run.config.align.method,
        warnings=(*data, *aligning, *figure_warnings(evaluation)),
        real=dict(real),
        heard_s=run.config.data.max_duration_s,
    )


def _samples_of_states(run: Pipeline) -> dict[GeneratorState, Samples]:
    made: dict[GeneratorState, Samples] = {"base": _samples(run, "base", lambda: run.models.base_generator)}
    if run.models.is_aligned:
        made["aligned"] = _samples(run, "aligned", lambda: run.models.generator)
    return made


def _samples(run: Pipeline, state: GeneratorState, load: Callable[[], TextToAudio]) -> Samples:
    training = of_split(run.clips(), "train")
    folder = run.folders.samples(state)
    made = run.once(
        folder,
        "evaluate",
        EvaluatedClip,
        lambda context: generate_samples(context, plan_samples(run.config, training, state), load()),
    )
    return Samples(folder.path, tuple(made))


def make_listening_test(run: Pipeline, clips: int, only: Sequence[str] = ()) -> Path:
    """Write a blind test of up to ``clips`` clips, half real training clips and half accepted ones, of the classes
    ``only`` where some are named; returns its page.

    Raises: as `Pipeline.finished`, `draw_test` and `write_test`.
    """
    with run.only_reading():
        accepted, training = accepted_clips(run.wanted_rounds()), of_split(run.clips(), "train")
    solution = draw_test(training, accepted, clips, run.config.seed, only)
    sources: dict[tuple[Kind, str], Path] = {("real", clip.id): Path(clip.path) for clip in training}
    sources |= {("synthetic", item.candidate.id): item.audio for item in accepted}
    rate_hz = accepted[0].candidate.sample_rate_hz
    with working_in(run.root):
        return write_test(solution, sources, run.root / "listening", rate_hz, run.config.data.max_duration_s)
