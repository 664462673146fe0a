"""What plug-ins answer, checked: they may forget what the built-in backends see to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from synthio.audio import Waveform
from synthio.backends.captioner import Captioner
from synthio.backends.llm import Keep, LanguageModel, Reply, Request
from synthio.calls import Answer, Count, forget
from synthio.errors import BackendError

A = TypeVar("A", bound=Answer)


class CheckedCaptioner:
    """A plug-in's captioner."""

    def __init__(self, inner: Captioner, kind: str) -> None:
        """``kind``: what the recipe calls it."""
        self._inner, self._kind = inner, kind
        self.sample_rate_hz, self.clips_per_call = inner.sample_rate_hz, inner.clips_per_call

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """See `Captioner.caption`. Raises: `BackendError` also for what are no answers to all clips."""
        return _asked(lambda tell: self._inner.caption(waveforms, labels, tell), Answer, len(labels), count, self._kind)


class CheckedLanguageModel:
    """A plug-in's language model."""

    def __init__(self, inner: LanguageModel, kind: str, name: str) -> None:
        """``kind``: what the recipe calls it; ``name``: as `LanguageModel.name`."""
        self._inner, self._kind = inner, kind
        self.name, self.requests_per_call = name, inner.requests_per_call

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """See `LanguageModel.complete`. Raises: `BackendError` also for what are no replies to all requests."""
        return _asked(lambda tell: self._inner.complete(requests, tell), Reply, len(requests), keep, self._kind)


def _asked(
    ask: Callable[[Callable[[Mapping[int, A]], None]], Sequence[A]],
    kind: type[A],
    wanted: int,
    tell: Callable[[Mapping[int, A]], None],
    asked: str,
) -> list[A]:
    """What a plug-in answers; ``tell`` hears of all of it, also where the plug-in told nothing on the way."""
    told: set[int] = set()

    def hear(arrived: Mapping[int, A]) -> None:
        told.update(arrived)
        tell(arrived)

    answers = list(ask(hear))
    if wrong := [type(answer).__name__ for answer in answers if not isinstance(answer, kind)]:
        raise BackendError(f"{asked} answered with a {wrong[0]}; expected a {kind.__name__} each; tell its authors")
    if len(answers) != wanted:
        raise BackendError(f"{asked} gave {len(answers)} answers to {wanted} requests; tell its authors")
    if rest := {number: answer for number, answer in enumerate(answers) if number not in told}:
        tell(rest)
    return answers
