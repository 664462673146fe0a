"""GTZAN (Tzanetakis and Cook, IEEE TSAP 2002): 1000 excerpts of 30 s, 10 genres.

http://marsyas.info/downloads/datasets.html: ``genres/<genre>/<genre>.00000.wav`` (``.au`` in the first release,
``genres_original/`` in a common copy). The data has no splits; it is known for repeated and mislabelled excerpts (Sturm
2013). The fault-filtered split of Kereliuk et al. (2015) is used when its lists ``train_filtered.txt``,
``valid_filtered.txt`` and ``test_filtered.txt`` (lines like ``blues/blues.00029.wav``) lie in the root.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, cells_of, find
from synthio.datasets.rows import Row, name_in, normalised_text
from synthio.errors import DataError
from synthio.files import audio_files
from synthio.records import Split

_FOLDER = "genres|genres_original|Data/genres_original"
_LISTS: dict[str, Split] = {"train_filtered.txt": "train", "valid_filtered.txt": "valid", "test_filtered.txt": "test"}
#: Known faults of the release, by file name.
FAULTS = {"jazz.00054.wav": "is damaged in the official release: it cannot be decoded"}
_MISSING = "is listed in the fault-filtered split but not in its folder; unpack the official archive again"


def read_gtzan(config: DataConfig) -> list[Row]:
    """Rows of GTZAN, without splits unless the lists of the fault-filtered split are there."""
    root = DATASET.root(config)
    splits = _filtered(root)
    folder = find(root, _FOLDER) or root
    rows = [_row(root, path, splits) for path in audio_files(folder)]
    there = {row.path.stem for row in rows}
    gone = [folder / stem.partition(".")[0] / f"{stem}.wav" for stem in splits if stem not in there]
    return rows + [
        Row(path, name_in(root, path), (path.parent.name,), splits[path.stem], rejected=_MISSING) for path in gone
    ]


def _row(root: Path, path: Path, splits: dict[str, Split]) -> Row:
    split = splits.get(path.stem)
    left_out = "is left out of the fault-filtered split" if splits and split is None else None
    return Row(
        path,
        name_in(root, path),
        (normalised_text(path.parent.name),),
        split,
        rejected=FAULTS.get(path.name.lower(), left_out),
    )


def _filtered(root: Path) -> dict[str, Split]:
    """Split by file stem. Raises: `DataError` when only some of the lists are there."""
    there = [name for name in _LISTS if (root / name).is_file()]
    if there and len(there) < len(_LISTS):
        missing = sorted(set(_LISTS) - set(there))
        raise DataError(f"{root}: found {', '.join(there)} but not {', '.join(missing)}; add it, or remove the others")
    return {PurePosixPath(cells[0]).stem: _LISTS[name] for name in there for cells in cells_of(root / name, 1)}


DATASET = OfficialDataset(
    name="gtzan",
    title="GTZAN",
    source="http://marsyas.info/downloads/datasets.html",
    tree=(_FOLDER,),
    read=read_gtzan,
    column="GTZAN",
    domain="music genres",
    licence="none stated",
    archives=(Archive("genres.tar.gz", "5b3d6dddb579ab49814ab86dba69e7c7"),),
)
