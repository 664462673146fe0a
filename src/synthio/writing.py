"""Write files: whole or not at all, inside one folder, never through a link; full disks and refusals in plain words."""

from __future__ import annotations

import csv
import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from safetensors import SafetensorError

from synthio.errors import StoreError


def write_text(path: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the whole new one."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """As `write_text`, of lines without their ends."""
    write_text(path, "".join(line + "\n" for line in lines))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]], line_end: str = "\n") -> None:
    """As `write_text`. None is an empty field, and a float loses no digit."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{csv_line(row)}{line_end}" for row in chain([header], rows))


def csv_line(cells: Iterable[object]) -> str:
    """One row as CSV, without its end."""
    line = io.StringIO()
    # Of the characters of line ends in cells, `csv` quotes only those of its own line end.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines and flush them to disk; one that a kill cut short before ends where it is.

    Raises: `StoreError` when the disk is full, the folder cannot be written, or the file is a link.
    """
    try:
        check_no_link(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            if log.tell() and not _ends_with_newline(path):
                log.write(b"\n")
            log.write("".join(line + "\n" for line in lines).encode())
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        raise store_error(path, error) from error


def json_lines(text: str) -> list[str]:
    """The lines of a JSONL text that are not empty."""
    # Not `splitlines`: captions and file names may hold U+2028, U+0085 and the like, which JSON leaves as they are.
    return [line for line in text.split("\n") if line]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as log:
        log.seek(-1, os.SEEK_END)
        return log.read(1) == b"\n"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial path to write; on success it is flushed to disk and renamed over ``path``.

    Raises: `StoreError` when the disk is full or the folder cannot be written.
    """
    # Random, as processes of two machines may share both a folder and a number; without the file's own name, which may
    # be as long as a name can be.
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise store_error(path, error) from error
    finally:
        # Never hide the error above behind one of cleaning up (the folder may not exist).
        with suppress(OSError):
            partial.unlink()


def publish(source: Path, target: Path) -> None:
    """Put a copy of a folder of files in the place of ``target``, whole or not at all.

    Raises: `StoreError` when the disk is full, the folder cannot be written, or a file is a link that leaves it.
    """
    # Of a process that was killed meanwhile; who publishes holds the run folder.
    for left in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    token = secrets.token_hex(4)
    partial, old = (target.with_name(f".{target.name}.{token}-{part}.partial") for part in ("new", "old"))
    try:
        partial.mkdir(parents=True)
        for path in source.iterdir():
            # `copytree` tells a full disk in words only.
            shutil.copy2(inside(source, path.name), partial / path.name)
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError as error:
        raise store_error(target, error) from error
    finally:
        # Whatever came between the two: Ctrl-C is no OSError.
        if old.exists() and not target.exists():
            old.rename(target)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def make_readable(folder: Path) -> None:
    """Let who may read a folder read its files: safetensors writes weights for their maker alone."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(folder.stat().st_mode & 0o666)


@contextmanager
def saving_model(folder: Path) -> Iterator[None]:
    """For what writes a model's files to ``folder``, which are then for all who may read it.

    Raises: `StoreError` when the disk is full or the folder cannot be written.
    """
    try:
        yield
        make_readable(folder)
    except OSError as error:
        raise store_error(folder, error) from error
    except SafetensorError as error:
        raise StoreError(f"{folder}: weights cannot be written ({error}); free some space and run again") from error


def inside(folder: Path, name: str) -> Path:
    """``folder / name``, refusing names that leave the folder. Raises `StoreError`."""
    path = None if "\0" in name else (folder / name).resolve()
    if path is None or not path.is_relative_to(folder.resolve()):
        raise StoreError(f"{name!r} leaves {folder}; expected a path inside it")
    return path


def check_no_link(path: Path) -> None:
    """Raises: `StoreError` for a link: what lies behind it is not the run's own, to be changed or deleted."""
    if path.is_symlink():
        raise StoreError(
            f"{path}: is a link to {path.readlink()}, and a run changes only what lies in its own folder; remove the "
            "link, and run the same command again"
        )


def store_error(path: Path, error: OSError) -> StoreError:
    """What to tell of a file or folder that the system did not let us write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{path}: no space left on the disk; free some and run the same command again: it resumes")
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return StoreError(f"{path}: cannot be written ({reason}); give another place")
    return StoreError(f"{path}: cannot be written ({reason}); check the permissions of the folder")
