"""FSD50K (Fonseca et al., TASLP 2022): 51197 Freesound clips of 0.3 to 30 s, 200 classes, several labels per clip.

https://zenodo.org/record/4060432: ``FSD50K.ground_truth/dev.csv`` (fname, labels, mids, split) and ``eval.csv`` (no
split); ``FSD50K.dev_audio/<fname>.wav`` and ``FSD50K.eval_audio/``. Labels are separated by commas and spelled without
any inside; they include every ancestor in the AudioSet ontology.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Layout, listed, table_of, unlisted
from synthio.datasets.rows import Row, split_of

LAYOUT = Layout(
    "fsd50k",
    "FSD50K",
    "https://zenodo.org/record/4060432",
    (
        "FSD50K.ground_truth/dev.csv",
        "FSD50K.ground_truth/eval.csv",
        "FSD50K.dev_audio",
        "FSD50K.eval_audio",
    ),
)


def read_fsd50k(config: DataConfig) -> list[Row]:
    """Rows of FSD50K: the dev set's own train and val, and the eval set as the test."""
    root = LAYOUT.root(config)
    rows: list[Row] = []
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table, folder = root / "FSD50K.ground_truth" / f"{part}.csv", root / f"FSD50K.{part}_audio"
        for line in table_of(table, columns):
            split = split_of(line["split"]) if part == "dev" else "test"
            rows.append(listed(root, folder / f"{line['fname']}.wav", table, line["labels"].split(","), split, None))
    folders = [root / "FSD50K.dev_audio", root / "FSD50K.eval_audio"]
    return rows + unlisted(root, folders, rows, "is listed neither in dev.csv nor in eval.csv")
