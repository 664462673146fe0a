"""The first stage on real files: every format, every broken input, splits, copies, and what is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_folders import RATE_HZ, clip, dataset, problems, run_config, sound, table_of
from reporters import RecordingReporter

from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.data_check import check_data, clip_id
from synthio.pipeline import Pipeline
from synthio.plan import make_plan
from synthio.progress import Reporter
from synthio.records import SPLITS, Clip, RejectedClip
from synthio.stages.clips import collect_clips, tell_warnings
from synthio.store import StageFolder


def collect(path: Path, run: Path, **data: Any) -> tuple[list[Clip], list[RejectedClip], dict[str, Any]]:
    folder = StageFolder(run, "clips", "key")
    clips = collect_clips(StageContext(run_config(path, **data), folder, Reporter()))
    lines = (folder.path / "rejected.jsonl").read_text(encoding="utf-8").split("\n")
    return clips, [RejectedClip.model_validate_json(line) for line in lines if line], folder.summary()


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
