"""FSD50K (Fonseca et al., TASLP 2022): 51197 Freesound clips of 0.3 to 30 s, 200 classes, several labels per clip.

https://zenodo.org/record/4060432: ``FSD50K.ground_truth/dev.csv`` (fname, labels, mids, split) and ``eval.csv`` (no
split); ``FSD50K.dev_audio/<fname>.wav`` and ``FSD50K.eval_audio/``. Labels are separated by commas and spelled without
any inside; they include every ancestor in the AudioSet ontology.
"""

from __future__ import annotations

from synthio.config import DataConfig
from synthio.datasets.layout import Archive, OfficialDataset, listed, table_of, unlisted
from synthio.datasets.rows import Row, split_of


def read_fsd50k(config: DataConfig) -> list[Row]:
    """Rows of FSD50K: the dev set's own train and val, and the eval set as the test."""
    root = DATASET.root(config)
    rows: list[Row] = []
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table, folder = root / "FSD50K.ground_truth" / f"{part}.csv", root / f"FSD50K.{part}_audio"
        for line in table_of(table, columns):
            split = split_of(line["split"]) if part == "dev" else "test"
            rows.append(listed(root, folder / f"{line['fname']}.wav", table, line["labels"].split(","), split, None))
    folders = [root / "FSD50K.dev_audio", root / "FSD50K.eval_audio"]
    return rows + unlisted(root, folders, rows, "is listed neither in dev.csv nor in eval.csv")


DATASET = OfficialDataset(
    name="fsd50k",
    title="FSD50K",
    source="https://zenodo.org/record/4060432",
    tree=(
        "FSD50K.ground_truth/dev.csv",
        "FSD50K.ground_truth/eval.csv",
        "FSD50K.dev_audio",
        "FSD50K.eval_audio",
    ),
    read=read_fsd50k,
    column="FSD50K",
    domain="sound events",
    licence="CC BY 4.0; each clip its own (CC0, CC BY, CC BY-NC, CC Sampling+)",
    archives=(
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
    metric="mAP",
    label_separator=",",
)
