"""Language models: where an answer is over, and the cache of replies."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from endpoint_server import Body, EndpointServer, Response, chat, error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llm_requests import always, config, request, resources

from synthio.backends.choices import load_language_model
from synthio.backends.endpoint_llm import EndpointLanguageModel
from synthio.backends.llm import (
    CachedLanguageModel,
    Keep,
    NoLanguageModel,
    Reply,
    Request,
    finished_object,
    json_object,
)
from synthio.calls import forget
from synthio.config import ImagineConfig
from synthio.errors import BackendError
from synthio.progress import Reporter

# Answers --------------------------------------------------------------------------------------------------------------


ANSWERS = st.fixed_dictionaries({"events": st.lists(st.text()), "scenes": st.lists(st.text())})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS, st.text())
def test_an_answer_is_over_where_only_its_brace_is_missing(answer: dict[str, list[str]], rest: str) -> None:
    whole = json.dumps(answer, ensure_ascii=False)
    found = finished_object(whole[:-1] + rest, ["events", "scenes"])
    assert found is not None
    assert json_object(found) == answer


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS, st.integers(0, 10_000))
def test_an_unfinished_answer_is_not_over(answer: dict[str, list[str]], cut: int) -> None:
    whole = json.dumps(answer)
    assert finished_object(whole[: cut % (len(whole) - 1)], ["events", "scenes"]) is None


def test_objects_are_found_inside_prose_and_fences() -> None:
    assert json_object('Sure:\n```json\n{"caption": "a {low} note"}\n```') == {"caption": "a {low} note"}
    assert json_object('Use {label}: {"caption": "a dog"}') == {"caption": "a dog"}
    assert json_object('<think>{a} or {b}?</think>{"caption": "a dog"}') == {"caption": "a dog"}
    assert json_object('{"caption": "a {} dog') is None
    assert json_object('{"events": ["{}"') is None
    assert json_object('{"a": {"b": 1}, "c": tru') is None
    assert json_object('{"a": "{}\\u12') is None
    assert json_object("{'a': 1} and {\"a\": 2}") == {"a": 2}
    assert json_object("no object") is None
    assert json_object(f'{{"caption": {"9" * 5_000}}}') is None
    assert json_object("[1, 2]") is None
    assert json_object("{" * 100_000) is None
    assert finished_object('{"caption": null} and more', ["caption"]) is not None


# Cache ----------------------------------------------------------------------------------------------------------------


def test_cached_replies_are_not_asked_again_and_failures_are(tmp_path: Path) -> None:
    def script(body: Body, earlier: int) -> Response:
        return error(422) if body["seed"] == 101 else chat(f'{{"caption": "{body["seed"]}"}}')

    with EndpointServer(script) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server, concurrency=1), Reporter()), tmp_path)
        first = model.complete([request(0), request(1), request(2)])
        assert len(server.seen) == 3
        second = model.complete([request(2), request(1), request(0)])
        assert len(server.seen) == 4
    assert [reply.text for reply in second] == [first[2].text, None, first[0].text]
    assert (second[0].input_tokens, first[0].input_tokens) == (0, 10)
    assert len(list(tmp_path.rglob("*.json"))) == 2


@pytest.mark.parametrize("ends", [error(401), error(404), error(429)], ids=["401", "404", "429"])
def test_what_was_answered_is_kept_when_another_request_stops_all(ends: Response, tmp_path: Path) -> None:
    """Every answer of a call, up to four times the concurrency, was paid for again."""
    failed = threading.Event()

    def script(body: Body, earlier: int) -> Response:
        if body["seed"] == 102:
            failed.set()
            return ends
        if body["seed"] == 101:
            assert failed.wait(10)
            return replace(chat('{"caption": "101"}'), drip=6)
        return chat(f'{{"caption": "{body["seed"]}"}}')

    with EndpointServer(script) as server:
        model = CachedLanguageModel(
            EndpointLanguageModel(config(server, concurrency=2, max_retries=0), Reporter()), tmp_path
        )
        with pytest.raises(BackendError):
            model.complete([request(i) for i in range(30)])
        # The answer that was waited for may have been read before the failure.
        assert len(server.seen) <= 4
        paid = {json.loads(json.loads(path.read_text())["text"])["caption"] for path in tmp_path.rglob("*.json")}
        assert paid - {"103"} == {"100", "101"}


def test_what_was_answered_is_kept_before_the_others_are(tmp_path: Path) -> None:
    """A kill lost it."""
    kept: list[int] = []

    def script(body: Body, earlier: int) -> Response:
        kept.append(len(list(tmp_path.rglob("*.json"))))
        return chat("{}")

    with EndpointServer(script) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server, concurrency=1), Reporter()), tmp_path)
        model.complete([request(i) for i in range(4)])
    assert kept == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"temperature": 0.1}, {"instruction": "x"}, {"schema": {}}, {"max_new_tokens": 99}]
)
def test_the_cache_key_holds_everything_that_matters(change: dict[str, Any], tmp_path: Path) -> None:
    with EndpointServer(always(chat("{}"))) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server), Reporter()), tmp_path)
        model.complete([request()])
        model.complete([request(**change)])
        assert len(server.seen) == 2
        other = CachedLanguageModel(EndpointLanguageModel(config(server, model="other"), Reporter()), tmp_path)
        other.complete([request()])
        assert len(server.seen) == 3


def test_a_damaged_cache_file_is_asked_again(tmp_path: Path) -> None:
    with EndpointServer(always(chat("{}"))) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server), Reporter()), tmp_path)
        model.complete([request()])
        next(tmp_path.rglob("*.json")).write_bytes(b'{"id": "r0", "te\xff')
        assert model.complete([request()])[0].text == "{}"
        assert len(server.seen) == 2


def test_the_recipe_picks_the_model(tmp_path: Path, gemma: Path) -> None:
    assert isinstance(load_language_model(ImagineConfig(mode="template"), resources(tmp_path)), NoLanguageModel)
    local = load_language_model(ImagineConfig(model=str(gemma), device="cpu"), resources(tmp_path / "cache"))
    assert local.complete([request()])[0].failed is None
    assert any((tmp_path / "cache").rglob("*.json"))
    remote = load_language_model(ImagineConfig(kind="endpoint"), resources(tmp_path))
    assert remote.name == "http://localhost:8000/v1 default"
    with pytest.raises(BackendError, match="template"):
        NoLanguageModel().complete([request()])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.text())
def test_cache_paths_stay_inside_their_folder(prompt: str, name: str) -> None:
    class Named(NoLanguageModel):
        def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
            keep({0: Reply("{}")})
            return [Reply("{}")]

    inner = Named()
    inner.name = name
    with TemporaryDirectory() as folder:
        CachedLanguageModel(inner, Path(folder, "cache")).complete([request(instruction=prompt)])
        (path,) = (path for path in Path(folder).rglob("*") if path.is_file())
        assert path.parent.parent == Path(folder, "cache")
