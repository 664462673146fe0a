"""Which file a table means that was written on another machine."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from synthio.datasets.rows import normalised_text
from synthio.files import AUDIO_SUFFIXES, audio_files


class Recordings:
    """The audio files below a folder, found by path or, where that is of another machine, by name.

    ``column_setting``: the option or setting that names the column they are told by, for reasons that name it.
    """

    def __init__(self, folder: Path, column_setting: str) -> None:
        self._folder = folder
        self._column_setting = column_setting
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._folders: set[str] = set()
        self._is_site: dict[Path, bool] = {}
        for path in audio_files(folder):
            self._folders.update(map(folded, self._parents(path)))
            self._by_name[folded(path.name)].append(path)
            self._by_name[folded(path.stem)].append(path)

    def find(self, name: str, beside: Path | None = None) -> Path | str:
        """The file that a table names, with or without its ending; or why there is none. A name without a folder may be
        that of several: then it is the one in a folder called like that of the table ``beside``."""
        if not name:
            return "names no recording"
        for spelling in (name, name.replace("\\", "/")):
            try:
                path = self._folder / spelling
                if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                    return path
            except (OSError, ValueError):
                # Too long for a name, or no name at all.
                break
        last, *folders = re.split(r"[/\\]", name)[::-1]
        told = [folder for folder in folders if folder not in ("", ".", "..") and not folder.endswith(":")]
        if not told and beside is not None:
            return self._one_near(beside, last)
        found = self._one(last, *told)
        return found if isinstance(found, str) or self._lies_in(found, told) else self._elsewhere()

    def named_like(self, table: Path) -> Path | str:
        """``rec1.Table.1.selections.txt`` is about ``rec1.wav``; of several, that in a folder called like its own."""
        parts = table.name.split(".")
        for count in range(len(parts), 0, -1):
            if folded(".".join(parts[:count])) in self._by_name:
                return self._one_near(table, ".".join(parts[:count]))
        return "its table names no recording, and none is called like the table"

    def _one_near(self, table: Path, name: str) -> Path | str:
        """Not in another site's folder where the table lies in the folder of a site that is here too."""
        home = table.absolute().parent
        found = self._one(name, *home.parts[::-1])
        if isinstance(found, str):
            return found
        if home not in self._is_site:
            self._is_site[home] = self._names_a_site(table)
        here = self._lies_in(found, [home.name]) if self._folders else folded(home.name) == folded(self._folder.name)
        return self._elsewhere() if self._is_site[home] and not here else found

    def _names_a_site(self, table: Path) -> bool:
        """Whether the folder of a table is called as one of recordings is, or lies beside another with such tables that
        is: then it is a site, also where its recordings are missing."""
        home = table.absolute().parent
        if home.resolve() == self._folder.resolve():
            return False
        # `glob` passes over folders that may not be read.
        beside = [path for path in home.parent.glob("*") if path.is_dir() and not path.is_relative_to(self._folder)]
        sites = [home, *(path for path in beside if any(file.suffix == table.suffix for file in path.glob("*")))]
        return bool({folded(path.name) for path in sites} & (self._folders or {folded(self._folder.name)}))

    def _parents(self, path: Path) -> tuple[str, ...]:
        """The folders between the audio folder and a file, innermost first."""
        return path.relative_to(self._folder).parent.parts[::-1]

    def _lies_in(self, path: Path, folders: Sequence[str]) -> bool:
        """As far as both go, innermost first: of `dog/1.wav` and `cat/1.wav` one may be missing."""
        return all(folded(here) == folded(told) for here, told in zip(self._parents(path), folders, strict=False))

    def _elsewhere(self) -> str:
        """Why a file of the right name is not it."""
        return (
            "no such file; one of its name is in another folder: if that is it, name a column of names alone "
            f"({self._column_setting}), or call its folder as the table does"
        )

    def _one(self, name: str, *folders: str) -> Path | str:
        """``folders``: those around it in the table's own path, innermost first, which tell files of one name apart.
        Where none has the name, one may be the same in another format."""
        found = self._by_name.get(folded(name), [])
        if not found and Path(name).suffix.lower() in AUDIO_SUFFIXES:
            found = self._by_name.get(folded(Path(name).stem), [])
        for depth, folder in enumerate(folders):
            alike = [path for path in found if folded("".join(path.parts[-2 - depth : -1 - depth])) == folded(folder)]
            if len(found) < 2 or not alike:
                break
            found = alike
        if len(found) > 1:
            return (
                "several recordings have its recording's name, and no path tells which; name a column of paths "
                f"({self._column_setting})"
            )
        return found[0] if found else "its recording is not in the audio folder"


def folded(name: str) -> str:
    """A name as another machine may have written it: composed, in small letters."""
    return normalised_text(name).casefold()
