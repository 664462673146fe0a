"""UrbanSound8K (Salamon, Jacoby and Bello, ACM Multimedia 2014): 8732 excerpts up to 4 s, 10 classes, 10 folds.

https://zenodo.org/record/1203745: ``metadata/UrbanSound8K.csv`` (slice_file_name, fsID, start, end, salience, fold,
classID, class) and ``audio/fold1`` to ``fold10``. Slices of one Freesound recording (``fsID``) share a group.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, FoldTable, OfficialDataset, rows_by_fold
from synthio.datasets.rows import Row

_TABLE = FoldTable(
    "metadata/UrbanSound8K.csv",
    "class",
    "fsID",
    "fold{fold}/{slice_file_name}",
    ("slice_file_name", "fsID", "fold", "class"),
)


def read_urbansound8k(config: DataConfig) -> list[Row]:
    """Rows of UrbanSound8K: ``data.fold`` (the first) is the test, the other folds are training."""
    return rows_by_fold(config, DATASET, _TABLE)


DATASET = OfficialDataset(
    name="urbansound8k",
    title="UrbanSound8K",
    source="https://zenodo.org/record/1203745",
    tree=("metadata/UrbanSound8K.csv", "audio"),
    folds=True,
    read=read_urbansound8k,
    column="USD8K",
    domain="sounds of a city",
    licence="CC BY-NC 3.0",
    archives=(Archive("UrbanSound8K.tar.gz", "9aa69802bbf37fb986f71ec1483a196e"),),
)
