"""What requests to models took, kept among a stage's items, so that a resumed stage still counts all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from synthio.records import Record
from synthio.store import StageFolder


@dataclass(frozen=True)
class Answer:
    """What a language model or a captioner gives back for one request."""

    text: str | None
    failed: str | None = None
    """Why there is no text."""
    input_tokens: int = 0
    output_tokens: int = 0


#: Takes what came back, by the number of its request, at once: a kill, or a failure of another, must not cost it.
Count = Callable[[Mapping[int, Answer]], None]


def forget(arrived: Mapping[int, Answer]) -> None:
    """A `Count` for those who wait for the end."""


class Calls(Record):
    """Some requests, made at once."""

    requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int


def counter(folder: StageFolder) -> Count:
    """Notes answers among the items of ``folder``; those from a cache were noted when they were made."""
    return lambda arrived: folder.append([_calls(list(arrived.values()))])


def _calls(answers: Sequence[Answer]) -> Calls:
    return Calls(
        id=f"calls-{time.time_ns()}",
        requests=len(answers),
        failed_requests=sum(answer.failed is not None for answer in answers),
        input_tokens=sum(answer.input_tokens for answer in answers),
        output_tokens=sum(answer.output_tokens for answer in answers),
    )


def spent(folder: StageFolder) -> dict[str, object]:
    """Requests and tokens over all sittings, for the stage's summary."""
    every = list(folder.items(Calls).values())
    return {"usage": {name: sum(getattr(c, name) for c in every) for name in Calls.model_fields if name != "id"}}
