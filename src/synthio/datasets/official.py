"""The ten datasets of the Synthio paper (ICLR 2025): what each is, where to get it and which function reads it.

Checksums are those that the makers published on Zenodo (as `soundata`, `mirdata` and `dcase_util` repeat them); where
none is published, or the archive is made on demand (GitHub), there is none here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from synthio.config import DataConfig
from synthio.datasets import (
    dcase2017_task4,
    esc50,
    fsd50k,
    gtzan,
    medley_solos_db,
    musdb18,
    nsynth,
    tut_urban_2018,
    urbansound8k,
    vocalsound,
)
from synthio.datasets.layout import Layout
from synthio.datasets.rows import Row
from synthio.records import SPLITS


@dataclass(frozen=True)
class Archive:
    """One file of a release, as its makers name it."""

    name: str
    md5: str = ""
    """Published, or empty."""
    into: str = ""
    """The folder to unpack it into, beside it, when it has no top folder of its own."""


@dataclass(frozen=True)
class OfficialDataset:
    """A dataset of the paper's table 1, as it was released."""

    layout: Layout
    read: Callable[[DataConfig], list[Row]]
    column: str
    """Of the paper's table 1."""
    domain: str
    """For prompts: ``data.domain``."""
    licence: str
    archives: tuple[Archive, ...] = ()
    metric: Literal["accuracy", "F1", "mAP"] = "accuracy"
    """In the paper."""
    label_separator: str | None = None
    """Set for datasets of several labels per clip: a sample whose clips have one each stays multi-label."""

    @property
    def title(self) -> str:
        """The dataset's name, for people."""
        return self.layout.title

    @property
    def homepage(self) -> str:
        """The address where to get it."""
        return self.layout.source.partition(" ")[0]


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

_DATASETS = (
    OfficialDataset(
        esc50.LAYOUT,
        esc50.read_esc50,
        "ESC-50",
        "environmental sounds",
        "CC BY-NC 3.0",
        (Archive("ESC-50-master.zip"),),
    ),
    OfficialDataset(
        urbansound8k.LAYOUT,
        urbansound8k.read_urbansound8k,
        "USD8K",
        "sounds of a city",
        "CC BY-NC 3.0",
        (Archive("UrbanSound8K.tar.gz", "9aa69802bbf37fb986f71ec1483a196e"),),
    ),
    OfficialDataset(
        gtzan.LAYOUT,
        gtzan.read_gtzan,
        "GTZAN",
        "music genres",
        "none stated",
        (Archive("genres.tar.gz", "5b3d6dddb579ab49814ab86dba69e7c7"),),
    ),
    OfficialDataset(
        medley_solos_db.LAYOUT,
        medley_solos_db.read_medley_solos_db,
        "Medley",
        "solo musical instruments",
        "CC BY 4.0",
        (
            Archive("Medley-solos-DB_metadata.csv", "fda6a589c56785f2195c9227809c521a"),
            Archive("Medley-solos-DB.tar.gz", "f5facf398793ef5c1f80c013afdf3e5f", "audio"),
        ),
    ),
    OfficialDataset(
        tut_urban_2018.LAYOUT,
        tut_urban_2018.read_tut_urban_2018,
        "TUT",
        "acoustic scenes of cities",
        "free for non-commercial use (Tampere University)",
        (
            Archive(f"{_TUT}.meta.zip", "e196065ee83c07af03a11a310364377d"),
            Archive(f"{_TUT}.doc.zip", "28a4a9c46a6f46709ecc8eece365a3a4"),
            *(Archive(f"{_TUT}.audio.{number}.zip", md5) for number, md5 in enumerate(_TUT_AUDIO, start=1)),
        ),
    ),
    OfficialDataset(
        nsynth.LAYOUT,
        nsynth.read_nsynth,
        "NSynth",
        "single notes of musical instruments",
        "CC BY 4.0",
        tuple(Archive(f"nsynth-{split}.jsonwav.tar.gz") for split in SPLITS),
    ),
    OfficialDataset(
        vocalsound.LAYOUT,
        vocalsound.read_vocalsound,
        "VS",
        "human vocal sounds that are not speech",
        "CC BY-SA 4.0",
        (Archive("vs_release_16k.zip", into="vs_release_16k"), Archive("vs_release_44k.zip", into="vs_release_44k")),
    ),
    OfficialDataset(
        musdb18.LAYOUT,
        musdb18.read_musdb18,
        "MSDB",
        "stems of pop and rock songs",
        "for education only; each track has its own",
        (Archive("musdb18hq.zip", "12d4f2ecd55245a4688754dd76363103", "musdb18hq"),),
    ),
    OfficialDataset(
        dcase2017_task4.LAYOUT,
        dcase2017_task4.read_dcase2017_task4,
        "DCASE",
        "sounds of traffic and warnings",
        "lists: Apache-2.0; audio: of its YouTube uploaders",
        metric="F1",
        label_separator="\n",
    ),
    OfficialDataset(
        fsd50k.LAYOUT,
        fsd50k.read_fsd50k,
        "FSD50K",
        "sound events",
        "CC BY 4.0; each clip its own (CC0, CC BY, CC BY-NC, CC Sampling+)",
        (
            Archive("FSD50K.ground_truth.zip", "ca27382c195e37d2269c4c866dd73485"),
            Archive("FSD50K.metadata.zip", "b9ea0c829a411c1d42adb9da539ed237"),
            Archive("FSD50K.doc.zip", "3516162b82dc2945d3e7feba0904e800"),
            Archive("FSD50K.dev_audio.zip", "c480d119b8f7a7e32fdb58f3ea4d6c5a"),
            Archive("FSD50K.dev_audio.z01", "faa7cf4cc076fc34a44a479a5ed862a3"),
            Archive("FSD50K.dev_audio.z02", "8f9b66153e68571164fb1315d00bc7bc"),
            Archive("FSD50K.dev_audio.z03", "1196ef47d267a993d30fa98af54b7159"),
            Archive("FSD50K.dev_audio.z04", "d088ac4e11ba53daf9f7574c11cccac9"),
            Archive("FSD50K.dev_audio.z05", "81356521aa159accd3c35de22da28c7f"),
            Archive("FSD50K.eval_audio.zip", "6fa47636c3a3ad5c7dfeba99f2637982"),
            Archive("FSD50K.eval_audio.z01", "3090670eaeecc013ca1ff84fe4442aeb"),
        ),
        "mAP",
        ",",
    ),
)

#: By the name of the reader, in the order of the paper's table 1.
OFFICIAL: Mapping[str, OfficialDataset] = MappingProxyType({dataset.layout.name: dataset for dataset in _DATASETS})
