"""Files are written whole or not at all, inside their folder, and a full disk is told in plain words."""

from __future__ import annotations

import csv
import errno
import io
import string
from pathlib import Path

import pytest
from full_disk import no_file_above
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthio.errors import StoreError
from synthio.writing import (
    append_lines,
    csv_line,
    inside,
    make_readable,
    publish,
    replacing,
    store_error,
    write_csv,
    write_text,
)

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert [child.name for child in path.parent.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@given(row=st.lists(st.text(alphabet='ab,"\r\n; ', max_size=4), min_size=2, max_size=3))
@unhurried
def test_a_table_is_read_back_whatever_its_cells(
    tmp_path_factory: pytest.TempPathFactory, line_end: str, row: list[str]
) -> None:
    """Cells with a line break, as of a spreadsheet, were cut into two rows where it was not the table's own."""
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, ["x", "y"], [row], line_end)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["x", "y"], row]
    assert next(csv.reader(io.StringIO(csv_line(row), newline=""))) == row


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def test_lines_are_not_added_through_a_link(tmp_path: Path) -> None:
    """A run folder from elsewhere, whose log of timings led to `~/.bashrc`, had a line written there."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "timings.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match=r"timings.jsonl: is a link to .*mine.*remove the link"):
        append_lines(tmp_path / "timings.jsonl", ["{}"])
    assert (tmp_path / "mine").read_text() == "mine"


@needs_dev_full
def test_a_full_disk_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_text(path, "old")
    with pytest.raises(StoreError, match="no space left"), replacing(path) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("new")
    assert path.read_text() == "old"


def test_a_place_that_cannot_be_is_no_matter_of_permissions(tmp_path: Path) -> None:
    assert "give another place" in str(store_error(tmp_path, OSError(errno.ENOENT, "No such file or directory")))
    assert "check the permissions" in str(store_error(tmp_path, OSError(errno.EACCES, "Permission denied")))


def test_a_name_may_be_as_long_as_the_system_lets_it_be(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.csv"
    write_text(path, "whole")
    assert [found.name for found in tmp_path.iterdir()] == [path.name] and path.read_text() == "whole"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a/b/../../../x", "a\0b"])
def test_inside_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(StoreError, match="leaves"):
        inside(folder, name)


def test_inside_refuses_links_that_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(StoreError):
        inside(folder, "out/x")


@unhurried
@given(st.lists(st.text(string.ascii_letters + " .-é", min_size=1, max_size=8), min_size=1, max_size=4))
def test_inside_is_what_it_says(parts: list[str]) -> None:
    folder = Path("/nowhere/run")
    try:
        path = inside(folder, "/".join(parts))
    except StoreError:
        assert ".." in parts
    else:
        assert path.is_relative_to(folder)


def test_a_published_folder_replaces_another_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
        publish(tmp_path / name, tmp_path / "model")
        assert [path.name for path in (tmp_path / "model").iterdir()] == [f"{name}.txt"]
        # As a kill leaves it.
        (tmp_path / f".model.{name}.partial").mkdir()
    publish(tmp_path / "second", tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "model"}
    with pytest.raises(StoreError, match="cannot be written"):
        publish(tmp_path / "none", tmp_path / "model")
    with no_file_above(3), pytest.raises(StoreError, match="cannot be written"):
        publish(tmp_path / "first", tmp_path / "model")
    assert (tmp_path / "model" / "second.txt").is_file()


def test_ctrl_c_between_two_published_folders_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It deleted both."""
    for name in ("new", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if path.name == "model":
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "new", tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "model"
    assert {path.name for path in tmp_path.iterdir()} == {"new", "model"}


def test_who_may_read_a_folder_may_read_what_is_shared_in_it(tmp_path: Path) -> None:
    """safetensors gives weights to their maker alone: another user of the machine could not classify with them."""
    folder = tmp_path / "model"
    folder.mkdir(mode=0o755)
    (folder / "deep").mkdir()
    for path in (folder / "a.safetensors", folder / "deep" / "b.json"):
        path.touch(mode=0o600)
    make_readable(folder)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {folder.stat().st_mode & 0o666}


def test_a_model_folder_is_neither_shared_nor_published_through_its_links(tmp_path: Path) -> None:
    """What a link led to was made readable for all, and copied into `model/`, which is there to be given away."""
    (tmp_path / "key").touch(mode=0o600)
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "same.json").symlink_to(folder / "config.json")
    publish(folder, tmp_path / "model")
    assert (tmp_path / "model" / "same.json").read_text() == "{}"
    (folder / "vocab.txt").symlink_to(tmp_path / "key")
    make_readable(folder)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="'vocab.txt' leaves .*made"):
        publish(folder, tmp_path / "model")
    assert not (tmp_path / "model" / "vocab.txt").exists()
