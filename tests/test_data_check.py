"""Every file opened and placed in a split: what is rejected, drawn, named, and what stops a run before it starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from clip_folders import RATE_HZ, clip, dataset, problems, run_config, sound, table_of, write_noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from synthio import audio
from synthio.config import ImagineConfig, RunConfig, T2AConfig, TrainConfig
from synthio.data_check import DataCheck, check_data, clip_id
from synthio.datasets import splits
from synthio.datasets.keys import data_fingerprint
from synthio.errors import DataError
from synthio.evaluation import evaluate
from synthio.pipeline import Pipeline
from synthio.progress import Reporter


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


def test_ultrasound_is_refused_or_told_of(tmp_path: Path) -> None:
    """Tones of 25 kHz passed every check, and classifiers learnt from silence."""
    root, time_s = dataset(tmp_path / "data"), np.arange(48_000) / 96_000
    call = 0.5 * np.sin(2 * np.pi * 25_000 * time_s) * np.hanning(48_000)
    clip(root / "train" / "dog" / "bat.wav", call, rate_hz=96_000)
    clip(root / "train" / "dog" / "bat and owl.wav", call + 0.1 * np.sin(2 * np.pi * 400 * time_s), rate_hz=96_000)
    check = check_data(run_config(root))
    assert [(Path(r.path).name, r.reason[:25]) for r in check.rejected] == [("bat.wav", "is silent at 16000 Hz: al")]
    assert any("1 clip(s) have most of their energy above 8 kHz" in warning for warning in check.warnings)


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


def test_too_few_groups_are_named_and_not_the_fractions(tmp_path: Path) -> None:
    table = table_of(tmp_path, "label,group", (f"{'ab'[k % 2]},{'xy'[k % 4 // 2]}" for k in range(12)))
    (problem,) = check_data(run_config(table)).problems
    assert problem.startswith("2 group(s) cannot fill train, valid and test, as groups stay whole")


def test_a_clip_of_less_than_a_sample_is_rejected_before_it_stops_a_run(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    clip(root / "train" / "dog" / "click.wav", [0.5, -0.5], rate_hz=48_000)
    (rejected,) = check_data(run_config(root)).rejected
    assert rejected.reason == "is shorter than one sample at 16000 Hz (2 samples at 48000 Hz)"


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


def test_clips_of_several_labels_and_one_without_any_are_told_what_to_write(tmp_path: Path) -> None:
    """Who removes them, as was advised, has no healthy ones left."""
    table = table_of(tmp_path, "label", (["a|b", "a", "b", ""][k % 4] for k in range(24)))
    (problem,) = check_data(run_config(table, label_separator="|")).problems
    assert problem.startswith("6 clip(s) without a label: ")
    assert "where none of the sounds is to be heard, that is a label of its own, such as 'normal'; label or" in problem
    (problem,) = check_data(run_config(table)).problems
    assert "a label of its own" not in problem


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


# ------------------------------------------------------------------------------------------------------------ sampling


def sampled(root: Path, rows: list[tuple[str, str, str]], **sample: int | str) -> DataCheck:
    """Check a table of (file, label, split)."""
    table = root / "clips.csv"
    table.write_text("path,label,split\n" + "".join(f"{p},{label},{split}\n" for p, label, split in rows))
    data = {"path": str(table), "duplicates": "drop", "sample": sample}
    return check_data(RunConfig.model_validate({"run_folder": root / "run", "data": data}))


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
