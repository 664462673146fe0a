"""Percussion from formulas: a ringing or falling tone and a band of noise, as drum machines have made it since 1980.

Eight kits of one SoundFont share most of their samples, so a generator that heard them alone knows one tambourine.
Every hit here draws its own pitch, rings, band, decay and balance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import signal

from synthio import audio
from synthio.variation import log_uniform

Range = tuple[float, float]
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drum:
    """What hits of one class have in common: ranges, drawn evenly on a log scale; levels, drawn evenly."""

    tone: Literal["falling", "modes", "squares"]
    tone_hz: Range
    """Where a falling tone ends; the lowest mode, or square wave."""
    tone_decay_s: Range
    tone_level: Range
    band_low_hz: Range
    band_high_hz: Range
    noise_decay_s: Range
    noise_level: Range
    duration_s: Range = (0.3, 0.8)
    ratios: tuple[float, ...] = ()
    """Modes over the lowest one; none: drawn up to `spread`."""
    spread: float = 3.2
    fall: Range = (1.05, 1.7)
    """Where a falling tone starts, over where it ends."""
    attack_s: Range = (0.0005, 0.001)
    bursts: tuple[int, int] = (1, 1)
    """Of noise, one after the other, as of hands or jingles."""
    high_pass_hz: Range = (20.0, 30.0)
    """Of the whole hit."""


DRUMS: dict[str, Drum] = {
    "kick": Drum("falling", (38, 75), (0.05, 0.35), (1, 1), (80, 300), (800, 6000), (0.002, 0.015), (0.02, 0.5),
                 duration_s=(0.3, 1.0), fall=(1.6, 6)),
    "tom": Drum("falling", (70, 260), (0.1, 0.4), (0.8, 1), (200, 400), (1500, 6000), (0.005, 0.05), (0.02, 0.3),
                duration_s=(0.4, 1.0)),
    "snare": Drum("modes", (140, 300), (0.03, 0.15), (0.2, 1), (500, 2500), (5000, 7800), (0.04, 0.22), (0.5, 1.2),
                  ratios=(1, 1.6, 2.3)),
    "closed hihat": Drum("squares", (250, 1200), (0.01, 0.06), (0, 1), (2500, 4000), (6500, 7800), (0.01, 0.06),
                         (0.1, 1), high_pass_hz=(2500, 6500), duration_s=(0.2, 0.35)),
    "open hihat": Drum("squares", (250, 1200), (0.15, 0.5), (0, 1), (2500, 4000), (6500, 7800), (0.15, 0.5), (0.1, 1),
                       high_pass_hz=(2500, 6500), duration_s=(0.7, 1.2)),
    "crash": Drum("squares", (200, 800), (0.3, 1.0), (0.05, 0.35), (400, 2000), (6500, 7800), (0.3, 1.0), (0.4, 1),
                  high_pass_hz=(400, 2500), attack_s=(0.001, 0.02), duration_s=(1.0, 2.0)),
    "ride": Drum("modes", (300, 900), (0.3, 0.9), (0.3, 0.8), (2000, 4000), (6500, 7800), (0.02, 0.5), (0.2, 0.8),
                 spread=9, duration_s=(1.0, 2.0)),
    "sidestick": Drum("modes", (300, 1800), (0.008, 0.04), (0.6, 1), (700, 1500), (4000, 7000), (0.002, 0.01), (0.2, 1),
                      duration_s=(0.1, 0.3)),
    "cowbell": Drum("squares", (400, 900), (0.04, 0.25), (0.8, 1), (1500, 2500), (4000, 7000), (0.003, 0.01), (0, 0.3),
                    ratios=(1, 1.48), high_pass_hz=(300, 700)),
    "clap": Drum("modes", (900, 2200), (0.003, 0.01), (0, 0.2), (500, 1500), (1800, 5000), (0.03, 0.12), (0.8, 1),
                 bursts=(3, 6), ratios=(1, 1.7), duration_s=(0.3, 0.5)),
    "shaker": Drum("modes", (2500, 5000), (0.005, 0.02), (0, 0.1), (2500, 5500), (6500, 7800), (0.015, 0.08), (0.8, 1),
                   attack_s=(0.01, 0.08), duration_s=(0.2, 0.4)),
    "tambourine": Drum("modes", (2500, 5000), (0.03, 0.15), (0.2, 0.8), (3000, 5000), (6500, 7800), (0.03, 0.15),
                       (0.3, 1), bursts=(2, 8), ratios=(1, 1.3, 1.7, 2.0), high_pass_hz=(150, 2000)),
    "hand drum": Drum("modes", (120, 500), (0.05, 0.2), (0.8, 1), (600, 1200), (2500, 7000), (0.003, 0.02), (0.05, 0.8),
                      ratios=(1, 1.5, 1.99, 2.44, 2.89)),
}  # fmt: skip

_BURST_SPACING_S: Range = (0.006, 0.016)
_DRAWN_MODES = 6


def drum_hit(name: str, sample_rate_hz: int, generator: np.random.Generator) -> audio.Waveform:
    """One hit of a class of `DRUMS`, ``(samples,)``, at a peak of 1."""
    drum = DRUMS[name]
    count = round(log_uniform(drum.duration_s, generator) * sample_rate_hz)
    time_s = np.arange(count) / sample_rate_hz
    tone = _TONES[drum.tone](drum, time_s, generator)
    tone *= np.exp(-time_s / log_uniform(drum.tone_decay_s, generator)) / max(1e-9, np.abs(tone).max())
    band = (log_uniform(drum.band_low_hz, generator), log_uniform(drum.band_high_hz, generator))
    noise = _filtered(generator.standard_normal(count), band, "bandpass", sample_rate_hz)
    noise *= _bursts(drum, time_s, generator) / max(1e-9, np.abs(noise).max())
    mixed = generator.uniform(*drum.tone_level) * tone + generator.uniform(*drum.noise_level) * noise
    mixed = _filtered(mixed, log_uniform(drum.high_pass_hz, generator), "highpass", sample_rate_hz)
    mixed *= np.minimum(1.0, time_s / log_uniform(drum.attack_s, generator))
    return np.asarray(mixed / max(1e-9, np.abs(mixed).max()), dtype=np.float32)


def _filtered(
    samples: Samples, hz: float | Range, kind: Literal["bandpass", "highpass"], sample_rate_hz: int
) -> Samples:
    sections = signal.butter(2, np.minimum(hz, 0.49 * sample_rate_hz), kind, fs=sample_rate_hz, output="sos")
    return np.asarray(signal.sosfilt(sections, samples))


def _falling(drum: Drum, time_s: Samples, generator: np.random.Generator) -> Samples:
    low_hz, glide_s = log_uniform(drum.tone_hz, generator), log_uniform((0.01, 0.1), generator)
    hz = low_hz * (1 + (log_uniform(drum.fall, generator) - 1) * np.exp(-time_s / glide_s))
    return np.asarray(np.sin(2 * np.pi * np.cumsum(hz) * time_s[1]))


def _modes(drum: Drum, time_s: Samples, generator: np.random.Generator) -> Samples:
    """Higher modes fade sooner."""
    hz = _frequencies(drum, generator)
    rings = np.sin(2 * np.pi * np.outer(hz, time_s) + generator.uniform(0, 2 * np.pi, (len(hz), 1)))
    fades = np.exp(-np.outer(hz / hz[0] - 1, time_s) / (2 * log_uniform(drum.tone_decay_s, generator)))
    return np.asarray(generator.uniform(0.3, 1.0, len(hz)) @ (rings * fades))


def _squares(drum: Drum, time_s: Samples, generator: np.random.Generator) -> Samples:
    hz = _frequencies(drum, generator)
    return np.asarray(signal.square(2 * np.pi * np.outer(hz, time_s)).sum(axis=0))


def _frequencies(drum: Drum, generator: np.random.Generator) -> Samples:
    ratios = drum.ratios or np.sort(generator.uniform(1, drum.spread, _DRAWN_MODES))
    return log_uniform(drum.tone_hz, generator) * np.asarray(ratios, dtype=np.float64)


def _bursts(drum: Drum, time_s: Samples, generator: np.random.Generator) -> Samples:
    """The envelope: short bursts, and the last one fades as long as the class does."""
    count, decay_s = int(generator.integers(*drum.bursts, endpoint=True)), log_uniform(drum.noise_decay_s, generator)
    spacing_s = log_uniform(_BURST_SPACING_S, generator)
    envelope = np.zeros_like(time_s)
    for burst in range(count):
        since_s = time_s - burst * spacing_s
        fade_s = decay_s if burst == count - 1 else spacing_s / 2
        envelope = np.maximum(envelope, np.where(since_s >= 0, np.exp(-since_s / fade_s), 0.0))
    return envelope


_TONES = {"falling": _falling, "modes": _modes, "squares": _squares}
