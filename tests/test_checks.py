"""What is wrong with the clips or worth a look: classes, groups, splits, labels, levels and rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from clip_folders import clip, dataset, problems, run_config, sound, table_of, write_noise

from synthio.config import RunConfig, TrainConfig
from synthio.data_check import check_data
from synthio.records import SPLITS


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


def test_clips_in_other_units_than_full_scale_are_told_of(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    assert not any("full scale" in warning for warning in check_data(run_config(root)).warnings)
    clip(root / "train" / "dog" / "pascal.wav", 300 * sound("pascal") / np.abs(sound("pascal")).max(), subtype="FLOAT")
    assert any("1 clip(s) go beyond full scale (peak 300" in w for w in check_data(run_config(root)).warnings)


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


def test_the_cure_for_a_missing_split_is_one(tmp_path: Path) -> None:
    """Eight recorders of one class each, two per class, cannot fill three splits at the usual fractions."""
    table = table_of(tmp_path, "label,group", (f"{'abcd'[k % 4]},{k % 8}" for k in range(24)))
    told = "\n".join(check_data(run_config(table)).problems)
    assert "no valid clips; groups stay whole, and a class has 2 groups: 3 or more are needed" in told
    assert "above 0" not in told
    zero = check_data(run_config(table, valid_fraction=0)).problems
    assert any("no valid clips" in p and "set data.valid_fraction above 0" in p for p in zero)


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


def test_a_list_of_copies_has_each_path_once(tmp_path: Path) -> None:
    table = table_of(tmp_path, "label,split", (f"{'ab'[k % 2]},{('train', 'valid', 'test')[k % 3]}" for k in range(24)))
    table.write_text(table.read_text() + "".join(f"\n0.wav,{label},train" for label in "ababab"))
    (told,) = [warning for warning in check_data(run_config(table)).warnings if "different labels" in warning]
    assert told.count("0.wav") == 1
    table.write_text(table.read_text() + "\n2.wav,a,train\n2.wav,a,train")
    assert problems(table, tmp_path / "run").count("= ") == 1


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
