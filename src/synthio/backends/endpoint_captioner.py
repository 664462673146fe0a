"""Captions from an audio language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synthio import audio
from synthio.audio import Waveform
from synthio.backends.captioner import instruction, read_caption
from synthio.backends.endpoint import ChatCall, ChatEndpoint
from synthio.backends.llm import Keep, Reply, ReplyCache
from synthio.calls import Answer, Count, forget
from synthio.config import EndpointConfig
from synthio.progress import Reporter

_TEMPERATURE = 0.0


class EndpointCaptioner:
    """An audio language model behind an OpenAI-compatible endpoint; the clip travels as base64 WAV."""

    sample_rate_hz = 16_000

    def __init__(self, config: EndpointConfig, reporter: Reporter, cache_folder: Path) -> None:
        """``cache_folder``: where answers are kept, as they cost money.

        Raises: `ConfigError` when a remote endpoint's key is not in the environment.
        """
        self._max_tokens = config.max_tokens
        silence = np.zeros(self.sample_rate_hz, np.float32)
        probe = _audio_call(silence, self.sample_rate_hz, ("silence",), self._max_tokens)
        self._endpoint = ChatEndpoint(config, reporter, probe)
        self._name = config.asked
        self._cache = ReplyCache(cache_folder, config.max_tokens)
        self.clips_per_call = 4 * config.concurrency

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """Concurrent and bounded. Raises: `BackendError` for a wrong key or model, or an outage."""
        calls = [
            _audio_call(waveform, self.sample_rate_hz, own, self._max_tokens)
            for waveform, own in zip(waveforms, labels, strict=True)
        ]
        return [_checked(answer, own) for answer, own in zip(self._answers(calls, count), labels, strict=True)]

    def _answers(self, calls: Sequence[ChatCall], count: Count) -> Sequence[Reply]:
        def ask(numbers: Sequence[int], store: Keep) -> Sequence[Reply]:
            return self._endpoint.chat([calls[number] for number in numbers], store)

        # How long an answer may be changes none that was not cut.
        return self._cache.complete([[*self._name, call.content, _TEMPERATURE] for call in calls], ask, count)


def _checked(answer: Reply, labels: tuple[str, ...]) -> Reply:
    """A sentence that was cut is no caption either."""
    if failed := answer.failed or answer.cut:
        return replace(answer, text=None, failed=failed)
    caption = read_caption(answer.text or "", labels)
    return replace(answer, text=caption.text, failed=caption.failed)


def _audio_call(waveform: Waveform, sample_rate_hz: int, labels: tuple[str, ...], max_tokens: int) -> ChatCall:
    wav = audio.encoded(audio.peak_normalise(waveform), sample_rate_hz, "WAV")
    encoded = base64.b64encode(wav).decode("ascii")
    content: list[dict[str, Any]] = [
        {"type": "text", "text": instruction(labels)},
        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
    ]
    return ChatCall(content, {"temperature": _TEMPERATURE, "max_tokens": max_tokens})
