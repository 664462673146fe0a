"""What one classifier says of each class."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, recall_score

from synthio.confusion import confusion
from synthio.records import Clip, Prediction


def clip(name: str, *labels: str, group: str | None = None, split: str = "test") -> Clip:
    return Clip(
        id=name, path=f"/{name}.wav", labels=labels, split=split, duration_s=1, sample_rate_hz=8_000, sha256=name,
        group=group,
    )  # type: ignore[arg-type]  # fmt: skip


def said(name: str, split: str = "test", **scores: float) -> Prediction:
    return Prediction(id=name, arm="gold", seed=0, split=split, clip_id=name, labels=(), scores=scores)  # type: ignore[arg-type]


def test_found_false_alarms_and_what_is_taken_for_what() -> None:
    clips = [clip("a", "dog"), clip("b", "dog"), clip("c", "rain"), clip("v", "rain", split="valid"), clip("d", "owl")]
    predictions = [
        said("a", dog=0.7, rain=0.3), said("b", dog=0.4, rain=0.6), said("c", dog=0.9, rain=0.1),
        said("d", dog=0.5, rain=0.4), said("v", "valid", dog=1, rain=0),
    ]  # fmt: skip
    found = confusion(predictions, clips, False)
    dog, owl, rain = found.classes
    assert (dog.found, dog.clips, dog.false_alarms, dog.others, dog.groups) == (1, 2, 2, 2, 2)
    # In no training clip, so the classifier has no score for it.
    assert (owl.found, owl.clips, owl.false_alarms) == (0, 1, 0)
    assert (rain.found, rain.clips, rain.false_alarms, rain.others) == (0, 1, 1, 3)
    assert dog.share.mean == 0.5 and 0 < dog.share.low < 0.5 < dog.share.high < 1
    assert math.isnan(rain.share.low)
    assert found.named == {
        "dog": {"dog": 1, "owl": 0, "rain": 1}, "owl": {"dog": 1, "owl": 0, "rain": 0},
        "rain": {"dog": 1, "owl": 0, "rain": 0},
    }  # fmt: skip


def test_clips_of_one_group_say_nothing_of_others() -> None:
    clips = [clip(name, "dog", group="yard") for name in "ab"]
    (dog,) = confusion([said(name, dog=1.0) for name in "ab"], clips, False).classes
    assert (dog.found, dog.groups, dog.share.mean) == (2, 1, 1) and math.isnan(dog.share.low)


def test_several_labels_are_named_from_half_on() -> None:
    clips = [clip("a", "dog", "rain"), clip("b", "dog"), clip("c", "rain")]
    predictions = [said("a", dog=0.5, rain=0.49), said("b", dog=0.1, rain=0.9), said("c", dog=0.2, rain=0.6)]
    found = confusion(predictions, clips, True)
    assert [(row.found, row.clips, row.false_alarms, row.others) for row in found.classes] == [
        (1, 2, 0, 1),
        (1, 2, 1, 1),
    ]
    assert found.named == {}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_counts_are_those_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    names = ["dog", "owl", "rain"]
    clips = [clip(str(i), names[true], group=f"g{group}") for i, (true, _, group) in enumerate(rows)]
    predictions = [
        said(str(i), **{name: float(name == names[named]) for name in names}) for i, (_, named, _) in enumerate(rows)
    ]
    found = confusion(predictions, clips, False)
    true, named = [row[0] for row in rows], [row[1] for row in rows]
    matrix = confusion_matrix(true, named, labels=range(3))
    assert [[found.named[a][b] for b in names] for a in names] == matrix.tolist()
    recalls = recall_score(true, named, labels=range(3), average=None, zero_division=np.nan)
    for row, recall in zip(found.classes, recalls, strict=True):
        assert row.share.mean == pytest.approx(recall, nan_ok=True)
        assert math.isnan(row.share.low) or 0 <= row.share.low <= recall <= row.share.high <= 1
