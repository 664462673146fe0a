"""Walk folders: what is there, and which of it is audio, by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from synthio.errors import DataError

#: What `audio.load` opens; the decoder is libsndfile.
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".opus"})
#: Also what nobody should wonder about when it is left out.
_ANY_AUDIO = AUDIO_SUFFIXES | {".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".ape", ".wv"}


def is_hidden(name: str) -> bool:
    """Files and folders that nobody put there: of macOS archives (``._a.wav``, ``__MACOSX``), of Windows' Explorer, of
    Linux' disks."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini", "lost+found")


def files_below(folder: Path, is_left_out: Callable[[str], bool] = is_hidden) -> Iterator[Path]:
    """Every file under ``folder``, links followed, each real folder once (links may form a circle); without the files
    and folders whose names are left out. Raises: `DataError` for a folder that cannot be read."""
    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(parent).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not is_left_out(name))
        yield from (Path(parent) / name for name in sorted(names) if not is_left_out(name))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def audio_files(folder: Path) -> list[Path]:
    """The audio of `files_below`, by its suffix, sorted; also links to nothing, which must not go unseen."""
    return _with_suffix(folder, AUDIO_SUFFIXES)


def _with_suffix(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(path for path in files_below(folder) if path.suffix.lower() in suffixes)


def with_folders(paths: Iterable[Path]) -> list[Path]:
    """The paths in order; for a folder its audio files, also those that `audio.load` refuses. Raises: `DataError` for a
    folder without."""
    found: list[Path] = []
    for path in paths:
        inside = _with_suffix(path, _ANY_AUDIO) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: no audio files there")
        found += inside
    return found
