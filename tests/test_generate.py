"""Generation: one candidate per prompt, whatever the batch, with failures recorded; and which models it holds."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from reporters import RecordingReporter
from typer.testing import CliRunner

from synthio.api import generate_clip
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.text_to_audio import bucket_duration_s
from synthio.config import RunConfig, T2AConfig
from synthio.context import StageContext
from synthio.errors import BackendError, StoreError
from synthio.models import Models, model_warnings, sampler_warning
from synthio.pipeline import Pipeline
from synthio.progress import Reporter
from synthio.records import Candidate, Clip, Prompt
from synthio.stages.generate import generate_candidates
from synthio.store import StageFolder

PROMPTS = [
    Prompt(id=f"p{i}", clip_id="c", labels=("hiss",), text=f"hiss {'soft loud high'.split()[i % 3]}", duration_s=d)
    for i, d in enumerate([0.2, 0.5, 0.7, 0.2, 1.0, 0.3, 0.45, 0.9])
]


def recorded(rate_hz: int = 16_000) -> list[Clip]:
    fields = {"id": "c", "path": "c.wav", "labels": ("hiss",), "duration_s": 1.0, "sha256": "", "split": "train"}
    test = {"id": "t", "split": "test", "sample_rate_hz": 48_000}
    return [Clip.model_validate(fields | {"sample_rate_hz": rate_hz} | more) for more in ({}, test)]


def config(model: Path, root: Path, batch_size: int) -> RunConfig:
    t2a = {"model": str(model), "num_inference_steps": 2, "batch_size": batch_size}
    return RunConfig.model_validate({"run_folder": root, "data": {"path": "x"}, "t2a": t2a})


def generate(
    settings: RunConfig, root: Path, prompts: list[Prompt], reporter: Reporter | None = None, rate_hz: int = 16_000
) -> tuple[list[Candidate], StageFolder]:
    folder, generator = StageFolder(root, "generate", "k"), load_pipeline(settings.t2a)
    clips = recorded(rate_hz)
    return generate_candidates(
        StageContext(settings, folder, reporter or Reporter()), clips, prompts, generator
    ), folder


def test_no_clip_has_sound_where_no_recording_can_have_any(flow_model: Path, tmp_path: Path) -> None:
    """At 4 kHz nine tenths of a generated clip's energy once lay above 2 kHz, which told it apart."""
    shares = []
    for rate_hz in (4_000, 16_000):
        settings = config(flow_model, tmp_path / str(rate_hz), 8)
        (made, *_), folder = generate(settings, settings.run_folder, PROMPTS[4:5], rate_hz=rate_hz)
        samples, made_rate_hz = sf.read(folder.path / made.path)
        assert (samples.size, made_rate_hz) == (16_000, 16_000)
        energy = np.abs(np.fft.rfft(samples)) ** 2
        shares.append(energy[2_000:].sum() / energy.sum())
    assert shares[0] < 1e-3 < 0.1 < shares[1]


@pytest.mark.parametrize("family", ["flow_model", "ldm_model"])
def test_batch_of_eight_equals_eight_batches_of_one(
    request: pytest.FixtureRequest, family: str, tmp_path: Path
) -> None:
    model = request.getfixturevalue(family)
    eight, first = generate(config(model, tmp_path / "8", 8), tmp_path / "8", PROMPTS)
    one, second = generate(config(model, tmp_path / "1", 1), tmp_path / "1", PROMPTS)
    assert eight == one
    for candidate in eight:
        a, _ = sf.read(first.path / candidate.path)
        b, _ = sf.read(second.path / candidate.path)
        assert a.shape == b.shape and abs(a - b).max() < 1e-3


def test_prompts_of_the_same_words_make_different_clips(flow_model: Path, tmp_path: Path) -> None:
    """Templates and top-ups of a class are all the same words; reflection tries some of them again."""
    alike = [PROMPTS[0].model_copy(update={"id": name}) for name in ("p-0", "p-1", "p-1-r1")]
    made, folder = generate(config(flow_model, tmp_path, 8), tmp_path, alike)
    assert len({candidate.seed for candidate in made}) == 3
    assert len({(folder.path / str(candidate.path)).read_bytes() for candidate in made}) == 3


def test_lengths_follow_the_prompts(flow_model: Path, tmp_path: Path) -> None:
    candidates, folder = generate(config(flow_model, tmp_path, 8), tmp_path, PROMPTS)
    assert [c.id for c in candidates] == [p.id for p in PROMPTS]
    for prompt, candidate in zip(PROMPTS, candidates, strict=True):
        assert sf.info(folder.path / candidate.path).frames == round(prompt.duration_s * 16_000)


def test_finished_clips_are_not_made_again(flow_model: Path, tmp_path: Path) -> None:
    settings = config(flow_model, tmp_path, 2)
    _, folder = generate(settings, tmp_path, PROMPTS[:4])
    (folder.path / "done.json").unlink()
    stamp = {p.name: p.stat().st_mtime_ns for p in (folder.path / "audio").iterdir()}
    candidates, _ = generate(settings, tmp_path, PROMPTS)
    assert len(candidates) == len(PROMPTS)
    assert {name: (folder.path / "audio" / name).stat().st_mtime_ns for name in stamp} == stamp


def test_clips_of_other_settings_are_copied_where_they_would_be_the_same(flow_model: Path, tmp_path: Path) -> None:
    settings, reporter = config(flow_model, tmp_path, 2), RecordingReporter()
    generator = load_pipeline(settings.t2a)

    def made(
        key: str, prompts: list[Prompt], made_by: str | None = "this model"
    ) -> tuple[StageFolder, list[Candidate]]:
        folder = StageFolder(tmp_path, "generate", key, made_by)
        return folder, generate_candidates(StageContext(settings, folder, reporter), recorded(), prompts, generator)

    first, before = made("first", PROMPTS[:4])
    marks = {prompt.id: first.path / f"audio/{prompt.id}.flac" for prompt in PROMPTS[:4]}
    for path in marks.values():
        # What only a copy has.
        sf.write(path, np.full(100, 0.5), 16_000)
    marks["p3"].unlink()
    reworded = PROMPTS[1].model_copy(update={"text": "another hiss"})
    longer = PROMPTS[2].model_copy(update={"duration_s": 0.9})

    second, after = made("second", [PROMPTS[0], reworded, longer, PROMPTS[3], PROMPTS[4]])
    copied = {c.id: sf.info(second.path / str(c.path)).frames == 100 for c in after}
    assert copied == {"p0": True, "p1": False, "p2": False, "p3": False, "p4": False}
    assert after[0] == before[0]
    assert [note for note in reporter.notes if "made before" in note] == [
        "generate: 1 of 5 clips were made before, under other settings"
    ]
    for key, made_by in (("other", "another model"), ("unknown", None)):
        folder, _ = made(key, PROMPTS[:1], made_by)
        assert sf.info(folder.path / "audio/p0.flac").frames != 100


def test_more_captions_per_clip_make_only_the_new_clips(flow_model: Path, small_data: Path, tmp_path: Path) -> None:
    def run(count: int) -> tuple[list[Candidate], list[str]]:
        recipe = {
            "run_folder": tmp_path / "run",
            "data": {"path": str(small_data)},
            "t2a": {"model": str(flow_model), "num_inference_steps": 2},
            "align": {"method": "none"},
            "imagine": {"mode": "template", "captions_per_clip": count},
        }
        reporter = RecordingReporter()
        made, _ = Pipeline(RunConfig.model_validate(recipe), reporter).first_candidates()
        return made, [note for note in reporter.notes if "made before" in note]

    one, none = run(1)
    two, told = run(2)
    assert not none and told == [f"generate: {len(one)} of {len(two)} clips were made before, under other settings"]
    assert len(two) == 2 * len(one) and {c.id for c in one} < {c.id for c in two}
    assert run(1)[1] == []


def test_a_prompt_whose_id_leads_outside_is_refused(flow_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="leaves"):
        generate(config(flow_model, tmp_path, 2), tmp_path, [PROMPTS[0].model_copy(update={"id": "../../../x"})])
    assert not list(tmp_path.rglob("x.flac"))


def test_what_the_model_refuses_is_recorded(v_model: Path, tmp_path: Path) -> None:
    """The tiny v-model makes at most one second; the pipeline refuses more."""
    prompts = [PROMPTS[0], PROMPTS[1].model_copy(update={"duration_s": 5.0})]
    told = RecordingReporter()
    candidates, folder = generate(config(v_model, tmp_path, 4), tmp_path, prompts, told)
    assert candidates[0].failed is None
    assert candidates[1].path is None and "refused 5.00 s" in candidates[1].failed
    assert folder.summary()["failed"] == 1
    (warning,) = told.warnings
    assert "refused 1 of 2 clips" in warning and "the first because: the text-to-audio model refused 5.00 s" in warning


def test_a_model_that_refuses_every_clip_has_not_generated(v_model: Path, tmp_path: Path) -> None:
    """The stage counted as done, and a run went on without a synthetic clip."""
    settings = config(v_model, tmp_path, 4)
    long = [prompt.model_copy(update={"duration_s": 5.0}) for prompt in PROMPTS[:2]]
    with pytest.raises(BackendError, match=r"refused 2 of 2 clips.*the first because: .*refused 5.00 s clips"):
        generate(settings, tmp_path, long)
    folder = StageFolder(tmp_path, "generate", "k")
    assert not folder.done
    # What was refused is tried again, so that the stage goes on when the reason is gone.
    candidates, _ = generate(settings, tmp_path, PROMPTS[:2])
    assert [candidate.failed for candidate in candidates] == [None, None] and folder.done
    # The one caption that reflection sends back says nothing of the model.
    rewritten = [long[0].model_copy(update={"id": "p0-r1", "round": 1})]
    assert generate(settings, tmp_path / "reflected", rewritten)[1].done


def test_a_clip_that_only_just_fits_into_the_window_is_made(v_model: Path, tmp_path: Path) -> None:
    candidates, folder = generate(
        config(v_model, tmp_path, 4), tmp_path, [PROMPTS[0].model_copy(update={"duration_s": 1.005})]
    )
    assert sf.info(folder.path / candidates[0].path).frames == round(1.005 * 16_000)


@pytest.mark.parametrize(("duration_s", "bucket_s"), [(0.1, 0.5), (0.5, 0.5), (0.501, 1.0), (1.5, 1.5), (2.2, 2.5)])
def test_buckets_are_the_next_half_second(duration_s: float, bucket_s: float) -> None:
    assert bucket_duration_s(duration_s) == bucket_s


def test_a_refused_clip_fails_alone(v_model: Path, tmp_path: Path) -> None:
    """Weights that give NaN for one prompt: its batch was lost with it, and how many depended on the batch size."""
    settings, prompts = config(v_model, tmp_path, 8), [p.model_copy(update={"duration_s": 0.5}) for p in PROMPTS[:4]]
    generator = load_pipeline(settings.t2a)
    with torch.no_grad():
        # A vocabulary entry that only the bad prompt uses.
        tokenizer, encoder = generator.pipeline.tokenizer, generator.pipeline.text_encoder
        bad = (set(tokenizer("high")["input_ids"]) - set(tokenizer("hiss soft loud")["input_ids"])).pop()
        encoder.get_input_embeddings().weight[bad] = torch.nan
    folder = StageFolder(tmp_path, "generate", "k")
    candidates = generate_candidates(StageContext(settings, folder, Reporter()), recorded(), prompts, generator)
    assert [c.failed is not None for c in candidates] == ["high" in p.text for p in prompts]
    assert [c.path is None for c in candidates] == ["high" in p.text for p in prompts]
    assert folder.summary()["failed"] == 1


def aligning(model: Path, data: Path, root: Path) -> RunConfig:
    content: dict[str, Any] = config(model, root, 4).model_dump(exclude_unset=True)
    return RunConfig.model_validate(content | {"data": {"path": str(data)}})


def keep_adapter(settings: RunConfig, folder: StageFolder) -> None:
    """As alignment leaves it, but for the done-marker."""
    generator = load_pipeline(settings.t2a)
    generator.add_adapter(rank=2, seed=0)
    with torch.no_grad():
        for parameter in generator.adapter_parameters().values():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    generator.save_adapter(folder.path / "adapter")


def test_one_clip_says_which_model_made_it(flow_model: Path, small_data: Path, tmp_path: Path) -> None:
    """Whatever was missing, the unaligned model was used and nothing said."""
    settings, told = aligning(flow_model, small_data, tmp_path / "run"), RecordingReporter()

    def clip(name: str) -> tuple[str, np.ndarray]:
        made = generate_clip("hiss", tmp_path / name, duration_s=0.5, config=settings, reporter=told)
        return made.model, sf.read(made.path)[0]

    model, base = clip("fresh.wav")
    assert model == "base" and "alignment is not finished" in told.notes.pop()
    assert not (tmp_path / "run").exists()
    folders = Pipeline(settings, Reporter(), ("clips",)).folders
    keep_adapter(settings, folders.align)
    model, samples = clip("killed.wav")
    assert model == "base" and np.array_equal(samples, base), "the stage was killed after the adapter was written"
    assert "alignment is not finished" in told.notes.pop()
    folders.align.finish([], {})
    model, samples = clip("aligned.wav")
    assert model == "aligned" and not told.notes and not np.allclose(samples, base, atol=1e-3)
    (folders.align.path / "adapter").rename(tmp_path / "elsewhere")
    model, samples = clip("kept.wav")
    assert model == "base" and np.array_equal(samples, base) and "kept the base model" in told.notes.pop()


def test_a_damaged_adapter_is_told_with_what_to_delete(flow_model: Path, small_data: Path, tmp_path: Path) -> None:
    settings = aligning(flow_model, small_data, tmp_path / "run")
    folder = Pipeline(settings, Reporter(), ("clips",)).folders.align
    keep_adapter(settings, folder)
    folder.finish([], {})
    weights = folder.path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StoreError, match=rf"adapter: is damaged .*delete {folder.path} and run"):
        generate_clip("hiss", tmp_path / "clip.wav", duration_s=0.5, config=settings)


def test_one_clip_is_of_its_seed(flow_model: Path, small_data: Path, tmp_path: Path) -> None:
    settings = aligning(flow_model, small_data, tmp_path / "run")

    def clip(name: str, seed: int) -> bytes:
        return generate_clip("hiss", tmp_path / name, duration_s=0.5, seed=seed, config=settings).path.read_bytes()

    assert clip("a.wav", 1) == clip("again.wav", 1) != clip("b.wav", 2)


def test_the_command_says_which_model_made_the_clip(flow_model: Path, small_data: Path, tmp_path: Path) -> None:
    from synthio.cli import app

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(aligning(flow_model, small_data, tmp_path / "run").model_dump(mode="json")))
    options = ["--prompt", "hiss", "-o", str(tmp_path / "clip.wav"), "--duration-s", "0.5", "--json"]
    result = CliRunner().invoke(app, ["generate", str(recipe), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "base"
    assert "alignment is not finished for this recipe" in result.stderr


def models_of(root: Path, **sections: dict[str, Any]) -> Models:
    content = {"run_folder": root, "data": {"path": "x"}, "align": {"method": "none"}, **sections}
    return Models(RunConfig.model_validate(content), root, lambda: StageFolder(root, "align", "k"), Reporter())


def held(models: Models) -> set[str]:
    return {"generator", "clap", "language_model"} & vars(models).keys()


def test_a_full_size_language_model_and_generator_are_not_held_together(
    flow_model: Path, clap_model: Path, tmp_path: Path
) -> None:
    """7 billion parameters stayed in memory while clips were generated, and the generator while captions were made."""
    from tiny_llm import tiny_llama

    t2a, clap = {"model": str(flow_model), "device": "cpu"}, {"model": str(clap_model), "device": "cpu"}
    models = models_of(tmp_path, t2a=t2a, clap=clap, imagine={"model": str(tiny_llama(tmp_path / "llm"))})
    _ = models.language_model
    assert held(models) == {"language_model"}
    _ = models.generator
    assert held(models) == {"generator"}
    _ = models.clap
    assert held(models) == {"generator", "clap"}
    _ = models.base_generator
    assert held(models) == set()
    _ = models.generator, models.language_model
    assert held(models) == {"language_model"}


def test_a_model_without_weights_here_takes_no_room(flow_model: Path, clap_model: Path, tmp_path: Path) -> None:
    for asked in ({"kind": "endpoint"}, {"mode": "template"}):
        models = models_of(tmp_path, t2a={"model": str(flow_model)}, imagine=asked)
        _ = models.generator, models.language_model
        assert held(models) == {"generator", "language_model"}
        _ = models.base_generator
        assert held(models) == {"language_model"}


def test_pocket_models_are_held_together(tmp_path: Path) -> None:
    pytest.importorskip("all_minilm_l6_v2")
    models = models_of(tmp_path)
    clap, generator = models.clap, models.generator
    assert held(models) == {"generator", "clap"} and models.clap is clap and models.generator is generator
    models.release()
    assert held(models) == set()


def test_the_pocket_models_sampler_is_not_taken_over_without_a_word(flow_model: Path, tmp_path: Path) -> None:
    """Twelve steps for a model that needs a hundred."""
    assert sampler_warning(T2AConfig()) is None
    assert sampler_warning(T2AConfig(model="x/y", num_inference_steps=12, guidance_scale=2.5)) is None
    warning = sampler_warning(T2AConfig(model="x/y"))
    assert warning is not None
    assert re.match(r"t2a.num_inference_steps = 12 and t2a.guidance_scale = 2.5: .*100 steps and guidance 7", warning)
    assert str(sampler_warning(T2AConfig(model="x/y", num_inference_steps=50))).startswith("t2a.guidance_scale = 2.5:")
    told = RecordingReporter()
    settings = RunConfig.model_validate({"data": {"path": "x"}, "t2a": {"model": str(flow_model)}})
    _ = Models(settings, tmp_path, lambda: StageFolder(tmp_path, "align", "k"), told).base_generator
    assert len(told.warnings) == 1 and "suits the pocket model" in told.warnings[0]


def test_a_distilled_model_is_not_aligned_without_a_word(flow_model: Path, tmp_path: Path) -> None:
    """Its sampler adds noise at every step; alignment would train it as the base model that it was made from."""
    shutil.copytree(flow_model, tmp_path / "distilled")
    scheduler = tmp_path / "distilled" / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "stochastic_sampling": True}))

    def settings(folder: Path, method: str) -> RunConfig:
        t2a = {"model": str(folder), "num_inference_steps": 8, "guidance_scale": 1}
        return RunConfig.model_validate({"data": {"path": "x"}, "t2a": t2a, "align": {"method": method}})

    aligned = settings(tmp_path / "distilled", "dpo")
    assert [model_warnings(settings(folder, "dpo")) for folder in (flow_model, Path("x/y"))] == [[], []]
    assert model_warnings(settings(tmp_path / "distilled", "none")) == []
    (warning,) = model_warnings(aligned)
    assert re.match("align.method = dpo: t2a.model .*distilled.* is distilled .* the one called -base", warning)
    told = RecordingReporter()
    _ = Models(aligned, tmp_path, lambda: StageFolder(tmp_path, "align", "k"), told).alignable_generator
    assert told.warnings == [warning]
