"""NSynth (Engel et al., ICML 2017): 305979 notes of 4 s, 11 instrument families; the label is the family.

https://magenta.tensorflow.org/datasets/nsynth, the ``jsonwav`` release: ``nsynth-train``, ``-valid``, ``-test``, each
with ``examples.json`` (note name to its features) and ``audio/<note name>.wav``. The instruments of training do not
occur in the other two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, listed, unlisted
from synthio.datasets.rows import Row
from synthio.errors import DataError
from synthio.records import SPLITS


def read_nsynth(config: DataConfig) -> list[Row]:
    """Rows of NSynth in its official splits, grouped by instrument."""
    root = DATASET.root(config)
    rows: list[Row] = []
    for split in SPLITS:
        folder = root / f"nsynth-{split}"
        table = folder / "examples.json"
        rows += [
            listed(
                root,
                folder / "audio" / f"{note}.wav",
                table,
                [features["instrument_family_str"]],
                split,
                features["instrument_str"],
            )
            for note, features in sorted(_examples(table).items())
        ]
    folders = [root / f"nsynth-{split}" / "audio" for split in SPLITS]
    return rows + unlisted(root, folders, rows, "is not listed in examples.json")


def _examples(table: Path) -> dict[str, dict[str, Any]]:
    try:
        notes = json.loads(table.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{table}: is not JSON ({error}); unpack the official archive again") from error
    wanted = {"instrument_family_str", "instrument_str"}
    if not isinstance(notes, dict) or not all(
        isinstance(note, dict) and wanted <= note.keys() for note in notes.values()
    ):
        raise DataError(f"{table}: expected an object of notes, each with {' and '.join(sorted(wanted))}; get it again")
    return notes


DATASET = OfficialDataset(
    name="nsynth",
    title="NSynth",
    source="https://magenta.tensorflow.org/datasets/nsynth (the jsonwav archives)",
    tree=tuple(f"nsynth-{split}/examples.json" for split in SPLITS),
    read=read_nsynth,
    column="NSynth",
    domain="single notes of musical instruments",
    licence="CC BY 4.0",
    archives=tuple(Archive(f"nsynth-{split}.jsonwav.tar.gz") for split in SPLITS),
)
