"""Readers: what is on disk becomes rows, and nothing is left out silently."""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile as sf
from pydantic import ValidationError

from synthio.config import DataConfig, RunConfig
from synthio.data_check import check_data
from synthio.datasets import Row, demo, read_rows
from synthio.errors import DataError
from synthio.records import Split


def files(root: Path, *names: str) -> Path:
    """Empty files: readers never open audio."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def read(path: Path, **settings_: Any) -> list[Row]:
    return read_rows(DataConfig(path=str(path), **settings_))


def usable(rows: list[Row]) -> dict[str, tuple[tuple[str, ...], Split | None]]:
    return {row.name: (row.labels, row.split) for row in rows if row.rejected is None}


def rejected(rows: list[Row]) -> dict[str, str]:
    return {row.name: row.rejected for row in rows if row.rejected is not None}


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


class TestLabelNames:
    def test_codes_become_what_a_person_calls_the_sound(self, tmp_path: Path) -> None:
        files(tmp_path, "amecro/a.wav", "0/b.wav", "frog/c.wav")
        rows = read(tmp_path, label_names={"amecro": "American crow", 0: "wind"})
        assert [row.labels for row in rows] == [("wind",), ("American crow",), ("frog",)]
        assert [row.name for row in rows] == ["0/b.wav", "amecro/a.wav", "frog/c.wav"], "names stay those of the files"

    def test_several_labels_and_two_codes_of_one_class(self, tmp_path: Path) -> None:
        cells = "path,label\na.wav,w1|r\nb.wav,w1|w2\n"
        rows = read(table(tmp_path / "x.csv", cells), label_separator="|", label_names={"w1": "wind", "w2": "wind"})
        assert [row.labels for row in rows] == [("wind", "r"), ("wind",)]

    def test_a_code_that_no_clip_has_is_told(self, tmp_path: Path) -> None:
        files(tmp_path, "001/a.wav", "002/b.wav")
        with pytest.raises(DataError, match="no clip has the label '1'; found '001', '002'"):
            read(tmp_path, label_names={1: "dog"})
        files(tmp_path, "AS/a.wav")
        with pytest.raises(DataError, match="label 'as', 'xy'; found '001', '002', 'AS'; did you mean 'AS'\\?"):
            read(tmp_path, label_names={"as": "aortic stenosis", "xy": "dog"})

    @pytest.mark.parametrize("names", [{"a": ""}, {"a": " "}, ["a"]])
    def test_what_is_no_name_is_refused(self, names: Any) -> None:
        with pytest.raises(ValidationError):
            DataConfig(path="x", label_names=names)


class TestFolder:
    def test_class_folders(self, tmp_path: Path) -> None:
        files(tmp_path, "dog/a.wav", "dog/deep/er/b.FLAC", "cat/a b.mp3", "Straße_'\"&<b>/ü 1.ogg")
        rows = read(tmp_path)
        assert usable(rows) == {
            "Straße_'\"&<b>/ü 1.ogg": (("Straße_'\"&<b>",), None),
            "cat/a b.mp3": (("cat",), None),
            "dog/a.wav": (("dog",), None),
            "dog/deep/er/b.FLAC": (("dog",), None),
        }
        assert all(row.path.is_absolute() and row.path.is_file() for row in rows)

    @pytest.mark.parametrize("valid", ["valid", "Val", "VALIDATION", "dev"])
    def test_split_folders_in_any_spelling(self, tmp_path: Path, valid: str) -> None:
        files(tmp_path, "Train/dog/a.wav", f"{valid}/dog/a.wav", "TEST/dog/a.wav", "README.md")
        assert sorted(split for _, split in usable(read(tmp_path)).values() if split) == ["test", "train", "valid"]

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        files(tmp_path, "train/whistle.wav", "bus/a.wav")
        assert usable(read(tmp_path)) == {"bus/a.wav": (("bus",), None), "train/whistle.wav": (("train",), None)}
        files(tmp_path, "train/steam/b.wav")
        assert usable(read(tmp_path))["train/steam/b.wav"] == (("train",), None)

    def test_nothing_is_left_out_silently(self, tmp_path: Path) -> None:
        files(tmp_path, "train/dog/a.wav", "test/dog/b.wav", "test/dog/notes.txt", "test/dog/c.m4a", "test/dog/noext")
        files(tmp_path, "extra/dog/d.wav", "stray.wav", "train/stray.wav", "data.zip")
        (tmp_path / "train" / "cat").mkdir()
        rows = read(tmp_path)
        assert set(usable(rows)) == {"train/dog/a.wav", "test/dog/b.wav"}
        reasons = rejected(rows)
        assert {name: reason for name, reason in reasons.items() if "suffix" in reason}.keys() == {
            "test/dog/notes.txt",
            "test/dog/c.m4a",
            "test/dog/noext",
        }
        assert "outside" in reasons["extra/dog/d.wav"]
        assert "no class folder" in reasons["stray.wav"]
        assert "no class folder" in reasons["train/stray.wav"]
        assert "no class folder" in reasons["data.zip"]
        assert "empty" in reasons["train/cat"]
        assert len(rows) == 10

    def test_hidden_files_and_papers_at_the_top_are_no_clips(self, tmp_path: Path) -> None:
        files(tmp_path, ".git/x.wav", ".DS_Store", "dog/.hidden.wav", "__MACOSX/dog/._a.wav", "dog/a.wav")
        files(tmp_path, "README", "LICENSE", "licence.html", "notes.txt", "x.md", "meta.json", "meta.csv")
        assert [row.name for row in read(tmp_path)] == ["dog/a.wav"]

    def test_links_are_followed_once(self, tmp_path: Path) -> None:
        files(tmp_path / "data", "dog/a.wav")
        files(tmp_path / "elsewhere", "b.wav", "c.wav")
        (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "data" / "dog" / "broken.wav").symlink_to(tmp_path / "gone.wav")
        assert [row.name for row in read(tmp_path / "data")] == [
            "cat/b.wav",
            "cat/c.wav",
            "dog/a.wav",
            "dog/broken.wav",
        ]

    def test_a_label_is_one_label_composed_or_not(self, tmp_path: Path) -> None:
        files(tmp_path, "train/Café/a.wav", "test/Cafe\u0301/b.wav")
        assert {row.labels for row in read(tmp_path)} == {("Café",)}

    def test_a_name_that_is_not_utf8_can_still_be_told(self, tmp_path: Path) -> None:
        folder = tmp_path / "dog"
        folder.mkdir()
        Path(str(folder).encode().decode() + "/b\udcff.wav").touch()
        (row,) = read(tmp_path)
        assert row.name.encode() == b"dog/b\\udcff.wav"

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file or folder"):
            read(tmp_path / "none")
        with pytest.raises(DataError, match="no such folder"):
            read(files(tmp_path, "a.csv") / "a.csv", reader="folder")
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / ("long" * 100))


class TestAudiofolder:
    def test_metadata_at_the_top(self, tmp_path: Path) -> None:
        files(tmp_path, "train/a.wav", "test/b.wav", "test/unlisted.wav")
        lines = [{"file_name": "train/a.wav", "label": "dog"}, {"file_name": "test/b.wav", "label": ["dog", "cat"]}]
        table(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
        rows = read(tmp_path)
        assert usable(rows) == {"train/a.wav": (("dog",), "train"), "test/b.wav": (("dog", "cat"), "test")}
        assert rejected(rows) == {"test/unlisted.wav": "is not listed in metadata.jsonl"}

    def test_metadata_in_each_split_folder(self, tmp_path: Path) -> None:
        files(tmp_path, "train/x/a.wav", "test/b.wav")
        table(tmp_path / "train" / "metadata.csv", "file_name,label\nx/a.wav,dog\n")
        table(tmp_path / "test" / "metadata.csv", "file_name,label\nb.wav,cat\n")
        assert usable(read(tmp_path)) == {"train/x/a.wav": (("dog",), "train"), "test/b.wav": (("cat",), "test")}

    def test_a_metadata_table_without_labels_lists_its_columns(self, tmp_path: Path) -> None:
        files(tmp_path, "a.wav")
        table(tmp_path / "metadata.csv", "file_name,class\na.wav,dog\n")
        with pytest.raises(DataError, match=r"no column 'label'; found 'class', 'file_name'"):
            read(tmp_path)
        assert usable(read(tmp_path, label_column="class")) == {"a.wav": (("dog",), None)}

    def test_other_tables_are_papers(self, tmp_path: Path) -> None:
        files(tmp_path, "dog/a.wav")
        table(tmp_path / "metadata.csv", "licence,author\nMIT,me\n")
        assert usable(read(tmp_path)) == {"dog/a.wav": (("dog",), None)}


class TestTable:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    def test_csv(self, tmp_path: Path, delimiter: str, encoding: str, newline: str) -> None:
        lines = [
            ["path", "label", "split", "group"],
            ["a b.wav", "dog_bark", "train", "g1"],
            ['"ü, ; 2.wav"', '"the ""cat"""', "Validation", ""],
            [str(tmp_path / "sub/../c.wav"), " cow ", " TEST", "g 2"],
        ]
        text = newline.join(delimiter.join(cells) for cells in lines)
        rows = read(table(tmp_path / "clips.csv", text, encoding))
        assert [(row.name, row.labels, row.split, row.group) for row in rows] == [
            ("a b.wav", ("dog_bark",), "train", "g1"),
            ("c.wav", ("cow",), "test", "g 2"),
            ("ü, ; 2.wav", ('the "cat"',), "valid", None),
        ]
        assert rows[0].path == tmp_path / "a b.wav"

    def test_paths_outside_the_tables_folder(self, tmp_path: Path) -> None:
        rows = read(table(files(tmp_path, "t/x") / "t" / "x.csv", f"path,label\n../a.wav,dog\n{tmp_path}/b.wav,cat\n"))
        assert {row.name: row.path for row in rows} == {
            "../a.wav": tmp_path / "a.wav",
            f"{tmp_path}/b.wav": tmp_path / "b.wav",
        }

    def test_jsonl(self, tmp_path: Path) -> None:
        lines = [
            {"path": "a\u2028b.wav", "label": 3, "extra": {"x": 1}},
            {"path": "b.wav", "label": ["dog", "dog", "", None, "cat"]},
            {"path": "c.wav", "label": None},
            {"path": "d.wav", "label": "lone \ud800 surrogate"},
        ]
        text = "\n\n".join(json.dumps(line, ensure_ascii=index > 2) for index, line in enumerate(lines))
        rows = read(table(tmp_path / "clips.jsonl", text, "utf-8-sig"))
        assert {row.name: row.labels for row in rows} == {
            "a\u2028b.wav": ("3",),
            "b.wav": ("dog", "cat"),
            "c.wav": (),
            "d.wav": ("lone \\ud800 surrogate",),
        }

    @pytest.mark.parametrize("separator", ["|", ",", "; "])
    def test_several_labels_in_a_cell(self, tmp_path: Path, separator: str) -> None:
        cell = separator.join(["dog_bark", " cat", "", "dog_bark"])
        rows = read(table(tmp_path / "x.csv", f'path,label\na.wav,"{cell}"\nb.wav,\n'), label_separator=separator)
        assert [row.labels for row in rows] == [("dog_bark", "cat"), ()]

    def test_named_columns(self, tmp_path: Path) -> None:
        path = table(tmp_path / "x.csv", "fname,class,fold,who\na.wav,dog,dev,me\n")
        names = {"path_column": "fname", "label_column": "class", "split_column": "fold", "group_column": "who"}
        (row,) = read(path, **names)
        assert (row.labels, row.split, row.group) == (("dog",), "valid", "me")

    @pytest.mark.parametrize("column", ["path", "label", "split", "group"])
    def test_missing_columns_list_those_found(self, tmp_path: Path, column: str) -> None:
        path = table(tmp_path / "x.csv", "path,label,split,group\na.wav,dog,train,g\n")
        with pytest.raises(DataError, match=r"no column 'nope'; found 'group', 'label', 'path', 'split'"):
            read(path, **{f"{column}_column": "nope"})

    @pytest.mark.parametrize("header", ["Path,label,split,group", "path,LABEL,split,group", "path,label,split, Group"])
    def test_a_column_in_another_spelling_is_not_ignored(self, tmp_path: Path, header: str) -> None:
        path = table(tmp_path / "x.csv", f"{header}\na.wav,dog,train,g\n")
        with pytest.raises(DataError, match=r"has a column .*, not '.*'; rename it, or set data.*_column"):
            read(path)

    def test_unknown_splits_are_told(self, tmp_path: Path) -> None:
        path = table(tmp_path / "x.csv", "path,label,split\na.wav,dog,train\nb.wav,dog,holdout\nc.wav,dog,\n")
        with pytest.raises(DataError, match="'holdout'; expected train"):
            read(path)

    def test_damaged_lines_are_rejected_not_lost(self, tmp_path: Path) -> None:
        rows = read(table(tmp_path / "x.csv", "path,label\na,b.wav,dog\n,dog\nc.wav\n"))
        reasons = rejected(rows)
        assert "more cells" in reasons["a"]
        assert "is empty" in reasons["x.csv"]
        assert usable(rows) == {"c.wav": ((), None)}

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "holds no rows"),
            (b"path,label\n", "holds no rows"),
            (b"path,label\ncaf\xe9.wav,dog\n", r"not UTF-8 text \(byte 14\); it may be Windows-1252"),
            (b"\xff\xfepath,label\n\x00\xd8", "not UTF-8 text .* unpack an archive"),
            (b"path,label\n\x81.wav,dog\n", "not UTF-8 text .* save a spreadsheet as CSV in UTF-8"),
            (b'path,label\n"a.wav,dog\n', "not readable CSV"),
        ],
    )
    def test_unreadable_csv(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            read(path)

    def test_a_table_of_windows_is_told_the_command_that_makes_it_utf_8(self, tmp_path: Path) -> None:
        path = table(tmp_path / "März 23.csv", "path,label\ncafé.wav,dog\n", "cp1252")
        command = f"`iconv -f cp1252 -t utf-8 '{path}' > '{tmp_path / 'März 23-utf8.csv'}'`"
        with pytest.raises(DataError, match=re.escape(command)):
            read(path)

    def test_backslashes_of_windows_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "birds").mkdir()
        wrong = f"{tmp_path}\\birds"
        with pytest.raises(DataError, match=f"current folder; did you mean '{tmp_path}/birds'"):
            read(Path(wrong))

    def test_files_of_hugging_face_are_told_how_to_be_written_out(self, tmp_path: Path) -> None:
        (tmp_path / "train-0.parquet").write_bytes(b"PAR1\xff")
        with pytest.raises(DataError, match="is a file of Hugging Face datasets; `synthio data export` writes"):
            read(tmp_path / "train-0.parquet")

    def test_what_excel_calls_unicode_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_bytes("path\tlabel\nä.wav\tdog\n".encode("utf-16"))
        assert [(row.name, row.labels) for row in read(tmp_path / "x.csv")] == [("ä.wav", ("dog",))]

    def test_unreadable_jsonl_names_the_lines(self, tmp_path: Path) -> None:
        path = table(tmp_path / "x.jsonl", '{"path": "a.wav", "label": "x"}\n{"path": \n[1]\n')
        with pytest.raises(DataError, match=r"2 line\(s\) are not JSON objects \(line 2: .*line 3: list\)"):
            read(path)
        with pytest.raises(DataError, match="no such table, or no ordinary file"):
            read(tmp_path, reader="table")

    def test_what_r_and_pandas_write_into_empty_cells_is_nothing(self, tmp_path: Path) -> None:
        text = "path,label,group\na.wav,NA,NA\nb.wav,none,null\nc.wav,NaN,Nan\nd.wav,dog|N/A,rex\ne.wav,nan,None\n"
        rows = read(table(tmp_path / "x.csv", text), label_separator="|")
        assert [row.labels for row in rows] == [(), ("none",), (), ("dog",), ()]
        assert [row.group for row in rows] == [None, None, None, "rex", None]
        named = read(tmp_path / "x.csv", label_names={"NA": "nasal"})
        assert [row.labels for row in named][:3] == [("nasal",), ("none",), ()]

    def test_a_file_listed_again_keeps_a_name_of_its_own(self, tmp_path: Path) -> None:
        path = table(tmp_path / "x.csv", "path,label\na.wav,dog\na.wav,cat\n./a.wav,cow\n")
        assert sorted(row.name for row in read(path)) == ["a.wav", "a.wav#2", "a.wav#3"]


def test_the_demo_is_bundled_or_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEMO", tmp_path)
    with pytest.raises(DataError, match="not in this installation; reinstall"):
        read_rows(DataConfig(path="demo"))


def test_the_demo_s_groups_are_instruments_and_each_is_in_one_split() -> None:
    rows = read_rows(DataConfig(path="demo"))
    splits = {group: {row.split for row in rows if row.group == group} for group in {row.group for row in rows}}
    assert None not in splits and {len(found) for found in splits.values()} == {1}
    counts = Counter(row.split for row in rows)
    assert counts == {"train": 55, "valid": 55, "test": 297}
    assert all(row.path.is_file() for row in rows)
    assert "synth lead" in {label for row in rows for label in row.labels}


def test_the_word_demo_is_the_bundled_data_and_a_path_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files(tmp_path, "demo/dog/a.wav"))
    assert [row.name for row in read_rows(DataConfig(path="./demo"))] == ["dog/a.wav"]


def test_dots_in_the_path_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` once hid the official splits of an audiofolder, so that its test clips were drawn for training."""
    root = files(tmp_path / "data", "train/0.wav", "test/1.wav")
    for split, name in (("train", "0.wav"), ("test", "1.wav")):
        table(root / split / "metadata.csv", f"file_name,label\n{name},a\n")
    table(root / "clips.csv", "path,label\ntrain/0.wav,a\ntest/1.wav,a\n")
    files(tmp_path / "elsewhere", "x")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("", "/clips.csv"):
        dotted, plain = (read(Path(f"{path}{name}")) for path in ("../data", root))
        assert dotted == plain
    assert usable(read(Path("../data"))) == {"train/0.wav": (("a",), "train"), "test/1.wav": (("a",), "test")}


def test_a_folder_around_the_class_folders_is_named(tmp_path: Path) -> None:
    files(tmp_path / "around", "data/dog/a.wav", "data/cat/b.wav")
    with pytest.raises(
        DataError, match=r"holds the one class 'data'; did you mean data.path=.*data, with 'cat', 'dog'"
    ):
        read(tmp_path / "around")
    assert usable(read(files(tmp_path / "nested", "dog/site 0/a.wav", "cat/site 0/b.wav")))
    assert usable(read(files(tmp_path / "one", "dog/a.wav", "dog/x/b.wav", "dog/y/c.wav")))


def test_folders_inside_class_folders_are_groups_or_the_classes_when_the_recipe_says_so(tmp_path: Path) -> None:
    names = [
        f"{machine}/{state}/{k}.wav" for machine in ("id_00", "id_02") for state in ("normal", "abnormal") for k in "01"
    ]
    mimii = files(tmp_path / "mimii", *names)
    rows = read(mimii, subfolders="classes")
    assert {(row.labels, row.group) for row in rows} == {
        ((state,), machine) for machine in ("id_00", "id_02") for state in ("normal", "abnormal")
    }
    assert len(usable(rows)) == 8
    turned = files(tmp_path / "turned", *("/".join((*name.split("/")[1::-1], name.split("/")[2])) for name in names))
    assert {(r.labels, r.group) for r in read(turned, subfolders="groups")} == {(r.labels, r.group) for r in rows}
    assert {row.group for row in read(turned)} == {None}
    files(turned, "normal/loose.wav")
    assert [row.group for row in read(turned, subfolders="groups") if row.name == "normal/loose.wav"] == [None]
    files(mimii, "id_00/loose.wav")
    assert "is in no class folder" in rejected(read(mimii, subfolders="classes"))["id_00/loose.wav"]
    split = files(tmp_path / "split", *(f"{part}/{name}" for part in ("train", "test") for name in names))
    assert {(row.split, row.group) for row in read(split, subfolders="classes")} == {
        (part, machine) for part in ("train", "test") for machine in ("id_00", "id_02")
    }


def test_what_subfolders_are_is_asked_of_a_folder_per_class_only(tmp_path: Path) -> None:
    files(tmp_path, "dog/a.wav", "cat/b.wav")
    for path in (table(tmp_path / "clips.csv", "path,label\ndog/a.wav,dog\n"), Path("demo")):
        with pytest.raises(DataError, match=r"data.subfolders is 'groups', which is for a folder per class"):
            read(path, subfolders="groups")
    table(tmp_path / "metadata.csv", "file_name,label\ndog/a.wav,dog\n")
    with pytest.raises(DataError, match=r"data.subfolders is 'classes', but metadata.csv says what the clips are"):
        read(tmp_path, subfolders="classes")
    one = files(tmp_path / "one", "id_00/normal/a.wav", "id_00/abnormal/b.wav")
    assert {row.group for row in read(one, subfolders="classes")} == {"id_00"}
    named = files(tmp_path / "named", *(f"{label}/{m}/a.wav" for label in ("train", "bus") for m in ("m0", "m1")))
    assert {row.labels[0] for row in read(named, subfolders="groups")} == {"train", "bus"}


def test_litter_of_other_systems_is_no_data(tmp_path: Path) -> None:
    root = files(
        tmp_path, "dog/a.wav", "dog/Thumbs.db", "dog/._a.wav", "cat/desktop.ini", "cat/b.wav", "cat/__MACOSX/b.wav"
    )
    assert [row.name for row in read(root)] == ["cat/b.wav", "dog/a.wav"]


def test_a_table_without_a_header_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its first line is a clip; expected the names of the columns"):
        read(table(tmp_path / "clips.csv", "dog/a.wav,dog\ndog/b.wav,dog\n"))


def test_no_table_and_paths_of_another_system_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "clips.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match="save a spreadsheet as CSV in UTF-8, unpack an archive"):
        read(tmp_path / "clips.xlsx")
    files(tmp_path, "dog/a.wav")
    rows = read(table(tmp_path / "clips.csv", "path,label\ndog\\a.wav,dog\ndog/a.wav,dog\n"))
    assert list(usable(rows)) == ["dog/a.wav", "dog/a.wav#2"]
    rows = read(table(tmp_path / "clips.csv", "path,label\nD:\\Ton\\a.wav,dog\n\\\\server\\a.wav,dog\ndog/a.wav,dog\n"))
    assert list(usable(rows)) == ["dog/a.wav"]
    assert len(reasons := set(rejected(rows).values())) == 1 and "one of a Windows machine" in reasons.pop()


def test_split_folders_without_classes_are_no_classes(tmp_path: Path) -> None:
    """`train` against `test` is a perfect classifier of nothing."""
    with pytest.raises(DataError, match=r"'test' and 'train' are names of splits.*expected train/CLASS/"):
        read(files(tmp_path / "flat", "train/a.wav", "train/b.wav", "test/c.wav", "docs/d.wav"))
    rows = read(
        files(tmp_path / "eval", "train/dog/a.wav", "train/cat/b.wav", "eval/dog/c.wav", "Evaluation/cat/d.wav")
    )
    assert {split for _, split in usable(rows).values()} == {"train", "test"}
    with pytest.raises(DataError, match=r"'train' and 'unseen' hold the same folders \('cat', 'dog'\)"):
        read(files(tmp_path / "odd", "train/dog/a.wav", "train/cat/b.wav", "unseen/dog/c.wav", "unseen/cat/d.wav"))
    # A vehicle beside another.
    assert usable(read(files(tmp_path / "vehicles", "train/a.wav", "bus/b.wav")))


def test_a_table_beside_one_folder_of_audio_is_named(tmp_path: Path) -> None:
    root = files(tmp_path / "flat", "audio/a.wav", "audio/b.wav")
    table(root / "labels.csv", "path,label\naudio/a.wav,dog\naudio/b.wav,cat\n")
    with pytest.raises(DataError, match=r"one class 'audio'.*did you mean data.path=.*labels.csv"):
        read(root)


def test_a_pipe_beside_one_folder_of_audio_is_no_table(tmp_path: Path) -> None:
    """Nobody writes into it: reading never ended."""
    root = files(tmp_path / "flat", "audio/a.wav", "audio/b.wav")
    os.mkfifo(root / "labels.csv")
    assert len(read(root)) == 2


def test_tables_as_programs_write_them(tmp_path: Path) -> None:
    """An array in one JSON file, Excel's `sep=` line, a column that stands twice, a label that is an object."""
    (tmp_path / "a.json").write_text('[\n{"path": "a.wav", "label": "dog"}\n]')
    with pytest.raises(DataError, match="is one JSON array; expected one object per line"):
        read_rows(DataConfig(path=str(tmp_path / "a.json")))
    (tmp_path / "sep.csv").write_text("sep=;\r\npath;label\r\na,1.wav;dog\r\n")
    (row,) = read_rows(DataConfig(path=str(tmp_path / "sep.csv")))
    assert (row.name, row.labels) == ("a,1.wav", ("dog",))
    (tmp_path / "twice.csv").write_text("path,label,label\na.wav,dog,cat\n")
    with pytest.raises(DataError, match="has several columns 'label'"):
        read_rows(DataConfig(path=str(tmp_path / "twice.csv")))
    (tmp_path / "o.jsonl").write_text('{"path": "a.wav", "label": {"dog": 1}}')
    (row,) = read_rows(DataConfig(path=str(tmp_path / "o.jsonl")))
    assert row.labels == () and "JSON object" in str(row.rejected)


def test_a_path_below_the_current_folder_is_told_where_tables_paths_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "tables" / "t.csv").write_text("path,label\na.wav,dog\nb.wav,dog\n")
    monkeypatch.chdir(tmp_path)
    rows = read_rows(DataConfig(path="tables/t.csv"))
    assert ["beside the table" in str(row.rejected) for row in rows] == [True, False]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_the_unicode_form_of_a_path_in_a_table_is_nothing(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"]
) -> None:
    """Archives of a Mac hold decomposed names, also in folders that were made by hand."""
    name = unicodedata.normalize(on_disk, "Gerät.wav")
    files(tmp_path, f"Süd/{name}")
    table(tmp_path / "x.csv", f"path,label\n{unicodedata.normalize(in_table, 'Süd/Gerät.wav')},dog\n")
    (row,) = read(tmp_path / "x.csv")
    assert row.path.is_file() and row.name == "Süd/Gerät.wav"


def test_the_files_of_a_table_are_found_below_a_folder(tmp_path: Path) -> None:
    """As a database exports them: names alone, or paths of another machine."""
    audio, table = tmp_path / "audio", tmp_path / "export" / "clips.csv"
    for name in ("m0/000.wav", "m1/000.wav", "m1/001.wav"):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(audio / name, np.zeros(8), 8000)
    table.parent.mkdir()
    cells = ["C:\\data\\m1\\000.wav", "001.wav", "m0/000.wav", "000.wav", "002.wav"]
    table.write_text("path,label\n" + "".join(f"{cell},ok\n" for cell in cells))
    problems = check_data(RunConfig.model_validate({"data": {"path": str(table)}})).problems
    assert "no such file; write it relative to the table, or set data.audio_folder" in problems[0]
    rows = read(table, audio_folder=str(audio))
    assert set(usable(rows)) == {"m1/000.wav", "m1/001.wav", "m0/000.wav"}
    lost = rejected(rows)
    assert "several recordings have its recording's name" in lost["000.wav"]
    assert lost["002.wav"] == "its recording is not in the audio folder"
    # The folder of another class: of `ok/1.wav` and `faulty/1.wav` one may be missing.
    table.write_text("path,label\nm2/001.wav,ok\n")
    (reason,) = rejected(read(table, audio_folder=str(audio))).values()
    assert reason == (
        "no such file; one of its name is in another folder: if that is it, name a column of names alone "
        "(data.path_column), or call its folder as the table does"
    )
    deep = audio / "normal" / "id_00" / "7.wav"
    deep.parent.mkdir(parents=True)
    deep.write_bytes((audio / "m0" / "000.wav").read_bytes())
    birds = audio / unicodedata.normalize("NFD", "vögel") / "8.wav"
    birds.parent.mkdir()
    birds.write_bytes(deep.read_bytes())
    table.write_text("path,label\nabnormal/id_00/7.wav,a\n../7.wav,b\nD:\\normal\\id_00\\7.wav,c\nvögel/8.wav,d\n")
    rows = read(table, audio_folder=str(audio))
    assert [row.labels for row in rows if row.rejected] == [("a",)]
    assert {row.labels for row in rows if not row.rejected} == {("b",), ("c",), ("d",)}
    with pytest.raises(DataError, match="which is for a table"):
        read(audio, audio_folder=str(audio))
    with pytest.raises(DataError, match=r"none: no such folder; data.audio_folder"):
        read(table, audio_folder=str(tmp_path / "none"))


def test_all_columns_that_are_called_otherwise_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("File,Label,MachineID\na.wav,ok,1\n")
    with pytest.raises(DataError) as told:
        read(tmp_path / "clips.csv", group_column="machine")
    assert "has a column 'Label', not 'label'" in str(told.value)
    assert "has no column 'path', 'machine'; found 'File', 'Label', 'MachineID'" in str(told.value)


def test_a_folder_that_may_not_be_read_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table was blamed, or the clips were said not to be there."""
    paths = files(tmp_path, "audio/locked/a.wav", "audio/dog/b.wav")
    listed = table(tmp_path / "t.csv", "path,label\naudio/locked/a.wav,dog\n")
    locked = paths / "audio" / "locked"

    def exists(path: Path) -> bool:
        if path.parent == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path.is_file()

    with monkeypatch.context() as patched, pytest.raises(DataError, match=rf"{locked}/a.wav: .*check its permissions"):
        patched.setattr(Path, "exists", exists)
        read(listed)
    lock(monkeypatch, locked)
    for data in (lambda: read(listed, audio_folder=str(locked)), lambda: read(tmp_path / "audio")):
        with pytest.raises(DataError, match=rf"{locked}: cannot be read .*check its permissions"):
            data()


def test_a_folder_that_may_not_be_read_inside_a_class_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clips were not there, without a word."""
    files(tmp_path, "dog/a.wav", "dog/old/b.wav", "cat/c.wav")
    lock(monkeypatch, tmp_path / "dog" / "old")
    with pytest.raises(DataError, match=r"dog/old: cannot be read .*check its permissions"):
        read(tmp_path)


def lock(monkeypatch: pytest.MonkeyPatch, locked: Path) -> None:
    """A folder that may not be listed, also by whoever runs the tests and may list all."""
    list_folder = os.scandir

    def scandir(folder: str) -> Any:
        if Path(folder) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
