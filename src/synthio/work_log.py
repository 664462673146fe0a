"""What a run notes of its work in ``timings.jsonl``: seconds per stage folder, and the commits of the hub's models."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from synthio.errors import StoreError
from synthio.writing import append_lines, json_lines


class _Sitting(BaseModel):
    """A line: one session of work in a stage folder."""

    stage: str
    folder: str
    seconds: float
    hub: Mapping[str, str] = {}
    """Commits of the models that the stage loads, by identity."""


class WorkLog:
    """The log of one run folder."""

    def __init__(self, root: Path) -> None:
        self._path = root / "timings.jsonl"

    @contextmanager
    def noted(self, stage: str, folder: str, hub: Callable[[], Mapping[str, str]]) -> Iterator[None]:
        """Notes the time that the block takes, also where it fails; ``hub`` is asked at its end, when what it loads is
        there. Raises: `StoreError` when the log cannot be written."""
        started = time.monotonic()

        def note() -> None:
            row = _Sitting(stage=stage, folder=folder, seconds=round(time.monotonic() - started, 3), hub=hub())
            append_lines(self._path, [row.model_dump_json(exclude_defaults=True)])

        try:
            yield
        except BaseException:
            # What stopped the stage is what must be told.
            with suppress(StoreError):
                note()
            raise
        note()

    def seconds(self, folders: Collection[str], by: Literal["stage", "folder"]) -> dict[str, float]:
        """Over all sittings in these folders."""
        total: dict[str, float] = {}
        for row in self._rows(folders):
            name = row.stage if by == "stage" else row.folder
            total[name] = total.get(name, 0.0) + row.seconds
        return total

    def hub_commits(self, folders: Collection[str]) -> dict[str, list[str]]:
        """Those that were there when work was done in these folders, by the model's identity, each once."""
        found: dict[str, list[str]] = {}
        for row in self._rows(folders):
            for model, commit in row.hub.items():
                found.setdefault(model, []).append(commit)
        return {model: list(dict.fromkeys(commits)) for model, commits in found.items()}

    def _rows(self, folders: Collection[str]) -> Iterator[_Sitting]:
        if not self._path.is_file():
            return
        for line in json_lines(self._path.read_text(encoding="utf-8", errors="replace")):
            # A kill may have cut a line short, or a copy damaged it; its sitting is then not counted.
            with suppress(ValueError):
                row = _Sitting.model_validate_json(line)
                if row.folder in folders:
                    yield row
