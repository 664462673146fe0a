"""Classical augmentations do what their numbers say."""

from __future__ import annotations

import sys
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthio import audio, augment, report_page
from synthio.arms import ARMS_WITH_FILES
from synthio.config import Arm
from synthio.errors import MissingDependency
from synthio.optional import OPTIONAL

RATE_HZ = 16_000


@given(snr_db=st.floats(0, 40), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_noise_has_the_wanted_level(snr_db: float, seed: int) -> None:
    clip = np.sin(np.arange(RATE_HZ) / 7).astype(np.float32)
    noisy = augment.add_noise(clip, snr_db, np.random.default_rng(seed))
    measured = 10 * np.log10(np.square(clip).mean() / np.square(noisy - clip).mean())
    assert measured == pytest.approx(snr_db, abs=0.3)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_a_clip_of_a_few_samples_can_be_shifted(samples: int) -> None:
    pytest.importorskip("librosa")
    assert augment.pitch_shift(np.full(samples, 0.5, np.float32), RATE_HZ, 2.0).shape == (samples,)


def test_pitch_moves_and_length_stays() -> None:
    pytest.importorskip("librosa")
    time = np.arange(RATE_HZ) / RATE_HZ
    clip = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    shifted = augment.pitch_shift(clip, RATE_HZ, 12.0)
    assert shifted.shape == clip.shape
    assert audio.pitch_hz(shifted, RATE_HZ) == pytest.approx(440, rel=0.02)
    assert augment.pitch_shift(clip[:300], RATE_HZ, 2.0).shape == (300,)


def test_arms_vary_what_they_are_named_after() -> None:
    pytest.importorskip("librosa")
    clip = (0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    for seed in range(4):
        noisy, shifted = (
            augment.AUGMENTATIONS[arm](clip, RATE_HZ, np.random.default_rng(seed)) for arm in ("noise", "pitch_shift")
        )
        assert 9 < 10 * np.log10(np.square(clip).mean() / np.square(noisy - clip).mean()) < 31
        semitones = 12 * np.log2(audio.pitch_hz(shifted, RATE_HZ) / 220)
        expected = np.random.default_rng(seed).uniform(*augment.SEMITONE_RANGE)
        assert semitones == pytest.approx(expected, abs=0.4)


def test_masks_are_of_frames_and_of_bands_and_anywhere() -> None:
    features = torch.rand(300, 1, 40, 20, generator=torch.Generator().manual_seed(0)) + 1
    changed = (augment.mask_features(features.clone(), 0.25, np.random.default_rng(0)) != features)[:, 0]
    for whole in (changed.all(dim=2), changed.all(dim=1)):
        # Every frame, and every band, is masked in some clip; a third of the clips or more have it at all.
        assert whole.any(dim=0).all() and whole.any(dim=1).float().mean() > 0.3


def test_masks_are_at_the_floor_and_no_wider_than_allowed() -> None:
    features = torch.rand(8, 1, 40, 20, generator=torch.Generator().manual_seed(0)) + 1
    masked = augment.mask_features(features.clone(), 0.25, np.random.default_rng(0))
    for before, after in zip(features[:, 0], masked[:, 0], strict=True):
        changed = before != after
        assert (after[changed] == before.min()).all()
        whole_frames, whole_bands = changed.all(dim=1).sum(), changed.all(dim=0).sum()
        assert whole_frames <= 10 and whole_bands <= 5


def test_every_arm_is_made_and_named_everywhere() -> None:
    """A name in `config.Arm` alone was a KeyError after everything had been generated."""
    arms = get_args(Arm)
    made = ["gold", "specaugment", *ARMS_WITH_FILES, *augment.AUGMENTATIONS]
    assert sorted(made) == sorted(arms)
    assert sorted(report_page._ARM_MEANINGS) == sorted(arms)
    assert set(augment._LIBRARIES) <= set(arms)
    assert set(augment._LIBRARIES.values()) <= set(OPTIONAL)


def test_an_arm_whose_library_is_not_here_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "librosa", raising=False)
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(MissingDependency, match=r"librosa is not .* the pitch_shift arm \(pip install '.\[augment\]'"):
        augment.check_library("pitch_shift")
