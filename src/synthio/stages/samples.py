"""The clips by which the generator is evaluated: template prompts, the same seeds before and after alignment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from synthio.backends.text_to_audio import TextToAudio
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError
from synthio.generation import Wanted, generate_wanted
from synthio.records import Clip, EvaluatedClip, GeneratorState
from synthio.seeds import derive_seed
from synthio.wording import label_template


def plan_samples(config: RunConfig, training: Sequence[Clip], state: GeneratorState) -> list[EvaluatedClip]:
    """The clips to generate: each follows the duration of a training clip of its class, in turn."""
    durations: dict[str, list[float]] = defaultdict(list)
    for clip in training:
        durations[clip.labels[0]].append(clip.duration_s)
    return [
        EvaluatedClip(
            id=f"{state}/{label}/{number}",
            model=state,
            label=label,
            # Labels may hold anything; a file name may not.
            path=f"audio/{index:03d}-{number:03d}.flac",
            duration_s=of_label[number % len(of_label)],
            seed=derive_seed(config.seed, "evaluate", label, number),
        )
        for index, (label, of_label) in enumerate(sorted(durations.items()))
        for number in range(config.evaluate.clips_per_class)
    ]


def generate_samples(
    context: StageContext, planned: Sequence[EvaluatedClip], generator: TextToAudio
) -> list[EvaluatedClip]:
    """Make the clips of `plan_samples` and finish the stage; one that the model refuses says so.

    Raises: `BackendError` when the model refuses every clip; the stage is then not finished.
    """
    wanted = [Wanted(clip.id, label_template((clip.label,)), clip.duration_s, clip.seed, clip.path) for clip in planned]
    of_id = {clip.id: clip for clip in planned}

    def record(one: Wanted, failed: str | None) -> EvaluatedClip:
        return of_id[one.id].model_copy(update={"failed": failed})

    clips = generate_wanted(context, "evaluate: generate", wanted, EvaluatedClip, record, generator)
    failed = [clip.failed for clip in clips if clip.failed is not None]
    if len(failed) == len(clips):
        raise BackendError(f"the model refused {len(failed)} of {len(clips)} clips; the first because: {failed[0]}")
    context.folder.finish(clips, {"generated": len(clips) - len(failed), "failed": len(failed)})
    return clips
