"""Plug-ins, checked: they may forget what the built-in backends see to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from synthio.audio import Waveform
from synthio.backends.captioner import Captioner
from synthio.backends.devices import is_out_of_memory
from synthio.backends.llm import Keep, LanguageModel, Reply, Request, without_thoughts
from synthio.backends.text_to_audio import Alignable, TextToAudio
from synthio.calls import Answer, Count, forget
from synthio.errors import BackendError, ModelError
from synthio.formats import problems_of
from synthio.registry import at_work

A = TypeVar("A", bound=Answer)
F = TypeVar("F", bound="_Facts")
Tell = Callable[[Mapping[int, A]], None]
_SHOWN_CHARACTERS = 100


class _Facts(BaseModel):
    """What a backend says of itself; of the same names as its attributes."""

    model_config = ConfigDict(from_attributes=True, strict=True)


class _OfCaptioner(_Facts):
    sample_rate_hz: PositiveInt
    clips_per_call: PositiveInt


class _OfLanguageModel(_Facts):
    name: Annotated[str, Field(min_length=1)]
    requests_per_call: PositiveInt


class _OfGenerator(_Facts):
    sample_rate_hz: PositiveInt
    longest_s: PositiveFloat


class CheckedCaptioner:
    """A plug-in's captioner."""

    def __init__(self, inner: Captioner, plugin: str) -> None:
        """``plugin``: what messages call it. Raises: `BackendError` for what is no captioner."""
        self._inner, self._plugin = inner, plugin
        facts = _facts(inner, _OfCaptioner, plugin)
        self.sample_rate_hz, self.clips_per_call = facts.sample_rate_hz, facts.clips_per_call

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """See `Captioner.caption`. Raises: `BackendError` also for what are no answers to all clips."""
        return _asked(
            lambda tell: self._inner.caption(waveforms, labels, tell), Answer, len(labels), count, self._plugin
        )


class CheckedLanguageModel:
    """A plug-in's language model. What it thinks before it answers is no answer."""

    def __init__(self, inner: LanguageModel, plugin: str, asked: str) -> None:
        """``plugin``: what messages call it; ``asked``: what its replies depend on, beside its name and the requests.

        Raises: `BackendError` for what is no language model.
        """
        self._inner, self._plugin = inner, plugin
        facts = _facts(inner, _OfLanguageModel, plugin)
        self.name, self.requests_per_call = f"{facts.name} {asked}", facts.requests_per_call

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """See `LanguageModel.complete`. Raises: `BackendError` also for what are no replies to all requests."""

        def tell(arrived: Mapping[int, Reply]) -> None:
            keep({number: _said(reply) for number, reply in arrived.items()})

        replies = _asked(lambda hear: self._inner.complete(requests, hear), Reply, len(requests), tell, self._plugin)
        return [_said(reply) for reply in replies]


class CheckedTextToAudio:
    """A plug-in's generator; an `Alignable` where that is one."""

    def __init__(self, inner: TextToAudio, plugin: str) -> None:
        """``plugin``: what messages call it. Raises: `BackendError` for what is no generator."""
        self._inner, self._plugin = inner, plugin
        facts = _facts(inner, _OfGenerator, plugin)
        self.sample_rate_hz, self.longest_s = facts.sample_rate_hz, facts.longest_s
        if isinstance(inner, Alignable):
            # `isinstance` looks at what an instance has.
            self.device = inner.device
            at_plugin = partial(at_work, plugin, BackendError, is_out_of_memory)
            for name in (name for name in vars(Alignable) if not name.startswith("_")):
                setattr(self, name, at_plugin()(getattr(inner, name)))

    def __str__(self) -> str:
        return self._plugin

    def generate(self, prompts: Sequence[str], duration_s: float, seeds: Sequence[int]) -> list[Waveform]:
        """See `TextToAudio.generate`; `generate_each` checks the clips.

        Raises: `ModelError` for what else the plug-in raises, which would cost each clip alone too.
        """
        # When memory runs out, a smaller batch is tried.
        with at_work(self._plugin, ModelError, is_out_of_memory):
            return list(self._inner.generate(prompts, duration_s, seeds))


def _facts(inner: object, kind: type[F], plugin: str) -> F:
    try:
        with at_work(plugin, BackendError, lambda error: isinstance(error, ValidationError)):
            return kind.model_validate(inner)
    except ValidationError as error:
        problems = "; ".join(problems_of(error))
        raise BackendError(f"{plugin} loads a {type(inner).__name__} with {problems}; tell its authors") from None


def _asked(ask: Callable[[Tell[A]], Sequence[A]], kind: type[A], wanted: int, tell: Tell[A], plugin: str) -> list[A]:
    """What a plug-in answers; ``tell`` hears of all of it, also where the plug-in told nothing on the way."""
    told: set[int] = set()

    def hear(arrived: Mapping[int, A]) -> None:
        _check_form(arrived.values(), kind, plugin)
        told.update(arrived)
        tell(arrived)

    with at_work(plugin, BackendError):
        answers = list(ask(hear))
    _check_form(answers, kind, plugin)
    if len(answers) != wanted:
        raise BackendError(f"{plugin} gave {len(answers)} answers to {wanted} requests; tell its authors")
    if rest := {number: answer for number, answer in enumerate(answers) if number not in told}:
        tell(rest)
    return answers


def _check_form(answers: Iterable[object], kind: type[Answer], plugin: str) -> None:
    for answer in answers:
        if isinstance(answer, kind) and isinstance(answer.text, str | None):
            continue
        raise BackendError(
            f"{plugin} answered with {repr(answer)[:_SHOWN_CHARACTERS]}; expected {kind.__name__} whose text is a str "
            "or None; tell its authors"
        )


def _said(reply: Reply) -> Reply:
    return reply if reply.text is None else replace(reply, text=without_thoughts(reply.text))
