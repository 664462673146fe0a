"""Miniature copies of the ten datasets of the paper, each in its official layout, and what is read of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from typer.testing import CliRunner

from synthio.cli import app
from synthio.config import DataConfig
from synthio.datasets import Row, excerpts, read_rows
from synthio.progress import Reporter

RATE_HZ = 8_000


def sound(*paths: Path) -> None:
    """A tiny file each, all different."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(hashlib.sha256(str(path).encode()).digest()[:4], "big")
        noise = 0.2 * np.random.default_rng(seed).standard_normal(800)
        sf.write(str(path), noise, RATE_HZ, format="FLAC" if path.suffix == ".flac" else None)


def write(path: Path, text: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def table(path: Path, *lines: tuple[Any, ...], **style: str) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return write(path, text.getvalue(), **style)


def esc50(root: Path) -> Path:
    """Five folds of two classes; two takes of one recording; byte order mark and CRLF."""
    lines: list[tuple[Any, ...]] = [("filename", "fold", "target", "category", "esc10", "src_file", "take")]
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (14, "chirping_birds")):
            for take in "AB":
                source = f"{100 * fold + target}"
                lines.append((f"{fold}-{source}-{take}-{target}.wav", fold, target, category, "True", source, take))
    sound(*(root / "audio" / line[0] for line in lines[1:]), root / "audio" / "stray.wav")
    table(root / "meta" / "esc50.csv", *lines, encoding="utf-8-sig", newline="\r\n")
    return root


def urbansound8k(root: Path) -> Path:
    """Ten folds; a slice that is missing on disk."""
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    lines: list[tuple[Any, ...]] = [header]
    for fold in range(1, 11):
        for class_id, name in ((3, "dog_bark"), (9, "street_music")):
            fs_id = 1000 * fold + class_id
            lines += [(f"{fs_id}-{class_id}-0-{i}.wav", fs_id, 0.5, 4.5, 1, fold, class_id, name) for i in range(2)]
    sound(*(root / "audio" / f"fold{line[5]}" / line[0] for line in lines[1:]))
    lines.append(("77-3-0-0.wav", 77, 0, 1, 2, 10, 3, "dog_bark"))
    table(root / "metadata" / "UrbanSound8K.csv", *lines)
    write(root / "audio" / ".DS_Store", "x")
    return root


def gtzan(root: Path) -> Path:
    """Genres as folders, the damaged file, an AppleDouble file that the archive ships."""
    for genre in ("blues", "jazz"):
        sound(*(root / "genres" / genre / f"{genre}.{number:05d}.wav" for number in range(6)))
    write(root / "genres" / "jazz" / "jazz.00054.wav", "not audio")
    write(root / "genres" / "jazz" / "._jazz.00054.wav", "resource fork")
    return root


def medley_solos_db(root: Path) -> Path:
    """Three subsets; one file under a double suffix, one gone."""
    lines: list[tuple[Any, ...]] = [("subset", "instrument", "instrument_id", "song_id", "uuid4")]
    for number, subset in enumerate(("training", "validation", "test")):
        for identifier, instrument in ((0, "clarinet"), (1, "distorted electric guitar")):
            uuid = f"d07b1fc0-567d-52c2-fef4-{number}{identifier}"
            lines.append((subset, instrument, identifier, 10 * number + identifier, uuid))
            suffix = ".wav.flac" if (number, identifier) == (2, 1) else ".wav"
            sound(root / "audio" / f"Medley-solos-DB_{subset}-{identifier}_{uuid}{suffix}")
    lines.append(("test", "clarinet", 0, 99, "gone"))
    table(root / "Medley-solos-DB_metadata.csv", *lines)
    return root


def tut_urban_2018(root: Path) -> Path:
    """Tabs; a segment that is in neither list; CRLF in one list."""
    lines = ["filename\tscene_label\tidentifier\tsource_label"]
    parts: dict[str, list[str]] = {"fold1_train": [], "fold1_evaluate": []}
    for place, part in ((0, "fold1_train"), (1, "fold1_train"), (2, "fold1_evaluate")):
        for scene in ("airport", "street_pedestrian"):
            file = f"audio/{scene}-barcelona-{place}-{place}-a.wav"
            lines.append(f"{file}\t{scene}\tbarcelona-{scene}{place}\ta")
            parts[part].append(f"{file}\t{scene}")
            sound(root / file)
    lines.append("audio/airport-paris-9-9-a.wav\tairport\tparis-9\ta")
    sound(root / "audio" / "airport-paris-9-9-a.wav")
    write(root / "meta.csv", "\n".join(lines) + "\n")
    for part, content in parts.items():
        newline = "\r\n" if part == "fold1_evaluate" else "\n"
        write(root / "evaluation_setup" / f"{part}.txt", "\n".join(content) + "\n", newline=newline)
    write(root / "evaluation_setup" / "fold1_test.txt", "audio/airport-barcelona-2-2-a.wav\n")
    return root


def nsynth(root: Path) -> Path:
    """Notes in any order, with the official keys."""
    for split, number in (("train", 1), ("valid", 2), ("test", 2)):
        notes = {}
        for family in ("string", "bass", "synth_lead"):
            for pitch in (60, 40):
                instrument = f"{family}_acoustic_{number:03d}"
                note = f"{instrument}-{pitch:03d}-100"
                notes[note] = {
                    "note": pitch,
                    "note_str": note,
                    "instrument_str": instrument,
                    "pitch": pitch,
                    "velocity": 100,
                    "sample_rate": 16000,
                    "qualities_str": [],
                    "instrument_family_str": family,
                    "instrument_source_str": "acoustic",
                }
                sound(root / f"nsynth-{split}" / "audio" / f"{note}.wav")
        write(root / f"nsynth-{split}" / "examples.json", json.dumps(notes))
    return root


def vocalsound(root: Path) -> Path:
    """Speakers with a second collection; lists that hold the paths of the makers' machine; a speaker in no list."""
    for part, speakers in {"tr": ("f0003", "m0004"), "val": ("f0005",), "te": ("m0006",)}.items():
        names = [f"{speaker}_{n}_{s}.wav" for speaker in speakers for n in (0, 1) for s in ("cough", "throatclearing")]
        sound(*(root / "audio_16k" / name for name in names))
        items = [{"wav": f"/data/sls/scratch/vocalsound/audio_16k/{name}", "labels": "/m/01b_21"} for name in names]
        write(root / "datafiles" / f"{part}.json", json.dumps({"data": items}))
        table(root / "meta" / f"{part}_meta.csv", *((speaker, "female", 30, "US", "en", "no") for speaker in speakers))
    sound(root / "audio_16k" / "f9999_0_cough.wav")
    return root


def musdb18(root: Path) -> Path:
    """Four tracks; songs of 12 s (a second counts 100 samples) that start silent; a stem without sound."""
    for part, track in (
        ("train", "A Classic Education - NightOwl"),
        ("train", "Meaxic - Take A Step"),
        ("train", "Leaf & Co - Ünder"),
        ("test", "Zeno - Signs"),
    ):
        for number, stem in enumerate(("mixture", "bass", "drums", "other", "vocals")):
            path = root / part / track / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = int.from_bytes(hashlib.sha256(f"{track}{number}".encode()).digest()[:4], "big")
            samples = 0.2 * np.random.default_rng(seed).standard_normal((12 * RATE_HZ, 2))
            samples[: 2 * RATE_HZ] = 0
            sf.write(str(path), samples * (stem != "vocals" or part != "test"), RATE_HZ)
    excerpts.cut_excerpts(root, Reporter())
    return root


def dcase2017_task4(root: Path) -> Path:
    """A label with a comma, a clip with two labels, an id that starts with a dash, clips that are gone."""
    clips = {
        "training": {"2ceUOv8A3FE_20.000_30.000": ["Train horn", "Train"], "-5QrBL6MzLg_0.000_10.000": ["Car"]},
        "testing": {
            "Yabc_def-gh_60.000_70.000": ["Air horn, truck horn"],
            "bbbbbbbbbbb_0.000_10.000": ["Car", "Train"],
        },
        "evaluation": {"ccccccccccc_0.000_10.000": ["Car"]},
    }
    horn = ["Air horn, truck horn"]
    clips["training"] |= {"ddddddddddd_0.000_9.500": horn, "goneeeeeeee_0.000_10.000": ["Car"]}
    clips["training"] |= {
        f"many{n}eeeeee_0.000_10.000": labels for n, labels in enumerate([["Car"], horn, ["Train"]] * 3)
    }
    clips["testing"]["fffffffffff_0.000_10.000"] = ["Train horn"]
    for part, files in clips.items():
        lines = [
            "\t".join([f"{stem}.wav", *stem.split("_")[-2:], label])
            for stem, labels in files.items()
            for label in labels
        ]
        folder = root / "groundtruth_release" if part == "evaluation" else root
        newline = "\r\n" if part == "evaluation" else "\n"
        write(folder / f"groundtruth_weak_label_{part}_set.csv", "\n".join(sorted(lines)) + "\n", newline=newline)
        downloads = root / f"{part}_set_{part}_set_audio_formatted_and_segmented_downloads"
        kept = [stem for stem in files if not stem.startswith("gone") and part != "evaluation"]
        sound(*(downloads / f"Y{stem}.wav" for stem in kept))
    return root


def fsd50k(root: Path) -> Path:
    """Several labels per clip with commas inside quotes; evaluation without a split column."""
    truth = root / "FSD50K.ground_truth"
    dev = [
        (64760, "Electric_guitar,Guitar,Music", "/m/1,/m/2,/m/3", "train"),
        (16399, "Bark,Dog", "/m/4,/m/5", "train"),
    ]
    dev += [(11, "Guitar,Music", "/m/2,/m/3", "val"), (12, "Dog", "/m/5", "val")]
    evaluation = [(37199, "Electric_guitar,Guitar,Music", "/m/1,/m/2,/m/3"), (37200, "Bark,Dog", "/m/4,/m/5")]
    table(truth / "dev.csv", ("fname", "labels", "mids", "split"), *dev)
    table(truth / "eval.csv", ("fname", "labels", "mids"), *evaluation)
    table(truth / "vocabulary.csv", (0, "Bark", "/m/4"), (1, "Dog", "/m/5"))
    sound(*(root / "FSD50K.dev_audio" / f"{line[0]}.wav" for line in dev))
    sound(*(root / "FSD50K.eval_audio" / f"{line[0]}.wav" for line in evaluation))
    return root


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "esc50": esc50,
    "urbansound8k": urbansound8k,
    "gtzan": gtzan,
    "medley_solos_db": medley_solos_db,
    "tut_urban_2018": tut_urban_2018,
    "nsynth": nsynth,
    "vocalsound": vocalsound,
    "musdb18": musdb18,
    "dcase2017_task4": dcase2017_task4,
    "fsd50k": fsd50k,
}


def read(name: str, root: Path, **settings: Any) -> list[Row]:
    return read_rows(DataConfig.model_validate({"path": str(root), "reader": name} | settings))


def rejected(rows: list[Row]) -> dict[str, str]:
    return {row.path.name: row.rejected for row in rows if row.rejected is not None}


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])
