"""What the report shows of a run: features of its clips, costs, models, the funnel and samples."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from sample_reports import RATE_HZ, filtered_round, finished_run, recipe, tone

from synthio import audio, report_data
from synthio.config import CaptionConfig, RunConfig
from synthio.errors import StoreError
from synthio.records import PreferencePair
from synthio.report_data import FunnelRound, LanguageModelUse, ModelUsed, SampleClip
from synthio.results import synthetic_clips
from synthio.store import StageFolder

# Features -------------------------------------------------------------------------------------------------------------


def sounds(folder: Path) -> dict[str, list[report_data.Sound]]:
    def sound(name: str, frequency_hz: float) -> report_data.Sound:
        return report_data.Sound(name, ("bell",), tone(folder / f"{name}.flac", frequency_hz))

    return {"real": [sound("a", 220), sound("b", 440)], "synthetic": [sound("c", 880)]}


def test_a_report_written_anew_measures_no_clip_again(tmp_path: Path) -> None:
    heard = sounds(tmp_path)
    first, warnings = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert not warnings and [row.pitch_hz for _, row in first["real"]] == pytest.approx([220, 440], rel=0.05)
    for sound in (*heard["real"], *heard["synthetic"]):
        sound.path.unlink()
    assert report_data.measure_sounds(heard, tmp_path / "cache", 10.0) == (first, [])
    # What is heard of a clip is another part of it.
    assert report_data.measure_sounds(heard, tmp_path / "cache", 0.1)[0] == {"real": [], "synthetic": []}


def test_an_unpitched_clip_is_kept_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=RATE_HZ) * 0.1
    sf.write(str(tmp_path / "noise.flac"), noise, RATE_HZ)
    heard = {"real": [report_data.Sound("noise", ("hiss",), tmp_path / "noise.flac")]}
    first, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    again, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert math.isnan(first["real"][0][1].pitch_hz)
    np.testing.assert_equal(dataclasses.asdict(again["real"][0][1]), dataclasses.asdict(first["real"][0][1]))


def test_clips_that_cannot_be_measured_are_told(tmp_path: Path) -> None:
    """They were left out without a word."""
    heard = sounds(tmp_path)
    heard["real"][1].path.unlink()
    measured, (warning,) = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert [len(rows) for rows in measured.values()] == [1, 1]
    assert "1 of 3 clips are left out of the spectral features" in warning and "b.flac: no such file" in warning


def features(centroid_hz: float) -> audio.SpectralFeatures:
    rest = {field: 1.0 for field in audio.FEATURES if field != "centroid_hz"}
    return audio.SpectralFeatures(centroid_hz=centroid_hz, **rest)


@pytest.mark.parametrize(
    ("real_hz", "synthetic_hz", "unlike"),
    [
        ([100, 200, 300, 400, 500], [90, 99, 900], (100, 500)),
        ([100, 200, 300, 400, 500], [101, 101, 101], None),
        # One odd clip of many stretches no range.
        ([*range(101, 121), 9000], [130], (103, 119)),
        # Too few real clips say nothing.
        ([100, 200, 300, 400], [900], None),
        ([100, 200, 300, 400, 500], [], None),
    ],
)
def test_classes_whose_synthetic_clips_are_unlike_the_real_ones_are_told(
    real_hz: list[float], synthetic_hz: list[float], unlike: tuple[float, float] | None
) -> None:
    measured = {
        kind: [(("bell",), features(hz)) for hz in values]
        for kind, values in (("real", real_hz), ("synthetic", synthetic_hz))
    }
    _, (bell,) = report_data._spectral(measured)
    assert bell.unlike == ({} if unlike is None else {audio.FEATURES["centroid_hz"][0]: unlike})


def test_damaged_features_are_measured_anew(tmp_path: Path) -> None:
    heard = sounds(tmp_path)
    first, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    (kept,) = (tmp_path / "cache").glob("features-*.json")
    for text in ("", "[]", '{"a": {"centroid_hz": 1}}', "\x00"):
        kept.write_text(text)
        assert report_data.measure_sounds(heard, tmp_path / "cache", 10.0) == (first, [])


@pytest.mark.parametrize(("prices", "cost"), [((0.0, 0.0), None), ((2.0, 4.0), 80e-6), ((0.0, 1.0), 10e-6)])
def test_tokens_are_summed_and_cost_is_told_where_there_are_prices(
    tmp_path: Path, prices: tuple[float, float], cost: float | None
) -> None:
    """At the prices that the recipe has now: those that were added after a run came to 0.00."""
    folders = [StageFolder(tmp_path, "caption", key) for key in ("a", "b", "unfinished")]
    for folder in folders[:2]:
        usage = {"requests": 2, "input_tokens": 10, "output_tokens": 5, "cost": 0.0}
        folder.finish([], {"usage": usage})
    names = ("price_per_million_input_tokens", "price_per_million_output_tokens")
    endpoint = {"model": "ears", **dict(zip(names, prices, strict=True))}
    section = CaptionConfig.model_validate({"kind": "endpoint", "endpoint": endpoint})
    use = report_data._use("captioner", section, folders)
    assert use == LanguageModelUse("captioner", "ears", 20, 10, cost, 4)


# What a run made ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "identity"), [("clap", "by the CLAP above"), ("template", "no model")])
def test_a_captioner_without_weights_of_its_own_is_told_as_such(kind: str, identity: str) -> None:
    models = report_data.models_used(recipe(caption={"kind": kind}), {})
    assert models[-1] == ModelUsed("captioner", kind, identity)
    assert "clap" in [model.part for model in models[:-1]]


def test_the_funnel_counts_every_verdict_once(tmp_path: Path) -> None:
    whys = ["accepted"] * 5 + ["below-threshold"] * 4 + ["copy"] * 3 + ["generation-failed"] * 2 + ["silent"]
    row = report_data.funnel_round(filtered_round(tmp_path, {"bell": whys}))
    assert row == FunnelRound(
        round=0, captions=15, generated=13, accepted=5, below_threshold=4, copies=3, failed=3, given_up=1
    )


def test_samples_to_listen_to_are_of_every_class() -> None:
    samples = [
        SampleClip(Path(f"{k}.flac"), (label,), "x", 0.5, 0.2, "accepted", 0, "c", Path("c.wav"), None)
        for k, label in enumerate(["bell"] * 9 + ["gong"])
    ]
    for seed in range(5):
        assert {clip.labels for clip in report_data._spread(samples, 2, seed)} == {("bell",), ("gong",)}


def test_the_report_says_of_which_commits_a_hub_model_was(tmp_path: Path) -> None:
    """It named the branch, which moves."""
    config = RunConfig.model_validate({"data": {"path": "x"}, "clap": {"model": "owner/clap"}})
    commits = {"owner/clap@main": ["aaaa", "bbbb"]}
    said = {used.part: used.identity for used in report_data.models_used(config, commits)}
    assert said["clap"] == "owner/clap@main (commit aaaa, then bbbb)" and "commit" not in str(said["t2a"])


def test_before_is_the_loser_and_after_what_the_aligned_model_made(tmp_path: Path) -> None:
    aligned, losers = StageFolder(tmp_path, "align", "k"), StageFolder(tmp_path, "losers", "k")
    pair = PreferencePair(
        id="c-0", clip_id="c", prompt="Sound of a bell", loser_path="losers/c-0.flac", duration_s=1, held_out=True
    )
    aligned.finish([pair], {"after": ["c-0"]})
    run = finished_run(tmp_path, align_folder=aligned, losers_folder=losers)
    (shown,) = report_data._before_after(run, {"c": Path("c.wav")})
    assert shown.base_audio == losers.path / "losers" / "c-0.flac"
    assert (shown.aligned_audio, shown.real_audio) == (aligned.path / "after" / "c-0.flac", Path("c.wav"))


@pytest.mark.parametrize("path", ["/etc/passwd", "../../key"])
def test_a_record_that_names_a_file_outside_its_stage_is_refused(path: str, tmp_path: Path) -> None:
    """Any file was copied into the dataset and the report of a run folder that came from elsewhere."""
    filtered = filtered_round(tmp_path, {"bell": ["accepted"]})
    filtered = dataclasses.replace(filtered, candidates=(filtered.candidates[0].model_copy(update={"path": path}),))
    with pytest.raises(StoreError, match="leaves"):
        synthetic_clips([filtered])
    with pytest.raises(StoreError, match="leaves"):
        report_data._sample(filtered, filtered.made[0], {"c": Path("c.wav")})
    stage = StageFolder(tmp_path, "align", "k")
    pair = PreferencePair(id="p", clip_id="c", prompt="", loser_path=path, duration_s=1, held_out=True)
    stage.finish([pair], {"after": ["p"]})
    with pytest.raises(StoreError, match="leaves"):
        report_data._before_after(finished_run(tmp_path, align_folder=stage, losers_folder=stage), {"c": Path("c.wav")})
