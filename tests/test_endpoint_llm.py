"""Which part of what a chat model writes is its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from endpoint_server import EndpointServer, chat
from llm_requests import SCHEMA, always, completion, config, request

from synthio.backends.endpoint_llm import EndpointLanguageModel, tidied
from synthio.backends.llm import CachedLanguageModel, json_object
from synthio.progress import Reporter


@pytest.mark.parametrize(
    "written",
    [
        '<think>They want {"caption": "..."}. A draft: {"caption": "a loud dog"}.</think>{"caption": "a dog"}',
        'They want {"caption": <text>}.</think>\n{"caption": "a dog"}',
        '[THINK]{"caption": "a draft"}[/THINK]{"caption": "a dog"}',
        '{"caption": "a cat"} - no, that is no dog. {"caption": "a dog"}',
        '{"caption": "a dog", "reason": "as asked"}',
        'So:\n```json\n{\n  "caption": "a dog",\n}\n```',
        '{"caption": {"caption": "..."',
    ],
    ids=["thoughts", "thoughts without a beginning", "other marks", "draft", "more keys", "comma", "broken"],
)
def test_of_an_answer_the_last_object_with_the_keys_is_taken(written: str) -> None:
    with EndpointServer(always(chat(written))) as server:
        text = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0].text
    assert text == ('{"caption": "a dog"}' if "dog" in written else written)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("thoughts", "ended", "text"),
    [
        ('{"caption": "a dog"}\n', "stop", '{"caption": "a dog"}'),
        ('{"caption": "a dog"}', "length", None),
        ('A draft: {"caption": "a dog"}', "stop", None),
        ('{"reason": "a dog"}', "stop", None),
        (["x"], "stop", None),
    ],
)
def test_an_answer_that_a_server_takes_for_thoughts_is_one(
    name: str, thoughts: Any, ended: str, text: str | None, tmp_path: Path
) -> None:
    """Of a model that LM Studio holds for one that thinks, whole answers were thrown away."""
    said = {"role": "assistant", "content": "", name: thoughts}
    choice = {"index": 0, "finish_reason": ended, "message": said}
    with EndpointServer(always(completion(choices=[choice]))) as server:
        for _ in range(2):
            model = CachedLanguageModel(EndpointLanguageModel(config(server), Reporter()), tmp_path)
            reply = model.complete([request()])[0]
            assert (reply.text, reply.failed is None) == (text, text is not None)
    # What was cut before it began is kept too.
    assert len(server.seen) == (1 if text or ended == "length" else 2)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"drafts": [{"caption": "a dog"}', None),
        ('{"drafts": [{"caption": "a dog"}, {"caption": "a lo', None),
        ('{"caption": "a dog\nbarks"}', {"caption": "a dog\nbarks"}),
        ('Format {"caption": <text>}: {"caption": "a dog"}', {"caption": "a dog"}),
        ('{"caption": "a dog, ]",}', {"caption": "a dog, ]"}),
        ('A 6" bell: {"caption": "a dog",}', {"caption": "a dog"}),
        ('{"caption": "a dog",\n "drafts": ["a", "b",],}', {"caption": "a dog"}),
    ],
    ids=ascii,
)
def test_a_draft_in_an_answer_that_was_cut_is_none(text: str, answer: dict[str, Any] | None) -> None:
    assert json_object(tidied(text, SCHEMA)) == answer


def test_a_text_without_an_end_is_looked_through_once() -> None:
    """From each of its quotes it would take minutes."""
    unclosed = "{" + '"\\' * 50_000
    assert tidied(unclosed, SCHEMA) == unclosed
