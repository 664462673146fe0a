"""Excerpts of MUSDB18-HQ: up to 10 s around the loudest parts of every stem, as FLAC beside the songs."""

from __future__ import annotations

import shutil
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
    """Write ``excerpts/`` under a MUSDB18-HQ root; tracks that have theirs are skipped, so it can be run again."""
    waiting = [track for part in PARTS for track in tracks(root / part)]
    done = [track for track in waiting if excerpts_of(track).is_dir()]
    with reporter.task("excerpts", len(waiting), len(done)) as advance:
        for track in waiting:
            if track not in done:
                _cut_track(track)
                advance(1)


def _cut_track(track: Path) -> None:
    """All stems of one track, written elsewhere first: a folder of excerpts is always whole."""
    target = excerpts_of(track)
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem in STEMS:
        try:
            samples, rate_hz = audio.decode(track / f"{stem}.wav")
            starts = loudest_starts(samples, rate_hz)
            for number, start in enumerate(starts):
                excerpt = samples[start : start + EXCERPT_S * rate_hz]
                audio.write_flac(partial / f"{stem}-{number}.flac", excerpt, rate_hz)
            why = "" if starts else f"is under {QUIET_DB:g} dBFS throughout"
        except DataError as error:
            why = str(error).removeprefix(f"{track / f'{stem}.wav'}: ")
        if why:
            (partial / f"{stem}.txt").write_text(why, encoding="utf-8")
    partial.replace(target)


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
