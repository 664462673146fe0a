"""Annotation tables of long recordings: one line per sound, with its beginning, end and label.

Read are CSV, TSV and JSONL with a header (also the selection tables of Raven and BirdNET), and the label files of
Audacity, which have none. Which recording a line belongs to stands in a column, or is what the table is named after.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio.audio import AUDIO_SUFFIXES, audio_files
from synthio.datasets.rows import clean
from synthio.datasets.table import EXTRA, MORE_CELLS, TableRow, parse_lines, read_text
from synthio.errors import DataError

_RAVEN_START = "begin time (s)"
#: Spellings of the columns, best first, in any case.
STARTS = (
    "start_s", "start", "onset", "start_time", _RAVEN_START, "start (s)", "begin_time", "start_seconds",
    "start_time_seconds",
)  # fmt: skip
ENDS = (
    "end_s", "end", "offset", "end_time", "end time (s)", "end (s)", "end_seconds", "end_time_seconds",
)  # fmt: skip
LABELS = ("label", "species", "annotation", "event_label", "common name", "class", "sound", "category")
RECORDINGS = (
    "path", "file", "filename", "file_name", "recording", "begin file", "begin path", "audio_filename", "segment_id",
)  # fmt: skip
_FILE_OFFSET = "file offset (s)"


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
    """Both NaN where the table has no numbers."""
    label: str
    wrong: str | None = None
    """Why it cannot be cut, when that is known without opening the recording."""


class Recordings:
    """The audio files below a folder, found by path or, where that is of another machine, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in audio_files(folder):
            self._by_name[_key(path.name)].append(path)
            self._by_name[_key(path.stem)].append(path)

    def find(self, name: str) -> Path | str:
        """The file that a table names, with or without its ending; or why there is none."""
        if not name:
            return "names no recording"
        for spelling in (name, name.replace("\\", "/")):
            try:
                path = self._folder / spelling
                if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                    return path
            except (OSError, ValueError):
                # Too long for a name, or no name at all.
                break
        return self._one(re.split(r"[/\\]", name)[-1])

    def named_like(self, table: str) -> Path | str:
        """``rec1.Table.1.selections.txt`` is about ``rec1.wav``."""
        parts = table.split(".")
        for count in range(len(parts), 0, -1):
            if _key(".".join(parts[:count])) in self._by_name:
                return self._one(".".join(parts[:count]))
        return "its table names no recording, and none is called like the table"

    def _one(self, name: str) -> Path | str:
        found = self._by_name.get(_key(name), [])
        if len(found) > 1:
            return "several recordings have its recording's name"
        return found[0] if found else "its recording is not in the audio folder"


def _key(name: str) -> str:
    return clean(name).casefold()


def read_annotations(table: Path, recordings: Recordings, label_column: str | None) -> list[Annotation]:
    """The lines of one table, none for an empty one. A line that comes twice is one: Raven writes one per view.

    Raises: `DataError` for a table that cannot be read, lacks a column, or counts the time from the first of several
        files.
    """
    text = read_text(table)
    rows = list(_audacity(text)) or parse_lines(text, table)
    if not rows:
        return []
    found_columns = list(dict.fromkeys(column for row in rows for column in row if column != EXTRA))
    columns = {name.strip().casefold(): name for name in reversed(found_columns)}

    def column(spellings: Sequence[str], cure: str = "rename one") -> str:
        for spelling in spellings:
            if spelling in columns:
                return columns[spelling]
        raise DataError(
            f"{table}: has no column {' or '.join(map(repr, spellings[:4]))}; found "
            f"{', '.join(map(repr, found_columns))}; {cure}"
        )

    start, end = column(STARTS), column(ENDS)
    own_label = LABELS if label_column is None else (label_column.strip().casefold(),)
    label = column(own_label, "rename one, or name it with --label-column")
    named = next((columns[spelling] for spelling in RECORDINGS if spelling in columns), None)
    offset = columns.get(_FILE_OFFSET)
    _check_offsets(rows, table, start, named, offset)
    found: dict[tuple[object, ...], Annotation] = {}
    for number, row in enumerate(rows, 1):
        name = table.name if named is None else _cell(row, named)
        recording = recordings.named_like(table.name) if named is None else recordings.find(_raw(row, named))
        start_s, end_s = _times(row, start, end, offset)
        wrong = _wrong(row, start_s, end_s, row.get(label), recording)
        path = None if isinstance(recording, str) else recording
        made = Annotation(table, number, path, name, start_s, end_s, _cell(row, label), wrong)
        found.setdefault((name, start_s, end_s, made.label, number if wrong else 0), made)
    return list(found.values())


def _check_offsets(rows: Sequence[TableRow], table: Path, start: str, named: str | None, offset: str | None) -> None:
    several = len({_cell(row, named) for row in rows}) > 1
    if several and offset is None and start.strip().casefold() == _RAVEN_START:
        raise DataError(
            f"{table}: names several recordings in {named!r}, and {start!r} counts from the first one; "
            "export Raven's column 'File Offset (s)' too"
        )


def _times(row: TableRow, start: str, end: str, offset: str | None) -> tuple[float, float]:
    """Seconds in the recording. Raven counts them from the first file that it opened, and has an offset in this one."""
    start_s, end_s, in_file_s = (_seconds(_cell(row, column)) for column in (start, end, offset))
    if math.isnan(in_file_s):
        return start_s, end_s
    return in_file_s, in_file_s + end_s - start_s


def _wrong(row: TableRow, start_s: float, end_s: float, label: object, recording: Path | str) -> str | None:
    if EXTRA in row:
        return MORE_CELLS
    if isinstance(label, list):
        return "has several labels"
    if label is None or not str(label).strip():
        return "has no label"
    if math.isnan(start_s) or math.isnan(end_s):
        return "its beginning or end is no number of seconds"
    if not 0 <= start_s < end_s:
        return "does not end after it begins, at 0 s or later"
    return recording if isinstance(recording, str) else None


def _audacity(text: str) -> Iterator[TableRow]:
    """Lines ``start<tab>end<tab>label``; none when the first line is no such line. Lines that begin with a backslash
    are frequencies of the line before."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("\\")]
    if lines and not any(math.isnan(_seconds(cell)) for cell in [*lines[0].split("\t"), "", ""][:2]):
        for line in lines:
            cells = [*line.rstrip("\r").split("\t"), "", ""]
            yield {"start_s": cells[0], "end_s": cells[1], "label": "\t".join(cells[2:-2])}


def _raw(row: TableRow, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _cell(row: TableRow, column: str | None) -> str:
    return "" if column is None else clean(_raw(row, column))


def _seconds(text: str) -> float:
    """NaN for what is no number of seconds."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan
