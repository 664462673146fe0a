"""Features of every corpus clip and of copies of it, computed once and kept in half precision.

Copies are varied (see `variation`); with an autoencoder, every third clip's last copy goes through it instead, because
what the models will hear is half generated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from synthio import audio
from synthio.backends.mel_codec import MelCodec
from synthio.checkpoint import cached_tensors
from synthio.pretrain.corpus import CorpusClip
from synthio.pretrain.variation import draw_variation, vary
from synthio.seeds import numpy_generator
from synthio.store import fingerprint

Extract = Callable[[audio.Waveform], torch.Tensor]
"""One clip ``(samples,)`` to features ``(frames, mels)``."""

_DECODED_EVERY = 3


def corpus_features(
    corpus: Path,
    clips: Sequence[CorpusClip],
    sample_rate_hz: int,
    window_samples: int,
    extract: Extract,
    variations: int,
    autoencoder: Path | None,
    cache: Path,
    depends: object,
) -> torch.Tensor:
    """``(clips, 1 + variations, frames, mels)`` in half precision; copy 0 is the clip itself.

    Clips are cut to ``window_samples`` first. ``depends``: what ``extract`` depends on, for the cache's key.
    """
    codec = None if autoencoder is None or variations == 0 else MelCodec.from_pretrained(autoencoder)

    def make() -> dict[str, torch.Tensor]:
        rows = []
        for index, clip in enumerate(clips):
            samples = audio.load(corpus / clip.file_name, sample_rate_hz)[:window_samples]
            generator = numpy_generator(0, "variation", index)
            heard = [samples, *(vary(samples, sample_rate_hz, draw_variation(generator)) for _ in range(variations))]
            if codec is not None and index % _DECODED_EVERY == 0:
                heard[-1] = through(codec, samples)
            rows.append(torch.stack([extract(copy) for copy in heard]).half())
        return {"features": torch.stack(rows)}

    listed = hashlib.sha256((corpus / "metadata.jsonl").read_bytes()).hexdigest()
    key = fingerprint([listed, window_samples, variations, str(autoencoder), depends])
    return cached_tensors(cache, f"features-{key}", make)["features"]


@torch.no_grad()
def through(codec: MelCodec, samples: audio.Waveform) -> audio.Waveform:
    """A clip as the codec gives it back, ``(samples,)``."""
    decoded = codec.decode(codec.encode(torch.from_numpy(samples)[None, None]).latents).sample[0, 0]
    return np.asarray(decoded[: samples.shape[0]].numpy(), dtype=np.float32)
