"""Classical augmentations: the arms that synthetic data must beat. Parameters are drawn apart from applying them."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch

from synthio.audio import Waveform
from synthio.errors import MissingDependency

#: Signal-to-noise ratios and shifts of the baselines; wide enough to be heard, narrow enough to keep the label.
SNR_RANGE_DB = (10.0, 30.0)
SEMITONE_RANGE = (-4.0, 4.0)
MASKED_SHARE = 0.25


def add_noise(samples: Waveform, snr_db: float, generator: np.random.Generator) -> Waveform:
    """White Gaussian noise at ``snr_db`` under the clip's mean power. Shape ``(samples,)``."""
    power = float(np.square(samples, dtype=np.float64).mean())
    noise = generator.standard_normal(samples.shape[0]) * np.sqrt(power / 10 ** (snr_db / 10))
    return np.asarray(samples + noise, dtype=np.float32)


def check_pitch_shift() -> None:
    """Whether `pitch_shift` can run. Raises: `MissingDependency` without librosa."""
    if find_spec("librosa") is None:
        raise MissingDependency("the pitch_shift arm needs librosa: pip install 'synthio[augment]'")


def pitch_shift(samples: Waveform, sample_rate_hz: int, semitones: float) -> Waveform:
    """Shift by ``semitones`` at the same length (librosa). Raises: `MissingDependency` without librosa."""
    check_pitch_shift()
    from librosa.effects import pitch_shift as shift

    n_fft = min(2048, 2 ** int(np.log2(max(2, samples.shape[0]))))
    return np.asarray(shift(samples, sr=sample_rate_hz, n_steps=semitones, n_fft=n_fft), dtype=np.float32)


def mask_features(features: torch.Tensor, share: float, generator: np.random.Generator) -> torch.Tensor:
    """SpecAugment (Park et al. 2019): per clip, one stretch of frames and one of mel bins set to the clip's floor.

    Each is up to ``share`` of the axis. In place on ``(batch, 1, frames, mels)``; returned for chaining.
    """
    for clip in features:
        floor = clip.min()
        for axis, size in ((1, clip.shape[1]), (2, clip.shape[2])):
            width = int(generator.integers(0, int(share * size) + 1))
            start = int(generator.integers(0, size - width + 1))
            clip.narrow(axis, start, width).fill_(floor)
    return features
