"""Caption the real training clips (arXiv 2410.02056), resumable per clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthio import audio
from synthio.audio import Waveform
from synthio.backends.captioner import Captioner
from synthio.calls import Answer, Count, counter, spent
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.errors import DataError
from synthio.records import Caption, Clip, of_split
from synthio.wording import label_template


def caption_clips(context: StageContext, clips: Sequence[Clip], captioner: Captioner) -> list[Caption]:
    """One caption per training clip, in clip order. Clips are cropped to ``data.max_duration_s``.

    A clip that cannot be read or captioned gets the label template, with the reason.
    Raises: what the captioner raises.
    """
    train, folder = {clip.id: clip for clip in of_split(clips, "train")}, context.folder
    # What failed before a kill, or as its endpoint went down, is asked again.
    finished = {name: caption for name, caption in folder.items(Caption).items() if caption.failed is None}

    def caption(part: Sequence[Clip]) -> list[Caption]:
        results = _caption(context.config, part, captioner, counter(folder))
        return [_record(clip, result) for clip, result in zip(part, results, strict=True)]

    captions = context.make_missing("caption", train, finished, captioner.clips_per_call, caption)
    failed = [caption for caption in captions if caption.failed is not None]
    folder.finish(captions, {"captions": len(captions), "failed": len(failed), **spent(folder)})
    if failed:
        context.reporter.warn(
            f"caption: {len(failed)} of {len(captions)} clips failed and keep the label template; "
            f"the first because: {failed[0].failed}"
        )
    return captions


def _caption(config: RunConfig, clips: Sequence[Clip], captioner: Captioner, count: Count) -> list[Answer]:
    """What became of every clip; ``count`` hears of the captioner's own answers about those that could be read."""
    loaded = [_load(config, clip, captioner.sample_rate_hz) for clip in clips]
    heard = [(index, samples) for index, samples in enumerate(loaded) if not isinstance(samples, str)]
    answers = captioner.caption([samples for _, samples in heard], [clips[index].labels for index, _ in heard], count)
    results = [Answer(None, samples if isinstance(samples, str) else None) for samples in loaded]
    for (index, _), answer in zip(heard, answers, strict=True):
        results[index] = answer
    return results


def _load(config: RunConfig, clip: Clip, sample_rate_hz: int) -> Waveform | str:
    """The samples, or why there are none."""
    try:
        return audio.load_start(Path(clip.path), config.data.max_duration_s, sample_rate_hz)
    except DataError as error:
        return str(error)


def _record(clip: Clip, result: Answer) -> Caption:
    if result.text is None or not result.text.strip():
        return Caption(id=clip.id, text=label_template(clip.labels), failed=result.failed or "no caption came back")
    return Caption(id=clip.id, text=result.text)
