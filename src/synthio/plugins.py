"""What the authors of plug-ins import, and a check of their work (docs/plugins.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from synthio.audio import Waveform, is_silent
from synthio.backends.captioner import Captioner
from synthio.backends.choices import (
    AnySection,
    CaptionerBackend,
    LanguageModelBackend,
    Resources,
    TextToAudioBackend,
    allowance_of,
    backend_of,
    load_captioner,
    load_text_to_audio,
    load_uncached,
)
from synthio.backends.devices import resolve_device
from synthio.backends.llm import Keep, LanguageModel, Reply, Request
from synthio.backends.questions import AnswerSchema, parse
from synthio.backends.text_to_audio import Alignable, Conditioning, TextToAudio, generate_each
from synthio.calls import Answer, Count, forget
from synthio.config import CaptionConfig, ClapConfig, DataConfig, ImagineConfig, T2AConfig
from synthio.datasets import Reader, ReaderBackend, Row, read_rows
from synthio.errors import BackendError, ConfigError, DataError, MissingDependency, ModelError
from synthio.progress import Reporter
from synthio.wording import AnswerError

__all__ = [
    "Alignable",
    "Answer",
    "BackendError",
    "CaptionConfig",
    "Captioner",
    "CaptionerBackend",
    "Conditioning",
    "ConfigError",
    "Count",
    "DataConfig",
    "DataError",
    "ImagineConfig",
    "Keep",
    "LanguageModel",
    "LanguageModelBackend",
    "MissingDependency",
    "ModelError",
    "Reader",
    "ReaderBackend",
    "Reply",
    "Reporter",
    "Request",
    "Resources",
    "Row",
    "T2AConfig",
    "TextToAudio",
    "TextToAudioBackend",
    "Waveform",
    "check_backend",
    "forget",
    "resolve_device",
]

T = TypeVar("T")

#: Of what is generated and captioned in a check.
_DURATION_S = 1.0
#: Cosine of two clips that count as the same; pocket clips of batches of other sizes reach 0.999999.
_ALIKE = 0.99
_LABELS = (("dog",), ("rain", "wind"), ("dog",))


def check_backend(section: AnySection | DataConfig) -> None:
    """Load the backend that a section names, as a run does, and hold it to what a run relies on: an answer of the right
    form to every question, the same whatever is asked beside it, and in whatever order; and of a reader, rows of files.

    For a test of your plug-in: ``check_backend(CaptionConfig(kind="mine", options={"words": 5}))``.

    Raises: `AssertionError` with what was found; `TypeError` for another section; and what loading the backend raises.
    """
    from synthio.backends.clap import load_clap

    reporter = Reporter()
    with tempfile.TemporaryDirectory() as folder:
        resources = Resources(reporter, Path(folder), lambda: load_clap(ClapConfig(), reporter))
        match section:
            case CaptionConfig():
                _check_captioner(load_captioner(section, resources))
            case ImagineConfig():
                allowance_of(section)
                _check_language_model(load_uncached(section, resources))
            case T2AConfig():
                generator = load_text_to_audio(section, resources)
                assert isinstance(generator, Alignable) or not backend_of(section).alignable, "it is no Alignable"
                _check_text_to_audio(generator)
            case DataConfig():
                rows = read_rows(section)
                assert rows == read_rows(section), "it reads other rows the second time"
                assert any(row.path.is_file() for row in rows), "none of the files is there"
            case _:
                raise TypeError(
                    f"{type(section).__name__}: expected CaptionConfig, ImagineConfig, T2AConfig, DataConfig"
                )


def _check_captioner(captioner: Captioner) -> None:
    random = np.random.default_rng(0)
    length = round(_DURATION_S * captioner.sample_rate_hz)
    clips = [0.1 * random.standard_normal(length).astype(np.float32) for _ in _LABELS]

    def caption(numbers: Sequence[int]) -> list[Answer]:
        return captioner.caption([clips[i] for i in numbers], [_LABELS[i] for i in numbers])

    answers = _same_however_asked(caption, lambda one, other: one.text == other.text)
    assert all(answer.text or answer.failed for answer in answers), "an answer has neither text nor a reason"
    assert any(answer.text for answer in answers), f"it failed every clip: {answers[0].failed}"


class _CaptionAnswer(AnswerSchema):
    caption: str


def _check_language_model(model: LanguageModel) -> None:
    requests = [
        Request(
            instruction=f'Describe the sound of {label} as JSON: {{"caption": "..."}}',
            completion=f'Sound: cat\nJSON: {{"caption": "a cat meows"}}\n\nSound: {label}\nJSON: ',
            answer_start='{"caption": "',
            schema=_CaptionAnswer.model_json_schema(),
            temperature=0.7,
            max_new_tokens=24,
            seed=seed,
        )
        for seed, label in enumerate(("a dog", "rain on a window", "a slow train"))
    ]

    def complete(numbers: Sequence[int]) -> list[Reply]:
        return model.complete([requests[i] for i in numbers])

    replies = _same_however_asked(complete, lambda one, other: one.text == other.text)
    assert all(reply.text or reply.failed for reply in replies), "a reply has neither text nor a reason"
    # One that is cut says so itself.
    wrong = [why for reply in replies if not reply.cut and (why := _why_no_answer(reply))]
    assert len(wrong) < len(replies), f"no reply is an answer: {wrong[0]}"


def _why_no_answer(reply: Reply) -> str | None:
    try:
        parse(reply.text or "", _CaptionAnswer)
    except AnswerError as error:
        return reply.failed or f"{error}; found {reply.text!r}"
    return None


def _check_text_to_audio(generator: TextToAudio) -> None:
    prompts, seeds = ("Sound of a dog", "Sound of a dog", "rain on a window"), (0, 1, 2)
    duration_s = min(_DURATION_S, generator.longest_s)

    def generate(numbers: Sequence[int]) -> list[Waveform | str]:
        clips = generate_each(generator, [prompts[i] for i in numbers], duration_s, [seeds[i] for i in numbers])
        assert not any(is_silent(clip) for clip in clips if not isinstance(clip, str)), "a clip is silent"
        return clips

    clips = _same_however_asked(generate, _sound_alike)
    refused = [clip for clip in clips if isinstance(clip, str)]
    assert not refused, f"it refused plain prompts: {refused[0]}"
    assert not np.array_equal(clips[0], clips[1]), "two seeds gave the same clip"
    if np.isfinite(generator.longest_s):
        try:
            generator.generate(prompts[:1], generator.longest_s + 1, seeds[:1])
        except BackendError:
            return
        raise AssertionError(f"it made a clip longer than longest_s, {generator.longest_s:g} s")


def _sound_alike(one: Waveform | str, other: Waveform | str) -> bool:
    """Up to rounding, which another size of batch changes, and a phase reconstruction enlarges."""
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    return float(one @ other) > _ALIKE * float(np.linalg.norm(one) * np.linalg.norm(other))


def _same_however_asked(ask: Callable[[Sequence[int]], list[T]], same: Callable[[T, T], bool]) -> list[T]:
    """The answers to three questions, which must not depend on what is asked beside them."""
    together = ask([0, 1, 2])
    alone = [ask([number])[0] for number in (2, 1, 0)]
    differing = [number for number, one in enumerate(reversed(alone)) if not same(one, together[number])]
    assert not differing, f"question {differing[0]} is answered otherwise alone than in a batch of three"
    return together
