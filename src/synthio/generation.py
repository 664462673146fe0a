"""Clips into a stage's folder, batched by duration, resumable per clip (the stages generate and samples); and back."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import soundfile as sf

from synthio import audio
from synthio.backends.devices import in_batches
from synthio.backends.text_to_audio import TextToAudio, asked_duration_s, generate_each
from synthio.context import StageContext
from synthio.errors import DataError, StoreError
from synthio.records import Candidate, Clip, EvaluatedClip, of_split
from synthio.store import StageFolder, damage_error, fingerprint
from synthio.writing import replacing

Made = TypeVar("Made", Candidate, EvaluatedClip)


@dataclass(frozen=True)
class Wanted:
    """A clip to generate; ``id`` is that of its record, ``path`` its file inside the stage folder.

    ``recorded_rate_hz``: of the recordings that it is to stand beside, which hold nothing above half of it; None for
    all that the model can.
    """

    id: str
    text: str
    duration_s: float
    seed: int
    path: str
    recorded_rate_hz: int | None = None


def recorded_rate_hz(clips: Iterable[Clip]) -> int:
    """The highest rate of the training clips, of which there is one at least."""
    return max(clip.sample_rate_hz for clip in of_split(clips, "train"))


def write_generated(path: Path, samples: audio.Waveform, rate_hz: int, recorded_rate_hz: int) -> None:
    """A whole FLAC or none, without what recordings at ``recorded_rate_hz`` cannot hold."""
    with replacing(path) as partial:
        audio.write_flac(partial, audio.within_band(samples, rate_hz, recorded_rate_hz), rate_hz)


def load_generated(path: Path, sample_rate_hz: int) -> audio.Waveform:
    """Like `audio.load`, for files of our own: a generated clip may be silent, and that is no error here.

    Raises: `StoreError` for a file that is gone or damaged, which says nothing about the clip.
    """
    try:
        samples, rate_hz = sf.read(str(path), dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError) as error:
        raise _not_as_made(path, error) from error
    return audio.resample(samples.mean(axis=1), rate_hz, sample_rate_hz)


def load_generated_start(path: Path, duration_s: float, sample_rate_hz: int) -> audio.Waveform:
    """Like `audio.load_start`, for files of our own that are not silent. Raises: as `load_generated`."""
    try:
        return audio.load_start(path, duration_s, sample_rate_hz)
    except DataError as error:
        raise _not_as_made(path, str(error).removeprefix(f"{path}: ")) from error


def _not_as_made(path: Path, why: Exception | str) -> StoreError:
    return damage_error(path, f"was made by this run and is gone or damaged ({why})")


def generate_wanted(
    context: StageContext,
    task: str,
    wanted: Sequence[Wanted],
    kind: type[Made],
    record: Callable[[Wanted, str | None], Made],
    generator: TextToAudio,
) -> list[Made]:
    """Make the clips that the folder lacks, each cut to its duration, and keep the record of each; one that the model
    refuses has no file. A clip that the stage has made under another key, by the same generator asked for the same, is
    copied from there: other captions make no other clips of those that stay.

    ``record``: of a clip, and why the model refused it, else None.
    Returns: the records in the order of ``wanted``.
    """
    folder, reporter = context.folder, context.reporter

    def made_record(one: Wanted, failed: str | None) -> Made:
        return record(one, failed).model_copy(update={"made_from": _made_from(one, folder.made_by)})

    finished = _made_before(context, task, wanted, kind, made_record)
    groups: dict[float, list[Wanted]] = defaultdict(list)
    for one in wanted:
        if one.id not in finished:
            groups[asked_duration_s(generator, one.duration_s)].append(one)
    with reporter.task(task, len(wanted), len(finished)) as advance:

        def call(batch: Sequence[Wanted]) -> Sequence[Made]:
            refused = _write_batch(batch, generator, folder)
            made = [made_record(one, why) for one, why in zip(batch, refused, strict=True)]
            folder.append(made)
            advance(len(batch))
            return made

        for group in groups.values():
            for made in in_batches(group, context.config.t2a.batch_size, call, reporter.warn):
                finished[made.id] = made
    return [finished[one.id] for one in wanted]


def _made_before(
    context: StageContext,
    task: str,
    wanted: Sequence[Wanted],
    kind: type[Made],
    record: Callable[[Wanted, str | None], Made],
) -> dict[str, Made]:
    """By id, the records of clips that are in the folder, and of those that are copied into it from other keys."""
    # What was refused before a kill, or by a model that then refused all, is tried again.
    finished = {name: made for name, made in context.folder.items(kind).items() if made.failed is None}
    missing = [one for one in wanted if one.id not in finished]
    if earlier := [record(one, None) for one in _copied(missing, context.folder, kind)]:
        context.folder.append(earlier)
        finished |= {made.id: made for made in earlier}
        context.reporter.note(f"{task}: {len(earlier)} of {len(wanted)} clips were made before, under other settings")
    return finished


def _made_from(one: Wanted, made_by: str | None) -> str | None:
    """What decides the clip, hashed; None where it is not known what makes it."""
    return made_by and fingerprint([made_by, one.text, one.duration_s, one.seed, one.recorded_rate_hz])


def _copied(wanted: Sequence[Wanted], folder: StageFolder, kind: type[Made]) -> list[Wanted]:
    """Those whose clip was there under another key of the stage, and now is in ``folder``."""
    made_from = {digest: one for one in wanted if (digest := _made_from(one, folder.made_by))}
    copied: dict[str, Wanted] = {}
    for other in folder.others() if made_from else ():
        for made in other.items(kind).values():
            one = made_from.get(made.made_from or "")
            if one is None or one.id in copied or made.failed is not None or made.path is None:
                continue
            # Somebody may have deleted clips to save room.
            if (audio_file := other.file(made.path)).is_file():
                with replacing(folder.file(one.path)) as partial:
                    shutil.copyfile(audio_file, partial)
                copied[one.id] = one
    return list(copied.values())


def _write_batch(batch: Sequence[Wanted], generator: TextToAudio, folder: StageFolder) -> list[str | None]:
    """Why the model refused each clip; None for one that is written."""
    texts, seeds = [one.text for one in batch], [one.seed for one in batch]
    length_s = asked_duration_s(generator, batch[0].duration_s)
    refused: list[str | None] = []
    for one, made in zip(batch, generate_each(generator, texts, length_s, seeds), strict=True):
        if isinstance(made, str):
            refused.append(made)
            continue
        rate_hz = generator.sample_rate_hz
        cut = audio.fit(made, max(1, round(one.duration_s * rate_hz)))
        write_generated(folder.file(one.path), cut, rate_hz, one.recorded_rate_hz or rate_hz)
        refused.append(None)
    return refused
