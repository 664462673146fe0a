"""A blind listening test: real and synthetic clips in one order, told apart by nothing but their sound.

run_folder/listening/
  index.html       a player per clip, and what to do
  audio/NNN.flac   mono, all at one rate and peak level
  answers.csv      to fill in: what is heard in each clip, and whether it is taken for a real recording
  solution.json    which clips are synthetic, and their labels; written last
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from synthio import audio, pages
from synthio.datasets.table import parse
from synthio.errors import DataError, MissingArtefact, StoreError
from synthio.formats import some
from synthio.frozen import Frozen
from synthio.metrics import Interval, share, share_difference
from synthio.records import Clip
from synthio.seeds import derive_seed, in_turn
from synthio.stages.dataset import Accepted
from synthio.store import fingerprint
from synthio.wording import key, readable
from synthio.writing import check_no_link, inside, replacing, write_csv, write_text

Kind = Literal["real", "synthetic"]
COLUMNS = ("clip", "heard", "real")
#: What a listener answers who hears none of the classes.
NONE_OF_THEM = "?"
#: Between the labels of one clip.
SEPARATOR = "|"
_REAL = {"yes": True, "y": True, "1": True, "true": True, "no": False, "n": False, "0": False, "false": False}


class HeardClip(Frozen):
    """One clip of the test."""

    number: int
    """From 1; its place in the test."""
    kind: Kind
    clip_id: str
    """Of the real clip, or the id of the synthetic one in ``dataset/``."""
    labels: tuple[str, ...]


class Solution(Frozen):
    """What a listener must not know."""

    classes: tuple[str, ...]
    clips: tuple[HeardClip, ...]
    made_of: str = ""
    """Another one for other sounds of the same clips, as of another generator."""


@dataclass(frozen=True)
class Heard:
    """What a listener said of one clip."""

    labels: frozenset[str]
    """Empty where none of the classes was heard."""
    real: bool | None
    """None where the listener did not say."""


@dataclass(frozen=True)
class Shares:
    """A share of the real clips and of the synthetic ones, with 95% intervals of the clips; NaN of no clips."""

    clips: Mapping[Kind, int]
    """That the listener gave a word on."""
    real: Interval
    synthetic: Interval
    difference: Interval
    """Synthetic minus real."""

    def compared(self, what: str) -> str:
        """The difference in words. ``what`` happens to clips."""
        if self.difference.high < 0:
            return f"Synthetic clips are {what} less often than real ones."
        if self.difference.low > 0:
            return f"Synthetic clips are {what} more often than real ones."
        return f"It is not shown that synthetic clips are {what} more or less often than real ones."


@dataclass(frozen=True)
class Mistake:
    """A synthetic clip that was not heard as what it is to be."""

    number: int
    clip_id: str
    labels: tuple[str, ...]
    heard: tuple[str, ...]
    """Empty where none of the classes was heard."""


@dataclass(frozen=True)
class Listening:
    """The result of one listener."""

    answers: Path
    recognised: Shares
    """Of the clips with an answer, those in which only labels of theirs were heard, and one at least."""
    taken_for_real: Shares
    per_class: Mapping[str, Mapping[Kind, tuple[int, int]]]
    """Clips recognised, and clips with an answer."""
    mistakes: tuple[Mistake, ...]


# Making it ----------------------------------------------------------------------------------------------------------


def draw_test(
    real: Sequence[Clip], accepted: Sequence[Accepted], count: int, seed: int, only: Sequence[str] = ()
) -> Solution:
    """Up to ``count`` clips, half of them synthetic, with the classes in turn.

    A class without synthetic clips would give its real ones away, so none of these are drawn. ``only``: the classes
    that clips are drawn of, where not all others. The listener still chooses among all.
    Raises: `DataError` when there are no synthetic clips, or none of a class in ``only``.
    """
    if not accepted:
        raise DataError(
            "there is no accepted synthetic clip to compare with real ones; expected an arm in train.arms that adds "
            "some, and a filter that accepts some"
        )
    made = {label for item in accepted for label in item.prompt.labels}
    if missing := [name for name in only if name not in made]:
        raise DataError(
            f"no accepted synthetic clip has the label {some(map(repr, missing))}; found "
            f"{some(map(repr, sorted(made)), most=20)}"
        )

    of_classes = set(only) or made

    def drawn(kind: Kind, clips: Mapping[str, tuple[str, ...]]) -> list[tuple[Kind, str]]:
        wanted = [name for name, own in clips.items() if not of_classes.isdisjoint(own)]
        order = in_turn(wanted, clips.__getitem__, lambda name: derive_seed(seed, "listening", kind, name), seed)
        return [(kind, name) for name in order[: count // 2]]

    labels: dict[Kind, dict[str, tuple[str, ...]]] = {
        "real": {clip.id: clip.labels for clip in real},
        "synthetic": {item.candidate.id: item.prompt.labels for item in accepted},
    }
    chosen = [item for kind, clips in labels.items() for item in drawn(kind, clips)]
    chosen.sort(key=lambda item: derive_seed(seed, "listening order", *item))
    return Solution(
        classes=tuple(sorted({label for clips in labels.values() for names in clips.values() for label in names})),
        clips=tuple(
            HeardClip(number=number, kind=kind, clip_id=name, labels=labels[kind][name])
            for number, (kind, name) in enumerate(chosen, start=1)
        ),
    )


def write_test(
    solution: Solution, sources: Mapping[tuple[Kind, str], Path], folder: Path, rate_hz: int, heard_s: float
) -> Path:
    """Write the test; one of the same clips is left as it is, with the answers in it. Returns the page.

    ``sources``: the clips' files, by kind and id. All clips become mono of ``rate_hz`` and of one peak, as level and
    bandwidth would tell the kinds apart; of each the first ``heard_s`` seconds.

    Raises: `StoreError` when another test lies there, or the folder cannot be written; `DataError` for a clip that
        cannot be read.
    """
    page = folder / "index.html"
    check_no_link(folder)
    heard = [sources[clip.kind, clip.clip_id] for clip in solution.clips]
    made_of = fingerprint([rate_hz, heard_s, *(_sha256(path) for path in heard)])
    solution = solution.model_copy(update={"made_of": made_of})
    if (folder / "solution.json").is_file():
        earlier = read_solution(folder)
        if earlier != solution:
            raise StoreError(
                f"{folder}: holds another listening test, of {len(earlier.clips)} clips, perhaps with answers; rename "
                "or delete it, and run the same command again"
            )
        return page
    # Of a test that a kill left half made.
    shutil.rmtree(inside(folder, "audio"), ignore_errors=True)
    for clip, path in zip(solution.clips, heard, strict=True):
        samples = audio.load_start(path, heard_s, rate_hz)
        with replacing(inside(folder, _address(clip.number))) as partial:
            audio.write_flac(partial, audio.peak_normalise(samples), rate_hz)
    write_csv(folder / "answers.csv", COLUMNS, [(clip.number, "", "") for clip in solution.clips])
    players = [(clip.number, _address(clip.number)) for clip in solution.clips]
    write_text(page, pages.render("listening", players=players, classes=solution.classes))
    write_text(folder / "solution.json", solution.model_dump_json(indent=2))
    return page


def _sha256(path: Path) -> str:
    """Raises: `DataError` for a file that is gone."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _address(number: int) -> str:
    return f"audio/{number:03d}.flac"


# Reading it ---------------------------------------------------------------------------------------------------------


def read_solution(folder: Path) -> Solution:
    """Raises: `MissingArtefact` when no test was made, `StoreError` when its solution is damaged."""
    path = folder / "solution.json"
    try:
        return Solution.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingArtefact(
            f"{path}: no listening test was made; run `synthio evaluate listening` without --answers first"
        ) from error
    except (OSError, ValidationError) as error:
        raise StoreError(f"{path}: is damaged; delete {folder}, after saving your answers, and run again") from error


def read_answers(path: Path, solution: Solution) -> dict[int, Heard]:
    """What was answered, by the clip's number; rows without an answer are left out.

    Raises: `DataError` that lists every row that cannot be read.
    """
    rows = parse(path)
    if missing := [column for column in COLUMNS if column not in rows[0]]:
        raise DataError(f"{path}: has no column {some(map(repr, missing))}; expected {', '.join(COLUMNS)}")
    answers: dict[int, Heard] = {}
    problems = []
    for row in rows:
        cells = {name: str(row.get(name) or "").strip() for name in COLUMNS}
        if not any(cells.values()):
            continue
        try:
            number, answer = _answer(cells, solution)
            if number in answers:
                raise ValueError("has two rows")
        except ValueError as error:
            # Not the line: those that are empty are not counted, and a cell may hold several.
            problems.append(f"clip {cells['clip']!r}: {error}")
            continue
        if answer is not None:
            answers[number] = answer
    if problems:
        raise DataError(f"{path}: {some(problems, '; ', 5)}")
    if not answers:
        raise DataError(f"{path}: has no answer in the column 'heard'; expected a class, or {NONE_OF_THEM} for none")
    return answers


def _answer(row: Mapping[str, str], solution: Solution) -> tuple[int, Heard | None]:
    """Raises: `ValueError` in words."""
    numbers = {str(clip.number): clip.number for clip in solution.clips}
    number = numbers.get(row["clip"].lstrip("0"))
    if number is None:
        raise ValueError(f"there is none; expected a number from 1 to {len(numbers)}")
    if row["real"] and row["real"].casefold() not in _REAL:
        raise ValueError(f"real {row['real']!r}; expected yes, no or nothing")
    if not row["heard"]:
        if row["real"]:
            raise ValueError(f"nothing in the column 'heard'; expected a class, or {NONE_OF_THEM} for none of them")
        return number, None
    if row["heard"] in solution.classes:
        labels = [row["heard"]]
    elif row["heard"] == NONE_OF_THEM:
        labels = []
    else:
        labels = [_class_named(name.strip(), solution.classes) for name in row["heard"].split(SEPARATOR)]
    return number, Heard(frozenset(labels), _REAL.get(row["real"].casefold()))


def _class_named(name: str, classes: Sequence[str]) -> str:
    """As it is written, or else without case and the form of spaces, where that is one class only."""
    if name in classes:
        return name
    alike = [label for label in classes if key(readable(label)) == key(readable(name))]
    if len(alike) == 1:
        return alike[0]
    near = alike or get_close_matches(name, classes, n=1)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected {some(classes)} or {NONE_OF_THEM}"
    raise ValueError(f"class {name!r}; {meant}")


def evaluate_answers(path: Path, solution: Solution, answers: Mapping[int, Heard]) -> Listening:
    """What the answers of one listener, read from ``path``, say."""
    heard = [(clip, answers[clip.number]) for clip in solution.clips if clip.number in answers]
    right = [(clip, _is_right(clip, answer)) for clip, answer in heard]
    return Listening(
        answers=path,
        recognised=_shares(right),
        taken_for_real=_shares([(clip, answer.real) for clip, answer in heard if answer.real is not None]),
        per_class={label: _counts([row for row in right if label in row[0].labels]) for label in solution.classes},
        mistakes=tuple(
            Mistake(clip.number, clip.clip_id, clip.labels, tuple(sorted(answer.labels)))
            for clip, answer in heard
            if clip.kind == "synthetic" and not _is_right(clip, answer)
        ),
    )


def _is_right(clip: HeardClip, answer: Heard) -> bool:
    """Whether something was heard, and all that was heard is in the clip: few name all labels of many."""
    return bool(answer.labels) and answer.labels <= set(clip.labels)


def _counts(said: Sequence[tuple[HeardClip, bool]]) -> dict[Kind, tuple[int, int]]:
    """How many clips of each kind it was said of, and how many there are."""
    of_kind: dict[Kind, list[bool]] = {"real": [], "synthetic": []}
    for clip, word in said:
        of_kind[clip.kind].append(word)
    return {kind: (sum(words), len(words)) for kind, words in of_kind.items()}


def _shares(said: Sequence[tuple[HeardClip, bool]]) -> Shares:
    counts = _counts(said)
    real, synthetic = share(*counts["real"]), share(*counts["synthetic"])
    return Shares({kind: of for kind, (_, of) in counts.items()}, real, synthetic, share_difference(real, synthetic))
