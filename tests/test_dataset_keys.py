"""The fingerprint of the data: it changes with what changes the result, and with nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clip_folders import clip, dataset, run_config

from synthio.datasets.keys import data_fingerprint, row_content
from synthio.errors import DataError


def test_the_fingerprint_sees_clips_of_one_size_and_time_that_change_places(tmp_path: Path) -> None:
    """As those of an unpacked archive are; seeds of two versions of the data were compared under one verdict."""
    root = dataset(tmp_path / "data")
    one, other = sorted(root.rglob("*.wav"))[:2]
    other.write_bytes(one.read_bytes()[::-1])
    for path in (one, other):
        os.utime(path, ns=(10**18, 10**18))
    before, cells = data_fingerprint(run_config(root)), row_content(run_config(root))
    one.rename(tmp_path / "held")
    other.rename(one)
    (tmp_path / "held").rename(other)
    assert data_fingerprint(run_config(root)) != before
    assert row_content(run_config(root)) == cells


def test_the_fingerprint_sees_what_changes_the_result_and_nothing_else(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    first = data_fingerprint(run_config(root))
    assert first == data_fingerprint(run_config(root, domain="animals"))
    assert first != data_fingerprint(run_config(root, seed=1))
    assert first != data_fingerprint(run_config(root, max_duration_s=1.0))
    path = next(root.rglob("*.wav"))
    path.write_bytes(path.read_bytes() + b"\0\0")
    second = data_fingerprint(run_config(root))
    assert second != first
    path.unlink()
    third = data_fingerprint(run_config(root))
    assert third not in {first, second}
    path.symlink_to(tmp_path / "gone")
    assert data_fingerprint(run_config(root)) not in {first, second, third}
    with pytest.raises(DataError):
        data_fingerprint(run_config(tmp_path / "none"))


def test_the_fingerprint_sees_labels_in_a_table(tmp_path: Path) -> None:
    clip(tmp_path / "a.wav")
    keys = []
    for text in ("path,label\na.wav,dog", "path,label\na.wav,cat", "path,label,note\na.wav,cat,x"):
        (tmp_path / "x.csv").write_text(text)
        keys.append(data_fingerprint(run_config(tmp_path / "x.csv")))
    assert keys[0] != keys[1] == keys[2]
