"""Dataset readers: `DataConfig` in, one `Row` per file out, before any audio is opened.

To add a dataset, write a small file beside `folder.py` with a function of that type and name it in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from synthio.config import DataConfig
from synthio.datasets.demo import read_demo
from synthio.datasets.folder import read_folder
from synthio.datasets.rows import Row, in_order
from synthio.datasets.table import read_table
from synthio.errors import DataError

__all__ = ["READERS", "Reader", "Row", "read_rows"]

Reader = Callable[[DataConfig], list[Row]]

READERS: Mapping[str, Reader] = MappingProxyType({"demo": read_demo, "folder": read_folder, "table": read_table})


def read_rows(config: DataConfig) -> list[Row]:
    """Every file of the dataset, sorted by name.

    Raises: `DataError` when ``config.path`` does not exist or cannot be read.
    """
    try:
        return in_order(READERS[_reader_name(config)](config))
    except OSError as error:
        raise DataError(f"{config.path!r}: cannot be read ({error.strerror or error}); check data.path") from error


def _reader_name(config: DataConfig) -> str:
    """``config.reader``; for ``auto`` by what is there (`./demo` is a folder of that name, `demo` the bundled data)."""
    if config.reader != "auto":
        return config.reader
    if config.path == "demo":
        return "demo"
    path = Path(config.path).expanduser()
    if not path.exists():
        raise DataError(
            f"{path.absolute()}: no such file or folder; data.path is a folder, a CSV or JSONL table, or `demo`"
        )
    return "folder" if path.is_dir() else "table"
