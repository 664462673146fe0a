"""Thresholds, verdicts and the copy check."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from builders import make_clip
from hypothesis import given
from hypothesis import strategies as st
from reporters import RecordingReporter
from transformers import ClapFeatureExtractor

from synthio.backends.clap import load_clap
from synthio.config import ClapConfig, FilterConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import StoreError
from synthio.progress import Reporter
from synthio.records import Candidate, Prompt, Verdict
from synthio.stages import filter as stage
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder


@pytest.fixture
def config(small_data: Path, clap_model: Path, tmp_path: Path) -> RunConfig:
    return RunConfig.model_validate(
        {"run_folder": tmp_path, "data": {"path": str(small_data)}, "clap": {"model": str(clap_model)}}
    )


def filtered(
    config: RunConfig,
    root: Path,
    sounds: Mapping[str, np.ndarray | None],
    rate_hz: int = 16_000,
    kept: Sequence[str] = (),
    harm: Callable[[Path], None] | None = None,
    label: str = "hiss",
) -> dict[str, Verdict]:
    """``kept``: clips of a sitting before, whose files are gone; ``harm``: what happens to every file."""
    generated = StageFolder(root, "generate", "k")
    generated.path.mkdir(parents=True, exist_ok=True)
    clips = collect_clips(StageContext(config, StageFolder(root, "clips", "k"), Reporter()))
    clap = load_clap(ClapConfig(model=config.clap.model), Reporter())
    prompts, candidates = [], []
    for name, samples in {**dict.fromkeys(kept, np.zeros(0)), **sounds}.items():
        prompts.append(Prompt(id=name, clip_id=clips[0].id, labels=(label,), text=label, duration_s=0.5))
        path = None if samples is None else f"{name}.flac"
        if path is not None and name not in kept:
            sf.write(generated.file(path), samples, rate_hz)
            if harm is not None:
                harm(generated.file(path))
        failed = None if path else "refused"
        candidates.append(Candidate(id=name, prompt_id=name, path=path, seed=0, sample_rate_hz=rate_hz, failed=failed))
    calibration = stage.calibrate(config, clips, clap, Reporter())
    folder = StageFolder(root, "filter", "k")
    verdicts = stage.filter_candidates(
        StageContext(config, folder, Reporter()), calibration, prompts, candidates, generated, clap
    )
    assert folder.manifest(Verdict) == verdicts
    return {verdict.id: verdict for verdict in verdicts}


@pytest.mark.parametrize("rule", ["nearest", "quantile"])
def test_thresholds_and_the_copy_check_know_training_clips_only(
    config: RunConfig, clap_model: Path, tmp_path: Path, rule: str
) -> None:
    config = config.model_copy(update={"filter": FilterConfig(rule=rule)})  # type: ignore[arg-type]
    clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    (tmp_path / "other").mkdir()
    others = []
    for number, clip in enumerate(clips):
        path = tmp_path / "other" / f"{number}.flac"
        sf.write(path, _noise(100 + number), 16_000)
        others.append(clip if clip.split == "train" else clip.model_copy(update={"path": str(path)}))
    assert {clip.split for clip in clips} > {"train"}
    first, second = (stage.calibrate(config, these, clap, Reporter()) for these in (clips, others))
    assert first.thresholds == second.thresholds and first.fallback == second.fallback
    assert first.clip_ids == second.clip_ids == tuple(clip.id for clip in clips if clip.split == "train")
    assert first.copies.distance == second.copies.distance


@pytest.mark.parametrize("rule", ["nearest", "quantile"])
def test_training_clips_are_measured_some_at_a_time(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """3000 clips of 10 s once took 8 GB: all of them, at the rate of the CLAP and at that of the copy check."""
    config = config.model_copy(update={"filter": FilterConfig(rule=rule)})  # type: ignore[arg-type]
    clips = []
    for number in range(30):
        path = tmp_path / f"{number}.wav"
        sf.write(path, np.tile(_noise(number), 12), 16_000)
        label = "dog" if number % 2 else "cat"
        clips.append(make_clip(id=path.stem, path=str(path), labels=(label,), duration_s=6))
    monkeypatch.setattr(stage, "HEARD_AT_ONCE", 64)
    at_once = stage.calibrate(config, clips, _FixedClap(), Reporter())
    monkeypatch.setattr(stage, "HEARD_AT_ONCE", 2)
    tracemalloc.start()
    found = stage.calibrate(config, clips, _FixedClap(), Reporter())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 12 * 8_000 * 4 * 1.5, "of the clips alone"
    assert (found.thresholds, found.fallback) == (at_once.thresholds, at_once.fallback)
    assert found.copies.distance == at_once.copies.distance


class _SpokenFor:
    """Hears what the test says: cosines with the templates of cat and of dog."""

    logit_scale, sample_rate_hz = 10.0, 16_000

    def __init__(self, rows: Sequence[tuple[float, float]]) -> None:
        self.rows = list(rows)

    def embed_audio(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([self.rows.pop(0) for _ in waveforms], dtype=np.float32)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1, 0] if "cat" in text else [0, 1] for text in texts], dtype=np.float32)


@pytest.mark.parametrize(
    ("settings", "real"),
    [
        (FilterConfig(), {"cat": (3, 4), "dog": (0, 3)}),
        (FilterConfig(rule="cosine", threshold=0.5), {"cat": (3, 4), "dog": (2, 3)}),
        (FilterConfig(rule="none"), {"cat": (4, 4), "dog": (3, 3)}),
    ],
)
def test_a_filter_that_drops_real_clips_is_told(
    config: RunConfig, tmp_path: Path, settings: FilterConfig, real: dict[str, tuple[int, int]]
) -> None:
    """It once blamed the generator for what the CLAP did not know."""
    heard = {"cat": [(0.9, 0.1), (0.8, 0.2), (0.7, 0.1), (0.1, 0.2)], "dog": [(0.7, 0.6), (0.6, 0.5), (0.3, 0.2)]}
    clips = []
    for label, rows in heard.items():
        for number in range(len(rows)):
            path = tmp_path / f"{label}{number}.wav"
            sf.write(path, _noise(len(clips)), 16_000)
            clips.append(make_clip(id=path.stem, path=str(path), labels=(label,), duration_s=0.5))
    clap, reporter = _SpokenFor([row for rows in heard.values() for row in rows]), RecordingReporter()
    found = stage.calibrate(config.model_copy(update={"filter": settings}), clips, clap, reporter)
    assert found.real == stage.RealClips(sum(good for good, _ in real.values()), 7, real)
    warned = reporter.warnings
    assert warned == stage.real_clip_warnings(found.real)
    if settings.rule == "nearest":
        assert "only 3 of 7 real training clips, and of 'dog' none" in warned[0] and "quantile" in warned[0]
    else:
        assert not warned


def test_a_real_clip_with_several_labels_is_one(config: RunConfig, tmp_path: Path) -> None:
    clips = []
    for number, labels in enumerate((("cat", "dog"), ("cat", "dog"), ("cat",))):
        path = tmp_path / f"{number}.wav"
        sf.write(path, _noise(number), 16_000)
        clips.append(make_clip(id=path.stem, path=str(path), labels=labels, duration_s=0.5))
    cosine = config.model_copy(update={"filter": FilterConfig(rule="cosine", threshold=0.5)})
    clap = _SpokenFor([(0.9, 0.1), (0.1, 0.9), (0.8, 0.1)])
    found = stage.calibrate(cosine, clips, clap, Reporter()).real
    assert found == stage.RealClips(2, 3, {"cat": (2, 3), "dog": (1, 2)})


def test_failed_and_silent_clips_keep_their_reason(config: RunConfig, tmp_path: Path) -> None:
    verdicts = filtered(config, tmp_path, {"none": None, "silence": np.zeros(8_000), "noise": _noise(1)})
    assert verdicts["none"].reason == "generation-failed" and not verdicts["none"].accepted
    assert verdicts["silence"].reason == "silent" and verdicts["silence"].similarity is None
    assert verdicts["noise"].similarity is not None


def test_a_file_that_is_gone_or_damaged_is_no_silent_clip(config: RunConfig, tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:10])

    for number, harm in enumerate((Path.unlink, broken)):
        with pytest.raises(StoreError, match="noise.flac: was made by this run and is gone or damaged"):
            filtered(config, tmp_path / str(number), {"noise": _noise(1)}, harm=harm)


def test_clips_are_heard_some_at_a_time_and_kept(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds: dict[str, np.ndarray | None] = {f"n{i}": _noise(i) for i in range(7)} | {"none": None}
    at_once = filtered(config, tmp_path / "once", sounds)
    monkeypatch.setattr(stage, "HEARD_AT_ONCE", 3)
    assert filtered(config, tmp_path / "some", sounds).keys() == at_once.keys()
    finished = StageFolder(tmp_path / "some", "filter", "k").path
    lines = (finished / "items.jsonl").read_text().splitlines()
    (finished / "items.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    (finished / "done.json").unlink()
    for name in ("n0", "n1", "n2"):
        # Verdicts that were kept do not need their clips.
        StageFolder(tmp_path / "some", "generate", "k").file(f"{name}.flac").unlink()
        sounds.pop(name)
    again = filtered(config, tmp_path / "some", sounds, kept=("n0", "n1", "n2"))
    for name, verdict in again.items():
        assert verdict.reason == at_once[name].reason
        assert verdict.similarity == pytest.approx(at_once[name].similarity, abs=1e-5)


def wide(clap_model: Path, root: Path) -> Path:
    """The CLAP, hearing at 48 kHz."""
    shutil.copytree(clap_model, root / "wide")
    extractor = ClapFeatureExtractor(
        feature_size=32, sampling_rate=48_000, hop_length=384, max_length_s=1, fft_window_size=1536, frequency_min=30,
        frequency_max=24_000, truncation="rand_trunc", padding="pad",
    )  # fmt: skip
    extractor.save_pretrained(root / "wide")
    return root / "wide"


def test_a_clap_of_a_higher_rate_hears_what_is_above_8_khz(config: RunConfig, clap_model: Path, tmp_path: Path) -> None:
    """Cymbals, birds and hiss once lost their top on the way to a 48 kHz CLAP."""
    config = config.model_copy(update={"clap": ClapConfig(model=str(wide(clap_model, tmp_path)))})
    time = np.arange(24_000) / 48_000
    low, high = 0.3 * np.sin(2 * np.pi * 300 * time), 0.3 * np.sin(2 * np.pi * 15_000 * time)
    verdicts = filtered(config, tmp_path, {"low": low, "both": low + high}, rate_hz=48_000)
    assert verdicts["low"].similarity != pytest.approx(verdicts["both"].similarity, abs=1e-3)


def test_a_training_clip_given_back_is_a_copy(config: RunConfig, small_data: Path, tmp_path: Path) -> None:
    original, _ = sf.read(small_data / "train" / "hiss" / "hiss_0.wav")
    verdicts = filtered(config.model_copy(update={"filter": FilterConfig(rule="none")}), tmp_path, {
        "copy": original, "other": _noise(99),
    })  # fmt: skip
    assert verdicts["copy"].reason == "copy" and verdicts["copy"].is_copy and not verdicts["copy"].accepted
    assert verdicts["copy"].nearest_clip_id is not None and "hiss-0" in verdicts["copy"].nearest_clip_id
    assert verdicts["other"].accepted


def test_a_copy_names_the_clip_that_it_is_of(config: RunConfig, small_data: Path, tmp_path: Path) -> None:
    train = small_data / "train"
    copied = {name: sf.read(train / name[:-2] / f"{name}.wav")[0] for name in ("low_tone_2", "hiss_3", "low_tone_1")}
    verdicts = filtered(config, tmp_path, copied)
    for name in copied:
        assert name.replace("_", "-") in (verdicts[name].nearest_clip_id or ""), name


def test_copies_are_looked_for_at_16_khz_whatever_the_clap_hears(
    config: RunConfig, clap_model: Path, small_data: Path, tmp_path: Path
) -> None:
    """Taken for 16 kHz, a clip at 48 kHz is compared by its first third only."""
    settings = {"clap": ClapConfig(model=str(wide(clap_model, tmp_path))), "filter": FilterConfig(rule="none")}
    original, _ = sf.read(small_data / "train" / "hiss" / "hiss_0.wav")
    sounds = {"copy": original, "begins alike": np.concatenate([original[:3_000], _noise(99)[3_000:]])}
    verdicts = filtered(config.model_copy(update=settings), tmp_path / "run", sounds)
    assert verdicts["copy"].is_copy and not verdicts["begins alike"].is_copy


def test_of_training_clips_only_what_a_run_hears_counts(config: RunConfig, clap_model: Path, tmp_path: Path) -> None:
    """Neither what follows after `data.max_duration_s`, nor one clip that is longer than the others."""
    update = {"data": config.data.model_copy(update={"max_duration_s": 0.5}), "filter": FilterConfig(rule="quantile")}
    config = config.model_copy(update=update)
    clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
    longer = []
    for number, clip in enumerate(clips):
        samples, rate_hz = sf.read(clip.path, dtype="int16")
        tail = (20_000 * _noise(number)).clip(-32_000, 32_000).astype(np.int16)
        sf.write(tmp_path / f"{number}.wav", np.concatenate([samples, tail]), rate_hz)
        longer.append(clip.model_copy(update={"path": str(tmp_path / f"{number}.wav")}))
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    first, second = (stage.calibrate(config, these, clap, Reporter()) for these in (clips, longer))
    assert first.thresholds == second.thresholds and first.copies.distance == second.copies.distance
    one_long = [c.model_copy(update={"duration_s": 9.0}) if c.id == first.clip_ids[0] else c for c in clips]
    assert stage.calibrate(config, one_long, clap, Reporter()).copies.window_s == first.copies.window_s == 0.5


@pytest.mark.parametrize(("copies", "accepted", "is_copy"), [("flag", True, True), ("ignore", True, False)])
def test_copies_can_be_flagged_or_ignored(
    config: RunConfig, small_data: Path, tmp_path: Path, copies: str, accepted: bool, is_copy: bool
) -> None:
    original, _ = sf.read(small_data / "train" / "hiss" / "hiss_0.wav")
    settings = FilterConfig(rule="none", copies=copies)
    verdict = filtered(config.model_copy(update={"filter": settings}), tmp_path, {"copy": original})["copy"]
    assert (verdict.accepted, verdict.is_copy) == (accepted, is_copy)


def test_what_each_rule_compares() -> None:
    cosine = np.array([-0.2, 0.0, 0.1, 0.5])
    similarities = stage.Similarities(cosine, np.array([0.0, -0.1, 0.1, 0.6]))
    scores = stage.score(similarities, FilterConfig(rule="sigmoid"), logit_scale=14.3)
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-14.3 * c)) for c in cosine])
    np.testing.assert_array_equal(stage.score(similarities, FilterConfig(rule="quantile"), 14.3), cosine)
    leads = stage.score(similarities, FilterConfig(rule="nearest"), 14.3)
    np.testing.assert_allclose(leads, [-0.2, 0.1, 0.0, -0.1])
    assert stage.class_thresholds(leads, [("a",)] * 4, FilterConfig(rule="nearest")) == ({}, 0.0)


_ANGLES = {"Sound of a dog": 0.0, "Sound of a cat": 90.0, "Sound of a dog and cat": 45.0, "Sound of a car": 180.0}


class _FixedClap:
    """Texts and clips at known angles: a clip's one sample is its angle."""

    logit_scale = 1.0
    sample_rate_hz = 16_000

    def embed_audio(self, waveforms: list[np.ndarray]) -> np.ndarray:
        return np.stack([_unit(float(waveform[0])) for waveform in waveforms])

    def embed_text(self, texts: list[str]) -> np.ndarray:
        return np.stack([_unit(_ANGLES[text]) for text in texts])


def _unit(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


def test_the_lead_is_over_the_nearest_label_that_the_clip_does_not_have() -> None:
    rows = np.stack([_unit(angle) for angle in (10.0, 80.0, 45.0)])
    labels = [("dog",), ("dog",), ("dog", "cat")]
    found = stage.compare(_FixedClap(), rows, labels, ["dog", "cat", "car"])
    np.testing.assert_allclose(found.own, np.cos(np.deg2rad([10, 80, 0])), atol=1e-6)
    np.testing.assert_allclose(found.other, np.cos(np.deg2rad([80, 10, 135])), atol=1e-6)
    alone = stage.compare(_FixedClap(), rows[:1], labels[:1], ["dog"])
    assert alone.other.tolist() == [-1.0]


def test_nearest_accepts_and_refuses_by_the_other_labels(config: RunConfig, tmp_path: Path) -> None:
    """Of two labels one is the nearer one, and only as that one the sound is accepted."""
    config = config.model_copy(update={"filter": FilterConfig(rule="nearest")})
    hiss, tone = (
        filtered(config, tmp_path / label, {"a": _noise(1)}, label=label)["a"] for label in ("hiss", "low_tone")
    )
    assert hiss.threshold == tone.threshold == 0 and hiss.score is not None and tone.score is not None
    assert hiss.score == pytest.approx(-tone.score) and abs(hiss.score) > 1e-4
    nearer, other = (hiss, tone) if hiss.score > 0 else (tone, hiss)
    assert (nearer.accepted, nearer.reason) == (True, "accepted")
    assert (other.accepted, other.reason) == (False, "below-threshold")


def test_a_large_class_uses_its_own_quantile_a_small_one_its_mean_and_the_pooled_spread() -> None:
    labels = [("big",)] * 10 + [("small",)] * 2
    scores = np.array([*np.linspace(0.5, 0.9, 10), 0.1, 0.3])
    settings = FilterConfig(rule="quantile", quantile=0.2, min_clips_per_class=8)
    thresholds, _ = stage.class_thresholds(scores, labels, settings)
    assert thresholds[("big",)] == pytest.approx(np.quantile(scores[:10], 0.2))
    deviations = np.concatenate([scores[:10] - scores[:10].mean(), scores[10:] - 0.2])
    assert thresholds[("small",)] == pytest.approx(0.2 + np.quantile(deviations, 0.2))


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=40), st.floats(0.0, 0.9))
def test_the_quantile_is_what_real_clips_pass(values: list[float], quantile: float) -> None:
    thresholds, _ = stage.class_thresholds(
        np.array(values),
        [("a",)] * len(values),
        FilterConfig(rule="quantile", quantile=quantile, min_clips_per_class=8),
    )
    rejected = sum(value < thresholds[("a",)] - 1e-12 for value in values)
    assert rejected <= quantile * len(values) + 1


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=8_000) * 0.2
