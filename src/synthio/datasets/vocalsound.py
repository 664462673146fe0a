"""VocalSound (Gong, Yu and Glass, ICASSP 2022): 21024 recordings of 6 human vocal sounds by 3365 speakers.

https://github.com/YuanGongND/vocalsound: ``audio_16k/f0003_0_cough.wav`` (speaker, collection, sound; or the 44.1 kHz
release); splits in ``datafiles/{tr,val,te}.json`` (files), or in ``meta/{tr,val,te}_meta.csv`` (speakers, no header).
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, cells_of, find
from synthio.datasets.rows import Row, name_in, normalised_text
from synthio.errors import DataError
from synthio.files import audio_files
from synthio.records import Split

_AUDIO = "audio_16k|audio_44k|data_44k"
_SPLITS: dict[str, Split] = {"tr": "train", "val": "valid", "te": "test"}
#: File names join these words.
_LABELS = {"throatclearing": "throat_clearing"}


def read_vocalsound(config: DataConfig) -> list[Row]:
    """Rows of VocalSound in its official splits, grouped by speaker."""
    root = DATASET.root(config)
    files = all((root / "datafiles" / f"{part}.json").is_file() for part in _SPLITS)
    splits = _by_file(root) if files else _by_speaker(root)
    rows = []
    for path in audio_files(find(root, _AUDIO) or root):
        speaker, _, sound = normalised_text(path.stem).partition("_")
        label = sound.rpartition("_")[2]
        split = splits.get(path.name, splits.get(speaker))
        rejected = None if split else "is in none of the official lists of train, validation and test"
        rows.append(Row(path, name_in(root, path), (_LABELS.get(label, label),), split, speaker, rejected))
    return rows + _missing(root, splits, {row.path.name for row in rows})


def _missing(root: Path, splits: dict[str, Split], there: set[str]) -> list[Row]:
    folder = find(root, _AUDIO) or root
    files = sorted(name for name in splits if name.endswith(".wav") and name not in there)
    reason = "is listed in datafiles but not in its folder; unpack the official archive again"
    return [Row(folder / name, name_in(root, folder / name), (), splits[name], rejected=reason) for name in files]


def _by_file(root: Path) -> dict[str, Split]:
    """Split by file name: the lists hold the paths of the machine that made them."""
    splits: dict[str, Split] = {}
    for part, split in _SPLITS.items():
        table = root / "datafiles" / f"{part}.json"
        try:
            items = json.loads(table.read_text(encoding="utf-8-sig"))["data"]
            splits |= {PurePosixPath(item["wav"]).name: split for item in items}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f'{table}: expected {{"data": [{{"wav": ...}}]}} ({error!r}); get it again') from error
    return splits


def _by_speaker(root: Path) -> dict[str, Split]:
    tables = {root / "meta" / f"{part}_meta.csv": split for part, split in _SPLITS.items()}
    return {cells[0]: split for table, split in tables.items() for cells in cells_of(table, 1, ",")}


DATASET = OfficialDataset(
    name="vocalsound",
    title="VocalSound",
    source="https://github.com/YuanGongND/vocalsound",
    tree=(_AUDIO, *(f"datafiles/{part}.json|meta/{part}_meta.csv" for part in _SPLITS)),
    read=read_vocalsound,
    column="VS",
    domain="human vocal sounds that are not speech",
    licence="CC BY-SA 4.0",
    archives=(
        Archive("vs_release_16k.zip", into="vs_release_16k"),
        Archive("vs_release_44k.zip", into="vs_release_44k"),
    ),
)
