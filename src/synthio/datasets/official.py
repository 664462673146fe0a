"""The ten datasets of the Synthio paper (ICLR 2025): what each is, where to get it and which function reads it.

Checksums are those that the makers published on Zenodo (as `soundata`, `mirdata` and `dcase_util` repeat them); where
none is published, or the archive is made on demand (GitHub), there is none here.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from synthio.datasets.layout import OfficialDataset

#: By the name of the reader, in the order of the paper's table 1.
OFFICIAL: Mapping[str, OfficialDataset] = {
    dataset.name: dataset
    for dataset in (
        esc50.DATASET,
        urbansound8k.DATASET,
        gtzan.DATASET,
        medley_solos_db.DATASET,
        tut_urban_2018.DATASET,
        nsynth.DATASET,
        vocalsound.DATASET,
        musdb18.DATASET,
        dcase2017_task4.DATASET,
        fsd50k.DATASET,
    )
}
