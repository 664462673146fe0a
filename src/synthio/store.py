"""The run folder: its lock, JSONL manifests, done-marker last, resume after a kill at any instant.

``docs/architecture.md`` lists what is in it, and what the key of a stage is made of.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import filelock
from pydantic import BaseModel, TypeAdapter, ValidationError

from synthio.config import FINGERPRINT_VERSION
from synthio.errors import MissingArtefact, StoreError
from synthio.formats import problems_of, some
from synthio.records import Record
from synthio.writing import append_lines, inside, json_lines, store_error, write_lines, write_text

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Record)
#: By the name of their results, what runs stages that are commands; the others are parts of these, or of a run.
_COMMANDS = {name: name for name in ("caption", "align", "imagine", "generate", "filter", "retrieve", "train")}
_COMMANDS |= dict.fromkeys(("samples", "evaluate"), "evaluate t2a")
#: The resolved recipe, in the run folder.
RUN_RECIPE = "recipe.yaml"
#: Written last.
_MARKER = "done.json"
#: In the done-marker, beside what the stage wrote there: how many lines the manifest has.
_RECORDS = "records"
#: As `StageFolder` names them.
_STAGE_FOLDER = re.compile(r"[a-z]+(-\d+)?-[0-9a-f]{12}")


def fingerprint(value: Any) -> str:
    """12 hex digits of the SHA-256 of canonical JSON; the order of mapping keys does not matter."""
    text = json.dumps([FINGERPRINT_VERSION, value], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def working_in(run_folder: Path) -> Iterator[None]:
    """Hold a run folder while writing to it; who holds it already may do so again.

    Raises: `StoreError` when another process does, or it cannot be made.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock((run_folder / ".lock").absolute(), blocking=False, is_singleton=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise StoreError(
            f"{run_folder}: another process is working there; wait until it ends (finished work is kept), "
            "or choose another run_folder"
        ) from error
    except OSError as error:
        raise store_error(run_folder, error) from error
    try:
        yield
    finally:
        lock.release()


def holds_run(folder: Path) -> bool:
    """Whether a run has stages there."""
    return any(_STAGE_FOLDER.fullmatch(path.name) for path in (folder / "stages").glob("*"))


def check_run_folder(folder: Path) -> None:
    """What a run makes has fixed names, and takes the place of what has them: it never goes among other files.

    Raises: `StoreError` for a folder that holds something, and no run.
    """
    try:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        made = holds_run(folder)
    except OSError as error:
        raise store_error(folder, error) from error
    # The stages may have been deleted, to be made again.
    made |= "timings.jsonl" in names and not names.isdisjoint({".lock", RUN_RECIPE})
    # As a kill leaves a first run, before it has a stage.
    begun = ".lock" in names and {name for name in names if not name.startswith(".")} <= {RUN_RECIPE, "stages"}
    if names and not made and not begun:
        raise StoreError(
            f"{folder}: holds other files ({some(sorted(names), most=3)}), which a run may write over; set run_folder "
            "to a folder that is new or empty"
        )


def damage_error(path: Path, found: str) -> StoreError:
    """What to tell of a file or folder in a stage's folder that is not as it was made. ``found``: what it is."""
    stage = next((folder for folder in path.parents if folder.parent.name == "stages"), path.parent)
    return StoreError(f"{path}: {found}; delete {stage} and run the same command again")


def how_to_run(stage: str) -> str:
    """What to do about a stage that has not run."""
    if stage not in _COMMANDS:
        return "run `synthio run` with the same recipe and overrides first"
    return f"run `synthio {_COMMANDS[stage]}` with the same recipe and overrides first, or `synthio run` for all stages"


class StageFolder:
    """One stage's results under one key."""

    def __init__(self, root: Path, stage: str, key: str, made_by: str | None = None) -> None:
        """``made_by``: a hash of the model, and of what it does the same for every item."""
        self.stage, self.key, self.made_by = stage, key, made_by
        self.path = root / "stages" / f"{stage}-{key}"

    def others(self) -> list[StageFolder]:
        """The folders of the stage under other keys, finished or not."""
        prefix = f"{self.stage}-"
        names = sorted(path.name for path in self.path.parent.glob(f"{prefix}*") if path != self.path)
        root = self.path.parent.parent
        return [StageFolder(root, self.stage, name.removeprefix(prefix)) for name in names]

    def file(self, name: str) -> Path:
        """A file of the stage, by the name that a record gives it. Raises: `StoreError` for one that lies elsewhere."""
        # Not what `inside` returns: whoever reaches the run folder by a link goes on doing so.
        inside(self.path, name)
        return self.path / name

    @property
    def done(self) -> bool:
        """Whether the stage is complete."""
        return (self.path / _MARKER).is_file()

    def summary(self) -> dict[str, Any]:
        """What the stage wrote when it finished; to ask for what it did not write is to find damage.

        Raises: `MissingArtefact` when it has not, `StoreError` when it is damaged.
        """
        return _Summary(self, {name: value for name, value in self._marker().items() if name != _RECORDS})

    def summary_as(self, kind: type[M]) -> M:
        """The same, as the stage's own model. Raises: as `summary`."""
        summary = self.summary()
        with self._reading(_MARKER):
            return kind.model_validate(summary)

    def _marker(self) -> _Summary:
        if not self.done:
            raise MissingArtefact(f"the results of stage `{self.stage}` are not there; {how_to_run(self.stage)}")
        with self._reading(_MARKER):
            return _Summary(self, json.loads((self.path / _MARKER).read_text(encoding="utf-8")))

    def items(self, kind: type[R]) -> dict[str, R]:
        """Items finished so far, by id. A line cut short by a kill is dropped, and its item is made again."""
        path = self.path / "items.jsonl"
        if not path.is_file():
            return {}
        finished: dict[str, R] = {}
        for line in json_lines(path.read_text(encoding="utf-8", errors="replace")):
            try:
                record = kind.model_validate_json(line)
            except ValidationError:
                continue
            finished[record.id] = record
        return finished

    def append(self, records: Iterable[Record]) -> None:
        """Add finished items and flush them to disk."""
        append_lines(self.path / "items.jsonl", [record.model_dump_json() for record in records])

    def finish(self, records: Sequence[Record], summary: Mapping[str, Any]) -> None:
        """Write the manifest in the given order, then the done-marker."""
        write_lines(self.path / "manifest.jsonl", (record.model_dump_json() for record in records))
        marker = {**summary, _RECORDS: len(records)}
        write_text(self.path / _MARKER, json.dumps(marker, indent=2, sort_keys=True, ensure_ascii=False))

    def manifest(self, kind: type[R]) -> list[R]:
        """The finished records. Raises: as `summary`."""
        wanted = self._marker()[_RECORDS]
        records = self.rows("manifest.jsonl", kind)
        if wanted != len(records):
            raise self.damaged("manifest.jsonl", f"{len(records)} records; {wanted} were written")
        return records

    def rows(self, name: str, kind: type[T]) -> list[T]:
        """A JSONL file of the finished stage, line by line. Raises: `StoreError` when it is gone or damaged."""
        row = TypeAdapter(kind)
        with self._reading(name):
            return [row.validate_json(line) for line in json_lines((self.path / name).read_text(encoding="utf-8"))]

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """For what reads a file of the finished stage, and finds it damaged."""
        try:
            yield
        except (OSError, ValueError, TypeError) as error:
            raise self.damaged(name, error) from error

    def damaged(self, name: str, error: Exception | str) -> StoreError:
        """What to raise when a file of the stage cannot be read."""
        # pydantic's own text is of several lines, with an address of its documentation.
        why = problems_of(error)[0] if isinstance(error, ValidationError) else error
        return damage_error(self.path / name, f"is damaged ({why})")


class _Summary(dict[str, Any]):
    """What a finished stage says of itself."""

    def __init__(self, folder: StageFolder, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._folder = folder

    def __missing__(self, name: str) -> NoReturn:
        raise self._folder.damaged(_MARKER, f"{name!r} is not in it")
