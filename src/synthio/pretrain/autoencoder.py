"""Fit the pocket autoencoder: the principal components of the corpus' log-mel patches, in closed form."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from synthio import audio
from synthio.backends.mel_codec import MelCodec
from synthio.pretrain.corpus import CorpusConfig, build_corpus, split_corpus
from synthio.pretrain.features import through
from synthio.progress import Reporter
from synthio.recipes import Section, UserPath
from synthio.seeds import numpy_generator
from synthio.writing import write_lines


class MelCodecConfig(Section):
    """The arguments of `MelCodec`."""

    n_fft: int = 512
    hop_length: int = 128
    n_mels: int = 64
    frames_per_latent: int = 8
    latent_dim: int = 64
    whitening: float = 0.5


class AutoencoderRecipe(Section):
    """`synthio pretrain autoencoder`."""

    output: UserPath
    corpus: CorpusConfig = CorpusConfig()
    model: MelCodecConfig = MelCodecConfig()
    validation_fraction: float = 0.03


def train_autoencoder(recipe: AutoencoderRecipe, reporter: Reporter) -> Path:
    """Fit, measure on held-out clips, save. Returns the model folder."""
    started = time.monotonic()
    rate_hz = recipe.corpus.sample_rate_hz
    training, validation = split_clips(build_corpus(recipe.corpus), rate_hz, recipe.validation_fraction)
    codec = MelCodec(sampling_rate=rate_hz, **recipe.model.model_dump())
    codec.fit([torch.from_numpy(samples) for samples in training])
    drawn = numpy_generator(0, "measured").permutation(len(validation))[:100]
    error_db = reconstruction_error_db(codec, [validation[int(i)] for i in drawn], rate_hz)
    row = {"clips": len(training), "seconds": round(time.monotonic() - started, 1), "log_mel_error_db": error_db}
    write_lines(recipe.output / "training" / "curve.jsonl", [json.dumps(row)])
    reporter.note(f"autoencoder: log-mel error {error_db:.2f} dB on held-out clips")
    codec.save_pretrained(recipe.output / "model")
    return recipe.output / "model"


def split_clips(
    folder: Path, sample_rate_hz: int, validation_fraction: float
) -> tuple[list[audio.Waveform], list[audio.Waveform]]:
    """Training and validation waveforms; a fixed random share of clips is held out."""
    clips, validation = split_corpus(folder, validation_fraction)
    waveforms = [audio.load(folder / clip.file_name, sample_rate_hz) for clip in clips]
    training = [w for w, out in zip(waveforms, validation, strict=True) if not out]
    return training, [w for w, out in zip(waveforms, validation, strict=True) if out]


def reconstruction_error_db(codec: MelCodec, waveforms: Sequence[audio.Waveform], sample_rate_hz: int) -> float:
    """Mean absolute log-mel error in dB (64 mel, 80 dB range) of clips as the codec gives them back."""
    errors = []
    for samples in waveforms:
        reference = audio.log_mel_db(samples, sample_rate_hz)
        rebuilt = audio.log_mel_db(through(codec, samples), sample_rate_hz)
        errors.append(float(np.abs(rebuilt - reference).mean()))
    return float(np.mean(errors))
