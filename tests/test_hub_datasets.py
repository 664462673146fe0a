"""`synthio data export`: what Hugging Face `datasets` holds, as files and a table that a run reads."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from command_line import synthio
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value

from synthio.config import DataConfig, RunConfig
from synthio.data_check import check_data
from synthio.datasets import read_rows
from synthio.datasets.hub import ExportConfig, Exported, export_dataset
from synthio.errors import DataError, MissingDependency
from synthio.progress import Reporter

CLASSES = ClassLabel(names=["cat", "dog"])
CLIPS = 12


def sound(number: int) -> bytes:
    stream = io.BytesIO()
    sf.write(stream, np.random.default_rng(number).uniform(-0.5, 0.5, 8_000), 16_000, format="FLAC")
    return stream.getvalue()


def dataset(clips: int = CLIPS, **columns: tuple[Any, list[Any]]) -> Dataset:
    """Clips with embedded bytes and columns of a kind and values each: a label unless others are given."""
    columns = columns or {"label": (CLASSES, [k % 2 for k in range(clips)])}
    audio = [{"bytes": sound(k), "path": f"{k}.flac"} for k in range(clips)]
    stored = {"bytes": Value("binary"), "path": Value("string")}
    kinds = Features({"audio": stored, **{name: kind for name, (kind, _) in columns.items()}})
    values = {"audio": audio, **{name: values for name, (_, values) in columns.items()}}
    return Dataset.from_dict(values, features=kinds).cast_column("audio", Audio(decode=False))


def export(saved: Dataset | DatasetDict, tmp_path: Path, **options: Any) -> Exported:
    saved.save_to_disk(str(tmp_path / "saved"))
    return export_dataset(str(tmp_path / "saved"), ExportConfig(tmp_path / "clips", **options), Reporter())


def save_as_named(audio: list[dict[str, Any]], folder: Path) -> None:
    """Clips that are stored as they are given: `save_to_disk` embeds the files that a column of audio names."""
    stored = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": CLASSES})
    Dataset.from_dict({"audio": audio, "label": [0] * len(audio)}, features=stored).save_to_disk(str(folder))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["audio"] = {"decode": False, "_type": "Audio"}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def table_of(found: Exported) -> list[dict[str, str]]:
    with Path(found.table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_splits_and_classes_become_a_table_that_data_check_reads(tmp_path: Path) -> None:
    whole = dataset(30)
    parts = {"train": range(14), "validation": range(14, 22), "test": range(22, 30)}
    saved = DatasetDict({name: whole.select(rows) for name, rows in parts.items()})
    saved.save_to_disk(str(tmp_path / "saved"))
    output = tmp_path / "clips"
    told = synthio("data", "export", tmp_path / "saved", "--output", output, "--json")
    assert told.returncode == 0 and told.stderr == ""
    found = json.loads(told.stdout)
    assert found["counts"] == {"cat": 15, "dog": 15} and found["splits"] == {"train": 14, "valid": 8, "test": 8}
    assert [(output / row["path"]).read_bytes() for row in csv.DictReader((output / "clips.csv").open())] == [
        sound(k) for k in range(30)
    ]
    (tmp_path / "recipe.yaml").write_text(f"data: {{path: {found['table']}, domain: pets}}\n")
    check = json.loads(synthio("data", "check", tmp_path / "recipe.yaml", "--json").stdout)
    assert check["splits"] == found["splits"] and not check["problems"] and not check["rejected"]


def test_a_dataset_without_splits_keeps_its_other_columns(tmp_path: Path) -> None:
    site = (Value("string"), [f"s{k // 4}" for k in range(CLIPS)])
    vector = (List(Value("float32")), [[0.5, 1.5]] * CLIPS)
    labels = (CLASSES, [k % 2 for k in range(CLIPS)])
    found = export(dataset(label=labels, site=site, embedding=vector), tmp_path)
    assert found.splits == {"drawn": CLIPS} and found.columns == ("site",) and found.label_separator is None
    rows = read_rows(DataConfig(path=found.table, group_column="site"))
    assert {row.group for row in rows} == {"s0", "s1", "s2"} and {row.split for row in rows} == {None}


def test_lists_of_classes_are_several_labels_and_hidden_ones_none(tmp_path: Path) -> None:
    labels = (List(CLASSES), [[0, 1] if k % 2 else [0] for k in range(CLIPS - 1)] + [[]])
    hidden = (CLASSES, [-1] * CLIPS)
    found = export(dataset(labels=labels, hidden=hidden), tmp_path)
    assert found.label_column == "labels" and found.counts == {"cat": 11, "dog": 5}
    rows = read_rows(DataConfig(path=found.table, label_separator=found.label_separator))
    assert [row.labels for row in rows] == [("cat",), ("cat", "dog")] * 5 + [("cat",), ()]
    assert {row["hidden"] for row in table_of(found)} == {""}


def test_one_of_several_labels_that_holds_the_separator_is_refused(tmp_path: Path) -> None:
    saved = dataset(label=(List(Value("string")), [["cat", "a|b"]] * CLIPS))
    with pytest.raises(DataError, match=r"'a\|b' is one of several values .* set --label-separator"):
        export(saved, tmp_path)
    assert not (tmp_path / "clips" / "clips.csv").exists()
    config = ExportConfig(tmp_path / "clips", label_separator=";")
    assert export_dataset(str(tmp_path / "saved"), config, Reporter()).counts == {"a|b": CLIPS, "cat": CLIPS}


def test_which_of_several_columns_is_the_label_is_asked(tmp_path: Path) -> None:
    saved = dataset(animal=(CLASSES, [0] * CLIPS), mood=(CLASSES, [1] * CLIPS), note=(Value("string"), ["x"] * CLIPS))
    with pytest.raises(DataError, match="which column is the label.*--label-column: 'animal', 'mood'"):
        export(saved, tmp_path)
    source = str(tmp_path / "saved")
    with pytest.raises(DataError, match="--label-column is 'sound'; columns that can be it: 'animal', 'mood', 'note'"):
        export_dataset(source, ExportConfig(tmp_path / "clips", label_column="sound"), Reporter())
    found = export_dataset(source, ExportConfig(tmp_path / "clips", label_column="mood"), Reporter())
    assert found.counts == {"dog": CLIPS} and found.columns == ("animal", "note")


def test_without_audio_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no audio column"):
        export(dataset().remove_columns("audio"), tmp_path)
    save_as_named([{"bytes": None, "path": str(tmp_path / f"{name}.wav")} for name in "ab"], tmp_path / "named")
    with pytest.raises(DataError, match="none of its 2 clips has audio"):
        export_dataset(str(tmp_path / "named"), ExportConfig(tmp_path / "clips"), Reporter())
    assert not (tmp_path / "clips").exists()


def test_splits_of_other_names_are_chosen(tmp_path: Path) -> None:
    saved = DatasetDict({"train": dataset(), "test": dataset(4), "unlabelled": dataset(2)})
    with pytest.raises(DataError, match="'unlabelled' is no split of ours.*--split"):
        export(saved, tmp_path)
    with pytest.raises(DataError, match="has no split 'dev'; found 'train', 'test', 'unlabelled'"):
        export_dataset(str(tmp_path / "saved"), ExportConfig(tmp_path / "clips", splits=("dev",)), Reporter())
    config = ExportConfig(tmp_path / "clips", splits=("train", "test"))
    assert export_dataset(str(tmp_path / "saved"), config, Reporter()).splits == {"train": CLIPS, "test": 4}
    with pytest.raises(DataError, match="is there already"):
        export_dataset(str(tmp_path / "saved"), config, Reporter())


def test_names_stay_in_the_folder_and_only_audio_is_copied(tmp_path: Path) -> None:
    """A dataset of others may call its clips anything, and name any file of this machine."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "beside.flac").write_bytes(sound(1))
    names = ["../../up.wav", "..\\..\\up.wav", "/etc/a b\n.wav", "..", "né.wav", None]
    audio: list[dict[str, Any]] = [{"bytes": sound(0), "path": name} for name in names]
    audio += [{"bytes": None, "path": str(tmp_path / name)} for name in ("secret.txt", "beside.flac", "gone.flac")]
    save_as_named(audio, tmp_path / "saved")
    found = export_dataset(str(tmp_path / "saved"), ExportConfig(tmp_path / "clips"), Reporter())
    written = sorted(path.relative_to(tmp_path / "clips") for path in (tmp_path / "clips").rglob("*") if path.is_file())
    paths = [row["path"] for row in table_of(found)]
    assert [name.partition("-")[2] for name in paths] == [
        "000000-up.wav",
        "000001-up.wav",
        "000002-a-b-.wav",
        "000003..",
        "000004-n-.wav",
        "000005.wav",
        "000006-secret.txt",
        "000007-beside.flac",
        "000008-gone.flac",
    ]
    assert found.missing == 2 and len(written) == len(paths) - 2 + 1
    check = check_data(RunConfig.model_validate({"data": {"path": found.table, "domain": "pets"}}), Reporter())
    assert {Path(clip.path).name for clip in check.rejected} == {"clip-000006-secret.txt", "clip-000008-gone.flac"}


def test_a_folder_of_data_files_is_read_as_one_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "files").mkdir()
    dataset().to_parquet(str(tmp_path / "files" / "train.parquet"))
    found = export_dataset(str(tmp_path / "files"), ExportConfig(tmp_path / "clips"), Reporter())
    assert found.counts == {"cat": 6, "dog": 6} and found.splits == {"drawn": CLIPS}


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match="empty: cannot be loaded by `datasets` .* expected a folder that `save_to_disk`"
    ):
        export_dataset(str(tmp_path / "empty"), ExportConfig(tmp_path / "clips"), Reporter())


def test_a_part_without_clips_and_a_damaged_folder_are_told(tmp_path: Path) -> None:
    """They ended in a traceback."""
    with pytest.raises(DataError, match=r"cannot be loaded by `datasets` \(IndexError.*whose parts all have clips"):
        export(DatasetDict({"train": dataset(), "test": dataset().select([])}), tmp_path)
    (tmp_path / "damaged").mkdir()
    dataset().save_to_disk(str(tmp_path / "damaged"))
    (tmp_path / "damaged" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded by `datasets` .KeyError"):
        export_dataset(str(tmp_path / "damaged"), ExportConfig(tmp_path / "clips"), Reporter())


def test_labels_need_something_between_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--label-separator is empty"):
        export(dataset(), tmp_path, label_separator="")


def test_a_saved_dataset_as_the_data_of_a_run_is_told_what_to_do(tmp_path: Path) -> None:
    for number, saved in enumerate((dataset(), DatasetDict({"train": dataset()}))):
        saved.save_to_disk(str(tmp_path / str(number)))
        with pytest.raises(DataError, match=f"`synthio data export .*{number} --output FOLDER`"):
            read_rows(DataConfig(path=str(tmp_path / str(number))))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthio.optional.find_spec", lambda module: None)
    monkeypatch.delitem(sys.modules, "datasets")
    with pytest.raises(MissingDependency, match=r"datasets is not installed.*pip install '.\[hub\]'"):
        export_dataset("a/b", ExportConfig(tmp_path), Reporter())
