"""UrbanSound8K (Salamon, Jacoby and Bello, ACM Multimedia 2014): 8732 excerpts up to 4 s, 10 classes, 10 folds.

https://zenodo.org/record/1203745: ``metadata/UrbanSound8K.csv`` (slice_file_name, fsID, start, end, salience, fold,
classID, class) and ``audio/fold1`` to ``fold10``. Slices of one Freesound recording (``fsID``) share a group.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import FoldTable, Layout, rows_by_fold
from synthio.datasets.rows import Row

LAYOUT = Layout(
    "urbansound8k",
    "UrbanSound8K",
    "https://zenodo.org/record/1203745",
    ("metadata/UrbanSound8K.csv", "audio"),
    folds=True,
)
_TABLE = FoldTable(
    "metadata/UrbanSound8K.csv",
    "class",
    "fsID",
    "fold{fold}/{slice_file_name}",
    ("slice_file_name", "fsID", "fold", "class"),
)


def read_urbansound8k(config: DataConfig) -> list[Row]:
    """Rows of UrbanSound8K: ``data.fold`` (the first) is the test, the other folds are training."""
    return rows_by_fold(config, LAYOUT, _TABLE)
