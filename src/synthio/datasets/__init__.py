"""Dataset readers: `DataConfig` in, one `Row` per file out, before any audio is opened.

To add a dataset, write a small file beside `folder.py` with a function of that type, name it in `READERS` and in
`config.READERS`; one with an official release (`esc50.py`) gets an entry in `official.OFFICIAL` instead of the first.
Other packages add readers as plug-ins (docs/plugins.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from synthio.config import DataConfig
from synthio.datasets.demo import read_demo
from synthio.datasets.folder import read_folder
from synthio.datasets.official import OFFICIAL
from synthio.datasets.rows import Row, checked_rows, grouped, in_order, named
from synthio.datasets.table import read_table
from synthio.errors import DataError
from synthio.recipes import user_path
from synthio.registry import Plugin, at_work, load_plugin, said_of

__all__ = ["FOLDED", "OFFICIAL", "READERS", "Reader", "ReaderBackend", "Row", "read_rows", "reader_name"]

Reader = Callable[[DataConfig], list[Row]]


@dataclass(frozen=True, kw_only=True)
class ReaderBackend(Plugin):
    """Of ``data.reader``."""

    read: Reader
    """Raises: `DataError` for data that cannot be read."""


READERS: Mapping[str, Reader] = {
    "folder": read_folder,
    "table": read_table,
    **{name: dataset.read for name, dataset in OFFICIAL.items()},
}
#: Readers that know `DataConfig.fold`.
FOLDED = frozenset(name for name, dataset in OFFICIAL.items() if dataset.folds)


def read_rows(config: DataConfig) -> list[Row]:
    """Every file of the dataset, sorted by name.

    Raises: `ConfigError` for a plug-in that cannot be imported, and for options that the reader does not have;
        `DataError` when ``config.path`` is not there or cannot be read, for a fold, sub-folders or an audio folder
        that its reader does not know, for a name in ``config.label_names`` of a label that no file has, and for a
        ``config.group_pattern`` that no file needs or has.
    """
    try:
        name = reader_name(config)
        if config.fold is not None and name not in FOLDED:
            raise DataError(f"data.fold is {config.fold}, but the reader {name!r} has no folds; remove data.fold")
        if config.subfolders != "ignored" and name != "folder":
            raise DataError(
                f"data.subfolders is {config.subfolders!r}, which is for a folder per class; {config.path!r} is read "
                f"by {name!r}: remove it, and name groups in a column where there is one"
            )
        if config.audio_folder is not None and name != "table":
            raise DataError(
                f"data.audio_folder is {config.audio_folder!r}, which is for a table; {config.path!r} is read by "
                f"{name!r}: remove it, or name the table as data.path"
            )
        rows = in_order(named(_read(config, name), config.label_names))
        return rows if config.group_pattern is None else grouped(rows, config.group_pattern)
    except PermissionError as error:
        # It may be one of many files that a table names.
        raise DataError(f"{error.filename or config.path}: cannot be read; check its permissions") from error
    except OSError as error:
        raise DataError(f"{config.path!r}: cannot be read ({error.strerror or error}); check data.path") from error


def _read(config: DataConfig, name: str) -> list[Row]:
    # A plug-in may be called demo too.
    built_in = read_demo if (config.reader, config.path) == ("auto", "demo") else READERS.get(name)
    backend = load_plugin("data.reader", name, ReaderBackend) if built_in is None else ReaderBackend(read=built_in)
    backend.check(config.options, "data.reader", name)
    if built_in is not None:
        return built_in(config)
    reader = said_of("data.reader", name)
    with at_work(reader, DataError):
        rows = list(backend.read(config))
    if not rows:
        raise DataError(f"{reader} found no file; check data.path, {config.path!r}")
    return checked_rows(rows, reader)


def reader_name(config: DataConfig) -> str:
    """``config.reader``; for ``auto`` by what is there (`./demo` is a folder of that name, `demo` the bundled data).

    Raises: `DataError` when nothing is there.
    """
    if config.reader != "auto":
        return config.reader
    if config.path == "demo":
        return "demo"
    path = user_path(config.path)
    if not path.exists():
        slashed = config.path.replace("\\", "/")
        meant = f"; did you mean {slashed!r}?" if user_path(slashed).exists() else ""
        raise DataError(
            f"{path.absolute()}: no such file or folder; data.path is a folder, a CSV or JSONL table, or `demo`, and "
            f"relative to the current folder{meant}"
        )
    return "folder" if path.is_dir() else "table"
