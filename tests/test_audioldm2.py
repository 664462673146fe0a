"""What AudioLDM2 alone has: prompts read one at a time, a spectrogram's latents, a discrete diffusion."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import write_tiny_run
from command_line import synthio
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from safetensors.torch import load_file
from tiny_models import what_is_decoded
from transformers import GPT2LMHeadModel, GPT2Model, VitsConfig, VitsModel

from synthio.backends.audioldm2 import AudioLDM2
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.text_to_audio import asked_duration_s
from synthio.config import T2AConfig
from synthio.errors import BackendError, ModelError

PROMPTS = ["hiss", "a low tone", "a click in the background"]


def load(folder: Path, **knobs: object) -> AudioLDM2:
    settings = {"num_inference_steps": 2, "guidance_scale": 2.0, "device": "cpu"} | knobs
    generator = load_pipeline(T2AConfig(model=str(folder), **settings))
    assert isinstance(generator, AudioLDM2)
    return generator


def pipelines_own(generator: AudioLDM2, prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
    """As its documentation has it called."""
    knobs = generator._config
    audios = generator.pipeline(
        prompts,
        audio_length_in_s=0.5,
        num_inference_steps=knobs.num_inference_steps,
        guidance_scale=knobs.guidance_scale,
        negative_prompt=knobs.negative_prompt and [knobs.negative_prompt] * len(prompts),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    ).audios
    return list(audios)


def difference(clips: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(clips, others, strict=True))


@pytest.mark.parametrize(
    "knobs", [{}, {"guidance_scale": 1.0}, {"negative_prompt": "loud noise"}, {"negative_prompt": "tone"}]
)
def test_a_clip_is_the_pipelines_own_of_its_prompt_alone(ldm_model: Path, knobs: dict[str, object]) -> None:
    """The pipeline's own call lets a clip depend on the longest prompt of its batch."""
    generator = load(ldm_model, **knobs)
    seeds = [1, 2, 3]
    alone = [pipelines_own(generator, [p], [s])[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    assert difference(pipelines_own(generator, PROMPTS, seeds), alone) > 0.01
    assert difference(generator.generate(PROMPTS, 0.5, seeds), alone) < 1e-4
    assert difference([generator.generate(["hiss"], 0.5, [1])[0]], alone[:1]) < 1e-4


def test_the_error_of_a_prompt_is_the_same_in_any_company(ldm_model: Path) -> None:
    generator = load(ldm_model)
    latents = torch.randn(3, 4, 13, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([0.1, 0.5, 0.9])
    together = generator.denoising_error(latents, noise, time, generator.condition(PROMPTS, 0.5), 0.5)
    for row in range(3):
        own = slice(row, row + 1)
        conditioning = generator.condition(PROMPTS[own], 0.5)
        alone = generator.denoising_error(latents[own], noise[own], time[own], conditioning, 0.5)
        torch.testing.assert_close(alone, together[own], rtol=1e-5, atol=1e-6)


def test_the_language_model_of_the_published_folders_generates(ldm_model: Path, tmp_path: Path) -> None:
    """It is a `GPT2Model`, which ended in an AttributeError; second implementation: no cache."""
    generator = load(ldm_model)
    index = json.loads((ldm_model / "model_index.json").read_text())
    assert index["language_model"] == ["transformers", "GPT2Model"]
    plain = GPT2Model.from_pretrained(ldm_model / "language_model").eval()
    start = torch.randn(1, 7, 12, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 1]])
    with torch.no_grad():
        found = generator.pipeline.generate_language_model(start, attention_mask=mask, max_new_tokens=8)
        rows = start
        for _ in range(8):
            seen = torch.cat([mask, torch.ones(1, rows.shape[1] - 7, dtype=torch.long)], dim=1)
            rows = torch.cat([rows, plain(inputs_embeds=rows, attention_mask=seen).last_hidden_state[:, -1:]], dim=1)
    torch.testing.assert_close(found, rows[:, 7:], rtol=1e-4, atol=1e-5)
    # As diffusers would save it today.
    folder = shutil.copytree(ldm_model, tmp_path / "headed")
    GPT2LMHeadModel.from_pretrained(ldm_model / "language_model").save_pretrained(folder / "language_model")
    index["language_model"][1] = "GPT2LMHeadModel"
    (folder / "model_index.json").write_text(json.dumps(index))
    headed = load(folder).generate(PROMPTS[:1], 0.5, [0])
    assert difference(headed, generator.generate(PROMPTS[:1], 0.5, [0])) < 1e-6


def test_the_spectrogram_is_that_of_the_training(ldm_model: Path) -> None:
    """Second implementation: librosa, with the settings of haoheliu/AudioLDM2."""
    librosa = pytest.importorskip("librosa")
    generator = load(ldm_model)
    clip = 0.3 * np.random.default_rng(0).normal(size=8_320).astype(np.float32)
    clip[4_000:] = 0
    bands = librosa.feature.melspectrogram(
        y=clip, sr=16_000, n_fft=1024, win_length=1024, hop_length=160, n_mels=64, fmin=0, fmax=8_000, power=1.0,
        center=True, pad_mode="reflect", htk=False, norm="slaney",
    )  # fmt: skip
    expected = np.log(np.maximum(bands, 1e-5)).T[:52]
    found = generator._log_mel(clip)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[-1].max() == pytest.approx(math.log(1e-5), abs=1e-5)


def test_latents_are_those_that_the_diffusion_knows(ldm_model: Path) -> None:
    generator = load(ldm_model)
    clip = 0.3 * np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    latents = generator.encode([clip], 0.5)
    assert latents.shape == (1, 4, 13, 16)
    vae = generator.pipeline.vae
    mel = torch.from_numpy(generator._log_mel(np.pad(clip, (0, 320))))[None, None]
    with torch.no_grad():
        torch.testing.assert_close(latents, 0.4 * vae.encode(mel).latent_dist.mean)
    assert generator.encode([clip, clip], 1.5).shape == (2, 4, 38, 16)


class Answering(torch.nn.Module):
    """A denoiser that knows what it should predict, and keeps what it was given."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = torch.nn.Parameter(answer)
        self.given: list[torch.Tensor] = []

    def forward(self, noisy: torch.Tensor, step: torch.Tensor, **_: object) -> tuple[torch.Tensor]:
        self.given += [noisy, step]
        return (self.answer,)


@pytest.mark.parametrize("sampler", [DDIMScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_error_is_of_the_training_whatever_samples(
    ldm_model: Path, tmp_path: Path, sampler: type, kind: str
) -> None:
    folder = shutil.copytree(ldm_model, tmp_path / "t2a")
    scheduler = sampler.from_pretrained(ldm_model / "scheduler", prediction_type=kind)
    scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "scheduler": ["diffusers", sampler.__name__]}))
    generator = load(folder)
    latents = torch.randn(2, 4, 13, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([0.0, 0.9999])
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    left = torch.from_numpy(np.cumprod(1 - betas)[[0, 999]]).float()[:, None, None, None]
    target = noise if kind == "epsilon" else left.sqrt() * noise - (1 - left).sqrt() * latents
    conditioning = generator.condition(PROMPTS[:2], 0.5)
    generator.pipeline.unet = knowing = Answering(target)
    errors = generator.denoising_error(latents, noise, time, conditioning, 0.5)
    torch.testing.assert_close(knowing.given[0], left.sqrt() * latents + (1 - left).sqrt() * noise)
    assert knowing.given[1].tolist() == [0, 999]
    torch.testing.assert_close(errors, torch.zeros(2), atol=1e-9, rtol=0)
    generator.pipeline.unet = Answering(target + torch.tensor([1.0, 3.0])[:, None, None, None])
    errors = generator.denoising_error(latents, noise, time, conditioning, 0.5)
    torch.testing.assert_close(errors, torch.tensor([1.0, 9.0]))


def test_clips_are_no_longer_than_those_of_its_training(ldm_model: Path) -> None:
    generator = load(ldm_model, num_inference_steps=1)
    assert [asked_duration_s(generator, s) for s in (0.3, 10.0, 10.1, 10.24)] == [0.5, 10.0, 10.24, 10.24]
    assert generator.generate(["hiss"], 10.24, [0])[0].shape == (163_840,)
    with pytest.raises(BackendError, match=r"refused 10.50 s clips: it makes 10.24 s at most; set data.max_duration_s"):
        generator.generate(["hiss"], 10.5, [0])


def test_what_makes_sound_of_a_half_precision_model_is_exact(ldm_model: Path) -> None:
    half, whole = load(ldm_model, dtype="bfloat16"), load(ldm_model)
    clip = 0.3 * np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    assert torch.equal(half.encode([clip], 0.5), whole.encode([clip], 0.5))
    assert next(half.pipeline.unet.parameters()).dtype == torch.bfloat16
    decoded = what_is_decoded(half.pipeline.vae)
    heard = half.generate(["hiss"], 0.5, [0])[0]
    with torch.no_grad():
        mel = whole.pipeline.vae.decode(decoded[0]).sample
        samples = whole.pipeline.vocoder(mel.squeeze(1))[0].numpy()
    np.testing.assert_allclose(heard, samples[:8_000], atol=1e-6)


def test_one_that_speaks_transcripts_is_refused(ldm_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ldm_model, tmp_path / "t2a")
    shutil.rmtree(folder / "text_encoder_2")
    speaking = VitsConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, flow_size=16,
        spectrogram_bins=9, upsample_initial_channel=32, depth_separable_num_layers=1, prior_encoder_num_flows=1,
        posterior_encoder_num_wavenet_layers=1, prior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=1,
    )  # fmt: skip
    VitsModel(speaking).save_pretrained(folder / "text_encoder_2")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder_2": ["transformers", "VitsModel"]}))
    with pytest.raises(ModelError, match=r"t2a' is an AudioLDM2 that speaks a transcript; expected .*cvssp/audioldm2"):
        load(folder)


def test_a_run_aligns_it_and_generates(
    small_data: Path, ldm_model: Path, clap_model: Path, ast_model: Path, tmp_path: Path
) -> None:
    recipe = write_tiny_run(tmp_path, small_data, ldm_model, clap_model, ast_model, steps=2, seeds=1)
    knobs = ("align.method=erm", "align.learning_rate=0.02", "align.steps=12", "align.evaluate_every=4")
    result = synthio("run", recipe, *knobs, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    stages = tmp_path / "run" / "stages"
    (adapter,) = stages.glob("align-*/adapter/adapter_model.safetensors")
    assert any(float(tensor.abs().max()) > 0 for name, tensor in load_file(adapter).items() if "lora_B" in name)
    # With a round of reflection.
    rows = [
        (manifest.parent, json.loads(line))
        for manifest in stages.glob("generate-*/manifest.jsonl")
        for line in manifest.read_text().splitlines()
    ]
    assert len(rows) >= 16 and all((folder / row["path"]).is_file() for folder, row in rows)
