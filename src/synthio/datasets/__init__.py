"""Dataset readers: `DataConfig` in, one `Row` per file out, before any audio is opened.

To add a dataset, write a small file beside `folder.py` with a function of that type, name it in `READERS` and in
`config.READERS`; one with an official release (`esc50.py`) gets an entry in `official.OFFICIAL` instead of the first.
Other packages add readers as plug-ins (docs/plugins.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from synthio.config import DataConfig
from synthio.datasets.demo import read_demo
from synthio.datasets.folder import read_folder
from synthio.datasets.official import OFFICIAL
from synthio.datasets.rows import Row, grouped, in_order, named
from synthio.datasets.table import read_table
from synthio.errors import ConfigError, DataError
from synthio.recipes import user_path
from synthio.registry import load_plugin, package_of

__all__ = ["FOLDED", "OFFICIAL", "READERS", "Reader", "Row", "read_rows", "reader_name"]

Reader = Callable[[DataConfig], list[Row]]

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "demo": read_demo,
        "folder": read_folder,
        "table": read_table,
        **{name: dataset.read for name, dataset in OFFICIAL.items()},
    }
)
#: Readers that know `DataConfig.fold`.
FOLDED = frozenset(name for name, dataset in OFFICIAL.items() if dataset.layout.folds)


def read_rows(config: DataConfig) -> list[Row]:
    """Every file of the dataset, sorted by name.

    Raises: `DataError` when ``config.path`` is not there or cannot be read, for a fold, sub-folders or an audio folder
        that its reader does not know, for a name in ``config.label_names`` of a label that no file has, and for a
        ``config.group_pattern`` that no file needs or has.
    """
    try:
        name = reader_name(config)
        if name in READERS and config.options:
            raise DataError(f"data.options is for plug-ins, and {name!r} is built in; remove it")
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
        rows = READERS[name](config) if name in READERS else _plugin_rows(config, name)
        rows = in_order(named(rows, config.label_names))
        return rows if config.group_pattern is None else grouped(rows, config.group_pattern)
    except PermissionError as error:
        # It may be one of many files that a table names.
        raise DataError(f"{error.filename or config.path}: cannot be read; check its permissions") from error
    except OSError as error:
        raise DataError(f"{config.path!r}: cannot be read ({error.strerror or error}); check data.path") from error


def _plugin_rows(config: DataConfig, name: str) -> list[Row]:
    """What a plug-in reads. Raises: as the plug-in, `ConfigError` for one that cannot be imported, `DataError` for what
    are no rows."""
    reader = load_plugin("data.reader", name)
    if not callable(reader):
        raise ConfigError(
            f"data.reader={name} of {package_of('data.reader', name)} is a {type(reader).__name__}; expected a "
            "function of the data section that returns rows (docs/plugins.md)"
        )
    rows = list(reader(config))
    for row in rows:
        if not isinstance(row, Row):
            raise DataError(f"data.reader={name} gave a {type(row).__name__}; expected a synthio.plugins.Row per file")
        if not row.path.is_absolute() or isinstance(row.labels, str):
            raise DataError(
                f"data.reader={name} gave {row}; expected an absolute path, and a tuple of labels: tell its authors"
            )
    return rows


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
