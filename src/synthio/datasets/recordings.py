"""Which file a table means that was written on another machine."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from synthio.audio import AUDIO_SUFFIXES, audio_files
from synthio.datasets.rows import clean


class Recordings:
    """The audio files below a folder, found by path or, where that is of another machine, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in audio_files(folder):
            self._by_name[folded(path.name)].append(path)
            self._by_name[folded(path.stem)].append(path)

    def find(self, name: str) -> Path | str:
        """The file that a table names, with or without its ending; or why there is none."""
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
        return self._one(*re.split(r"[/\\]", name)[::-1])

    def named_like(self, table: Path) -> Path | str:
        """``rec1.Table.1.selections.txt`` is about ``rec1.wav``; of several, that in a folder called like its own."""
        parts, folders = table.name.split("."), table.absolute().parent.parts[::-1]
        for count in range(len(parts), 0, -1):
            if folded(".".join(parts[:count])) in self._by_name:
                return self._one(".".join(parts[:count]), *folders)
        return "its table names no recording, and none is called like the table"

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
                "(--recording-column, data.path_column)"
            )
        return found[0] if found else "its recording is not in the audio folder"


def folded(name: str) -> str:
    """A name as another machine may have written it: composed, in small letters."""
    return clean(name).casefold()
