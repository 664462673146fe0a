"""The first stage: the usable clips of the dataset, each in its split, and everything that is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.data_check import examine
from synthio.datasets import checks
from synthio.datasets.advice import recipe_warnings
from synthio.errors import DataError, StoreError
from synthio.progress import Reporter
from synthio.records import Clip, RejectedClip
from synthio.store import StageFolder
from synthio.writing import write_lines


def collect_clips(context: StageContext) -> list[Clip]:
    """Open every file of the dataset; write the manifest (`Clip`), ``rejected.jsonl`` (`RejectedClip`) and counts.

    ``Clip.duration_s`` is what a run uses: at most ``data.max_duration_s``.

    Raises: `DataError` that lists everything which would stop a run.
    """
    started, folder = time.monotonic(), context.folder
    found = examine(context.config, context.reporter)
    if found.problems:
        raise DataError("\n".join([f"{context.config.data.path}: {len(found.problems)} problem(s)", *found.problems]))
    write_lines(folder.path / "rejected.jsonl", (clip.model_dump_json() for clip in found.rejected))
    summary = {
        "clips": len(found.clips),
        "splits": checks.split_counts(found.clips),
        "classes": checks.class_counts(found.clips),
        "rejected": len(found.rejected),
        "audio_s": round(sum(clip.duration_s for clip in found.clips), 3),
        "warnings": list(found.warnings),
        "seconds": round(time.monotonic() - started, 3),
    }
    folder.finish(found.clips, summary)
    for warning in checks.redrawn_warnings(found.clips, _clips_before(folder)):
        context.reporter.warn(warning)
    return list(found.clips)


def _clips_before(folder: StageFolder) -> list[Clip]:
    """Those that were collected last under another key; none where there are none, or they are damaged."""
    finished = [other for other in folder.others() if other.done]
    with suppress(StoreError):
        return max(finished, key=lambda other: other.path.stat().st_mtime).manifest(Clip) if finished else []
    return []


def tell_warnings(config: RunConfig, clips: Sequence[Clip], folder: StageFolder, reporter: Reporter) -> None:
    """What `collect_clips` found, also of clips that an earlier run read, and what this recipe asks of them."""
    for warning in checks.rejection_warnings(folder.rows("rejected.jsonl", RejectedClip)):
        reporter.warn(f"{warning}; {folder.path / 'rejected.jsonl'} has all")
    for warning in all_warnings(config, clips, folder):
        reporter.warn(warning)


def all_warnings(config: RunConfig, clips: Sequence[Clip], folder: StageFolder) -> list[str]:
    """Of the clips that `collect_clips` wrote to ``folder``, and of this recipe with them."""
    return [*folder.summary()["warnings"], *recipe_warnings(config, clips)]
