"""Excerpts of MUSDB18-HQ: up to 10 s around the loudest parts of every stem, as FLAC beside the songs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from synthio import audio
from synthio.datasets.musdb18 import PARTS, STEMS, excerpts_of, tracks
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.writing import replacing, write_text

EXCERPT_S, PER_STEM = 10, 3
#: An excerpt quieter than this (RMS) is called silent.
QUIET_DB = -50.0


def cut_excerpts(root: Path, reporter: Reporter) -> None:
    """Write ``excerpts/`` under a MUSDB18-HQ root; what is there is kept, so it can be run again. Stems that were
    refused are tried again."""
    every = [track for part in PARTS for track in tracks(root / part)]
    with reporter.task("excerpts", len(every)) as advance:
        for track in every:
            _cut_track(track)
            advance(1)


def _cut_track(track: Path) -> None:
    """A new folder of excerpts is written elsewhere first, so that it is always whole."""
    target = excerpts_of(track)
    if target.is_dir():
        for stem in STEMS:
            if (target / f"{stem}.txt").is_file() and (track / f"{stem}.wav").is_file():
                _cut_stem(track / f"{stem}.wav", target)
        return
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem in STEMS:
        _cut_stem(track / f"{stem}.wav", partial)
    partial.replace(target)


def _cut_stem(stem: Path, folder: Path) -> None:
    """Its excerpts, or a note that says why there are none. An old note goes last: after a kill before that, the stem
    is cut again."""
    note = folder / f"{stem.stem}.txt"
    try:
        samples, rate_hz = audio.decode(stem)
        starts = loudest_starts(samples, rate_hz)
        why = "" if starts else f"is under {QUIET_DB:g} dBFS throughout"
    except DataError as error:
        starts, why = [], str(error).removeprefix(f"{stem}: ")
    for number, start in enumerate(starts):
        with replacing(folder / f"{stem.stem}-{number}.flac") as partial:
            audio.write_flac(partial, samples[start : start + EXCERPT_S * rate_hz], rate_hz)
    if not why:
        note.unlink(missing_ok=True)
    elif not note.is_file() or note.read_text(encoding="utf-8") != why:
        write_text(note, why)


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
