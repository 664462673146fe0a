"""Clips of what no annotation of a long recording covers: the rest, as a class of its own."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf

from synthio import audio
from synthio.datasets.annotations import Annotation
from synthio.formats import some


def add_rest(
    recordings: Mapping[Path, list[Annotation]],
    found: Sequence[Annotation],
    label: str,
    margin_s: float,
    max_duration_s: float,
) -> list[str]:
    """Adds clips of the rest, under ``label``, to each recording's; ``found`` are all lines of the tables. ``margin_s``
    and ``max_duration_s``: as of the other clips. Returns: warnings about recordings that have none.
    """
    marked: dict[Path | None, list[Annotation]] = defaultdict(list)
    for annotation in found:
        marked[annotation.recording].append(annotation)
    unsaid, full = [], []
    for recording, own in recordings.items():
        if any(math.isnan(a.start_s) or math.isnan(a.end_s) for a in marked[recording]):
            unsaid.append(repr(recording.name))
        elif rest := _rest(recording, own, marked[recording], label, margin_s, max_duration_s):
            own += rest
        else:
            full.append(repr(recording.name))
    return [
        f"no {label!r} from {len(names)} recording(s): {why} ({some(names)})"
        for names, why in (
            (unsaid, "a line says no times, so that its sound may be anywhere"),
            (full, "no stretch without annotations is as long as they are"),
        )
        if names
    ]


def _rest(
    recording: Path,
    annotations: Sequence[Annotation],
    own: Sequence[Annotation],
    label: str,
    margin_s: float,
    max_duration_s: float,
) -> list[Annotation]:
    """As many clips as ``annotations`` give, where the recording has room: their median length, spread over it.

    ``own``: all of the recording, also those that cannot be cut; what somebody marked is no background.
    """
    try:
        recording_s = float(sf.info(str(recording)).duration)
    except audio.UNREADABLE:
        # The annotations themselves tell it.
        return []
    median_s = statistics.median(a.end_s - a.start_s for a in annotations)
    length_s = min(median_s + 2 * margin_s, max_duration_s)
    covered = [(a.start_s - margin_s, a.end_s + margin_s) for a in own]
    starts = free_starts(covered, recording_s, length_s)
    wanted = sum(count_pieces(a.end_s - a.start_s + 2 * margin_s, max_duration_s) for a in annotations)
    chosen = sorted({starts[round(i)] for i in np.linspace(0, len(starts) - 1, wanted)} if starts else set())
    # The margin comes back when they are cut.
    shorter_s = min(margin_s, 0.49 * length_s)
    begins_s, ends_s = np.array([a.start_s for a in annotations]), np.array([a.end_s for a in annotations])

    def nearest(start_s: float, end_s: float) -> Annotation:
        """Whose group and split a stretch without annotations is of."""
        return annotations[int(np.maximum(begins_s - end_s, start_s - ends_s).argmin())]

    return [
        replace(
            nearest(start, start + length_s),
            line=0,
            label=label,
            start_s=start + shorter_s,
            end_s=start + length_s - shorter_s,
        )
        for start in chosen
    ]


def free_starts(covered: Sequence[tuple[float, float]], duration_s: float, length_s: float) -> list[float]:
    """Where stretches of ``length_s`` begin, one after the other, that touch nothing ``covered``."""
    starts: list[float] = []
    free_s = 0.0
    for start_s, end_s in [*sorted(covered), (duration_s, duration_s)]:
        count = int((min(start_s, duration_s) - free_s) / length_s + 1e-9)
        starts += [free_s + number * length_s for number in range(count)]
        free_s = max(free_s, end_s)
    return starts


def count_pieces(duration_s: float, max_duration_s: float) -> int:
    """How many clips an annotation gives."""
    return max(1, math.ceil(round(duration_s / max_duration_s, 6)))
