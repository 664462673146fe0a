"""A reporter that keeps what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from synthio.progress import Advance, Reporter


@dataclass
class Task:
    """One bar: how much there is to do, and each advance."""

    name: str
    total: int
    done: list[int] = field(default_factory=list)


class RecordingReporter(Reporter):
    """Keeps warnings, notes and tasks."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.tasks: list[Task] = []

    @contextmanager
    def task(self, name: str, total: int, completed: int = 0) -> Iterator[Advance]:
        self.tasks.append(Task(name, total))
        yield self.tasks[-1].done.append

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
