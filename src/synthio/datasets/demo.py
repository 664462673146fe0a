"""The demo data bundled with the package: folder datasets under ``synthio/demo/``."""

from __future__ import annotations

from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.folder import read_folder
from synthio.datasets.rows import Row
from synthio.errors import DataError

DEMO = Path(__file__).parent.parent / "demo"


def demo_folder(name: str = "instruments") -> Path:
    """Where a bundled dataset lies. Raises `DataError` when this installation lacks it."""
    folder = DEMO / name
    if not folder.is_dir():
        raise DataError(f"{folder}: the bundled demo data is not in this installation; reinstall synthio")
    return folder


def read_demo(config: DataConfig) -> list[Row]:
    """Rows of ``path: demo``: short notes of instrument families, with train, valid and test."""
    return read_folder(config.model_copy(update={"path": str(demo_folder())}))
