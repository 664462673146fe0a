"""Packages of public registries (Debian, npm, PyPI): fetched once, checksum verified, files taken out by name."""

from __future__ import annotations

import csv
import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Literal

from synthio.errors import BackendError, DataError, MissingDependency

Registry = Literal["debian", "npm", "pypi"]

_EXTRA = "fetching packages needs pooch and python-debian: pip install 'synthio[pretrain]'"
#: OpenClonk's groups are gzip streams that begin with these bytes instead of gzip's own.
_C4GROUP_MAGIC = b"\x1e\x8c"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Package:
    """One release. ``address`` is a URL; of Debian packages, what follows a mirror's own address."""

    package: str
    registry: Registry
    version: str
    address: str
    sha256: str
    size_bytes: int


def read_packages(table: Path) -> dict[str, Package]:
    """The packages of a CSV table, by name. Raises: `DataError` for a missing table, column or value."""
    names = [field.name for field in fields(Package)]
    found: dict[str, Package] = {}
    for number, row in enumerate(read_rows(table, names), start=2):
        if row["registry"] not in ("debian", "npm", "pypi") or not row["size_bytes"].isdigit():
            raise DataError(f"{table} line {number}: expected registry debian, npm or pypi, and a size in bytes")
        values = {name: row[name] for name in names} | {"size_bytes": int(row["size_bytes"])}
        found[row["package"]] = Package(**values)  # type: ignore[arg-type]
    return found


def read_rows(table: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """Rows of a UTF-8 CSV table. Raises: `DataError` when it is missing or lacks one of ``columns``."""
    if not table.is_file():
        raise DataError(f"{table}: no such table")
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := sorted(set(columns) - set(reader.fieldnames or ())):
            raise DataError(f"{table}: has no column {missing}; expected {sorted(columns)}")
        return list(reader)


def fetch(package: Package, folder: Path, debian_mirrors: Sequence[str]) -> Path:
    """The package's file under ``folder``, downloaded unless it is there already.

    Returns: its path.
    Raises: `DataError` when its SHA-256 is not the recorded one, `BackendError` when no address has it,
        `MissingDependency` without pooch.
    """
    try:
        import pooch
        import requests
    except ImportError as error:
        raise MissingDependency(_EXTRA) from error
    pooch.get_logger().setLevel("WARNING")
    mirrors = [f"{mirror.rstrip('/')}/" for mirror in debian_mirrors] if package.registry == "debian" else [""]
    failures = []
    for mirror in mirrors:
        url = f"{mirror}{package.address}"
        try:
            return Path(pooch.retrieve(url, f"sha256:{package.sha256}", _file_name(package), folder))
        except ValueError as error:
            raise DataError(f"{url}: is not the recorded file ({error}); another release stands there now") from error
        except (requests.RequestException, OSError) as error:
            failures.append(f"{url}: {error}")
    raise BackendError(
        f"{package.package} {package.version} could not be fetched; set debian_mirrors, or put the file at "
        f"{folder / _file_name(package)}:\n" + "\n".join(failures)
    )


def _file_name(package: Package) -> str:
    return f"{package.package}-{package.sha256[:12]}"


def unpack(package: Package, archive: Path, members: Collection[str], folder: Path) -> dict[str, Path]:
    """Write ``members`` of an archive as numbered files under ``folder``; OpenClonk's groups decompressed.

    Returns: the file of each member.
    Raises: `DataError` for a damaged archive and for members that it does not have.
    """
    wanted = {name: folder / f"{number:04d}{Path(name).suffix}" for number, name in enumerate(sorted(members))}
    missing = set(wanted)
    try:
        with _opened(package, archive) as files:
            for name, file in files:
                if name in missing:
                    with wanted[name].open("wb") as target:
                        shutil.copyfileobj(file, target)
                    _decompress_group(wanted[name])
                    missing.discard(name)
                if not missing:
                    break
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: is damaged ({error}); delete it and run the same command again") from error
    if missing:
        raise DataError(f"{archive}: {package.package} {package.version} has no {sorted(missing)[:3]}")
    return wanted


@contextmanager
def _opened(package: Package, archive: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Name and content of every regular file, in the archive's order: a compressed tar is read once."""
    if package.registry == "pypi":
        with zipfile.ZipFile(archive) as wheel:
            yield ((name, wheel.open(name)) for name in wheel.namelist() if not name.endswith("/"))
    elif package.registry == "npm":
        with tarfile.open(archive) as tar:
            yield _regular_files(tar)
    else:
        try:
            from debian.debfile import DebError, DebFile
        except ImportError as error:
            raise MissingDependency(_EXTRA) from error
        try:
            deb = DebFile(str(archive))
        except DebError as error:
            raise DataError(f"{archive}: is no Debian package ({error}); delete it and run again") from error
        with deb.data.tgz() as tar:
            yield _regular_files(tar)


def _regular_files(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        file = tar.extractfile(member) if member.isfile() else None
        if file is not None:
            yield member.name.removeprefix("./"), file


def _decompress_group(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(2) != _C4GROUP_MAGIC:
            return
    file.write_bytes(gzip.decompress(_GZIP_MAGIC + file.read_bytes()[2:]))
