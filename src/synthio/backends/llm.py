"""Language models: one batch-first protocol, what an answer is, an on-disk cache; `endpoint_llm`, `local_llm` answer.

A request carries its prompt twice: as an instruction for chat models, and as a few-shot text to continue for base
models such as Gemma-3-270m. The backend picks the form that its model was trained for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from synthio.calls import Answer, forget
from synthio.errors import BackendError
from synthio.writing import write_text


@dataclass(frozen=True)
class Request:
    """One question to a language model. The answer is a JSON object."""

    instruction: str
    """For chat models."""
    completion: str
    """For base models: worked examples, then this question, up to where the answer begins."""
    answer_start: str
    """The first characters of the answer, given to base models so that they answer in JSON."""
    schema: dict[str, Any] = field(hash=False)
    """JSON schema of the answer."""
    temperature: float
    max_new_tokens: int
    seed: int
    """All randomness of the reply; batch size and order never change it."""


@dataclass(frozen=True)
class Reply(Answer):
    """The answer to one request, or why there is none."""

    cut: str | None = None
    """That the text stops where the allowance was used up, with what would raise it; None when it does not."""

    @property
    def lost(self) -> bool:
        """That this request gets no answer, however often it is sent."""
        return False


@dataclass(frozen=True)
class _KeptReply(Reply):
    """As it lies on disk."""

    allowance: int = 0
    """Tokens that it might have."""


_REPLY_FILE = TypeAdapter(_KeptReply)

#: As `Count`.
Keep = Callable[[Mapping[int, Reply]], None]


class LanguageModel(Protocol):
    """Anything that answers requests."""

    name: str
    """Model and revision; part of the cache key."""
    requests_per_call: int
    """How many requests keep it busy; callers save their results between calls."""

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """One reply per request, in order; ``keep`` has had each that was made now.

        Raises: `BackendError` when no request can ever succeed, or a server is down.
        """
        ...


class NoLanguageModel:
    """Stands in where the recipe asks for no language model (``imagine.mode: template``)."""

    name = "none"
    requests_per_call = 256

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """Raises: `BackendError` for any request."""
        if requests:
            raise BackendError("imagine.mode is template, which loads no language model; set it to mixcap or llm")
        return []


class ReplyCache:
    """One small JSON file per reply, by a digest of what was asked. Of failures only that a reply was cut before its
    answer began is kept."""

    def __init__(self, folder: Path, allowance: int) -> None:
        """``allowance``: tokens that a reply may have, beside what each request says; what less of them cut is asked
        again."""
        self._folder, self._allowance = folder, allowance

    def complete(
        self, questions: Sequence[object], ask: Callable[[Sequence[int], Keep], Sequence[Reply]], keep: Keep
    ) -> list[Reply]:
        """One reply per question; ``ask`` is for those that were not answered before, by their numbers.

        Cached replies cost nothing: their token counts are 0, and ``keep`` does not hear of them.
        """
        replies = {number: reply for number, each in enumerate(questions) if (reply := self._read(each))}
        missing = [number for number in range(len(questions)) if number not in replies]

        def store(arrived: Mapping[int, Reply]) -> None:
            made = {missing[place]: reply for place, reply in arrived.items()}
            for number, reply in made.items():
                # What was cut before its answer began comes out the same, and is paid for, again.
                if reply.failed is None or reply.cut:
                    self._write(questions[number], reply)
            keep(made)

        replies.update(zip(missing, ask(missing, store) if missing else (), strict=True))
        return [replies[number] for number in range(len(questions))]

    def path(self, question: object) -> Path:
        """Where the reply lies."""
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[:32]}.json"

    def _read(self, question: object) -> Reply | None:
        try:
            kept = _REPLY_FILE.validate_json(self.path(question).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return None if kept.cut and kept.allowance < self._allowance else Reply(kept.text, kept.failed, cut=kept.cut)

    def _write(self, question: object, reply: Reply) -> None:
        used = (reply.input_tokens, reply.output_tokens)
        kept = _KeptReply(reply.text, reply.failed, *used, cut=reply.cut, allowance=self._allowance)
        write_text(self.path(question), _REPLY_FILE.dump_json(kept).decode())


class CachedLanguageModel:
    """Answers repeated requests from disk."""

    def __init__(self, inner: LanguageModel, folder: Path, allowance: int = 0) -> None:
        """``allowance``: as `ReplyCache`."""
        self._inner, self._cache = inner, ReplyCache(folder, allowance)
        self.name, self.requests_per_call = inner.name, inner.requests_per_call

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """Cached replies cost nothing: their token counts are 0. Raises what the inner model raises."""

        def ask(numbers: Sequence[int], store: Keep) -> list[Reply]:
            return self._inner.complete([requests[number] for number in numbers], store)

        return self._cache.complete([self._question(request) for request in requests], ask, keep)

    def _question(self, request: Request) -> list[object]:
        asked = [request.instruction, request.completion, request.answer_start, request.max_new_tokens]
        return [self.name, asked, request.seed, request.temperature, request.schema]


#: How models mark thoughts that they write into their answer.
_THOUGHTS = re.compile(r"\s*(?:<(?:seed:)?think(?:ing)?>|<thought>|<reasoning>|\[think\])", re.IGNORECASE)
_END_OF_THOUGHTS = re.compile(r"</(?:seed:)?think(?:ing)?>|</thought>|</reasoning>|\[/think\]", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """What a chat model says after its thoughts, whose beginning some servers leave out; nothing while it thinks."""
    said = _END_OF_THOUGHTS.split(text)[-1]
    return "" if _THOUGHTS.match(said) or not said.strip() else said


def begun_thoughts(prompt: str) -> str:
    """The mark that a chat template ends in where it begins the thoughts itself (DeepSeek-R1); else nothing."""
    return next((found[0] for found in _THOUGHTS.finditer(prompt) if not prompt[found.end() :].strip()), "")


#: Braces in the prose before an answer that may be no answer.
_MAX_OBJECT_STARTS = 20


def json_object(text: str) -> dict[str, Any] | None:
    """The first complete JSON object in ``text``; None when there is none (yet), or too many braces before it."""
    start = -1
    for _ in range(_MAX_OBJECT_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        try:
            # What begins with a brace is an object, or no JSON.
            return dict(json.JSONDecoder().raw_decode(text, start)[0])
        except RecursionError:
            return None
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Expecting property name") or text[start + 1 : error.pos].strip():
                # It is an object, which goes on or is broken; what it holds is no answer.
                return None
        except ValueError:
            # A number of more digits than Python reads.
            return None
    return None


def finished_object(text: str, required: Sequence[str]) -> str | None:
    """The answer, once it is over: a complete JSON object, or one that only lacks its last brace.

    Small base models get the values right and the brackets wrong (``{"caption": "a low note")``), and then ramble on,
    so the answer counts as over at the first place where a closing brace gives every ``required`` key.
    """
    start = max(0, text.find("{"))
    for end, character in enumerate(text[start:], start + 1):
        if character in '"]':
            closed = text[start:end] + "}"
            value = json_object(closed)
            if value is not None and required and set(required) <= value.keys():
                return closed
    return text if json_object(text) is not None else None
