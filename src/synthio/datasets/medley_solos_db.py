"""Medley-solos-DB (Lostanlen and Cella, ISMIR 2016): clips of 3 s of solo recordings, 8 instruments.

https://zenodo.org/record/3464194: ``Medley-solos-DB_metadata.csv`` (subset, instrument, instrument_id, song_id, uuid4)
and ``Medley-solos-DB.tar.gz`` with ``Medley-solos-DB_<subset>-<instrument_id>_<uuid4>.wav``. The release fixes no
folder for the audio, and copies differ in the suffix (also ``.wav.flac``): files are found by name under the root.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, find, index_audio, listed, table_of, unlisted
from synthio.datasets.rows import Row, split_of

_TABLE = "Medley-solos-DB_metadata.csv|annotation/Medley-solos-DB_metadata.csv"


def read_medley_solos_db(config: DataConfig) -> list[Row]:
    """Rows of Medley-solos-DB in its official subsets, grouped by song."""
    root = DATASET.root(config)
    table = find(root, _TABLE) or root
    audio = index_audio(root, _stem)
    rows = []
    for line in table_of(table, ("subset", "instrument", "instrument_id", "song_id", "uuid4")):
        stem = f"Medley-solos-DB_{line['subset']}-{line['instrument_id']}_{line['uuid4']}"
        path = audio.get(stem, root / "audio" / f"{stem}.wav")
        rows.append(listed(root, path, table, [line["instrument"]], split_of(line["subset"]), line["song_id"]))
    return rows + unlisted(root, [root], rows, f"is not listed in {table.name}, or a second copy")


def _stem(name: str) -> str:
    """Up to the first dot: identifiers hold none, and suffixes may be double."""
    return name.partition(".")[0]


DATASET = OfficialDataset(
    name="medley_solos_db",
    title="Medley-solos-DB",
    source="https://zenodo.org/record/3464194",
    tree=(_TABLE,),
    read=read_medley_solos_db,
    column="Medley",
    domain="solo musical instruments",
    licence="CC BY 4.0",
    archives=(
        Archive("Medley-solos-DB_metadata.csv", "fda6a589c56785f2195c9227809c521a"),
        Archive("Medley-solos-DB.tar.gz", "f5facf398793ef5c1f80c013afdf3e5f", "audio"),
    ),
)
