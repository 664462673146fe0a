"""The families of text-to-audio models, through the real loading code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import no_file_above
from tiny_models import what_is_decoded, with_half_of

from synthio.backends import pocket
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.diffusion import _supported
from synthio.backends.parts import check_models
from synthio.backends.text_to_audio import Conditioning, asked_duration_s
from synthio.config import DataConfig, RunConfig, T2AConfig
from synthio.doctor import examine
from synthio.errors import BackendError, ConfigError, ModelError, StoreError

#: The fixture of each, and the part of its pipeline that is aligned.
FAMILIES = {"flow_model": "transformer", "v_model": "transformer", "ldm_model": "unet"}


def load(request: pytest.FixtureRequest, family: str, **knobs: object) -> object:
    settings = {"num_inference_steps": 2, "guidance_scale": 2.0} | knobs
    return load_pipeline(T2AConfig(model=str(request.getfixturevalue(family)), **settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_generates_finite_clips_of_the_asked_length(request: pytest.FixtureRequest, family: str) -> None:
    generator = load(request, family)
    clips = generator.generate(["a low tone", "hiss"], 0.5, [1, 2])
    assert [clip.shape for clip in clips] == [(8_000,), (8_000,)]
    assert all(np.isfinite(clip).all() and np.abs(clip).max() > 0 for clip in clips)
    assert not np.allclose(clips[0], clips[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_depends_on_its_own_seed_only(request: pytest.FixtureRequest, family: str) -> None:
    generator = load(request, family)
    prompts, seeds = ["a low tone", "hiss", "a click"] * 2, list(range(6))
    together = generator.generate(prompts, 0.5, seeds)
    alone = [generator.generate([p], 0.5, [s])[0] for p, s in zip(prompts, seeds, strict=True)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_guidance_and_the_negative_prompt_are_heard(request: pytest.FixtureRequest, family: str) -> None:
    knobs: list[dict[str, object]] = [{}, {"guidance_scale": 6.0}, {"negative_prompt": "a low tone"}]
    first, *others = (load(request, family, **own).generate(["hiss"], 0.5, [1])[0] for own in knobs)
    for other in others:
        assert np.abs(other - first).max() > 1e-3 * np.abs(first).max()


@pytest.mark.parametrize(("family", "early"), [("flow_model", 0.1587), ("v_model", 0.2689), ("ldm_model", 0.2689)])
def test_times_are_drawn_as_the_family_was_trained(request: pytest.FixtureRequest, family: str, early: float) -> None:
    """Below the logistic function of -1: logit-normal times one standard deviation from the middle, uniform ones."""
    times = load(request, family).draw_time(20_000, torch.Generator().manual_seed(0))
    assert float((times < 0.2689).float().mean()) == pytest.approx(early, abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_denoising_error_is_the_mean_square_of_the_familys_target(request: pytest.FixtureRequest, family: str) -> None:
    """Second implementation: the prediction is taken by a hook, the target from the family's definition."""
    generator = load(request, family)
    latents = generator.encode([np.random.default_rng(0).normal(size=8_000).astype(np.float32)] * 2, 0.5)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([0.2, 0.7])
    seen: list[torch.Tensor] = []
    denoiser = getattr(generator.pipeline, FAMILIES[family])
    hook = denoiser.register_forward_hook(lambda _m, _i, out: seen.append(out[0]))
    errors = generator.denoising_error(latents, noise, time, generator.condition(["hiss", "a low tone"], 0.5), 0.5)
    hook.remove()
    # Half a second of 256 samples per frame, and one frame more where the model has it; of 640, all that there are.
    frames = {"flow_model": 32, "v_model": 33, "ldm_model": 13}[family]
    for row in range(2):
        if family == "flow_model":
            target = noise[row] - latents[row]
        elif family == "ldm_model":
            target = noise[row]
        else:
            angle = time[row] * torch.pi / 2
            target = noise[row] * torch.cos(angle) - latents[row] * torch.sin(angle)
        assert float(errors[row]) == pytest.approx(float(((seen[0][row] - target)[:, :frames] ** 2).mean()), rel=1e-4)


def test_the_error_of_a_short_clip_is_not_that_of_the_silence_after_it(request: pytest.FixtureRequest) -> None:
    """It was the mean over the window of Stable Audio Open, 47.5 s whatever the clip's length."""
    generator = load(request, "v_model")
    latents = generator.encode([np.random.default_rng(0).normal(size=4_000).astype(np.float32)], 0.25)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    time, conditioning = torch.tensor([0.4]), generator.condition(["hiss"], 0.25)
    generator.pipeline.transformer.register_forward_hook(lambda _m, _i, out: (torch.zeros_like(out[0]),))
    before = generator.denoising_error(latents, noise, time, conditioning, 0.25)
    angle = time * torch.pi / 2
    target = noise * torch.cos(angle) - latents * torch.sin(angle)
    torch.testing.assert_close(before, target[:, :, :17].square().mean(dim=(1, 2)))
    # What stands later in the window is context of the prediction, and no part of the error.
    noise[:, :, 17:] += 1
    assert torch.equal(generator.denoising_error(latents, noise, time, conditioning, 0.25), before)


def test_a_fixed_window_is_decoded_no_further_than_the_clip(request: pytest.FixtureRequest) -> None:
    """All 47.5 s of it were decoded for each clip."""
    generator = load(request, "v_model")
    given: list[torch.Tensor] = []
    pipeline_latents: list[torch.Tensor] = []
    decode, step = generator.pipeline.vae.decode, generator.pipeline.scheduler.step

    def keep_given(latents: torch.Tensor) -> object:
        given.append(latents)
        return decode(latents)

    def keep_sampled(*args: object, **kwargs: object) -> object:
        out = step(*args, **kwargs)
        pipeline_latents.append(out.prev_sample)
        return out

    generator.pipeline.vae.decode, generator.pipeline.scheduler.step = keep_given, keep_sampled
    heard = generator.generate(["a low tone", "hiss"], 0.25, [1, 2])
    assert given[0].shape == (2, 4, 16 + 16) and pipeline_latents[-1].shape == (2, 4, 63)
    whole = decode(pipeline_latents[-1]).sample.clamp(-1, 1).mean(dim=1).detach().numpy()
    for clip, row in zip(heard, whole, strict=True):
        np.testing.assert_allclose(clip, row[:4_000], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_no_fixed_frequency(request: pytest.FixtureRequest, dtype: str) -> None:
    """The duration's frequencies go up to 10 kHz, and positions are whole numbers: neither can be rounded."""
    half, whole = load(request, "flow_model", dtype=dtype), load(request, "flow_model")
    for name in ("duration_embedder.freqs", "transformer.rotary_pos_emb.inv_freq"):
        part, _, buffer = name.partition(".")
        ours, exact = (getattr(model.pipeline, part).get_buffer(buffer) for model in (half, whole))
        assert ours.dtype == torch.float32 and torch.equal(ours, exact), name
    assert next(half.pipeline.transformer.parameters()).dtype == getattr(torch, dtype)
    for duration_s in (0.5, 3.3, 9.5):
        ours, exact = (model.pipeline.encode_duration(duration_s, model.device, 1, 1) for model in (half, whole))
        torch.testing.assert_close(ours.float(), exact, atol=0.02, rtol=0)


def test_the_pocket_model_makes_no_longer_clips_than_it_learnt_from() -> None:
    """Of 10 s, the default of data.max_duration_s, 99.8% of the samples were at full scale, and some were accepted."""
    generator = load_pipeline(T2AConfig(num_inference_steps=4))
    made = generator.generate(["Sound of a flute"], pocket.LONGEST_S, [0])[0]
    assert np.mean(np.abs(made) > 0.99) < 0.2
    with pytest.raises(BackendError, match=r"refused 10.00 s clips: it makes 5.00 s at most; set data.max_duration_s"):
        generator.generate(["Sound of a flute"], 10.0, [0])


def test_the_longest_clip_of_a_window_is_asked_for_and_longer_ones_refused(request: pytest.FixtureRequest) -> None:
    """A clip of 47.52 s was asked for as one of 48 s, and refused."""
    window, flow = load(request, "v_model"), load(request, "flow_model")
    longest_s = 63 * 256 / 16_000
    assert window.longest_s == longest_s
    assert [asked_duration_s(window, s) for s in (0.3, 1.0, 1.004, longest_s, 1.2)] == [
        0.5,
        1,
        longest_s,
        longest_s,
        1.5,
    ]
    assert [asked_duration_s(flow, s) for s in (0.3, 1.0, 1.004, 60.2)] == [0.5, 1.0, 1.5, 60.5]
    assert window.generate(["hiss"], longest_s, [0])[0].shape == (16_128,)
    assert window.encode([np.zeros(16_064, np.float32)], longest_s).shape == (1, 4, 63)
    with pytest.raises(BackendError, match=r"refused 1.50 s clips: it makes 1.01 s at most; set data.max_duration_s"):
        window.generate(["hiss"], 1.5, [0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bug_is_not_a_refusal(request: pytest.FixtureRequest, family: str) -> None:
    """An argument that a library no longer has was told as clips that the model refuses, and the run went on."""
    generator = load(request, family)
    part = "text_encoder_2" if family == "ldm_model" else "text_encoder"
    getattr(generator.pipeline, part).forward = lambda input_ids: None
    with pytest.raises(TypeError, match="attention_mask"):
        generator.generate(["hiss"], 0.5, [0])


@pytest.mark.parametrize("family", FAMILIES)
def test_condition_is_what_the_pipeline_itself_feeds_the_denoiser(request: pytest.FixtureRequest, family: str) -> None:
    generator = load(request, family, guidance_scale=1.0)
    seen: list[torch.Tensor] = []
    name = "encoder_hidden_states_1" if family == "ldm_model" else "encoder_hidden_states"

    def keep(_module: object, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(kwargs[name])

    hook = getattr(generator.pipeline, FAMILIES[family]).register_forward_pre_hook(keep, with_kwargs=True)
    generator.generate(["a low tone", "hiss"], 0.5, [0, 1])
    hook.remove()
    ours = generator.condition(["a low tone", "hiss"], 0.5)
    torch.testing.assert_close(ours.cross, seen[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_off_is_the_untouched_model(request: pytest.FixtureRequest, family: str, tmp_path: Path) -> None:
    generator = load(request, family)
    before = generator.generate(["hiss"], 0.5, [0])[0]
    generator.add_adapter(rank=2, seed=0)
    parameters = generator.adapter_parameters()
    assert parameters and all("lora" in name for name in parameters)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.normal_(std=0.3)
    changed = generator.generate(["hiss"], 0.5, [0])[0]
    assert not np.allclose(before, changed, atol=1e-4)
    with generator.reference():
        np.testing.assert_allclose(generator.generate(["hiss"], 0.5, [0])[0], before, atol=1e-5)
    with no_file_above(1000), pytest.raises(StoreError, match="cannot be written"):
        generator.save_adapter(tmp_path / "full")
    generator.save_adapter(tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("*.bin"))
    merged = load(request, family)
    merged.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(merged.generate(["hiss"], 0.5, [0])[0], changed, atol=1e-3)


@pytest.mark.parametrize("family", ["flow_model", "v_model"])
def test_alignment_computes_again_what_it_need_not_keep(request: pytest.FixtureRequest, family: str) -> None:
    """At full size one pair kept gigabytes for its gradient. Errors and gradients are the same."""

    def gradients(checkpointing: bool) -> tuple[int, list[torch.Tensor]]:
        generator = load(request, family)
        generator.add_adapter(rank=2, seed=0)
        for number, parameter in enumerate(generator.adapter_parameters().values()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
        if not checkpointing:
            getattr(generator.pipeline, generator.denoiser).get_base_model().disable_gradient_checkpointing()
        latents = generator.encode([np.random.default_rng(0).normal(size=8_000).astype(np.float32)] * 2, 0.5)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        given = latents, noise, torch.tensor([0.2, 0.7]), generator.condition(["hiss", "a low tone"], 0.5), 0.5
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            errors = generator.denoising_error(*given)
        parameters = list(generator.adapter_parameters().values())
        found = torch.autograd.grad(errors.sum(), parameters, allow_unused=True)
        return sum(kept.values()), [errors.detach(), *(value for value in found if value is not None)]

    (less, ours), (all_of_it, plain) = gradients(True), gradients(False)
    assert less < 0.75 * all_of_it
    for mine, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


def test_what_an_apple_gpu_does_not_compute_says_what_to_do() -> None:
    """Older versions of macOS ended in a traceback."""
    told = r"Output channels > 65536.*macOS 15\.1 or newer, or set t2a\.device=cpu"
    with pytest.raises(ModelError, match=told), _supported(torch.device("mps")):
        raise NotImplementedError("Output channels > 65536 not supported at the MPS device.")
    with pytest.raises(NotImplementedError), _supported(torch.device("cpu")):
        raise NotImplementedError


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_models_can_be_aligned(request: pytest.FixtureRequest, family: str, dtype: str) -> None:
    """Latents are cached in float32, adapters are float32; the model is neither."""
    generator = load(request, family, dtype=dtype)
    latents = generator.encode([np.random.default_rng(0).normal(size=8_000).astype(np.float32)] * 2, 0.5).float()
    generator.add_adapter(rank=2, seed=0)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    prompts, time = ["hiss", "a low tone"], torch.tensor([0.2, 0.7])
    errors = generator.denoising_error(latents, noise, time, generator.condition(prompts, 0.5), 0.5)
    errors.mean().backward()
    assert errors.dtype == torch.float32
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in generator.adapter_parameters().values())
    whole = load(request, family)
    exact = whole.denoising_error(latents, noise, time, whole.condition(prompts, 0.5), 0.5)
    torch.testing.assert_close(errors.detach(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoding_stops_at_the_duration(request: pytest.FixtureRequest, family: str) -> None:
    generator = load(request, family)
    long = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    whole, cut = generator.encode([long], 0.25), generator.encode([long[:4_000]], 0.25)
    assert torch.equal(whole, cut)


def test_flow_latents_are_as_long_as_the_clip(request: pytest.FixtureRequest) -> None:
    generator = load(request, "flow_model")
    assert generator.encode([np.zeros(8_000, np.float32)], 0.5).shape == (1, 4, 32)
    assert generator.encode([np.zeros(3, np.float32)], 1.0).shape == (1, 4, 63)


def test_wrong_models_are_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file named model_index.json.*; check its files, or use t2a.model=pocket"):
        load_pipeline(T2AConfig(model=str(tmp_path)))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="FluxPipeline.*expected one of StableAudio3Pipeline"):
        load_pipeline(T2AConfig(model=str(tmp_path)))


@pytest.mark.parametrize(("family", "part"), [("flow_model", "text_encoder"), ("ldm_model", "vocoder")])
def test_a_pipeline_without_one_of_its_parts_is_told_before_a_run(
    request: pytest.FixtureRequest, family: str, part: str, tmp_path: Path
) -> None:
    """`--dry-run` and `synthio doctor` took the folder, and the run failed when it came to generate."""
    folder = shutil.copytree(request.getfixturevalue(family), tmp_path / "t2a")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "watermarker": [None, None]}))
    config = RunConfig(data=DataConfig(path="demo"), t2a=T2AConfig(model=str(folder), device="cpu"))
    check_models(config)
    line = examine(config)["models"]["t2a"]
    assert re.match(rf"{re.escape(str(folder))}: local folder, [01] MiB of weights; device cpu with ", line)
    shutil.rmtree(folder / part)
    told = f"has no folder {part}, which its model_index.json names"
    for use in (lambda: check_models(config), lambda: load_pipeline(config.t2a)):
        with pytest.raises(ModelError, match=told):
            use()
    assert told in examine(config)["models"]["t2a"]


@pytest.mark.parametrize("file", ["model_index.json", "text_encoder/model.safetensors", "{denoiser}/config.json"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_with_half_a_file_says_so(
    request: pytest.FixtureRequest, family: str, file: str, tmp_path: Path
) -> None:
    """Half of the index, or of the text encoder's weights, ended in a traceback."""
    name = file.format(denoiser=FAMILIES[family])
    folder = with_half_of(name, request.getfixturevalue(family), tmp_path / "t2a")
    with pytest.raises(ModelError, match=r"t2a\.model .*t2a'.*; check its files"):
        load_pipeline(T2AConfig(model=str(folder)))


def test_weights_of_another_size_are_no_traceback(flow_model: Path, tmp_path: Path) -> None:
    """Without its configuration the text encoder is taken to be of the usual size."""
    shutil.copytree(flow_model, tmp_path / "t2a")
    (tmp_path / "t2a" / "text_encoder" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*\); check its files, or use t2a"):
        load_pipeline(T2AConfig(model=str(tmp_path / "t2a")))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter_says_so(request: pytest.FixtureRequest, file: str, tmp_path: Path) -> None:
    generator = load(request, "flow_model")
    generator.add_adapter(rank=2, seed=0)
    generator.save_adapter(tmp_path / "whole")
    folder = with_half_of(file, tmp_path / "whole", tmp_path / "half")
    with pytest.raises(ModelError, match=r"half: not an adapter of this text-to-audio model"):
        load(request, "flow_model").load_adapter(folder)


def test_missing_device_is_a_config_error(request: pytest.FixtureRequest) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ConfigError, match="cuda.*not available"):
        load(request, "flow_model", device="cuda")


def test_unreachable_hub_id_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="t2a.model=pocket"):
        load_pipeline(T2AConfig(model="nobody/no-such-model"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_half_precision_model_keeps_all_of_its_adapter(
    request: pytest.FixtureRequest, family: str, tmp_path: Path
) -> None:
    """Early adapters are below what bfloat16 weights can hold: merged, they would be rounded away."""
    aligned = load(request, family, dtype="bfloat16")
    latents = aligned.encode([np.random.default_rng(0).normal(size=8_000).astype(np.float32)], 0.5)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    aligned.add_adapter(rank=2, seed=0)
    with torch.no_grad():
        for parameter in aligned.adapter_parameters().values():
            parameter.normal_(std=0.01)
    aligned.save_adapter(tmp_path / "adapter")
    loaded = load(request, family, dtype="bfloat16")
    loaded.load_adapter(tmp_path / "adapter")
    assert loaded.adapter_parameters() == {}
    with torch.no_grad():
        error, other = (
            model.denoising_error(latents, noise, torch.tensor([0.5]), model.condition(["hiss"], 0.5), 0.5)
            for model in (aligned, loaded)
        )
    assert torch.equal(error, other)
    assert np.array_equal(aligned.generate(["hiss"], 0.5, [0])[0], loaded.generate(["hiss"], 0.5, [0])[0])


@pytest.mark.parametrize("family", ["flow_model", "v_model"])
def test_the_autoencoder_of_a_half_precision_model_is_exact(request: pytest.FixtureRequest, family: str) -> None:
    """Rounded, it would put a noise floor under every synthetic clip that real clips do not have."""
    half, whole = load(request, family, dtype="bfloat16"), load(request, family)
    clip = np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    assert torch.equal(half.encode([clip], 0.5), whole.encode([clip], 0.5))
    decoded = what_is_decoded(half.pipeline.vae)
    heard = half.generate(["hiss"], 0.5, [0])[0]
    samples = whole.pipeline.vae.decode(decoded[0]).sample.float().mean(dim=1)[0].detach().numpy()
    np.testing.assert_allclose(heard, samples.clip(-1, 1)[: len(heard)], atol=1e-6)


def test_prompts_of_other_lengths_join_where_a_mask_tells_their_ends() -> None:
    def of(tokens: int, mask: torch.Tensor | None) -> Conditioning:
        return Conditioning(torch.ones(1, tokens, 2), torch.ones(1, 3), mask)

    masked = [of(2, torch.ones(1, 2)), of(4, torch.ones(1, 4))]
    joined = Conditioning.joined(masked)
    assert joined.mask is not None and joined.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert joined.cross.shape == (2, 4, 2) and joined.cross[0, 2:].abs().max() == 0 and joined.overall.shape == (2, 3)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        Conditioning.joined([of(2, None), of(4, None)])
