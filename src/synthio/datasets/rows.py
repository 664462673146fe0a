"""What a dataset reader returns: one `Row` per file, before any audio is opened."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints, TypeAdapter, ValidationError

from synthio.config import DataConfig
from synthio.errors import DataError
from synthio.formats import problems_of, some
from synthio.recipes import user_path
from synthio.records import Split

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
SPLIT_SPELLINGS = tuple(_SPLITS)
#: What R and pandas write into empty cells. A label may well be the word `none`.
NO_LABEL = frozenset({"NA", "N/A", "nan", "NaN"})
_NO_GROUP = frozenset({"", "na", "n/a", "nan", "none", "null"})
NO_FILE = (0, 0)


@dataclass(frozen=True)
class Row:
    """One file of a dataset, as its folder or table describes it. The validators are for what plug-ins give."""

    path: Annotated[Path, AfterValidator(_absolute)]
    """Absolute."""
    name: Text
    """The path inside the dataset, with ``/``; unique. Clip ids derive from it."""
    labels: tuple[Text, ...]
    split: Annotated[Split | None, BeforeValidator(_spelled)] = None
    """None when the data has no splits."""
    group: Annotated[str | None, AfterValidator(_named)] = None
    rejected: str | None = None
    """Why the file cannot be a clip, when that is known without opening it."""


def data_path(path: str) -> Path:
    """``data.path``, absolute and without ``..``, as every reader compares paths with it; links are kept."""
    return Path(os.path.normpath(user_path(path).absolute()))


def file_stat(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns; `NO_FILE` for one that is not there, or whose name cannot be one."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return NO_FILE
    return status.st_size, status.st_mtime_ns


def changed_ns(path: Path) -> int:
    """When the file, its name or its permissions were changed last, which nothing sets back; 0 as for `file_stat`."""
    try:
        return path.stat().st_ctime_ns
    except (OSError, ValueError):
        return 0


def own_settings(config: DataConfig) -> list[str]:
    """Fields that are not the default. Which ones were written down does not count: a run folder's recipe has all."""
    return [name for name, field in DataConfig.model_fields.items() if getattr(config, name) != field.default]


def split_of(spelling: str) -> Split | None:
    """``Validation`` -> ``valid``; None for a word that names no split."""
    return _SPLITS.get(spelling.strip().casefold())


def group_of(spelling: str) -> str | None:
    """The group that a cell names; None for an empty cell, and for what R, pandas and databases write into one."""
    return None if spelling.strip().casefold() in _NO_GROUP else spelling


def normalised_text(text: str) -> str:
    """Text that can be written as UTF-8 and compared: composed (NFC), undecodable bytes escaped.

    A label typed on macOS (decomposed) and on Linux (composed) is one class.
    """
    return unicodedata.normalize("NFC", text.encode("utf-8", "backslashreplace").decode("utf-8"))


def name_in(root: Path, path: Path) -> str:
    """The name of a row: its path inside the dataset."""
    return normalised_text((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows sorted by name; a name that comes again gets ``#2``, ``#3``, so that names stay unique."""
    seen: Counter[str] = Counter()
    unique = []
    for row in sorted(rows, key=lambda row: (row.name, str(row.path), row.labels, row.split or "")):
        seen[row.name] += 1
        unique.append(row if seen[row.name] == 1 else replace(row, name=f"{row.name}#{seen[row.name]}"))
    return unique


def grouped(rows: Iterable[Row], pattern: str) -> list[Row]:
    """Rows with a group: their own, else what ``pattern`` finds in the file's name; None where it finds nothing.

    Raises: `DataError` when all have one already, when no name has it, and when ``pattern`` names a group otherwise.
    """
    rows = list(rows)
    bare = [row for row in rows if row.group is None]
    if not rows:
        return rows
    if not bare:
        raise DataError("data.group_pattern is for clips without a group, and all have one; remove it")
    matches = {row.name: re.search(pattern, normalised_text(row.path.name)) for row in rows}
    found = {name: group_of(match[1] or "") for name, match in matches.items() if match}
    if not any(found.get(row.name) for row in bare):
        raise DataError(f"data.group_pattern: {pattern!r} finds a group in no file name; found {bare[0].path.name!r}")
    for row in rows:
        if row.group is not None and found.get(row.name) not in (None, row.group):
            raise DataError(
                f"data.group_pattern: {pattern!r} finds {found[row.name]!r} in {row.path.name!r}, whose group is "
                f"{row.group!r}; a group of two names would be in training and test: let it find the names that the "
                f"data has, or write the groups of the {len(bare)} clip(s) without one into the data"
            )
    return [row if row.group is not None else replace(row, group=found.get(row.name)) for row in rows]


def named(rows: Iterable[Row], names: Mapping[str, str]) -> list[Row]:
    """Rows with the labels that ``names`` has renamed; two labels of one name become one class.

    Raises: `DataError` for a label in ``names`` that no row has.
    """
    rows = list(rows)
    found = {label for row in rows for label in row.labels}
    if unknown := [code for code in map(normalised_text, names) if code not in found]:
        missing, known = (some(map(repr, labels), most=5) for labels in (unknown, sorted(found)))
        folded = {code.casefold() for code in unknown}
        alike = some((repr(label) for label in sorted(found) if label.casefold() in folded), most=5)
        meant = f"; did you mean {alike}?" if alike else ""
        raise DataError(f"data.label_names: no clip has the label {missing}; found {known}{meant}")
    said = {normalised_text(code): normalised_text(name).strip() for code, name in names.items()}
    return [replace(row, labels=tuple(dict.fromkeys(said.get(label, label) for label in row.labels))) for row in rows]


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("expected an absolute path")
    return path


def _spelled(split: object) -> object:
    return split_of(split) or split if isinstance(split, str) else split


def _named(group: str | None) -> str | None:
    return None if group is None else group_of(normalised_text(group))


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(normalised_text)]
_ROW = TypeAdapter(Row)


def checked_rows(rows: Iterable[object], reader: str) -> list[Row]:
    """What a plug-in's reader gives, spelled as in tables. ``reader``: what messages call it.

    Raises: `DataError` for what is no row.
    """
    checked = []
    for row in rows:
        if not isinstance(row, Row):
            raise DataError(f"{reader} gave a {type(row).__name__}; expected a synthio.plugins.Row per file")
        try:
            checked.append(_ROW.validate_python(vars(row)))
        except ValidationError as error:
            raise DataError(f"{reader} gave {row}: {'; '.join(problems_of(error))}; tell its authors") from None
    return checked
