"""Clips out of annotated long recordings: the tables that people have, what cannot be cut, and the command."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from reporters import RecordingReporter
from typer.testing import CliRunner

from synthio import audio
from synthio.cli import app
from synthio.config import RunConfig
from synthio.data_check import check_data
from synthio.datasets.annotations import Annotation, ColumnNames, read_annotations
from synthio.datasets.cut import Cut, CutConfig, _Piece, _Sounds, cut_recordings
from synthio.datasets.recordings import Recordings
from synthio.datasets.rest import free_starts
from synthio.errors import DataError
from synthio.progress import Reporter

RATE_HZ = 8_000


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two recordings of 6 s that count their own time: the sample at t has the value t / 10 (second channel alike)."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("dawn.wav", "dusk.flac"):
        ramp = np.arange(6 * RATE_HZ) / RATE_HZ / 10
        sf.write(folder / name, np.stack([ramp, ramp], axis=1), RATE_HZ, subtype="PCM_16")
    return folder


def cut(tmp_path: Path, *tables: Path, **options: Any) -> Cut:
    return cut_recordings(tables, CutConfig(tmp_path / "clips", **options), Reporter())


def table_of(found: Cut) -> list[dict[str, str]]:
    with Path(found.table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def buzz(length: int) -> np.ndarray:
    """Of half of full scale, and of mean 0 over any even number of samples."""
    return np.resize([0.5, -0.5], length)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_cut_at_its_times_and_groups_are_recordings(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,species\ndawn.wav,1.5,2.0,wren\ndawn.wav,4,5.25,robin\ndusk.flac,0.5,1,wren\n"
    found = cut(tmp_path, written(site / "calls.csv", lines))
    assert found.counts == {"robin": 1, "wren": 2} and found.recordings == 2 and not found.rejected
    rows = table_of(found)
    assert [(r["label"], r["group"], r["start_s"], r["end_s"], r["also"]) for r in rows] == [
        ("wren", "dawn.wav", "1.5", "2.0", ""),
        ("robin", "dawn.wav", "4.0", "5.25", ""),
        ("wren", "dusk.flac", "0.5", "1.0", ""),
    ]
    samples, rate_hz = sf.read(Path(found.table).parent / rows[1]["path"])
    assert rate_hz == RATE_HZ and samples.shape == (10_000,)
    np.testing.assert_allclose(samples, np.arange(4 * RATE_HZ, 4 * RATE_HZ + 10_000) / RATE_HZ / 10, atol=1e-4)


def test_annotations_that_become_one_stretch_are_one_clip(site: Path, tmp_path: Path) -> None:
    """With margins that reach both ends, one file stood twice in the table."""
    lines = "file,start,end,species\ndawn.wav,2.5,3.0,wren\ndawn.wav,3.5,4.0,wren\n"
    found = cut(tmp_path, written(site / "calls.csv", lines), margin_s=5.0)
    assert found.counts == {"wren": 1} and len(table_of(found)) == 1
    assert list(found.rejected) == ["is, with its margins, the stretch of another of its label"]


def test_the_table_is_data_for_a_run(site: Path, tmp_path: Path) -> None:
    lines = "path,start_s,end_s,label\n" + "".join(
        f"{name},{0.2 + i},{0.7 + i},{label}\n"
        for name in ("dawn.wav", "dusk.flac")
        for i, label in enumerate(("wren", "robin", "wren", "robin"))
    )
    found = cut(tmp_path, written(site / "calls.csv", lines))
    check = check_data(RunConfig.model_validate({"data": {"path": found.table, "valid_fraction": 0}}))
    assert check.splits["train"] == check.splits["test"] == 4, "recordings stay whole"
    assert not check.rejected


def test_raven_tables_are_named_after_their_recording_and_have_two_views(site: Path, tmp_path: Path) -> None:
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
    rows = "".join(f"1\t{view} 1\t1\t1.0\t2.0\t100\t900\twren\n" for view in ("Waveform", "Spectrogram"))
    found = cut(tmp_path, written(site / "dawn.Table.1.selections.txt", header + rows))
    assert found.counts == {"wren": 1}
    assert table_of(found)[0]["group"] == "dawn.wav"


def test_raven_counts_from_the_first_file_and_has_the_offset_in_its_own(site: Path) -> None:
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    table = written(site / "x.txt", header + "7.5\t8.0\tdusk.flac\t1.5\twren\n")
    (found,) = read_annotations(table, Recordings(site, "--recording-column"), ColumnNames()).annotations
    assert (found.start_s, found.end_s, found.wrong) == (1.5, 2.0, None)
    assert found.recording == site / "dusk.flac"


def test_audacity_labels_have_no_header_and_frequencies_on_lines_of_their_own(site: Path, tmp_path: Path) -> None:
    text = "1.000000\t1.500000\twren song\t\n\\\t100.0\t900.0\n3,5\t4,0\trobin\n5.0\t5.0\tpoint\n"
    found = cut(tmp_path, written(site / "dusk.txt", text))
    assert found.counts == {"robin": 1, "wren song": 1}
    assert found.rejected == {"does not end after it begins, at 0 s or later": 1}


def test_cells_beyond_the_label_of_a_table_without_a_header_are_no_part_of_it(site: Path) -> None:
    """As of ICBHI's respiratory sounds: beginning, end, crackles, wheezes."""
    table = written(site / "dusk.txt", "0.5\t1.5\t0\t1\n1.5\t2.5\t1\t0\n")
    with pytest.raises(DataError, match="has 4 cells in the line .* and no header; Audacity's label files have 3"):
        read_annotations(table, Recordings(site, "--recording-column"), ColumnNames())


def test_a_column_per_class_is_told_to_be_made_one_label(site: Path) -> None:
    text = "start\tend\tcrackles\twheezes\tbeats\n0.5\t1.5\t0\t1\t7\n1.5\t2.5\t1\t0\t8\n"
    table = written(site / "dusk.txt", text)
    with pytest.raises(DataError, match="where 'crackles', 'wheezes' say with 0 and 1 which sounds there are"):
        read_annotations(table, Recordings(site, "--recording-column"), ColumnNames())


def test_long_annotations_are_cut_into_equal_pieces_and_margins_stay_inside(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,0.1,5.0,rain\ndawn.wav,5.5,5.9,wren\n"
    found = cut(tmp_path, written(site / "x.csv", lines), margin_s=0.5, max_duration_s=2.0)
    times = [(float(row["start_s"]), float(row["end_s"])) for row in table_of(found)]
    assert times[0][0] == 0 and times[2][1] == 5.5 and times[3] == (5.0, 6.0)
    assert [end - start for start, end in times[:3]] == pytest.approx([5.5 / 3] * 3, abs=2e-3)


def test_a_clip_that_holds_another_label_is_told(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,1,2,wren\ndawn.wav,1.5,3,robin\ndawn.wav,2.5,4,robin\n"
    found = cut(tmp_path, written(site / "x.csv", lines))
    assert found.overlapping == 2
    assert [row["also"] for row in table_of(found)] == ["robin", "wren", ""]


_TIMES = st.floats(0, 9).map(lambda time_s: round(time_s, 1))


@given(
    sounds=st.lists(
        st.tuples(_TIMES, _TIMES, st.sampled_from("abc"), st.sampled_from([None, 0, 1])), min_size=1, max_size=12
    )
)
def test_what_sounds_beside_a_clip_is_of_its_time_and_channel(
    sounds: list[tuple[float, float, str, int | None]],
) -> None:
    all_of_them = [
        Annotation(Path("t.csv"), 1, Path("a.wav"), "a.wav", start, start + length + 0.1, label, channel=channel)
        for start, length, label, channel in sounds
    ]
    found = _Sounds(all_of_them)
    for own in all_of_them:
        expected = {
            other.label
            for other in all_of_them
            if min(own.end_s, other.end_s) - max(own.start_s, other.start_s) > 0.01
            and (own.channel == other.channel or None in (own.channel, other.channel))
        }
        assert found.beside(_Piece(own, own.start_s, own.end_s)) == expected - {own.label}


def test_many_annotations_of_one_recording_take_seconds(tmp_path: Path) -> None:
    """Each clip was once compared with every annotation: 20,000 took minutes."""
    sf.write(tmp_path / "a.wav", buzz(2_001 * 100), 100)
    overlapping = [(f"{0.2 * i:.2f}", f"{0.2 * i + 0.1:.2f}", f"{0.2 * i + 0.15:.2f}") for i in range(10_000)]
    lines = "".join(f"a.wav,{a},{c},wren\na.wav,{b},{c},robin\n" for a, b, c in overlapping)
    table = written(tmp_path / "t.csv", f"path,start,end,label\n{lines}a.wav,2000,2001,wren\n")
    started = time.monotonic()
    found = cut(tmp_path, table, drop_overlapping=True)
    assert time.monotonic() - started < 20
    assert found.counts == {"wren": 1} and sum(found.rejected.values()) == 20_000


def test_the_rest_is_what_no_annotation_covers(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,1,2,wren\ndawn.wav,1.5,3,robin\ndusk.flac,0,5.8,rain\n"
    found = cut(tmp_path, written(site / "x.csv", lines), rest_label="nothing", margin_s=0.1)
    assert found.counts == {"nothing": 2, "rain": 1, "robin": 1, "wren": 1}
    rest = [row for row in table_of(found) if row["label"] == "nothing"]
    assert {row["group"] for row in rest} == {"dawn.wav"}, "the other has no room"
    assert not any(row["also"] for row in rest)
    assert [float(r["end_s"]) - float(r["start_s"]) for r in rest] == pytest.approx([1.45, 1.45], abs=2e-3)
    assert all(float(row["start_s"]) >= 3.1 - 1e-6 and float(row["end_s"]) <= 6 for row in rest)


@given(
    covered=st.lists(st.tuples(st.floats(-1, 11), st.floats(0, 3)), max_size=6),
    duration_s=st.floats(0.1, 10),
    length_s=st.floats(0.05, 4),
)
def test_free_stretches_touch_nothing_and_stay_inside(
    covered: list[tuple[float, float]], duration_s: float, length_s: float
) -> None:
    spans = [(start, start + length) for start, length in covered]
    starts = free_starts(spans, duration_s, length_s)
    assert all(start >= 0 and start + length_s <= duration_s + 1e-6 for start in starts)
    assert all(b - a >= length_s - 1e-6 for a, b in zip(starts, starts[1:], strict=False))
    for first, last in spans:
        assert all(start + length_s <= first + 1e-6 or start >= last - 1e-6 for start in starts)
    if not spans:
        assert len(starts) == int(duration_s / length_s + 1e-9)


def test_what_cannot_be_cut_is_kept_with_its_reason(site: Path, tmp_path: Path) -> None:
    sf.write(site / "quiet.wav", np.zeros(RATE_HZ), RATE_HZ)
    (site / "broken.wav").write_bytes(b"RIFF no audio")
    lines = "path,start,end,label\n" + "\n".join(
        ("dawn.wav,1,2,wren", "dawn.wav,9,10,wren", "dawn.wav,2,1,wren", "dawn.wav,x,1,wren", "dawn.wav,1,2,",
         "quiet.wav,0,1,wren", "broken.wav,0,1,wren", "gone.wav,0,1,wren")
    )  # fmt: skip
    found = cut(tmp_path, written(site / "x.csv", lines))
    assert found.counts == {"wren": 1}
    with (tmp_path / "clips" / "rejected.csv").open(encoding="utf-8", newline="") as file:
        reasons = {int(row["line"]): row["reason"] for row in csv.DictReader(file)}
    assert reasons.pop(7).startswith("its recording cannot be read")
    assert reasons == {
        2: "ends after its recording does; are the times seconds in this file?",
        3: "does not end after it begins, at 0 s or later",
        4: "its beginning, or its end or duration, is no number of seconds",
        5: "has no label",
        6: "is silent",
        8: "its recording is not in the audio folder",
    }
    assert sum(found.rejected.values()) == 7


def test_a_stretch_whose_channels_cancel_out_is_not_called_silent(tmp_path: Path) -> None:
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE_HZ) / RATE_HZ)
    right = np.concatenate([-tone[:RATE_HZ], tone[RATE_HZ:]])
    sf.write(tmp_path / "a.wav", np.stack([tone, right], axis=1), RATE_HZ)
    found = cut(tmp_path, written(tmp_path / "x.csv", "path,start,end,label\na.wav,0,1,wren\na.wav,1,2,wren\n"))
    assert (found.counts, found.rejected) == ({"wren": 1}, {audio.CANCELLED: 1})


def test_a_recorder_that_is_stuck_is_silent(tmp_path: Path) -> None:
    """It was cut, and then the clip was rejected by the run; and so was one that is silent once its peak is at 1."""
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    samples = np.concatenate([np.full(RATE_HZ, 0.3), 0.3 + tone, np.full(RATE_HZ, 900.0) + 0.01 * tone])
    sf.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="FLOAT")
    lines = "path,start,end,label\na.wav,0,1,wren\na.wav,1,2,wren\na.wav,2,3,wren\n"
    found = cut(tmp_path, written(tmp_path / "x.csv", lines))
    assert (found.counts, found.rejected) == ({"wren": 1}, {"is silent": 2})
    (row,) = table_of(found)
    assert row["start_s"] == "1.0"
    assert audio.measure(Path(found.table).parent / row["path"], 1.0).samples == RATE_HZ


def test_a_recording_that_was_cut_short_gives_what_it_holds(site: Path, tmp_path: Path) -> None:
    whole = (site / "dawn.wav").read_bytes()
    (site / "dawn.wav").write_bytes(whole[: len(whole) // 2])
    found = cut(tmp_path, written(site / "x.csv", "path,start,end,label\ndawn.wav,1,2,wren\ndawn.wav,4,5,robin\n"))
    assert found.counts == {"wren": 1}
    assert len(found.rejected) == 1


def test_what_two_tables_say_alike_is_one_sound(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,1,2,wren\n"
    tables = [written(site / "a.csv", lines), written(site / "b.csv", lines + "dawn.wav,1,2,robin\n")]
    found = cut(tmp_path, *tables)
    assert found.counts == {"robin": 1, "wren": 1} and found.overlapping == 2


def test_recordings_of_one_name_in_two_folders_stay_apart(site: Path, tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        (site / day).mkdir()
        shutil.copy(site / "dawn.wav", site / day / "dawn.wav")
    lines = "path,start,end,label\nmonday/dawn.wav,1,2,wren\ntuesday\\dawn.wav,1,2,wren\n"
    found = cut(tmp_path, written(site / "x.csv", lines))
    rows = table_of(found)
    assert [row["group"] for row in rows] == ["monday/dawn.wav", "tuesday/dawn.wav"]
    assert rows[0]["path"] != rows[1]["path"]


def test_a_line_of_more_cells_than_the_header_is_not_cut(site: Path, tmp_path: Path) -> None:
    """It had another time and label: decimal commas in a table with commas."""
    lines = "file,start,end,species\ndawn.wav,1,5,2,0,wren\ndawn.wav,1,2,robin\n"
    found = cut(tmp_path, written(site / "x.csv", lines))
    assert found.counts == {"robin": 1}
    assert list(found.rejected) == ["its line has more cells than the header; quote cells that hold the delimiter"]


def test_birdnet_tables_name_files_of_another_machine(site: Path, tmp_path: Path) -> None:
    """Without `Begin Path` the dusk's calls were cut out of the dawn."""
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tCommon Name\tConfidence\tBegin Path\tFile Offset (s)\n"
    rows = "1\t0.0\t3.0\twren\t0.9\t/other/machine/DUSK.flac\t0.0\n2\t9\t12\trobin\t0.8\tD:\\rec\\dawn.wav\t3.0\n"
    found = cut(tmp_path, written(site / "dawn.BirdNET.selection.table.txt", header + rows))
    rows_ = table_of(found)
    assert [(r["label"], r["group"], r["start_s"]) for r in rows_] == [
        ("robin", "dawn.wav", "3.0"),
        ("wren", "dusk.flac", "0.0"),
    ]


def test_raven_without_offsets_over_several_files_is_refused(site: Path) -> None:
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n"
    table = written(site / "x.txt", header + "1\t2\tdawn.wav\twren\n7\t8\tdusk.flac\twren\n")
    with pytest.raises(DataError, match=r"File Offset \(s\)"):
        read_annotations(table, Recordings(site, "--recording-column"), ColumnNames())


def test_recordings_are_found_by_name_where_it_is_the_only_one(site: Path) -> None:
    (site / "deep").mkdir()
    shutil.copy(site / "dawn.wav", site / "deep" / "Noon 1.WAV")
    for day in ("monday", "tuesday"):
        (site / day).mkdir()
        shutil.copy(site / "dawn.wav", site / day / "night.wav")
    recordings = Recordings(site, "--recording-column")
    assert recordings.find("noon 1.wav") == recordings.find("deep/Noon 1") == site / "deep" / "Noon 1.WAV"
    assert recordings.find("monday/night.wav") == site / "monday" / "night.wav"
    assert recordings.find("night") == (
        "several recordings have its recording's name, and no path tells which; name a column of paths "
        "(--recording-column)"
    )
    assert recordings.find("/data/Tuesday/night.wav") == site / "tuesday" / "night.wav"
    assert recordings.find("D:\\disk\\monday\\night.wav") == site / "monday" / "night.wav"
    assert str(recordings.find("/sunday/night.wav")).startswith("several recordings")
    assert recordings.find("/monday/noon.wav") == "its recording is not in the audio folder"
    assert recordings.find("n" * 300) == recordings.find("x.csv") == "its recording is not in the audio folder"
    assert recordings.named_like(Path("Noon 1.Table.1.selections.txt")) == site / "deep" / "Noon 1.WAV"


def test_an_empty_table_and_one_without_recording_do_not_stop_the_others(site: Path, tmp_path: Path) -> None:
    tables = [
        written(site / "dawn.txt", "1\t2\twren\n"),
        written(site / "dusk.txt", ""),
        written(site / "other.csv", "path,start,end,label\n"),
        written(site / "gone.txt", "1\t2\twren\n"),
    ]
    found = cut(tmp_path, *tables)
    assert found.counts == {"wren": 1}
    assert found.rejected == {"its table names no recording, and none is called like the table": 1}


def test_one_failed_seek_does_not_lose_the_others(site: Path, tmp_path: Path) -> None:
    whole = (site / "dusk.flac").read_bytes()
    (site / "dusk.flac").write_bytes(whole[: len(whole) // 2])
    lines = "path,start,end,label\n" + "".join(f"dusk.flac,{start},{start + 0.5},wren\n" for start in (5, 4.5, 0, 1))
    found = cut(tmp_path, written(site / "x.csv", lines))
    assert [row["start_s"] for row in table_of(found)] == ["0.0", "1.0"] and sum(found.rejected.values()) == 2


def test_what_somebody_marked_is_no_rest(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,0,1,wren\ndawn.wav,1.2,4.8,\ndusk.flac,0,1,wren\ndusk.flac,x,3,wren\n"
    found = cut(tmp_path, written(site / "x.csv", lines), rest_label="nothing")
    rest = [row for row in table_of(found) if row["label"] == "nothing"]
    assert [(row["group"], row["start_s"]) for row in rest] == [("dawn.wav", "4.8")]
    with pytest.raises(DataError, match="--rest-label is empty"):
        cut(tmp_path / "other", site / "x.csv", rest_label=" ")


def test_floating_point_louder_than_full_scale_is_scaled(site: Path, tmp_path: Path) -> None:
    sf.write(site / "loud.wav", 3 * np.sin(np.arange(RATE_HZ) / 5), RATE_HZ, subtype="FLOAT")
    lines = "path,start,end,label\nloud.wav,0,1,robin\n"
    found = cut(tmp_path, written(site / "x.csv", lines))
    samples, _ = sf.read(Path(found.table).parent / table_of(found)[0]["path"])
    np.testing.assert_allclose(samples, np.sin(np.arange(RATE_HZ) / 5), atol=1e-3)


def test_tables_that_excel_saves_as_unicode_text(site: Path, tmp_path: Path) -> None:
    (site / "x.txt").write_text("file\tstart\tend\tlabel\ndawn.wav\t1,5\t2,0\tMönchsgrasmücke\n", encoding="utf-16")
    assert cut(tmp_path, site / "x.txt").counts == {"Mönchsgrasmücke": 1}


def test_tables_that_do_not_fit_say_what_they_have(site: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'end_s' or .*found 'path', 'start', 'label'"):
        cut(tmp_path, written(site / "x.csv", "path,start,label\ndawn.wav,1,wren\n"))
    with pytest.raises(DataError, match="--label-column"):
        cut(tmp_path, written(site / "x.csv", "path,start,end,bird\ndawn.wav,1,2,wren\n"))
    with pytest.raises(DataError, match=r"none is called like the table .*the folder of each table \(--audio\)"):
        cut(tmp_path, written(site / "other.txt", "1\t2\twren\n"))
    with pytest.raises(DataError, match="none of 1 annotations could be cut: its recording is not in"):
        cut(tmp_path, written(site / "x.csv", "path,start,end,label\ngone.wav,1,2,wren\n"))
    assert not (tmp_path / "clips" / "clips.csv").exists()
    own = written(site / "y.csv", "path,start,end,bird\ndawn.wav,1,2,wren\n")
    assert cut(tmp_path, own, columns=ColumnNames(label="Bird")).counts == {"wren": 1}
    with pytest.raises(DataError, match="there already"):
        cut(tmp_path, own, columns=ColumnNames(label="bird"))


@given(
    times=st.lists(st.tuples(st.floats(0, 5.9), st.floats(0.01, 3)), min_size=1, max_size=8),
    margin_s=st.floats(0, 1),
    max_duration_s=st.floats(0.2, 3),
)
@settings(max_examples=25, deadline=None)
def test_pieces_cover_the_annotation_and_are_never_too_long(
    tmp_path_factory: pytest.TempPathFactory, times: list[tuple[float, float]], margin_s: float, max_duration_s: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    sf.write(folder / "a.wav", buzz(6 * 1_000), 1_000)
    lines = "".join(f"a.wav,{start},{start + length},x{i}\n" for i, (start, length) in enumerate(times))
    found = cut(folder, written(folder / "t.csv", "path,start,end,label\n" + lines), margin_s=margin_s,
                max_duration_s=max_duration_s)  # fmt: skip
    rows = table_of(found)
    for index, (start, length) in enumerate(times):
        own = sorted((float(r["start_s"]), float(r["end_s"])) for r in rows if r["label"] == f"x{index}")
        assert own[0][0] == pytest.approx(max(0, start - margin_s), abs=2e-3)
        assert own[-1][1] == pytest.approx(min(6, start + length + margin_s), abs=2e-3)
        assert all(second[0] == pytest.approx(first[1], abs=2e-3) for first, second in zip(own, own[1:], strict=False))
        assert max(last - first for first, last in own) <= max_duration_s + 2e-3
    assert len({row["path"] for row in rows}) == len(rows)


def test_how_columns_were_read_is_told(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,class,common_name,confidence,label\ndawn.wav,1,2,Aves,Wren,0.1,\n"
    found = cut(tmp_path, written(site / "x.csv", lines), written(site / "empty.csv", "file,start,end\n"))
    assert found.counts == {"Wren": 1}, "the label column is empty, and the name says more than the class"
    assert list(found.columns.values()) == [1]
    (told,) = found.columns
    assert told == (
        "label from 'common_name', start from 'start', end from 'end', recording from 'file', "
        "confidence from 'confidence'; not read: 'class', 'label'"
    )


def test_a_column_that_names_recordings_is_not_overlooked(site: Path, tmp_path: Path) -> None:
    """The table is called like a recording, and once all its lines were cut out of that one."""
    table = written(site / "dawn.csv", "wave,start,end,label,no\ndusk.flac,1,2,wren,1\n")
    with pytest.raises(DataError, match="'wave' names recordings; say so with --recording-column 'wave'"):
        cut(tmp_path, table)
    found = cut(tmp_path, table, columns=ColumnNames(recording="Wave"))
    assert [row["recording"] for row in table_of(found)] == ["dusk.flac"]
    with pytest.raises(DataError, match="no column 'waves' for the recording"):
        cut(tmp_path / "other", table, columns=ColumnNames(recording="waves"))


def test_all_columns_that_are_not_found_are_told_at_once(site: Path, tmp_path: Path) -> None:
    lines = "DATEINAME,BEGINN_S,ENDE_S,CODE,ORT\ndawn.wav,1,2,wren,A\ndusk.flac,1,2,wren,B\n"
    with pytest.raises(DataError) as told:
        cut(tmp_path, written(site / "x.csv", lines), columns=ColumnNames(group="SITE"))
    for part in (
        "has no column 'start_s' or",
        "has no column 'end_s' or",
        "has no column 'label' or",
        "has no column 'SITE' for the group",
        "the column 'DATEINAME' names recordings; say so with --recording-column 'DATEINAME'",
        "found 'DATEINAME', 'BEGINN_S', 'ENDE_S', 'CODE', 'ORT'",
    ):
        assert part in str(told.value)


def test_groups_and_splits_of_the_table_are_kept(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,label,split,site\ndawn.wav,1,2,wren,train,A\ndusk.flac,1,2,wren,test,A\n"
    table = written(site / "x.csv", lines)
    rows = table_of(cut(tmp_path / "1", table))
    assert [(row["group"], row["split"]) for row in rows] == [("dawn.wav", "train"), ("dusk.flac", "test")]
    found = cut(tmp_path / "2", table, columns=ColumnNames(group="site"))
    assert [row["group"] for row in table_of(found)] == ["A", "A"]
    assert (found.recordings, found.groups) == (2, 1)
    (site / "x.csv").write_text(lines.replace("site", "Group"))
    assert [row["group"] for row in table_of(cut(tmp_path / "3", table))] == ["A", "A"]


def test_raven_says_on_which_channel(site: Path, tmp_path: Path) -> None:
    """Two calls at once, each on its own channel, were the same mixed clip under two labels."""
    left, right = (0.1 * buzz(6 * RATE_HZ) + level for level in (0.1, 0.3))
    sf.write(site / "stereo.wav", np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    lines = ["1\tWaveform 1\t1\t1\t2\twren\n", "1\tSpectrogram 1\t1\t1\t2\twren\n", "2\tx\t2\t1\t2\trobin\n"]
    found = cut(tmp_path, written(site / "stereo.Table.1.selections.txt", header + "".join(lines)))
    levels = {}
    for row in table_of(found):
        samples, _ = sf.read(Path(found.table).parent / row["path"])
        levels[row["label"]] = samples.mean()
    assert found.counts == {"robin": 1, "wren": 1} and not found.overlapping
    assert levels == pytest.approx({"wren": 0.1, "robin": 0.3}, abs=1e-3)


def test_two_channels_of_one_label_and_time_are_two_clips(site: Path, tmp_path: Path) -> None:
    """Two wrens at once: under one file name the second was both."""
    left, right = (0.1 * buzz(6 * RATE_HZ) + level for level in (0.1, 0.3))
    sf.write(site / "stereo.wav", np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    header = "Channel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    found = cut(tmp_path, written(site / "stereo.txt", header + "1\t1\t2\twren\n2\t1\t2\twren\n"))
    levels = [sf.read(Path(found.table).parent / row["path"])[0].mean() for row in table_of(found)]
    assert sorted(levels) == pytest.approx([0.1, 0.3], abs=1e-3)


def test_a_channel_that_a_recording_does_not_have_is_told(site: Path, tmp_path: Path) -> None:
    header = "Channel\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    found = cut(tmp_path, written(site / "dawn.txt", header + "1\t1\t2\twren\n3\t1\t2\trobin\n"))
    assert found.counts == {"wren": 1}
    assert found.rejected == {"its recording has 2 channel(s), not the one that it names": 1}


def test_ravens_numbers_name_no_recordings(site: Path, tmp_path: Path) -> None:
    for name in ("1.wav", "2.wav"):
        shutil.copy(site / "dawn.wav", site / name)
    lines = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\t1\t2\twren\n2\t3\t4\twren\n"
    found = cut(tmp_path, written(site / "1.Table.1.selections.txt", lines))
    assert [row["recording"] for row in table_of(found)] == ["1.wav", "1.wav"]


def test_splits_that_no_run_would_take_stop_before_anything_is_cut(site: Path, tmp_path: Path) -> None:
    table = written(site / "x.csv", "file,start,end,label,split\ndawn.wav,1,2,wren,fold1\n")
    with pytest.raises(DataError, match="the column 'split' holds 'fold1'; expected train"):
        cut(tmp_path, table)
    table.write_text("file,start,end,label,split\ndawn.wav,1,2,wren,train\ndawn.wav,3,4,wren,\n")
    with pytest.raises(DataError, match="1 of 2 annotations have no split while others do"):
        cut(tmp_path, table)
    assert not (tmp_path / "clips").exists()


def test_sounds_that_only_touch_do_not_overlap(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,label\ndawn.wav,1,2.0000001,wren\ndawn.wav,2,3,robin\n"
    found = cut(tmp_path, written(site / "x.csv", lines), drop_overlapping=True)
    assert found.counts == {"robin": 1, "wren": 1}


def test_clips_with_another_label_can_be_left_out(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,label\ndawn.wav,1,2,wren\ndawn.wav,1.5,3,robin\ndawn.wav,4,5,robin\n"
    found = cut(tmp_path, written(site / "x.csv", lines), drop_overlapping=True)
    assert found.counts == {"robin": 1} and not found.overlapping
    assert found.rejected == {"a sound of another label is in it (--drop-overlapping)": 2}


def test_durations_stand_for_ends(site: Path, tmp_path: Path) -> None:
    found = cut(
        tmp_path, written(site / "calls.csv", "file,onset,duration,label\ndawn.wav,1.5,0.5,wren\ndawn.wav,2,x,wren\n")
    )
    assert [(row["start_s"], row["end_s"]) for row in table_of(found)] == [("1.5", "2.0")]
    assert list(found.rejected) == ["its beginning, or its end or duration, is no number of seconds"]
    assert list(found.columns) == [
        "label from 'label', start from 'onset', duration from 'duration', recording from 'file'"
    ]


def test_an_empty_column_of_ends_hides_no_durations(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "calls.csv", "file,start,end,duration,label\ndawn.wav,1.5,,0.5,wren\n"))
    assert [(row["start_s"], row["end_s"]) for row in table_of(found)] == [("1.5", "2.0")]


def test_ends_are_taken_where_there_are_durations_too(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "calls.csv", "file,start,end,duration,label\ndawn.wav,1.5,2,4,wren\n"))
    assert [(row["start_s"], row["end_s"]) for row in table_of(found)] == [("1.5", "2.0")]


BIRDNET = (
    "Start (s),End (s),Common name,Confidence,File\n0,1,wren,0.9,dawn.wav\n1,2,wren,0.3,dawn.wav\n2,3,robin,,dawn.wav\n"
    "4,5,wren,0.5,dawn.wav\n4,5,wren,0.2,dawn.wav\n"
)


def test_what_a_detector_is_less_sure_of_is_left_out_and_is_no_rest(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "birds.csv", BIRDNET), min_confidence=0.5, rest_label="background")
    wrens = [row["start_s"] for row in table_of(found) if row["label"] == "wren"]
    rest = [(float(r["start_s"]), float(r["end_s"])) for r in table_of(found) if r["label"] == "background"]
    assert wrens == ["0.0", "4.0"] and rest and all(start >= 3 for start, _ in rest)
    assert found.rejected == {"has less than --min-confidence": 2, "says no confidence": 1}
    assert "confidence from 'Confidence'" in next(iter(found.columns))


def test_without_a_minimum_every_detection_is_cut_once(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "birds.csv", BIRDNET))
    assert found.counts == {"robin": 1, "wren": 3} and not found.rejected


def test_a_minimum_needs_a_column(site: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'confidence' or 'score'.*--min-confidence"):
        cut(tmp_path, written(site / "a.csv", "file,start,end,label\ndawn.wav,0,1,wren\n"), min_confidence=0.5)
    with pytest.raises(DataError, match="--min-confidence"):
        cut(tmp_path, written(site / "dawn.txt", "0\t1\twren\n"), min_confidence=0.5)


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """`night.wav` and `day.wav` in each of three folders; at second s those of A hold 0.1, of B 0.2, of C 0.3."""
    for level, name in enumerate("ABC", 1):
        (tmp_path / "sites" / name).mkdir(parents=True)
        for recording in ("night.wav", "day.wav"):
            ramp = level / 10 + np.arange(6 * RATE_HZ) / RATE_HZ / 1000
            sf.write(tmp_path / "sites" / name / recording, ramp, RATE_HZ, subtype="PCM_16")
    return tmp_path / "sites"


def test_a_column_of_paths_tells_recordings_of_one_name_apart(sites: Path, tmp_path: Path) -> None:
    """Raven writes both columns, and `Begin File` alone was looked at."""
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tBegin Path\tFile Offset (s)\tSpecies\n"
    lines = "".join(f"1\t1\t2\tnight.wav\tE:\\survey\\{site}\\night.wav\t1\twren\n" for site in "AB")
    found = cut(tmp_path, written(tmp_path / "x.txt", header + lines), audio_folder=sites)
    assert [row["recording"] for row in table_of(found)] == ["A/night.wav", "B/night.wav"] and not found.rejected
    assert "recording from 'Begin File', path from 'Begin Path'" in next(iter(found.columns))
    # One of that name right below --audio is not it either.
    shutil.copyfile(sites / "A" / "night.wav", sites / "night.wav")
    found = cut(tmp_path / "1", written(tmp_path / "x.txt", header + lines), audio_folder=sites)
    assert [row["recording"] for row in table_of(found)] == ["A/night.wav", "B/night.wav"]
    without = written(tmp_path / "y.txt", (header + lines).replace("File Offset (s)", "Notes"))
    with pytest.raises(DataError, match=r"names several recordings .*File Offset \(s\)"):
        cut(tmp_path / "2", without, audio_folder=sites)


def test_the_folder_of_a_table_tells_recordings_of_one_name_apart(sites: Path, tmp_path: Path) -> None:
    (tmp_path / "birdnet" / "B").mkdir(parents=True)
    lines = "Start (s),End (s),Common name\n1,2,wren\n"
    tables = [written(folder / "night.BirdNET.results.csv", lines) for folder in (tmp_path / "birdnet" / "B", tmp_path)]
    found = cut(tmp_path, *tables, audio_folder=sites)
    assert [row["recording"] for row in table_of(found)] == ["night.wav"], "the only one that is cut"
    assert sf.read(Path(found.table).parent / table_of(found)[0]["path"])[0].mean() == pytest.approx(0.2, abs=0.01)
    assert [reason for reason in found.rejected if "--recording-column" in reason]


def test_of_a_recording_that_is_missing_none_of_its_name_at_another_site_is_taken(sites: Path, tmp_path: Path) -> None:
    """The dawn at B was cut out of the dawn at A."""
    shutil.copyfile(sites / "A" / "day.wav", sites / "A" / "dawn.wav")
    lines = "path,start,end,label\nB/dawn.wav,1,2,wren\nA\\dawn.wav,1,2,robin\n"
    found = cut(tmp_path / "1", written(sites / "x.csv", lines))
    assert found.counts == {"robin": 1} and "another folder" in next(iter(found.rejected))
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tBegin Path\tFile Offset (s)\tSpecies\n"
    raven = written(sites / "y.txt", header + "1\t2\tdawn.wav\tE:\\survey\\B\\dawn.wav\t1\twren\n")
    with pytest.raises(DataError, match=r"another folder.*--recording-column"):
        cut(tmp_path / "2", raven)
    assert cut(tmp_path / "3", raven, columns=ColumnNames(recording="Begin File")).counts == {"wren": 1}
    for name in ("t/B", "t/D", "labels"):
        (tmp_path / name).mkdir(parents=True)
    lines = "Start (s),End (s),Common name\n1,2,wren\n"
    of_b, of_d, of_any = (
        written(tmp_path / name / "dawn.BirdNET.results.csv", lines) for name in ("t/B", "t/D", "labels")
    )
    with pytest.raises(DataError, match="another folder"):
        cut(tmp_path / "4", of_b, audio_folder=sites)
    assert cut(tmp_path / "5", of_any, audio_folder=sites).counts == {"wren": 1}
    # A site that has no recordings here at all, beside one that has; where --audio is one site, beside that one.
    with pytest.raises(DataError, match="another folder"):
        cut(tmp_path / "6", of_d, audio_folder=sites)
    (tmp_path / "t" / "C").mkdir()
    tables = [written(tmp_path / "t" / name / "day.csv", lines) for name in "BC"]
    found = cut(tmp_path / "7", *tables, audio_folder=sites / "C")
    assert found.counts == {"wren": 1} and "another folder" in next(iter(found.rejected))


@pytest.mark.parametrize("link", [False, True])
def test_a_recording_is_one_however_its_path_is_spelled(site: Path, tmp_path: Path, link: bool) -> None:
    """Background was cut where another table had a sound, and the groups were two."""
    home = tmp_path / "elsewhere" / ".." / site.name
    if link:
        home = tmp_path / "link"
        home.symlink_to(site)
    (tmp_path / "elsewhere").mkdir()
    named = written(tmp_path / "named.csv", f"path,start,end,label\n{site / 'dawn.wav'},0,2,wren\n")
    beside = written(tmp_path / "dawn.txt", "start\tend\tlabel\n2\t4\trobin\n1.5\t2.5\tcrow\n")
    found = cut(tmp_path, named, beside, audio_folder=home, rest_label="background")
    rows = table_of(found)
    assert found.recordings == found.groups == 1 and {row["group"] for row in rows} == {"dawn.wav"}
    assert all(float(row["start_s"]) >= 4 for row in rows if row["label"] == "background")
    assert {row["label"]: row["also"] for row in rows if row["label"] != "background"} == {
        "wren": "crow", "robin": "crow", "crow": "robin; wren",
    }  # fmt: skip


def test_a_line_without_a_group_is_of_its_recordings_only_one(site: Path, tmp_path: Path) -> None:
    """As cells that are merged in a spreadsheet: one recording was two groups, in training and in test."""
    lines = "file,start,end,label,site\ndawn.wav,0,1,wren,north\ndawn.wav,2,3,wren,\ndusk.flac,0,1,wren,\n"
    named = ColumnNames(group="site")
    found = cut(tmp_path / "1", written(site / "x.csv", lines), columns=named)
    assert [(row["recording"], row["group"]) for row in table_of(found)] == [
        ("dawn.wav", "north"), ("dawn.wav", "north"), ("dusk.flac", "dusk.flac"),
    ]  # fmt: skip
    assert [told.partition(";")[0] for told in found.warnings] == [
        "1 of 2 recordings have no group, so each is a group of its own: 'dusk.flac'"
    ]
    found = cut(tmp_path / "2", written(site / "x.csv", lines + "dawn.wav,4,5,wren,south\n"), columns=named)
    assert any("'dawn.wav' ('', 'north', 'south')" in told for told in found.warnings), found.warnings
    assert any("1 of 2 recordings have no group" in told for told in found.warnings), found.warnings


def test_the_same_sound_with_the_only_channel_and_without_one_is_one_clip(site: Path, tmp_path: Path) -> None:
    raven = "Selection\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\t1\t1\t2\twren\n"
    sf.write(site / "dawn.wav", buzz(6 * RATE_HZ), RATE_HZ)
    other = written(site / "dawn.csv", "start,end,label\n1,2,wren\n")
    assert cut(tmp_path, written(site / "dawn.txt", raven), other).counts == {"wren": 1}


def test_where_raven_has_no_offset_a_line_of_several_recordings_is_not_cut(site: Path) -> None:
    """It was cut at the time that counts from the first one."""
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    lines = "1\t2\tdawn.wav\t1\twren\n7.5\t8.0\tdusk.flac\t\twren\n"
    found = read_annotations(
        written(site / "x.txt", header + lines), Recordings(site, "--recording-column"), ColumnNames()
    ).annotations
    assert [annotation.wrong is None for annotation in found] == [True, False]
    assert "no 'File Offset (s)'" in str(found[1].wrong)


def test_where_there_is_no_rest_it_is_told(site: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\ndawn.wav,0,6,wren\ndusk.flac,1,2,wren\ndusk.flac,3,?,wren\n"
    tables = [written(site / "x.csv", lines), written(site / "empty.txt", "")]
    warnings = "\n".join(cut(tmp_path, *tables, rest_label="background").warnings)
    assert "1 table(s) hold no annotation, so nothing is cut of them: 'empty.txt'" in warnings
    assert "no 'background' from 1 recording(s): no stretch" in warnings and "('dawn.wav')" in warnings
    assert "no 'background' from 1 recording(s): a line says no times" in warnings and "('dusk.flac')" in warnings


def test_a_stretch_that_is_silent_is_no_annotation_that_could_not_be_cut(tmp_path: Path) -> None:
    samples = buzz(6 * RATE_HZ)
    samples[3 * RATE_HZ :] = 0
    sf.write(tmp_path / "a.wav", samples, RATE_HZ)
    found = cut(tmp_path, written(tmp_path / "x.csv", "path,start,end,label\na.wav,0,3,wren\n"), rest_label="rest")
    assert found.counts == {"wren": 1} and not found.rejected
    assert "1 clip(s) of 'rest' not cut: is silent (rejected.csv)" in found.warnings


def test_an_empty_recording_is_called_so(site: Path, tmp_path: Path) -> None:
    (site / "noon.wav").write_bytes(b"")
    found = cut(tmp_path, written(site / "x.csv", "path,start,end,label\nnoon.wav,0,1,wren\ndawn.wav,0,1,wren\n"))
    assert found.rejected == {"its recording is empty (0 bytes)": 1}


def test_ravens_begin_file_is_of_the_site_in_whose_folder_the_table_lies(sites: Path, tmp_path: Path) -> None:
    """All lines were rejected, as several recordings have the name."""
    (tmp_path / "tables" / "B").mkdir(parents=True)
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tSpecies\n"
    table = written(tmp_path / "tables" / "B" / "x.txt", header + "1\t2\tnight.wav\twren\n")
    found = cut(tmp_path, table, audio_folder=sites)
    assert [row["recording"] for row in table_of(found)] == ["night.wav"]
    assert sf.read(Path(found.table).parent / table_of(found)[0]["path"])[0].mean() == pytest.approx(0.2, abs=0.01)


def test_a_quote_in_a_table_of_raven_swallows_no_lines(site: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\tNotes\n"
    lines = '1\t1\t2\twren\t"loud\n2\t2\t3\trobin\t\n3\t3\t4\t"crow, hooded"\tsaid "ka"\n4\t4\t5\twren\tfar"\n'
    reading = read_annotations(
        written(site / "dawn.txt", header + lines), Recordings(site, "--recording-column"), ColumnNames()
    )
    assert [(a.start_s, a.label) for a in reading.annotations] == [
        (1, "wren"), (2, "robin"), (3, "crow, hooded"), (4, "wren"),
    ]  # fmt: skip


def test_the_rest_is_of_the_group_and_split_of_its_neighbour(site: Path, tmp_path: Path) -> None:
    """A recorder that moves: all background once was of the first place and its split."""
    lines = "file,start,end,label,group,split\ndawn.wav,0,1,wren,A,train\ndawn.wav,5,6,wren,B,test\n"
    found = cut(tmp_path, written(site / "x.csv", lines), rest_label="background")
    rest = [(r["start_s"], r["group"], r["split"]) for r in table_of(found) if r["label"] == "background"]
    assert rest == [("1.0", "A", "train"), ("4.0", "B", "test")]


def test_the_neighbour_of_the_rest_is_where_the_gap_to_it_is_least(site: Path, tmp_path: Path) -> None:
    """From the end of a long annotation, not from where it begins."""
    lines = "file,start,end,label,group\ndawn.wav,0,3,wren,A\ndawn.wav,5.5,5.6,wren,B\ndawn.wav,5.7,5.8,wren,B\n"
    found = cut(tmp_path, written(site / "x.csv", lines), rest_label="background")
    rest = [(float(r["start_s"]), r["group"]) for r in table_of(found) if r["label"] == "background"]
    assert rest[0] == (3.0, "A") and len(rest) > 1, rest


def test_splits_of_lines_that_are_not_cut_do_not_matter(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,label,split,score\ndawn.wav,1,2,wren,train,0.9\ndawn.wav,3,4,wren,,0.1\n,,,,,\n,,,,none,\n"
    found = cut(tmp_path, written(site / "x.csv", lines), min_confidence=0.5)
    assert [row["split"] for row in table_of(found)] == ["train"] and sum(found.rejected.values()) == 3


def test_start_time_in_seconds_is_a_beginning(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "x.csv", "File,Start Time (s),End Time (s),Species\ndawn.wav,1,2,wren\n"))
    assert found.counts == {"wren": 1}


def test_a_recording_in_another_format_is_found(site: Path, tmp_path: Path) -> None:
    found = cut(tmp_path, written(site / "x.csv", "file,start,end,label\nC:\\r\\DUSK.wav,1,2,wren\n"))
    assert [row["recording"] for row in table_of(found)] == ["dusk.flac"]
    (site / "a").mkdir(), (site / "b").mkdir()
    for folder in "ab":
        shutil.copy(site / "dusk.flac", site / folder / "noon.flac")
    recordings = Recordings(site, "--recording-column")
    assert str(recordings.find("noon.wav")).startswith("several recordings")
    assert recordings.find("b/noon.wav") == site / "b" / "noon.flac"
    assert recordings.find("dusk.2024") == "its recording is not in the audio folder"


def test_folders_of_recordings_may_be_their_groups(sites: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\n" + "".join(
        f"{site}/{name}.wav,1,2,wren\n" for site in "ABC" for name in ("night", "day")
    )
    table, listener = written(sites / "x.csv", lines), RecordingReporter()
    found = cut_recordings([table], CutConfig(tmp_path / "1"), listener)
    assert found.groups == 6 and list(found.warnings) == listener.warnings
    assert "the recordings lie in 3 folders ('A', 'B', 'C')" in found.warnings[0]
    assert "--group-column folder" in found.warnings[0]
    whole = cut_recordings([table], CutConfig(tmp_path / "2", columns=ColumnNames(group="folder")), listener)
    assert {row["group"] for row in table_of(whole)} == {"A", "B", "C"} and not whole.warnings
    own = written(sites / "y.csv", lines.replace("label", "label,Folder").replace("wren", "wren,north"))
    named = cut_recordings([own], CutConfig(tmp_path / "3", columns=ColumnNames(group="folder")), listener)
    assert {row["group"] for row in table_of(named)} == {"north"} and not named.warnings


def test_one_recording_per_folder_is_no_warning(sites: Path, tmp_path: Path) -> None:
    lines = "path,start,end,label\nA/day.wav,1,2,wren\nB/day.wav,1,2,wren\n"
    assert not cut(tmp_path, written(sites / "x.csv", lines)).warnings


def test_missing_cells_of_r_are_no_groups_and_no_labels(site: Path, tmp_path: Path) -> None:
    lines = "file,start,end,label,group\ndawn.wav,1,2,wren,NA\ndawn.wav,3,4,NA,NA\n"
    found = cut(tmp_path, written(site / "x.csv", lines))
    assert [(row["label"], row["group"]) for row in table_of(found)] == [("wren", "dawn.wav")]
    assert found.rejected == {"has no label": 1}


def test_the_command_prints_the_counts_and_the_recipe_line(site: Path, tmp_path: Path) -> None:
    written(site / "calls.csv", "file,start,end,label\ndawn.wav,1,2,wren [adult]\ndawn.wav,1.5,3,robin\n")
    arguments = ["data", "cut", str(site / "calls.csv"), "--output", str(tmp_path / "clips"), "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "wren [adult]" in result.stdout and "2 clips of 1 recording(s) in 1 group(s)" in result.stdout
    assert "1 table(s): label from 'label', start from 'start', end from 'end', recording from 'file'" in result.stdout
    assert f'data: {{path: "{tmp_path / "clips" / "clips.csv"}", max_duration_s: 10}}' in result.stdout
    again = CliRunner().invoke(app, [*arguments[:-2], str(tmp_path / "other"), "--json"])
    assert json.loads(again.stdout)["counts"] == {"robin": 1, "wren [adult]": 1}


def test_a_selection_that_cannot_be_cut_counts_once_whatever_its_views(site: Path) -> None:
    """Of one selection without its recording two were told, one per view."""
    header = "Selection\tView\tBegin File\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
    lines = "".join(f"1\t{view}\tgone.wav\t1\t2\twren\n" for view in ("Waveform 1", "Spectrogram 1"))
    reading = read_annotations(
        written(site / "x.txt", header + lines), Recordings(site, "--recording-column"), ColumnNames()
    )
    assert [annotation.wrong for annotation in reading.annotations] == ["its recording is not in the audio folder"]
