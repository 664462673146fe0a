"""What requests to models took, kept among a stage's items, so that a resumed stage still counts all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from synthio.records import Record
from synthio.store import StageFolder

T = TypeVar("T")


class Calls(Record):
    """Some requests, made at once."""

    requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int
    cost: float
    seconds: float


class Answer(Protocol):
    """What a language model or a captioner gives back for one request."""

    @property
    def failed(self) -> str | None:
        """Why there is no answer."""

    @property
    def input_tokens(self) -> int:
        """Tokens read."""

    @property
    def output_tokens(self) -> int:
        """Tokens written."""

    @property
    def cost(self) -> float:
        """In the currency of the configured prices."""


def calls(answers: Sequence[Answer], started: float) -> Calls:
    """The record of ``answers`` that were asked for at ``started`` (`time.monotonic`)."""
    return Calls(
        id=f"calls-{time.time_ns()}",
        requests=len(answers),
        failed_requests=sum(answer.failed is not None for answer in answers),
        input_tokens=sum(answer.input_tokens for answer in answers),
        output_tokens=sum(answer.output_tokens for answer in answers),
        cost=sum(answer.cost for answer in answers),
        seconds=time.monotonic() - started,
    )


def spent(folder: StageFolder) -> dict[str, object]:
    """Tokens, cost and seconds over all sittings, for the stage's summary."""
    every = list(folder.items(Calls).values())
    usage = {
        "requests": sum(c.requests for c in every),
        "failed_requests": sum(c.failed_requests for c in every),
        "input_tokens": sum(c.input_tokens for c in every),
        "output_tokens": sum(c.output_tokens for c in every),
        "cost": sum(c.cost for c in every),
    }
    return {"usage": usage, "seconds": sum(c.seconds for c in every)}


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive runs of at most ``size`` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
