"""The ten datasets of the paper: miniature copies in each official layout, read back; and `synthio data prepare`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from typer.testing import CliRunner

from synthio import config, load_config
from synthio.arms import problem_type
from synthio.bench.recipe import BenchRecipe
from synthio.cli import app
from synthio.config import DataConfig, RunConfig
from synthio.context import StageContext
from synthio.data_check import check_data
from synthio.datasets import FOLDED, OFFICIAL, READERS, Row, excerpts, read_rows
from synthio.datasets.layout import Archive
from synthio.datasets.prepare import prepare, unpack, verify
from synthio.errors import DataError, SynthioError
from synthio.progress import Reporter
from synthio.recipes import load_recipe
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder

RATE_HZ = 8_000
REPO = Path(__file__).parent.parent


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
NAMES = sorted(BUILDERS)


def read(name: str, root: Path, **settings: Any) -> list[Row]:
    return read_rows(DataConfig.model_validate({"path": str(root), "reader": name} | settings))


def usable(rows: list[Row]) -> dict[str, tuple[tuple[str, ...], str | None, str | None]]:
    return {row.path.name: (row.labels, row.split, row.group) for row in rows if row.rejected is None}


def rejected(rows: list[Row]) -> dict[str, str]:
    return {row.path.name: row.rejected for row in rows if row.rejected is not None}


def error_of(name: str, root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(name, root, **settings)
    return str(caught.value)


class TestReaders:
    def test_esc50_folds_and_recordings(self, tmp_path: Path) -> None:
        rows = read("esc50", esc50(tmp_path))
        found = usable(rows)
        assert found["1-114-B-14.wav"] == (("chirping_birds",), "test", "114")
        assert found["5-500-A-0.wav"] == (("dog",), "train", "500")
        assert rejected(rows) == {"stray.wav": "is not listed in esc50.csv"}
        third = usable(read("esc50", tmp_path, fold=3))
        assert {name[0] for name, (_, split, _) in third.items() if split == "test"} == {"3"}

    def test_urbansound8k_folds_and_missing_slices(self, tmp_path: Path) -> None:
        rows = read("urbansound8k", urbansound8k(tmp_path), fold=10)
        found = usable(rows)
        assert found["10003-3-0-1.wav"] == (("dog_bark",), "test", "10003")
        assert found["2009-9-0-0.wav"] == (("street_music",), "train", "2009")
        assert list(rejected(rows)) == ["77-3-0-0.wav"]
        assert "is listed in UrbanSound8K.csv but not in its folder" in rejected(rows)["77-3-0-0.wav"]
        first = usable(read("urbansound8k", tmp_path))
        assert {group for _, split, group in first.values() if split == "test"} == {"1003", "1009"}

    def test_gtzan_has_no_splits_and_one_known_fault(self, tmp_path: Path) -> None:
        rows = read("gtzan", gtzan(tmp_path))
        assert len(usable(rows)) == 12
        assert usable(rows)["blues.00003.wav"] == (("blues",), None, None)
        assert rejected(rows) == {"jazz.00054.wav": "is damaged in the official release: it cannot be decoded"}

    def test_gtzan_of_the_first_release(self, tmp_path: Path) -> None:
        sound(tmp_path / "genres_original" / "rock" / "rock.00000.au")
        assert usable(read("gtzan", tmp_path)) == {"rock.00000.au": (("rock",), None, None)}

    def test_gtzan_with_the_fault_filtered_lists(self, tmp_path: Path) -> None:
        gtzan(tmp_path)
        write(tmp_path / "train_filtered.txt", "blues/blues.00000.wav\njazz/jazz.00000.wav\n")
        assert "but not test_filtered.txt, valid_filtered.txt" in error_of("gtzan", tmp_path)
        write(tmp_path / "valid_filtered.txt", "blues/blues.00001.wav\njazz/jazz.00099.wav\n")
        write(tmp_path / "test_filtered.txt", "jazz/jazz.00001.wav")
        rows = read("gtzan", tmp_path)
        assert {name: split for name, (_, split, _) in usable(rows).items()} == {
            "blues.00000.wav": "train",
            "jazz.00000.wav": "train",
            "blues.00001.wav": "valid",
            "jazz.00001.wav": "test",
        }
        assert "left out" in rejected(rows)["blues.00005.wav"]
        assert "not in its folder" in rejected(rows)["jazz.00099.wav"]
        assert len(rows) == 14

    def test_medley_solos_db_subsets_and_suffixes(self, tmp_path: Path) -> None:
        rows = read("medley_solos_db", medley_solos_db(tmp_path))
        assert sorted(usable(rows).values()) == [
            (("clarinet",), "test", "20"),
            (("clarinet",), "train", "0"),
            (("clarinet",), "valid", "10"),
            (("distorted electric guitar",), "test", "21"),
            (("distorted electric guitar",), "train", "1"),
            (("distorted electric guitar",), "valid", "11"),
        ]
        assert list(rejected(rows)) == ["Medley-solos-DB_test-0_gone.wav"]

    def test_medley_solos_db_as_mirdata_lays_it_out(self, tmp_path: Path) -> None:
        medley_solos_db(tmp_path)
        (tmp_path / "annotation").mkdir()
        (tmp_path / "Medley-solos-DB_metadata.csv").rename(tmp_path / "annotation" / "Medley-solos-DB_metadata.csv")
        assert len(usable(read("medley_solos_db", tmp_path))) == 6

    def test_tut_urban_2018_fold_and_places(self, tmp_path: Path) -> None:
        rows = read("tut_urban_2018", tut_urban_2018(tmp_path))
        found = usable(rows)
        assert found["airport-barcelona-0-0-a.wav"] == (("airport",), "train", "barcelona-airport0")
        assert found["street_pedestrian-barcelona-2-2-a.wav"][1] == "test"
        assert len(found) == 6
        assert rejected(rows) == {"airport-paris-9-9-a.wav": "is in neither fold1_train.txt nor fold1_evaluate.txt"}

    def test_tut_urban_2018_without_a_header(self, tmp_path: Path) -> None:
        meta = tut_urban_2018(tmp_path) / "meta.csv"
        before = read("tut_urban_2018", tmp_path)
        write(meta, meta.read_text().partition("\n")[2])
        assert read("tut_urban_2018", tmp_path) == before
        write(meta, "audio/a.wav\tbus\n")
        assert "have under 3 cells" in error_of("tut_urban_2018", tmp_path)

    def test_nsynth_families_instruments_and_any_order(self, tmp_path: Path) -> None:
        rows = read("nsynth", nsynth(tmp_path))
        found = usable(rows)
        assert found["synth_lead_acoustic_001-060-100.wav"] == (("synth_lead",), "train", "synth_lead_acoustic_001")
        assert {row.split for row in rows if row.path.name == "bass_acoustic_002-040-100.wav"} == {"valid", "test"}
        assert len(rows) == 18
        examples = tmp_path / "nsynth-valid" / "examples.json"
        write(examples, json.dumps(dict(reversed(json.loads(examples.read_text()).items()))))
        assert read("nsynth", tmp_path) == rows
        write(examples, '{"bass_acoustic_002-040-100": {"pitch": 40}}')
        assert "instrument_family_str and instrument_str" in error_of("nsynth", tmp_path)
        write(examples, "{")
        assert "is not JSON" in error_of("nsynth", tmp_path)

    def test_vocalsound_speakers_and_readable_labels(self, tmp_path: Path) -> None:
        rows = read("vocalsound", vocalsound(tmp_path))
        found = usable(rows)
        assert found["f0003_1_throatclearing.wav"] == (("throat_clearing",), "train", "f0003")
        assert found["f0005_0_cough.wav"] == (("cough",), "valid", "f0005")
        assert found["m0006_0_cough.wav"][1] == "test"
        assert list(rejected(rows)) == ["f9999_0_cough.wav"]
        (tmp_path / "audio_16k" / "m0006_0_cough.wav").unlink()
        assert "is listed in datafiles" in rejected(read("vocalsound", tmp_path))["m0006_0_cough.wav"]

    def test_vocalsound_by_the_lists_of_speakers(self, tmp_path: Path) -> None:
        before = read("vocalsound", vocalsound(tmp_path))
        for part in ("tr", "val", "te"):
            (tmp_path / "datafiles" / f"{part}.json").unlink()
        assert read("vocalsound", tmp_path) == before

    def test_musdb18_excerpts_of_stems(self, tmp_path: Path) -> None:
        rows = read("musdb18", musdb18(tmp_path))
        assert {row.labels for row in rows} == {("bass",), ("drums",), ("other",), ("vocals",)}
        splits = {row.group: row.split for row in rows}
        assert splits == {
            "A Classic Education - NightOwl": "train",
            "Leaf & Co - Ünder": "train",
            "Meaxic - Take A Step": "valid",
            "Zeno - Signs": "test",
        }
        assert [row.name for row in rows if row.rejected] == ["test/Zeno - Signs/vocals.wav"]
        assert "is silent" in rejected(rows)["vocals.wav"]
        assert sf.info(str(next(row.path for row in rows if not row.rejected))).duration == 10

    def test_musdb18_by_its_folder_of_excerpts(self, tmp_path: Path) -> None:
        assert read("musdb18", musdb18(tmp_path) / "excerpts") == read("musdb18", tmp_path)

    def test_musdb18_without_excerpts_says_how_to_make_them(self, tmp_path: Path) -> None:
        sound(tmp_path / "train" / "a" / "bass.wav", tmp_path / "test" / "b" / "bass.wav")
        assert "synthio data prepare musdb18 --root" in error_of("musdb18", tmp_path)
        (tmp_path / "excerpts").mkdir()
        assert "run prepare again" in rejected(read("musdb18", tmp_path))["bass.wav"]

    def test_dcase2017_task4_labels_and_gone_videos(self, tmp_path: Path) -> None:
        rows = read("dcase2017_task4", dcase2017_task4(tmp_path))
        found = usable(rows)
        assert found["Y2ceUOv8A3FE_20.000_30.000.wav"] == (("Train", "Train horn"), "train", "2ceUOv8A3FE")
        assert found["Y-5QrBL6MzLg_0.000_10.000.wav"] == (("Car",), "train", "-5QrBL6MzLg")
        assert found["YYabc_def-gh_60.000_70.000.wav"] == (("Air horn, truck horn",), "test", "Yabc_def-gh")
        assert "gone from YouTube" in rejected(rows)["Ygoneeeeeeee_0.000_10.000.wav"]
        assert "the testing set is the test" in rejected(rows)["groundtruth_weak_label_evaluation_set.csv"]
        assert len(rows) == 17

    def test_dcase2017_task4_with_the_evaluation_set(self, tmp_path: Path) -> None:
        dcase2017_task4(tmp_path)
        sound(tmp_path / "evaluation" / "Yccccccccccc_0.000_10.000.wav", tmp_path / "evaluation" / "Yother_0_1.wav")
        rows = read("dcase2017_task4", tmp_path)
        assert usable(rows)["YYabc_def-gh_60.000_70.000.wav"][1] == "valid"
        assert usable(rows)["Yccccccccccc_0.000_10.000.wav"] == (("Car",), "test", "ccccccccccc")
        assert rejected(rows)["Yother_0_1.wav"] == "is in no ground-truth list, or a second copy"

    def test_fsd50k_labels_and_splits(self, tmp_path: Path) -> None:
        rows = read("fsd50k", fsd50k(tmp_path))
        assert usable(rows) == {
            "64760.wav": (("Electric_guitar", "Guitar", "Music"), "train", None),
            "16399.wav": (("Bark", "Dog"), "train", None),
            "11.wav": (("Guitar", "Music"), "valid", None),
            "12.wav": (("Dog",), "valid", None),
            "37199.wav": (("Electric_guitar", "Guitar", "Music"), "test", None),
            "37200.wav": (("Bark", "Dog"), "test", None),
        }
        sound(tmp_path / "FSD50K.eval_audio" / "1.wav")
        assert rejected(read("fsd50k", tmp_path)) == {"1.wav": "is listed neither in dev.csv nor in eval.csv"}

    def test_a_table_of_another_kind_lists_its_columns(self, tmp_path: Path) -> None:
        table(esc50(tmp_path) / "meta" / "esc50.csv", ("filename", "label"), ("a.wav", "dog"))
        assert "has no column 'fold', 'category', 'src_file'; found 'filename', 'label'" in error_of("esc50", tmp_path)

    def test_lists_that_are_damaged_are_named(self, tmp_path: Path) -> None:
        tut_urban_2018(tmp_path / "tut")
        (tmp_path / "tut" / "meta.csv").write_bytes(b"audio/caf\xe9.wav\tbus\tparis-9\n")
        assert "meta.csv: is not UTF-8" in error_of("tut_urban_2018", tmp_path / "tut")
        write(vocalsound(tmp_path / "vs") / "datafiles" / "val.json", '{"items": []}')
        assert "val.json: expected" in error_of("vocalsound", tmp_path / "vs")

    @pytest.mark.parametrize("name", NAMES)
    def test_rows_lie_in_the_root_and_names_are_unique(self, name: str, tmp_path: Path) -> None:
        rows = read(name, BUILDERS[name](tmp_path))
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.path == tmp_path / row.name for row in rows)
        assert all(row.path.is_file() and row.labels for row in rows if row.rejected is None)

    @pytest.mark.parametrize("name", NAMES)
    def test_one_audio_folder_that_is_not_there(self, name: str, tmp_path: Path) -> None:
        """NSynth without the audio of one split was told to check the permissions of a folder that was not there."""
        root = BUILDERS[name](tmp_path / "data")
        before = read(name, root)
        for folder in {row.path.parent for row in before if row.rejected is None} - {root}:
            gone = folder.rename(tmp_path / "gone")
            if OFFICIAL[name].is_root(root):
                rows = read(name, root)
                assert not [row for row in rows if row.rejected is None and row.path.is_relative_to(folder)]
            gone.rename(folder)
        assert read(name, root) == before

    def test_nsynth_without_the_audio_of_a_split(self, tmp_path: Path) -> None:
        shutil.rmtree(nsynth(tmp_path) / "nsynth-train" / "audio")
        found = set(rejected(read("nsynth", tmp_path)).values())
        assert found == {"is listed in examples.json but not in its folder; unpack or download the audio again"}


class TestWrongRoots:
    @pytest.mark.parametrize("name", NAMES)
    def test_an_empty_folder(self, name: str, tmp_path: Path) -> None:
        text = error_of(name, tmp_path)
        assert text.startswith(
            f"{tmp_path}: is not the root of {OFFICIAL[name].title}; found an empty folder; expected "
        )
        assert OFFICIAL[name].tree[0].partition("|")[0] in text
        assert OFFICIAL[name].homepage in text
        assert f"synthio data prepare {name} --root" in text

    @pytest.mark.parametrize("name", NAMES)
    def test_the_folder_above_and_the_folder_below(self, name: str, tmp_path: Path) -> None:
        root = BUILDERS[name](tmp_path / "data" / "Unpacked 1.0")
        assert "found Unpacked 1.0/; expected" in error_of(name, root.parent)
        assert error_of(name, root.parent).endswith(f"{root} is that root: set data.path to it")
        below = [child for child in sorted(root.iterdir()) if child.is_dir()][-1]
        assert error_of(name, below).endswith(f"{root} is that root: set data.path to it")

    def test_no_folder_at_all(self, tmp_path: Path) -> None:
        assert "found no such folder" in error_of("esc50", tmp_path / "none")

    def test_several_roots_are_all_named(self, tmp_path: Path) -> None:
        roots = [vocalsound(tmp_path / name) for name in ("16k", "44k")]
        assert f"{roots[0]} or {roots[1]} is that root" in error_of("vocalsound", tmp_path)

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        before = usable(read("medley_solos_db", medley_solos_db(tmp_path)))
        (tmp_path / "audio" / "round").symlink_to(tmp_path)
        assert usable(read("medley_solos_db", tmp_path)) == before

    def test_many_files_are_cut_short(self, tmp_path: Path) -> None:
        for number in range(20):
            (tmp_path / f"{number:02d}.wav").touch()
        assert "07.wav and 12 more; expected" in error_of("esc50", tmp_path)


class TestFolds:
    @pytest.mark.parametrize(("name", "folds"), [("esc50", "1, 2, 3, 4, 5"), ("urbansound8k", "1, 2, 3, 4, 5, 6")])
    def test_a_fold_that_is_not_there(self, name: str, folds: str, tmp_path: Path) -> None:
        assert f"data.fold is 11; {OFFICIAL[name].title} has the folds {folds}" in error_of(
            name, BUILDERS[name](tmp_path), fold=11
        )

    @pytest.mark.parametrize("name", sorted(set(NAMES) - FOLDED))
    def test_readers_without_folds_refuse_one(self, name: str, tmp_path: Path) -> None:
        assert f"the reader {name!r} has no folds; remove data.fold" in error_of(name, tmp_path, fold=1)


class TestThroughThePipeline:
    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_stops_a_run(self, name: str, tmp_path: Path) -> None:
        separator = OFFICIAL[name].label_separator
        root = BUILDERS[name](tmp_path)
        data = {"path": str(root), "reader": name, "label_separator": separator, "duplicates": "drop"}
        # The pocket generator makes no longer clips.
        found = check_data(RunConfig.model_validate({"data": {**data, "max_duration_s": 5}}))
        assert not found.problems
        assert all(found.splits.values())
        assert len(found.rejected) == len(rejected(read(name, root)))
        assert not any("group(s) in training and elsewhere" in warning for warning in found.warnings)

    def test_validation_comes_out_of_training_by_whole_recordings(self, tmp_path: Path) -> None:
        config = RunConfig.model_validate(
            {"data": {"path": str(esc50(tmp_path / "data")), "reader": "esc50", "fold": 2}}
        )
        clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "key"), Reporter()))
        homes = {clip.group: {other.split for other in clips if other.group == clip.group} for clip in clips}
        assert all(len(splits) == 1 for splits in homes.values())
        assert {clip.group for clip in clips if clip.split == "test"} == {"200", "214"}
        assert {clip.split for clip in clips} == {"train", "valid", "test"}

    def test_a_sample_of_one_label_each_stays_multi_label(self, tmp_path: Path) -> None:
        recipe = yaml.safe_load((REPO / "recipes" / "datasets" / "dcase2017_task4.yaml").read_text(encoding="utf-8"))
        recipe["data"]["path"] = str(dcase2017_task4(tmp_path / "data"))
        config = RunConfig.model_validate(recipe)
        clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "key"), Reporter()))
        assert problem_type(config, clips) == "multi_label_classification"
        single = [clip for clip in clips if len(clip.labels) == 1]
        assert problem_type(config, single) == "multi_label_classification"


class TestRegistry:
    def test_columns_are_those_of_table_1(self) -> None:
        columns = ["ESC-50", "USD8K", "GTZAN", "Medley", "TUT", "NSynth", "VS", "MSDB", "DCASE", "FSD50K"]
        assert [found.column for found in OFFICIAL.values()] == columns
        metrics = {found.column: found.metric for found in OFFICIAL.values() if found.metric != "accuracy"}
        assert metrics == {"DCASE": "F1", "FSD50K": "mAP"}

    def test_every_reader_can_be_named_in_a_recipe(self) -> None:
        assert set(config.READERS) == set(READERS) | {"auto"}
        assert set(BUILDERS) == set(OFFICIAL)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_recipe_says_what_the_registry_says(self, name: str) -> None:
        path = REPO / "recipes" / "datasets" / f"{name}.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line.startswith("data: {") for line in lines if not line.startswith("#")] == [True]
        data = load_config(path).data
        found = OFFICIAL[name]
        assert (data.reader, data.domain, data.label_separator) == (name, found.domain, found.label_separator)
        of_bench = (
            load_recipe(REPO / "recipes" / "bench" / "paper.yaml", [], BenchRecipe).datasets[name].model_extra["data"]
        )
        assert (of_bench["reader"], of_bench["domain"]) == (name, found.domain)

    def test_a_recipe_that_includes_one(self, tmp_path: Path) -> None:
        base = REPO / "recipes" / "datasets" / "esc50.yaml"
        data = load_config(write(tmp_path / "run.yaml", f"include: {base}\ndata: {{path: here, fold: 2}}\n")).data
        assert (data.reader, data.path, data.fold, data.domain) == ("esc50", "here", 2, "environmental sounds")

    def test_checksums_are_md5(self) -> None:
        sums = [archive.md5 for found in OFFICIAL.values() for archive in found.archives if archive.md5]
        assert len(set(sums)) == len(sums) == 31
        assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in sums)


def pack(folder: Path, archive: Path, *, top: bool) -> Path:
    """A tar.gz or zip of ``folder``, with the folder itself inside or only what it holds."""
    base = folder.parent if top else folder
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in files:
                packed.write(path, path.relative_to(base))
    else:
        with tarfile.open(archive, "w:gz") as packed:
            for path in files:
                packed.add(path, path.relative_to(base))
    return archive


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


class TestUnpacking:
    def test_checksums(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zip", "abc")
        verify(path, "900150983cd24fb0d6963f7d28e17f72", Reporter())
        with pytest.raises(DataError, match=r"its MD5 is 900150983cd24fb0d6963f7d28e17f72; the makers published 0000"):
            verify(path, "0" * 32, Reporter())

    @pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/synthio-evil.txt"])
    def test_a_zip_that_leaves_the_folder_is_refused_whole(self, name: str, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("good.txt", "good")
            packed.writestr(name, "evil")
        with pytest.raises(DataError, match="refused: .*evil.txt.* outside"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        assert not list(tmp_path.rglob("evil.txt"))

    def test_a_zip_with_a_name_that_climbs_is_refused_and_removes_nothing(self, tmp_path: Path) -> None:
        """`zipfile` drops the dots, so what it writes is not what the name says, and that must not be removed."""
        mine = write(tmp_path / "out" / "mine.txt", "mine")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("a/../mine.txt", "not mine")
            packed.writestr("b.txt", "whole")
        (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"whole", b"wrong"))
        with pytest.raises(DataError, match="refused: .*mine.txt.* outside"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert mine.read_text() == "mine"
        assert list((tmp_path / "out").iterdir()) == [mine]

    @pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt"])
    def test_a_tar_that_leaves_the_folder_is_refused(self, name: str, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
            for each in ("good.txt", name):
                member = tarfile.TarInfo(each)
                member.size = 4
                packed.addfile(member, io.BytesIO(b"evil"))
        with pytest.raises(DataError, match="refused: .*evil.txt"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")
        assert not list(tmp_path.rglob("*.txt"))

    def test_a_tar_with_a_link_to_the_outside_is_refused(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            packed.addfile(member)
        with pytest.raises(DataError, match="refused"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
    def test_a_damaged_archive(self, name: str, tmp_path: Path) -> None:
        write(tmp_path / name, "no archive")
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out")

    @pytest.mark.parametrize(
        ("name", "mode", "share"),
        [
            *(("a.tar.gz", "w:gz", share / 10) for share in range(1, 10)),
            ("a.tar.gz", "w:xz", 0.5),
            # The first file is there already, and is not read.
            *(("a.zip", "w", share / 10) for share in range(3, 8)),
        ],
    )
    def test_an_archive_with_a_flipped_bit_is_refused_and_leaves_nothing(
        self, name: str, mode: Any, share: float, tmp_path: Path
    ) -> None:
        """Files of the right size and the wrong content would be taken for whole the next time."""
        contents = {f"{i}.bin": np.random.default_rng(i).bytes(5_000) + 5_000 * b"text" for i in range(5)}
        if name == "a.zip":
            with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as zipped:
                for member, content in contents.items():
                    zipped.writestr(member, content)
        else:
            with tarfile.open(tmp_path / name, mode) as packed:
                for member, content in contents.items():
                    entry = tarfile.TarInfo(member)
                    entry.size = len(content)
                    packed.addfile(entry, io.BytesIO(content))
        out, whole = tmp_path / "out", (tmp_path / name).read_bytes()
        (out / "0.bin").parent.mkdir()
        (out / "0.bin").write_bytes(contents["0.bin"])
        damaged = bytearray(whole)
        damaged[int(share * len(damaged))] ^= 4
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be unpacked .*get it again"):
            unpack(tmp_path / name, out)
        assert [path.name for path in out.iterdir()] == ["0.bin"]
        (tmp_path / name).write_bytes(whole)
        assert unpack(tmp_path / name, out) == 4
        assert {path.name: path.read_bytes() for path in out.iterdir()} == contents

    @pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz", "link in a.tar.gz"])
    def test_a_damaged_archive_leaves_what_stood_there(self, kind: str, tmp_path: Path) -> None:
        """A README of the user's was written over, and then removed with the rest."""
        content, name = np.random.default_rng(0).bytes(50_000), kind.rpartition(" ")[2]
        write(tmp_path / "x" / "README.md", "theirs, which is longer")
        if kind.startswith("link"):
            (tmp_path / "x" / "README.md").unlink()
            (tmp_path / "x" / "README.md").symlink_to("z.bin")
        (tmp_path / "x" / "z.bin").write_bytes(content)
        archive = pack(tmp_path / "x", tmp_path / name, top=False)
        damaged = bytearray(archive.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        archive.write_bytes(damaged)
        mine = write(tmp_path / "out" / "README.md", "mine")
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(archive, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["README.md"]
        assert mine.read_text() == "mine" and not mine.is_symlink()

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
    def test_unpacking_again_writes_only_what_is_missing(self, name: str, tmp_path: Path) -> None:
        write(tmp_path / "x" / "a.txt", "aaa")
        write(tmp_path / "x" / "b" / "c.txt", "ccc")
        archive, out = pack(tmp_path / "x", tmp_path / name, top=True), tmp_path / "out"
        assert unpack(archive, out) == 2
        assert unpack(archive, out) == 0
        write(out / "x" / "b" / "c.txt", "c")
        assert unpack(archive, out) == 1
        assert (out / "x" / "b" / "c.txt").read_text() == "ccc"


class TestExcerpts:
    def test_the_loudest_parts_that_do_not_overlap(self) -> None:
        samples = np.full(60 * 100, 0.02, np.float32)
        samples[15 * 100 : 20 * 100] = 0.5
        samples[40 * 100 : 50 * 100] = 0.9
        starts = [start // 100 for start in excerpts.loudest_starts(samples, 100)]
        assert starts[-1] == 40
        assert len(starts) == 3
        assert any(start <= 15 and start + 10 >= 20 for start in starts)
        assert all(later - earlier >= 10 for earlier, later in zip(starts, starts[1:], strict=False))

    def test_quiet_parts_are_left_out_and_short_stems_are_whole(self) -> None:
        samples = np.full(30 * 100, 1e-3, np.float32)
        assert excerpts.loudest_starts(samples, 100) == []
        samples[:500] = 0.1
        assert excerpts.loudest_starts(samples, 100) == [0]
        assert excerpts.loudest_starts(samples[:250], 100) == [0]

    def test_cutting_again_resumes(self, tmp_path: Path) -> None:
        musdb18(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        lost = tmp_path / "excerpts" / "test" / "Zeno - Signs"
        (lost / "bass-0.flac").unlink()
        lost.rename(lost.with_name(f".{lost.name}"))
        excerpts.cut_excerpts(tmp_path, Reporter())
        assert (lost / "bass-0.flac").is_file()
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        assert after.keys() == before.keys()
        assert {path for path in after if after[path] != before[path]} == set(lost.iterdir())

    def test_a_stem_that_was_missing_or_damaged_and_is_there_now_is_cut(self, tmp_path: Path) -> None:
        musdb18(tmp_path)
        tracks = [tmp_path / "train" / name for name in ("A Classic Education - NightOwl", "Leaf & Co - Ünder")]
        stems = [tracks[0] / "bass.wav", tracks[1] / "drums.wav"]
        whole = [stem.read_bytes() for stem in stems]
        shutil.rmtree(tmp_path / "excerpts")
        stems[0].unlink()
        stems[1].write_bytes(b"RIFF")
        excerpts.cut_excerpts(tmp_path, Reporter())
        assert rejected(read("musdb18", tmp_path)).keys() == {"bass.wav", "drums.wav", "vocals.wav"}
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        for stem, content in zip(stems, whole, strict=True):
            stem.write_bytes(content)
        # Who needs the room may have removed what was cut.
        (tracks[0] / "vocals.wav").unlink()
        prepared = prepare("musdb18", tmp_path, Reporter())
        assert rejected(read("musdb18", tmp_path)).keys() == {"vocals.wav"}
        assert prepared.counts["bass"] == {"train": 2, "valid": 1, "test": 1}
        assert prepared.counts["vocals"] == {"train": 2, "valid": 1, "test": 0}
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        assert {path.name for path in before.keys() - after.keys()} == {"bass.txt", "drums.txt"}
        assert {path.name for path in after.keys() - before.keys()} == {"bass-0.flac", "drums-0.flac"}
        # Also not the stem that is still silent.
        assert not [path for path in before.keys() & after.keys() if before[path] != after[path]]
        assert not list((tmp_path / "excerpts").rglob(".*"))


class TestPrepare:
    def test_from_the_archive_to_the_recipe(self, tmp_path: Path) -> None:
        pack(esc50(tmp_path / "made" / "ESC-50-master"), tmp_path / "ESC-50-master.zip", top=True)
        result = run("prepare", "esc50", "--root", tmp_path, "--quiet")
        assert result.exit_code == 0, result.output
        assert "ESC-50-master.zip: no checksum is published; unpacked 22 new file(s)" in result.output
        assert "1 rejected: is not listed in esc50.csv" in result.output
        line = next(line for line in result.output.splitlines() if line.startswith("data:"))
        config = RunConfig.model_validate(yaml.safe_load(line))
        assert config.data.path == str(tmp_path / "ESC-50-master")
        assert not check_data(config).problems

    def test_json_and_several_labels(self, tmp_path: Path) -> None:
        result = run("prepare", "fsd50k", "--root", fsd50k(tmp_path), "--json")
        value = json.loads(result.stdout)
        assert value["splits"] == {"train": 2, "valid": 2, "test": 2}
        assert value["counts"]["Dog"] == {"train": 1, "valid": 1, "test": 1}
        assert value["archives"]["FSD50K.dev_audio.z03"] == "not here"
        assert yaml.safe_load(value["recipe"])["data"]["label_separator"] == ","

    def test_an_archive_without_a_top_folder(self, tmp_path: Path) -> None:
        pack(vocalsound(tmp_path / "made" / "data"), tmp_path / "vs_release_16k.zip", top=False)
        prepared = prepare("vocalsound", tmp_path, Reporter())
        assert prepared.root == str(tmp_path / "vs_release_16k")
        assert prepared.splits == {"train": 8, "valid": 4, "test": 4}

    def test_songs_become_excerpts(self, tmp_path: Path) -> None:
        prepared = prepare("musdb18", musdb18(tmp_path), Reporter())
        assert prepared.counts["vocals"] == {"train": 2, "valid": 1, "test": 0}
        assert list(prepared.rejected.values()) == [1]

    def test_splits_that_will_be_drawn_are_called_so(self, tmp_path: Path) -> None:
        assert prepare("gtzan", gtzan(tmp_path), Reporter()).splits == {"drawn": 12}

    def test_a_checksum_that_differs_stops_before_unpacking(self, tmp_path: Path) -> None:
        pack(gtzan(tmp_path / "made"), tmp_path / "genres.tar.gz", top=False)
        result = run("prepare", "gtzan", "--root", tmp_path)
        assert isinstance(result.exception, DataError)
        assert "the makers published 5b3d6dddb579ab49814ab86dba69e7c7" in str(result.exception)
        assert not (tmp_path / "genres").exists()

    def test_what_is_not_here_and_where_to_get_it(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            prepare("nsynth", tmp_path, Reporter())
        assert "https://magenta.tensorflow.org/datasets/nsynth" in str(caught.value)
        assert "nsynth-valid.jsonwav.tar.gz: not here" in str(caught.value)
        with pytest.raises(DataError, match="no such folder; make it and put the archives of NSynth there"):
            prepare("nsynth", tmp_path / "none", Reporter())
        with pytest.raises(DataError, match="'esc5' is no official dataset; known are esc50, urbansound8k"):
            prepare("esc5", tmp_path, Reporter())

    def test_a_metadata_file_is_only_verified(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        table_ = medley_solos_db(tmp_path) / "Medley-solos-DB_metadata.csv"
        archives = (Archive(table_.name, hashlib.md5(table_.read_bytes()).hexdigest()),)
        dataset = replace(OFFICIAL["medley_solos_db"], archives=archives)
        monkeypatch.setattr("synthio.datasets.prepare.OFFICIAL", {"medley_solos_db": dataset})
        assert prepare("medley_solos_db", tmp_path, Reporter()).archives == {table_.name: "verified"}

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (musdb18(tmp_path) / "excerpts").rename(tmp_path / "moved")
        write(tmp_path / "excerpts", "a file where a folder belongs")
        with pytest.raises(DataError, match="cannot be read or written"):
            prepare("musdb18", tmp_path, Reporter())

    def test_split_zips_are_verified_and_the_command_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = [write(tmp_path / f"FSD50K.dev_audio.{end}", end) for end in ("zip", "z01")]
        archives = tuple(Archive(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in parts)
        dataset = replace(OFFICIAL["fsd50k"], archives=archives)
        monkeypatch.setattr("synthio.datasets.prepare.OFFICIAL", {"fsd50k": dataset})
        with pytest.raises(SynthioError, match=r"FSD50K.dev_audio.zip: verified; .* `zip -s 0 FSD50K.dev_audio.zip"):
            prepare("fsd50k", tmp_path, Reporter())
        prepared = prepare("fsd50k", fsd50k(tmp_path), Reporter())
        assert prepared.archives["FSD50K.dev_audio.zip"].endswith("and FSD50K.dev_audio/ is there")


def test_the_list_of_readers() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.output for name in ("folder", "table", "esc50"))
    value = json.loads(run("list", "--json").stdout)
    assert set(value["readers"]) == {*READERS, "auto"}
    for name in value["readers"]:
        assert DataConfig(path="x", reader=name).reader == name
    assert value["official"]["fsd50k"]["metric"] == "mAP"
    assert value["official"]["esc50"]["homepage"] == "https://github.com/karolpiczak/ESC-50"
