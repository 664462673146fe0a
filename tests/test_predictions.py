"""predictions.csv: what every training said of every clip, as a table that any program reads."""

from __future__ import annotations

import csv
from pathlib import Path

from builders import make_clip

from synthio.records import Prediction
from synthio.stages.predictions import write_predictions


def test_every_prediction_is_a_row_with_its_clip(tmp_path: Path) -> None:
    clips = [
        make_clip(id="a", path='/data/rain, "old"\n.wav', labels=("rain", "wind"), split="test", group="site 1"),
        make_clip(id="b", path="/data/b.wav", labels=("wind",), split="test"),
    ]
    predictions = [
        Prediction(
            id=f"{arm}/0/{clip.id}", arm=arm, seed=0, clip_id=clip.id, split="test", labels=clip.labels, scores=scores
        )
        for arm in ("gold", "synthio")
        for clip, scores in zip(clips, ({"wind": 0.25, "rain": 0.75}, {"wind": 1 / 3, "rain": 0.2}), strict=True)
    ]
    write_predictions(predictions, clips, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["clip_id"]) for row in rows] == [(p.arm, p.clip_id) for p in predictions]
    first, second = rows[:2]
    assert (first["path"], first["group"], first["labels"]) == (clips[0].path, "site 1", "rain|wind")
    assert (first["highest"], first["score: rain"], first["score: wind"]) == ("rain", "0.750000", "0.250000")
    assert (second["group"], second["highest"], second["score: wind"]) == ("", "wind", "0.333333")
