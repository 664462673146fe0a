"""The arms on the test clips against figures by hand and second implementations, and the comparison that is kept."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_clip
from full_disk import no_file_above
from sklearn.metrics import average_precision_score
from tone_project import Project, make_config

from synthio import metrics
from synthio.arms import Training, read_trainings
from synthio.backends.fine_tuning import CurvePoint
from synthio.comparison import compare, tail_classes
from synthio.config import STAGE_VERSIONS
from synthio.errors import StoreError
from synthio.records import Clip, Prediction, Split
from synthio.seeds import numpy_generator
from synthio.verdict import Comparison, effect, recommended_arm, verdict_text


def handmade(right: dict[str, list[list[bool]]], clips: Sequence[Clip]) -> tuple[list[Prediction], list[Training]]:
    """Predictions that are right where told: arm -> seed -> clip."""
    predictions, trainings = [], []
    point = CurvePoint(step=1, train_loss=1.0, valid_loss=1.0, valid_score=0.5)
    for arm, seeds in right.items():
        for seed, row in enumerate(seeds):
            trainings.append(
                Training.model_validate(
                    {
                        "arm": arm,
                        "seed": seed,
                        "n_train": 6,
                        "heard_s": 1.0,
                        "n_added": 4 * (arm == "synthio"),
                        "steps": 9,
                        "seconds": 2.0,
                        "best": point,
                        "curve": (point,),
                    }
                )
            )
            for clip, good in zip(clips, row, strict=True):
                other = {"a": "b", "b": "a", "c": "a"}[clip.labels[0]]
                scores = {"a": 0.0, "b": 0.0, "c": 0.0, (clip.labels[0] if good else other): 1.0}
                predictions.append(
                    Prediction(
                        id=f"{arm}/{seed}/{clip.id}",
                        arm=arm,
                        seed=seed,
                        clip_id=clip.id,
                        split="test",
                        labels=clip.labels,
                        scores=scores,
                    )
                )
    return predictions, trainings


def handmade_clip(name: str, label: str, split: Split) -> Clip:
    return make_clip(id=name, labels=(label,), split=split)


def test_the_comparison_by_hand(tmp_path: Path) -> None:
    train = [handmade_clip(f"t{i}", label, "train") for i, label in enumerate("aaabbc")]
    test = [handmade_clip(f"e{i}", label, "test") for i, label in enumerate("aabb")]
    right = {
        "gold": [[True, True, False, False], [True, False, False, False]],
        "synthio": [[True, True, True, False], [True, True, True, False]],
    }
    predictions, trainings = handmade(right, test)
    config = make_config(tmp_path, tmp_path, tail_fraction=0.34)
    found = compare(predictions, [*train, *test], config, trainings)
    gold, synthio = found.arms
    assert gold.per_seed == (0.5, 0.25)
    assert (gold.mean, synthio.mean) == (0.375, 0.75)
    assert gold.std == pytest.approx(0.25 / np.sqrt(2))
    # Seed 0 of synthio: a has F1 2*2/(2*2+1) = 0.8, b 2*1/(2*1+1) = 2/3; c is neither there nor named.
    assert synthio.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert (gold.n_train, gold.n_added, synthio.n_added, gold.steps, gold.seconds) == (6, 0, 4, 9, 4.0)
    assert found.difference is not None
    assert found.difference.points == pytest.approx(37.5)
    # Two trainings and four clips prove nothing.
    assert -100 < found.difference.low < 0 < 37.5 < found.difference.high == 100
    table = {c.label: (c.n_train, c.support, c.is_tail, c.scores) for c in found.classes}
    assert table == {
        "a": (3, 2, False, {"gold": 0.75, "synthio": 1.0}),
        "b": (2, 2, False, {"gold": 0.0, "synthio": 0.5}),
        "c": (1, 0, True, {"gold": None, "synthio": None}),
    }
    # b: no clip right, then one, or, with the other seed, both clips of the two.
    assert [c.difference and c.difference.points for c in found.classes] == pytest.approx([25, 50, None])
    assert compare(predictions, [*train, *test], config, trainings) == found
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_a_comparison_without_intervals_reads_its_own_json(tmp_path: Path) -> None:
    """Of one group no interval is defined; JSON has no NaN."""
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("ab")]
    test = [handmade_clip(f"e{k}", "ab"[k % 2], "test") for k in range(4)]
    test = [clip.model_copy(update={"group": "one"}) for clip in test]
    predictions, trainings = handmade({arm: [[True] * 4] for arm in ("gold", "synthio")}, test)
    found = compare(predictions, [*train, *test], make_config(tmp_path, tmp_path), trainings)
    again = Comparison.model_validate_json(found.model_dump_json())
    assert again.difference is not None and np.isnan([again.difference.low, again.difference.high]).all()
    assert repr(again) == repr(found)


@pytest.mark.parametrize("metric", ["accuracy", "balanced accuracy"])
def test_each_class_has_the_interval_of_its_own_clips(tmp_path: Path, metric: Any) -> None:
    """It is that of a test set without the other classes; a class of one group has no ends."""
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("ab")]
    test = [handmade_clip(f"e{k}", "a" if k < 30 else "b", "test") for k in range(40)]
    test = [clip.model_copy(update={"group": clip.labels[0] if clip.labels == ("b",) else None}) for clip in test]
    gold, synthio = [k % 3 == 0 for k in range(40)], [k % 3 < 2 for k in range(40)]
    predictions, trainings = handmade({"gold": [gold] * 2, "synthio": [synthio] * 2}, test)
    config = make_config(tmp_path, tmp_path, metric=metric)
    a, b = (c.difference for c in compare(predictions, [*train, *test], config, trainings).classes if c.support)
    alone = compare(predictions, [*train, *test[:30]], config, trainings).difference
    assert a is not None and b is not None and alone is not None
    assert (a.points, a.low, a.high) == (alone.points, alone.low, alone.high)
    assert a.points == pytest.approx(100 / 3) and 0 < a.low < a.points < a.high
    assert b.points == pytest.approx(30) and np.isnan([b.low, b.high]).all()


def test_with_several_labels_a_class_has_the_interval_of_its_average_precision(tmp_path: Path) -> None:
    """As in a dataset where it is the only label."""
    generator = np.random.default_rng(0)
    sets = [("a",), ("b",), ("a", "b"), ("c",)]
    clips = [
        handmade_clip(f"{split[0]}{k}", "a", split).model_copy(update={"labels": sets[k % 4]})
        for split, count in (("train", 8), ("test", 40))
        for k in range(count)
    ]
    test = [clip for clip in clips if clip.split == "test"]
    predictions, trainings = handmade({arm: [[True] * 40] * 2 for arm in ("gold", "synthio")}, test)
    predictions = [
        row.model_copy(update={"scores": dict(zip("abc", generator.random(3).tolist(), strict=True))})
        for row in predictions
    ]
    config = make_config(tmp_path, tmp_path)
    found = {c.label: c for c in compare(predictions, clips, config, trainings).classes}
    targets = np.array([["a" in clip.labels] for clip in test])
    scores = np.array([row.scores["a"] for row in predictions]).reshape(2, 2, 40, 1)

    def by_seed(weights: np.ndarray) -> np.ndarray:
        gold, synthio = (
            np.array([metrics.weighted_mean_average_precision(targets, s, weights) for s in arm]) for arm in scores
        )
        return synthio - gold

    expected = metrics.bootstrap_difference(
        by_seed,
        [clip.unit for clip in test],
        config.train.bootstrap_samples,
        numpy_generator(config.seed, "train", "bootstrap"),
    )
    difference = found["a"].difference
    assert difference is not None
    assert (difference.points, difference.low, difference.high) == pytest.approx(
        (100 * expected.mean, 100 * expected.low, 100 * expected.high)
    )
    by_arm = [found["a"].scores["gold"], found["a"].scores["synthio"]]
    assert by_arm == pytest.approx([np.mean([average_precision_score(targets, s) for s in arm]) for arm in scores])


def test_a_class_with_one_test_clip_has_no_interval_of_its_average_precision(tmp_path: Path) -> None:
    """That ranks the one clip among many others, which say nothing of other clips of the class."""
    sets = [("a",), ("b",), ("a", "b")]
    clips = [
        handmade_clip(f"{split[0]}{k}", "a", split).model_copy(update={"labels": sets[k % 3]})
        for split, count in (("train", 6), ("test", 30))
        for k in range(count)
    ]
    clips.append(handmade_clip("rare", "c", "test"))
    test = [clip for clip in clips if clip.split == "test"]
    predictions, trainings = handmade({arm: [[True] * 31] * 2 for arm in ("gold", "synthio")}, test)
    generator = np.random.default_rng(0)
    predictions = [
        row.model_copy(update={"scores": dict(zip("abc", generator.random(3).tolist(), strict=True))})
        for row in predictions
    ]
    found = compare(predictions, clips, make_config(tmp_path, tmp_path), trainings)
    assert found.metric == "mAP"
    a, _, c = (row.difference for row in found.classes)
    assert a is not None and a.low < a.points < a.high
    assert c is not None and np.isfinite(c.points) and np.isnan([c.low, c.high]).all()


def test_who_never_says_faulty_does_not_win_by_balanced_accuracy(tmp_path: Path) -> None:
    """Of 90 normal (a) and 10 faulty clips (b) gold calls all normal; synthio finds 9 faults, with 22 false alarms."""
    test = [handmade_clip(f"e{k}", "a" if k < 90 else "b", "test") for k in range(100)]
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("aaab")]
    gold, synthio = [True] * 90 + [False] * 10, [False] * 22 + [True] * 77 + [False]
    predictions, trainings = handmade({"gold": [gold] * 2, "synthio": [synthio] * 2}, test)
    by_accuracy = compare(predictions, [*train, *test], make_config(tmp_path, tmp_path), trainings)
    assert verdict_text(by_accuracy).endswith(
        "Do not use synthetic clips. No arm is better than always saying 'a' (90.0%). If every class matters alike, "
        "set train.metric to balanced accuracy."
    )
    config = make_config(tmp_path, tmp_path, metric="balanced accuracy")
    found = compare(predictions, [*train, *test], config, trainings)
    assert [arm.mean for arm in found.arms] == pytest.approx([0.5, (68 / 90 + 9 / 10) / 2])
    assert found.constant is not None and found.constant.mean == 0.5
    assert effect(found) == "helped" and recommended_arm(found) == "synthio"
    assert "no arm" not in verdict_text(found)


@pytest.mark.parametrize(
    ("counts", "fraction", "tail"),
    [
        ({"a": 5, "b": 5, "c": 5}, 0.5, set()),
        ({"a": 1, "b": 5, "c": 9}, 0.34, {"a"}),
        ({"a": 1, "b": 1, "c": 9}, 0.34, {"a", "b"}),
        ({"a": 1, "b": 2, "c": 9}, 0.0, set()),
        ({"a": 1, "b": 2}, 0.34, {"a"}),
        ({"faulty": 3, "normal": 100}, 0.34, {"faulty"}),
        ({"a": 1, "b": 2}, 1.0, set()),
        # A third of five is one and a bit more.
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, 0.34, {"a"}),
    ],
)
def test_the_tail(counts: dict[str, int], fraction: float, tail: set[str]) -> None:
    assert tail_classes(counts, fraction) == tail


def test_who_always_says_the_most_frequent_label_is_scored_too(project: Project) -> None:
    clips = [c for c in project.clips if c.split != "test" or c.labels == ("high",)]
    clips += [c for c in project.clips if c.split == "test" and c.labels == ("low",)][:3]
    # One training clip fewer makes the other class the most frequent.
    clips.remove(next(c for c in clips if c.split == "train" and c.labels == ("low",)))
    predictions = project.folder().manifest(Prediction)
    trainings = list(read_trainings(project.folder()).values())
    found = compare(predictions, clips, project.config, trainings).constant
    high = sum(c.split == "test" and c.labels == ("high",) for c in clips)
    assert found is not None and found.label == "high"
    assert found.mean == pytest.approx(high / (high + 3))
    # F1 of the named class is 2 h / (2 h + 3), of the other 0.
    assert found.macro_f1 == pytest.approx(high / (2 * high + 3))


def test_a_comparison_is_kept_for_one_way_to_compare(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interval, once written when the trainings ended, was shown for good, also after a better one was built."""
    expected, folder = project.comparison(), project.folder("earlier").path
    shutil.copytree(project.folder().path, folder)
    (kept,) = folder.glob("comparison-*.json")
    marked = expected.model_dump(mode="json")
    marked["difference"] |= {"low": 99.0, "high": math.inf}
    kept.write_text(json.dumps(marked))
    with monkeypatch.context() as patch:
        patch.setitem(STAGE_VERSIONS, "compare", 99)
        assert project.comparison("earlier") == expected
    # Of this version it is not computed again.
    found = project.comparison("earlier").difference
    assert found is not None and (found.low, found.high) == (99.0, math.inf)
    # Damage in what can be made anew once stopped the report.
    for damage in ("{}", "", '{"arms'):
        kept.write_text(damage)
        assert project.comparison("earlier") == expected
        assert kept.read_text() != damage
    kept.unlink()
    # In a folder that takes no more, or of somebody else, it is computed each time.
    with no_file_above(10):
        assert project.comparison("earlier") == expected
    assert not kept.exists()
    for damaged in ("[]", "{}", '{"trainings": [["a", {}]], "gated_share": null}', '{"trainings": [1]}'):
        (folder / "done.json").write_text(damaged)
        with pytest.raises(StoreError, match=r"done.json: is damaged"):
            project.comparison("earlier")
