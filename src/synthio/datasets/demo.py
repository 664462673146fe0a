"""The demo data bundled with the package, under ``synthio/demo/``."""

from __future__ import annotations

from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.rows import Row
from synthio.datasets.table import read_table
from synthio.errors import DataError

DEMO = Path(__file__).parent.parent / "demo"


def demo_folder(name: str = "instruments") -> Path:
    """Where a bundled dataset lies. Raises `DataError` when this installation lacks it."""
    folder = DEMO / name
    if not folder.is_dir():
        raise DataError(f"{folder}: the bundled demo data is not in this installation; reinstall synthio")
    return folder


def read_demo(config: DataConfig) -> list[Row]:
    """Rows of ``path: demo``: short notes of instrument families, with train, valid and test; the instrument is the
    group."""
    table = demo_folder() / "provenance.csv"
    columns = {"path_column": "file", "label_column": "family", "split_column": "split", "group_column": "program"}
    return read_table(config.model_copy(update={"path": str(table), **columns}))
