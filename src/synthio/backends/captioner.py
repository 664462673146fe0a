"""Captioners: one sentence per labelled clip (METHOD section 3.1)."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from synthio import audio
from synthio.audio import Waveform
from synthio.backends.endpoint import ChatCall, ChatEndpoint
from synthio.backends.questions import lines, quote, template
from synthio.config import CaptionConfig, EndpointConfig
from synthio.errors import ConfigError, ModelError
from synthio.records import label_template
from synthio.wording import article, clean, joined, mentions

if TYPE_CHECKING:
    from synthio.backends.clap import Clap


@dataclass(frozen=True)
class Captioned:
    """A sentence, or why there is none."""

    text: str | None
    failed: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Captioner(Protocol):
    """Writes one sentence per clip."""

    sample_rate_hz: int
    """The rate that it wants clips at."""
    clips_per_call: int
    """How many clips keep it busy; callers save their results between calls."""

    def caption(
        self, waveforms: Sequence[Waveform], sample_rate_hz: int, labels: Sequence[tuple[str, ...]]
    ) -> list[Captioned]:
        """One result per clip, in order. Raises: `BackendError` when no clip can ever succeed."""
        ...


class TemplateCaptioner:
    """The label template and nothing else."""

    sample_rate_hz = 16_000
    clips_per_call = 256

    def caption(
        self, waveforms: Sequence[Waveform], sample_rate_hz: int, labels: Sequence[tuple[str, ...]]
    ) -> list[Captioned]:
        """``Sound of a {label}`` for each clip."""
        return [Captioned(label_template(each)) for each in labels]


class ClapTagger:
    """Tags a clip by CLAP similarity over a fixed vocabulary, and writes the tags as a sentence with the label.

    Every second tag may be a background, where one is heard: "a flute with a bright tone and rain in the background";
    "a flute with a bright tone and vibrato" where none is. Most small datasets are clean, and a context that is not
    there spoils all captions that are mixed from it.
    """

    clips_per_call = 64

    def __init__(self, clap: Clap, tags_per_clip: int) -> None:
        self.sample_rate_hz = clap.sample_rate_hz
        self._clap, self._tags_per_clip = clap, tags_per_clip
        self._qualities, self._backgrounds = _vocabulary()
        self._quality_rows = _centred(clap.embed_text([f"a sound with {tag}" for tag in self._qualities]))
        self._sentence_rows: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}

    def caption(
        self, waveforms: Sequence[Waveform], sample_rate_hz: int, labels: Sequence[tuple[str, ...]]
    ) -> list[Captioned]:
        """One sentence per clip; never fails."""
        if not waveforms:
            return []
        clips = self._clap.embed_audio(waveforms, sample_rate_hz)
        quality_scores = clips @ self._quality_rows.T
        sentences = []
        for row, own in enumerate(labels):
            scores = self._background_scores(clips[row], own)
            heard = [tag for tag, score in zip(self._backgrounds, scores, strict=True) if score > 0]
            backgrounds = _best(heard, scores[scores > 0], own, self._tags_per_clip // 2)
            count = self._tags_per_clip - len(backgrounds)
            qualities = _best(self._qualities, quality_scores[row], own, count)
            sentences.append(Captioned(_sentence(own, qualities, backgrounds)))
        return sentences

    def _background_scores(self, clip: npt.NDArray[np.float32], labels: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """Log odds of each background against none, ``(backgrounds,)``, when one clip in two has one and all are
        equally frequent: CLAP's scaled cosines are logits, so ``scale (cos(with) - cos(without)) - log(backgrounds)``.
        """
        if labels not in self._sentence_rows:
            sentences = [_sentence(labels, (), [tag]) for tag in self._backgrounds]
            self._sentence_rows[labels] = self._clap.embed_text([label_template(labels), *sentences])
        cosines = self._sentence_rows[labels] @ clip
        leads = self._clap.logit_scale * (cosines[1:] - cosines[0])
        return np.asarray(leads - np.log(len(self._backgrounds)), dtype=np.float32)


class EndpointCaptioner:
    """An audio language model behind an OpenAI-compatible endpoint; the clip travels as base64 WAV."""

    sample_rate_hz = 16_000

    def __init__(self, config: EndpointConfig) -> None:
        """Raises: `ConfigError` when a remote endpoint's key is not in the environment."""
        self._endpoint = ChatEndpoint(config)
        self.clips_per_call = 4 * config.concurrency

    def caption(
        self, waveforms: Sequence[Waveform], sample_rate_hz: int, labels: Sequence[tuple[str, ...]]
    ) -> list[Captioned]:
        """Concurrent and bounded. Raises: `BackendError` for a wrong key or model, or when nothing can be reached."""
        calls = [_audio_call(w, sample_rate_hz, each) for w, each in zip(waveforms, labels, strict=True)]
        return [
            Captioned(clean(a.text or "") or None, a.failed, a.input_tokens, a.output_tokens, a.cost)
            for a in self._endpoint.chat(calls)
        ]


def load_captioner(config: CaptionConfig, clap: Clap | None) -> Captioner:
    """The captioner of a recipe; ``clap`` is needed for ``kind: clap`` only.

    Raises: `ModelError` for a model that cannot be loaded or hears no audio, `ConfigError` for a missing key, device
    or CLAP.
    """
    if config.kind == "template":
        return TemplateCaptioner()
    if config.kind == "endpoint":
        return EndpointCaptioner(config.endpoint)
    if config.kind == "clap":
        if clap is None:
            raise ConfigError("caption.kind clap needs a CLAP model; load one first, or set caption.kind=template")
        return ClapTagger(clap, config.tags_per_clip)
    if config.model == "pocket":
        raise ModelError(
            "caption.model is `pocket`, but there is no pocket audio language model: set caption.model to a folder or "
            "hub id, such as Qwen/Qwen2-Audio-7B-Instruct, or caption.kind=clap"
        )
    from synthio.backends.audio_llm import TransformersCaptioner

    return TransformersCaptioner(config.model, config.device, config.batch_size)


def instruction(labels: tuple[str, ...]) -> str:
    """What an audio language model is asked."""
    return template("caption").substitute(label=quote(joined(labels)))


def _audio_call(waveform: Waveform, sample_rate_hz: int, labels: tuple[str, ...]) -> ChatCall:
    import soundfile as sf

    wav = io.BytesIO()
    sf.write(wav, np.clip(audio.peak_normalise(waveform), -1, 1), sample_rate_hz, format="WAV", subtype="PCM_16")
    encoded = base64.b64encode(wav.getvalue()).decode("ascii")
    content: list[dict[str, Any]] = [
        {"type": "text", "text": instruction(labels)},
        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
    ]
    return ChatCall(content, {"temperature": 0.0, "max_tokens": 1024})


def _vocabulary() -> tuple[list[str], list[str]]:
    """Qualities and backgrounds of ``prompts/tags.txt``."""
    entries = list(lines("tags"))
    split = entries.index("[backgrounds]")
    return entries[1:split], entries[split + 1 :]


def _centred(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit rows less their mean: what all tags share would rank the same few tags first for every clip."""
    centred = rows - rows.mean(axis=0, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norms, 1e-6), dtype=np.float32)


def _best(tags: Sequence[str], scores: npt.NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[str]:
    """The highest ``count`` tags that do not name a label."""
    order = np.argsort(-scores, kind="stable")
    allowed = (tags[i] for i in order if not any(mentions(label, tags[i]) for label in labels))
    return [tag for tag, _ in zip(allowed, range(count), strict=False)]


def _sentence(labels: tuple[str, ...], qualities: Sequence[str], backgrounds: Sequence[str]) -> str:
    subject = joined(labels)
    tags = [*qualities, *(f"{tag} in the background" for tag in backgrounds)]
    return f"{article(subject)} {subject}" + (f" with {' and '.join(tags)}" if tags else "")
