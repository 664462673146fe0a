"""Which files of a folder are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthio.errors import DataError
from synthio.files import audio_files, with_folders


def test_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/c.wav", "b/._c.wav", "b/__MACOSX/d.wav", "lost+found/e.wav", "a.FLAC", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "in" / "b" / "circle").symlink_to(tmp_path / "in")
    found = [path.relative_to(tmp_path / "in").as_posix() for path in audio_files(tmp_path / "in")]
    assert found == ["a.FLAC", "b/c.wav", "gone.wav"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "c.wav").touch()
    (tmp_path / "one" / "phone.M4A").touch()
    given = [tmp_path / "x.wav", tmp_path / "one"]
    assert with_folders(given) == [tmp_path / "x.wav", tmp_path / "one" / "c.wav", tmp_path / "one" / "phone.M4A"]
    with pytest.raises(DataError, match="empty: no audio files there"):
        with_folders([tmp_path / "in", tmp_path / "empty"])
