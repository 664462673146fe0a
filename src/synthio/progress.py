"""Progress for people: bars with time left, notes and warnings on standard error; silent when asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from synthio.formats import printable

Advance = Callable[[int], None]
"""Reports that this many more items are finished."""


class Reporter:
    """Says nothing; the base for tests, ``--quiet`` and library use."""

    @contextmanager
    def task(self, name: str, total: int, completed: int = 0) -> Iterator[Advance]:
        """A unit of work with a known number of items; yields the function to call as they finish."""
        yield lambda count: None

    def note(self, message: str) -> None:
        """Something worth knowing."""

    def warn(self, message: str) -> None:
        """Something that the user should look at."""


class PlainConsole(Console):
    """What stands in a label, a file name or a server's answer is no markup and no emoji, and no command to a terminal,
    which obeys control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, *args: Any, **kwargs: Any) -> Text:
        """What every text that is printed goes through, on its own or in a table."""
        return super().render_str(printable(text), *args, **kwargs)


class ConsoleReporter(Reporter):
    """Bars, notes and warnings on standard error."""

    def __init__(self) -> None:
        # What is printed while a bar is shown passes this console too, and a path is to stay whole.
        # In a notebook rich shows bars by ipywidgets, and without it empty cells.
        here = None if find_spec("ipywidgets") else False
        self._console = PlainConsole(stderr=True, soft_wrap=True, force_jupyter=here)
        self._told: set[str] = set()

    @contextmanager
    def task(self, name: str, total: int, completed: int = 0) -> Iterator[Advance]:
        """One bar with count, elapsed time and time left; it stays on screen when all is done, or something fails."""
        columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # On a terminal the bar makes room for what is printed; elsewhere that would end up on standard error.
        shared = sys.stdout.isatty()
        with Progress(*columns, *times, console=self._console, redirect_stdout=shared) as progress:
            bar = progress.add_task(printable(name), total=total, completed=completed)
            yield lambda count: progress.advance(bar, count)
            # A part of a larger work, whose next part has the next bar.
            progress.update(bar, visible=progress.finished)

    def note(self, message: str) -> None:
        """Printed plainly."""
        self._console.print(message)

    def warn(self, message: str) -> None:
        """Printed in yellow, once: the cells of a bench, the gate and the training share clips."""
        if message not in self._told:
            self._told.add(message)
            self._console.print(f"warning: {message}", style="yellow")
