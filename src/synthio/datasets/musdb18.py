"""MUSDB18-HQ (Rafii et al. 2019): 150 songs as stems; the label is the stem: drums, bass, other or vocals.

https://zenodo.org/record/3338373: ``train/<track>/<stem>.wav`` and ``test/``, with ``mixture.wav``, the sum of the
four, which is no class and is not read. Songs are minutes long and stems often start silent: what is read are the
excerpts that `synthio data prepare musdb18` cuts into ``excerpts/<train|test>/<track>/<stem>-0.flac``. The validation
tracks are the 14 of the official ``musdb`` package (https://github.com/sigsep/sigsep-mus-db, ``configs/mus.yaml``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset
from synthio.datasets.rows import Row, name_in, normalised_text
from synthio.errors import DataError
from synthio.records import Split

STEMS = ("bass", "drums", "other", "vocals")
PARTS: tuple[Split, ...] = ("train", "test")
VALIDATION = frozenset(
    {
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)


def read_musdb18(config: DataConfig) -> list[Row]:
    """Rows of the excerpts, grouped by track. Raises: `DataError` when none were cut yet."""
    root = DATASET.root(config)
    if root.name == "excerpts" and DATASET.is_root(root.parent):
        root = root.parent
    if not (root / "excerpts").is_dir():
        raise DataError(
            f"{root}: holds whole songs but no excerpts/; expected excerpts of up to 10 s; "
            f"cut them with `synthio data prepare musdb18 --root '{root}'`"
        )
    return [row for part in PARTS for track in tracks(root / part) for row in _track_rows(root, part, track)]


def tracks(folder: Path) -> list[Path]:
    """The track folders of one part."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def excerpts_of(track: Path) -> Path:
    """Where a track's excerpts lie."""
    return track.parent.parent / "excerpts" / track.parent.name / track.name


def _track_rows(root: Path, part: Split, track: Path) -> Iterator[Row]:
    folder, group = excerpts_of(track), normalised_text(track.name)
    split: Split = "valid" if part == "train" and track.name in VALIDATION else part
    for stem in STEMS:
        cut = sorted(folder.glob(f"{stem}-*.flac"))
        yield from (Row(path, name_in(root, path), (stem,), split, group) for path in cut)
        if not cut:
            note = folder / f"{stem}.txt"
            why = note.read_text(encoding="utf-8") if note.is_file() else "has no excerpts; run prepare again"
            yield Row(track / f"{stem}.wav", name_in(root, track / f"{stem}.wav"), (stem,), split, group, why)


DATASET = OfficialDataset(
    name="musdb18",
    title="MUSDB18-HQ",
    source="https://zenodo.org/record/3338373 (the HQ release: WAV, no .stem.mp4)",
    tree=PARTS,
    read=read_musdb18,
    column="MSDB",
    domain="stems of pop and rock songs",
    licence="for education only; each track has its own",
    archives=(Archive("musdb18hq.zip", "12d4f2ecd55245a4688754dd76363103", "musdb18hq"),),
)
