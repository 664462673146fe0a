"""CLAP: audio and text in one space. transformers' `ClapModel`, from a folder or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from synthio import audio
from synthio.audio import Waveform
from synthio.backends import pocket
from synthio.backends.devices import Batches, resolve_device
from synthio.backends.loading import loading
from synthio.chunks import chunks
from synthio.config import ClapConfig
from synthio.errors import ModelError
from synthio.progress import Reporter
from synthio.records import Clip

Embeddings = npt.NDArray[np.float32]
#: Clips in memory: 64 of 10 s at 48 kHz are 120 MB.
HEARD_AT_ONCE = 64


class Clap(Protocol):
    """Embeds audio and text as unit rows, so that a product is a cosine."""

    logit_scale: float
    sample_rate_hz: int
    """At which it hears."""

    def embed_audio(self, waveforms: Sequence[Waveform]) -> Embeddings:
        """``(clips, width)``, unit rows, of clips at ``sample_rate_hz``."""

    def embed_text(self, texts: Sequence[str]) -> Embeddings:
        """``(texts, width)``, unit rows."""


class TransformersClap:
    """A `ClapModel` with its processor's feature extractor and tokenizer."""

    def __init__(self, model: Any, extractor: Any, tokenizer: Any, config: ClapConfig, reporter: Reporter) -> None:
        self._model, self._extractor, self._tokenizer = model, extractor, tokenizer
        self._audio_batches = Batches(config.batch_size, reporter.warn)
        self._text_batches = Batches(config.batch_size, reporter.warn)
        self.sample_rate_hz = int(extractor.sampling_rate)
        self.logit_scale = float(model.logit_scale_a.detach().exp())

    def embed_audio(self, waveforms: Sequence[Waveform]) -> Embeddings:
        """See `Clap.embed_audio`. Clips over the model's window are cut to it, never cropped at random."""
        window = int(self._extractor.nb_max_samples)
        return self._stack(self._audio_batches.apply([waveform[:window] for waveform in waveforms], self._audio_batch))

    def embed_text(self, texts: Sequence[str]) -> Embeddings:
        """See `Clap.embed_text`."""
        return self._stack(self._text_batches.apply(texts, self._text_batch))

    def _stack(self, rows: list[Embeddings]) -> Embeddings:
        return np.stack(rows) if rows else np.zeros((0, int(self._model.config.projection_dim)), np.float32)

    @torch.no_grad()
    def _audio_batch(self, waveforms: Sequence[Waveform]) -> Sequence[Embeddings]:
        features = self._extractor(list(waveforms), sampling_rate=self._extractor.sampling_rate, return_tensors="pt")
        inputs = features["input_features"].to(self._model.device, self._model.dtype)
        # The extractor marks a random clip as longer for fusion models; no clip here is longer than the window.
        is_longer = torch.zeros(len(waveforms), 1, dtype=torch.bool, device=self._model.device)
        return list(_unit_rows(self._model.get_audio_features(inputs, is_longer=is_longer)))

    @torch.no_grad()
    def _text_batch(self, texts: Sequence[str]) -> Sequence[Embeddings]:
        inputs = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self._model.device)
        return list(_unit_rows(self._model.get_text_features(inputs.input_ids, attention_mask=inputs.attention_mask)))


def _unit_rows(output: Any) -> Embeddings:
    """Normalised rows of what `ClapModel` returns."""
    normalised = torch.nn.functional.normalize(output.pooler_output.float(), dim=-1)
    return np.asarray(normalised.cpu().numpy(), dtype=np.float32)


def embed_clips(clap: Clap, clips: Sequence[Clip], limit_s: float) -> Embeddings:
    """Rows ``(clips, width)`` of the first ``limit_s`` seconds of each clip, some of which are in memory at a time."""
    rows = []
    for part in chunks(clips, HEARD_AT_ONCE):
        heard = [audio.load_start(Path(clip.path), limit_s, clap.sample_rate_hz) for clip in part]
        rows.append(clap.embed_audio(heard))
    return np.concatenate(rows)


def load_clap(config: ClapConfig, reporter: Reporter) -> Clap:
    """Load `pocket`, a local folder or a hub id.

    Raises: `ModelError` when it cannot be loaded, lacks weights or is not a CLAP; `ConfigError` for a missing device.
    """
    from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer, ClapModel

    device = resolve_device(config.device)
    source = str(pocket.clap_folder()) if config.model == "pocket" else config.model
    with loading("clap", source, otherwise="use clap.model=pocket"):
        kind = AutoConfig.from_pretrained(source, revision=config.revision, trust_remote_code=False).model_type
        if kind != "clap":
            raise ModelError(
                f"clap.model {source!r} is a {kind!r} model; expected `clap`, such as laion/clap-htsat-unfused"
            )
        model, report = ClapModel.from_pretrained(
            source, revision=config.revision, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        extractor = AutoFeatureExtractor.from_pretrained(source, revision=config.revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=config.revision, trust_remote_code=False)
        model = model.to(device).eval()
    # Buffers, as the numbers of positions, are no weights: checkpoints of other versions of transformers lack some.
    if missing := sorted(report["missing_keys"] & {name for name, _ in model.named_parameters()}):
        raise ModelError(
            f"clap.model {source!r}: {len(missing)} of the network's weights are missing, for example {missing[0]}; "
            "expected those of both towers"
        )
    return TransformersClap(model, extractor, tokenizer, config, reporter)
