"""A finished run, read from its stages: what it warns of, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_reports import filtered_round, finished_run

from synthio import results
from synthio.errors import StoreError


def test_labels_of_which_little_was_accepted_are_told(tmp_path: Path) -> None:
    """Under a quarter of what was imagined, reflection and all."""
    first = filtered_round(
        tmp_path, {"bell": ["accepted"] * 8, "gong": ["accepted"] + ["copy"] * 7, "horn": ["copy"] * 8}
    )
    (told,) = results._acceptance_warnings([first])
    assert "few synthetic clips were accepted of 'gong' 1 of 8, 'horn' 0 of 8" in told
    later = filtered_round(tmp_path, {"gong": ["accepted"], "horn": ["accepted"] * 2}, 1)
    assert results._acceptance_warnings([first, later]) == []
    none = filtered_round(tmp_path, {"bell": ["accepted"] + ["copy"] * 7, "gong": ["copy"] * 8}, 2)
    warned = results._acceptance_warnings([none])
    assert "only 1 of 16 wanted synthetic clips were accepted: the generator may not know" in warned[0]


def test_a_damaged_summary_of_the_filter_is_told_with_what_to_delete(tmp_path: Path) -> None:
    first = filtered_round(tmp_path, {"bell": ["accepted"]})
    damaged = {"reasons": {"accepted": 1}, "copies": 0, "real_clips": {"accepted": 0}}
    first.filtered.finish(first.verdicts, damaged)
    with pytest.raises(StoreError, match=r"done.json: is damaged \(real_clips.total: .*delete"):
        results._acceptance_warnings([first])


def test_a_finished_run_is_shown_without_work(tmp_path: Path) -> None:
    """A notebook's last line compared the arms, wrote into the run folder, and could fail."""
    assert repr(finished_run(tmp_path)) == f"FinishedRun(root={str(tmp_path)!r})"
    assert not list(tmp_path.iterdir())
