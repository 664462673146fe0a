"""`synthio data prepare`: archives verified and unpacked, whole or not at all, and the recipe of what is there."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from official_layouts import esc50, fsd50k, gtzan, medley_solos_db, musdb18, run, vocalsound, write

from synthio.config import RunConfig
from synthio.data_check import check_data
from synthio.datasets import OFFICIAL
from synthio.datasets.layout import Archive
from synthio.datasets.prepare import prepare, unpack, verify
from synthio.errors import DataError, SynthioError
from synthio.progress import Reporter


def pack(folder: Path, archive: Path, *, top: bool) -> Path:
    """A tar.gz or zip of ``folder``, with the folder itself inside or only what it holds."""
    base = folder.parent if top else folder
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in files:
                packed.write(path, path.relative_to(base))
    else:
        with tarfile.open(archive, "w:gz") as packed:
            for path in files:
                packed.add(path, path.relative_to(base))
    return archive


class TestUnpacking:
    def test_checksums(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zip", "abc")
        verify(path, "900150983cd24fb0d6963f7d28e17f72", Reporter())
        with pytest.raises(DataError, match=r"its MD5 is 900150983cd24fb0d6963f7d28e17f72; the makers published 0000"):
            verify(path, "0" * 32, Reporter())

    @pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/synthio-evil.txt"])
    def test_a_zip_that_leaves_the_folder_is_refused_whole(self, name: str, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("good.txt", "good")
            packed.writestr(name, "evil")
        with pytest.raises(DataError, match="refused: .*evil.txt.* outside"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        assert not list(tmp_path.rglob("evil.txt"))

    def test_a_zip_with_a_name_that_climbs_is_refused_and_removes_nothing(self, tmp_path: Path) -> None:
        """`zipfile` drops the dots, so what it writes is not what the name says, and that must not be removed."""
        mine = write(tmp_path / "out" / "mine.txt", "mine")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("a/../mine.txt", "not mine")
            packed.writestr("b.txt", "whole")
        (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"whole", b"wrong"))
        with pytest.raises(DataError, match="refused: .*mine.txt.* outside"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert mine.read_text() == "mine"
        assert list((tmp_path / "out").iterdir()) == [mine]

    @pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt"])
    def test_a_tar_that_leaves_the_folder_is_refused(self, name: str, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
            for each in ("good.txt", name):
                member = tarfile.TarInfo(each)
                member.size = 4
                packed.addfile(member, io.BytesIO(b"evil"))
        with pytest.raises(DataError, match="refused: .*evil.txt"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")
        assert not list(tmp_path.rglob("*.txt"))

    def test_a_tar_with_a_link_to_the_outside_is_refused(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            packed.addfile(member)
        with pytest.raises(DataError, match="refused"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
    def test_a_damaged_archive(self, name: str, tmp_path: Path) -> None:
        write(tmp_path / name, "no archive")
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out")

    @pytest.mark.parametrize(
        ("name", "mode", "share"),
        [
            *(("a.tar.gz", "w:gz", share / 10) for share in range(1, 10)),
            ("a.tar.gz", "w:xz", 0.5),
            # The first file is there already, and is not read.
            *(("a.zip", "w", share / 10) for share in range(3, 8)),
        ],
    )
    def test_an_archive_with_a_flipped_bit_is_refused_and_leaves_nothing(
        self, name: str, mode: Any, share: float, tmp_path: Path
    ) -> None:
        """Files of the right size and the wrong content would be taken for whole the next time."""
        contents = {f"{i}.bin": np.random.default_rng(i).bytes(5_000) + 5_000 * b"text" for i in range(5)}
        if name == "a.zip":
            with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as zipped:
                for member, content in contents.items():
                    zipped.writestr(member, content)
        else:
            with tarfile.open(tmp_path / name, mode) as packed:
                for member, content in contents.items():
                    entry = tarfile.TarInfo(member)
                    entry.size = len(content)
                    packed.addfile(entry, io.BytesIO(content))
        out, whole = tmp_path / "out", (tmp_path / name).read_bytes()
        (out / "0.bin").parent.mkdir()
        (out / "0.bin").write_bytes(contents["0.bin"])
        damaged = bytearray(whole)
        damaged[int(share * len(damaged))] ^= 4
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be unpacked .*get it again"):
            unpack(tmp_path / name, out)
        assert [path.name for path in out.iterdir()] == ["0.bin"]
        (tmp_path / name).write_bytes(whole)
        assert unpack(tmp_path / name, out) == 4
        assert {path.name: path.read_bytes() for path in out.iterdir()} == contents

    @pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz", "link in a.tar.gz"])
    def test_a_damaged_archive_leaves_what_stood_there(self, kind: str, tmp_path: Path) -> None:
        """A README of the user's was written over, and then removed with the rest."""
        content, name = np.random.default_rng(0).bytes(50_000), kind.rpartition(" ")[2]
        write(tmp_path / "x" / "README.md", "theirs, which is longer")
        if kind.startswith("link"):
            (tmp_path / "x" / "README.md").unlink()
            (tmp_path / "x" / "README.md").symlink_to("z.bin")
        (tmp_path / "x" / "z.bin").write_bytes(content)
        archive = pack(tmp_path / "x", tmp_path / name, top=False)
        damaged = bytearray(archive.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        archive.write_bytes(damaged)
        mine = write(tmp_path / "out" / "README.md", "mine")
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(archive, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["README.md"]
        assert mine.read_text() == "mine" and not mine.is_symlink()

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
    def test_unpacking_again_writes_only_what_is_missing(self, name: str, tmp_path: Path) -> None:
        write(tmp_path / "x" / "a.txt", "aaa")
        write(tmp_path / "x" / "b" / "c.txt", "ccc")
        archive, out = pack(tmp_path / "x", tmp_path / name, top=True), tmp_path / "out"
        assert unpack(archive, out) == 2
        assert unpack(archive, out) == 0
        write(out / "x" / "b" / "c.txt", "c")
        assert unpack(archive, out) == 1
        assert (out / "x" / "b" / "c.txt").read_text() == "ccc"


class TestPrepare:
    def test_from_the_archive_to_the_recipe(self, tmp_path: Path) -> None:
        pack(esc50(tmp_path / "made" / "ESC-50-master"), tmp_path / "ESC-50-master.zip", top=True)
        result = run("prepare", "esc50", "--root", tmp_path, "--quiet")
        assert result.exit_code == 0, result.output
        assert "ESC-50-master.zip: no checksum is published; unpacked 22 new file(s)" in result.output
        assert "1 rejected: is not listed in esc50.csv" in result.output
        line = next(line for line in result.output.splitlines() if line.startswith("data:"))
        config = RunConfig.model_validate(yaml.safe_load(line))
        assert config.data.path == str(tmp_path / "ESC-50-master")
        assert not check_data(config).problems

    def test_json_and_several_labels(self, tmp_path: Path) -> None:
        result = run("prepare", "fsd50k", "--root", fsd50k(tmp_path), "--json")
        value = json.loads(result.stdout)
        assert value["splits"] == {"train": 2, "valid": 2, "test": 2}
        assert value["counts"]["Dog"] == {"train": 1, "valid": 1, "test": 1}
        assert value["archives"]["FSD50K.dev_audio.z03"] == "not here"
        assert yaml.safe_load(value["recipe"])["data"]["label_separator"] == ","

    def test_an_archive_without_a_top_folder(self, tmp_path: Path) -> None:
        pack(vocalsound(tmp_path / "made" / "data"), tmp_path / "vs_release_16k.zip", top=False)
        prepared = prepare("vocalsound", tmp_path, Reporter())
        assert prepared.root == str(tmp_path / "vs_release_16k")
        assert prepared.splits == {"train": 8, "valid": 4, "test": 4}

    def test_songs_become_excerpts(self, tmp_path: Path) -> None:
        prepared = prepare("musdb18", musdb18(tmp_path), Reporter())
        assert prepared.counts["vocals"] == {"train": 2, "valid": 1, "test": 0}
        assert list(prepared.rejected.values()) == [1]

    def test_splits_that_will_be_drawn_are_called_so(self, tmp_path: Path) -> None:
        assert prepare("gtzan", gtzan(tmp_path), Reporter()).splits == {"drawn": 12}

    def test_a_checksum_that_differs_stops_before_unpacking(self, tmp_path: Path) -> None:
        pack(gtzan(tmp_path / "made"), tmp_path / "genres.tar.gz", top=False)
        result = run("prepare", "gtzan", "--root", tmp_path)
        assert isinstance(result.exception, DataError)
        assert "the makers published 5b3d6dddb579ab49814ab86dba69e7c7" in str(result.exception)
        assert not (tmp_path / "genres").exists()

    def test_what_is_not_here_and_where_to_get_it(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            prepare("nsynth", tmp_path, Reporter())
        assert "https://magenta.tensorflow.org/datasets/nsynth" in str(caught.value)
        assert "nsynth-valid.jsonwav.tar.gz: not here" in str(caught.value)
        with pytest.raises(DataError, match="no such folder; make it and put the archives of NSynth there"):
            prepare("nsynth", tmp_path / "none", Reporter())
        with pytest.raises(DataError, match="'esc5' is no official dataset; known are esc50, urbansound8k"):
            prepare("esc5", tmp_path, Reporter())

    def test_a_metadata_file_is_only_verified(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        table_ = medley_solos_db(tmp_path) / "Medley-solos-DB_metadata.csv"
        archives = (Archive(table_.name, hashlib.md5(table_.read_bytes()).hexdigest()),)
        dataset = replace(OFFICIAL["medley_solos_db"], archives=archives)
        monkeypatch.setattr("synthio.datasets.prepare.OFFICIAL", {"medley_solos_db": dataset})
        assert prepare("medley_solos_db", tmp_path, Reporter()).archives == {table_.name: "verified"}

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (musdb18(tmp_path) / "excerpts").rename(tmp_path / "moved")
        write(tmp_path / "excerpts", "a file where a folder belongs")
        with pytest.raises(DataError, match="cannot be read or written"):
            prepare("musdb18", tmp_path, Reporter())

    def test_split_zips_are_verified_and_the_command_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = [write(tmp_path / f"FSD50K.dev_audio.{end}", end) for end in ("zip", "z01")]
        archives = tuple(Archive(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in parts)
        dataset = replace(OFFICIAL["fsd50k"], archives=archives)
        monkeypatch.setattr("synthio.datasets.prepare.OFFICIAL", {"fsd50k": dataset})
        with pytest.raises(SynthioError, match=r"FSD50K.dev_audio.zip: verified; .* `zip -s 0 FSD50K.dev_audio.zip"):
            prepare("fsd50k", tmp_path, Reporter())
        prepared = prepare("fsd50k", fsd50k(tmp_path), Reporter())
        assert prepared.archives["FSD50K.dev_audio.zip"].endswith("and FSD50K.dev_audio/ is there")
