"""The copy check: is a generated clip nearer to a training clip than training clips are to each other?

On log-mel spectrograms, which find replicated clips better than embeddings do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synthio import audio

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

#: At which the check hears clips, and the judge, so that the evaluation loads each once.
SAMPLE_RATE_HZ = 16_000
#: Two clips this near are the same clip.
_SAME_DB = 0.1
Floats = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CopyCheck:
    """What the real training clips say; made by `fit_copy_check`."""

    neighbours: NearestNeighbors
    """Of the log-mel vectors of the training clips."""
    distance: float
    """In dB; nearer than this is a copy."""
    window_s: float
    """Stretch of each clip that is compared."""

    def nearest(self, waveforms: Sequence[audio.Waveform]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Distance in dB to, and index of, the nearest training clip of each clip at `SAMPLE_RATE_HZ`."""
        spectra = np.stack([spectrum(waveform, self.window_s) for waveform in waveforms], dtype=np.float64)
        return _nearest(self.neighbours, spectra)


def fit_copy_check(waveforms: Sequence[audio.Waveform], window_s: float, quantile: float) -> CopyCheck:
    """`fit_to_spectra` of training clips at `SAMPLE_RATE_HZ`."""
    return fit_to_spectra([spectrum(waveform, window_s) for waveform in waveforms], window_s, quantile)


def fit_to_spectra(spectra: Sequence[Spectrum], window_s: float, quantile: float) -> CopyCheck:
    """The threshold is the ``quantile`` of the distances of training clips to their nearest other one.

    ``spectra``: the `spectrum` of each. With a single clip, or with repeated ones, only what is within 0.1 dB is a
    copy.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(np.stack(spectra, dtype=np.float64))
    nearest = _nearest(neighbours, None)[0] if len(spectra) > 1 else np.zeros(1)
    return CopyCheck(neighbours, max(_SAME_DB, float(np.quantile(nearest, quantile))), window_s)


def _nearest(neighbours: NearestNeighbors, spectra: Floats | None) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Root mean square distances to, and indices of, the nearest; None: of every training clip to the *other* ones."""
    distances, indices = neighbours.kneighbors(spectra)
    return distances[:, 0] / np.sqrt(neighbours.n_features_in_), indices[:, 0].astype(np.int64)


def spectrum(samples: audio.Waveform, window_s: float) -> Spectrum:
    """Log-mel vector, ``(values,)``, of the first ``window_s`` seconds of a clip at `SAMPLE_RATE_HZ`."""
    window = audio.fit(samples, max(1, round(window_s * SAMPLE_RATE_HZ)))
    return audio.log_mel_db(window, SAMPLE_RATE_HZ).ravel()
