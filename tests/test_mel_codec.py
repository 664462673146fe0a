"""The pocket autoencoder: a closed form, so its properties are exact or measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synthio.backends.mel_codec import MelCodec
from synthio.pretrain.autoencoder import reconstruction_error_db

RATE_HZ = 16_000


def notes(count: int, seed: int = 0) -> list[torch.Tensor]:
    """Decaying harmonic tones over a little noise, ``(samples,)``."""
    generator = np.random.default_rng(seed)
    time = np.arange(RATE_HZ) / RATE_HZ
    made = []
    for _ in range(count):
        pitch = generator.uniform(80, 800)
        tone = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 6)) * np.exp(-3 * time)
        made.append(torch.from_numpy((0.3 * tone + 0.001 * generator.standard_normal(RATE_HZ)).astype(np.float32)))
    return made


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    made = MelCodec(latent_dim=64)
    made.fit(notes(60))
    return made


def test_sound_survives(codec: MelCodec) -> None:
    unseen = [clip.numpy() for clip in notes(6, seed=1)]
    assert reconstruction_error_db(codec, unseen, RATE_HZ) < 4.0


def test_more_components_lose_less() -> None:
    known = [clip.numpy() for clip in notes(30)[:4]]
    errors = []
    for width in (4, 16, 64):
        codec = MelCodec(latent_dim=width)
        codec.fit(notes(30))
        errors.append(reconstruction_error_db(codec, known, RATE_HZ))
    assert errors[0] > errors[1] > errors[2]


def test_latents_have_unit_variance_together_and_fall_off_in_order(codec: MelCodec) -> None:
    latents = torch.cat([codec.encode(clip[None, None]).latents for clip in notes(60)], dim=2)[0]
    assert float(latents.square().mean()) == pytest.approx(1.0, abs=0.05)
    spread = latents.std(dim=1)
    assert (spread[:-8:8] > spread[8::8]).all()


def test_shapes_and_padding(codec: MelCodec) -> None:
    assert codec.downsampling_ratio == 1024
    latents = codec.encode(torch.zeros(2, 1, 1500)).latents
    assert latents.shape == (2, 64, 2)
    assert codec.decode(latents).sample.shape == (2, 1, 2048)


def test_silence_decodes_to_silence(codec: MelCodec) -> None:
    decoded = codec.decode(codec.encode(torch.zeros(1, 1, 8192)).latents).sample
    assert decoded.square().mean().sqrt() < 1e-3


def test_batch_equals_one_at_a_time(codec: MelCodec) -> None:
    batch = torch.stack(notes(4, seed=3))[:, None]
    latents = codec.encode(batch).latents
    decoded = codec.decode(latents).sample
    for row in range(4):
        torch.testing.assert_close(codec.encode(batch[row : row + 1]).latents, latents[row : row + 1])
        # Griffin-Lim amplifies rounding; -60 dB is far under hearing.
        torch.testing.assert_close(
            codec.decode(latents[row : row + 1]).sample, decoded[row : row + 1], atol=1e-3, rtol=0
        )


def test_saved_and_loaded_it_is_the_same(codec: MelCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "config.json"] == [".safetensors"]
    loaded = MelCodec.from_pretrained(tmp_path)
    batch = torch.stack(notes(2))[:, None]
    torch.testing.assert_close(loaded.encode(batch).latents, codec.encode(batch).latents)
