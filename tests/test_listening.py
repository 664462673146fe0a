"""The blind listening test: what is drawn, what may give it away, and what its answers show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from synthio.errors import DataError, MissingArtefact, StoreError
from synthio.listening import (
    Heard,
    HeardClip,
    Kind,
    Solution,
    draw_test,
    evaluate_answers,
    read_answers,
    read_solution,
    write_test,
)
from synthio.records import Candidate, Clip, Prompt, Verdict
from synthio.stages.dataset import Accepted

RATE_HZ = 8_000


def real_clip(name: str, label: str, split: str = "train") -> Clip:
    return Clip(
        id=name, path=f"/{name}.wav", labels=(label,), split=split, duration_s=1, sample_rate_hz=RATE_HZ, sha256=name
    )  # type: ignore[arg-type]


def accepted_clip(name: str, label: str) -> Accepted:
    prompt = Prompt(id=name, clip_id="c", labels=(label,), text=label, duration_s=1)
    candidate = Candidate(id=name, prompt_id=name, path=f"{name}.flac", seed=0, sample_rate_hz=RATE_HZ)
    verdict = Verdict(id=name, similarity=1, score=1, threshold=0, accepted=True, reason="accepted")
    return Accepted(prompt, candidate, verdict, Path(f"/{name}.flac"))


REAL = [real_clip(f"recorded-{i}", "dog") for i in range(9)] + [real_clip("recorded-rain", "heavy_rain")]
MADE = [accepted_clip(f"generated-{i}", "dog") for i in range(9)] + [accepted_clip("generated-rain", "heavy_rain")]


def test_half_of_the_clips_are_synthetic_and_the_classes_take_turns() -> None:
    test = draw_test(REAL, MADE, 8, 0)
    assert [clip.number for clip in test.clips] == list(range(1, 9))
    assert [sum(clip.kind == kind for clip in test.clips) for kind in ("real", "synthetic")] == [4, 4]
    # One clip of ten is of rain, and it is in each half.
    assert {clip.clip_id for clip in test.clips} > {"recorded-rain", "generated-rain"}
    assert test.classes == ("dog", "heavy_rain")
    assert draw_test(REAL[::-1], MADE[::-1], 8, 0) == test != draw_test(REAL, MADE, 8, 1)
    assert len(draw_test(REAL, MADE, 100, 0).clips) == 20


def test_where_there_are_more_classes_than_clips_any_may_be_heard() -> None:
    real = [real_clip(f"recorded-{i}", f"class {i:02d}") for i in range(20)]
    made = [accepted_clip(f"generated-{i}", f"class {i:02d}") for i in range(20)]
    drawn = [{clip.labels for clip in draw_test(real, made, 8, seed).clips} for seed in range(3)]
    # The same ones of each kind, and others with another seed.
    assert all(len(labels) == 4 for labels in drawn) and len(set.union(*drawn)) > 6


def test_without_synthetic_clips_there_is_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="no accepted synthetic clip to compare"):
        draw_test(REAL, [], 8, 0)


def test_a_test_may_be_of_chosen_classes() -> None:
    """The listener still chooses among all: with one class to choose, every clip would be recognised."""
    test = draw_test(REAL, MADE, 60, 0, only=["heavy_rain"])
    assert {clip.clip_id for clip in test.clips} == {"recorded-rain", "generated-rain"}
    assert test.classes == ("dog", "heavy_rain")
    assert draw_test(REAL, MADE, 60, 0, only=["dog", "heavy_rain"]) == draw_test(REAL, MADE, 60, 0)
    with pytest.raises(DataError, match="no accepted synthetic clip has the label 'cat'; found 'dog', 'heavy_rain'"):
        draw_test(REAL, MADE, 60, 0, only=["dog", "cat"])


def test_a_class_without_synthetic_clips_is_only_a_choice() -> None:
    """Of a class of which the filter accepted none, every clip was real."""
    test = draw_test([*REAL, real_clip("recorded-cat", "cat")], MADE, 100, 0)
    assert test.clips == draw_test(REAL, MADE, 100, 0).clips and test.classes == ("cat", "dog", "heavy_rain")


@pytest.fixture
def sources(tmp_path: Path) -> dict[tuple[Kind, str], Path]:
    """Loud real clips at another rate, in stereo, and quiet synthetic ones."""
    found: dict[tuple[Kind, str], Path] = {}
    times_s = np.arange(RATE_HZ) / RATE_HZ
    for clip in REAL:
        found["real", clip.id] = tmp_path / f"{clip.id}.wav"
        tone = 0.7 * np.sin(2 * np.pi * 300 * np.arange(3 * 22_050) / 22_050)
        sf.write(found["real", clip.id], np.stack([tone, tone], axis=1), 22_050)
    for item in MADE:
        found["synthetic", item.candidate.id] = tmp_path / f"{item.candidate.id}.flac"
        sf.write(found["synthetic", item.candidate.id], 0.05 * np.sin(2 * np.pi * 200 * times_s), RATE_HZ)
    return found


def test_nothing_but_the_sound_tells_the_kinds_apart(tmp_path: Path, sources: dict[tuple[Kind, str], Path]) -> None:
    test, folder = draw_test(REAL, MADE, 8, 0), tmp_path / "run" / "listening"
    page = write_test(test, sources, folder, RATE_HZ, 2.0).read_text()
    files = sorted((folder / "audio").iterdir())
    assert [path.name for path in files] == [f"{number:03d}.flac" for number in range(1, 9)]
    for clip, path in zip(test.clips, files, strict=True):
        samples, rate_hz = sf.read(path)
        assert (rate_hz, samples.ndim, sf.info(path).subtype) == (RATE_HZ, 1, "PCM_16")
        assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-4)
        assert len(samples) == RATE_HZ * (2 if clip.kind == "real" else 1)
        assert f'src="audio/{path.name}"' in page
    assert not any(clip.clip_id in page for clip in test.clips) and page.count("<audio") == 8
    assert (folder / "answers.csv").read_text() == "clip,heard,real\n" + "".join(f"{n},,\n" for n in range(1, 9))


def test_a_test_is_made_once_and_its_answers_stay(tmp_path: Path, sources: dict[tuple[Kind, str], Path]) -> None:
    test, folder = draw_test(REAL, MADE, 8, 0), tmp_path / "listening"
    write_test(test, sources, folder, RATE_HZ, 2.0)
    assert read_solution(folder).clips == test.clips
    (folder / "answers.csv").write_text("clip,heard,real\n1,dog,\n")
    write_test(test, sources, folder, RATE_HZ, 2.0)
    assert (folder / "answers.csv").read_text() == "clip,heard,real\n1,dog,\n"
    with pytest.raises(StoreError, match="holds another listening test, of 8 clips, perhaps with answers; rename"):
        write_test(draw_test(REAL, MADE, 6, 0), sources, folder, RATE_HZ, 2.0)
    # Another generator's clips may have the same ids.
    made = sources["synthetic", "generated-rain"]
    before = made.read_bytes()
    sf.write(made, 0.1 * np.ones(RATE_HZ), RATE_HZ)
    with pytest.raises(StoreError, match="holds another listening test"):
        write_test(test, sources, folder, RATE_HZ, 2.0)
    made.write_bytes(before)
    # As a kill leaves it.
    (folder / "solution.json").unlink()
    write_test(draw_test(REAL, MADE, 6, 0), sources, folder, RATE_HZ, 2.0)
    assert len(read_solution(folder).clips) == len(list((folder / "audio").iterdir())) == 6


def test_nothing_is_written_through_a_link(tmp_path: Path, sources: dict[tuple[Kind, str], Path]) -> None:
    (tmp_path / "elsewhere").mkdir()
    test, folder = draw_test(REAL, MADE, 8, 0), tmp_path / "listening"
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        write_test(test, sources, folder, RATE_HZ, 2.0)
    folder.unlink()
    folder.mkdir()
    (folder / "audio").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="leaves"):
        write_test(test, sources, folder, RATE_HZ, 2.0)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_solution_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefact, match="without --answers first"):
        read_solution(tmp_path)
    (tmp_path / "solution.json").write_text('{"classes": 1}')
    with pytest.raises(StoreError, match="is damaged; delete .* after saving your answers"):
        read_solution(tmp_path)


def solution(*clips: tuple[Kind, str]) -> Solution:
    return Solution(
        classes=("dog", "heavy_rain", "wind"),
        clips=tuple(
            HeardClip(number=i, kind=kind, clip_id=f"{kind}-{i}", labels=tuple(labels.split("|")))
            for i, (kind, labels) in enumerate(clips, start=1)
        ),
    )


FOUR = solution(("real", "dog"), ("synthetic", "dog"), ("synthetic", "heavy_rain"), ("synthetic", "dog|wind"))


def answers(tmp_path: Path, *lines: str, header: str = "clip,heard,real") -> dict[int, Heard]:
    path = tmp_path / "filled.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
    return read_answers(path, FOUR)


def test_answers_as_a_spreadsheet_writes_them(tmp_path: Path) -> None:
    said = answers(tmp_path, "1;Dog;YES", "002;heavy rain;", "4;dog|Wind;0", "3;;", header="clip;heard;real")
    assert said == {
        1: Heard(frozenset({"dog"}), True),
        2: Heard(frozenset({"heavy_rain"}), None),
        4: Heard(frozenset({"dog", "wind"}), False),
    }
    assert answers(tmp_path, "1,?,no") == {1: Heard(frozenset(), False)}


def test_rows_without_anything_are_skipped_also_where_cells_are_not_there(tmp_path: Path) -> None:
    assert list(answers(tmp_path, "1,dog,", ",,")) == [1]
    path = tmp_path / "filled.jsonl"
    path.write_text('{"clip": 1, "heard": "dog", "real": "yes"}\n{"clip": 2, "heard": "wind"}\n')
    assert list(read_answers(path, FOUR)) == [1, 2]


def test_classes_that_are_hardly_told_apart(tmp_path: Path) -> None:
    """A class may hold the sign between labels, be `?`, or differ from another in case only."""
    odd = FOUR.model_copy(update={"classes": ("N", "n", "kick|snare", "kick", "?")})
    path = tmp_path / "filled.csv"
    path.write_text("clip,heard,real\n1,n,\n2,kick|snare,\n3,?,\n4,kick|N,\n")
    said = read_answers(path, odd)
    assert [sorted(heard.labels) for heard in said.values()] == [["n"], ["kick|snare"], ["?"], ["N", "kick"]]
    path.write_text("clip,heard,real\n1, N_ ,\n")
    with pytest.raises(DataError, match="class 'N_'; did you mean 'N' or 'n'?"):
        read_answers(path, odd)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,dogg,", "clip '1': class 'dogg'; did you mean 'dog'?"),
        ("1,piano,", r"clip '1': class 'piano'; expected dog, heavy_rain, wind or \?"),
        ("5,dog,", "clip '5': there is none; expected a number from 1 to 4"),
        ("one,dog,", "clip 'one': there is none"),
        (',dog,\n1,"do\n\ng",', "clip '': there is none; .*; clip '1': class 'do"),
        ("1,dog,maybe", "clip '1': real 'maybe'; expected yes, no or nothing"),
        ("1,,yes", r"clip '1': nothing in the column 'heard'; expected a class, or \? for none of them"),
        ("1,dog,\n1,wind,", "clip '1': has two rows"),
        ("1,,\n2,,", r"has no answer in the column 'heard'; expected a class, or \? for none"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        answers(tmp_path, line)


def test_a_table_without_the_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column 'heard', 'real'; expected clip, heard, real"):
        answers(tmp_path, "1,dog", header="clip,label")


def test_what_is_heard_is_counted() -> None:
    said = {
        1: Heard(frozenset({"dog"}), True),
        2: Heard(frozenset({"wind"}), False),
        3: Heard(frozenset(), None),
        4: Heard(frozenset({"wind"}), True),
    }
    found = evaluate_answers(Path("a.csv"), FOUR, said)
    assert found.recognised.clips == {"real": 1, "synthetic": 3}
    # Of a dog in the wind, to hear the wind alone is right; to hear nothing never is.
    assert (found.recognised.real.mean, found.recognised.synthetic.mean) == (1, pytest.approx(1 / 3))
    assert found.recognised.difference.mean == pytest.approx(-2 / 3)
    assert found.taken_for_real.clips == {"real": 1, "synthetic": 2}
    assert (found.taken_for_real.real.mean, found.taken_for_real.synthetic.mean) == (1, 0.5)
    assert found.per_class["dog"] == {"real": (1, 1), "synthetic": (1, 2)}
    assert found.per_class["wind"] == {"real": (0, 0), "synthetic": (1, 1)}
    assert [(m.number, m.labels, m.heard) for m in found.mistakes] == [
        (2, ("dog",), ("wind",)),
        (3, ("heavy_rain",), ()),
    ]


def test_the_difference_in_words() -> None:
    clips = solution(*[("real", "dog"), ("synthetic", "dog")] * 20)
    right, wrong = Heard(frozenset({"dog"}), None), Heard(frozenset(), None)

    def words(real: Heard, synthetic: Heard) -> str:
        said = {clip.number: real if clip.kind == "real" else synthetic for clip in clips.clips}
        return evaluate_answers(Path("a.csv"), clips, said).recognised.compared("recognised")

    assert words(right, wrong) == "Synthetic clips are recognised less often than real ones."
    assert words(wrong, right) == "Synthetic clips are recognised more often than real ones."
    assert words(right, right).startswith("It is not shown that synthetic clips are recognised more or less often")


heard = st.frozensets(st.sampled_from(["dog", "heavy_rain", "wind"]), max_size=2)


@given(st.dictionaries(st.integers(1, 4), st.builds(Heard, heard, st.none() | st.booleans())))
def test_any_answers(said: dict[int, Any]) -> None:
    found = evaluate_answers(Path("a.csv"), FOUR, said)
    assert sum(found.recognised.clips.values()) == len(said)
    assert sum(found.taken_for_real.clips.values()) == sum(answer.real is not None for answer in said.values())
    for shares in (found.recognised, found.taken_for_real):
        for of_kind in (shares.real, shares.synthetic):
            assert np.isnan(of_kind.mean) or 0 <= of_kind.low <= of_kind.mean <= of_kind.high <= 1
        difference = shares.difference
        assert np.isnan(difference.mean) or -1 <= difference.low <= difference.mean <= difference.high <= 1
