"""The copy check: is a generated clip nearer to a training clip than training clips are to each other?

On log-mel spectrograms, which find replicated clips better than embeddings do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthio import audio, metrics

#: Working rate of the check, in Hz.
SAMPLE_RATE_HZ = 16_000
#: Two clips this near are the same clip.
_SAME_DB = 0.1
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CopyCheck:
    """What the real training clips say; made by `fit_copy_check`."""

    spectra: Floats
    """Log-mel vectors of the training clips, ``(clips, values)``."""
    distance: float
    """In dB; nearer than this is a copy."""
    window_s: float
    """Stretch of each clip that is compared."""

    def nearest(self, waveforms: Sequence[audio.Waveform]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Distance in dB to, and index of, the nearest training clip of each clip at `SAMPLE_RATE_HZ`."""
        spectra = np.stack([spectrum(waveform, self.window_s) for waveform in waveforms])
        distances, indices = metrics.nearest_distances(spectra, self.spectra)
        return np.asarray(distances, dtype=np.float64), indices


def fit_copy_check(waveforms: Sequence[audio.Waveform], window_s: float, quantile: float) -> CopyCheck:
    """The threshold is the ``quantile`` of the distances of training clips to their nearest other one.

    ``waveforms`` are at `SAMPLE_RATE_HZ`. With a single clip, or with repeated ones, only what is within 0.1 dB is a
    copy.
    """
    spectra = np.stack([spectrum(waveform, window_s) for waveform in waveforms])
    nearest = metrics.leave_one_out_nearest(spectra)[0] if len(waveforms) > 1 else np.zeros(1)
    return CopyCheck(spectra, max(_SAME_DB, float(np.quantile(nearest, quantile))), window_s)


def spectrum(samples: audio.Waveform, window_s: float) -> Floats:
    """Log-mel vector of a clip's first ``window_s`` seconds."""
    window = audio.fit(samples, max(1, round(window_s * SAMPLE_RATE_HZ)))
    return np.asarray(audio.log_mel_db(window, SAMPLE_RATE_HZ).ravel(), dtype=np.float64)
