"""A table of what every training said of every validation and test clip, for figures that the report does not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthio.records import Clip, Prediction
from synthio.writing import write_csv

_OF_THE_CLIP = ("clip_id", "path", "group", "split", "labels")


def write_predictions(predictions: Sequence[Prediction], clips: Sequence[Clip], path: Path) -> None:
    """One row per arm, seed and clip: the clip's path, group and labels (`|` between several), the class of the highest
    score, and the score of every class under its name.

    Raises: `StoreError` when the file cannot be written.
    """
    by_id = {clip.id: clip for clip in clips}
    classes = sorted({label for prediction in predictions for label in prediction.scores})

    def row(prediction: Prediction) -> list[object]:
        clip, scores = by_id[prediction.clip_id], prediction.scores
        own = (clip.id, clip.path, clip.group or "", clip.split, "|".join(clip.labels))
        values = (f"{scores.get(name, 0.0):.6f}" for name in classes)
        return [prediction.arm, prediction.seed, *own, max(scores, key=lambda name: scores[name]), *values]

    header = ["arm", "seed", *_OF_THE_CLIP, "highest", *(f"score: {name}" for name in classes)]
    write_csv(path, header, map(row, predictions))
