"""The sounds and pictures beside a page: what every browser plays, and no more than what is heard."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from reporters import RecordingReporter
from sample_reports import RATE_HZ, assert_links_stay_inside, data_with, played, recipe, sample, tone, write

HEARS_HALF_A_SECOND = recipe(data={"path": "x", "max_duration_s": 0.5})


def test_flac_is_copied_and_other_formats_become_flac(tmp_path: Path) -> None:
    flac, wav = tone(tmp_path / "a.flac"), tone(tmp_path / "b.wav", 880, subtype="FLOAT")
    page = write(data_with(tmp_path / "run", [sample(flac), sample(wav)]), tmp_path / "report")
    copied, converted = (tmp_path / "report" / address for address in played(page))
    assert copied.read_bytes() == flac.read_bytes()
    assert sf.info(str(converted)).format == "FLAC"
    written, original = sf.read(str(converted))[0], sf.read(str(wav))[0]
    np.testing.assert_allclose(written, original, atol=1 / 2**15)


@pytest.mark.parametrize("rate_hz", [1_000_000, 65_537, 96_001, 96_000])
def test_clips_at_rates_that_flac_or_browsers_do_not_know_are_resampled(tmp_path: Path, rate_hz: int) -> None:
    """FLAC has no such rate, and the page is the last thing that a run writes."""
    clip = tmp_path / "fast.wav"
    sf.write(str(clip), 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz // 2) / rate_hz), rate_hz, subtype="FLOAT")
    page = write(data_with(tmp_path / "run", [sample(clip)]), tmp_path / "report")
    (address,) = played(page)
    samples, written_hz = sf.read(str(tmp_path / "report" / address))
    assert written_hz == 48_000
    assert samples.size == pytest.approx(24_000, abs=2)
    inner = slice(1_000, 23_000)
    np.testing.assert_allclose(
        samples[inner], 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples.size) / 48_000)[inner], atol=1e-3
    )
    assert "0.5" in page.text


@pytest.mark.parametrize("name", ["long.wav", "long.flac"])
def test_of_a_long_recording_only_what_the_stages_hear_is_copied(tmp_path: Path, name: str) -> None:
    """Field recordings of hours once stood in the report as a whole, and were decoded for it."""
    long = tone(tmp_path / name, duration_s=120)
    data = dataclasses.replace(data_with(tmp_path / "run", [sample(long)]), config=HEARS_HALF_A_SECOND)
    tracemalloc.start()
    page = write(data, tmp_path / "report")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (address,) = played(page)
    written, _ = sf.read(str(tmp_path / "report" / address))
    np.testing.assert_allclose(written, sf.read(str(long))[0][: RATE_HZ // 2], atol=1 / 2**15)
    assert peak < 120 * RATE_HZ * 4 / 2


def test_flac_as_long_as_what_is_heard_is_copied_as_it_is(tmp_path: Path) -> None:
    flac = tone(tmp_path / "a.flac", duration_s=0.5)
    data = dataclasses.replace(data_with(tmp_path / "run", [sample(flac)]), config=HEARS_HALF_A_SECOND)
    page = write(data, tmp_path / "report")
    (address,) = played(page)
    assert (tmp_path / "report" / address).read_bytes() == flac.read_bytes()


def test_a_clip_shown_twice_is_copied_once(tmp_path: Path) -> None:
    flac = tone(tmp_path / "a.flac")
    page = write(data_with(tmp_path / "run", [sample(flac)] * 3), tmp_path / "report")
    assert len(played(page)) == 1
    assert len(list((tmp_path / "report/audio").iterdir())) == 1


def test_unreadable_clips_become_notes_and_warnings(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio", encoding="utf-8")
    silent = tmp_path / "silent.flac"
    sf.write(str(silent), np.zeros(4000), RATE_HZ)
    reporter = RecordingReporter()
    clips = [sample(tmp_path / "gone.flac"), sample(text), sample(silent), sample(tmp_path)]
    page = write(data_with(tmp_path / "run", clips), tmp_path / "report", reporter)
    # Each stands there twice: as what was made, and as what it was made for.
    assert page.text.count("No sound: ") == 2 * 3
    assert page.text.count("No picture: is silent") == 2
    assert len(played(page)) == 1
    assert page.all("img") == []
    assert len(reporter.warnings) == 3
    assert "gone.flac" in reporter.warnings[0]


def test_links_are_copied_as_files(tmp_path: Path) -> None:
    tone(tmp_path / "a.flac")
    link = tmp_path / "link.flac"
    link.symlink_to(tmp_path / "a.flac")
    page = write(data_with(tmp_path / "run", [sample(link)]), tmp_path / "report")
    assert_links_stay_inside(page, tmp_path / "report")


def test_a_new_report_removes_the_old_ones_media_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(data_with(tmp_path / "run", [sample(tone(tmp_path / "a.flac"))]), folder)
    old = {path.name for path in folder.rglob("accepted-*")}
    (folder / "audio" / "my notes.txt").write_text("keep", encoding="utf-8")
    (folder / "audio" / ".0123456789abcdef.partial").write_text("of a kill", encoding="utf-8")
    page = write(data_with(tmp_path / "run", [sample(tone(tmp_path / "b.flac", 880))]), folder)
    assert_links_stay_inside(page, folder)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert len(old) == 2
    assert not old & names
    assert len(names) == 1 + 2 + 1
    assert "my notes.txt" in names
