"""What a run says on standard error."""

from __future__ import annotations

import pytest

from synthio.progress import ConsoleReporter


def test_a_warning_is_told_once_and_a_note_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    for _ in range(2):
        reporter.warn(f"few clips in [class] :100: {'of many ' * 20}")
        reporter.note("accuracy 50.0")
    reporter.warn("another")
    told = capfd.readouterr().err.splitlines()
    few = f"warning: few clips in [class] :100: {'of many ' * 20}"
    assert told == [few, "accuracy 50.0", "accuracy 50.0", "warning: another"]
