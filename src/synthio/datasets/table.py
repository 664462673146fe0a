"""CSV (also ``;`` or tab) and JSONL tables: one row per clip, columns named in the config."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from synthio.config import DataConfig
from synthio.datasets.recordings import Recordings
from synthio.datasets.rows import (
    NO_LABEL,
    SPLIT_SPELLINGS,
    Row,
    data_path,
    group_of,
    name_in,
    normalised_text,
    own_settings,
    split_of,
)
from synthio.errors import DataError
from synthio.files import AUDIO_SUFFIXES
from synthio.formats import some

TableRow = dict[str, Any]
"""Column -> cell; cells that a CSV line has beyond the header are under `EXTRA`."""
EXTRA = "\0extra"
MORE_CELLS = "its line has more cells than the header; quote cells that hold the delimiter"
_OF_HUGGING_FACE = frozenset({".parquet", ".arrow"})
#: What to do about files that are not where their table says.
ELSEWHERE = "write it relative to the table, or set data.audio_folder to where the files are"
_OF_WINDOWS = re.compile(r"[A-Za-z]:/|//")
#: In the header of its tables, where a quote is part of the text.
_RAVEN = frozenset({"Selection", "Begin Time (s)"})


def read_table(config: DataConfig) -> list[Row]:
    """Rows of the table ``config.path``; paths are relative to the table.

    Raises: `DataError` for a missing or unreadable table, missing columns (lists those found) or unknown splits.
    """
    table = data_path(config.path)
    if not table.is_file():
        raise DataError(f"{table}: no such table, or no ordinary file; expected a CSV or JSONL file")
    return table_rows(parse(table), table, config, config.path_column)


def unread_columns(config: DataConfig, table: Path, path_column: str) -> list[str]:
    """Columns of a table that no setting names, in order. Raises: `DataError` as `parse`."""
    read = {path_column, config.label_column, config.split_column, config.group_column, EXTRA}
    return list(dict.fromkeys(column for row in parse(table) for column in row if column not in read))


def parse(table: Path) -> list[TableRow]:
    """The table's lines as mappings. Raises: `DataError` as `parse_lines`, and when there are none."""
    rows = parse_lines(read_text(table), table)
    if not rows:
        raise DataError(f"{table}: holds no rows; expected one per clip")
    return rows


def parse_lines(text: str, table: Path) -> list[TableRow]:
    """The lines of a table's ``text`` as mappings, if any. Raises: `DataError` naming those that cannot be read."""
    is_json = table.suffix.lower() in {".jsonl", ".ndjson", ".json"}
    return _parse_jsonl(text, table) if is_json else _parse_csv(text, table)


def read_text(table: Path) -> str:
    """UTF-8, with or without byte order mark, or UTF-16 with one. Raises: `DataError` saying what it may be instead."""
    if table.suffix.lower() in _OF_HUGGING_FACE:
        raise DataError(f"{table}: is a file of Hugging Face datasets; `synthio data export` writes its clips out")
    try:
        with table.open("rb") as file:
            is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return table.read_text(encoding="utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 text (byte {error.start}); {_utf8_cure(table)}") from error
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror or error})") from error


def _utf8_cure(table: Path) -> str:
    """What to do about a file that is not UTF-8; most that are text come from a spreadsheet on Windows."""
    try:
        is_text = all(sign.isprintable() or sign.isspace() for sign in table.read_text(encoding="cp1252"))
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        return (
            "expected a folder, or a CSV or JSONL table in UTF-8: save a spreadsheet as CSV in UTF-8, unpack an "
            "archive, give the folder of a single file"
        )
    source, target = (shlex.quote(str(path)) for path in (table, table.with_stem(f"{table.stem}-utf8")))
    return (
        "it may be Windows-1252, as spreadsheets write CSV: save it as CSV in UTF-8, or run "
        f"`iconv -f cp1252 -t utf-8 {source} > {target}` and name that file; look whether its labels read right: "
        "a table in another language may have another encoding than cp1252"
    )


def _parse_jsonl(text: str, table: Path) -> list[TableRow]:
    if text.lstrip().startswith("["):
        raise DataError(f"{table}: is one JSON array; expected one object per line (`jq -c '.[]'` writes them so)")
    rows: list[TableRow] = []
    bad: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            bad.append(f"line {number}: {error}")
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad.append(f"line {number}: {type(row).__name__}")
    if bad:
        shown = some(bad, "; ", most=5)
        raise DataError(f"{table}: {len(bad)} line(s) are not JSON objects ({shown}); expected one object per line")
    return rows


def _parse_csv(text: str, table: Path) -> list[TableRow]:
    text = text.lstrip("\n")
    if excel := re.match(r"sep=([,;\t])\s*\n", text):
        text = text[excel.end() :]
    # Only the header tells the delimiter (`csv.Sniffer` also guesses quoting, often wrongly): names may hold all three.
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if set(header.split("\t")) >= _RAVEN else csv.QUOTE_MINIMAL
    try:
        lines = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey=EXTRA, strict=True, quoting=quoting)
        counts = Counter(str(column).strip() for column in lines.fieldnames or ())
        if twice := [column for column, count in counts.items() if column and count > 1]:
            raise DataError(f"{table}: has several columns {twice[0]!r}; rename all but one")
        rows = [{str(column).strip(): cell for column, cell in row.items()} for row in lines]
    except csv.Error as error:
        raise DataError(f"{table}: is not readable CSV ({error}); check its quotes") from error
    if quoting == csv.QUOTE_NONE:
        return [{column: _unquoted(cell) for column, cell in row.items()} for row in rows]
    return rows


def _unquoted(cell: Any) -> Any:
    """What a spreadsheet has put into quotes is a whole cell; a person's quote may begin one and not end it."""
    quoted = isinstance(cell, str) and len(cell) > 1 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def table_rows(rows: Sequence[TableRow], table: Path, config: DataConfig, path_column: str) -> list[Row]:
    """Table lines as dataset rows. Raises `DataError` for missing columns (lists those found) and unknown splits."""
    _check_columns(rows, table, config, path_column)
    splits = {_text(row.get(config.split_column)) for row in rows} - {""}
    if unknown := sorted(split for split in splits if split_of(split) is None):
        raise DataError(
            f"{table}: column {config.split_column!r} holds {some(map(repr, unknown), most=5)}; "
            f"expected {', '.join(SPLIT_SPELLINGS)}"
        )
    recordings = None if config.audio_folder is None else Recordings(_folder(config.audio_folder), "data.path_column")
    return [_row(row, table, config, path_column, recordings) for row in rows]


def _folder(name: str) -> Path:
    folder = data_path(name)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data.audio_folder is where the files of the table are")
    return folder


def _check_columns(rows: Sequence[TableRow], table: Path, config: DataConfig, path_column: str) -> None:
    found = sorted({column for row in rows for column in row} - {EXTRA})
    wanted = [path_column, config.label_column]
    # Split and group are optional under their default names, asked for under others.
    wanted += [getattr(config, name) for name in ("split_column", "group_column") if name in own_settings(config)]
    # `Group` would be ignored without a word, and groups straddle splits.
    renamed = []
    for field in ("path_column", "label_column", "split_column", "group_column"):
        name = path_column if field == "path_column" else getattr(config, field)
        alike = [column for column in found if column.strip().casefold() == name.casefold()]
        if alike and name not in alike:
            renamed.append(f"has a column {alike[0]!r}, not {name!r}; rename it, or set data.{field}")
            wanted = [column for column in wanted if column != name]
    missing = [column for column in wanted if column not in found]
    if missing and any(Path(column).suffix.lower() in AUDIO_SUFFIXES for column in found):
        raise DataError(f"{table}: its first line is a clip; expected the names of the columns, such as path,label")
    if missing:
        others = "; set data.path_column, data.label_column, data.split_column or data.group_column"
        names = f"has no column {', '.join(map(repr, missing))}; found {', '.join(map(repr, found))}"
        renamed.append(f"{names}{others}")
    if renamed:
        raise DataError(f"{table}: {'; '.join(renamed)}")


def _row(row: TableRow, table: Path, config: DataConfig, path_column: str, recordings: Recordings | None) -> Row:
    cell = str(row[path_column]).strip() if row.get(path_column) is not None else ""
    home = table.parent if config.audio_folder is None else data_path(config.audio_folder)
    path, rejected = _beside(table, cell) if recordings is None else _below(recordings, home, cell)
    if not cell:
        rejected = f"the column {path_column!r} is empty in one line"
    if isinstance(row.get(config.label_column), dict):
        rejected = "its label is a JSON object; expected text, or a list of texts"
    if EXTRA in row:
        rejected = MORE_CELLS
    return Row(
        path=path,
        name=name_in(home, path) if path.is_relative_to(home) else normalised_text(cell),
        labels=_labels(row.get(config.label_column), config),
        split=split_of(_text(row.get(config.split_column))),
        group=group_of(_text(row.get(config.group_column))),
        rejected=rejected,
    )


def _beside(table: Path, cell: str) -> tuple[Path, str | None]:
    """The file that a cell names relative to the table, and why it cannot be there, as far as its name tells."""
    if not cell:
        return table, None
    if "\\" in cell and not (table.parent / cell).exists():
        # As Windows writes it; a backslash may be part of a name here.
        cell = cell.replace("\\", "/")
    path = _as_spelled_here(Path(os.path.normpath(table.parent / cell)))
    if path.exists():
        return path, None
    if _OF_WINDOWS.match(cell):
        return path, f"no such file here: its path is one of a Windows machine; {ELSEWHERE}"
    if Path(cell).exists():
        return path, "no such file beside the table, where its paths begin; there is one below the current folder"
    return path, None


def _as_spelled_here(path: Path) -> Path:
    """The path in the Unicode form that each of its names has on disk: archives of a Mac hold decomposed ones."""
    if path.exists():
        return path
    found = Path(path.anchor)
    for name in path.relative_to(found).parts:
        forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
        found = next((found / form for form in forms if (found / form).exists()), found / name)
    return found


def _below(recordings: Recordings, folder: Path, cell: str) -> tuple[Path, str | None]:
    """The file below a folder that a cell means, and why there is none."""
    named = Path(cell.replace("\\", "/"))
    found = recordings.find(cell)
    return (found, None) if isinstance(found, Path) else (folder / named, found)


def _labels(cell: object, config: DataConfig) -> tuple[str, ...]:
    """One cell's labels, in order, without repeats. A JSON list is several labels whatever the separator. `NA` is none,
    unless the recipe gives it a name."""
    if isinstance(cell, dict):
        return ()
    if isinstance(cell, list):
        parts: list[object] = cell
    else:
        parts = list(_text(cell).split(config.label_separator)) if config.label_separator else [cell]
    none = {"", *NO_LABEL.difference(config.label_names)}
    return tuple(dict.fromkeys(text for part in parts if (text := _text(part)) not in none))


def _text(cell: object) -> str:
    return "" if cell is None else normalised_text(str(cell)).strip()
