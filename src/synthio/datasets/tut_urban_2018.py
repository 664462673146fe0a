"""TUT Urban Acoustic Scenes 2018, development set (Mesaros, Heittola and Virtanen, DCASE 2018): 8640 clips, 10 scenes.

https://zenodo.org/record/1228142: ``meta.csv`` (tab; filename, scene_label, identifier, source_label), ``audio/`` and
``evaluation_setup/fold1_train.txt`` and ``fold1_evaluate.txt`` (tab, no header; filename, scene label). ``identifier``
is city and place: the group.
"""

from __future__ import annotations

from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.layout import Layout, cells_of, listed, unlisted
from synthio.datasets.rows import Row
from synthio.records import Split

_FOLD: dict[str, Split] = {"fold1_train.txt": "train", "fold1_evaluate.txt": "test"}
LAYOUT = Layout(
    "tut_urban_2018",
    "TUT Urban Acoustic Scenes 2018 (development)",
    "https://zenodo.org/record/1228142",
    ("meta.csv", "audio", *(f"evaluation_setup/{name}" for name in _FOLD)),
)


def read_tut_urban_2018(config: DataConfig) -> list[Row]:
    """Rows of the development set: its one official fold, the evaluation part as the test."""
    root = LAYOUT.root(config)
    table = root / "meta.csv"
    splits = _splits(root)
    rows = []
    for file, scene, place, *_ in cells_of(table, 3):
        if file != "filename":
            rows.append(_row(root, table, (file, scene, place), splits.get(file)))
    return rows + unlisted(root, [root / "audio"], rows, "is not listed in meta.csv")


def _row(root: Path, table: Path, line: tuple[str, str, str], split: Split | None) -> Row:
    file, scene, place = line
    row = listed(root, root / file, table, [scene], split, place)
    if split is None and row.rejected is None:
        return Row(row.path, row.name, row.labels, rejected="is in neither fold1_train.txt nor fold1_evaluate.txt")
    return row


def _splits(root: Path) -> dict[str, Split]:
    return {cells[0]: split for name, split in _FOLD.items() for cells in cells_of(root / "evaluation_setup" / name, 1)}
