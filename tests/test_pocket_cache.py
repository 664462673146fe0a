"""Where the pocket models are built and kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from synthio.backends import pocket
from synthio.errors import ModelError


def build(built: list[Path], folder: Path) -> None:
    """A cache entry; ``built`` counts."""
    built.append(folder)
    assert not list(folder.iterdir())
    (folder / "config.json").write_text("{}")


def test_a_cache_may_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built in a temporary folder, a model could be read by whoever had built it alone."""
    built: list[Path] = []
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    tmp_path.chmod(0o755)
    made = pocket._cached("ast", "1", partial(build, built))
    assert made.stat().st_mode & 0o777 == 0o755
    assert pocket._cached("ast", "1", partial(build, built)) == made and len(built) == 1


def test_the_cache_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SYNTHIO_CACHE", "~/models")
    assert pocket.cache_folder() == tmp_path / "models"


def test_a_killed_or_failed_build_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        build([], folder)
        raise ModelError("the wheel is damaged")

    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="damaged"):
        pocket._cached("ast", "1", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    # As a kill leaves it.
    (tmp_path / ".ast-1.partial" / "ast-1").mkdir(parents=True)
    (tmp_path / ".ast-1.partial" / "ast-1" / "half.safetensors").touch()
    made = pocket._cached("ast", "1", partial(build, []))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [made]
    assert [path.name for path in made.iterdir()] == ["config.json"]


def test_two_processes_build_one_cache_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: pocket._cached("ast", "1", partial(build, built)), range(4)))
    assert len(set(folders)) == len(built) == 1
