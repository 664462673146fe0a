"""`synthio predict` as a command: what it prints, when, and how it tells of progress."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from reporters import RecordingReporter

from synthio.api import FilePrediction
from synthio.backends.classifier import find_classifier, fit_frontend, load_classifier, save_classifier
from synthio.cli.predict import predict
from synthio.errors import ConfigError

RATE_HZ = 8_000


@pytest.fixture(scope="module")
def model(ast_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hears one second, and tells a flute from an oboe."""
    folder = tmp_path_factory.mktemp("trained")
    source = find_classifier(str(ast_model))
    frontend = fit_frontend(source, [16_000])
    save_classifier(
        load_classifier(source, frontend, ["flute", "oboe"], "single_label_classification", 0), frontend, folder
    )
    return folder


@pytest.mark.parametrize("window_s", [float("nan"), 1e-312, 0.0, -1.0, 0.05, 1.5, float("inf")])
def test_a_window_that_cannot_be_is_refused(model: Path, tmp_path: Path, window_s: float) -> None:
    """NaN, and one under a sample of any clock, were tracebacks."""
    with pytest.raises(ConfigError, match=r"the window is .* s; expected 0.1 to the 1\...? s heard"):
        predict(model, [tmp_path / "a.wav"], window_s=window_s)


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


@pytest.mark.parametrize(
    ("settings", "first"),
    [({}, "a.wav 0.00 to 1.00 s: flute 0.75\n"), ({"as_csv": True}, "a.wav,0.000,1.000,flute,,0.750000,0.250000\n")],
)
def test_an_answer_is_printed_as_it_comes(
    says: Callable[..., None], capfd: pytest.CaptureFixture[str], settings: dict[str, Any], first: str
) -> None:
    """Of a recording of six hours nothing was seen for as long as it was heard."""
    printed = []

    def answers() -> Iterator[FilePrediction]:
        yield FilePrediction(Path("a.wav"), 0.0, 1.0, failed="is silent")
        yield flute(Path("a.wav"))
        printed.append(capfd.readouterr().out)
        yield flute(Path("a.wav"), 1.0)

    says(answers())
    predict(Path("model"), [Path("a.wav")], window_s=1.0, quiet=True, **settings)
    assert printed[0].endswith(first) and printed[0].count("is silent") == 1
    assert capfd.readouterr().out.count("\n") == 1


def test_progress_counts_windows(
    says: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    night, broken = tmp_path / "night.wav", tmp_path / "broken.wav"
    sf.write(night, np.zeros(int(4.5 * RATE_HZ)), RATE_HZ)
    broken.write_bytes(b"nothing")
    reporter = RecordingReporter()
    monkeypatch.setattr("synthio.cli.predict.reporter_of", lambda quiet: reporter)
    says(flute(night, start_s) for start_s in (0, 1, 2, 3, 3.5))
    predict(Path("model"), [night, broken], window_s=1.0)
    # The last is of the file whose answer did not come.
    assert (reporter.tasks[0].total, reporter.tasks[0].done) == (6, [1] * 6)
    says(iter([flute(night)]))
    predict(Path("model"), [night])
    assert reporter.tasks[1].total == 1


def test_what_is_printed_above_a_bar_goes_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, says: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Of `synthio predict > table.csv` on a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for settings, row in (({}, "a.wav: flute"), ({"as_csv": True}, "a.wav,0.000")):
        says(iter([flute(Path("a.wav"))]))
        predict(Path("model"), [Path("a.wav")], **settings)
        printed = capfd.readouterr()
        assert row in printed.out and row not in printed.err and "predict" in printed.err
