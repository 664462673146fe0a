"""DCASE 2017 task 4 (Mesaros et al. 2017): clips of 10 s from YouTube, 17 classes for smart cars, weak labels.

https://github.com/ankitshah009/Task-4-Large-scale-weakly-supervised-sound-event-detection-for-smart-cars:
``groundtruth_weak_label_training_set.csv`` and ``_testing_set.csv`` (tab, no header; file, start, end, one label; a
line per label), ``groundtruth_release/groundtruth_weak_label_evaluation_set.csv``. Its downloader writes
``Y<id>_<start>_<end>.wav`` into folders whose names vary: files are found by name anywhere under the root. Class names
hold commas (``Air horn, truck horn``), so ``training_set.csv``, which joins them by commas, is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.layout import OfficialDataset, cells_of, find, index_audio, listed, unlisted
from synthio.datasets.rows import Row, name_in
from synthio.records import Split

_LISTS = {
    part: f"groundtruth_weak_label_{part}_set.csv|groundtruth_release/groundtruth_weak_label_{part}_set.csv"
    for part in ("training", "testing", "evaluation")
}
_GONE = "is not here: the video is gone from YouTube, or was not downloaded"


def read_dcase2017_task4(config: DataConfig) -> list[Row]:
    """Rows of the three sets, grouped by video; clips that were not downloaded are rejected.

    With audio of the evaluation set, that is the test and the testing set is validation; else the testing set is the
    test, and the evaluation list one rejected row.
    """
    root = DATASET.root(config)
    audio = index_audio(root, lambda name: name.rpartition(".")[0])
    rows = {part: _rows(root, table, audio) for part, name in _LISTS.items() if (table := find(root, name))}
    splits: dict[str, Split] = {"training": "train", "testing": "test"}
    kept: list[Row] = []
    if any(row.rejected is None for row in rows.get("evaluation", ())):
        splits |= {"testing": "valid", "evaluation": "test"}
    elif table := find(root, _LISTS["evaluation"]):
        why = "none of its audio is here; the testing set is the test"
        kept.append(Row(table, name_in(root, table), (), rejected=why))
    kept += [_in_split(row, splits[part]) for part in splits for row in rows[part]]
    return kept + unlisted(root, [root], kept, "is in no ground-truth list, or a second copy")


def _rows(root: Path, table: Path, audio: Mapping[str, Path]) -> list[Row]:
    labels: dict[str, list[str]] = {}
    for file, _, _, label, *_ in cells_of(table, 4):
        labels.setdefault(file.removesuffix(".wav"), []).append(label)
    rows = []
    for stem, names in labels.items():
        path = audio.get(f"Y{stem}") or audio.get(stem) or root / "audio" / f"Y{stem}.wav"
        rows.append(listed(root, path, table, names, None, stem.rsplit("_", 2)[0]))
    return rows


def _in_split(row: Row, split: Split) -> Row:
    return Row(row.path, row.name, row.labels, split, row.group, _GONE if row.rejected else None)


DATASET = OfficialDataset(
    name="dcase2017_task4",
    title="DCASE 2017 task 4",
    source="https://github.com/ankitshah009/Task-4-Large-scale-weakly-supervised-sound-event-detection-for-smart-cars",
    tree=(_LISTS["training"], _LISTS["testing"]),
    read=read_dcase2017_task4,
    column="DCASE",
    domain="sounds of traffic and warnings",
    licence="lists: Apache-2.0; audio: of its YouTube uploaders",
    metric="F1",
    label_separator="\n",
)
