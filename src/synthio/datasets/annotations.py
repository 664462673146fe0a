"""Annotation tables of long recordings: one line per sound, with its beginning, end and label.

Read are CSV, TSV and JSONL with a header (also the selection tables of Raven and BirdNET), and the label files of
Audacity, which have none. Which recording a line belongs to stands in a column, or is what the table is named after.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.recordings import Recordings
from synthio.datasets.rows import NO_LABEL, data_path, group_of, normalised_text
from synthio.datasets.table import (
    EXTRA,
    MORE_CELLS,
    TableRow,
    parse,
    parse_lines,
    read_table,
    read_text,
    unread_columns,
)
from synthio.errors import DataError
from synthio.files import AUDIO_SUFFIXES
from synthio.formats import some

_RAVEN_START = "begin_time_(s)"
#: Spellings of the columns, best first, in any case, and with spaces for underscores.
STARTS = (
    "start_s", "start", "onset", "start_time", "start_time_(s)", _RAVEN_START, "start_(s)", "begin_time",
    "start_seconds", "start_time_seconds",
)  # fmt: skip
ENDS = (
    "end_s", "end", "offset", "end_time", "end_time_(s)", "end_(s)", "end_seconds", "end_time_seconds",
)  # fmt: skip
#: Where there is no end. Raven's is the last one.
DURATIONS = ("duration_s", "duration", "length_s", "length", "dur", "duration_(s)", "delta_time_(s)")
LABELS = ("label", "species", "annotation", "event_label", "common_name", "class", "sound", "category")
RECORDINGS = (
    "path", "file", "filename", "file_name", "file_path", "filepath", "recording", "begin_file", "begin_path",
    "audio_file", "audio_filename", "audio", "wav", "segment_id",
)  # fmt: skip
#: Columns that name the recording with the folders around it.
PATHS = ("path", "file_path", "filepath", "begin_path")
#: As the group column, the recordings' folders, where no column is called so.
FOLDER = "folder"
#: How sure a detector was.
CONFIDENCES = ("confidence", "score", "probability", "conf", "prob")
_AUDACITY = ("start_s", "end_s", "label")
_NO_HEADER = "a table without a header needs a first line that names its columns"
_FILE_OFFSET, _CHANNEL = "file_offset_(s)", "channel"


@dataclass(frozen=True)
class ColumnNames:
    """Columns that the user names; None looks for the usual spellings."""

    label: str | None = None
    recording: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which column of a table says what."""

    start: str
    end: str | None
    """None where there are durations."""
    duration: str | None
    label: str
    recording: str | None
    """None where the table is named after its recording."""
    path: str | None
    """Tells recordings of one name apart; None where the recording's own column has the path, or the user names one."""
    group: str | None
    split: str | None
    channel: str | None
    """Of Raven, which counts from 1; other programs count in other ways."""
    confidence: str | None
    file_offset: str | None
    unread: tuple[str, ...]

    def __str__(self) -> str:
        read = {name: getattr(self, name) for name in ("label", "start", "end", "duration", "recording", "path")}
        read |= {name: getattr(self, name) for name in ("group", "split", "channel", "confidence")}
        read |= {"file offset": self.file_offset}
        said = ", ".join(f"{name} from {column!r}" for name, column in read.items() if column is not None)
        unread = f"; not read: {', '.join(map(repr, self.unread))}" if self.unread else ""
        return f"{said}{'' if self.recording else ', recording from the name of the table'}{unread}"


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
    group: str = ""
    split: str = ""
    """Both empty where the table has none."""
    channel: int | None = None
    """Of the recording, from 0; None is all of them mixed."""
    confidence: float = math.nan
    """NaN where the table has none."""
    wrong: str | None = None
    """Why it cannot be cut, when that is known without opening the recording."""


@dataclass(frozen=True)
class Reading:
    """What one table says."""

    annotations: tuple[Annotation, ...] = ()
    """A line that comes twice is one: Raven writes one per view."""
    columns: Columns | None = None
    """None where there is no header: label files of Audacity, and empty files."""


def read_annotations(table: Path, recordings: Recordings, names: ColumnNames) -> Reading:
    """The lines of one table, none for an empty one.

    Raises: `DataError` for a table that cannot be read, lacks a column, names recordings in a column that is not known
        to, or counts the time from the first of several files.
    """
    text = read_text(table)
    rows, has_header = list(_audacity(text, table)), False
    if not rows:
        rows, has_header = parse_lines(text, table), True
    if not rows:
        return Reading()
    columns = find_columns(rows, table, names, recordings)
    needs_offset = _needs_offset(rows, table, columns)
    found: dict[tuple[object, ...], Annotation] = {}
    for number, row in enumerate(rows, 1):
        made = _annotation(row, number, table, columns, recordings, needs_offset)
        own = (made.recording, made.start_s, made.end_s, made.label, made.channel, str(made.confidence))
        # What is wrong may be any of these: then it is the line that is the same, but for Raven's view.
        line = sorted((column, str(cell)) for column, cell in row.items() if _spelling(column) != "view")
        found.setdefault(tuple(line) if made.wrong else own, made)
    return Reading(tuple(found.values()), columns if has_header else None)


def annotation_problems(config: DataConfig) -> list[str]:
    """Files of the table ``config.path`` in which several lines begin at several times: as clips, these would all be
    the file's beginning. Raises: `DataError` as `parse`."""
    table = data_path(config.path)
    start = _first(unread_columns(config, table, config.path_column), STARTS)
    if start is None:
        return []
    times: dict[str, set[str]] = defaultdict(set)
    for row in parse(table):
        times[_raw(row, config.path_column)].add(_raw(row, start))
    several = [repr(path) for path, own in times.items() if path and len(own) > 1]
    if not several:
        return []
    return [
        f"{len(several)} file(s) have several lines, and the column {start!r} says when in the file: {some(several)}; "
        f"a clip is the beginning of a file of its own, so {_cut_first(config)}"
    ]


def annotation_warnings(config: DataConfig, durations_s: Mapping[str, float]) -> list[str]:
    """Files that last on where a line of the table ``config.path`` has its sound end. ``durations_s``: of the files
    that were opened, by the name of their row. Raises: `DataError` as `read_table`."""
    unread = unread_columns(config, data_path(config.path), config.path_column)
    start, end = _first(unread, STARTS), _first(unread, ENDS)
    if start is None or end is None:
        return []
    inside = []
    for row, line in zip(read_table(config), parse(data_path(config.path)), strict=True):
        start_s, end_s = _number(_raw(line, start)), _number(_raw(line, end))
        # The other way round these are times in another recording, which the clip was cut out of.
        if 0 < start_s < end_s < durations_s.get(row.name, 0.0):
            inside.append(repr(row.name))
    if not inside:
        return []
    return [
        f"in {len(inside)} file(s) the sound is later than the beginning, say the columns {start!r} and {end!r}: "
        f"{some(inside)}; a clip is the beginning of its file, so {_cut_first(config)}"
    ]


def _first(columns: Sequence[str], spellings: Sequence[str]) -> str | None:
    return next((column for column in columns if _spelling(column) in spellings), None)


def _cut_first(config: DataConfig) -> str:
    where = "" if config.audio_folder is None else f" --audio {data_path(config.audio_folder)}"
    return (
        f"cut these out with `synthio data cut {data_path(config.path)}{where} --output clips`, and set "
        "data.path=clips/clips.csv"
    )


class _Header:
    """The columns of a table, found by what they may be called."""

    def __init__(self, rows: Sequence[TableRow], table: Path) -> None:
        self._rows, self._table = rows, table
        self.every = list(dict.fromkeys(column for row in rows for column in row if column != EXTRA))
        self._known = {_spelling(name): name for name in reversed(self.every)}
        self.problems: list[str] = []

    def holds(self, column: str | None) -> bool:
        """Whether it is there and not empty throughout."""
        return column is not None and any(_raw(row, column) for row in self._rows)

    def one_hot(self) -> list[str]:
        """Those that hold both 0 and 1, and nothing else."""
        return [column for column in self.every if self._is_one_hot(column)]

    def _is_one_hot(self, column: str) -> bool:
        # Most columns are known not to be by their first cell.
        inside = all(_raw(row, column) in ("0", "1") for row in self._rows)
        return inside and {_raw(row, column) for row in self._rows} == {"0", "1"}

    def find(self, spellings: Sequence[str]) -> str | None:
        """The best one that is not empty throughout."""
        present = [self._known[spelling] for spelling in spellings if spelling in self._known]
        return next((c for c in present if self.holds(c)), present[0] if present else None)

    def need(self, what: str, named: str | None, spellings: Sequence[str], cure: str) -> str:
        """The one that the user names, or `find`; where it is not there, an empty one, and a problem for `check`."""
        column = self.find(spellings if named is None else [_spelling(named)])
        if column is None:
            wanted = repr(named) if named is not None else " or ".join(map(repr, spellings[:4]))
            self.problems.append(f"has no column {wanted} for the {what} ({cure})")
        return column or ""

    def check(self) -> None:
        """Raises: `DataError` with all problems, and the columns that were found."""
        if self.problems:
            raise DataError(f"{self._table}: {'; '.join(self.problems)}; found {', '.join(map(repr, self.every))}")

    def want(self, what: str, named: str | None, spellings: Sequence[str]) -> str | None:
        """As `need`, but there need be none where the user names none."""
        return self.find(spellings) if named is None else self.need(what, named, (), f"name one with --{what}-column")


def find_columns(rows: Sequence[TableRow], table: Path, names: ColumnNames, recordings: Recordings) -> Columns:
    """Which column says what. Raises: `DataError` for all that are missing, with those that were found."""
    header = _Header(rows, table)
    start = header.need("beginning", None, STARTS, f"rename one; {_NO_HEADER}")
    end, duration = header.find(ENDS), header.find(DURATIONS)
    if duration is not None and not header.holds(end):
        end = None
    else:
        end, duration = header.need("end", None, ENDS, "rename one; a duration would do as well"), None
    recording = header.want("recording", names.recording, RECORDINGS)
    path = header.find(PATHS) if names.recording is None else None
    columns = Columns(
        start=start,
        end=end,
        duration=duration,
        label=header.need("label", names.label, LABELS, _label_cure(header)),
        recording=recording,
        path=path if path != recording and header.holds(path) else None,
        group=header.find((FOLDER,)) if names.group == FOLDER else header.want("group", names.group, ("group",)),
        split=header.find(("split",)),
        channel=header.find((_CHANNEL,)) if _spelling(start) == _RAVEN_START else None,
        confidence=header.find(CONFIDENCES),
        file_offset=header.find((_FILE_OFFSET,)),
        unread=(),
    )
    read = {getattr(columns, field.name) for field in fields(columns)}
    columns = replace(columns, unread=tuple(column for column in header.every if column not in read))
    if recording is None:
        header.problems += _recording_problems(rows, columns.unread, recordings)
    header.check()
    return columns


def _label_cure(header: _Header) -> str:
    """Of tables with a column per class, which no label column can be named of."""
    marks = header.one_hot()
    if len(marks) < 2:
        return "name one with --label-column"
    return (
        f"where {some(map(repr, marks))} say with 0 and 1 which sounds there are, write the names of those into one "
        "column label"
    )


def _spelling(column: str) -> str:
    return column.strip().casefold().replace(" ", "_")


def _recording_problems(rows: Sequence[TableRow], unread: Sequence[str], recordings: Recordings) -> list[str]:
    """The table's own name says which recording it is about, unless a column says otherwise: it holds names of audio
    files, or names several recordings."""
    problems = []
    for column in unread:
        # Raven numbers its selections, and recordings may have numbers for names.
        cells = {cell for row in rows if (cell := _raw(row, column)) and not cell.isdecimal()}
        found = {cell for cell in cells if isinstance(recordings.find(cell), Path)}
        if len(found) > 1 or any(Path(cell).suffix.lower() in AUDIO_SUFFIXES for cell in found):
            problems.append(
                f"the column {column!r} names recordings; say so with --recording-column {column!r}, or remove it if "
                "all lines are about the recording that the table is named after"
            )
    return problems


def _annotation(
    row: TableRow, number: int, table: Path, columns: Columns, recordings: Recordings, needs_offset: bool
) -> Annotation:
    if columns.recording is None:
        named, recording = table.name, recordings.named_like(table)
    else:
        named, recording = _cell(row, columns.recording), _found(row, table, columns, recordings)
    start_s, end_s = _times(row, columns)
    channel = _raw(row, columns.channel) if columns.channel is not None else ""
    return Annotation(
        table=table,
        line=number,
        recording=None if isinstance(recording, str) else recording,
        named=named,
        start_s=start_s,
        end_s=end_s,
        label=_cell(row, columns.label),
        group=group_of(_cell(row, columns.group)) or "",
        split=_cell(row, columns.split),
        channel=int(channel) - 1 if channel.isdecimal() and int(channel) > 0 else None,
        confidence=_number(_cell(row, columns.confidence)),
        wrong=_wrong(row, columns, start_s, end_s, recording, needs_offset),
    )


def _found(row: TableRow, table: Path, columns: Columns, recordings: Recordings) -> Path | str:
    """By the column with the recording's path, where there is one, else by the one that names it."""
    named = _raw(row, columns.path) if columns.path is not None else ""
    return recordings.find(named or _raw(row, columns.recording or ""), table)


def _needs_offset(rows: Sequence[TableRow], table: Path, columns: Columns) -> bool:
    """Whether the beginnings count from the first of several recordings. Raises: `DataError` where the table cannot
    say when in its own a sound is."""
    several = len({(_cell(row, columns.recording), _cell(row, columns.path)) for row in rows}) > 1
    if not several or _spelling(columns.start) != _RAVEN_START:
        return False
    if columns.file_offset is None:
        raise DataError(
            f"{table}: names several recordings in {columns.recording!r}, and {columns.start!r} counts from the first "
            "one; export Raven's column 'File Offset (s)' too"
        )
    return True


def _times(row: TableRow, columns: Columns) -> tuple[float, float]:
    """Seconds in the recording. Raven counts them from the first file that it opened, and has an offset in this one."""
    start_s, in_file_s = (_number(_cell(row, column)) for column in (columns.start, columns.file_offset))
    end_s = _number(_cell(row, columns.end or columns.duration)) + (0.0 if columns.end else start_s)
    if math.isnan(in_file_s):
        return start_s, end_s
    return in_file_s, in_file_s + end_s - start_s


def _wrong(
    row: TableRow, columns: Columns, start_s: float, end_s: float, recording: Path | str, needs_offset: bool
) -> str | None:
    label = row.get(columns.label)
    if EXTRA in row:
        return MORE_CELLS
    if isinstance(label, list):
        return "has several labels"
    if label is None or str(label).strip() in {"", *NO_LABEL}:
        return "has no label"
    if math.isnan(start_s) or math.isnan(end_s):
        return "its beginning, or its end or duration, is no number of seconds"
    if not 0 <= start_s < end_s:
        return "does not end after it begins, at 0 s or later"
    if isinstance(recording, str):
        return recording
    if needs_offset and math.isnan(_number(_cell(row, columns.file_offset))):
        return "has no 'File Offset (s)', and its beginning counts from the first of several files"
    return None


def _audacity(text: str, table: Path) -> Iterator[TableRow]:
    """Lines ``start<tab>end<tab>label``; none when the first line is no such line. Lines that begin with a backslash
    are frequencies of the line before. Raises: `DataError` for more cells: what they mean, nothing says."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("\\")]
    if lines and not any(math.isnan(_number(cell)) for cell in [*lines[0].split("\t"), "", ""][:2]):
        for line in lines:
            cells = line.rstrip().split("\t")
            if len(cells) > len(_AUDACITY):
                raise DataError(
                    f"{table}: has {len(cells)} cells in the line {line.strip()!r} and no header; Audacity's label "
                    f"files have {len(_AUDACITY)} (start, end, label); {_NO_HEADER}, one of them label"
                )
            yield dict(zip_longest(_AUDACITY, cells, fillvalue=""))


def _raw(row: TableRow, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _cell(row: TableRow, column: str | None) -> str:
    return "" if column is None else normalised_text(_raw(row, column))


def _number(text: str) -> float:
    """NaN for what is none, or no number of seconds."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan
