"""Excerpts of songs: the loudest parts, cut once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from official_layouts import musdb18, read, rejected

from synthio.datasets import excerpts
from synthio.datasets.prepare import prepare
from synthio.progress import Reporter


class TestExcerpts:
    def test_the_loudest_parts_that_do_not_overlap(self) -> None:
        samples = np.full(60 * 100, 0.02, np.float32)
        samples[15 * 100 : 20 * 100] = 0.5
        samples[40 * 100 : 50 * 100] = 0.9
        starts = [start // 100 for start in excerpts.loudest_starts(samples, 100)]
        assert starts[-1] == 40
        assert len(starts) == 3
        assert any(start <= 15 and start + 10 >= 20 for start in starts)
        assert all(later - earlier >= 10 for earlier, later in zip(starts, starts[1:], strict=False))

    def test_quiet_parts_are_left_out_and_short_stems_are_whole(self) -> None:
        samples = np.full(30 * 100, 1e-3, np.float32)
        assert excerpts.loudest_starts(samples, 100) == []
        samples[:500] = 0.1
        assert excerpts.loudest_starts(samples, 100) == [0]
        assert excerpts.loudest_starts(samples[:250], 100) == [0]

    def test_cutting_again_resumes(self, tmp_path: Path) -> None:
        musdb18(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        lost = tmp_path / "excerpts" / "test" / "Zeno - Signs"
        (lost / "bass-0.flac").unlink()
        lost.rename(lost.with_name(f".{lost.name}"))
        excerpts.cut_excerpts(tmp_path, Reporter())
        assert (lost / "bass-0.flac").is_file()
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        assert after.keys() == before.keys()
        assert {path for path in after if after[path] != before[path]} == set(lost.iterdir())

    def test_a_stem_that_was_missing_or_damaged_and_is_there_now_is_cut(self, tmp_path: Path) -> None:
        musdb18(tmp_path)
        tracks = [tmp_path / "train" / name for name in ("A Classic Education - NightOwl", "Leaf & Co - Ünder")]
        stems = [tracks[0] / "bass.wav", tracks[1] / "drums.wav"]
        whole = [stem.read_bytes() for stem in stems]
        shutil.rmtree(tmp_path / "excerpts")
        stems[0].unlink()
        stems[1].write_bytes(b"RIFF")
        excerpts.cut_excerpts(tmp_path, Reporter())
        assert rejected(read("musdb18", tmp_path)).keys() == {"bass.wav", "drums.wav", "vocals.wav"}
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        for stem, content in zip(stems, whole, strict=True):
            stem.write_bytes(content)
        # Who needs the room may have removed what was cut.
        (tracks[0] / "vocals.wav").unlink()
        prepared = prepare("musdb18", tmp_path, Reporter())
        assert rejected(read("musdb18", tmp_path)).keys() == {"vocals.wav"}
        assert prepared.counts["bass"] == {"train": 2, "valid": 1, "test": 1}
        assert prepared.counts["vocals"] == {"train": 2, "valid": 1, "test": 0}
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "excerpts").rglob("*") if path.is_file()}
        assert {path.name for path in before.keys() - after.keys()} == {"bass.txt", "drums.txt"}
        assert {path.name for path in after.keys() - before.keys()} == {"bass-0.flac", "drums-0.flac"}
        # Also not the stem that is still silent.
        assert not [path for path in before.keys() & after.keys() if before[path] != after[path]]
        assert not list((tmp_path / "excerpts").rglob(".*"))
