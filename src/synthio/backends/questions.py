"""Asking a language model for JSON: prompt templates, quoting of untrusted text, validation, and bounded retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import Generic, TypeVar

from pydantic import ValidationError

from synthio.backends.llm import Keep, LanguageModel, Reply, Request, json_object
from synthio.calls import forget
from synthio.formats import problems_of
from synthio.frozen import Frozen
from synthio.wording import AnswerError

A = TypeVar("A")
M = TypeVar("M", bound="AnswerSchema")


class AnswerSchema(Frozen):
    """Base of what a model is asked to answer: unknown fields are errors, no field has a default (strict schemas)."""


def quote(text: str) -> str:
    """Untrusted text as a JSON string: it cannot break out by quotes, braces or newlines.

    ``<`` and ``[`` are escaped as well, since chat models' control tokens (``<end_of_turn>``, ``[INST]``) begin so.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(valid, ensure_ascii=False).replace("<", "\\u003c").replace("[", "\\u005b")


def quote_all(texts: Sequence[str]) -> str:
    """Untrusted texts as a JSON list of strings."""
    return f"[{', '.join(map(quote, texts))}]"


@lru_cache(maxsize=32)
def template(name: str) -> Template:
    """The prompt ``prompts/<name>.txt`` of the package."""
    return Template(files("synthio").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8").strip())


@lru_cache(maxsize=8)
def lines(name: str) -> tuple[str, ...]:
    """The lines of ``prompts/<name>.txt`` that are neither empty nor comments."""
    stripped = (line.strip() for line in template(name).template.splitlines())
    return tuple(line for line in stripped if line and not line.startswith("#"))


@dataclass(frozen=True)
class RequestOptions:
    """What a request carries beside its prompt."""

    temperature: float
    max_new_tokens: int
    seed: int


def make_request(
    name: str, kind: type[AnswerSchema], values: Mapping[str, str], refusal: str | None, options: RequestOptions
) -> Request:
    """Fill ``prompts/<name>.txt`` and ``prompts/<name>.fewshot.txt`` with values that are already quoted.

    After a refused answer a chat model is told why. A base model would not understand: it only gets the next seed.
    """
    told = f"\n\nYour last answer was refused because: {quote(refusal)}\nAnswer again." if refusal else ""
    # The last line of the few-shot file is where the answer begins.
    question, _, start = template(f"{name}.fewshot").template.rpartition("\n")
    return Request(
        instruction=template(name).substitute(values) + told,
        completion=Template(question).substitute(values) + "\n",
        answer_start=Template(start).substitute(values),
        schema=kind.model_json_schema(),
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
    )


def parse(text: str, kind: type[M]) -> M:
    """The first JSON object in ``text`` as ``kind``. Raises: `AnswerError` saying what is wrong with it."""
    value = json_object(text)
    if value is None:
        raise AnswerError(f"expected one JSON object with the keys {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise AnswerError("; ".join(problems_of(error))) from error


@dataclass(frozen=True)
class Question(Generic[A]):
    """One thing to find out."""

    request: Callable[[int, str | None], Request]
    """(number of the try, why the last answer was refused) -> the request."""
    accept: Callable[[str], A]
    """The answer's text -> the answer. Raises: `AnswerError`."""


@dataclass(frozen=True)
class Outcome(Generic[A]):
    """The answer, or why there is none after every try."""

    answer: A | None
    tries: int
    failed: str | None


def ask(questions: Sequence[Question[A]], llm: LanguageModel, max_tries: int, keep: Keep = forget) -> list[Outcome[A]]:
    """Ask all, then again those whose answer was refused, at most ``max_tries`` times.

    What a server never answers is not asked again.
    Returns: outcomes in order; ``keep`` has had every reply, as it came (for the count of tokens).
    """
    outcomes: list[Outcome[A]] = [Outcome(None, 0, "not asked")] * len(questions)
    refusals: dict[int, str | None] = dict.fromkeys(range(len(questions)))
    for attempt in range(1, max_tries + 1):
        if not refusals:
            break
        replies = llm.complete([questions[i].request(attempt, why) for i, why in refusals.items()], keep)
        for index, reply in zip(list(refusals), replies, strict=True):
            outcomes[index] = _outcome(questions[index], reply, attempt)
            # Where nothing came back there is no answer to speak of.
            refusals[index] = None if reply.text is None else outcomes[index].failed
            if outcomes[index].failed is None or reply.lost:
                del refusals[index]
    return outcomes


def _outcome(question: Question[A], reply: Reply, attempt: int) -> Outcome[A]:
    if reply.text is None:
        return Outcome(None, attempt, reply.failed or "no answer")
    try:
        return Outcome(question.accept(reply.text), attempt, None)
    except AnswerError as refused:
        return Outcome(None, attempt, f"{refused} ({reply.cut})" if reply.cut else str(refused))
