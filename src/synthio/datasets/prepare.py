"""`synthio data prepare`: check the archives of an official dataset, unpack them, read what came out. No downloads."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from synthio.config import DataConfig
from synthio.datasets import read_rows
from synthio.datasets.checks import counts_by_class
from synthio.datasets.excerpts import cut_excerpts
from synthio.datasets.layout import Archive, OfficialDataset
from synthio.datasets.official import OFFICIAL
from synthio.datasets.rows import Row
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.recipes import user_path
from synthio.records import SPLITS

#: What a dataset needs besides unpacking.
_CONVERT: Mapping[str, Callable[[Path, Reporter], None]] = {"musdb18": cut_excerpts}
_CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)
NOT_HERE = "not here"


@dataclass(frozen=True)
class Prepared:
    """What lies in the folder now."""

    name: str
    root: str
    """What `data.path` is to be."""
    archives: dict[str, str]
    """Per archive of the release: what was found and done."""
    counts: dict[str, dict[str, int]]
    """Usable files per class and split; files without an official split are under ``drawn``."""
    splits: dict[str, int]
    """Usable files per split; one with several labels counts once."""
    rejected: dict[str, int]
    """Files per reason."""
    recipe: str
    """The line for a recipe."""


def prepare(name: str, folder: Path, reporter: Reporter) -> Prepared:
    """Verify and unpack the archives in ``folder``, convert what needs it, and read the dataset.

    Every step can be repeated: files that are already there with the right size are left alone.

    Raises: `DataError` for an unknown name, a damaged or unsafe archive, or a folder that holds no such dataset.
    """
    if name not in OFFICIAL:
        raise DataError(f"{name!r} is no official dataset; known are {', '.join(OFFICIAL)}")
    dataset, folder = OFFICIAL[name], user_path(folder).absolute()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; make it and put the archives of {dataset.title} there")
    try:
        archives = {archive.name: _archive(folder, archive, dataset, reporter) for archive in dataset.archives}
        root = _root(dataset, folder, archives)
        if name in _CONVERT:
            _CONVERT[name](root, reporter)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read or written ({error.strerror or error}); check it") from error
    rows = read_rows(DataConfig.model_validate({"path": str(root), "reader": name}))
    return Prepared(name, str(root), archives, *_counts(rows), _reasons(rows), recipe_line(dataset, root))


def recipe_line(dataset: OfficialDataset, root: Path) -> str:
    """The ``data`` section of a recipe, as one line of YAML."""
    separator = "" if dataset.label_separator is None else f", label_separator: {_quoted(dataset.label_separator)}"
    path = _quoted(str(root))
    return f"data: {{reader: {dataset.name}, path: {path}, domain: {dataset.domain}{separator}, duplicates: drop}}"


def verify(path: Path, md5: str, reporter: Reporter) -> None:
    """Raises: `DataError` when a file does not have the published checksum."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, reporter.task(f"check {path.name}", -(-path.stat().st_size // _CHUNK)) as advance:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            advance(1)
    if digest.hexdigest() != md5:
        raise DataError(
            f"{path}: its MD5 is {digest.hexdigest()}; the makers published {md5}; "
            "the download is damaged or of another version: get it again"
        )


def unpack(path: Path, target: Path) -> int:
    """Unpack a tar or zip into ``target``; nothing is ever written outside. Returns: how many files were written.

    Raises: `DataError` for a damaged archive, one with a password, or one with a member that leaves ``target``; what
    was written of it is removed, since a file of the right size is taken for whole the next time, and what stood there
    before (a file of another size is replaced) is put back.
    """
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with TemporaryDirectory(prefix=".", dir=target) as aside, ExitStack() as undo:
            for file in _unzip(path, target) if path.suffix.lower() == ".zip" else _untar(path, target):
                if file.is_file():
                    undo.callback(file.rename(Path(aside) / str(count)).rename, file)
                undo.callback(file.unlink, missing_ok=True)
                count += 1
            undo.pop_all()
    except tarfile.FilterError as error:
        raise DataError(f"{path}: refused: {error}; expected members inside the folder only") from error
    except _DAMAGED as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); get it again, or unpack it yourself") from error
    return count


def _unzip(path: Path, target: Path) -> Iterator[Path]:
    """Every file, before it is written."""
    base = target.resolve()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            # Also what comes back inside: `extract` leaves the dots out, and would write another file.
            if ".." in Path(member.filename).parts or not (base / member.filename).resolve().is_relative_to(base):
                raise DataError(f"{path}: refused: {member.filename!r} leads outside {target}")
        for member in members:
            if not member.is_dir() and not _is_there(target / member.filename, member.file_size):
                yield target / member.filename
                archive.extract(member, target)


def _untar(path: Path, target: Path) -> Iterator[Path]:
    """Every file, before it is written."""
    with tarfile.open(path) as archive:
        for member in archive:
            safe = tarfile.data_filter(member, str(target))
            if safe.isfile() and _is_there(target / safe.name, safe.size):
                continue
            if not safe.isdir():
                yield target / safe.name
            archive.extract(member, target, filter="data")
        # Its end mark comes before the checksum of what it is packed with.
        while archive.fileobj is not None and archive.fileobj.read(_CHUNK):
            pass


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _archive(folder: Path, archive: Archive, dataset: OfficialDataset, reporter: Reporter) -> str:
    """Verify and unpack one archive; what came of it, in words."""
    path = folder / archive.name
    if not path.is_file():
        return NOT_HERE
    if archive.md5:
        verify(path, archive.md5, reporter)
    state = "verified" if archive.md5 else "no checksum is published"
    if archive.name.endswith(".csv"):
        return state
    if whole := _part_of(archive, dataset):
        if (folder / whole).is_dir():
            return f"{state}; part of a split zip, and {whole}/ is there"
        return f"{state}; part of a split zip: run `zip -s 0 {whole}.zip --out whole.zip && unzip whole.zip`"
    reporter.note(f"unpacking {archive.name}")
    return f"{state}; unpacked {unpack(path, folder / archive.into)} new file(s)"


def _part_of(archive: Archive, dataset: OfficialDataset) -> str | None:
    """The stem of a zip that is split into ``.z01``, ``.z02``, ...: the standard library cannot read those."""
    stem, _, _ = archive.name.rpartition(".")
    parts = [other.name for other in dataset.archives if re.fullmatch(re.escape(stem) + r"\.z\d\d", other.name)]
    return stem if parts else None


def _root(dataset: OfficialDataset, folder: Path, archives: Mapping[str, str]) -> Path:
    """The dataset's root: the folder, or its one fitting sub-folder."""
    if dataset.is_root(folder):
        return folder
    near = dataset.near(folder)
    if len(near) == 1 and near[0].parent == folder:
        return near[0]
    try:
        return dataset.check(folder)
    except DataError as error:
        done = "".join(f"\n  {name}: {what}" for name, what in archives.items())
        raise DataError(f"{error}\narchives of the release:{done or ' none; see the source'}") from error


def _counts(rows: Iterable[Row]) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Usable files per class and split, and per split."""
    usable = [(row.labels, str(row.split or "drawn")) for row in rows if row.rejected is None]
    per_split = Counter(split for _, split in usable)
    splits = {split: per_split[split] for split in (*SPLITS, "drawn") if split in per_split}
    return counts_by_class(usable, tuple(splits)), splits


def _reasons(rows: Iterable[Row]) -> dict[str, int]:
    return dict(Counter(row.rejected for row in rows if row.rejected is not None).most_common())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
