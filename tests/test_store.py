"""The run folder: one process at a time, resume after a kill at any byte, a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import no_file_above
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from synthio.cli import app
from synthio.errors import MissingArtefact, StoreError
from synthio.records import Caption, RejectedClip
from synthio.store import StageFolder, check_run_folder, fingerprint, working_in
from synthio.writing import write_text

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Characters that break naive line splitting: separators that `str.splitlines` honours and JSON leaves as they are.
ODD = '\u2028\u2029\x85\x0b\x0c\x1c\r\n\t\0"\\é💥'


def records(count: int = 2) -> list[Caption]:
    return [Caption(id=f"clip-{i}", text=f"{i}{ODD}") for i in range(count)]


def stage(root: Path) -> StageFolder:
    return StageFolder(root, "caption", "abc")


def test_a_run_never_goes_among_other_files(tmp_path: Path) -> None:
    """A project's own dataset/ and model/ were once emptied and replaced."""
    check_run_folder(tmp_path / "new")
    check_run_folder(tmp_path)
    (tmp_path / "dataset").mkdir()
    with pytest.raises(StoreError, match=r"holds other files \(dataset\).*set run_folder"):
        check_run_folder(tmp_path)
    for own in ("stages", "stages/v-1", ".lock", "recipe.yaml"):
        (tmp_path / own).mkdir()
        with pytest.raises(StoreError, match="holds other files"):
            check_run_folder(tmp_path)
    # A finished run, also of a version without a lock.
    StageFolder(tmp_path, "generate-2", fingerprint("x")).finish([], {})
    check_run_folder(tmp_path)


def test_a_run_that_was_killed_or_lost_its_stages_goes_on_in_its_folder(tmp_path: Path) -> None:
    with working_in(tmp_path):
        check_run_folder(tmp_path)
    for name in (".0123456789abcdef.partial", ".DS_Store", "recipe.yaml", "stages", "timings.jsonl", "dataset"):
        (tmp_path / name).mkdir()
        check_run_folder(tmp_path)
    (tmp_path / "stages").rmdir()
    check_run_folder(tmp_path)


def test_append_and_items_keep_any_text(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    folder.append(records())
    assert list(folder.items(Caption).values()) == records()


def test_the_manifest_keeps_any_text_and_the_order_given(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    folder.finish(records()[::-1], {"captions": 2})
    assert folder.manifest(Caption) == records()[::-1]
    assert folder.summary() == {"captions": 2}


@unhurried
@given(text=st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = stage(tmp_path_factory.mktemp("run"))
    record = RejectedClip(id="x", path=text, reason=text)
    folder.append([record])
    folder.finish([record], {})
    assert folder.items(RejectedClip) == {"x": record}
    assert folder.manifest(RejectedClip) == [record]


def test_a_kill_at_any_byte_loses_only_the_line_being_written(tmp_path: Path) -> None:
    whole = stage(tmp_path / "whole")
    whole.append(records())
    content = (whole.path / "items.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    folder = stage(tmp_path / "cut")
    folder.path.mkdir(parents=True)
    for cut in range(len(content) + 1):
        (folder.path / "items.jsonl").write_bytes(content[:cut])
        # A line is whole once its closing brace is there, with or without the newline.
        complete = sum(end - 1 <= cut for end in ends)
        assert list(folder.items(Caption)) == [record.id for record in records()[:complete]], cut
        folder.append([Caption(id="next", text="after the restart")])
        assert list(folder.items(Caption)) == [*(record.id for record in records()[:complete]), "next"], cut


def test_an_item_made_again_replaces_the_first(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    folder.append([Caption(id="a", text="old")])
    folder.append([Caption(id="a", text="new")])
    assert folder.items(Caption)["a"].text == "new"


def test_items_before_any_work_are_none(tmp_path: Path) -> None:
    assert stage(tmp_path).items(Caption) == {}


def test_the_done_marker_comes_last(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    (folder.path / "done.json").mkdir(parents=True)  # the marker cannot be written
    with pytest.raises(StoreError):
        folder.finish(records(), {})
    assert (folder.path / "manifest.jsonl").is_file()
    assert not folder.done


def test_an_unfinished_stage_names_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    folder.append(records())
    with pytest.raises(MissingArtefact, match="run `synthio caption` with the same recipe"):
        folder.manifest(Caption)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("clips", "run"),
        ("losers", "run"),
        ("generate-2", "run"),
        ("gate", "run"),
        ("align", "align"),
        ("train", "train"),
        ("evaluate", "evaluate t2a"),
    ],
)
def test_what_has_not_run_names_a_command_that_there_is(name: str, command: str, tmp_path: Path) -> None:
    """It named `synthio losers` and `synthio clips`, which are none."""
    with pytest.raises(MissingArtefact, match=f"run `synthio {command}` with the same recipe"):
        StageFolder(tmp_path, name, "k").summary()
    assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0


@pytest.mark.parametrize("damage", ["not json", '{"id": "a"}', "[1]", ""])
def test_a_damaged_finished_stage_is_a_store_error(tmp_path: Path, damage: str) -> None:
    folder = stage(tmp_path)
    folder.finish(records(), {})
    name = "done.json" if damage in {"", "[1]"} else "manifest.jsonl"
    (folder.path / name).write_text(damage + "\n")
    with pytest.raises(StoreError, match="damaged"):
        folder.manifest(Caption)


def test_a_manifest_cut_between_two_lines_is_damaged(tmp_path: Path) -> None:
    """As an interrupted copy of a run folder leaves it: there were silently fewer clips, or a traceback."""
    folder = stage(tmp_path)
    folder.finish(records(3), {"captions": 3})
    manifest, done = folder.path / "manifest.jsonl", folder.path / "done.json"
    whole = manifest.read_text()
    for left in (0, 1, 2):
        manifest.write_text("".join(line + "\n" for line in whole.split("\n")[:left]))
        with pytest.raises(StoreError, match=rf"manifest.jsonl: is damaged \({left} records; 3 were written\); delete"):
            folder.manifest(Caption)
    done.write_text('{"captions": 3}')
    with pytest.raises(StoreError, match=r"done.json: is damaged \('records' is not in it\); delete"):
        folder.manifest(Caption)


def test_a_summary_that_lacks_what_is_asked_of_it_is_damaged(tmp_path: Path) -> None:
    """It was a KeyError, or a ValidationError."""
    folder = stage(tmp_path)
    folder.finish([], {"id": "a", "text": "b"})
    assert folder.summary_as(Caption) == Caption(id="a", text="b")
    (folder.path / "done.json").write_text("{}")
    with pytest.raises(StoreError, match=r"done.json: is damaged \('text' is not in it\); delete .*-abc and run"):
        folder.summary()["text"]
    with pytest.raises(StoreError, match=r"done.json: is damaged .*delete .*caption-abc and run"):
        folder.summary_as(Caption)


@pytest.mark.parametrize("damage", [b'{"id": "a", "te', b"{}", b"12", b"\xff", None])
def test_a_damaged_file_of_a_finished_stage_is_a_store_error(tmp_path: Path, damage: bytes | None) -> None:
    folder = stage(tmp_path)
    write_text(folder.path / "rows.jsonl", "".join(record.model_dump_json() + "\n" for record in records()))
    assert folder.rows("rows.jsonl", Caption) == records()
    (folder.path / "rows.jsonl").unlink() if damage is None else (folder.path / "rows.jsonl").write_bytes(damage)
    with pytest.raises(StoreError, match=r"rows.jsonl: is damaged .*delete .*caption-abc and run"):
        folder.rows("rows.jsonl", Caption)


def test_a_deleted_manifest_is_a_store_error(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    folder.finish(records(), {})
    (folder.path / "manifest.jsonl").unlink()
    with pytest.raises(StoreError, match="damaged"):
        folder.manifest(Caption)


def test_a_full_disk_while_appending_says_so(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    with no_file_above(3), pytest.raises(StoreError, match="items.jsonl: cannot be written"):
        folder.append(records())


def test_a_run_folder_under_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        write_text(tmp_path / "file" / "run" / "x.json", "{}")
    with pytest.raises(StoreError, match="cannot be written"):
        stage(tmp_path / "file").append(records())


def test_a_file_of_a_stage_is_named_as_the_run_folder_was(tmp_path: Path) -> None:
    """The report keeps what it measured by the path below the run folder, which may be reached by a link."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert stage(tmp_path / "link").file("audio/x.flac") == tmp_path / "link/stages/caption-abc/audio/x.flac"
    with pytest.raises(StoreError, match="leaves"):
        stage(tmp_path / "link").file("../x")


def test_fingerprints_see_values_and_not_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
    assert fingerprint(Path("x")) == fingerprint("x")
    # Stable but for `FINGERPRINT_VERSION` (2 here): a change reruns everybody's stages.
    assert fingerprint({"a": [1, "é"]}) == "4bb81d38c913"


def test_one_process_at_a_time_works_in_a_run_folder(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib\nfrom synthio.store import working_in\n"
        "with working_in(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process is working there"), working_in(tmp_path / "run"):
            pass
        with working_in(tmp_path / "elsewhere"):
            pass
        # Not told to stop: a killed process must not lock its folder for ever.
        other.kill()
    with working_in(tmp_path / "run"):
        pass


def test_who_holds_a_run_folder_may_hold_it_again(tmp_path: Path) -> None:
    """A run holds it throughout; its stages, its page and its recipe do too."""
    code = (
        "import sys, pathlib\nfrom synthio.errors import StoreError\nfrom synthio.store import working_in\n"
        "try:\n    with working_in(pathlib.Path(sys.argv[1])):\n        print('held')\n"
        "except StoreError:\n    print('refused')\n"
    )

    def other() -> str:
        return subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True).strip()

    with working_in(tmp_path):
        with working_in(tmp_path / "x" / ".."):
            pass
        assert other() == "refused"
    assert other() == "held"
