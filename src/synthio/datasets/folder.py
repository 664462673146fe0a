"""Folders: one sub-folder per class, optionally inside train/valid/test; or a Hugging Face audiofolder.

    dog/a.wav                       class folders; what is inside them, `data.subfolders` says
    train/dog/a.wav, test/dog/b.wav class folders inside split folders (any case; spellings in `rows`)
    metadata.jsonl or .csv          an audiofolder: columns file_name and label, at the top or in each split folder

Every file becomes a row or a rejected row; only hidden files and the papers at the top (README, *.json, ...) are left.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.hub import is_saved
from synthio.datasets.rows import SPLIT_SPELLINGS, Row, data_path, name_in, normalised_text, own_settings, split_of
from synthio.datasets.table import parse, table_rows, unread_columns
from synthio.errors import DataError
from synthio.files import AUDIO_SUFFIXES, files_below, is_hidden
from synthio.formats import some
from synthio.records import Split

_PAPERS = frozenset({".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".pdf"})
_PAPER_STEMS = frozenset({"readme", "license", "licence", "notice", "copying"})
_TABLES = frozenset({".csv", ".tsv", ".jsonl"})
_FILE_NAME = "file_name"
_METADATA = ("metadata.jsonl", "metadata.csv")


def read_folder(config: DataConfig) -> list[Row]:
    """Rows of the folder ``config.path``.

    Raises: `DataError` when it is no folder, or when its audiofolder metadata cannot be read.
    """
    root = data_path(config.path)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one sub-folder per class, or train/valid/test with those")
    if is_saved(root):
        raise DataError(
            f"{root}: is a dataset that Hugging Face `datasets` saved; write its clips out first: "
            f"`synthio data export {shlex.quote(str(root))} --output FOLDER`"
        )
    metadata = _metadata_tables(root)
    if metadata and config.subfolders != "ignored":
        raise DataError(
            f"{root}: data.subfolders is {config.subfolders!r}, but {metadata[0].name} says what the clips are; remove "
            "it, and name groups in the column data.group_column"
        )
    if metadata:
        return _audiofolder_rows(root, metadata, config)
    if named := [name for name in own_settings(config) if name.endswith("_column")]:
        raise DataError(
            f"{root}: a folder per class has no columns, and data.{named[0]} is set; remove it, or give a table, or a "
            "folder with metadata.csv"
        )
    folders = _folders(root)
    _check_not_wrapped(root, folders, config)
    if not _are_splits(folders):
        _check_no_splits(root, folders, config)
        return [*_strays(root, root), *(row for folder in folders for row in _rows_of(config, root, folder, None))]
    rows = list(_strays(root, root))
    for folder in folders:
        split = split_of(folder.name)
        if split is None:
            rows += _outside(root, folder)
            continue
        rows += _strays(root, folder)
        rows += [row for class_folder in _folders(folder) for row in _rows_of(config, root, class_folder, split)]
    return rows


def unread_metadata(config: DataConfig) -> list[str]:
    """Columns of the audiofolder's tables, if it is one, that no setting names."""
    tables = _metadata_tables(data_path(config.path))
    return list(dict.fromkeys(name for table in tables for name in unread_columns(config, table, _FILE_NAME)))


def unread_subfolders(config: DataConfig) -> dict[str, list[str]]:
    """The folders inside class folders that nobody reads, and which class folders have one of that name."""
    root = data_path(config.path)
    if config.subfolders != "ignored" or _metadata_tables(root):
        return {}
    folders = _folders(root)
    around = [child for folder in folders for child in _folders(folder)] if _are_splits(folders) else folders
    homes: dict[str, set[str]] = defaultdict(set)
    for folder in around:
        for child in _folders(folder):
            homes[normalised_text(child.name)].add(normalised_text(folder.name))
    return {name: sorted(own) for name, own in sorted(homes.items())}


def unread_tables(config: DataConfig) -> list[str]:
    """The tables beside class folders, which nobody reads."""
    root = data_path(config.path)
    if _metadata_tables(root) or _are_splits(_folders(root)):
        return []
    return [normalised_text(path.name) for path in _tables(root)]


def _tables(root: Path) -> list[Path]:
    return [
        path
        for path in sorted(root.iterdir())
        if path.suffix.lower() in _TABLES and path.is_file() and not is_hidden(path.name)
    ]


def _check_not_wrapped(root: Path, folders: list[Path], config: DataConfig) -> None:
    """One folder around all class folders is what many archives unpack to; recordings of all classes in one folder have
    a table."""
    if not folders and (tables := _tables(root)):
        raise DataError(
            f"{root}: holds no class folder, but {some(repr(normalised_text(path.name)) for path in tables)}; if a "
            "table says what the clips are, set data.path to it"
        )
    if len(folders) != 1 or split_of(folders[0].name) or config.subfolders == "classes":
        return
    if tables := [path for path in _tables(root) if _is_table(path, config)]:
        raise DataError(
            f"{root}: holds the one class {folders[0].name!r}, and a table; did you mean data.path={tables[0]}?"
        )
    inner = _folders(folders[0])
    if len(inner) > 1 and not any(path.suffix.lower() in AUDIO_SUFFIXES for path in folders[0].iterdir()):
        names = some((repr(normalised_text(folder.name)) for folder in inner), most=5)
        raise DataError(
            f"{root}: holds the one class {folders[0].name!r}; did you mean data.path={folders[0]}, with {names}?"
        )


def _is_table(path: Path, config: DataConfig) -> bool:
    """Whether it is a table of clips."""
    try:
        return any(config.path_column in row for row in parse(path))
    except DataError:
        return False


def _check_no_splits(root: Path, folders: list[Path], config: DataConfig) -> None:
    """Splits that would be read as classes: a classifier of `train` against `test` would look like a fine one."""
    named = [folder for folder in folders if split_of(folder.name)]
    if len({split_of(folder.name) for folder in named}) > 1:
        raise DataError(
            f"{root}: {_listed(named)} are names of splits, and hold no class folders; expected train/CLASS/..., or a "
            "table with the columns path, label and split"
        )
    for folder in named if config.subfolders == "ignored" else []:
        inside = {child.name for child in _folders(folder)}
        for other in folders:
            shared = sorted(inside & {child.name for child in _folders(other)})
            if other != folder and len(shared) > 1:
                one, two = normalised_text(folder.name), normalised_text(other.name)
                raise DataError(
                    f"{root}: {one!r} and {two!r} hold the same folders ({some(map(repr, shared), most=5)}), so these "
                    f"are the classes; expected {', '.join(SPLIT_SPELLINGS)} above them: rename {two!r} (or {one!r} if "
                    "that is a class), or give a table with a split column"
                )


def _listed(folders: list[Path]) -> str:
    return " and ".join(repr(normalised_text(folder.name)) for folder in folders)


def _are_splits(folders: list[Path]) -> bool:
    """Whether these are train/valid/test with class folders inside; a class may be called `train` (the vehicle)."""
    splits = [split for folder in folders if (split := split_of(folder.name)) and _folders(folder)]
    return len(set(splits)) > 1 or (bool(splits) and all(split_of(folder.name) for folder in folders))


def _rows_of(config: DataConfig, root: Path, folder: Path, split: Split | None) -> Iterator[Row]:
    """Of one folder where class folders are expected."""
    if config.subfolders == "ignored":
        yield from _class_rows(root, folder, split)
    elif config.subfolders == "groups":
        for row in _class_rows(root, folder, split):
            inside = row.path.relative_to(folder).parts[:-1]
            yield replace(row, group=normalised_text(inside[0]) if inside else None)
    else:
        yield from _strays(root, folder)
        for child in _folders(folder):
            yield from (replace(row, group=normalised_text(folder.name)) for row in _class_rows(root, child, split))


def _class_rows(root: Path, folder: Path, split: Split | None) -> Iterator[Row]:
    label = normalised_text(folder.name)
    files = list(files_below(folder))
    if not files:
        yield Row(folder, name_in(root, folder), (label,), split, rejected="the class folder is empty")
    for path in files:
        suffix = normalised_text(path.suffix.lower())
        unreadable = f"suffix {suffix!r} is no audio that can be read; convert it to FLAC or WAV"
        yield Row(path, name_in(root, path), (label,), split, rejected=None if suffix in AUDIO_SUFFIXES else unreadable)


def _strays(root: Path, folder: Path) -> Iterator[Row]:
    """Files directly in a folder where class folders belong."""
    for path in sorted(folder.iterdir()):
        paper = path.suffix.lower() in _PAPERS or path.stem.lower() in _PAPER_STEMS
        if not (path.is_dir() or is_hidden(path.name) or paper):
            yield Row(
                path, name_in(root, path), (), rejected="is in no class folder; move it into one named after its label"
            )


def _outside(root: Path, folder: Path) -> Iterator[Row]:
    reason = "is outside the train, valid and test folders"
    yield from (Row(path, name_in(root, path), (), rejected=reason) for path in files_below(folder))


def _metadata_tables(root: Path) -> list[Path]:
    """The audiofolder tables: at the top, else in each split folder. Tables without ``file_name`` are papers."""
    for places in ([root], [folder for folder in _folders(root) if split_of(folder.name)]):
        tables = [next((t for name in _METADATA if (t := place / name).is_file()), None) for place in places]
        found = [table for table in tables if table is not None and any(_FILE_NAME in row for row in parse(table))]
        if found:
            return found
    return []


def _audiofolder_rows(root: Path, tables: list[Path], config: DataConfig) -> list[Row]:
    rows: list[Row] = []
    for table in tables:
        for row in table_rows(parse(table), table, config, _FILE_NAME):
            name = name_in(root, row.path) if row.path.is_relative_to(root) else row.name
            # As `load_dataset("audiofolder")` does: without a split column, the first folder tells the split.
            rows.append(replace(row, name=name, split=row.split or split_of(name.partition("/")[0])))
    listed = {row.path for row in rows}
    unlisted = (path for path in files_below(root) if path not in listed and path.suffix.lower() in AUDIO_SUFFIXES)
    return rows + [Row(p, name_in(root, p), (), rejected=f"is not listed in {tables[0].name}") for p in unlisted]


def _folders(parent: Path) -> list[Path]:
    return sorted(child for child in parent.iterdir() if child.is_dir() and not is_hidden(child.name))
