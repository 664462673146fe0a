"""What the readers of official datasets share: the official tree, errors about a wrong root, rows of listed files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synthio.config import DataConfig
from synthio.datasets.rows import Row, data_path, name_in, normalised_text
from synthio.datasets.table import EXTRA, parse
from synthio.errors import DataError
from synthio.files import audio_files
from synthio.formats import some
from synthio.records import Split


@dataclass(frozen=True)
class Archive:
    """One file of a release, as its makers name it."""

    name: str
    md5: str = ""
    """Published, or empty."""
    into: str = ""
    """The folder to unpack it into, beside it, when it has no top folder of its own."""


@dataclass(frozen=True, kw_only=True)
class OfficialDataset:
    """A dataset of the paper's table 1, as it was released."""

    name: str
    """Of the reader."""
    title: str
    source: str
    """Where to get it."""
    tree: tuple[str, ...]
    """What the root holds, with ``/``; ``a|b`` when official copies differ."""
    read: Callable[[DataConfig], list[Row]]
    column: str
    """Of the paper's table 1."""
    domain: str
    """For prompts: ``data.domain``."""
    licence: str
    archives: tuple[Archive, ...] = ()
    metric: Literal["accuracy", "F1", "mAP"] = "accuracy"
    """In the paper."""
    label_separator: str | None = None
    """Set for datasets of several labels per clip: a sample whose clips have one each stays multi-label."""
    folds: bool = False
    """Whether its reader knows `DataConfig.fold`."""

    @property
    def homepage(self) -> str:
        """The address where to get it."""
        return self.source.partition(" ")[0]

    def is_root(self, folder: Path) -> bool:
        """Whether ``folder`` holds everything in ``tree``."""
        return all(find(folder, item) is not None for item in self.tree)

    def root(self, config: DataConfig) -> Path:
        """``config.path``. Raises: `DataError` when it is not the dataset's root."""
        return self.check(data_path(config.path))

    def check(self, folder: Path) -> Path:
        """``folder`` itself. Raises: `DataError` that says what is there, what was expected and what to do next."""
        if self.is_root(folder):
            return folder
        expected = ", ".join(item.replace("|", " or ") for item in self.tree)
        found = _listing(folder) if folder.is_dir() else "no such folder"
        near = self.near(folder)
        cure = f"get it from {self.source} and run `synthio data prepare {self.name} --root FOLDER`"
        if near:
            cure = f"{' or '.join(map(str, near))} is that root: set data.path to it"
        raise DataError(f"{folder}: is not the root of {self.title}; found {found}; expected {expected}; {cure}")

    def near(self, folder: Path) -> list[Path]:
        """The roots one level off: sub-folders that fit, or the parent."""
        if not folder.is_dir():
            return []
        below = [child for child in sorted(folder.iterdir()) if child.is_dir() and self.is_root(child)]
        return below or [folder.parent] * self.is_root(folder.parent)


def find(folder: Path, alternatives: str) -> Path | None:
    """The first of ``a|b`` that exists in ``folder``."""
    return next((path for item in alternatives.split("|") if (path := folder / item).exists()), None)


def listed(root: Path, path: Path, table: Path, labels: Iterable[str], split: Split | None, group: str | None) -> Row:
    """The row of one line of an official ``table``; a file that is not there is rejected."""
    missing = f"is listed in {table.name} but not in its folder; unpack or download the audio again"
    return Row(
        path=path,
        name=name_in(root, path),
        labels=tuple(dict.fromkeys(text for label in labels if (text := normalised_text(label).strip()))),
        split=split,
        group=group or None,
        rejected=None if path.is_file() else missing,
    )


def unlisted(root: Path, folders: Iterable[Path], rows: Iterable[Row], reason: str) -> list[Row]:
    """A rejected row for every audio file in those of ``folders`` that are there which has no row yet."""
    known = {row.path for row in rows}
    strays = (path for folder in folders if folder.is_dir() for path in audio_files(folder) if path not in known)
    return [Row(path, name_in(root, path), (), rejected=reason) for path in strays]


def index_audio(folder: Path, key: Callable[[str], str]) -> dict[str, Path]:
    """Audio files anywhere under ``folder`` by ``key`` of their names, for releases that fix no folder names."""
    found: dict[str, Path] = {}
    for path in audio_files(folder):
        found.setdefault(key(path.name), path)
    return found


def table_of(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """These columns of an official table with a header. Raises: `DataError` for missing ones, lists those found."""
    rows = parse(table)
    found = sorted({column for row in rows for column in row} - {EXTRA})
    if missing := [column for column in columns if column not in found]:
        raise DataError(
            f"{table}: has no column {', '.join(map(repr, missing))}; found {', '.join(map(repr, found))}; "
            "expected the official file; get it again"
        )
    return [{column: str(row[column] or "").strip() for column in columns} for row in rows]


def cells_of(table: Path, least: int, delimiter: str = "\t") -> list[list[str]]:
    """An official table without a header, quotes as they are. Raises: `DataError` for lines of too few cells."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 (byte {error.start}); get the official file again") from error
    rows = list(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if short := [row for row in rows if len(row) < least]:
        raise DataError(
            f"{table}: {len(short)} line(s) have under {least} cells (the first: {short[0]}); "
            "expected the official file; get it again"
        )
    return rows


@dataclass(frozen=True)
class FoldTable:
    """The official table of a dataset with folds: where it is, and what its columns are called."""

    path: str
    """Below the root, with ``/``."""
    label: str
    group: str
    audio: str
    """Of a line's file below ``audio/``, as a format of its cells, for example ``fold{fold}/{slice_file_name}``."""
    columns: tuple[str, ...]


def rows_by_fold(config: DataConfig, dataset: OfficialDataset, official: FoldTable) -> list[Row]:
    """Rows of a dataset with folds: ``data.fold`` (the first) is the test, the other folds are training."""
    root = dataset.root(config)
    table = root / official.path
    lines = table_of(table, official.columns)
    fold = held_out_fold(config, (line["fold"] for line in lines), dataset)
    rows = [
        listed(
            root,
            root / "audio" / official.audio.format_map(line),
            table,
            [line[official.label]],
            "test" if line["fold"] == fold else "train",
            line[official.group],
        )
        for line in lines
    ]
    return rows + unlisted(root, [root / "audio"], rows, f"is not listed in {table.name}")


def held_out_fold(config: DataConfig, folds: Iterable[str], dataset: OfficialDataset) -> str:
    """``config.fold``, or the first, as the table writes it. Raises: `DataError` when there is no such fold."""
    known = sorted(set(folds), key=lambda fold: (len(fold), fold))
    fold = known[0] if config.fold is None else str(config.fold)
    if fold not in known:
        raise DataError(f"data.fold is {fold}; {dataset.title} has the folds {', '.join(known)}; set one of these")
    return fold


def _listing(folder: Path) -> str:
    names = sorted(normalised_text(child.name) + "/" * child.is_dir() for child in folder.iterdir())
    return some(names, most=8) or "an empty folder"
