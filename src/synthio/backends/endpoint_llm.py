"""A language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from synthio.backends.endpoint import ChatAnswer, ChatCall, ChatEndpoint
from synthio.backends.llm import Keep, Reply, Request
from synthio.backends.questions import AnswerSchema
from synthio.calls import forget
from synthio.config import EndpointConfig
from synthio.progress import Reporter

#: Braces in an answer that are looked at.
_MOST_OBJECTS = 100
#: Texts, in which it may stand, are found first; they may go on to the end.
_COMMA_BEFORE_END = re.compile(r'("(?:[^"\\]|\\.)*"?)|,(?=\s*[}\]])', re.DOTALL)


class ProbeAnswer(AnswerSchema):
    """The probe's."""

    answer: str


_PROBE = Request(
    instruction='Answer with the JSON object {"answer": "yes"}.',
    completion="",
    answer_start="",
    schema=ProbeAnswer.model_json_schema(),
    temperature=0.0,
    max_new_tokens=16,
    seed=0,
)


class EndpointLanguageModel:
    """A chat model behind an OpenAI-compatible endpoint, asked for JSON that fits the schema."""

    def __init__(self, config: EndpointConfig, reporter: Reporter) -> None:
        """Raises: `ConfigError` when a remote endpoint's key is not in the environment."""
        self._max_tokens = config.max_tokens
        self._endpoint = ChatEndpoint(config, reporter, _chat_call(_PROBE, self._max_tokens))
        self.name = " ".join(config.asked)
        self.requests_per_call = 4 * config.concurrency

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """Concurrent and bounded; a request that this server never answers becomes a reply with the reason.

        Raises: `BackendError` for a wrong key, a wrong model name or an endpoint that answers no more.
        """
        calls = [_chat_call(request, self._max_tokens) for request in requests]

        answers = self._endpoint.chat(
            calls, lambda arrived: keep({i: _read(reply, requests[i].schema) for i, reply in arrived.items()})
        )
        return [_read(reply, asked.schema) for reply, asked in zip(answers, requests, strict=True)]


def _read(reply: ChatAnswer, schema: dict[str, Any]) -> Reply:
    if reply.text:
        return replace(reply, text=tidied(reply.text, schema))
    # LM Studio, and vLLM with a reasoning parser, take the JSON of a model that did not think for its thoughts.
    if _is_answer(reply.thoughts, schema):
        return replace(reply, text=tidied(reply.thoughts, schema), failed=None)
    return reply


def _is_answer(thoughts: str, schema: dict[str, Any]) -> bool:
    """Whether they are one JSON object with all that is required, and nothing else: no draft."""
    try:
        found = json.loads(thoughts)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and set(schema.get("required", ())) <= found.keys()


def tidied(text: str, schema: dict[str, Any]) -> str:
    """The last JSON object that has all that ``schema`` requires, less what it does not know; else the text as it is.

    Not every server holds a model to the schema: it drafts, adds a ``reason``, leaves a comma before the last brace.
    """
    required, known = set(schema.get("required", ())), schema.get("properties", {}).keys()
    # Before the first brace a quote may be an inch.
    for form in (text, _COMMA_BEFORE_END.sub(lambda found: found[1] or "", text[text.find("{") :])):
        if whole := [found for found in _objects(form) if required and required <= found.keys()]:
            with suppress(RecursionError):
                return json.dumps({name: value for name, value in whole[-1].items() if name in known})
    return text


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Those that are in no other one, in order; none of what one holds that goes on where the text ends."""
    decoder, end = json.JSONDecoder(strict=False), 0
    for _ in range(_MOST_OBJECTS):
        if (start := text.find("{", end)) < 0:
            return
        try:
            found, end = decoder.raw_decode(text, start)
            yield found
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated string") or not text[error.pos :].strip():
                return
            end = start + 1
        except (ValueError, RecursionError):
            # A number of more digits than Python reads.
            end = start + 1


def _chat_call(request: Request, max_tokens: int) -> ChatCall:
    name = "".join(c if c.isalnum() else "_" for c in str(request.schema.get("title", "answer")))
    return ChatCall(
        content=request.instruction,
        options={
            "temperature": request.temperature,
            # Chat models indent their JSON or think before they answer; an unused allowance costs nothing.
            "max_tokens": max(max_tokens, 4 * request.max_new_tokens),
            "seed": request.seed % 2**31,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": request.schema, "strict": True},
            },
        },
    )
