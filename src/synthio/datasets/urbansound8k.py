"""UrbanSound8K (Salamon, Jacoby and Bello, ACM Multimedia 2014): 8732 excerpts up to 4 s, 10 classes, 10 folds.

https://zenodo.org/record/1203745: ``metadata/UrbanSound8K.csv`` (slice_file_name, fsID, start, end, salience, fold,
classID, class) and ``audio/fold1`` to ``fold10``. Slices of one Freesound recording (``fsID``) share a group.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Layout, held_out_fold, listed, table_of, unlisted
from synthio.datasets.rows import Row

LAYOUT = Layout(
    "urbansound8k", "UrbanSound8K", "https://zenodo.org/record/1203745", ("metadata/UrbanSound8K.csv", "audio")
)


def read_urbansound8k(config: DataConfig) -> list[Row]:
    """Rows of UrbanSound8K: ``data.fold`` (the first) is the test, the other folds are training."""
    root = LAYOUT.root(config)
    table = root / "metadata" / "UrbanSound8K.csv"
    lines = table_of(table, ("slice_file_name", "fsID", "fold", "class"))
    fold = held_out_fold(config, (line["fold"] for line in lines), LAYOUT)
    rows = [
        listed(
            root,
            root / "audio" / f"fold{line['fold']}" / line["slice_file_name"],
            table,
            [line["class"]],
            "test" if line["fold"] == fold else "train",
            line["fsID"],
        )
        for line in lines
    ]
    return rows + unlisted(root, [root / "audio"], rows, "is not listed in UrbanSound8K.csv")
