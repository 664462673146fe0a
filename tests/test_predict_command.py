"""`synthio predict` as a command, without a model: what it prints, when, and how it tells of progress."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synthio.api import FilePrediction
from synthio.cli.predict import predict


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[FilePrediction]], None]:
    """Sets what the classifier says."""

    def set_answers(answers: Iterator[FilePrediction]) -> None:
        monkeypatch.setattr("synthio.api.predict", lambda *_, **__: answers)

    return set_answers


def flute(path: Path, start_s: float = 0.0, classes: tuple[str, ...] = ("flute", "oboe")) -> FilePrediction:
    scores = dict(zip(classes, (0.75, 0.25), strict=True))
    return FilePrediction(path, start_s, start_s + 1, (classes[0],), scores)


def test_a_class_named_as_a_column_has_a_column_of_its_own(
    says: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Fans that `failed` are a class, and the reason why a file was not heard is a column."""
    says(iter([flute(Path("a.wav"), classes=("failed", "ok"))]))
    predict(Path("model"), [Path("a.wav")], as_csv=True, quiet=True)
    (row,) = csv.DictReader(capfd.readouterr().out.splitlines())
    assert list(row) == ["path", "start_s", "end_s", "labels", "failed", "score: failed", "ok"]
    assert (row["failed"], row["score: failed"], row["ok"]) == ("", "0.750000", "0.250000")
