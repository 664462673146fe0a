"""Annotation tables of long recordings: one line per sound, with its beginning, end and label.

Read are CSV, TSV and JSONL with a header (also the selection tables of Raven), and the label files of Audacity, which
have none. Which recording a line belongs to stands in a column, or is what the table is named after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio.audio import AUDIO_SUFFIXES
from synthio.datasets.rows import clean
from synthio.datasets.table import TableRow, parse, read_text
from synthio.errors import DataError

#: Spellings of the columns, best first, in any case.
STARTS = ("start_s", "start", "onset", "start_time", "begin time (s)", "start (s)", "begin_time", "start_seconds")
ENDS = ("end_s", "end", "offset", "end_time", "end time (s)", "end (s)", "end_seconds")
LABELS = ("label", "species", "annotation", "event_label", "class", "common name", "sound", "category")
_FILE_OFFSET = "file offset (s)"
RECORDINGS = ("path", "file", "filename", "file_name", "recording", "begin file", "audio_filename")


@dataclass(frozen=True)
class Annotation:
    """One sound in a recording."""

    table: Path
    line: int
    """Of the table, the first row after a header being 1."""
    recording: Path | None
    """None where no such file was found."""
    named: str
    """The recording as the table names it."""
    start_s: float
    end_s: float
    label: str
    wrong: str | None = None
    """Why it cannot be cut, when that is known without opening the recording."""


def read_annotations(table: Path, audio_folder: Path, label_column: str | None) -> list[Annotation]:
    """The lines of one table; ``audio_folder`` is where recordings are looked for.

    A line that comes twice is one: Raven writes one per view. Raises: `DataError` for a table that cannot be read or
    lacks a column, or that neither names recordings nor is named after one.
    """
    rows = list(_audacity(table)) or parse(table)
    start, end = _column(rows, table, STARTS, None), _column(rows, table, ENDS, None)
    label = _column(rows, table, LABELS, label_column)
    offset = next((name for name in _columns(rows) if name.strip().casefold() == _FILE_OFFSET), None)
    named = next((name for name in _columns(rows) if name.strip().casefold() in RECORDINGS), None)
    own = None if named is not None else _named_after(table, audio_folder)
    found: dict[tuple[object, ...], Annotation] = {}
    for number, row in enumerate(rows, 1):
        name = own.name if own is not None else _cell(row, named)
        recording = own if own is not None else _recording(audio_folder, name)
        times = _times(row, start, end, offset)
        said = _cell(row, label)
        wrong = _wrong(times, said, name, recording)
        begin_s, end_s = times[0] or 0.0, times[1] or 0.0
        made = Annotation(table, number, recording, name, begin_s, end_s, said, wrong)
        found.setdefault((name, *times, said, number if wrong else 0), made)
    return list(found.values())


def _times(row: TableRow, start: str, end: str, offset: str | None) -> tuple[float | None, float | None]:
    """Seconds in the recording. Raven counts them from the first file that it opened, and has an offset in this one."""
    start_s, end_s = _seconds(_cell(row, start)), _seconds(_cell(row, end))
    in_file_s = _seconds(_cell(row, offset))
    if in_file_s is None or start_s is None or end_s is None:
        return start_s, end_s
    return in_file_s, in_file_s + end_s - start_s


def _wrong(times: tuple[float | None, float | None], label: str, name: str, recording: Path | None) -> str | None:
    start_s, end_s = times
    if not label:
        return "has no label"
    if start_s is None or end_s is None:
        return "its beginning or end is no number of seconds"
    if not 0 <= start_s < end_s:
        return "does not end after it begins, at 0 s or later"
    if recording is None:
        return f"no such recording as {name!r}" if name else "names no recording"
    return None


def _audacity(table: Path) -> Iterator[TableRow]:
    """Lines ``start<tab>end<tab>label``; none when the first line is no such line. Lines that begin with a backslash
    are frequencies of the line before."""
    lines = [line for line in read_text(table).split("\n") if line.strip() and not line.startswith("\\")]
    if lines and all(_seconds(cell) is not None for cell in [*lines[0].split("\t"), "", ""][:2]):
        for line in lines:
            cells = [*line.rstrip("\r").split("\t"), "", ""]
            yield {"start_s": cells[0], "end_s": cells[1], "label": "\t".join(cells[2:-2])}


def _columns(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row if "\0" not in column))


def _column(rows: Sequence[TableRow], table: Path, spellings: Sequence[str], asked: str | None) -> str:
    """The table's own spelling of a column. Raises: `DataError` when there is none."""
    columns = {name.strip().casefold(): name for name in reversed(_columns(rows))}
    wanted = spellings if asked is None else (asked.strip().casefold(),)
    for spelling in wanted:
        if spelling in columns:
            return columns[spelling]
    option = "" if spellings is not LABELS else ", or name it with --label-column"
    raise DataError(
        f"{table}: has no column {' or '.join(map(repr, wanted[:4]))}; found {', '.join(map(repr, _columns(rows)))}; "
        f"rename one{option}"
    )


def _cell(row: TableRow, column: str | None) -> str:
    value = None if column is None else row.get(column)
    return "" if value is None else clean(str(value)).strip()


def _seconds(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


def _recording(folder: Path, name: str) -> Path | None:
    if not name:
        return None
    path = Path(os.path.normpath(folder / name.replace("\\", "/")))
    return path if path.is_file() else None


def _named_after(table: Path, folder: Path) -> Path:
    """``rec1.Table.1.selections.txt`` is about ``rec1.wav``. Raises: `DataError` when there is no such file."""
    parts = table.name.split(".")
    by_stem = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
    for count in range(len(parts), 0, -1):
        if found := by_stem.get(".".join(parts[:count])):
            return found
    raise DataError(
        f"{table}: has no column {' or '.join(map(repr, RECORDINGS[:3]))}, and {folder} holds no recording "
        f"{table.name.split('.')[0]}.wav (or another format) that the table would be named after; "
        "say where the recordings are with --audio"
    )
