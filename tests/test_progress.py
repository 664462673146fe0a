"""What a run says on standard error."""

from __future__ import annotations

import pytest
from rich.table import Table

from synthio.formats import printable
from synthio.progress import ConsoleReporter, PlainConsole


def test_a_warning_is_told_once_and_a_note_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    for _ in range(2):
        reporter.warn(f"few clips in [class] :100: {'of many ' * 20}")
        reporter.note("accuracy 50.0")
    reporter.warn("another")
    told = capfd.readouterr().err.splitlines()
    few = f"warning: few clips in [class] :100: {'of many ' * 20}"
    assert told == [few, "accuracy 50.0", "accuracy 50.0", "warning: another"]


def test_what_is_told_is_no_command_to_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Labels, file names and the messages of endpoints stand in what a run tells."""
    reporter = ConsoleReporter()
    reporter.note("clear\x1b[2J all")
    reporter.warn("title\x9d0;x\x07 and more")
    with reporter.task("check\x1b[2J a.zip", 1) as advance:
        advance(1)
    told = capfd.readouterr().err
    assert told.splitlines()[:2] == ["clear\ufffd[2J all", "warning: title\ufffd0;x\ufffd and more"]
    assert "check\ufffd[2J a.zip" in told and printable(told) == told


def test_a_label_in_a_table_is_shown_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    table = Table("class", ":dog: [green]")
    table.add_row("[red]dog[/red] :smile:", "\x1b[2J")
    PlainConsole(width=80).print(table)
    told = capfd.readouterr().out
    assert ":dog: [green]" in told and "[red]dog[/red] :smile:" in told and "\ufffd[2J" in told
