"""The long-format results of `synthio bench`: one CSV row per cell, a cell being (dataset, n, arm, seed)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from synthio.errors import DataError
from synthio.frozen import Frozen
from synthio.writing import write_csv

_Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
# A mean of ones can exceed 1 by rounding, and hours of training must not be lost to that.
_Fraction = Annotated[float, Field(ge=0, le=1 + 1e-9)]
# Above any bench, and small enough to be computed with.
_MOST = 10**12
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Seconds = Annotated[float, Field(ge=0, le=_MOST)]


class Result(Frozen):
    """One arm on the test split of one cell."""

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: _Name
    n: Annotated[int, Field(ge=1, le=_MOST)]
    """Real training clips that the arms may use."""
    arm: _Name
    seed: int
    metric: Literal["accuracy", "balanced accuracy", "mAP", "macro-F1"]
    value: _Fraction
    """Of ``metric``."""
    macro_f1: _Fraction
    head: _Fraction | None = None
    """Mean score per class over the classes most frequent in training; only where training is long-tailed."""
    medium: _Fraction | None = None
    tail: _Fraction | None = None
    n_train: _Count
    """Real clips that were trained on."""
    n_added: _Count
    """Synthetic, retrieved or varied clips that were added."""
    n_valid: _Count
    n_test: _Count
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the clips that the seed drew for the test; 0 where the data has its own."""
    train_s: _Seconds
    """The arm's own trainings."""
    shared_s: _Seconds
    """All other stages that the arm needed (captions, alignment, generation, ...), in full even when shared."""
    recipe: _Name
    """Fingerprint of the arm's resolved recipe."""

    @property
    def cell(self) -> tuple[str, int, str, int]:
        """What identifies the row, and its place in a file."""
        return self.dataset, self.n, self.arm, self.seed


_COLUMNS = tuple(Result.model_fields)


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write atomically, sorted by cell: the same results give the same rows in any order. Floats round-trip.

    Raises: `StoreError` when the file cannot be written.
    """
    ordered = sorted(results, key=lambda result: result.cell)
    write_csv(path, _COLUMNS, (result.model_dump().values() for result in ordered))


def read_results(paths: Iterable[Path]) -> list[Result]:
    """The rows of all files, sorted by cell. Of a cell that occurs twice with one recipe, the first row counts.

    Raises: `DataError` for a file that cannot be read or is no results file, and for a cell of two different recipes.
    """
    found: dict[tuple[str, int, str, int], tuple[Result, Path]] = {}
    for path in paths:
        for result in _rows(path):
            first, where = found.setdefault(result.cell, (result, path))
            if first.recipe != result.recipe:
                raise DataError(
                    f"{where} and {path}: both have dataset {result.dataset!r}, n = {result.n}, arm {result.arm!r}, "
                    f"seed {result.seed}, but of different recipes ({first.recipe} and {result.recipe}); expected one "
                    "recipe per arm; leave out one of the files, or run the older one's benchmark again"
                )
    return [result for _, (result, _) in sorted(found.items())]


def read_kept(path: Path) -> list[Result]:
    """What `keep_results` has kept; nothing without the file. Raises: `DataError` when it cannot be read."""
    return list(_rows(path)) if path.exists() else []


def keep_results(path: Path, results: Iterable[Result]) -> list[Result]:
    """Add the rows that the file lacks. It may hold a cell once per recipe, and of equal ones the first counts.

    Returns: all that are kept.
    Raises: `DataError` when the file is there and cannot be read, `StoreError` when it cannot be written.
    """
    before = read_kept(path)
    rows = {(result.cell, result.recipe): result for result in (*results, *before)}
    kept = [rows[key] for key in sorted(rows)]
    if len(kept) > len(before):
        write_results(path, kept)
    return kept


def _rows(path: Path) -> Iterator[Result]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _check_header(path, reader.fieldnames or ())
            for row in reader:
                yield _result(path, reader.line_num, row)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); expected a results file of `synthio bench`; "
            "check the path"
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no CSV ({error}); expected a results file of `synthio bench`") from error


def _check_header(path: Path, names: Iterable[str]) -> None:
    found = list(names)
    missing = [name for name in _COLUMNS if name not in found]
    unknown = [name for name in found if name not in _COLUMNS]
    repeated = sorted({name for name in found if found.count(name) > 1})
    if missing or unknown or repeated:
        raise DataError(
            f"{path}: columns missing: {missing}, unknown: {unknown}, repeated: {repeated}; expected the columns "
            f"{', '.join(_COLUMNS)}; give a results file that this version of `synthio bench` wrote"
        )


def _result(path: Path, line: int, row: dict[str, Any]) -> Result:
    # `DictReader` files surplus fields under the key None, and fills fields that are missing with None.
    if None in row or None in row.values():
        raise DataError(
            f"{path}: line {line} does not have {len(_COLUMNS)} fields; delete the line, or run the benchmark again"
        )
    try:
        return Result.model_validate({name: None if field == "" else field for name, field in row.items()})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors())
        raise DataError(
            f"{path}: line {line}: {problems}; correct or delete the line, or run the benchmark again"
        ) from error
