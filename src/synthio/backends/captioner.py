"""Captioners: one sentence per labelled clip (arXiv 2410.02056). The protocol, and the one that needs no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from synthio.audio import Waveform
from synthio.backends.llm import without_thoughts
from synthio.backends.questions import quote, template
from synthio.calls import Answer, Count, forget
from synthio.wording import clean, joined, key, label_template, mentions

_SHOWN_CHARACTERS = 100
#: How a model begins that will not, or cannot, describe a clip.
_REFUSAL = re.compile(r"(i'm sorry|i am sorry|sorry|i can't|i cannot|i'm unable|i am unable|unfortunately|as an ai)\b")


class Captioner(Protocol):
    """Writes one sentence per clip."""

    sample_rate_hz: int
    """The rate that it wants clips at."""
    clips_per_call: int
    """How many clips keep it busy; callers save their results between calls."""

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """One result per clip, in order; ``count`` has had each that was made now.

        Raises: `BackendError` when no clip can ever succeed, or a server is down.
        """
        ...


class TemplateCaptioner:
    """The label template and nothing else."""

    sample_rate_hz = 16_000
    clips_per_call = 256

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """``Sound of a {label}`` for each clip."""
        answers = [Answer(label_template(each)) for each in labels]
        count(dict(enumerate(answers)))
        return answers


def instruction(labels: tuple[str, ...]) -> str:
    """What an audio language model is asked."""
    return template("caption").substitute(label=quote(joined(labels)))


def read_caption(text: str, labels: tuple[str, ...]) -> Answer:
    """What an audio language model wrote, or the failure that it is no caption: a refusal, or a sentence that names no
    label, as it was told to."""
    caption = clean(without_thoughts(text))
    if not caption:
        return Answer(None, "the model wrote nothing")
    if _REFUSAL.match(key(caption)):
        return Answer(None, f"it is a refusal: {caption[:_SHOWN_CHARACTERS]}")
    if not any(mentions(label, caption) for label in labels):
        return Answer(None, f"it names no label: {caption[:_SHOWN_CHARACTERS]}")
    return Answer(caption)
