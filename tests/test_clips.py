"""The first stage on real files: every format, every broken input, splits, copies, and what is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json
from reporters import RecordingReporter

from synthio import audio
from synthio.config import DataConfig, ImagineConfig, RunConfig, T2AConfig, TrainConfig
from synthio.context import StageContext
from synthio.data_check import DataCheck, check_data, clip_id
from synthio.datasets import read_rows, splits
from synthio.datasets.keys import data_fingerprint, row_content
from synthio.errors import DataError
from synthio.evaluation import evaluate
from synthio.pipeline import Pipeline
from synthio.plan import make_plan
from synthio.progress import Reporter
from synthio.records import SPLITS, Clip, RejectedClip
from synthio.stages.clips import collect_clips, tell_warnings
from synthio.store import StageFolder

RATE_HZ = 8_000


def sound(name: str, duration_s: float = 0.2, rate_hz: int = RATE_HZ) -> npt.NDArray[np.float32]:
    """Audio that depends on the name, so that no two files are copies; exact in 16 bits."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    noise = np.random.default_rng(seed).standard_normal(int(duration_s * rate_hz))
    return ((3000 * noise).astype(np.int16) / 32768).astype(np.float32)


def clip(path: Path, samples: npt.ArrayLike | None = None, rate_hz: int = RATE_HZ, **format_: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(
        str(path), sound(str(path), rate_hz=rate_hz) if samples is None else np.asarray(samples), rate_hz, **format_
    )
    return path


def dataset(root: Path, classes: tuple[str, ...] = ("dog", "cat"), per_split: int = 2) -> Path:
    for split in ("train", "valid", "test"):
        for label in classes:
            for index in range(per_split):
                clip(root / split / label / f"{label} {index}.wav")
    return root


def table_of(root: Path, header: str, rows: Iterable[str]) -> Path:
    """A table of new clips, one per row; ``rows`` are their cells after the path."""
    lines = [f"path,{header}"]
    for number, cells in enumerate(rows):
        clip(root / f"{number}.wav")
        lines.append(f"{number}.wav,{cells}")
    (root / "x.csv").write_text("\n".join(lines))
    return root / "x.csv"


def run_config(path: Path, seed: int = 0, **data: Any) -> RunConfig:
    return RunConfig(data=DataConfig(path=str(path), **data), seed=seed)


def collect(path: Path, run: Path, **data: Any) -> tuple[list[Clip], list[RejectedClip], dict[str, Any]]:
    folder = StageFolder(run, "clips", "key")
    clips = collect_clips(StageContext(run_config(path, **data), folder, Reporter()))
    lines = (folder.path / "rejected.jsonl").read_text(encoding="utf-8").split("\n")
    return clips, [RejectedClip.model_validate_json(line) for line in lines if line], folder.summary()


def problems(path: Path, run: Path, **data: Any) -> str:
    folder = StageFolder(run, "clips", "key")
    with pytest.raises(DataError) as caught:
        collect_clips(StageContext(run_config(path, **data), folder, Reporter()))
    assert not folder.done
    checked = check_data(run_config(path, **data)).problems
    assert checked
    assert all(problem in str(caught.value) for problem in checked)
    return str(caught.value)


def test_a_good_folder(tmp_path: Path) -> None:
    root = dataset(tmp_path / "my clips ü")
    clips, rejected, summary = collect(root, tmp_path / "run")
    assert len(clips) == 12
    assert rejected == []
    assert summary["splits"] == {"train": 4, "valid": 4, "test": 4}
    assert summary["classes"]["dog"] == {"train": 2, "valid": 2, "test": 2}
    assert (summary["clips"], summary["rejected"]) == (12, 0)
    assert summary["audio_s"] == pytest.approx(12 * 0.2)
    first = next(c for c in clips if c.path == str(root / "train" / "dog" / "dog 0.wav"))
    assert (first.labels, first.split, first.sample_rate_hz) == (("dog",), "train", RATE_HZ)
    assert first.duration_s == pytest.approx(0.2)
    assert first.id == clip_id("train/dog/dog 0.wav")
    assert StageFolder(tmp_path / "run", "clips", "key").manifest(Clip) == clips


@pytest.mark.parametrize("workers", [1, 3, 64])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dataset(tmp_path / "data")
    expected = collect(root, tmp_path / "run")[0]
    monkeypatch.setattr("os.cpu_count", lambda: workers)
    assert collect(root, tmp_path / "again")[0] == expected


def test_every_format_loads(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    dog = root / "train" / "dog"
    clip(dog / "8 bit.wav", subtype="PCM_U8")
    clip(dog / "24 bit.wav", subtype="PCM_24")
    clip(dog / "float64.wav", subtype="DOUBLE")
    clip(dog / "5.1.wav", np.stack([sound(f"channel {i}") for i in range(6)], axis=1))
    clip(dog / "high.wav", rate_hz=192_000)
    for suffix in ("mp3", "ogg", "flac", "aiff"):
        clip(dog / f"coded.{suffix}", rate_hz=16_000)
    clip(dog / "coded.opus", rate_hz=16_000, format="OGG", subtype="OPUS")
    clips, rejected, _ = collect(root, tmp_path / "run")
    assert rejected == []
    assert len(clips) == 22
    assert {c.sample_rate_hz for c in clips} == {8_000, 16_000, 192_000}


def test_broken_files_are_rejected_with_reasons_and_are_not_fatal(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    dog = root / "train" / "dog"
    nan = sound("nan")
    nan[3] = np.nan
    clip(dog / "silent.wav", np.zeros(800))
    clip(dog / "nan.wav", nan, subtype="FLOAT")
    clip(dog / "no samples.wav", np.zeros(0))
    (dog / "empty.wav").touch()
    (dog / "text.wav").write_text("not audio at all " * 20)
    (dog / "notes.txt").write_text("a note")
    whole = clip(dog / "truncated.wav").read_bytes()
    (dog / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (dog / "gone.wav").symlink_to(tmp_path / "gone")
    (dog / "b\udcff.wav").write_bytes(whole)
    clips, rejected, summary = collect(root, tmp_path / "run")
    assert len(clips) == 12
    assert summary["rejected"] == len(rejected) == 9
    reasons = {Path(r.path).name: r.reason for r in rejected}
    for name, reason in {
        "silent.wav": "silent",
        "nan.wav": "NaN",
        "no samples.wav": "no samples",
        "empty.wav": "0 bytes",
        "text.wav": "cannot be decoded",
        "notes.txt": "'.txt'",
        "truncated.wav": "truncated",
        "gone.wav": "no such file",
        "b\\udcff.wav": "not valid UTF-8",
    }.items():
        assert reason in reasons[name]
        assert str(root) not in reasons[name], "equal reasons are counted as one"


@pytest.mark.parametrize("sample", [{}, {"train": 4}])
@pytest.mark.parametrize("there", [0, 11])
def test_a_random_split_hides_no_unusable_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: dict[str, int], there: int
) -> None:
    """It said that no split has enough clips of every class, and nothing of the files that were not there."""
    monkeypatch.setattr(splits, "_DRAWS", 100)
    names = [f"{label}{number}.wav" for label in ("cat", "dog") for number in range(10)]
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{name},{name[:3]}\n" for name in names))
    for name in names[:there]:
        clip(tmp_path / name)
    found = check_data(run_config(tmp_path / "clips.csv", split_method="random", sample=sample))
    assert len(found.rejected) == 20 - there
    (problem,) = found.problems
    assert problem.startswith("no random split of 11 groups" if there else "no usable audio")
    assert f"{len(found.rejected)} file(s) rejected (no such file" in problem


def test_a_class_that_vanishes_is_fatal_and_says_why(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    for split in ("train", "test"):
        clip(root / split / "owl" / "quiet.wav", np.zeros(800))
    text = problems(root, tmp_path / "run")
    assert "class 'owl' has no usable clip: 2 file(s) rejected (is silent" in text


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    root = tmp_path / "data"
    copy = sound("the same")
    clip(root / "train" / "dog" / "a.wav", copy)
    clip(root / "test" / "dog" / "b.flac", copy, subtype="PCM_16")
    clip(root / "test" / "owl" / "c.wav")
    clip(root / "test" / "cow" / "d.wav")
    clip(root / "test" / "cow" / "e.wav")
    (root / "train" / "pig").mkdir()
    text = problems(root, tmp_path / "run", valid_fraction=0.0)
    for part in (
        "5 problem(s)",
        "1 training clip(s) hold the same audio",
        "class 'owl' has only one clip",
        "class 'cow' has no training clip (2 in valid and test)",
        "class 'pig' has no usable clip",
        "no valid clips",
    ):
        assert part in text


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert "no such file or folder" in problems(tmp_path / "none", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert "no usable audio" in problems(tmp_path / "empty", tmp_path / "run")
    (tmp_path / "texts" / "dog").mkdir(parents=True)
    (tmp_path / "texts" / "dog" / "a.wav").write_text("x" * 500)
    assert "1 file(s) rejected (cannot be decoded" in problems(tmp_path / "texts", tmp_path / "run")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    assert "only one class, 'dog'" in problems(dataset(tmp_path / "data", ("dog",)), tmp_path / "run")


def test_a_class_with_one_clip_is_named(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "a 'rare' \"one\"" / "x.wav")
    assert "class 'a \\'rare\\' \"one\"' has only one clip" in problems(root, tmp_path / "run")


@pytest.mark.parametrize(("kept", "missing"), [(("train", "valid"), "test"), (("valid", "test"), "train")])
def test_a_missing_split_is_told(tmp_path: Path, kept: tuple[str, str], missing: str) -> None:
    for split in kept:
        for label in ("dog", "cat"):
            clip(tmp_path / "data" / split / label / "a.wav")
            clip(tmp_path / "data" / split / label / "b.wav")
    assert f"no {missing} clips" in problems(tmp_path / "data", tmp_path / "run")


def test_valid_is_carved_out_of_train_and_test_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split, count in (("train", 10), ("test", 3)):
        for label in ("dog", "cat"):
            for index in range(count):
                clip(root / split / label / f"{index}.wav")
    clips, _, summary = collect(root, tmp_path / "run", valid_fraction=0.2)
    assert summary["splits"] == {"train": 16, "valid": 4, "test": 6}
    assert all(("/test/" in c.path) == (c.split == "test") for c in clips)


def test_data_without_splits_gets_them_whatever_the_order_of_files(tmp_path: Path) -> None:
    names = [f"{label}/{index}.wav" for label in ("dog", "cat", "cow") for index in range(10)]
    for name in names:
        clip(tmp_path / "data" / name)
    lines = [f"{name},{name[:3]}" for name in names]
    tables = [tmp_path / "data" / "a.csv", tmp_path / "data" / "b.csv"]
    for path, ordered in zip(tables, (lines, lines[::-1]), strict=True):
        path.write_text("\n".join(["path,label", *ordered]))
    by_folder, by_table, by_reversed = (
        {c.id: c.split for c in collect(path, tmp_path / f"run {index}")[0]}
        for index, path in enumerate([tmp_path / "data", *tables])
    )
    assert by_folder == by_table == by_reversed
    assert sorted(by_folder.values()).count("train") == 15


@pytest.mark.parametrize("sample", [{}, {"train": 8}])
def test_copies_never_straddle_splits_that_are_drawn(tmp_path: Path, sample: dict[str, int]) -> None:
    """Also where only some of the clips are drawn."""
    for label in ("dog", "cat"):
        for index in range(6):
            samples = sound(f"{label} {index}")
            clip(tmp_path / "data" / label / f"{index}.wav", samples, subtype="PCM_16")
            clip(tmp_path / "data" / label / f"{index} copy.flac", samples, subtype="PCM_16")
    clips, _, _ = collect(tmp_path / "data", tmp_path / "run", sample=sample)
    homes = {c.sha256: {d.split for d in clips if d.sha256 == c.sha256} for c in clips}
    assert len(homes) == 12 or sample
    assert all(len(home) == 1 for home in homes.values())


def test_groups_never_straddle_splits_that_are_drawn(tmp_path: Path) -> None:
    lines = ["path,label,group"]
    for label in ("dog", "cat"):
        for index in range(12):
            clip(tmp_path / f"{label}{index}.wav")
            lines.append(f"{label}{index}.wav,{label},animal {index // 3}")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    clips, _, summary = collect(tmp_path / "x.csv", tmp_path / "run")
    homes = {c.group: {d.split for d in clips if d.group == c.group} for c in clips}
    assert len(homes) == 4
    assert all(len(home) == 1 for home in homes.values())
    assert all(summary["splits"].values())


@pytest.mark.parametrize("split", ["valid", "test"])
def test_leaking_copies_are_listed_or_dropped(tmp_path: Path, split: str) -> None:
    root = dataset(tmp_path / "data", per_split=3)
    leak = sound("leak")
    train = clip(root / "train" / "dog" / "leak.wav", leak, subtype="PCM_16")
    test = clip(root / split / "dog" / "other name.flac", np.stack([leak, leak], axis=1), subtype="PCM_16")
    text = problems(root, tmp_path / "run")
    assert f"{str(train)!r} = {str(test)!r} ({split})" in text
    assert "data.duplicates=drop" in text
    clips, rejected, _ = collect(root, tmp_path / "run", duplicates="drop")
    assert str(train) not in {c.path for c in clips}
    assert str(test) in {c.path for c in clips}
    assert [(r.path, str(test) in r.reason) for r in rejected] == [(str(train), True)]


def test_dropping_the_last_training_clip_of_a_class_is_a_problem(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "owl" / "a.wav", sound("owl"))
    clip(root / "test" / "owl" / "b.wav", sound("owl"))
    clip(root / "test" / "owl" / "c.wav")
    assert "class 'owl' has no training clip" in problems(root, tmp_path / "run", duplicates="drop")


def test_clips_without_labels_or_splits_are_named(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for split in ("train", "valid", "test"):
        for label in ("dog", "cat"):
            clip(tmp_path / split / f"{label}.wav")
            lines.append(f"{split}/{label}.wav,{label},{split}")
    clip(tmp_path / "bare.wav")
    clip(tmp_path / "homeless.wav")
    (tmp_path / "x.csv").write_text("\n".join([*lines, "bare.wav,,train", "homeless.wav,dog,"]))
    text = problems(tmp_path / "x.csv", tmp_path / "run")
    assert "1 clip(s) without a label: 'bare.wav'" in text
    assert "1 clip(s) have no split while others do: 'homeless.wav'" in text


def test_several_labels_per_clip(tmp_path: Path) -> None:
    lines = ["path,label"]
    for index in range(12):
        clip(tmp_path / f"{index}.wav")
        lines.append(f"{index}.wav," + ("dog_bark|rain" if index % 2 else "rain|'wind' & \"hail\""))
    (tmp_path / "x.tsv").write_text("\n".join(lines).replace(",", "\t"))
    clips, _, summary = collect(tmp_path / "x.tsv", tmp_path / "run", label_separator="|")
    assert sum(summary["classes"]["rain"].values()) == 12
    assert {c.labels for c in clips} == {("dog_bark", "rain"), ("rain", "'wind' & \"hail\"")}


def test_long_clips_count_as_long_as_a_run_uses_them(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "dog" / "long.wav", sound("long", 3.0))
    config = run_config(root, max_duration_s=1.0)
    clips = collect_clips(StageContext(config, StageFolder(tmp_path / "run", "clips", "key"), Reporter()))
    assert max(c.duration_s for c in clips) == 1.0
    check = check_data(config)
    assert (check.duration_min_s, check.duration_median_s, check.duration_max_s) == pytest.approx((0.2, 0.2, 3.0))
    assert any("1 clip(s) are cropped" in warning for warning in check.warnings)


def test_the_check_warns_of_what_a_run_survives(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", ("dog", "Dog", "owl"), per_split=6)
    for path in sorted((root / "train" / "owl").iterdir())[:4]:
        path.unlink()
    for path in (root / "valid" / "owl").iterdir():
        path.unlink()
    (root / "valid" / "owl").rmdir()
    clip(root / "train" / "dog" / "other rate.wav", rate_hz=48_000)
    clip(root / "train" / "dog" / "blip.wav", sound("blip", 0.05))
    clip(root / "train" / "dog" / "x.wav", sound("twice"))
    clip(root / "train" / "Dog" / "y.wav", sound("twice"))
    clip(root / "valid" / "dog" / "z.wav", sound("both"))
    clip(root / "test" / "dog" / "z.wav", sound("both"))
    listener = RecordingReporter()
    check = check_data(run_config(root))
    folder = StageFolder(tmp_path / "run", "clips", "key")
    clips = collect_clips(StageContext(run_config(root), folder, listener))
    tell_warnings(run_config(root), clips, folder, listener)
    assert check.problems == ()
    assert list(check.warnings) == listener.warnings
    for part in (
        "fewer than 5 training clips in 1 class(es): 'owl' (2)",
        "no valid clip in 1 class(es), so weights are selected without these classes: 'owl'",
        "classes that read alike: 'Dog', 'dog'",
        "48000 Hz (1); resample all clips to the lowest rate, new recordings too",
        "1 clip(s) under 0.1 s: 'train/dog/blip.wav'",
        "1 clip(s) repeat the audio of another clip in the same split",
        "1 clip(s) of the test are in valid too",
        "1 piece(s) of audio have different labels",
    ):
        assert any(part in warning for warning in check.warnings), part


def test_a_test_of_one_class_stops_a_run_and_says_why(tmp_path: Path) -> None:
    """Who always says `normal` would score 100%."""
    rows = [f"normal,m{k % 6}" for k in range(24)] + ["fault,m0"] * 4
    check = check_data(run_config(table_of(tmp_path, "label,group", rows), seed=1))
    assert not check.counts["fault"]["test"], "this seed shall put m0 elsewhere"
    (problem,) = check.problems
    assert "every test clip is 'normal': a classifier that always says so scores 100%" in problem
    assert "'fault' is all of group 'm0': add clips of other groups" in problem
    root = dataset(tmp_path / "data")
    for path in (root / "test" / "cat").iterdir():
        path.unlink()
    (root / "test" / "cat").rmdir()
    (problem,) = check_data(run_config(root)).problems
    assert "every test clip is 'dog'" in problem and "put clips of 'cat' into the test too" in problem


def test_folders_inside_class_folders_are_told_of(tmp_path: Path) -> None:
    for label in ("normal", "abnormal"):
        for machine in range(6):
            for number in range(2):
                clip(tmp_path / "data" / label / f"id_{machine}" / f"{number}.wav")
    check = check_data(run_config(tmp_path / "data"))
    (told,) = [warning for warning in check.warnings if "subfolders" in warning]
    assert "hold folders of the same names ('id_0', 'id_1'" in told and "data.subfolders=groups" in told
    assert not check.problems and not any(check.groups.values())
    grouped = check_data(run_config(tmp_path / "data", subfolders="groups"))
    assert sum(grouped.groups.values()) == 6 and not grouped.problems
    assert not any("subfolders" in warning for warning in grouped.warnings)
    own = dataset(tmp_path / "own")
    clip(own / "train" / "dog" / "rex" / "a.wav")
    assert any(
        "hold folders ('rex'), whose names are not read" in warning for warning in check_data(run_config(own)).warnings
    )


def test_tables_beside_class_folders_are_told_not_to_be_read(tmp_path: Path) -> None:
    """The folders were sites, and the classes stood in the table."""
    for number in range(24):
        clip(tmp_path / "data" / ("north", "south")[number % 2] / f"{number}.wav")
    (tmp_path / "data" / "Export 2023.csv").write_bytes("DATEI;GERÄT\n".encode("cp1252"))
    (tmp_path / "data" / "._Export 2023.csv").write_bytes(b"\0")
    assert any(
        "the table(s) in it are not read: 'Export 2023.csv'; if one says what the clips are, set data.path" in warning
        for warning in check_data(run_config(tmp_path / "data")).warnings
    )
    splits = dataset(tmp_path / "splits")
    (splits / "notes.csv").write_text("a,b\n1,2\n")
    assert not any("not read" in warning for warning in check_data(run_config(splits)).warnings)


def test_a_folder_of_recordings_with_their_table_is_told_to_name_the_table(tmp_path: Path) -> None:
    """Only `data check` named it, as a warning: a run said that every recording was in no class folder."""
    table_of(tmp_path, "label", ["dog", "cat"])
    (problem,) = check_data(run_config(tmp_path)).problems
    assert problem.endswith("no class folder, but 'x.csv'; if a table says what the clips are, set data.path to it")


def test_a_clip_that_is_silent_where_it_is_heard_is_rejected(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "dog" / "late.wav", np.concatenate([np.zeros(RATE_HZ), sound("late", 1.0)]))
    clip(root / "train" / "dog" / "stuck.wav", np.full(RATE_HZ, 0.5))
    rejected = {Path(r.path).name: r.reason for r in check_data(run_config(root, max_duration_s=1.0)).rejected}
    assert rejected["late.wav"] == "is silent in its first 1 s, and no more is used (data.max_duration_s)"
    assert "is silent once mixed to mono" in rejected["stuck.wav"]
    assert set(rejected) == {"late.wav", "stuck.wav"}


def test_channels_that_cancel_out_are_not_called_silence(tmp_path: Path) -> None:
    """The left is the right upside down: the file is loud, and only its mix to mono is silent."""
    root = dataset(tmp_path / "data")
    for duration_s in (0.5, 3.0):
        samples = sound("stereo", duration_s)
        clip(root / "train" / "dog" / f"opposed {duration_s}.wav", np.stack([samples, -samples], axis=1))
    check = check_data(run_config(root, max_duration_s=1.0))
    assert {r.reason for r in check.rejected} == {audio.CANCELLED} and len(check.rejected) == 2


def test_clips_in_other_units_than_full_scale_are_told_of(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    assert not any("full scale" in warning for warning in check_data(run_config(root)).warnings)
    clip(root / "train" / "dog" / "pascal.wav", 300 * sound("pascal") / np.abs(sound("pascal")).max(), subtype="FLOAT")
    assert any("1 clip(s) go beyond full scale (peak 300" in w for w in check_data(run_config(root)).warnings)


def test_ultrasound_is_refused_or_told_of(tmp_path: Path) -> None:
    """Tones of 25 kHz passed every check, and classifiers learnt from silence."""
    root, time_s = dataset(tmp_path / "data"), np.arange(48_000) / 96_000
    call = 0.5 * np.sin(2 * np.pi * 25_000 * time_s) * np.hanning(48_000)
    clip(root / "train" / "dog" / "bat.wav", call, rate_hz=96_000)
    clip(root / "train" / "dog" / "bat and owl.wav", call + 0.1 * np.sin(2 * np.pi * 400 * time_s), rate_hz=96_000)
    check = check_data(run_config(root))
    assert [(Path(r.path).name, r.reason[:25]) for r in check.rejected] == [("bat.wav", "is silent at 16000 Hz: al")]
    assert any("1 clip(s) have most of their energy above 8 kHz" in warning for warning in check.warnings)


def test_quiet_clips_are_told_of(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    assert not any("quiet" in warning for warning in check_data(run_config(root)).warnings)
    # One of them is not.
    for path in sorted(root.rglob("*.wav"))[1:]:
        samples, rate_hz = sf.read(path)
        sf.write(path, 0.01 * samples, rate_hz, subtype="FLOAT")
    assert any("the clips are quiet" in warning for warning in check_data(run_config(root)).warnings)


def test_quiet_background_beside_loud_events_is_no_reason_to_clip_these(tmp_path: Path) -> None:
    """Four clips of five are of a quiet background, and every event reaches full scale."""
    for number in range(40):
        clip(tmp_path / "data" / "background" / f"{number}.wav", 0.01 * sound(f"background {number}"), subtype="FLOAT")
    for number in range(10):
        event = sound(f"event {number}")
        clip(tmp_path / "data" / "knock" / f"{number}.wav", event / np.abs(event).max(), subtype="FLOAT")
    assert not any("quiet" in warning for warning in check_data(run_config(tmp_path / "data")).warnings)


@pytest.mark.parametrize(
    ("loudest", "advice"),
    [
        (0.06, "multiply all clips, new ones too, by one number, at most 16.6"),
        (0.9, "no one number mends that, as the loudest reach 0.9; where loudness is no part of what a class is"),
    ],
)
def test_the_advice_for_quiet_clips_makes_none_go_beyond_full_scale(
    tmp_path: Path, loudest: float, advice: str
) -> None:
    (told,) = level_warnings_of(tmp_path, loudest, 0.01)
    assert "the clips are quiet" in told and advice in told


def test_the_advice_for_quiet_clips_is_one_that_helps(tmp_path: Path) -> None:
    """They were to be multiplied by at most 1, and by one number as well as divided by one."""
    (told,) = level_warnings_of(tmp_path / "as loud", 0.95, 0.098)
    assert "no one number mends that, as the loudest reach 0.95" in told
    (told,) = level_warnings_of(tmp_path / "other units", 300, 0.01)
    assert "beyond full scale (peak 300" in told and "divide all clips" in told


def level_warnings_of(folder: Path, loudest: float, others: float) -> list[str]:
    """Of twenty clips with these peaks."""
    for number in range(20):
        noise = sound(str(number)) / np.abs(sound(str(number))).max()
        clip(folder / "ab"[number % 2] / f"{number}.wav", (others if number else loudest) * noise, subtype="FLOAT")
    return [warning for warning in check_data(run_config(folder)).warnings if "full scale" in warning]


def test_classes_that_accuracy_hardly_sees_are_told_of(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    for index in range(20):
        clip(root / "train" / "dog" / f"more {index}.wav", sound(f"more {index}"))
    config = run_config(root)
    assert any("of the training clips are 'dog': who always says so" in w for w in check_data(config).warnings)
    balanced = RunConfig.model_validate(config.model_dump() | {"train": {"metric": "balanced accuracy"}})
    assert not any("who always says so" in warning for warning in check_data(balanced).warnings)


@pytest.mark.parametrize(("dogs", "told"), [(6, False), (7, True), (8, True)])
def test_from_which_share_on_a_class_is_most_of_the_data(dogs: int, told: bool, tmp_path: Path) -> None:
    """Data of which 79% was normal was let pass."""
    rows = [f"{'dog' if k % 10 < dogs else 'cat'},{split}" for split in SPLITS for k in range(10)]
    warnings = check_data(run_config(table_of(tmp_path, "label,split", rows))).warnings
    assert any(f"{dogs}0% of the training clips are 'dog'" in warning for warning in warnings) == told


def test_a_test_clip_with_several_labels_makes_the_training_no_less_imbalanced(tmp_path: Path) -> None:
    """What trains on one label per clip is told what single-label data is told."""
    rows = {f"{index}.wav": ("train", "dog" if index else "cat") for index in range(15)}
    rows |= {f"held {split} {label}.wav": (split, label) for split in SPLITS[1:] for label in ("dog", "cat")}
    lines: list[dict[str, object]] = [
        {"path": name, "split": split, "label": label} for name, (split, label) in rows.items()
    ]
    lines.append({"path": "both.wav", "split": "test", "label": ["dog", "cat"]})
    for line in lines:
        clip(tmp_path / str(line["path"]))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    check = check_data(run_config(tmp_path / "x.jsonl"))
    assert any("93% of the training clips are 'dog': who always" in warning for warning in check.warnings)


def test_warnings_are_kept_for_the_report_and_told_by_each_run(tmp_path: Path) -> None:
    config = run_config(dataset(tmp_path / "data")).model_copy(update={"run_folder": tmp_path / "run"})
    broken = tmp_path / "data" / "train" / "dog" / "broken.wav"
    broken.write_bytes(b"")
    told = []
    for _ in range(2):
        listener = RecordingReporter()
        pipeline = Pipeline(config, listener)
        assert pipeline.clips() == pipeline.clips()
        told.append(listener.warnings)
    kept, rejected = pipeline.folders.clips.summary()["warnings"], pipeline.folders.clips.path / "rejected.jsonl"
    assert told[0] == told[1] and kept
    (found,) = pipeline.folders.clips.rows("rejected.jsonl", RejectedClip)
    unusable = f"1 file(s) cannot be used: {found.reason}: {broken}"
    assert told[0][: 1 + len(kept)] == [f"{unusable}; {rejected} has all", *kept]
    assert make_plan(config.model_copy(update={"run_folder": tmp_path / "new"})).warnings[:1] == (unusable,)


def test_one_file_less_that_redraws_the_splits_is_told(tmp_path: Path) -> None:
    """Scores before and after were compared, and clips had changed between training and test."""
    root = tmp_path / "data"
    for number in range(40):
        clip(root / ("dog", "cat")[number % 4 > 0] / f"{number}.wav")

    def collected(config: RunConfig) -> tuple[dict[str, str], list[str]]:
        listener = RecordingReporter()
        splits = {own.id: own.split for own in Pipeline(config, listener).clips()}
        return splits, [warning for warning in listener.warnings if "the last run" in warning]

    config = run_config(root).model_copy(update={"run_folder": tmp_path / "run"})
    before, told = collected(config)
    assert not told
    # Other splits of the same files were asked for.
    assert not collected(config.model_copy(update={"seed": 1}))[1]
    shutil.rmtree(tmp_path / "run")
    collected(config)
    (root / "cat" / "3.wav").unlink()
    after, told = collected(config)
    moved = sum(before[name] != split for name, split in after.items())
    assert moved and [warning.split(",")[0] for warning in told] == [
        f"the clips are not those of the last run in this folder: {moved} of 39 that both have are in another split"
    ]
    assert collected(config) == (after, [])


def test_the_splits_of_a_run_are_kept_by_its_manifest(tmp_path: Path) -> None:
    """As docs/datasets.md says."""
    root = tmp_path / "drawn"
    for number in range(20):
        clip(root / ("dog", "cat")[number % 2] / f"{number}.wav")
    pipeline = Pipeline(run_config(root).model_copy(update={"run_folder": tmp_path / "run"}), Reporter())
    splits = {own.sha256: own.split for own in pipeline.clips()}
    kept = tmp_path / "clips.jsonl"
    shutil.copy(pipeline.folders.clips.path / "manifest.jsonl", kept)
    again = Pipeline(
        run_config(kept, label_column="labels").model_copy(update={"run_folder": tmp_path / "again"}), Reporter()
    )
    assert {own.sha256: own.split for own in again.clips()} == splits


def test_groups_that_the_data_itself_splits_are_warned_of(tmp_path: Path) -> None:
    lines = ["path,label,split,group"]
    for split in ("train", "valid", "test"):
        for label in ("dog", "cat"):
            clip(tmp_path / f"{split}{label}.wav")
            lines.append(f"{split}{label}.wav,{label},{split},rex")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    check = check_data(run_config(tmp_path / "x.csv"))
    assert check.problems == ()
    assert any("1 group(s) in training and elsewhere" in warning for warning in check.warnings)


def test_the_check_is_plain_values(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    (root / "train" / "dog" / "x.txt").touch()
    check = check_data(run_config(root))
    assert check.counts["cat"] == {"train": 2, "valid": 2, "test": 2}
    assert check.sample_rates_hz == {RATE_HZ: 12}
    assert check.splits == {"train": 4, "valid": 4, "test": 4}
    assert json.loads(to_json(check))["rejected"][0]["path"].endswith("x.txt")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ids_are_safe_on_disk_and_in_html(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{8}", clip_id(name))
    assert len(clip_id(name)) <= 49


def test_ids_are_stable_and_tell_names_apart() -> None:
    # A change here renames every clip of every run ever made.
    assert clip_id("train/dog/Bark 01.wav") == "bark-01-53f912cf"
    names = ["a/x.wav", "b/x.wav", "a/x.flac", "a/X.wav", "犬.wav", "猫.wav", "a/x.wav#2"]
    assert len({clip_id(name) for name in names}) == len(names)


def test_names_that_would_share_an_id_are_told(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    for name in ("29256/x.wav", "44763/x.wav"):  # a collision of the 32-bit hash
        clip(root / name)
    lines = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.wav"))]
    (root / "x.csv").write_text("\n".join(["path,label", *lines]))
    assert "names with the same id x-8d676359: '29256/x.wav', '44763/x.wav'" in problems(
        root / "x.csv", tmp_path / "run"
    )


def test_the_audio_hash_ignores_the_container_but_not_the_audio(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    samples = sound("x")
    for suffix in ("wav", "flac", "aiff", "au"):
        clip(root / "train" / "dog" / f"x.{suffix}", samples, subtype="PCM_16")
    altered = samples.copy()
    altered[5] += 2 / 32768
    clip(root / "train" / "dog" / "altered.wav", altered, subtype="PCM_16")
    clips, _, _ = collect(root, tmp_path / "run")
    hashes = {Path(c.path).name: c.sha256 for c in clips if "/x." in c.path or "altered" in c.path}
    assert len({hashes[f"x.{suffix}"] for suffix in ("wav", "flac", "aiff", "au")}) == 1
    assert hashes["altered.wav"] != hashes["x.wav"]


def test_the_fingerprint_sees_clips_of_one_size_and_time_that_change_places(tmp_path: Path) -> None:
    """As those of an unpacked archive are; seeds of two versions of the data were compared under one verdict."""
    root = dataset(tmp_path / "data")
    one, other = sorted(root.rglob("*.wav"))[:2]
    other.write_bytes(one.read_bytes()[::-1])
    for path in (one, other):
        os.utime(path, ns=(10**18, 10**18))
    before, cells = data_fingerprint(run_config(root)), row_content(run_config(root))
    one.rename(tmp_path / "held")
    other.rename(one)
    (tmp_path / "held").rename(other)
    assert data_fingerprint(run_config(root)) != before
    assert row_content(run_config(root)) == cells


def test_the_fingerprint_sees_what_changes_the_result_and_nothing_else(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    first = data_fingerprint(run_config(root))
    assert first == data_fingerprint(run_config(root, domain="animals"))
    assert first != data_fingerprint(run_config(root, seed=1))
    assert first != data_fingerprint(run_config(root, max_duration_s=1.0))
    path = next(root.rglob("*.wav"))
    path.write_bytes(path.read_bytes() + b"\0\0")
    second = data_fingerprint(run_config(root))
    assert second != first
    path.unlink()
    third = data_fingerprint(run_config(root))
    assert third not in {first, second}
    path.symlink_to(tmp_path / "gone")
    assert data_fingerprint(run_config(root)) not in {first, second, third}
    with pytest.raises(DataError):
        data_fingerprint(run_config(tmp_path / "none"))


def test_the_fingerprint_sees_labels_in_a_table(tmp_path: Path) -> None:
    clip(tmp_path / "a.wav")
    keys = []
    for text in ("path,label\na.wav,dog", "path,label\na.wav,cat", "path,label,note\na.wav,cat,x"):
        (tmp_path / "x.csv").write_text(text)
        keys.append(data_fingerprint(run_config(tmp_path / "x.csv")))
    assert keys[0] != keys[1] == keys[2]


# ------------------------------------------------------------------------------------------------------------ sampling


def sampled(root: Path, rows: list[tuple[str, str, str]], **sample: int | str) -> DataCheck:
    """Check a table of (file, label, split)."""
    table = root / "clips.csv"
    table.write_text("path,label,split\n" + "".join(f"{p},{label},{split}\n" for p, label, split in rows))
    data = {"path": str(table), "duplicates": "drop", "sample": sample}
    return check_data(RunConfig.model_validate({"run_folder": root / "run", "data": data}))


def write_noise(path: Path, seed: int) -> None:
    sf.write(path, 0.1 * np.random.default_rng(seed).normal(size=1600), 16_000)


def test_a_drawn_file_that_is_broken_is_replaced_and_undrawn_ones_stay_closed(tmp_path: Path) -> None:
    rows = []
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        for label in ("a", "b"):
            for k in range(count):
                name = f"{split}-{label}-{k}.wav"
                rows.append((name, label, split))
                # Half of the training files are no audio: those that are drawn must be replaced.
                if split == "train" and k % 2:
                    (tmp_path / name).write_bytes(b"no audio")
                else:
                    write_noise(tmp_path / name, len(rows))
    found = sampled(tmp_path, rows, train=8, test=4)
    assert found.problems == ()
    assert found.splits == {"train": 8, "valid": 8, "test": 4}
    assert 0 < len(found.rejected) <= 12
    assert sum(found.sample_rates_hz.values()) == 20


def test_a_drawn_training_copy_of_a_test_clip_is_replaced(tmp_path: Path) -> None:
    rows = []
    for label in ("a", "b"):
        for split, count in (("train", 6), ("valid", 2), ("test", 3)):
            for k in range(count):
                name = f"{split}-{label}-{k}.wav"
                rows.append((name, label, split))
                # The first training clips hold what the test clips hold.
                write_noise(tmp_path / name, 100 + k if split == "test" or k < 3 else len(rows))
    found = sampled(tmp_path, rows, train=6)
    assert found.problems == ()
    assert found.splits["train"] == 6
    assert found.rejected and all("same audio" in clip.reason for clip in found.rejected)
    assert f"{len(found.rejected)} training clip(s) dropped: valid or test holds the same audio" in found.warnings


def test_clips_without_a_label_still_stop_a_sampled_run(tmp_path: Path) -> None:
    rows = [(f"{split}-{label}-{k}.wav", label, split) for split in ("train", "valid", "test") for label in ("a", "b")
            for k in range(3)]  # fmt: skip
    rows.append(("bare.wav", "", "train"))
    for index, (name, _, _) in enumerate(rows):
        write_noise(tmp_path / name, index)
    found = sampled(tmp_path, rows, train=4)
    assert any("without a label" in problem for problem in found.problems)


def test_a_draw_that_small_classes_cannot_fill_is_told_of(tmp_path: Path) -> None:
    """Other classes took their places, and nobody was told."""
    rows = [
        (f"{split}-{label}-{k}.wav", label, split)
        for split, counts in (("train", (12, 12, 12, 3)), ("valid", (2,) * 4), ("test", (2,) * 4))
        for label, count in zip("abcd", counts, strict=True)
        for k in range(count)
    ]
    for index, (name, _, _) in enumerate(rows):
        write_noise(tmp_path / name, index)
    told = [warning for warning in sampled(tmp_path, rows, train=24, shape="balanced").warnings if "shape" in warning]
    assert told == [
        "data.sample.shape=balanced cannot be drawn: 1 class(es) have fewer training clips than it asks for: 'd' (3 of "
        "6); other classes fill their places: of the most frequent class 7 are drawn, of the rarest 3"
    ]
    for settings_ in ({"train": 12, "shape": "balanced"}, {"train": 24}):
        assert not any("shape" in warning for warning in sampled(tmp_path, rows, **settings_).warnings)


def test_a_class_of_which_one_clip_was_drawn_is_no_error(tmp_path: Path) -> None:
    """The data has more of it; a low-resource draw may well have one."""
    rows = [
        (f"{label}{k}.wav", label, split) for split in ("train", "valid", "test") for label in "ab" for k in range(4)
    ]
    rows = [(f"{split}-{name}", label, split) for name, label, split in rows]
    rows += [("rare-1.wav", "rare", "train"), ("rare-2.wav", "rare", "train")]
    for index, (name, _, _) in enumerate(rows):
        write_noise(tmp_path / name, index)
    found = sampled(tmp_path, rows, train=5)
    assert found.counts["rare"] == {"train": 1, "valid": 0, "test": 0}
    assert found.problems == ()
    whole = check_data(run_config(tmp_path / "clips.csv"))
    assert whole.problems == ()
    (tmp_path / "rare-2.wav").write_bytes(b"nothing")
    broken = check_data(run_config(tmp_path / "clips.csv")).problems
    assert any("class 'rare' has only one clip" in problem for problem in broken)


def test_what_the_recipe_asks_of_finished_clips_is_told_as_it_is_today(tmp_path: Path) -> None:
    """The word on `data.domain` was kept with the clips, and told for good, also after it was set."""
    root = dataset(tmp_path / "data")
    folder = StageFolder(tmp_path / "run", "clips", "key")
    clips = collect_clips(StageContext(run_config(root), folder, Reporter()))

    def told(config: RunConfig) -> str:
        listener = RecordingReporter()
        tell_warnings(config, clips, folder, listener)
        return "\n".join(listener.warnings)

    assert "data.domain is the default" in told(run_config(root))
    assert "data.domain is the default" not in told(run_config(root, domain="barks"))


def test_a_small_test_split_and_unknown_sounds_are_warned_of(tmp_path: Path) -> None:
    """What an 80-clip user must hear before a run, not after."""
    check = check_data(run_config(dataset(tmp_path / "small", per_split=4)))
    # 1.96 sqrt(0.2 / 8)
    assert any("8 test clip(s): a difference under about 31 points cannot be shown" in w for w in check.warnings)
    assert any("data.domain is the default 'sounds'" in warning for warning in check.warnings)
    assert not any("above 16 kHz" in warning for warning in check.warnings)
    balanced = run_config(tmp_path / "small").model_copy(update={"train": TrainConfig(metric="balanced accuracy")})
    found = check_data(balanced).warnings
    # 1.96 sqrt(0.2 / 4 + 0.2 / 4) / 2
    assert any("8 test clip(s): a difference under about 31 points cannot be shown" in w for w in found)
    assert any("fewer than 5 test clips in 2 class(es): 'cat' (4), 'dog' (4); in balanced accuracy" in w for w in found)
    large = check_data(run_config(dataset(tmp_path / "large", per_split=40), domain="barks"))
    assert not any("cannot be shown" in w or "data.domain" in w for w in large.warnings)
    clip(tmp_path / "small" / "train" / "dog" / "studio.wav", rate_hz=48_000)
    found = check_data(run_config(tmp_path / "small")).warnings
    assert any(warning.startswith("1 clip(s) have a rate above 16 kHz") for warning in found)


def test_too_few_groups_are_named_and_not_the_fractions(tmp_path: Path) -> None:
    table = table_of(tmp_path, "label,group", (f"{'ab'[k % 2]},{'xy'[k % 4 // 2]}" for k in range(12)))
    (problem,) = check_data(run_config(table)).problems
    assert problem.startswith("2 group(s) cannot fill train, valid and test, as groups stay whole")


def test_the_cure_for_a_missing_split_is_one(tmp_path: Path) -> None:
    """Eight recorders of one class each, two per class, cannot fill three splits at the usual fractions."""
    table = table_of(tmp_path, "label,group", (f"{'abcd'[k % 4]},{k % 8}" for k in range(24)))
    told = "\n".join(check_data(run_config(table)).problems)
    assert "no valid clips; groups stay whole, and a class has 2 groups: 3 or more are needed" in told
    assert "above 0" not in told
    zero = check_data(run_config(table, valid_fraction=0)).problems
    assert any("no valid clips" in p and "set data.valid_fraction above 0" in p for p in zero)


def test_a_clip_of_less_than_a_sample_is_rejected_before_it_stops_a_run(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "dog" / "click.wav", [0.5, -0.5], rate_hz=48_000)
    (rejected,) = check_data(run_config(root)).rejected
    assert rejected.reason == "is shorter than one sample at 16000 Hz (2 samples at 48000 Hz)"


def test_labels_that_are_lists_or_numbers_are_warned_of(tmp_path: Path) -> None:
    def told(*labels: str, **data: Any) -> str:
        table = table_of(tmp_path, "label", (f'"{labels[k % len(labels)]}"' for k in range(24)))
        return "\n".join(check_data(run_config(table, **data)).warnings)

    several = told("dog|rain", "dog", "rain")
    assert "labels that look like several: 'dog|rain'; if they are, set data.label_separator='|'" in several
    assert "look like several: 'cat,rain', 'dog,rain'" in told("dog,rain", "cat,rain")
    assert "look like several" not in told("dog|rain", "dog", "rain", label_separator="|")
    assert "look like several" not in told("Drum, snare", "Drum (bass)")
    assert "labels without a letter: '0', '1'" in told("0", "1")
    assert "without a letter" not in told("healthy", "faulty 2")
    assert "look like lists: \"['dog', 'rain']\", \"['dog']\"; write" in told("['dog', 'rain']", "['dog']")
    assert "look like lists" not in told("[dog", "rain]")
    assert "for no label: 'null'; here they are a class" in told("null", "dog")
    assert "classes that read alike: '1', '1.0'" in told("1", "1.0")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("N", "AS", "MVP"), "'AS', 'MVP', 'N'"),
        (("N", "cough", "S3"), "'N', 'S3'"),
        (("TV", "fan", "door"), None),
        (("SIREN", "RAINFALL", "dog"), None),
        (("狗", "猫", "鸟"), None),
    ],
)
def test_labels_that_look_like_codes_are_told(tmp_path: Path, labels: tuple[str, ...], told: str | None) -> None:
    """A generator was asked for "Sound of a N"."""
    warnings = check_data(run_config(table_of(tmp_path, "label", [labels[k % 3] for k in range(24)]))).warnings
    found = [warning for warning in warnings if "look like codes" in warning]
    assert len(found) == (told is not None) and all(f"codes: {told}; the label is" in warning for warning in found)


def test_a_run_folder_among_the_clips_is_refused(tmp_path: Path) -> None:
    """Its own files would be read as clips of a class `runs`."""
    root = dataset(tmp_path / "data")
    config = run_config(root).model_copy(update={"run_folder": root / "runs" / "own"})
    (problem,) = check_data(config).problems
    assert "run_folder" in problem and "lies in data.path" in problem
    with pytest.raises(DataError, match="lies in data.path"):
        data_fingerprint(config)
    (tmp_path / "link").symlink_to(root)
    for data, run in ((tmp_path / "link", root), (root, tmp_path / "link")):
        (problem,) = check_data(run_config(data).model_copy(update={"run_folder": run / "runs" / "own"})).problems
        assert "lies in data.path" in problem
    (tmp_path / "data" / "x.csv").write_text("path,label\ntrain/dog/dog 0.wav,dog\n")
    listed = run_config(root / "x.csv").model_copy(update={"run_folder": root / "runs" / "own"})
    assert data_fingerprint(listed)
    hidden = run_config(root).model_copy(update={"run_folder": root / ".runs" / "own"})
    (root / "x.csv").unlink()
    assert data_fingerprint(hidden)


def test_the_bundled_data_beside_a_folder_of_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(data=DataConfig(path="demo"))
    assert not any("./demo" in warning for warning in check_data(config).warnings)
    (tmp_path / "demo").mkdir()
    assert any("write ./demo for the folder here" in warning for warning in check_data(config).warnings)


def test_a_test_of_few_groups_is_warned_of(tmp_path: Path) -> None:
    rows = [f"{'ab'[k % 2]},{('train', 'valid', 'test')[k % 3]}" for k in range(60)]
    # Five groups in the test; elsewhere every clip is one.
    groups = [f"t{k % 5}" if k % 3 == 2 else str(k) for k in range(60)]
    grouped = table_of(tmp_path, "label,split,group", map(",".join, zip(rows, groups, strict=True)))
    assert any(w.startswith("5 group(s) in the test") for w in check_data(run_config(grouped)).warnings)
    alone = table_of(tmp_path, "label,split", rows)
    assert not any("group(s) in the test" in w for w in check_data(run_config(alone)).warnings)


def test_few_groups_for_the_gate_are_told_before_a_run(tmp_path: Path) -> None:
    """It was told while the gate trained, and then never again."""
    rows = [f"{'ab'[k % 2]},{split},{split}{k % 4}" for k in range(24) for split in ("train", "valid", "test")]
    config = run_config(table_of(tmp_path, "label,split,group", rows))
    assert not any(warning.startswith("gate:") for warning in check_data(config).warnings)
    train = config.train.model_copy(update={"use_synthetic": "auto"})
    warnings = check_data(config.model_copy(update={"train": train})).warnings
    (told,) = [warning for warning in warnings if warning.startswith("gate:")]
    assert "are of 4 groups; with fewer than 10" in told and "train.use_synthetic=always" in told
    alone = train.model_copy(update={"arms": ("gold", "noise")})
    warnings = check_data(config.model_copy(update={"train": alone})).warnings
    assert not any(warning.startswith("gate:") for warning in warnings)


def test_groups_that_read_alike_are_told(tmp_path: Path) -> None:
    """`Site A` in training and `site a` in the test are one site."""
    rows = [f"{'ab'[k % 2]},{split},{name}{k % 4}" for k in range(8) for split, name in
            (("train", "Site  A"), ("valid", "v"), ("test", "site a"))]  # fmt: skip
    warnings = check_data(run_config(table_of(tmp_path, "label,split,group", rows))).warnings
    (told,) = [warning for warning in warnings if "read alike and are kept apart" in warning]
    assert "'Site  A0' = 'site a0'; 'Site  A1' = 'site a1'" in told
    rows = [f"{'ab'[k % 2]},{('4', '4.0', '04', '5')[k % 4]}" for k in range(24)]
    warnings = check_data(run_config(table_of(tmp_path / "numbers", "label,group", rows))).warnings
    assert any("kept apart: '04' = '4' = '4.0'; if" in warning for warning in warnings)


def test_few_clips_of_a_class_are_the_reason_that_no_split_is_drawn(tmp_path: Path) -> None:
    """It was advised to leave out splits that there were none of."""
    rows = [f"{'abc'[k % 3]}" for k in range(6)]
    problems = check_data(run_config(table_of(tmp_path, "label", rows))).problems
    assert any("a class has 2 clips, and 3 or more are needed where splits are drawn" in told for told in problems)


def test_a_test_of_one_group_is_told_to_have_no_verdict(tmp_path: Path) -> None:
    rows = [f"{'ab'[k % 2]},{split},{split}" for k in range(20) for split in ("train", "valid", "test")]
    warnings = check_data(run_config(table_of(tmp_path, "label,split,group", rows))).warnings
    (told,) = [warning for warning in warnings if "in the test" in warning]
    assert told.startswith("1 group in the test: no interval and no verdict can be given")
    assert "data.test_fraction" in told
    assert not any("cannot be shown" in warning for warning in warnings)


def test_a_test_of_one_clip_is_told_to_have_no_verdict(tmp_path: Path) -> None:
    """It was told to show differences of 88 points."""
    rows = [
        f"{'a|b' if k == 29 else 'ab'[k % 2]},{'test' if k == 29 else ('train', 'valid')[k % 3 > 1]}" for k in range(30)
    ]
    found = check_data(run_config(table_of(tmp_path, "label,split", rows), label_separator="|"))
    assert not found.problems
    (told,) = [warning for warning in found.warnings if "in the test" in warning]
    assert told.startswith("1 clip in the test: no interval and no verdict can be given")
    assert "put more clips into the test" in told
    assert not any("cannot be shown" in warning for warning in found.warnings)


def test_cross_validation_is_not_told_to_cross_validate(tmp_path: Path) -> None:
    table = table_of(tmp_path, "label", [f"{'ab'[k % 2]}" for k in range(24)])
    (told,) = [w for w in check_data(run_config(table)).warnings if "cannot be shown" in w]
    assert "`synthio bench`" in told
    (told,) = [w for w in check_data(run_config(table, split_method="folds")).warnings if "cannot be shown" in w]
    assert told == "8 test clip(s): a difference under about 31 points cannot be shown by this fold alone"


def test_groups_in_valid_and_test_are_warned_of(tmp_path: Path) -> None:
    rows = [f"{'ab'[k % 2]},{split},{home}" for k in range(4) for split, home in
            (("train", "r"), ("valid", "s"), ("valid", f"v{k}"), ("test", "s"), ("test", f"t{k}"))]  # fmt: skip
    warnings = check_data(run_config(table_of(tmp_path, "label,split,group", rows))).warnings
    assert "1 group(s) in valid and test, which makes the test score too high: 's'" in warnings
    assert not any("in training and elsewhere" in warning for warning in warnings)


def test_clips_without_a_group_are_counted_where_others_have_one(tmp_path: Path) -> None:
    rows = [f"{'ab'[k % 2]},{('NA', '', f'm{k % 6}')[min(k, 2)]}" for k in range(24)]
    (told,) = [w for w in check_data(run_config(table_of(tmp_path, "label,group", rows))).warnings if "no group" in w]
    assert told.startswith("2 of 24 clips have no group, so each is kept apart by itself")
    assert "0.wav" in told and "1.wav" in told
    root = tmp_path / "data"
    for label in ("dog", "cat"):
        clip(root / label / "loose.wav")
        for number in range(12):
            clip(root / label / f"site {number % 6}" / f"{number}.wav")
    warnings = check_data(run_config(root, subfolders="groups")).warnings
    assert any(warning.startswith("2 of 26 clips have no group") for warning in warnings)
    assert not any("have no group" in warning for warning in check_data(run_config(root)).warnings)


def test_clips_of_one_group_may_tell_no_more_than_one(tmp_path: Path) -> None:
    """120 test clips of 10 groups: 8 points for clips, but 28 for groups."""
    lines = ["path,label,split,group"]
    for number in range(240):
        write_noise(tmp_path / f"{number}.wav", number)
        lines.append(f"{number}.wav,{'ab'[number % 2]},{('train', 'test')[number % 2**2 > 1]},g{number % 20}")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(lines))
    (told,) = [warning for warning in check_data(run_config(table)).warnings if "cannot be shown" in warning]
    assert "120 test clip(s): a difference under about 8 points (28 where a group's clips are right" in told


def test_annotations_are_no_clips(tmp_path: Path) -> None:
    """Every line once was the first seconds of its recording."""
    lines = ["path,Start,end,label"]
    for number in range(6):
        clip(tmp_path / f"{number}.wav")
        lines += [f"{number}.wav,{start},{start + 1},{'ab'[start % 2]}" for start in range(4)]
    table = tmp_path / "calls.csv"
    table.write_text("\n".join(lines))
    text = problems(table, tmp_path / "run")
    assert "6 file(s) have several lines, and the column 'Start' says when in the file" in text
    assert f"`synthio data cut {table} --output clips`" in text
    audio_folder = str(tmp_path)
    (told,) = check_data(run_config(table, audio_folder=audio_folder)).problems
    assert f"`synthio data cut {table} --audio {audio_folder} --output clips`" in told
    table.write_text("\n".join([lines[0], *lines[1::4], lines[1]]))
    assert "data cut" not in problems(table, tmp_path / "run"), "a line that comes twice says no other time"


def test_one_annotation_per_recording_is_told(tmp_path: Path) -> None:
    """A clip was the beginning of each recording, without a word."""
    lines = ["path,start,end,label"]
    # In an order that no name has.
    for number in (11, *range(11)):
        clip(tmp_path / f"{number}.wav")
        lines.append(f"{number}.wav,{0.02 * (number > 0)},0.05,{'ab'[number % 2]}")
    table = tmp_path / "calls.csv"
    table.write_text("\n".join(lines))
    (told,) = [warning for warning in check_data(run_config(table)).warnings if "data cut" in warning]
    assert told.startswith("in 11 file(s) the sound is later than the beginning, say the columns 'start' and 'end'")
    assert "'11.wav'" in told and "'0.wav'" not in told
    # Times in the recording that a clip was cut out of, as UrbanSound8K has them.
    table.write_text("\n".join(lines).replace(",0.02,0.05", ",30.02,30.05"))
    assert not any("data cut" in warning for warning in check_data(run_config(table)).warnings)


def test_a_list_of_copies_has_each_path_once(tmp_path: Path) -> None:
    table = table_of(tmp_path, "label,split", (f"{'ab'[k % 2]},{('train', 'valid', 'test')[k % 3]}" for k in range(24)))
    table.write_text(table.read_text() + "".join(f"\n0.wav,{label},train" for label in "ababab"))
    (told,) = [warning for warning in check_data(run_config(table)).warnings if "different labels" in warning]
    assert told.count("0.wav") == 1
    table.write_text(table.read_text() + "\n2.wav,a,train\n2.wav,a,train")
    assert problems(table, tmp_path / "run").count("= ") == 1


def test_columns_that_may_be_groups_are_named_until_one_is(tmp_path: Path) -> None:
    """Clips of one machine in training and test once looked cleaner than the same table with its groups."""
    lines = ["path,label,machine_id"]
    for number in range(24):
        write_noise(tmp_path / f"{number}.wav", number)
        lines.append(f"{number}.wav,{'ab'[number % 2]},m{number // 4}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    data = {"path": str(tmp_path / "clips.csv"), "domain": "machines"}
    found = check_data(RunConfig.model_validate({"data": data}))
    assert set(found.groups.values()) == {0}
    assert any("not read: 'machine_id'" in warning for warning in found.warnings)
    found = check_data(RunConfig.model_validate({"data": {**data, "group_column": "machine_id"}}))
    assert sum(found.groups.values()) == 6 and all(found.groups.values())
    assert not any("not read" in warning for warning in found.warnings)


def test_a_column_that_came_after_the_clips_were_read_is_told_by_the_next_run(tmp_path: Path) -> None:
    """Nothing that the clips are of changed, and only `data check` told."""
    table = table_of(tmp_path, "label,split", [f"{'ab'[n % 2]},{split}" for split in SPLITS for n in range(6)])
    config = run_config(table).model_copy(update={"run_folder": tmp_path / "run"})
    lines = table.read_text().split("\n")
    for column in ("", ",recording"):
        table.write_text("\n".join(line + column for line in lines))
        listener = RecordingReporter()
        folder = Pipeline(config, listener)
        folder.clips()
        assert any("not read: 'recording'" in warning for warning in listener.warnings) == bool(column)
    assert len(list((tmp_path / "run" / "stages").iterdir())) == 1


def test_columns_of_an_audiofolder_that_may_be_groups_are_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = ["file_name,label,patient"]
        for number in range(12):
            clip(tmp_path / split / f"{number}.wav", sound(f"{split} {number}"))
            lines.append(f"{number}.wav,{'ab'[number % 2]},{number // 3}")
        (tmp_path / split / "metadata.csv").write_text("\n".join(lines))
    warnings = check_data(run_config(tmp_path)).warnings
    assert any("these columns are not read: 'patient'; if one" in warning for warning in warnings)
    warnings = check_data(run_config(tmp_path, group_column="patient")).warnings
    assert not any("not read" in warning for warning in warnings)


class TestGroupsInFileNames:
    """As of ICBHI's patients: 101_1b1_Al_sc_Meditron.wav."""

    def folder(self, root: Path, name: str = "{patient}_{number}.wav") -> Path:
        for patient in range(101, 113):
            for number in range(4):
                label = "ab"[number % 2]
                path = root / label / name.format(patient=patient, number=number, label=label, sign="_-"[number // 2])
                clip(path, sound(f"{patient} {number}"))
        return root

    @pytest.mark.parametrize(
        "name", ["{patient}_{number}.wav", "{patient}{sign}x.{number}.wav", "{patient}.{number}.wav"]
    )
    def test_the_pattern_that_the_warning_says_makes_them_groups(self, tmp_path: Path, name: str) -> None:
        root = self.folder(tmp_path, name)
        (told,) = [w for w in check_data(run_config(root)).warnings if "file names begin alike" in w]
        assert "'101' (4), '102' (4), '103' (4);" in told
        pattern = told.partition("data.group_pattern='")[2].partition("'")[0]
        config = run_config(root, group_pattern=pattern)
        found = check_data(config)
        assert sum(found.groups.values()) == 12 and all(found.groups.values())
        assert not any("begin alike" in warning for warning in found.warnings)
        assert data_fingerprint(config) != data_fingerprint(run_config(root))

    @pytest.mark.parametrize(
        "name", ["{label}_{patient}_{number}.wav", "{patient}{number}.wav", "{patient}{number}_x.wav"]
    )
    def test_names_that_begin_with_the_class_or_each_in_its_own_way_are_none(self, tmp_path: Path, name: str) -> None:
        warnings = check_data(run_config(self.folder(tmp_path, name))).warnings
        assert not any("begin alike" in warning for warning in warnings)

    def test_clips_keep_a_group_of_their_own(self, tmp_path: Path) -> None:
        rows = [f"{'ab'[k % 2]},{'g' if k < 10 else ''}" for k in range(24)]
        table = table_of(tmp_path, "label,group", rows)
        found = read_rows(DataConfig(path=str(table), group_pattern=r"^(\d{2})\."))
        assert {row.path.stem: row.group for row in found} == {str(k): "g" if k < 10 else str(k) for k in range(24)}

    def test_a_pattern_that_names_a_group_otherwise_is_refused(self, tmp_path: Path) -> None:
        """Patients were in training and test, as `P3` and as `3`."""
        rows = [f"{'ab'[k % 2]},{f'P{k % 10}' if k < 20 else ''}" for k in range(24)]
        (problem,) = check_data(run_config(table_of(tmp_path, "label,group", rows), group_pattern=r"(\d)\.")).problems
        assert "finds '0' in '0.wav', whose group is 'P0'" in problem
        assert "write the groups of the 4 clip(s) without one into the data" in problem

    def test_a_pattern_of_no_use_is_refused(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path)
        (problem,) = check_data(run_config(root, group_pattern="(x+)")).problems
        assert problem.startswith("data.group_pattern: '(x+)' finds a group in no file name; found '101_0.wav'")
        (problem,) = check_data(run_config(root, group_pattern="^([a-z]*)")).problems
        assert "finds a group in no file name" in problem
        (tmp_path / "empty").mkdir()
        (problem,) = check_data(run_config(tmp_path / "empty", group_pattern="(.)")).problems
        assert "no usable audio" in problem
        for pattern, words in (
            ("a{99999999999}(b)", "is no regular expression"),
            ("^[^_]+", "has 0 pairs of parentheses"),
            ("(", "is no regular expression"),
        ):
            with pytest.raises(ValidationError, match=words):
                DataConfig(path="x", group_pattern=pattern)
        table = table_of(tmp_path / "t", "label,group", [f"{'ab'[k % 2]},{k}" for k in range(6)])
        (problem,) = check_data(run_config(table, group_pattern="^(.)")).problems
        assert problem == "data.group_pattern is for clips without a group, and all have one; remove it"

    @pytest.mark.filterwarnings("error")
    def test_a_pattern_that_python_may_read_otherwise_one_day_is_no_warning(self) -> None:
        """It named a line of our code, of a pattern that works."""
        assert DataConfig(path="x", group_pattern="^([[({]+)").group_pattern == "^([[({]+)"


def test_clips_of_several_labels_and_one_without_any_are_told_what_to_write(tmp_path: Path) -> None:
    """Who removes them, as was advised, has no healthy ones left."""
    table = table_of(tmp_path, "label", (["a|b", "a", "b", ""][k % 4] for k in range(24)))
    (problem,) = check_data(run_config(table, label_separator="|")).problems
    assert problem.startswith("6 clip(s) without a label: ")
    assert "where none of the sounds is to be heard, that is a label of its own, such as 'normal'; label or" in problem
    (problem,) = check_data(run_config(table)).problems
    assert "a label of its own" not in problem


def test_an_offset_makes_no_loud_clip_of_a_quiet_one(tmp_path: Path) -> None:
    for number in range(24):
        clip(tmp_path / "ab"[number % 2] / f"{number}.wav", 0.5 + 0.002 * sound(str(number)))
    assert any("the clips are quiet" in warning for warning in check_data(run_config(tmp_path)).warnings)


@pytest.mark.parametrize(
    ("narrow", "wide_hz", "told"),
    [(24, 48_000, False), (20, 48_000, True), (20, 11_025, True), (12, 48_000, False), (4, 48_000, False)],
)
def test_most_clips_of_a_narrow_band_are_told_to_differ_from_generated_ones(
    tmp_path: Path, narrow: int, wide_hz: int, told: bool
) -> None:
    for number in range(24):
        path = tmp_path / ("train" if number % 4 < 2 else "test") / "ab"[number % 2] / f"{number}.wav"
        clip(path, rate_hz=4_000 if number < narrow else wide_hz)
    config = run_config(tmp_path, valid_fraction=0.0)
    warnings = check_data(config).warnings
    assert told == any("of rates of at most 4000 Hz, have no sound above 2000 Hz" in warning for warning in warnings)
    alone = config.model_copy(update={"train": TrainConfig(arms=("gold",))})
    assert not any("no sound above" in warning for warning in check_data(alone).warnings)


@pytest.mark.parametrize(
    ("rates_hz", "told"),
    [
        ((4_000, 44_100), "'a' (4000 Hz), 'b' (44100 Hz)"),
        ((4_000, 44_100, 4_000, 4_000), None),
        ((44_100, 48_000), None),
    ],
)
def test_classes_that_their_sample_rate_gives_away_are_told(
    tmp_path: Path, rates_hz: tuple[int, ...], told: str | None
) -> None:
    """As one stethoscope in the one clinic, and another in the other; a classifier at 16 kHz hears 8 kHz of both."""
    for number in range(24):
        clip(tmp_path / "ab"[number % 2] / f"{number}.wav", rate_hz=rates_hz[number % len(rates_hz)])
    warnings = [w for w in check_data(run_config(tmp_path)).warnings if "gives classes away" in w]
    assert len(warnings) == (told is not None) and all(f"{told}; resample all clips" in w for w in warnings)


def test_a_column_of_a_folder_per_class_is_refused(small_data: Path) -> None:
    config = RunConfig.model_validate({"data": {"path": str(small_data), "group_column": "site"}})
    assert "has no columns, and data.group_column is set" in check_data(config).problems[0]


def test_the_resolved_recipe_reads_the_same_data(small_data: Path, tmp_path: Path) -> None:
    """A run folder's recipe writes every default down."""
    config = RunConfig.model_validate({"data": {"path": str(small_data)}})
    resolved = RunConfig.model_validate(config.model_dump(mode="json"))
    assert check_data(resolved) == check_data(config)
    table = {"path": str(tmp_path / "clips.csv")}
    clip(tmp_path / "a.wav"), clip(tmp_path / "b.wav")
    (tmp_path / "clips.csv").write_text("path,label\na.wav,x\nb.wav,y\n")
    config = RunConfig.model_validate({"data": table})
    resolved = RunConfig.model_validate(config.model_dump(mode="json"))
    assert check_data(resolved) == check_data(config)


def test_a_class_that_is_to_get_synthetic_clips_must_be_there(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(12):
        clip(root / "ab"[number % 2] / f"{number}.wav", sound(str(number), 1.0))
    config = run_config(root).model_copy(update={"run_folder": tmp_path / "run"})
    rare, absent = (config.model_copy(update={"imagine": ImagineConfig(classes=tuple(names))}) for names in ("b", "bc"))
    found = check_data(rare)
    assert found.problems == () and found.imagined == found.counts["b"]["train"] < found.splits["train"]
    told = (
        "imagine.classes names 'c', of which there is no training clip; expected labels of the training clips: 'a', 'b'"
    )
    assert check_data(absent).problems == (told,)
    with pytest.raises(DataError, match=re.escape(told)):
        Pipeline(absent, Reporter()).run()
    assert check_data(absent.model_copy(update={"train": TrainConfig(arms=("gold",))})).problems == ()


def test_clips_longer_than_the_pocket_generator_makes_are_told_before_a_model_loads(tmp_path: Path) -> None:
    """They were refused one by one, after captions were made."""
    root = tmp_path / "data"
    for number in range(12):
        clip(root / "ab"[number % 2] / f"{number}.wav", sound(str(number), 5.5 if number < 9 else 1.0))
    config = run_config(root).model_copy(update={"run_folder": tmp_path / "run"})
    training = [clip for clip in Pipeline(config, Reporter()).clips() if clip.split == "train"]
    longer = sum(clip.duration_s > 5 for clip in training)
    told = f"{longer} training clip(s) are longer than 5 s, the most that t2a.model=pocket makes: set data.max_duration"
    assert 0 < longer < len(training)
    assert [problem[: len(told)] for problem in check_data(config).problems] == [told]
    with pytest.raises(DataError, match=re.escape(told)):
        Pipeline(config, Reporter()).run()
    # Stages of their own, and a bench, which comes by its predictions: captions may cost money.
    for stage in ("caption", "imagine", "align", "generate", "train"):
        with pytest.raises(DataError, match=re.escape(told)):
            Pipeline(config, Reporter()).run_stage(stage)
    with pytest.raises(DataError, match=re.escape(told)):
        evaluate(Pipeline(config, Reporter()))
    assert {path.name.partition("-")[0] for path in (tmp_path / "run" / "stages").iterdir()} == {"clips"}
    # One that was pre-trained on clips of at most 2 s.
    own = tmp_path / "t2a"
    (own / "duration_embedder").mkdir(parents=True)
    (own / "duration_embedder" / "config.json").write_text(json.dumps({"max_val": 16.0, "_longest_learnt_s": 2.0}))
    (problem,) = check_data(config.model_copy(update={"t2a": T2AConfig(model=str(own))})).problems
    assert f"longer than 2 s, the most that t2a.model={own} makes: set data.max_duration_s=2," in problem
    for update in ({"t2a": T2AConfig(model="owner/model")}, {"train": TrainConfig(arms=("gold",))}):
        assert check_data(config.model_copy(update=update)).problems == ()
    assert check_data(run_config(root, max_duration_s=5.0)).problems == ()
