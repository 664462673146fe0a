"""Classical augmentations: the arms that synthetic data must beat. Parameters are drawn apart from applying them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
import torch

from synthio.audio import Waveform
from synthio.optional import need
from synthio.seeds import global_state_kept

#: Signal-to-noise ratios and shifts of the baselines; wide enough to be heard, narrow enough to keep the label.
SNR_RANGE_DB = (10.0, 30.0)
SEMITONE_RANGE = (-4.0, 4.0)
MASKED_SHARE = 0.25

_LIBRARIES = {"pitch_shift": "librosa", "audiomentations": "audiomentations"}


def check_library(arm: str) -> None:
    """Whether the library that an arm needs is here. Raises: `MissingDependency` naming the extra that brings it."""
    if arm in _LIBRARIES:
        need(_LIBRARIES[arm])


def add_noise(samples: Waveform, snr_db: float, generator: np.random.Generator) -> Waveform:
    """White Gaussian noise at ``snr_db`` under the clip's mean power. Shape ``(samples,)``."""
    power = float(np.square(samples, dtype=np.float64).mean())
    noise = generator.standard_normal(samples.shape[0]) * np.sqrt(power / 10 ** (snr_db / 10))
    return np.asarray(samples + noise, dtype=np.float32)


def pitch_shift(samples: Waveform, sample_rate_hz: int, semitones: float) -> Waveform:
    """Shift by ``semitones`` at the same length (librosa)."""
    from librosa.effects import pitch_shift as shift

    n_fft = min(2048, 2 ** int(np.log2(max(4, samples.shape[0]))))
    return np.asarray(shift(samples, sr=sample_rate_hz, n_steps=semitones, n_fft=n_fft), dtype=np.float32)


def chain_of_transforms(samples: Waveform, sample_rate_hz: int, seed: int) -> Waveform:
    """The chain that the audiomentations library's own README shows: noise, time stretch, pitch shift, shift in time;
    each with probability one half, at its documented range. Same length."""
    from audiomentations import AddGaussianNoise, Compose, PitchShift, Shift, TimeStretch

    chain = Compose(
        [
            AddGaussianNoise(min_amplitude=0.001, max_amplitude=0.015, p=0.5),
            TimeStretch(min_rate=0.8, max_rate=1.25, p=0.5),
            PitchShift(min_semitones=-4, max_semitones=4, p=0.5),
            Shift(p=0.5),
        ]
    )
    with global_state_kept():
        # The library draws from the global generators only.
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return np.asarray(chain(samples=samples, sample_rate=sample_rate_hz), dtype=np.float32)


Augmentation = Callable[[Waveform, int, np.random.Generator], Waveform]
"""A clip ``(samples,)``, its sample rate in Hz and its own generator, to a varied clip."""


def _noise(samples: Waveform, _: int, generator: np.random.Generator) -> Waveform:
    return add_noise(samples, generator.uniform(*SNR_RANGE_DB), generator)


def _pitch(samples: Waveform, sample_rate_hz: int, generator: np.random.Generator) -> Waveform:
    return pitch_shift(samples, sample_rate_hz, generator.uniform(*SEMITONE_RANGE))


def _chain(samples: Waveform, sample_rate_hz: int, generator: np.random.Generator) -> Waveform:
    return chain_of_transforms(samples, sample_rate_hz, int(generator.integers(2**63)))


#: The arms that vary waveforms; SpecAugment varies features instead (`mask_features`).
AUGMENTATIONS: Mapping[str, Augmentation] = {"noise": _noise, "pitch_shift": _pitch, "audiomentations": _chain}


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
