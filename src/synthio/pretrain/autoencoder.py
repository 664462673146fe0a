"""Train the pocket autoencoder: `AutoencoderSAME` with a multi-resolution STFT loss (auraloss)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from synthio import audio
from synthio.errors import MissingDependency
from synthio.pretrain import loop
from synthio.pretrain.codec_init import start_from_linear_codec
from synthio.pretrain.corpus import CorpusConfig, build_corpus, read_corpus
from synthio.progress import Reporter
from synthio.recipes import Section
from synthio.seeds import numpy_generator


class AutoencoderModelConfig(Section):
    """The arguments of `AutoencoderSAME`."""

    audio_channels: int = 1
    patch_size: int = 256
    encoder_channels: int = 64
    encoder_c_mults: tuple[int, ...] = (4,)
    encoder_strides: tuple[int, ...] = (4,)
    encoder_transformer_depths: tuple[int, ...] = (3,)
    latent_dim: int = 64
    use_differential_attention: bool = False
    dim_heads: int = 64
    ff_mult: int = 3


class AutoencoderRecipe(Section):
    """`synthio pretrain autoencoder`."""

    output: Path
    corpus: CorpusConfig = CorpusConfig()
    model: AutoencoderModelConfig = AutoencoderModelConfig()
    optimiser: loop.OptimiserConfig = loop.OptimiserConfig()
    crop_samples: int = Field(16_384, ge=1024)
    waveform_weight: float = Field(1.0, ge=0)
    linear_start: bool = True
    """Begin from a linear codec in closed form (see `codec_init`)."""
    latent_noise: float = Field(0.05, ge=0)
    """Noise added to latents in training, relative to their spread, so that small generation errors stay inaudible."""
    validation_fraction: float = Field(0.03, gt=0, lt=1)


def train_autoencoder(recipe: AutoencoderRecipe, reporter: Reporter) -> Path:
    """Train, whiten the latents, save. Returns the model folder."""
    from diffusers import AutoencoderSAME

    folder = build_corpus(recipe.corpus)
    training, validation = split_clips(folder, recipe.corpus.sample_rate_hz, recipe.validation_fraction)
    torch.manual_seed(recipe.optimiser.seed)
    model = AutoencoderSAME(**recipe.model.model_dump(), sampling_rate=recipe.corpus.sample_rate_hz)
    if recipe.linear_start:
        start_from_linear_codec(model, training)
    stft_loss = _stft_loss()

    def loss(step: int) -> torch.Tensor:
        batch = crops(training, recipe.optimiser, recipe.crop_samples, step)
        latents = model.encode(batch).latents
        spread = latents.std(dim=(0, 2), keepdim=True).detach()
        generator = torch.Generator().manual_seed(step)
        noisy = latents + recipe.latent_noise * spread * torch.randn(latents.shape, generator=generator)
        decoded = model.decode(noisy).sample[..., : batch.shape[-1]]
        waveform = (decoded - batch).square().mean() / batch.square().mean()
        total: torch.Tensor = stft_loss(decoded, batch) + recipe.waveform_weight * waveform
        return total

    def evaluate() -> Mapping[str, float]:
        return {"log_mel_error_db": reconstruction_error_db(model, validation[:64], recipe.corpus.sample_rate_hz)}

    loop.fit(model, loss, recipe.optimiser, recipe.output / "training", evaluate, reporter)
    whiten(model, crops(training, recipe.optimiser.model_copy(update={"batch_size": 512}), recipe.crop_samples, -1))
    model.save_pretrained(recipe.output / "model")
    return recipe.output / "model"


def split_clips(
    folder: Path, sample_rate_hz: int, validation_fraction: float
) -> tuple[list[audio.Waveform], list[audio.Waveform]]:
    """Training and validation waveforms; a fixed random share of clips is held out."""
    clips = read_corpus(folder)
    held_out = numpy_generator(0, "validation").random(len(clips)) < validation_fraction
    waveforms = [audio.load(folder / clip.file_name, sample_rate_hz) for clip in clips]
    training = [w for w, out in zip(waveforms, held_out, strict=True) if not out]
    return training, [w for w, out in zip(waveforms, held_out, strict=True) if out]


def crops(waveforms: list[audio.Waveform], config: loop.OptimiserConfig, length: int, step: int) -> torch.Tensor:
    """The batch of one step: random clips, random crops, random level. Shape ``(batch, 1, length)``."""
    generator = numpy_generator(config.seed, "crops", step)
    batch = np.zeros((config.batch_size, 1, length), dtype=np.float32)
    for row in batch:
        samples = waveforms[int(generator.integers(len(waveforms)))]
        start = int(generator.integers(max(1, samples.shape[0] - length // 2)))
        row[0] = audio.fit(samples[start:], length) * generator.uniform(0.3, 1.1)
    return torch.from_numpy(batch)


@torch.no_grad()
def whiten(model: Any, batch: torch.Tensor) -> None:
    """Give every latent channel zero mean and unit variance on ``batch``, folded exactly into the linear layers."""
    model.eval()
    latents = model.encode(batch).latents
    mean, std = latents.mean(dim=(0, 2)), latents.std(dim=(0, 2)).clamp_min(1e-4)
    encoder_out, decoder_in = model.encoder.proj, model.decoder.proj
    scale, bias = model.bottleneck.scale.flatten(), model.bottleneck.bias.flatten()
    # z' = (W x + b) * scale + bias, wanted (z' - mean) / std; the decoder undoes it.
    encoder_out.weight.copy_(encoder_out.weight * (scale / std)[:, None])
    encoder_out.bias.copy_((encoder_out.bias * scale + bias - mean) / std)
    decoder_in.bias.add_(decoder_in.weight @ mean)
    decoder_in.weight.mul_(std[None])
    model.bottleneck.scale.fill_(1.0)
    model.bottleneck.bias.zero_()


@torch.no_grad()
def reconstruction_error_db(model: Any, waveforms: list[audio.Waveform], sample_rate_hz: int) -> float:
    """Mean absolute log-mel error in dB (64 mel, 80 dB range) of decode(encode(x)) over clips."""
    errors = []
    for samples in waveforms:
        decoded = model(torch.from_numpy(samples)[None, None]).sample[0, 0, : samples.shape[0]].numpy()
        reference = audio.log_mel_db(samples, sample_rate_hz)
        errors.append(float(np.abs(audio.log_mel_db(decoded, sample_rate_hz) - reference).mean()))
    return float(np.mean(errors))


def _stft_loss() -> torch.nn.Module:
    try:
        from auraloss.freq import MultiResolutionSTFTLoss
    except ImportError as error:
        raise MissingDependency(
            "pre-training the autoencoder needs auraloss: pip install 'synthio[pretrain]'"
        ) from error
    sizes = [2048, 1024, 512, 256, 128]
    loss: torch.nn.Module = MultiResolutionSTFTLoss(
        fft_sizes=sizes, hop_sizes=[s // 4 for s in sizes], win_lengths=sizes, w_sc=1.0, w_log_mag=1.0, eps=1e-5
    )
    return loss
