"""Features of every corpus clip and of copies of it, computed once and kept in half precision.

Copies are varied (see `variation`); with an autoencoder, every third clip's last copy goes through it instead, because
what the models will hear is half generated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from synthio import audio
from synthio.backends.mel_codec import MelCodec
from synthio.checkpoint import cached_tensors
from synthio.errors import ConfigError
from synthio.pretrain.corpus import CorpusClip
from synthio.seeds import numpy_generator
from synthio.store import fingerprint
from synthio.variation import varied_copies

Extract = Callable[[audio.Waveform], torch.Tensor]
"""One clip ``(samples,)`` to features ``(frames, mels)``."""

_DECODED_EVERY = 3


class HeardClips:
    """The clips of a corpus and ``variations`` copies of each, cut to ``window_samples``."""

    def __init__(
        self,
        corpus: Path,
        clips: Sequence[CorpusClip],
        sample_rate_hz: int,
        window_samples: int,
        variations: int,
        autoencoder: Path | None,
    ) -> None:
        self._paths, self._rate_hz = [corpus / clip.file_name for clip in clips], sample_rate_hz
        self._window, self._variations = window_samples, variations
        self._codec = None if autoencoder is None or variations == 0 else load_codec(autoencoder, sample_rate_hz)
        codec = None if self._codec is None else codec_digest(self._codec)
        self.digest = fingerprint([corpus_digest(corpus, clips), codec, window_samples, variations])

    def features(self, extract: Extract, cache: Path, depends: str) -> torch.Tensor:
        """``(clips, 1 + variations, frames, mels)`` in half precision; copy 0 is the clip itself.

        ``depends``: what ``extract`` depends on, for the cache's key.
        """

        def make() -> dict[str, torch.Tensor]:
            rows = [
                torch.stack([extract(copy) for copy in self._copies(index)]).half() for index in range(len(self._paths))
            ]
            return {"features": torch.stack(rows)}

        return cached_tensors(cache, f"features-{fingerprint([self.digest, depends])}", make)["features"]

    def _copies(self, index: int) -> list[audio.Waveform]:
        samples = audio.load(self._paths[index], self._rate_hz)[: self._window]
        generator = numpy_generator(0, "variation", index)
        varied = varied_copies(samples, self._rate_hz, self._variations, generator)
        if self._codec is not None and index % _DECODED_EVERY == 0:
            varied[-1] = through(self._codec, samples)
        return [samples, *varied]


def load_codec(folder: Path, sample_rate_hz: int) -> MelCodec:
    """The autoencoder that `synthio pretrain autoencoder` left in ``folder``, for a corpus of this rate.

    Raises: `ConfigError` when there is none, or one of another rate.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError):
        kind = None
    if kind != MelCodec.__name__:
        raise ConfigError(
            f"autoencoder={folder}: holds no autoencoder; expected the model folder that `synthio pretrain "
            "autoencoder` leaves, or the vae folder of a generator made with it"
        )
    codec: MelCodec = MelCodec.from_pretrained(folder, local_files_only=True)
    if codec.config.sampling_rate != sample_rate_hz:
        raise ConfigError(
            f"autoencoder={folder}: is of {codec.config.sampling_rate} Hz, and the corpus of {sample_rate_hz} Hz; "
            "expected the same: set corpus.sample_rate_hz, or make an autoencoder of this corpus"
        )
    return codec


def corpus_digest(corpus: Path, clips: Sequence[CorpusClip]) -> str:
    """Of the table and of the sizes of its files, for cache keys."""
    sizes = [(corpus / clip.file_name).stat().st_size for clip in clips]
    return hashlib.sha256((corpus / "metadata.jsonl").read_bytes() + repr(sizes).encode()).hexdigest()


def codec_digest(codec: MelCodec) -> str:
    """Of an autoencoder's weights and settings, for cache keys."""
    digest = hashlib.sha256(repr(sorted((k, v) for k, v in codec.config.items() if k[0] != "_")).encode())
    for parameter in codec.parameters():
        digest.update(parameter.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def through(codec: MelCodec, samples: audio.Waveform) -> audio.Waveform:
    """A clip as the codec gives it back, ``(samples,)``."""
    decoded = codec.decode(codec.encode(torch.from_numpy(samples)[None, None]).latents).sample[0, 0]
    return np.asarray(decoded[: samples.shape[0]].numpy(), dtype=np.float32)
