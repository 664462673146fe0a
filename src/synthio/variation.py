"""Variations of a clip that keep its captions true: a random equaliser, a little speed, a little delay; and drums and
instruments of other sizes, which are clips of their own.

The parameters are drawn apart from applying them, so that a clip's variations depend on its number alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthio import audio

Render = Callable[[int, float], audio.Waveform]
"""A note by pitch (MIDI) and duration in seconds."""

_BANDS_HZ = (60.0, 250.0, 1000.0, 4000.0, 8000.0)
_MAX_GAIN_DB = 6.0
_MAX_SPEED_CHANGE = 0.02
_MAX_DELAY_S = 0.03
_MAX_SIZE_GAIN_DB = 8.0
_SIZES = (0.7, 1.4)
_DECAYS_S = (0.05, 0.6)
_RECORDED_SPEEDS = (0.8, 1.25)
_MAX_RECORDED_DELAY_S = 0.1
_MAX_RESONANCE_SHIFT = 5


@dataclass(frozen=True)
class Variation:
    """One draw."""

    gains_db: tuple[float, ...]
    """At `_BANDS_HZ`, interpolated over log frequency."""
    speed: float
    """Above 1 is faster and higher."""
    delay_s: float
    decay_s: float | None = None
    """Of an exponential fade over the clip; None leaves it as it rings."""


def log_uniform(limits: tuple[float, float], generator: np.random.Generator) -> float:
    """A number between the limits, even on a log scale."""
    return float(np.exp(generator.uniform(*np.log(limits))))


def _gains_db(largest_db: float, generator: np.random.Generator) -> tuple[float, ...]:
    return tuple(generator.uniform(-largest_db, largest_db, len(_BANDS_HZ)))


def draw_variation(generator: np.random.Generator) -> Variation:
    """Gains up to 6 dB, speed up to 2% (a third of a semitone), delay up to 30 ms."""
    return Variation(
        gains_db=_gains_db(_MAX_GAIN_DB, generator),
        speed=float(generator.uniform(1 - _MAX_SPEED_CHANGE, 1 + _MAX_SPEED_CHANGE)),
        delay_s=float(generator.uniform(0, _MAX_DELAY_S)),
    )


def draw_size(generator: np.random.Generator) -> Variation:
    """Another drum of the same kind: speed from 0.7 to 1.4 (half an octave either way), gains up to 8 dB, and half of
    the time a faster decay. Only for hits, whose class does not depend on their pitch."""
    return Variation(
        gains_db=_gains_db(_MAX_SIZE_GAIN_DB, generator),
        speed=log_uniform(_SIZES, generator),
        delay_s=0.0,
        decay_s=log_uniform(_DECAYS_S, generator) if generator.random() < 0.5 else None,
    )


def draw_recording(generator: np.random.Generator) -> Variation:
    """The same kind of sound, heard elsewhere: gains up to 8 dB, speed from 0.8 to 1.25, delay up to 0.1 s."""
    return Variation(
        gains_db=_gains_db(_MAX_SIZE_GAIN_DB, generator),
        speed=log_uniform(_RECORDED_SPEEDS, generator),
        delay_s=float(generator.uniform(0, _MAX_RECORDED_DELAY_S)),
    )


def draw_resonances(generator: np.random.Generator) -> Variation:
    """Another instrument of the same kind, for `at_pitch`: a speed of 1 to 5 whole semitones either way, gains up to 8
    dB."""
    shift = int(generator.integers(1, _MAX_RESONANCE_SHIFT, endpoint=True)) * int(generator.choice([-1, 1]))
    return Variation(
        gains_db=_gains_db(_MAX_SIZE_GAIN_DB, generator),
        speed=2 ** (shift / 12),
        delay_s=0.0,
    )


def at_pitch(
    render: Render, pitch: int, duration_s: float, sample_rate_hz: int, resonances: Variation
) -> audio.Waveform:
    """A note of ``pitch`` whose resonances have moved: ``render(pitch, duration_s)`` plays another one, longer or
    shorter, that the speed brings back. Shape ``(samples,)``, of ``duration_s``."""
    shift = round(12 * np.log2(resonances.speed))
    played = render(pitch - shift, duration_s * resonances.speed)
    length = round(duration_s * sample_rate_hz)
    varied = vary(audio.fit(played, max(length, played.shape[0])), sample_rate_hz, resonances)
    return audio.fit(varied, length)


def varied_copies(
    samples: audio.Waveform, sample_rate_hz: int, count: int, generator: np.random.Generator
) -> list[audio.Waveform]:
    """``count`` copies, each with its own draw."""
    return [vary(samples, sample_rate_hz, draw_variation(generator)) for _ in range(count)]


def vary(samples: audio.Waveform, sample_rate_hz: int, variation: Variation) -> audio.Waveform:
    """The varied clip, ``(samples,)``, as long as the original and at its peak."""
    fast = audio.resample(samples, round(sample_rate_hz * variation.speed), sample_rate_hz)
    delayed = np.pad(fast, (round(variation.delay_s * sample_rate_hz), 0))
    fitted = audio.fit(delayed, samples.shape[0])
    frequencies = np.fft.rfftfreq(2 * fitted.shape[0], 1 / sample_rate_hz)
    gains_db = np.interp(np.log(np.maximum(frequencies, 20.0)), np.log(_BANDS_HZ), variation.gains_db)
    # Twice the length: the equaliser's ringing must not wrap around to the start.
    spectrum = np.fft.rfft(fitted, 2 * fitted.shape[0]) * 10 ** (gains_db / 20)
    equalised = np.fft.irfft(spectrum)[: fitted.shape[0]]
    if variation.decay_s is not None:
        equalised = equalised * np.exp(-np.arange(fitted.shape[0]) / (variation.decay_s * sample_rate_hz))
    return audio.peak_normalise(equalised.astype(np.float32), float(np.abs(samples).max(initial=0.0)))
