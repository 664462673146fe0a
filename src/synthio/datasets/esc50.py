"""ESC-50 (Piczak, ACM Multimedia 2015): 2000 clips of 5 s, 50 classes of environmental sounds, 5 folds.

https://github.com/karolpiczak/ESC-50: ``meta/esc50.csv`` (filename, fold, target, category, esc10, src_file, take) and
``audio/``. Fragments of one recording (``src_file``) share a fold and a group.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, FoldTable, OfficialDataset, rows_by_fold
from synthio.datasets.rows import Row

_TABLE = FoldTable("meta/esc50.csv", "category", "src_file", "{filename}", ("filename", "fold", "category", "src_file"))


def read_esc50(config: DataConfig) -> list[Row]:
    """Rows of ESC-50: ``data.fold`` (the first) is the test, the other folds are training."""
    return rows_by_fold(config, DATASET, _TABLE)


DATASET = OfficialDataset(
    name="esc50",
    title="ESC-50",
    source="https://github.com/karolpiczak/ESC-50",
    tree=("meta/esc50.csv", "audio"),
    folds=True,
    read=read_esc50,
    column="ESC-50",
    domain="environmental sounds",
    licence="CC BY-NC 3.0",
    archives=(Archive("ESC-50-master.zip"),),
)
