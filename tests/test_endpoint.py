"""A chat endpoint, good or bad: retries, outages, refusals, odd answers, keys and addresses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import synthio
from endpoint_server import HANG, Body, EndpointServer, Response, chat, error, refusal
from llm_requests import KEY_VARIABLE, SCHEMA, always, completion, config, request, resources
from reporters import RecordingReporter

from synthio.backends.choices import load_language_model
from synthio.backends.endpoint import ChatAnswer, ChatCall, ChatEndpoint, _headers, check_key
from synthio.backends.endpoint_llm import EndpointLanguageModel
from synthio.backends.llm import CachedLanguageModel, LanguageModel, Reply, json_object
from synthio.backends.parts import check_models
from synthio.config import EndpointConfig, ImagineConfig, RunConfig
from synthio.errors import BackendError, ConfigError
from synthio.progress import Reporter
from synthio.recipes import validate

PROBE = ChatCall("are you there?", {})


def but_for_a_probe(response: Response) -> Callable[[Body, int], Response]:
    """Of a server that answers other requests."""
    return lambda body, earlier: chat("{}") if "yes" in str(body["messages"]) else response


def test_further_fields_are_sent_and_their_answers_are_their_own() -> None:
    """A model that thinks could not be told to think less."""
    seen: list[Body] = []

    def script(body: Body, earlier: int) -> Response:
        seen.append(body)
        return chat('{"caption": "a flute"}')

    extra = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}
    with EndpointServer(script) as server:
        plain, thinking = (EndpointLanguageModel(config(server, extra_body=x), Reporter()) for x in ({}, extra))
        plain.complete([request()])
        thinking.complete([request()])
    assert not extra.keys() & seen[0].keys() and {name: seen[1][name] for name in extra} == extra
    assert plain.name == f"{server.base_url} m" and thinking.name != plain.name


def test_a_good_answer_with_its_tokens() -> None:
    with EndpointServer(always(chat('{"caption": "a flute"}', 1000, 500))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request(0, seed=2**40)])[0]
    assert reply == ChatAnswer('{"caption": "a flute"}', input_tokens=1000, output_tokens=500)
    sent = server.seen[0].body
    assert sent["messages"] == [{"role": "user", "content": request(0).instruction}]
    assert sent["response_format"]["json_schema"] == {"name": "MixAnswer", "schema": SCHEMA, "strict": True}
    assert sent["temperature"] == 0.7
    assert 0 <= sent["seed"] < 2**31
    assert server.seen[0].authorization == "Bearer none"


def test_429_waits_as_long_as_retry_after_says() -> None:
    responses = [error(429, retry_after="0.15"), chat("{}")]
    with EndpointServer(lambda body, earlier: responses[earlier]) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert reply.text == "{}"
    assert 0.15 <= server.seen[1].at_s - server.seen[0].at_s < 2.0


def test_500_is_retried_and_then_recorded() -> None:
    with EndpointServer(lambda body, earlier: error(500) if earlier == 0 else chat("{}")) as server:
        assert EndpointLanguageModel(config(server), Reporter()).complete([request()])[0].text == "{}"
    poison = "flute" * 2
    with EndpointServer(lambda body, earlier: error(500, "it burns") if poison in str(body) else chat("{}")) as server:
        reply = EndpointLanguageModel(config(server, max_retries=2), Reporter()).complete([request(1)])[0]
    # Then something else, to see whether the server answers at all.
    assert [poison in seen.text for seen in server.seen] == [True] * 3 + [False]
    assert reply.text is None and reply.lost
    assert reply.failed is not None
    assert "it burns" in reply.failed


@pytest.mark.parametrize("response", [error(500, "it burns"), error(503), HANG], ids=["500", "503", "hang"])
@pytest.mark.parametrize("answered", [0, 2])
def test_an_outage_stops_also_after_answers_and_for_the_last_request(response: Response, answered: int) -> None:
    """A failure of many would become templates for good."""
    with EndpointServer(lambda body, earlier: chat("{}") if earlier < answered else response) as server:
        model = EndpointLanguageModel(config(server, concurrency=1, timeout_s=0.3, max_retries=0), Reporter())
        with pytest.raises(BackendError, match=r"does not answer.*resumes"):
            model.complete([request(i) for i in range(answered + 1)])


def test_an_outage_is_told_by_what_shows_it() -> None:
    """It was blamed on a request that the server refuses, and has refused while it was up."""
    responses = [chat("{}"), error(400, "content filtered"), error(503, "it burns")]
    with EndpointServer(lambda body, earlier: responses[min(earlier, 2)]) as server:
        model = EndpointLanguageModel(config(server, concurrency=1, max_retries=0), Reporter())
        with pytest.raises(BackendError, match=r"does not answer: .*it burns"):
            model.complete([request(i) for i in range(3)])


@pytest.mark.parametrize("code", [429, 402])
def test_a_limit_or_an_empty_account_stops_also_after_answers(code: int) -> None:
    with EndpointServer(lambda body, earlier: chat("{}") if earlier < 2 else error(code, "no more")) as server:
        model = EndpointLanguageModel(config(server, concurrency=1, max_retries=1), Reporter())
        with pytest.raises(BackendError, match=r"no more.*endpoint\.max_retries.*resumes"):
            model.complete([request(i) for i in range(3)])


@pytest.mark.parametrize(
    ("inside", "retried"),
    [
        ({"message": "Provider returned error", "code": 502}, True),
        ({"message": "rate-limited upstream", "code": 429}, True),
        ("an error of some other form", True),
        ({"message": "a code of its own", "code": 7}, True),
        ({"message": "too long", "code": 400}, False),
    ],
    ids=str,
)
def test_an_error_that_is_sent_as_200_is_an_error(inside: Any, retried: bool) -> None:
    """As OpenRouter does; it was no chat completion, and cost one of the tries."""
    broken = Response(body=json.dumps({"error": inside}).encode(), headers={"Retry-After-Ms": "10"})
    with EndpointServer(lambda body, earlier: broken if earlier == 0 else chat("{}")) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert (reply.text == "{}") == retried
    # What is no fault of the server is not tried again, but the server is.
    assert len(server.seen) == 2
    assert (server.seen[1].body == server.seen[0].body) == retried


def test_a_request_that_is_never_answered_is_a_recorded_timeout() -> None:
    with EndpointServer(lambda body, earlier: HANG if "fluteflute" in str(body) else chat("{}")) as server:
        model = EndpointLanguageModel(config(server, timeout_s=0.5, max_retries=0), Reporter())
        replies = model.complete([request(0), request(1)])
        alone = model.complete([request(1)])
    assert replies[0].text == "{}"
    assert [(reply.text, reply.failed) for reply in [replies[1], *alone]] == [
        (None, "no answer within 0.5 s (endpoint.timeout_s)")
    ] * 2


def test_an_answer_that_comes_byte_by_byte_is_waited_for_no_longer() -> None:
    """Each byte was waited for as long."""
    slow = replace(chat("{}"), drip=100)
    with EndpointServer(lambda body, earlier: slow if earlier < 2 else chat("{}")) as server:
        replies = EndpointLanguageModel(config(server, timeout_s=0.5, max_retries=1), Reporter()).complete([request()])
    assert [(reply.text, reply.failed) for reply in replies] == [(None, "no answer within 0.5 s (endpoint.timeout_s)")]
    # It was asked again, and then something else.
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(429, "insufficient_quota"), "insufficient_quota"),
        (error(503, "overloaded"), "overloaded"),
        (error(403, "this region is not served"), "this region is not served"),
        (HANG, "no answer within 0.2 s"),
    ],
    ids=["429", "503", "403", "hang"],
)
def test_an_endpoint_that_answers_nothing_stops_with_its_reason(response: Response, reason: str) -> None:
    """Else the stage would be finished with templates, and no later run would ask again."""
    with EndpointServer(always(response)) as server:
        model = EndpointLanguageModel(config(server, timeout_s=0.2, max_retries=0), Reporter())
        with pytest.raises(BackendError, match=f"(?s){reason}.*resumes"):
            model.complete([request(0), request(1)])


def test_a_spent_quota_stops_also_the_last_request() -> None:
    with EndpointServer(always(error(429, "insufficient_quota"))) as server, pytest.raises(BackendError, match="quota"):
        EndpointLanguageModel(config(server, max_retries=0), Reporter()).complete([request()])


def test_one_forbidden_request_costs_no_other_one() -> None:
    with EndpointServer(lambda body, earlier: error(403, "flagged") if earlier == 0 else chat("{}")) as server:
        replies = EndpointLanguageModel(config(server, concurrency=1), Reporter()).complete([request(0), request(1)])
    assert "flagged" in (replies[0].failed or "") and replies[1].text == "{}"


def test_an_answer_that_is_cut_before_it_begins_says_so() -> None:
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": ""}}
    with EndpointServer(always(completion(choices=[choice]))) as server:
        reply = EndpointLanguageModel(config(server, max_tokens=2000), Reporter()).complete([request()])[0]
    assert server.seen[0].body["max_tokens"] == 2000
    assert reply.failed == "cut after 5 tokens, before the answer began: raise endpoint.max_tokens (2000)"


def test_an_answer_that_is_cut_after_it_began_says_so(tmp_path: Path) -> None:
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": '{"caption": "a fl'}}
    with EndpointServer(always(completion(choices=[choice]))) as server:
        model = remote(server, tmp_path)
        first, again = model.complete([request()])[0], model.complete([request()])[0]
    assert first.cut == again.cut == "cut after 5 tokens: raise endpoint.max_tokens (1024)"
    assert len(server.seen) == 1


def remote(server: EndpointServer, cache: Path, **changes: Any) -> LanguageModel:
    asked = config(server, **changes)
    return load_language_model(ImagineConfig(mode="llm", kind="endpoint", endpoint=asked), resources(cache))


def test_a_larger_allowance_asks_again_for_what_was_cut_alone(tmp_path: Path) -> None:
    """To follow the advice was to pay for every answer again."""
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": '{"caption": "a fl'}}
    cut = completion(choices=[choice])
    asked = [request(0), request(1)]

    def script(body: Body, earlier: int) -> Response:
        return cut if body["seed"] == 101 and body["max_tokens"] < 2000 else chat("{}")

    with EndpointServer(script) as server:
        remote(server, tmp_path, max_tokens=1000).complete(asked)
        replies = remote(server, tmp_path, max_tokens=2000).complete(asked)
        assert [(reply.text, reply.cut) for reply in replies] == [("{}", None)] * 2
        assert [seen.body["seed"] for seen in server.seen[2:]] == [101]
        # Less is no reason to ask.
        assert remote(server, tmp_path, max_tokens=900).complete(asked) == [Reply("{}")] * 2
    assert len(server.seen) == 3


def test_a_wrong_key_stops_and_names_the_variable_and_the_reason() -> None:
    wrong = pytest.raises(BackendError, match=f"expired.*{KEY_VARIABLE}")
    with EndpointServer(always(error(401, "expired"))) as server, wrong:
        EndpointLanguageModel(config(server), Reporter()).complete([request(i) for i in range(3)])


def test_a_wrong_model_stops_and_names_it() -> None:
    wrong = pytest.raises(BackendError, match=r"'m'.*no endpoints found.*endpoint\.model")
    with EndpointServer(always(error(404, "no endpoints found"))) as server, wrong:
        EndpointLanguageModel(config(server), Reporter()).complete([request()])


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_takes_nothing_along(status: int) -> None:
    """Prompts and clips went to whatever address the server named, by 307 and 308."""
    with EndpointServer(always(chat("{}"))) as other:
        away = Response(status, headers={"Location": f"{other.base_url}/chat/completions"})
        with EndpointServer(always(away)) as server, pytest.raises(BackendError, match=f"{other.base_url}.*base_url"):
            EndpointLanguageModel(config(server), Reporter()).complete([request()])
    assert (len(server.seen), len(other.seen)) == (1, 0)


def test_bodies_that_are_no_answer_are_recorded() -> None:
    odd = [Response(body=b"<html>not json"), Response(body=b"{}"), chat(None), chat("")]
    with EndpointServer(lambda body, earlier: [*odd, chat("yes")][earlier]) as server:
        model = EndpointLanguageModel(config(server, concurrency=1, max_retries=0), Reporter())
        replies = model.complete([request(i) for i in range(4)])
    assert [reply.text for reply in replies] == [None] * 4
    assert all(reply.failed for reply in replies)
    assert [reply.lost for reply in replies] == [True, True, False, False]


def message(content: Any) -> Response:
    return completion(choices=[{"index": 0, "message": {"role": "assistant", "content": content}}])


@pytest.mark.parametrize(
    "odd",
    [
        completion(choices=[None]),
        completion(choices=["x"]),
        completion(choices={"0": "x"}),
        completion(choices=7),
        message(7),
        message(["x"]),
        message([None]),
        message({"text": "x"}),
    ],
    ids=str,
)
def test_completions_of_another_shape_are_recorded_and_stop_nothing(odd: Response, tmp_path: Path) -> None:
    with EndpointServer(lambda body, earlier: odd if earlier == 0 else chat("{}")) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server, concurrency=1), Reporter()), tmp_path)
        replies = model.complete([request(0), request(1)])
    assert "no chat completion" in (replies[0].failed or "")
    assert replies[1].text == "{}"


@pytest.mark.parametrize("tokens", ["n/a", {"of": 1}, -1, True, None, 2**60], ids=str)
def test_an_odd_count_of_tokens_costs_no_answer(tokens: Any) -> None:
    odd = completion(usage={"prompt_tokens": tokens, "completion_tokens": 3})
    with EndpointServer(always(odd)) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("{}", int(tokens is True), 3)


def test_counts_of_tokens_with_a_decimal_point_are_counted() -> None:
    """They became 0, and the cost with them."""
    with EndpointServer(always(completion(usage={"prompt_tokens": 7.0, "completion_tokens": 2.5}))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert (reply.input_tokens, reply.output_tokens) == (7, 2)


@pytest.mark.parametrize("number", ["1e999", "9" * 5_000, "[" * 200_000], ids=["infinite", "long", "deep"])
def test_what_no_json_reader_reads_costs_one_answer(number: str) -> None:
    bad = Response(body=chat("{}").body.replace(b'"prompt_tokens": 10', b'"prompt_tokens": ' + number.encode()))
    with EndpointServer(lambda body, earlier: bad if earlier == 0 else chat("{}")) as server:
        replies = EndpointLanguageModel(config(server, concurrency=1), Reporter()).complete([request(0), request(1)])
    assert replies[0].text == "{}" if number == "1e999" else replies[0].failed
    assert replies[1].text == "{}"


def test_thoughts_that_never_end_are_no_answer() -> None:
    with EndpointServer(always(chat('<think>{"caption": "a dog"}'))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert (reply.text, reply.failed) == (None, "the answer is empty: no text")


def test_an_answer_may_be_the_arguments_of_a_tool() -> None:
    function = {"name": "answer", "arguments": '{"caption": "a dog"}'}
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    with EndpointServer(always(completion(choices=[{"index": 0, "message": said}]))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert reply.text == '{"caption": "a dog"}'


def test_text_comes_in_parts_and_with_halved_characters(tmp_path: Path) -> None:
    parts = [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": '{"caption": '}, {"text": '"a dog"}'}]
    answers = [message(parts), message("a dog \ud83d")]
    with EndpointServer(lambda body, earlier: answers[earlier]) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server, concurrency=1), Reporter()), tmp_path)
        replies = model.complete([request(0), request(1)])
    assert [reply.text for reply in replies] == ['{"caption": "a dog"}', "a dog ?"]


def test_half_a_character_that_json_escapes_can_be_kept(tmp_path: Path) -> None:
    """It was a traceback, of the answer that was to be kept."""
    with EndpointServer(always(chat('{"caption": "a dog \\ud83d"}'))) as server:
        model = CachedLanguageModel(EndpointLanguageModel(config(server), Reporter()), tmp_path)
        replies = [model.complete([request()])[0] for _ in range(2)]
    assert [json_object(str(reply.text)) for reply in replies] == [{"caption": "a dog \ud83d"}] * 2
    assert len(server.seen) == 1


def test_halved_characters_of_a_refusal_or_an_error_can_be_written() -> None:
    said = {"index": 0, "message": {"role": "assistant", "content": None, "refusal": "no \ud83d"}}
    answers = [completion(choices=[said]), error(400, "not \ud83d either"), chat("{}")]
    with EndpointServer(lambda body, earlier: answers[earlier]) as server:
        replies = EndpointLanguageModel(config(server, concurrency=1), Reporter()).complete(
            [request(i) for i in range(3)]
        )
    assert [reply.failed and reply.failed.encode().decode() for reply in replies][2] is None
    assert str(replies[0].failed).endswith("no ?")
    assert "not ? either" in str(replies[1].failed)


def test_an_endpoint_that_is_not_there_stops_with_advice() -> None:
    with EndpointServer(always(chat("{}"))) as server:
        gone = config(server, max_retries=0)
    with pytest.raises(BackendError, match=r"no connection.*base_url"):
        EndpointLanguageModel(gone, Reporter()).complete([request(0), request(1)])


def test_requests_in_flight_are_bounded_and_answers_keep_their_order() -> None:
    def script(body: Body, earlier: int) -> Response:
        return chat(json.dumps({"caption": body["seed"]}))

    with EndpointServer(script) as server:
        replies = EndpointLanguageModel(config(server, concurrency=3), Reporter()).complete(
            [request(i) for i in range(12)]
        )
        assert 1 <= server.most_in_flight <= 3
    assert [json.loads(str(reply.text))["caption"] for reply in replies] == [100 + i for i in range(12)]


def test_a_refused_option_is_left_out_from_then_on() -> None:
    def script(body: Body, earlier: int) -> Response:
        for name in ("max_tokens", "response_format"):
            if name in body:
                return error(400, f"unsupported {name}", param=name)
        return chat("{}")

    with EndpointServer(script) as server:
        model = EndpointLanguageModel(config(server, concurrency=1), Reporter())
        assert [reply.text for reply in model.complete([request(0), request(1)])] == ["{}", "{}"]
    formats = [seen.body.get("response_format", {}).get("type") for seen in server.seen]
    assert formats == ["json_schema", "json_schema", "json_object", None, None]
    assert server.seen[-1].body["max_completion_tokens"] == 1024
    with EndpointServer(but_for_a_probe(error(400, "too long", param="messages"))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert "too long" in str(reply.failed)
    assert len(server.seen) == 2


NO_SCHEMA = "This response_format type is unavailable now"
NO_SEED = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
FORBIDDEN = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 100}


#: What DeepSeek, Gemini, Mistral (two forms) and an old server answer to a field that they do not take: no ``param``.
REFUSALS = {
    "deepseek": ("json_schema", error(400, NO_SCHEMA)),
    "gemini": ("seed", refusal(400, [{"error": {"code": 400, "message": NO_SEED, "status": "INVALID_ARGUMENT"}}])),
    "mistral": ("seed", refusal(422, {"detail": [FORBIDDEN]})),
    "mistral2": ("seed", refusal(422, {"object": "error", "message": {"detail": [FORBIDDEN]}, "param": None})),
    "plain text": ("json_object", refusal(400, {"error": "response_format is not supported"})),
}


@pytest.mark.parametrize("server_name", REFUSALS)
def test_an_option_that_is_refused_in_words_is_left_out(server_name: str) -> None:
    """Every caption of a run was a template where a server named the field in its message only."""
    refused, response = REFUSALS[server_name]

    def script(body: Body, earlier: int) -> Response:
        kind = body.get("response_format", {}).get("type")
        too_much = {"json_schema": kind == "json_schema", "json_object": kind is not None, "seed": "seed" in body}
        return response if too_much[refused] else chat("{}")

    notes = RecordingReporter()
    with EndpointServer(script) as server:
        model = EndpointLanguageModel(config(server), notes)
        assert [reply.text for reply in model.complete([request(i) for i in range(20)])] == ["{}"] * 20
        sent = server.seen[-1].body
    expected = {"json_schema": {"type": "json_object"}, "json_object": None}
    if refused == "seed":
        assert "seed" not in sent and sent["response_format"]["type"] == "json_schema"
    else:
        assert sent["seed"] >= 100 and sent.get("response_format") == expected[refused]
    assert sent["temperature"] == 0.7 and sent["max_tokens"] == 1024
    # Told once, however many calls were in flight.
    assert len(notes.warnings) == (2 if refused == "json_object" else 1)
    assert all("refuses" in warning for warning in notes.warnings)


def test_a_word_of_the_prompt_is_no_refused_option() -> None:
    """FastAPI repeats what it was sent."""
    wrong = {"type": "string_type", "loc": ["body", "messages"], "msg": "Input should be text", "input": "the seed"}
    with EndpointServer(but_for_a_probe(refusal(422, {"detail": [wrong]}))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert "Input should be text" in str(reply.failed)
    assert len(server.seen) == 2


def test_an_allowance_that_is_too_large_stays_an_allowance() -> None:
    """Without one a model could write up to the end of its context."""
    too_large = error(400, "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum is 900")
    with EndpointServer(but_for_a_probe(too_large)) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert "too large" in str(reply.failed)
    assert server.seen[1].body["max_completion_tokens"] == 1024


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(400, "audio is not supported"), "audio is not supported"),
        (error(402, "Insufficient Balance"), "Insufficient Balance"),
        (refusal(422, {"detail": "no such deployment"}), "no such deployment"),
        (Response(body=b"<html>a web page</html>", headers={"Content-Type": "text/html"}), "no chat completion"),
    ],
    ids=["400", "402", "422", "html"],
)
def test_an_endpoint_that_refuses_every_request_stops_with_its_reason(response: Response, reason: str) -> None:
    with EndpointServer(always(response)) as server:
        model = EndpointLanguageModel(config(server), Reporter())
        with pytest.raises(BackendError, match=f"(?s){reason}.*resumes"):
            model.complete([request(0), request(1)])


def test_requests_that_alone_are_refused_stop_nothing() -> None:
    """A second try asks only those again, and then they are all."""
    with EndpointServer(lambda body, earlier: chat("{}") if body["seed"] == 100 else error(400, "no")) as server:
        model = EndpointLanguageModel(config(server), Reporter())
        first = model.complete([request(i) for i in range(3)])
        again = model.complete([request(1), request(2)])
    assert [reply.text for reply in [*first, *again]] == ["{}", None, None, None, None]
    filtered = refusal(400, {"error": {"message": "filtered", "code": "content_filter", "param": "prompt"}})
    with EndpointServer(always(filtered)) as server:
        replies = EndpointLanguageModel(config(server), Reporter()).complete([request(0), request(1)])
    assert all("filtered" in str(reply.failed) for reply in replies)


def test_requests_that_are_left_over_and_refused_stop_nothing(tmp_path: Path) -> None:
    """As where the others' answers are kept: a later run could never pass these two."""

    def script(body: Body, earlier: int) -> Response:
        return error(400, "too long") if body["seed"] in (101, 102) else chat("{}")

    with EndpointServer(script) as server:
        for _ in range(2):
            model = CachedLanguageModel(EndpointLanguageModel(config(server), Reporter()), tmp_path)
            replies = model.complete([request(i) for i in range(4)])
            assert [reply.text for reply in replies] == ["{}", None, None, "{}"]
    assert len(server.seen) == 4 + 2 + 1
    probe = server.seen[-1].body
    assert probe["max_tokens"] == 1024 and probe["response_format"]["type"] == "json_schema"


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret-123")
    with EndpointServer(but_for_a_probe(error(422, "bad key sk-secret-123?"))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert server.seen[0].authorization == "Bearer sk-secret-123"
    assert "sk-secret" not in str(reply.failed)
    assert "***" in str(reply.failed)


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("http://gpu-box:8000/v1", True),
        ("http://gpu.local:8000/v1", True),
        ("http://192.168.1.7:8000/v1", True),
        ("http://[fd00::1]/v1", True),
        ("http://100.64.0.7:8000/v1", True),
        ("https://api.example.org/v1", True),
        ("http://api.example.org/v1", False),
        ("http://8.8.8.8/v1", False),
    ],
)
def test_a_key_goes_unencrypted_only_where_one_is_at_home(
    address: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    asked = EndpointConfig(base_url=address, api_key_variable=KEY_VARIABLE)
    if sent:
        check_key(asked)
    else:
        with pytest.raises(ConfigError, match=f"{KEY_VARIABLE}.*unencrypted.*https.*api_key_variable"):
            check_key(asked)
        # One that asks for no key can be used without.
        monkeypatch.delenv(KEY_VARIABLE)
        check_key(asked)


def test_what_the_environment_says_for_openai_is_not_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        KEY_VARIABLE: "sk-secret-123",
        "OPENAI_ORG_ID": "org-secret",
        "OPENAI_PROJECT_ID": "proj-secret",
        "OPENAI_CUSTOM_HEADERS": "X-Team: secret\nauthorization: Bearer other-secret\nno header",
    }.items():
        monkeypatch.setenv(name, value)
    with EndpointServer(always(chat("{}"))) as server:
        EndpointLanguageModel(config(server), Reporter()).complete([request()])
    sent = server.seen[0].headers
    assert sent.pop("authorization") == "Bearer sk-secret-123"
    assert "secret" not in str(sent) and not {"openai-organization", "openai-project", "x-team"} & sent.keys()
    for host, own in (("api.openai.com", True), ("openai.com.example.org", False), ("notopenai.com", False)):
        assert bool(_headers(EndpointConfig(base_url=f"https://{host}/v1"), "sk-secret-123")) is not own


def test_a_remote_endpoint_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=KEY_VARIABLE):
        ChatEndpoint(
            EndpointConfig(base_url="https://example.com/v1", api_key_variable=KEY_VARIABLE), Reporter(), PROBE
        )


@pytest.mark.parametrize(
    "key",
    ["\u201csk-secret\u201d", "sk-first\nsk-secret", "sk-secret\u200b", "sk-\x7fsecret", "sk\u2014secret"],
    ids=ascii,
)
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its requests would fail, and the run would go on with templates; or its error would show the key."""
    monkeypatch.setenv(KEY_VARIABLE, key)
    for address in ("https://example.com/v1", "http://localhost:8000/v1"):
        endpoint = EndpointConfig(base_url=address, api_key_variable=KEY_VARIABLE)
        for use in (check_key, lambda own: ChatEndpoint(own, Reporter(), PROBE)):
            with pytest.raises(ConfigError, match=f"{KEY_VARIABLE}.* set it again") as caught:
                use(endpoint)
            assert "secret" not in str(caught.value) and "first" not in str(caught.value)


def test_a_key_with_a_line_break_behind_it_is_sent_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " sk-secret-123\r\n")
    with EndpointServer(always(chat("hi"))) as server:
        check_key(config(server))
        EndpointLanguageModel(config(server), Reporter()).complete([request()])
    assert server.seen[0].authorization == "Bearer sk-secret-123"


REMOTE = {"kind": "endpoint", "endpoint": {"base_url": "https://example.com/v1", "api_key_variable": KEY_VARIABLE}}
LOCAL = {"kind": "endpoint", "endpoint": {"base_url": "http://localhost:8000/v1", "api_key_variable": KEY_VARIABLE}}


@pytest.mark.parametrize(
    ("sections", "needs"),
    [
        ({"imagine": REMOTE}, True),
        ({"imagine": LOCAL}, False),
        ({"imagine": {"mode": "template", **REMOTE}}, False),
        ({"imagine": {"mode": "llm"}, "caption": REMOTE}, False),
        ({"imagine": {"mode": "mixcap"}, "caption": REMOTE}, True),
        ({"imagine": REMOTE, "train": {"arms": ["gold", "noise"]}}, False),
        ({"imagine": {**LOCAL, "endpoint": {**LOCAL["endpoint"], "base_url": "http://192.168.1.5:8000/v1"}}}, False),
    ],
    ids=str,
)
def test_before_a_run_the_keys_of_what_it_asks_are_looked_for(
    sections: dict[str, Any], needs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    recipe = RunConfig.model_validate({"data": {"path": "clips"}, **sections})
    with pytest.raises(ConfigError, match=f"needs a key.*{KEY_VARIABLE}") if needs else nullcontext():
        check_models(recipe)
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    check_models(recipe)


def test_a_key_that_cannot_be_one_stops_a_run_before_it_starts(small_data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    content = {"data": {"path": str(small_data)}, "run_folder": str(tmp_path / "run"), "imagine": LOCAL}
    recipe.write_text(json.dumps(content), encoding="utf-8")
    for key, code in (("sk-secret", 0), ("\u201csk-secret\u201d", ConfigError.exit_code)):
        result = synthio("run", recipe, "--dry-run", "--json", **{KEY_VARIABLE: key})
        assert result.returncode == code, result.stderr
        assert "sk-secret" not in result.stdout + result.stderr
    assert KEY_VARIABLE in json.loads(result.stdout)["message"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://localhost:8000v1", "a port that cannot be one"),
        ("http://localhost:80000/v1", "a port that cannot be one"),
        ("http://[::1/v1", "has a host"),
        ("localhost:8000/v1", "does not begin with http://"),
        ("http:///v1", "no host"),
        ("http://local\nhost/v1", "line break"),
        ("http://local\x00host/v1", "line break"),
        ("http://local host/v1", "line break"),
        ("http://user:sk-secret@h.example:1/v1", "has a user"),
        ("https://h/v1?api_key=sk-secret", "has a user, a [?] or"),
    ],
    ids=ascii,
)
def test_an_address_that_cannot_be_one_is_a_problem_of_the_recipe(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"imagine\.endpoint\.base_url: .*{why}.*http://localhost:8000/v1"):
        validate({"data": {"path": "x"}, "imagine": {"endpoint": {"base_url": address}}}, RunConfig, "recipe")


@pytest.mark.parametrize(
    "address",
    [
        "http://u:sk-secret@h/v1",
        "http://sk-secret@h:99999/v1",
        "https://h/v1?api_key=sk-secret",
        "http://h#sk-secret",
        "HTTPS://u:sk-secret@h/v1",
        "Https://h/v1?key=sk-secret",
        "u:sk-secret@h/v1",
        " https://u:sk-secret@h/v1",
        "https//u:sk-secret@h/v1",
        "svn+ssh://u:sk-secret@h/v1",
        "'https://u:sk-secret@h/v1'",
        "https://h:sk-secret/v1",
        "https:///u:sk-secret@h/v1",
    ],
)
def test_a_key_in_an_address_is_not_shown(address: str) -> None:
    with pytest.raises(ConfigError, match=r"base_url: .*api_key_variable") as caught:
        validate({"data": {"path": "x"}, "imagine": {"endpoint": {"base_url": address}}}, RunConfig, "recipe")
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://u:sk-secret@h/v1",
        ["https://u:sk-secret@h"],
        {"base_url": ["https://u:sk-secret@h"]},
        {"base_url": {"https://u": "sk-secret@h"}},
        {"max_tokens": "https://u:sk-secret@h"},
    ],
)
def test_a_key_in_an_address_in_the_wrong_place_is_not_shown(endpoint: Any) -> None:
    for section in ("imagine", "caption"):
        with pytest.raises(ConfigError, match=rf"{section}\.endpoint") as caught:
            validate({"data": {"path": "x"}, section: {"endpoint": endpoint}}, RunConfig, "recipe")
        assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "https://h", "http://h.example:1/v1/@a"])
def test_an_address_stays_as_it_was_written(address: str) -> None:
    assert EndpointConfig(base_url=address).base_url == address


def test_a_running_event_loop_is_no_hindrance() -> None:
    async def notebook() -> Any:
        return ChatEndpoint(config(server), Reporter(), PROBE).chat([ChatCall("hello", {})])

    with EndpointServer(always(chat("hi"))) as server:
        assert asyncio.run(notebook())[0].text == "hi"


STOPPED_CELL = """
import asyncio, os, signal
from endpoint_server import HANG, EndpointServer
from synthio.backends.endpoint import ChatCall, ChatEndpoint
from synthio.config import EndpointConfig
from synthio.progress import Reporter

async def cell(server):
    # Of a notebook, whose loop has none of its own.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config = EndpointConfig(base_url=server.base_url, concurrency=2, timeout_s=600)
    try:
        ChatEndpoint(config, Reporter(), ChatCall("are you there?", {})).chat([ChatCall("hello", {})] * 8)
    except KeyboardInterrupt:
        print(f"stopped after {len(server.seen)}")

def hang(body, earlier):
    if earlier == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return HANG

with EndpointServer(hang) as server:
    asyncio.run(cell(server))
"""


def test_a_stopped_cell_of_a_notebook_sends_no_more() -> None:
    """It went on until all was answered, and paid for."""
    result = subprocess.run(
        [sys.executable, "-c", STOPPED_CELL], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "stopped after 2\n", result.stderr


STOPPED_TWICE = """
import asyncio, os, signal
from endpoint_server import HANG, EndpointServer, chat
from synthio.backends.endpoint import ChatCall, ChatEndpoint
from synthio.config import EndpointConfig
from synthio.progress import Reporter

def stop(*_):
    os.kill(os.getpid(), signal.SIGINT)

def stop_twice(answers):
    # Again as soon as the first stop has ended the requests.
    asyncio.current_task().add_done_callback(stop)
    stop()

async def cell(server):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config = EndpointConfig(base_url=server.base_url, concurrency=1)
    try:
        ChatEndpoint(config, Reporter(), ChatCall("are you there?", {})).chat([ChatCall("hello", {})] * 2, stop_twice)
    except KeyboardInterrupt:
        print("stopped")

with EndpointServer(lambda body, earlier: HANG if earlier else chat("hi")) as server:
    asyncio.run(cell(server))
"""


def test_a_cell_of_a_notebook_may_be_stopped_twice() -> None:
    """The loop was closed while it still ended its requests: a RuntimeError."""
    result = subprocess.run(
        [sys.executable, "-c", STOPPED_TWICE], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "stopped\n", result.stderr
