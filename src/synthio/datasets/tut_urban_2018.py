"""TUT Urban Acoustic Scenes 2018, development set (Mesaros, Heittola and Virtanen, DCASE 2018): 8640 clips, 10 scenes.

https://zenodo.org/record/1228142: ``meta.csv`` (tab; filename, scene_label, identifier, source_label), ``audio/`` and
``evaluation_setup/fold1_train.txt`` and ``fold1_evaluate.txt`` (tab, no header; filename, scene label). ``identifier``
is city and place: the group.
"""

from __future__ import annotations

from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, cells_of, listed, unlisted
from synthio.datasets.rows import Row
from synthio.records import Split

_FOLD: dict[str, Split] = {"fold1_train.txt": "train", "fold1_evaluate.txt": "test"}


def read_tut_urban_2018(config: DataConfig) -> list[Row]:
    """Rows of the development set: its one official fold, the evaluation part as the test."""
    root = DATASET.root(config)
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


_TUT = "TUT-urban-acoustic-scenes-2018-development"
_TUT_AUDIO = (
    "62f97087c447e29def8716204469bf89",
    "8e569a92025d82bff6b02b956d7c6dc9",
    "00d2020582a4535af5e65322fb2bad56",
    "d691eb4271f83ba6ba9a28797accc497",
    "c4d64b5483b60f85e9fe080b3435a6be",
    "2f0feee78f216697eb19497714d97642",
    "07cfefe80a0731de6819181841239f3a",
    "213f3c012859c2e9dcb74aacc8558458",
    "b724442b09abcb3bd095ebff497cef85",
    "a27a32fa52e283ed8013375b8a16f269",
    "7073a121e825ffef99832507f30d6644",
    "6567aa61db12776568b6267ce122fb18",
    "d00eeb2db0e093d8975521323a96c519",
)

DATASET = OfficialDataset(
    name="tut_urban_2018",
    title="TUT Urban Acoustic Scenes 2018 (development)",
    source="https://zenodo.org/record/1228142",
    tree=("meta.csv", "audio", *(f"evaluation_setup/{name}" for name in _FOLD)),
    read=read_tut_urban_2018,
    column="TUT",
    domain="acoustic scenes of cities",
    licence="free for non-commercial use (Tampere University)",
    archives=(
        Archive(f"{_TUT}.meta.zip", "e196065ee83c07af03a11a310364377d"),
        Archive(f"{_TUT}.doc.zip", "28a4a9c46a6f46709ecc8eece365a3a4"),
        *(Archive(f"{_TUT}.audio.{number}.zip", md5) for number, md5 in enumerate(_TUT_AUDIO, start=1)),
    ),
)
