"""ESC-50 (Piczak, ACM Multimedia 2015): 2000 clips of 5 s, 50 classes of environmental sounds, 5 folds.

https://github.com/karolpiczak/ESC-50: ``meta/esc50.csv`` (filename, fold, target, category, esc10, src_file, take) and
``audio/``. Fragments of one recording (``src_file``) share a fold and a group.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Layout, held_out_fold, listed, table_of, unlisted
from synthio.datasets.rows import Row

LAYOUT = Layout("esc50", "ESC-50", "https://github.com/karolpiczak/ESC-50", ("meta/esc50.csv", "audio"))


def read_esc50(config: DataConfig) -> list[Row]:
    """Rows of ESC-50: ``data.fold`` (the first) is the test, the other folds are training."""
    root = LAYOUT.root(config)
    table = root / "meta" / "esc50.csv"
    lines = table_of(table, ("filename", "fold", "category", "src_file"))
    fold = held_out_fold(config, (line["fold"] for line in lines), LAYOUT)
    rows = [
        listed(
            root,
            root / "audio" / line["filename"],
            table,
            [line["category"]],
            "test" if line["fold"] == fold else "train",
            line["src_file"],
        )
        for line in lines
    ]
    return rows + unlisted(root, [root / "audio"], rows, "is not listed in esc50.csv")
