"""The judge learns to tell sounds apart, fairly across classes, and the same way every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthio.augment import mask_features
from synthio.backends import judge
from synthio.copies import SAMPLE_RATE_HZ
from synthio.progress import Reporter
from synthio.variation import draw_recording, vary


def sounds(count: int, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Tones and hisses in turn, half a second."""
    generator = np.random.default_rng(seed)
    time = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    clips, labels = [], []
    for index in range(count):
        tone = np.sin(2 * np.pi * generator.uniform(150, 600) * time)
        clips.append((tone if index % 2 else generator.normal(size=time.shape[0])).astype(np.float32))
        labels.append("tone" if index % 2 else "hiss")
    return clips, labels


@pytest.fixture(scope="module")
def trained() -> judge.Judge:
    return train()


def train() -> judge.Judge:
    return judge.train_judge(list(zip(*sounds(24, 0), strict=True)), ["hiss", "tone"], 0.5, 30, 0, Reporter())


def test_it_tells_unheard_sounds_apart(trained: judge.Judge) -> None:
    clips, labels = sounds(12, 1)
    scores = trained.scores(clips)
    assert scores.shape == (12, 2)
    assert [("hiss", "tone")[i] for i in scores.argmax(axis=1)] == labels


def test_embeddings_are_nearer_within_a_class(trained: judge.Judge) -> None:
    rows = trained.embed(sounds(12, 2)[0])
    assert rows.shape[0] == 12 and np.isfinite(rows).all()
    within = np.linalg.norm(rows[0] - rows[2])
    assert within < np.linalg.norm(rows[0] - rows[1])


def test_the_same_seed_makes_the_same_judge(trained: judge.Judge) -> None:
    again = train()
    clips, _ = sounds(4, 3)
    np.testing.assert_allclose(again.scores(clips), trained.scores(clips), atol=1e-5)


def test_one_waveform_at_a_time_has_the_dice_of_all_at_once() -> None:
    """Second implementation: every copy in memory, then every image, then every mask."""
    clips, _ = sounds(4, 4)
    generator, again = np.random.default_rng(0), np.random.default_rng(0)
    copies = [np.pad(clip, (int(shift), 0)) for clip, shift in zip(clips, again.integers(1, 1600, 4), strict=True)]
    for _ in range(4):
        copies += [vary(clip, SAMPLE_RATE_HZ, draw_recording(again)) for clip in clips]
    expected = mask_features(torch.stack([judge.image(copy, 0.6) for copy in copies]), 0.2, again)
    torch.testing.assert_close(torch.stack(list(judge.varied_images(clips, 0.6, generator))), expected, rtol=0, atol=0)
