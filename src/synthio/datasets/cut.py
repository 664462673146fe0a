"""`synthio data cut`: clips and a table for `data.path` out of annotated long recordings."""

from __future__ import annotations

import hashlib
import math
import os
import re
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from synthio import audio
from synthio.datasets.annotations import (
    CONFIDENCES,
    Annotation,
    ColumnNames,
    Reading,
    read_annotations,
)
from synthio.datasets.by_recording import by_recording, one_spelling, own_groups, recording_warnings
from synthio.datasets.recordings import Recordings
from synthio.datasets.rest import add_rest, count_pieces
from synthio.datasets.rows import SPLIT_SPELLINGS, split_of
from synthio.errors import DataError
from synthio.formats import some
from synthio.progress import Reporter
from synthio.recipes import user_path
from synthio.writing import replacing, write_csv

#: Windows of detectors reach beyond the end.
_OVERHANG_S = 3.0
_TOUCH_S = 1e-3


@dataclass(frozen=True)
class CutConfig:
    """How clips are cut."""

    output: Path
    audio_folder: Path | None = None
    """Of the recordings; None means beside each table."""
    columns: ColumnNames = field(default_factory=ColumnNames)
    margin_s: float = 0.0
    """Added before and after every annotation."""
    max_duration_s: float = 10.0
    """Longer annotations are cut into equal pieces."""
    rest_label: str | None = None
    """Of as many clips of what no annotation covers; None cuts none. For data where every sound is annotated."""
    drop_overlapping: bool = False
    """Leave out clips in which an annotation of another label sounds too."""
    min_confidence: float | None = None
    """Leave out what a detector was less sure of. It still is no rest."""


@dataclass(frozen=True)
class Cut:
    """What was cut."""

    table: str
    """What `data.path` is to be."""
    counts: dict[str, int]
    """Clips per label."""
    recordings: int
    """With at least one clip."""
    groups: int
    """As many, unless a column has them."""
    overlapping: int
    """Clips in which an annotation of another label sounds too."""
    columns: dict[str, int]
    """How columns were read, in words, and of how many tables."""
    rejected: dict[str, int]
    """Annotations, or pieces of long ones, per reason; ``rejected.csv`` has each."""
    warnings: tuple[str, ...]
    """Worth a look; the clips are cut."""


@dataclass(frozen=True)
class _Piece:
    annotation: Annotation
    start_s: float
    end_s: float


def cut_recordings(tables: Sequence[Path], config: CutConfig, reporter: Reporter) -> Cut:
    """Write one FLAC per annotated sound, at the recording's own rate, and ``clips.csv``, whose groups are recordings,
    or what a column ``group`` says.

    The table comes last: a folder without one is not finished, and cutting again makes it whole.
    Raises: `DataError` for tables that cannot be read, an output that is finished already, or nothing that can be cut.
    """
    output = user_path(config.output).absolute()
    _check_output(output)
    if config.rest_label is not None and not config.rest_label.strip():
        raise DataError("--rest-label is empty; expected what a person would call the rest, such as background")
    readings = _read(tables, config)
    found = [_sure_enough(annotation, config) for reading in readings for annotation in reading.annotations]
    found = one_spelling(found, None if config.audio_folder is None else _home(config.audio_folder))
    _check_splits(found)
    rejected = [(a, a.wrong) for a in found if a.wrong is not None]
    recordings = by_recording(found, config.columns)
    warnings = _empty_warnings(tables, readings) + recording_warnings(recordings)
    if config.rest_label is not None:
        warnings += add_rest(recordings, found, config.rest_label, config.margin_s, config.max_duration_s)
    try:
        rows, failed = _cut_all(recordings, config, output, reporter)
        rejected += failed
        _write(output / "rejected.csv", [_as_row(annotation, why) for annotation, why in rejected])
        if rows:
            _write(output / "clips.csv", rows)
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror or error})") from error
    reasons = dict(Counter(why for annotation, why in rejected if annotation.line).most_common())
    if rest := Counter(why for annotation, why in rejected if not annotation.line):
        warnings.append(f"{rest.total()} clip(s) of {config.rest_label!r} not cut: {some(rest)} (rejected.csv)")
    for warning in warnings:
        reporter.warn(warning)
    if not rows:
        said = "; ".join(reasons) or "the tables hold none"
        raise DataError(
            f"none of {len(found)} annotations could be cut: {said} ({output / 'rejected.csv'} has each); recordings "
            f"were looked for in {config.audio_folder or 'the folder of each table'} (--audio)"
        )
    return _summary(output, rows, readings, reasons, warnings)


def _check_output(output: Path) -> None:
    if (output / "clips.csv").exists():
        raise DataError(
            f"{output / 'clips.csv'} is there already; delete that folder and cut all tables "
            "again (what a run made of clips that stay the same is found again), or choose another --output"
        )


def _summary(
    output: Path,
    rows: Sequence[Mapping[str, Any]],
    readings: Sequence[Reading],
    rejected: dict[str, int],
    warnings: Sequence[str],
) -> Cut:
    return Cut(
        table=str(output / "clips.csv"),
        counts=dict(sorted(Counter(str(row["label"]) for row in rows).items())),
        recordings=len({row["recording"] for row in rows}),
        groups=len({row["group"] for row in rows}),
        overlapping=sum(bool(row["also"]) for row in rows),
        columns=dict(Counter(str(reading.columns) for reading in readings if reading.columns is not None)),
        rejected=rejected,
        warnings=tuple(warnings),
    )


def _read(tables: Sequence[Path], config: CutConfig) -> list[Reading]:
    """What every table says. Raises: `DataError` for a table or a folder that is not there."""
    recordings: dict[Path, Recordings] = {}
    found: list[Reading] = []
    for table in tables:
        if not table.is_file():
            raise DataError(
                f"{table}: no such table, or no ordinary file; expected annotations (CSV, TSV, JSONL, Raven, Audacity)"
            )
        folder = _home(config.audio_folder or table.parent)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; --audio is where the recordings are")
        if folder not in recordings:
            recordings[folder] = Recordings(folder, "--recording-column")
        reading = read_annotations(table, recordings[folder], config.columns)
        if config.min_confidence is not None and reading.annotations and not _says_confidence(reading):
            raise DataError(
                f"{table}: has no column {' or '.join(map(repr, CONFIDENCES))} for --min-confidence; found "
                f"{reading.columns or 'no header'}; rename the column, or leave the option out"
            )
        found.append(reading)
    return found


def _empty_warnings(tables: Sequence[Path], readings: Sequence[Reading]) -> list[str]:
    empty = [repr(table.name) for table, reading in zip(tables, readings, strict=True) if not reading.annotations]
    return [f"{len(empty)} table(s) hold no annotation, so nothing is cut of them: {some(empty)}"] if empty else []


def _home(folder: Path) -> Path:
    return Path(os.path.realpath(user_path(folder)))


def _says_confidence(reading: Reading) -> bool:
    return reading.columns is not None and reading.columns.confidence is not None


def _sure_enough(annotation: Annotation, config: CutConfig) -> Annotation:
    """With a reason not to cut it where its confidence is too low, or not told."""
    if config.min_confidence is None or annotation.wrong is not None or annotation.confidence >= config.min_confidence:
        return annotation
    unsaid = math.isnan(annotation.confidence)
    return replace(annotation, wrong="says no confidence" if unsaid else "has less than --min-confidence")


def _check_splits(found: Sequence[Annotation]) -> None:
    """Raises: `DataError` for splits, of what is to be cut, that no reader of the clips would take."""
    splits = Counter(annotation.split for annotation in found if annotation.wrong is None)
    unknown = sorted(split for split in splits if split and split_of(split) is None)
    if unknown:
        names = some(map(repr, unknown), most=5)
        raise DataError(
            f"the column 'split' holds {names}; expected {', '.join(SPLIT_SPELLINGS)}: rename the column if it is none"
        )
    if 0 < splits[""] < splits.total():
        raise DataError(
            f"{splits['']} of {splits.total()} annotations have no split while others do; give all of them one, or none"
        )


def _cut_all(
    recordings: Mapping[Path, list[Annotation]], config: CutConfig, output: Path, reporter: Reporter
) -> tuple[list[dict[str, Any]], list[tuple[Annotation, str]]]:
    """Table rows of the clips of all recordings; and what failed, and why."""
    groups = own_groups(recordings)
    rows: list[dict[str, Any]] = []
    failed: list[tuple[Annotation, str]] = []
    (output / "clips").mkdir(parents=True, exist_ok=True)
    with reporter.task("cut", sum(map(len, recordings.values()))) as advance:
        for recording, annotations in sorted(recordings.items()):
            cut, wrong = _cut_recording(recording, groups[recording], annotations, config, output)
            rows += cut
            failed += wrong
            advance(len(annotations))
    return rows, failed


def _cut_recording(
    recording: Path, group: str, annotations: list[Annotation], config: CutConfig, output: Path
) -> tuple[list[dict[str, Any]], list[tuple[Annotation, str]]]:
    """Table rows of the clips of one recording, which is never held in memory as a whole; and what failed, and why."""
    rows: list[dict[str, Any]] = []
    failed: list[tuple[Annotation, str]] = []
    names: set[str] = set()
    waiting = deque(sorted(annotations, key=lambda a: a.start_s))
    sounds = _Sounds(annotations)
    while waiting:
        try:
            file = sf.SoundFile(str(recording))
        except audio.UNREADABLE as error:
            return rows, failed + [(annotation, _unreadable(recording, error)) for annotation in waiting]
        with file:
            while waiting:
                annotation = waiting.popleft()
                try:
                    for piece in _pieces(annotation, file.frames / file.samplerate, config):
                        also = sounds.beside(piece)
                        if config.drop_overlapping and also:
                            failed.append((annotation, "a sound of another label is in it (--drop-overlapping)"))
                            continue
                        name = _name(piece, group)
                        if name in names:
                            failed.append((annotation, "is, with its margins, the stretch of another of its label"))
                            continue
                        names.add(name)
                        with replacing(output / "clips" / name) as partial:
                            audio.write_flac(partial, _samples(file, piece), file.samplerate)
                        rows.append(_clip_row(f"clips/{name}", group, piece, also))
                except DataError as error:
                    failed.append((annotation, str(error)))
                except sf.LibsndfileError as error:
                    failed.append((annotation, _unreadable(recording, error)))
                    # libsndfile keeps an error of seeking: the others need a file that was opened anew.
                    break
    return rows, failed


def _unreadable(recording: Path, error: Exception) -> str:
    if recording.is_file() and recording.stat().st_size == 0:
        return "its recording is empty (0 bytes)"
    return f"its recording cannot be read, or its rate not be written: {getattr(error, 'error_string', error)}"


def _pieces(annotation: Annotation, recording_s: float, config: CutConfig) -> Iterator[_Piece]:
    """Raises: `DataError` for an annotation that does not lie in the recording."""
    if annotation.start_s >= recording_s or annotation.end_s > recording_s + _OVERHANG_S:
        raise DataError("ends after its recording does; are the times seconds in this file?")
    start_s = max(0.0, annotation.start_s - config.margin_s)
    end_s = min(recording_s, annotation.end_s + config.margin_s)
    bounds = np.linspace(start_s, end_s, count_pieces(end_s - start_s, config.max_duration_s) + 1)
    for first, last in pairwise(bounds):
        yield _Piece(annotation, float(first), float(last))


def _samples(file: sf.SoundFile, piece: _Piece) -> audio.Waveform:
    """The piece's channel, or all of them in mono, ``(samples,)``. Raises: `DataError` for one that holds no sound."""
    first = round(piece.start_s * file.samplerate)
    wanted = max(1, round(piece.end_s * file.samplerate) - first)
    file.seek(first)
    read = file.read(wanted, dtype="float32", always_2d=True)
    channel = piece.annotation.channel
    if channel is not None:
        if channel >= read.shape[1]:
            raise DataError(f"its recording has {read.shape[1]} channel(s), not the one that it names")
        read = read[:, [channel]]
    # The last frames of compressed files are an estimate.
    if read.shape[0] < 0.9 * wanted:
        raise DataError("its recording ends before its header says")
    mono = np.asarray(read.mean(axis=1), dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError("holds NaN or infinite samples")
    peak = float(np.abs(mono).max(initial=0.0))
    # Files of floating-point numbers may be louder than FLAC can be.
    heard: audio.Waveform = mono / peak if peak > 1 else mono
    if audio.is_silent(heard):
        raise DataError(audio.CANCELLED if audio.cancels(read / max(1.0, peak)) else "is silent")
    return heard


def _name(piece: _Piece, group: str) -> str:
    """Safe anywhere, and of this piece alone."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(group).stem.lower())[:40].strip("-") or "recording"
    own = [group, piece.annotation.label, piece.start_s, piece.end_s, piece.annotation.channel]
    content = repr(own).encode()
    return f"{stem}-{round(1000 * piece.start_s):08d}-{hashlib.blake2b(content, digest_size=4).hexdigest()}.flac"


def _clip_row(path: str, group: str, piece: _Piece, also: set[str]) -> dict[str, Any]:
    own = piece.annotation
    times = {"start_s": round(piece.start_s, 3), "end_s": round(piece.end_s, 3)}
    row = {"path": path, "label": own.label, "group": own.group or group, "split": own.split, "recording": group}
    return {**row, **times, "also": "; ".join(sorted(also))}


class _Sounds:
    """When each label sounds in a recording, on each channel."""

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        own: dict[tuple[str, int | None], list[Annotation]] = defaultdict(list)
        for annotation in sorted(annotations, key=lambda a: a.start_s):
            own[annotation.label, annotation.channel].append(annotation)
        self._starts_s = {key: [a.start_s for a in found] for key, found in own.items()}
        # Of those that began so far, one still sounds at a time when the latest of their ends is after it.
        self._latest_s = {key: list(accumulate((a.end_s for a in found), max)) for key, found in own.items()}

    def beside(self, piece: _Piece) -> set[str]:
        """Other labels that sound in the piece, on its channel. What only touches it does not, whatever is rounded."""
        start_s, end_s = piece.start_s + _TOUCH_S, piece.end_s - _TOUCH_S
        found = set()
        for (label, channel), starts_s in self._starts_s.items():
            begun = bisect_left(starts_s, end_s)
            sounds = begun > 0 and self._latest_s[label, channel][begun - 1] > start_s
            if sounds and (None in (piece.annotation.channel, channel) or piece.annotation.channel == channel):
                found.add(label)
        return found - {piece.annotation.label}


def _as_row(annotation: Annotation, why: str) -> dict[str, Any]:
    return {
        "table": str(annotation.table),
        "line": annotation.line,
        "recording": annotation.named,
        "start_s": annotation.start_s,
        "end_s": annotation.end_s,
        "label": annotation.label,
        "reason": why,
    }


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_csv(path, list(rows[0]) if rows else ["reason"], (row.values() for row in rows), line_end="\r\n")
