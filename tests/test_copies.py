"""The copy check finds copies, and only copies."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synthio.copies import fit_copy_check, fit_to_spectra, spectrum

RATE_HZ = 16_000


def tones(frequencies: list[float]) -> list[np.ndarray]:
    time = np.arange(RATE_HZ) / RATE_HZ
    return [(0.5 * np.sin(2 * np.pi * f * time)).astype(np.float32) for f in frequencies]


def test_a_copy_is_nearer_than_training_clips_are_to_each_other() -> None:
    training = tones([200.0, 400.0, 800.0, 1600.0])
    check = fit_copy_check(training, window_s=1.0, quantile=0.01)
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).astype(np.float32)
    distances, nearest = check.nearest([training[2] * 0.5, noise])
    assert distances[0] < check.distance < distances[1]
    assert nearest[0] == 2


def test_distances_are_root_mean_squares_and_training_clips_are_compared_with_others() -> None:
    """Second implementation: every pair."""
    generator = np.random.default_rng(0)
    heard = [*(0.1 * generator.standard_normal((19, 4_000))).astype(np.float32)]
    training, candidates = heard[:12], [*heard[12:], heard[9]]
    real, made = (np.stack([spectrum(clip, 0.25) for clip in clips]) for clips in (training, candidates))
    check = fit_copy_check(training, window_s=0.25, quantile=0.5)
    distances, nearest = check.nearest(candidates)
    every = cdist(made, real) / np.sqrt(real.shape[1])
    np.testing.assert_allclose(distances, every.min(axis=1), atol=1e-4)
    np.testing.assert_array_equal(nearest, every.argmin(axis=1))
    among = cdist(real, real) / np.sqrt(real.shape[1]) + np.diag(np.full(12, np.inf))
    assert check.distance == pytest.approx(np.median(among.min(axis=1)))


def test_one_training_clip_leaves_only_itself_as_a_copy() -> None:
    (clip,) = tones([300.0])
    check = fit_copy_check([clip], window_s=0.5, quantile=0.01)
    distances, _ = check.nearest([clip, 0.5 * clip[::-1].copy() ** 2])
    assert distances[0] < check.distance < distances[1]


def test_a_check_of_a_few_clips_does_not_copy_the_training_clips() -> None:
    """Each chunk of 64 candidates once fitted the search anew, with a copy of every training spectrogram."""
    spectra = np.random.default_rng(0).uniform(-80, 0, size=(400, 101 * 64)).astype(np.float32)
    check = fit_to_spectra(list(spectra), window_s=1.0, quantile=0.01)
    clip = tones([300.0])
    tracemalloc.start()
    check.nearest(clip)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < spectra.nbytes
