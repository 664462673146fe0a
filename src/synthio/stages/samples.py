"""The clips by which the generator is evaluated: template prompts, the same seeds before and after alignment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from synthio import audio
from synthio.backends.devices import in_batches
from synthio.backends.text_to_audio import TextToAudio, asked_duration_s, generate_each
from synthio.config import RunConfig
from synthio.errors import BackendError
from synthio.progress import Reporter
from synthio.records import Clip, EvaluatedClip, GeneratorState, label_template
from synthio.seeds import derive_seed
from synthio.store import StageFolder, replacing


def plan_samples(config: RunConfig, training: Sequence[Clip], state: GeneratorState) -> list[EvaluatedClip]:
    """The clips to generate: each follows the duration of a training clip of its class, in turn."""
    durations: dict[str, list[float]] = defaultdict(list)
    for clip in training:
        durations[clip.labels[0]].append(min(clip.duration_s, config.data.max_duration_s))
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
    config: RunConfig,
    planned: Sequence[EvaluatedClip],
    generator: TextToAudio,
    folder: StageFolder,
    reporter: Reporter,
) -> list[EvaluatedClip]:
    """Make the clips of `plan_samples` and finish the stage; one that the model refuses says so.

    Raises: `BackendError` when the model refuses every clip; the stage is then not finished.
    """
    # What was refused before a kill, or by a model that then refused all, is tried again.
    finished = {name: clip for name, clip in folder.items(EvaluatedClip).items() if clip.failed is None}
    groups: dict[float, list[EvaluatedClip]] = defaultdict(list)
    for clip in planned:
        if clip.id not in finished:
            groups[asked_duration_s(generator, clip.duration_s)].append(clip)
    with reporter.task("evaluate: generate", len(planned), len(finished)) as advance:

        def call(batch: Sequence[EvaluatedClip]) -> Sequence[EvaluatedClip]:
            clips = _generate_batch(batch, generator, folder)
            folder.append(clips)
            advance(len(batch))
            return clips

        for group in groups.values():
            for clip in in_batches(group, config.t2a.batch_size, call, reporter.warn):
                finished[clip.id] = clip
    clips = [finished[clip.id] for clip in planned]
    failed = [clip.failed for clip in clips if clip.failed is not None]
    if len(failed) == len(clips):
        raise BackendError(f"the model refused {len(failed)} of {len(clips)} clips; the first because: {failed[0]}")
    folder.finish(clips, {"generated": len(clips) - len(failed), "failed": len(failed)})
    return clips


def _generate_batch(batch: Sequence[EvaluatedClip], generator: TextToAudio, folder: StageFolder) -> list[EvaluatedClip]:
    prompts, seeds = [label_template((clip.label,)) for clip in batch], [clip.seed for clip in batch]
    length_s = asked_duration_s(generator, batch[0].duration_s)
    clips = []
    for clip, made in zip(batch, generate_each(generator, prompts, length_s, seeds), strict=True):
        if isinstance(made, str):
            clips.append(clip.model_copy(update={"failed": made}))
            continue
        with replacing(folder.path / clip.path) as partial:
            cut = audio.fit(made, max(1, round(clip.duration_s * generator.sample_rate_hz)))
            audio.write_flac(partial, cut, generator.sample_rate_hz)
        clips.append(clip)
    return clips
