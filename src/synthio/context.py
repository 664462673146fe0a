"""What every stage is given, beside the records that it reads and the models that it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from synthio.chunks import chunks
from synthio.config import RunConfig
from synthio.progress import Reporter
from synthio.records import Record
from synthio.store import StageFolder

T = TypeVar("T")
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class StageContext:
    """What every stage is given: the recipe, where its results go, and who hears of its work."""

    config: RunConfig
    folder: StageFolder
    reporter: Reporter

    def make_missing(
        self,
        task: str,
        items: Mapping[str, T],
        finished: Mapping[str, R],
        size: int,
        make: Callable[[Sequence[T]], Sequence[R]],
    ) -> list[R]:
        """The records of ``items``, which go by the ids of these, in order: those that are ``finished``, and what
        ``make`` makes of at most ``size`` others at a time, which is kept at once.
        """
        records = dict(finished)
        todo = [item for name, item in items.items() if name not in records]
        with self.reporter.task(task, len(items), len(items) - len(todo)) as advance:
            for part in chunks(todo, size):
                made = make(part)
                self.folder.append(made)
                records.update((record.id, record) for record in made)
                advance(len(part))
        return [records[name] for name in items]
