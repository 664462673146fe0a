"""`synthio predict` as a command: what it prints, when, and how it tells of progress."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from reporters import RecordingReporter

from synthio.api import FilePrediction
from synthio.backends.classifier import find_classifier, fit_frontend, load_classifier, save_classifier
from synthio.cli.predict import Form, parts, predict, print_answers
from synthio.errors import ConfigError
from synthio.progress import ConsoleReporter, Reporter

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


def flute(path: Path, start_s: float = 0.0, classes: tuple[str, ...] = ("flute", "oboe")) -> FilePrediction:
    scores = dict(zip(classes, (0.75, 0.25), strict=True))
    return FilePrediction(path, start_s, start_s + 1, (classes[0],), scores)


def test_a_class_named_as_a_column_has_a_column_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """Fans that `failed` are a class, and the reason why a file was not heard is a column."""
    print_answers([flute(Path("a.wav"), classes=("failed", "ok"))], 1, None, "csv", Reporter())
    (row,) = csv.DictReader(capfd.readouterr().out.splitlines())
    assert list(row) == ["path", "start_s", "end_s", "labels", "failed", "score: failed", "ok"]
    assert (row["failed"], row["score: failed"], row["ok"]) == ("", "0.750000", "0.250000")


def test_line_breaks_in_names_stay_in_their_cell(capfd: pytest.CaptureFixture[str]) -> None:
    """They were not quoted: every row had too few cells."""
    print_answers([flute(Path("a\nb.wav"), classes=("of\rspring", "ok"))], 1, None, "csv", Reporter())
    (row,) = csv.DictReader(io.StringIO(capfd.readouterr().out, newline=""))
    assert row["path"] == "a\nb.wav" and row["of\rspring"] == "0.750000" and row["ok"] == "0.250000"


@pytest.mark.parametrize(
    ("form", "first"),
    [("lines", "a.wav 0.00 to 1.00 s: flute 0.75\n"), ("csv", "a.wav,0.000,1.000,flute,,0.750000,0.250000\n")],
)
def test_an_answer_is_printed_as_it_comes(capfd: pytest.CaptureFixture[str], form: Form, first: str) -> None:
    """Of a recording of six hours nothing was seen for as long as it was heard."""
    printed = []

    def answers() -> Iterator[FilePrediction]:
        yield FilePrediction(Path("a.wav"), 0.0, 1.0, failed="is silent")
        yield flute(Path("a.wav"))
        printed.append(capfd.readouterr().out)
        yield flute(Path("a.wav"), 1.0)

    print_answers(answers(), 3, 1.0, form, Reporter())
    assert printed[0].endswith(first) and printed[0].count("is silent") == 1
    assert capfd.readouterr().out.count("\n") == 1


def test_progress_counts_windows(tmp_path: Path) -> None:
    night, broken = tmp_path / "night.wav", tmp_path / "broken.wav"
    sf.write(night, np.zeros(int(4.5 * RATE_HZ)), RATE_HZ)
    broken.write_bytes(b"nothing")
    assert [parts(night, 1.0), parts(night, None), parts(broken, 1.0)] == [5, 1, 1]
    reporter = RecordingReporter()
    print_answers((flute(night, start_s) for start_s in (0, 1, 2, 3, 3.5)), 6, 1.0, "lines", reporter)
    # The last is of the file whose answer did not come.
    assert (reporter.tasks[0].total, reporter.tasks[0].done) == (6, [1] * 6)


@pytest.mark.parametrize(("form", "row"), [("lines", "a.wav: flute"), ("csv", "a.wav,0.000")])
def test_what_is_printed_above_a_bar_goes_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: Form, row: str
) -> None:
    """Of `synthio predict > table.csv` on a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_answers([flute(Path("a.wav"))], 1, None, form, ConsoleReporter())
    printed = capfd.readouterr()
    assert row in printed.out and row not in printed.err and "predict" in printed.err
