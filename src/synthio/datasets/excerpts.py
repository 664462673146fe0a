"""Excerpts of MUSDB18-HQ: up to 10 s around the loudest parts of every stem, as FLAC beside the songs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthio import audio
from synthio.datasets.musdb18 import PARTS, STEMS, excerpts_of, tracks
from synthio.errors import DataError
from synthio.progress import Reporter

EXCERPT_S, PER_STEM = 10, 3
#: An excerpt quieter than this (RMS) is called silent.
QUIET_DB = -50.0


def cut_excerpts(root: Path, reporter: Reporter) -> None:
    """Write ``excerpts/`` under a MUSDB18-HQ root; what is there is kept, so it can be run again."""
    due = {track: _due(track) for part in PARTS for track in tracks(root / part)}
    with reporter.task("excerpts", len(due), sum(not stems for stems in due.values())) as advance:
        for track, stems in due.items():
            if stems:
                _cut_track(track, stems)
                advance(1)


def _due(track: Path) -> list[str]:
    """All stems of a track without excerpts; later those that were refused and are another file by now."""
    folder = excerpts_of(track)
    if not folder.is_dir():
        return list(STEMS)
    return [stem for stem in STEMS if _is_outdated(folder / f"{stem}.txt", track / f"{stem}.wav")]


def _is_outdated(note: Path, stem: Path) -> bool:
    return note.is_file() and stem.is_file() and _cut(stem)[2] != note.read_text(encoding="utf-8")


def _cut_track(track: Path, stems: Sequence[str]) -> None:
    """Written elsewhere first: a new folder of excerpts is always whole."""
    target = excerpts_of(track)
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem in stems:
        cut, rate_hz, why = _cut(track / f"{stem}.wav")
        for number, excerpt in enumerate(cut):
            audio.write_flac(partial / f"{stem}-{number}.flac", excerpt, rate_hz)
        if why:
            (partial / f"{stem}.txt").write_text(why, encoding="utf-8")
    if target.is_dir():
        _join(partial, target, stems)
    else:
        partial.replace(target)


def _join(partial: Path, target: Path, stems: Sequence[str]) -> None:
    """The old notes go last: after a kill before that, they have their stems cut again."""
    outdated = [f"{stem}.txt" for stem in stems if not (partial / f"{stem}.txt").is_file()]
    for path in sorted(partial.iterdir()):
        path.replace(target / path.name)
    for name in outdated:
        (target / name).unlink()
    partial.rmdir()


def _cut(stem: Path) -> tuple[list[audio.Waveform], int, str]:
    """A stem's excerpts and their rate in Hz, or why there are none."""
    try:
        samples, rate_hz = audio.decode(stem)
    except DataError as error:
        return [], 0, str(error).removeprefix(f"{stem}: ")
    cut = [samples[start : start + EXCERPT_S * rate_hz] for start in loudest_starts(samples, rate_hz)]
    return cut, rate_hz, "" if cut else f"is under {QUIET_DB:g} dBFS throughout"


def loudest_starts(samples: audio.Waveform, rate_hz: int) -> list[int]:
    """Starts, in samples and in order, of at most `PER_STEM` loudest windows of `EXCERPT_S` that do not overlap."""
    seconds = -(-samples.shape[0] // rate_hz)
    padded = audio.fit(samples, seconds * rate_hz).reshape(seconds, rate_hz)
    energy = np.square(padded, dtype=np.float64).sum(axis=1)
    width = min(EXCERPT_S, seconds)
    windows = np.convolve(energy, np.ones(width), mode="valid")
    least = width * rate_hz * 10 ** (QUIET_DB / 10)
    starts: list[int] = []
    while len(starts) < PER_STEM and windows.max(initial=-1.0) >= least:
        best = int(windows.argmax())
        starts.append(best)
        windows[max(0, best - width + 1) : best + width] = -1.0
    return [start * rate_hz for start in sorted(starts)]
