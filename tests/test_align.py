"""Alignment on a tiny real model: pairs, curve, stopping, resume."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from builders import make_clip
from reporters import RecordingReporter
from safetensors.torch import load_file

from synthio import audio
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.stable_audio import StableAudio3
from synthio.backends.text_to_audio import Conditioning
from synthio.config import AlignConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError
from synthio.generation import load_generated
from synthio.progress import Reporter
from synthio.records import Clip, Measurement, PreferencePair
from synthio.stages import align as stage
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder


def make_config(data: Path, model: Path, root: Path, **knobs: object) -> RunConfig:
    settings = {"steps": 6, "batch_size": 4, "evaluate_every": 2, "lora_rank": 2, "losers_per_clip": 1} | knobs
    return RunConfig.model_validate(
        {
            "run_folder": root,
            "data": {"path": str(data)},
            "t2a": {"model": str(model), "num_inference_steps": 2, "batch_size": 4},
            "align": settings,
        }
    )


def run(config: RunConfig, root: Path) -> StageFolder:
    clips = collect_clips(StageContext(config, StageFolder(root, "clips", "k"), Reporter()))
    folder = StageFolder(root, "align", "k")
    align(config, clips, folder, Reporter())
    return folder


def align(config: RunConfig, clips: list[Clip], folder: StageFolder, reporter: Reporter) -> None:
    losers = StageFolder(config.run_folder, "losers", "k")
    pairs = stage.make_pairs(StageContext(config, losers, reporter), clips, load_pipeline(config.t2a))
    stage.align(StageContext(config, folder, reporter), clips, pairs, losers, load_pipeline(config.t2a))


def row(step: int, loss: float, winner: float, loser: float = 0.0) -> Measurement:
    return Measurement(step, None, None, loss, 0.5, winner, loser)


def test_curve_starts_at_the_reference(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    folder = run(make_config(small_data, flow_model, tmp_path), tmp_path)
    first = stage.read_curve(folder)[0]
    assert first.step == 0
    assert first.held_out_loss == pytest.approx(0.6931, abs=1e-3)
    assert first.winner_error_change == first.loser_error_change == 0
    assert first.held_out_accuracy == 0.5


@pytest.mark.parametrize("family", ["flow_model", "v_model", "ldm_model"])
def test_fine_tuning_lowers_the_error_on_held_out_real_clips(
    request: pytest.FixtureRequest, small_data: Path, tmp_path: Path, family: str
) -> None:
    config = make_config(
        small_data,
        request.getfixturevalue(family),
        tmp_path,
        method="erm",
        learning_rate=0.02,
        steps=24,
        evaluate_every=8,
    )
    folder = run(config, tmp_path)
    summary = folder.summary()
    assert summary["chosen_step"] > 0
    chosen = next(m for m in stage.read_curve(folder) if m.step == summary["chosen_step"])
    assert chosen.winner_error_change < 0
    assert (folder.path / "adapter" / "adapter_model.safetensors").is_file()
    assert summary["after"], "held-out prompts are rendered again with the aligned model"
    assert not [p for p in folder.path.rglob("*") if p.suffix in {".bin", ".pt", ".pkl", ".pth"}]


def test_killed_and_resumed_equals_never_killed(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class KillAfter(Reporter):
        """Raises in the middle of the optimisation, as a signal would."""

        def task(self, name: str, total: int, completed: int = 0):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            @contextmanager
            def bar():  # type: ignore[no-untyped-def]
                done = [completed]

                def advance(count: int) -> None:
                    done[0] += count
                    if name == "align: dpo" and done[0] == 5 and completed == 0:
                        raise Killed

                yield advance

            return bar()

    config = make_config(small_data, flow_model, tmp_path / "a", learning_rate=0.01)
    whole = run(config, tmp_path / "a")
    clips = collect_clips(StageContext(config, StageFolder(tmp_path / "b", "clips", "k"), Reporter()))
    folder = StageFolder(tmp_path / "b", "align", "k")
    with pytest.raises(Killed):
        align(config, clips, folder, KillAfter())
    assert not folder.done
    align(config, clips, folder, Reporter())
    assert stage.read_curve(folder) == stage.read_curve(whole)
    assert folder.manifest(PreferencePair) == whole.manifest(PreferencePair)


def test_the_adapter_is_of_the_chosen_step(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    """Not of the last one: where training goes on to worse weights, it is as if it had stopped at the best."""
    knobs = {"method": "erm", "learning_rate": 0.1, "evaluate_every": 4, "patience": 9, "held_out_fraction": 0.4}
    whole = run(make_config(small_data, flow_model, tmp_path / "a", steps=24, **knobs), tmp_path / "a")
    chosen = whole.summary()["chosen_step"]
    assert 0 < chosen < stage.read_curve(whole)[-1].step
    stopped = run(make_config(small_data, flow_model, tmp_path / "b", steps=chosen, **knobs), tmp_path / "b")
    kept, expected = (load_file(f.path / "adapter" / "adapter_model.safetensors") for f in (whole, stopped))
    assert kept.keys() == expected.keys()
    for name, weights in kept.items():
        torch.testing.assert_close(weights, expected[name])


def test_losers_of_one_clip_differ(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    config = make_config(small_data, flow_model, tmp_path, losers_per_clip=2)
    clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
    folder = StageFolder(tmp_path, "losers", "k")
    pairs = stage.make_pairs(StageContext(config, folder, Reporter()), clips, load_pipeline(config.t2a))
    assert len({(folder.path / pair.loser_path).read_bytes() for pair in pairs}) == len(pairs) == 16


def share_above(path: Path, limit_hz: int) -> float:
    """Of a clip's energy."""
    samples, rate_hz = sf.read(path)
    energy = np.abs(np.fft.rfft(samples)) ** 2
    return float(energy[int(limit_hz * samples.size / rate_hz) :].sum() / energy.sum())


def test_losers_have_no_sound_where_no_winner_can_have_any(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    """Nor have the aligned clips, which are heard beside them."""
    losers, aligned = [], []
    for rate_hz in (16_000, 4_000):
        root = tmp_path / str(rate_hz)
        settings = {"method": "erm", "learning_rate": 0.02, "steps": 24, "evaluate_every": 8}
        config = make_config(small_data, flow_model, root, **settings)
        clips = collect_clips(StageContext(config, StageFolder(root, "clips", "k"), Reporter()))
        recorded = [clip.model_copy(update={"sample_rate_hz": rate_hz}) for clip in clips]
        folder = StageFolder(root, "align", "k")
        align(config, recorded, folder, Reporter())
        after = folder.summary()["after"][0]
        losers.append(share_above(StageFolder(root, "losers", "k").path / f"losers/{after}.flac", 2_000))
        aligned.append(share_above(folder.path / f"after/{after}.flac", 2_000))
    for wide, narrow in (losers, aligned):
        assert narrow < 1e-3 < 0.1 < wide


def test_held_out_pairs_are_never_trained_on(
    small_data: Path, flow_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stage.noised
    trained: set[str] = set()
    measured: set[str] = set()

    def heard(config: RunConfig, data: Any, generator: Any, drawn: Any) -> Any:
        (trained if torch.is_grad_enabled() else measured).update(pair.clip_id for pair, _ in drawn)
        return real(config, data, generator, drawn)

    monkeypatch.setattr(stage, "noised", heard)
    config = make_config(small_data, flow_model, tmp_path, held_out_fraction=0.4)
    pairs = run(config, tmp_path).manifest(PreferencePair)
    held_out = {pair.clip_id for pair in pairs if pair.held_out}
    assert len(held_out) == 3 and measured == held_out
    assert trained and trained <= {pair.clip_id for pair in pairs if not pair.held_out}


def test_winner_and_loser_share_one_time_and_one_noise_and_pairs_do_not() -> None:
    class Generator:
        """Keeps what is to be denoised."""

        def __init__(self) -> None:
            self.given: list[tuple[torch.Tensor, torch.Tensor]] = []
            self.durations_s: set[float] = set()

        def draw_time(self, count: int, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(count, generator=generator)

        def reference(self) -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext()

        def denoising_error(
            self, latents: Any, noise: Any, time: Any, conditioning: Any, duration_s: float
        ) -> torch.Tensor:
            self.given.append((noise, time))
            self.durations_s.add(duration_s)
            return torch.zeros(len(latents))

    pairs = [
        PreferencePair(id=f"p{k}", clip_id=f"c{k}", prompt="x", loser_path="x", duration_s=1, held_out=False)
        for k in range(3)
    ]
    names = [f"{side}{k}" for side in ("winner/c", "loser/p") for k in range(3)]
    latents = {name: torch.full((2, 5), float(k)) for k, name in enumerate(names)}
    conditioning = {"1.0/x": Conditioning(torch.zeros(1, 2, 4), torch.zeros(1, 4), None)}
    generator: Any = Generator()
    config = RunConfig.model_validate({"data": {"path": "x"}})
    drawn = [(pair, (pair.id, 0)) for pair in pairs]
    stage.pair_errors(config, stage._Pairs(pairs, latents, conditioning), generator, drawn)
    assert generator.durations_s == {1.0}
    (noise, time), (again, same_time) = generator.given
    held_out = [pair.model_copy(update={"held_out": True}) for pair in pairs]
    stage._HeldOut(config, stage._Pairs(held_out, latents, conditioning), generator, Reporter())
    measured = torch.cat([noise[: len(noise) // 2] for noise, _ in generator.given[2:]])
    assert len({tuple(row.flatten().tolist()) for row in measured}) == len(measured) == 3 * stage._DRAWS
    assert torch.equal(noise[:3], noise[3:]) and torch.equal(time[:3], time[3:])
    assert torch.equal(noise, again) and torch.equal(time, same_time)
    assert len({tuple(row.flatten().tolist()) for row in noise[:3]}) == 3 and len(set(time[:3].tolist())) == 3


def test_every_step_draws_pairs_times_and_noises_of_its_own() -> None:
    """Pairs of one duration, which comes as often as it has pairs."""
    pairs = [
        PreferencePair(
            id=f"p{k}", clip_id=f"c{k}", prompt="x", loser_path="x", duration_s=1 if k < 18 else 2, held_out=False
        )
        for k in range(20)
    ]
    config = RunConfig.model_validate({"data": {"path": "x"}, "align": {"batch_size": 4}})
    drawn = [stage._draw_batch(config, stage._Pairs(pairs, {}, {}), step) for step in range(300)]
    assert all(len({pair.duration_s for pair, _ in batch}) == 1 for batch in drawn)
    share = np.mean([batch[0][0].duration_s == 1 for batch in drawn])
    assert 0.84 < share < 0.96
    assert {pair.id for batch in drawn for pair, _ in batch} == {pair.id for pair in pairs}
    seeds = [seed for batch in drawn for _, seed in batch]
    assert len(set(seeds)) == len(seeds)


def grouped(*groups: str | None) -> list[Clip]:
    return [make_clip(id=f"c{k}", group=group) for k, group in enumerate(groups)]


def test_held_out_clips_are_whole_groups() -> None:
    """Slices of one recording on both sides would hide overfitting."""
    for seed in range(20):
        clips = grouped(*"aaaabbbbccccddddeeee")
        held_out = stage.held_out_clips(clips, 0.25, seed)
        assert len(held_out) == 4
        assert len({clip.group for clip in clips if clip.id in held_out}) == 1
    uneven = grouped(*"aaaaaaaaaaabcd")
    assert all(not stage.held_out_clips(uneven, 0.1, seed) & {"c0", "c10"} for seed in range(20))


@pytest.mark.parametrize("groups", ["aaaaaa", "aaaaab", "ab"])
def test_with_too_few_groups_clips_are_held_out_alone(groups: str) -> None:
    held_out = stage.held_out_clips(grouped(*groups), 0.2, 0)
    assert len(held_out) == 1


def test_a_loser_that_the_model_refuses_costs_its_pair_alone(
    small_data: Path, flow_model: Path, tmp_path: Path
) -> None:
    """Weights that give NaN for one of the labels: every loser of its batches failed, and again on every resume."""
    config = make_config(small_data, flow_model, tmp_path)
    clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
    generator = load_pipeline(config.t2a)
    tokenizer, encoder = generator.pipeline.tokenizer, generator.pipeline.text_encoder
    known = set(tokenizer("Sound of a low tone")["input_ids"])
    bad = (set(tokenizer("Sound of a hiss")["input_ids"]) - known).pop()
    with torch.no_grad():
        encoder.get_input_embeddings().weight[bad] = torch.nan
    folder, heard = StageFolder(tmp_path, "losers", "k"), RecordingReporter()
    pairs = stage.make_pairs(StageContext(config, folder, heard), clips, generator)
    training = [clip for clip in clips if clip.split == "train"]
    assert {pair.prompt for pair in pairs} == {"Sound of a low tone"}
    refused = folder.summary()["refused"]
    assert len(refused) + len(pairs) == len(training) * config.align.losers_per_clip
    assert all("NaN" in reason for reason in refused.values())
    assert f"refused {len(refused)} of" in heard.warnings[0]
    # Asked again, where the stage did not finish, they are there.
    every = stage.make_pairs(StageContext(config, folder, Reporter()), clips, load_pipeline(config.t2a))
    assert len(every) == len(training) and all((folder.path / pair.loser_path).is_file() for pair in every)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[:] = torch.nan
    with pytest.raises(BackendError, match="too many to align; the first because: .*NaN"):
        stage.make_pairs(StageContext(config, StageFolder(tmp_path, "losers", "other"), heard), clips, generator)


def test_winner_and_loser_are_as_long_as_the_real_clip(flow_model: Path, tmp_path: Path) -> None:
    """Losers come in steps of half a second; what they sound after the clip's end would tell them from winners."""
    data = tmp_path / "data"
    for label, hz in (("a", 300), ("b", 900)):
        for number in range(4):
            (data / label).mkdir(parents=True, exist_ok=True)
            samples = 0.5 * np.sin(2 * np.pi * (hz + 10 * number) * np.arange(int(0.3 * 16_000)) / 16_000)
            sf.write(data / label / f"{number}.wav", samples, 16_000)
    config = make_config(data, flow_model, tmp_path)
    clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
    generator = load_pipeline(config.t2a)
    losers = StageFolder(tmp_path, "losers", "k")
    pairs = stage.make_pairs(StageContext(config, losers, Reporter()), clips, generator)
    folder = StageFolder(tmp_path, "align", "k")
    stage.align(StageContext(config, folder, Reporter()), clips, pairs, losers, load_pipeline(config.t2a))
    pair = pairs[0]
    latents = load_file(losers.path / "latents.safetensors")
    sounding = load_generated(losers.path / pair.loser_path, 16_000)
    assert sounding.shape == (8_000,)
    silent_after = generator.encode([audio.fit(sounding[: int(0.3 * 16_000)], 8_000)], 0.5)[0]
    torch.testing.assert_close(latents[f"loser/{pair.id}"], silent_after)


def test_pairs_are_no_longer_than_the_window_where_the_clip_fits(v_model: Path, tmp_path: Path) -> None:
    """Rounded up to 1.5 s, every loser of a clip of 1.005 s was refused by a model of 1.008 s."""
    data = tmp_path / "data"
    for label, hz in (("a", 300), ("b", 900)):
        (data / label).mkdir(parents=True)
        for number in range(4):
            samples = 0.5 * np.sin(2 * np.pi * (hz + 10 * number) * np.arange(16_080) / 16_000)
            sf.write(data / label / f"{number}.wav", samples, 16_000)
    config = make_config(data, v_model, tmp_path, steps=2)
    folder = run(config, tmp_path)
    pairs = StageFolder(tmp_path, "losers", "k")
    assert pairs.summary()["refused"] == {}
    assert {pair.duration_s for pair in pairs.manifest(PreferencePair)} == {63 * 256 / 16_000}
    assert len(stage.read_curve(folder)) == 2


def test_the_best_step_is_best_at_real_clips_whatever_the_margin_says() -> None:
    curve = [row(0, 0.69, 0.0), row(10, 0.40, -0.01), row(20, 0.10, 0.02), row(30, 0.45, -0.02)]
    assert stage.best_step(curve) == 30
    assert stage.best_step([row(0, 0.69, 0.0), row(10, 0.01, 0.0)]) == 10


def test_only_making_losers_worse_is_said_and_the_base_model_kept() -> None:
    curve = [row(0, 0.69, 0.0), row(10, 0.40, 0.1, 0.3), row(20, 0.01, 0.5, 0.9)]
    assert stage.best_step(curve) == 0
    not_helped, rose = stage.diagnose(curve, 0, AlignConfig(anchor=0))
    assert "base model is used" in not_helped
    assert "only learnt to make losers worse; the base model is kept" in rose
    assert all("align.anchor=1" in warning for warning in (not_helped, rose))


def test_advice_is_not_what_the_recipe_says_already() -> None:
    curve = [row(0, 0.69, 0.0), row(10, 0.40, 0.1, -0.3)]
    for settings, advice in (
        (AlignConfig(), "Try a lower align.learning_rate or align.method=erm"),
        (AlignConfig(method="erm"), "Try a lower align.learning_rate"),
    ):
        warnings = stage.diagnose(curve, 0, settings)
        assert all(warning.endswith(advice) for warning in warnings)
        # Losers got better too, and the loss of `erm` knows none.
        assert not any("losers worse" in warning for warning in warnings)


def test_the_reference_is_asked_once_about_held_out_pairs(
    small_data: Path, flow_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = StableAudio3.reference, []

    def counted(self: StableAudio3) -> Any:
        asked.append(torch.is_grad_enabled())
        return real(self)

    monkeypatch.setattr(StableAudio3, "reference", counted)
    config = make_config(small_data, flow_model, tmp_path, steps=6, evaluate_every=2, patience=9)
    folder = run(config, tmp_path)
    assert [row.step for row in stage.read_curve(folder)] == [0, 2, 4, 6]
    assert len(asked) == 1 + 6


def test_patience_counts_measurements_since_the_best() -> None:
    settings = AlignConfig(patience=2)
    curve = [row(0, 0.69, 0.0), row(10, 0.5, -0.1), row(20, 0.6, -0.1)]
    assert not stage.exhausted(curve, settings)
    assert stage.exhausted([*curve, row(30, 0.6, -0.1)], settings)


def test_errors_do_not_depend_on_the_batch(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    config = make_config(small_data, flow_model, tmp_path)
    clips = [
        c
        for c in collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "k"), Reporter()))
        if c.split == "train"
    ]
    generator = load_pipeline(config.t2a)
    folder = StageFolder(tmp_path, "align", "k")
    pairs = stage.make_pairs(StageContext(config, folder, Reporter()), clips, generator)
    data = stage._load_pairs(clips, pairs, generator, folder, Reporter())
    generator.add_adapter(2, 0)
    drawn = [(pair, (pair.id, 0)) for pair in pairs]
    together = stage.pair_errors(config, data, generator, drawn)
    for index in range(len(pairs)):
        alone = stage.pair_errors(config, data, generator, [drawn[index]])
        torch.testing.assert_close(alone.policy_winner[0], together.policy_winner[index], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.reference_loser[0], together.reference_loser[index], atol=1e-4, rtol=1e-4)


def test_where_memory_runs_out_the_batch_is_split_and_the_result_stays(
    small_data: Path, flow_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(make_config(small_data, flow_model, tmp_path / "a", learning_rate=0.01), tmp_path / "a")
    real = StableAudio3.denoising_error

    def small_memory(self: StableAudio3, latents: torch.Tensor, *others: Any) -> torch.Tensor:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("a small GPU")
        return real(self, latents, *others)

    monkeypatch.setattr(StableAudio3, "denoising_error", small_memory)
    split = run(make_config(small_data, flow_model, tmp_path / "b", learning_rate=0.01), tmp_path / "b")
    for one, other in zip(stage.read_curve(whole), stage.read_curve(split), strict=True):
        assert one.step == other.step
        assert other.held_out_loss == pytest.approx(one.held_out_loss, abs=1e-4)
        assert other.winner_error_change == pytest.approx(one.winner_error_change, abs=1e-4)
    monkeypatch.setattr(StableAudio3, "denoising_error", no_memory)
    with pytest.raises(BackendError, match="out of memory with a batch of 1"):
        run(make_config(small_data, flow_model, tmp_path / "c"), tmp_path / "c")


def test_where_a_clip_cannot_be_encoded_for_lack_of_memory_it_says_what_to_do(
    small_data: Path, flow_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in a traceback."""
    monkeypatch.setattr(StableAudio3, "_to_latents", no_memory)
    with pytest.raises(BackendError, match="out of memory with a batch of 1; use a smaller model or shorter clips"):
        run(make_config(small_data, flow_model, tmp_path), tmp_path)


def no_memory(*_: Any) -> torch.Tensor:
    raise torch.OutOfMemoryError("none left")


def test_curve_is_plain_json_lines(small_data: Path, flow_model: Path, tmp_path: Path) -> None:
    folder = run(make_config(small_data, flow_model, tmp_path), tmp_path)
    rows = [json.loads(line) for line in (folder.path / "curve.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows][:2] == [0, 2]
