"""Language models: in process (batching, sampling, stopping), behind an endpoint, and cached."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from command_line import synthio
from endpoint_server import HANG, Body, EndpointServer, Response, chat, error, refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reporters import RecordingReporter
from tiny_llm import (
    CHAT_TEMPLATE,
    byte_tokenizer,
    tiny_chat_llama,
    tiny_falcon_h1,
    tiny_gemma,
    tiny_llama,
    tiny_mamba,
    tiny_rwkv,
)
from tiny_models import with_half_of
from transformers import GptOssConfig
from transformers.utils import is_mistral_common_available

from synthio.backends.choices import Resources, load_language_model
from synthio.backends.endpoint import ChatAnswer, ChatCall, ChatEndpoint, _headers, check_key
from synthio.backends.endpoint_llm import EndpointLanguageModel, tidied
from synthio.backends.llm import (
    CachedLanguageModel,
    Keep,
    LanguageModel,
    NoLanguageModel,
    Reply,
    Request,
    finished_object,
    json_object,
)
from synthio.backends.local_llm import LocalLanguageModel, _AnswerEnd, _SeededSampling
from synthio.backends.parts import check_models
from synthio.calls import forget
from synthio.config import EndpointConfig, ImagineConfig, RunConfig
from synthio.errors import BackendError, ConfigError, MissingDependency, ModelError
from synthio.progress import Reporter
from synthio.recipes import validate

SCHEMA: dict[str, Any] = {
    "title": "MixAnswer",
    "type": "object",
    "properties": {"caption": {"type": "string"}},
    "required": ["caption"],
    "additionalProperties": False,
}
KEY_VARIABLE = "SYNTHIO_TEST_KEY"


def request(index: int = 0, **changes: Any) -> Request:
    label = "flute" * (1 + index % 4)
    values: dict[str, Any] = {
        "instruction": f"Write a caption for {label}.",
        "completion": f"Label: crow\nCaption: a crow\n\nLabel: {label}\nCaption: ",
        "answer_start": '{"caption": "',
        "schema": SCHEMA,
        "temperature": 0.7,
        "max_new_tokens": 12,
        "seed": 100 + index,
    }
    return Request(**{**values, **changes})


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gemma(tmp_path_factory.mktemp("gemma"))


# In process -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [tiny_gemma, tiny_llama, lambda folder: tiny_gemma(folder, sliding_window=24), tiny_falcon_h1, tiny_mamba],
)
def test_batches_and_order_never_change_a_reply(build: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = str(build(tmp_path))
    requests = [request(i, temperature=0.0 if i == 5 else 0.7 + 0.1 * i) for i in range(8)]
    together = LocalLanguageModel(folder, None, "cpu", 8, Reporter())
    by_three = LocalLanguageModel(folder, None, "cpu", 3, Reporter())
    # A single request shares no prefix, so this also holds the shared prefix against the plain way.
    alone = [together.complete([r])[0] for r in requests]
    assert together.complete(requests) == alone
    assert by_three.complete(requests[::-1])[::-1] == alone
    assert len({reply.text for reply in alone}) > 3


def test_a_model_that_hears_the_padding_is_refused(tmp_path: Path) -> None:
    """Its replies, where they were any, changed with what was asked beside them."""
    with pytest.raises(ModelError, match=r"'rwkv' model depend on .* imagine\.kind=endpoint"):
        LocalLanguageModel(str(tiny_rwkv(tmp_path)), None, "cpu", 4, Reporter())


def test_a_model_whose_thoughts_are_told_by_special_tokens_is_refused(tmp_path: Path) -> None:
    """A draft in them was the caption."""
    GptOssConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"thoughts of a 'gpt_oss' model .* imagine\.kind=endpoint"):
        LocalLanguageModel(str(tmp_path), None, "cpu", 4, Reporter())


@pytest.mark.skipif(is_mistral_common_available(), reason="mistral-common is here")
def test_a_tokenizer_that_needs_another_package_names_it(tmp_path: Path) -> None:
    """It said to check the model's files."""
    folder = tiny_llama(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MistralCommonBackend"}))
    with pytest.raises(MissingDependency, match=r"not installed \(.*mistral-common.*\); install it, or"):
        LocalLanguageModel(str(folder), None, "cpu", 4, Reporter())


def test_seeds_decide_the_reply(gemma: Path) -> None:
    model = LocalLanguageModel(str(gemma), None, "cpu", 4, Reporter())
    first, again, other = model.complete([request(0), request(0), request(0, seed=7)])
    assert first.text == again.text != other.text


def test_replies_equal_a_plain_loop_without_cache_or_batch(gemma: Path) -> None:
    model = LocalLanguageModel(str(gemma), None, "cpu", 4, Reporter())
    requests = [request(i, max_new_tokens=6) for i in range(4)]
    replies = model.complete(requests)
    for asked, reply in zip(requests, replies, strict=True):
        tokenizer, network = model._tokenizer, model._model
        tokens = tokenizer(asked.completion + asked.answer_start)["input_ids"]
        start = len(tokens)
        uniform = torch.Generator().manual_seed(asked.seed)
        for _ in range(asked.max_new_tokens):
            with torch.no_grad():
                logits = network(torch.tensor([tokens])).logits[0, -1].double().numpy() / asked.temperature
            probabilities = np.exp(logits - logits.max())
            cumulative = np.cumsum(probabilities / probabilities.sum())
            draw = torch.rand((), generator=uniform, dtype=torch.float64).item()
            tokens.append(int(np.searchsorted(cumulative, draw * cumulative[-1], side="right")))
            text = asked.answer_start + tokenizer.decode(tokens[start:], skip_special_tokens=True)
            answer = finished_object(text, ["caption"])
            if tokens[-1] in (1, 4) or answer or "\n" in text:
                break
        assert reply.text == (answer or text)
        assert (reply.input_tokens, reply.output_tokens) == (start, len(tokens) - start)


def test_sampling_follows_the_softmax_of_the_scores() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])
    rows, temperature = 6000, 0.8
    sampler = _SeededSampling([request(i, temperature=temperature) for i in range(rows)])
    out = sampler(torch.zeros(rows, 0), scores.repeat(rows, 1))
    counts = torch.bincount(out.argmax(dim=-1), minlength=5).double() / rows
    expected = torch.softmax(scores / temperature, dim=-1).double()
    assert counts[4] == 0
    # Four standard deviations of a proportion.
    assert ((counts - expected).abs() <= 4 * (expected * (1 - expected) / rows).sqrt()).all()


def test_temperature_zero_is_greedy() -> None:
    sampler = _SeededSampling([request(temperature=0.0), request(1, temperature=0.0)])
    scores = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert sampler(torch.zeros(2, 0), scores).argmax(dim=-1).tolist() == [1, 0]


def test_rows_end_with_their_answer_line_or_allowance() -> None:
    tokenizer = byte_tokenizer()
    texts = ['low note") and so on', "low\nLabel: next", "low note that goes on for ever", "low note"]
    requests = [request(i, max_new_tokens=20) for i in range(4)]
    end = _AnswerEnd(tokenizer, requests, ['{"caption": "'] * 4, "", [1, 4], width=3)
    rows = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    rows[3] += [1] * 40
    finished: list[list[bool]] = []
    for length in range(1, 25):
        step = torch.tensor([[0, 0, 0, *(row + [5] * 40)[:length]] for row in rows])
        finished.append(end(step, None).tolist())
    assert end.texts == [
        '{"caption": "low note"}',
        '{"caption": "low\n',
        '{"caption": "low note that goes o',
        '{"caption": "low note',
    ]
    assert end.lengths == [9, 4, 20, 9]
    assert finished[-1] == [True] * 4
    assert finished[2] == [False] * 4


def test_chat_models_get_the_instruction_through_their_template(tmp_path: Path) -> None:
    folder = tiny_gemma(tmp_path, max_length=128, chat=True)
    model = LocalLanguageModel(str(folder), None, "cpu", 2, Reporter())
    asked = request(0)
    reply = model.complete([asked])[0]
    rendered = f"<bos><turn>user\n{asked.instruction}</turn>\n<turn>model\n"
    assert CHAT_TEMPLATE in (folder / "chat_template.jinja").read_text()
    assert reply.input_tokens == 4 + len(rendered.replace("<bos>", "").replace("</turn>", "").replace("<turn>", ""))
    assert reply.text is not None
    assert not reply.text.startswith('{"caption": "')


@pytest.mark.parametrize(
    "answer",
    [
        '{"caption": "a flute"}',
        '```json\n{\n    "caption": "a flute"\n}\n```',
        'Sure, here it is:\n{"caption": "a flute"}',
        '<think>{"caption": "a draft"}</think>{"caption": "a flute"}',
    ],
    ids=["plain", "fenced", "prose", "thoughts"],
)
def test_a_chat_model_may_fence_and_indent_its_answer(answer: str, tmp_path: Path) -> None:
    """A base model is shown where its answer begins; a chat model's answers were cut at the same count of tokens."""
    asked = request(0, temperature=0.0, max_new_tokens=12)
    model = LocalLanguageModel(str(tiny_chat_llama(tmp_path, asked.instruction, answer)), None, "cpu", 2, Reporter())
    reply = model.complete([asked])[0]
    assert json_object(str(reply.text)) == {"caption": "a flute"}
    assert reply.cut is None
    # It ends with the object's last value: what a chat model may write more costs nothing.
    assert reply.output_tokens == answer.rindex('"') + 1


def test_thoughts_that_the_chat_template_begins_are_no_answer(tmp_path: Path) -> None:
    """DeepSeek-R1's template ends in ``<think>``, so that only the end of the thoughts is written."""
    asked, answer = (
        request(0, temperature=0.0, max_new_tokens=12),
        '{"caption": "a draft"}</think>{"caption": "a flute"}',
    )
    template = f"{CHAT_TEMPLATE}{{% if add_generation_prompt %}}<think>\n{{% endif %}}"
    folder = tiny_chat_llama(tmp_path, asked.instruction, answer, template)
    model = LocalLanguageModel(str(folder), None, "cpu", 2, Reporter())
    assert json_object(str(model.complete([asked])[0].text)) == {"caption": "a flute"}
    # Replies that were kept before may be drafts.
    assert "<think>" in model.name


def test_an_answer_that_is_cut_says_so(tmp_path: Path, gemma: Path) -> None:
    base = LocalLanguageModel(str(gemma), None, "cpu", 4, Reporter()).complete([request(i) for i in range(8)])
    cut = [reply for reply in base if reply.cut]
    assert {(reply.output_tokens, reply.cut) for reply in cut} == {(12, "cut after 12 tokens")}
    chat_model = LocalLanguageModel(str(tiny_gemma(tmp_path, max_length=128, chat=True)), None, "cpu", 4, Reporter())
    replies = chat_model.complete([request(i) for i in range(8)])
    # No more than the context takes.
    assert all(reply.input_tokens + reply.output_tokens <= 128 for reply in replies)
    assert {reply.input_tokens + reply.output_tokens for reply in replies if reply.cut} == {128}


def test_a_prompt_longer_than_the_context_fails_with_its_reason(tmp_path: Path) -> None:
    model = LocalLanguageModel(str(tiny_gemma(tmp_path, max_length=128)), None, "cpu", 2, Reporter())
    short, long = model.complete([request(0), request(1, completion="x" * 200)])
    assert short.failed is None
    assert long.text is None
    assert long.failed == "the prompt has 214 tokens; the model takes 116"


def test_no_requests_no_replies(gemma: Path) -> None:
    assert LocalLanguageModel(str(gemma), None, "cpu", 2, Reporter()).complete([]) == []


def test_what_cannot_be_loaded_says_what_was_expected(tmp_path: Path, gemma: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*safetensors"):
        LocalLanguageModel(str(tmp_path / "nowhere"), None, "cpu", 1, Reporter())
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(ModelError, match="language model"):
        LocalLanguageModel(str(other), None, "cpu", 1, Reporter())
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for path in gemma.iterdir():
        if path.name != "model.safetensors":
            (pickled / path.name).write_bytes(path.read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        LocalLanguageModel(str(pickled), None, "cpu", 1, Reporter())


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_with_half_a_file_says_so(file: str, gemma: Path, tmp_path: Path) -> None:
    """Half of the weights ended in a traceback."""
    folder = with_half_of(file, gemma, tmp_path / "llm")
    with pytest.raises(ModelError, match=r"imagine\.model .*llm' cannot be loaded \(.*\); check its files, or choose"):
        LocalLanguageModel(str(folder), None, "cpu", 1, Reporter())


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


# Endpoint -------------------------------------------------------------------------------------------------------------


PROBE = ChatCall("are you there?", {})


def config(server: EndpointServer, **changes: Any) -> EndpointConfig:
    values = {"base_url": server.base_url, "model": "m", "api_key_variable": KEY_VARIABLE, "timeout_s": 5.0}
    return EndpointConfig(**{**values, **changes})


def always(response: Response) -> Callable[[Body, int], Response]:
    return lambda body, earlier: response


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


def resources(cache: Path) -> Resources:
    return Resources(Reporter(), cache, lambda: pytest.fail("no CLAP is needed"))


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


def completion(**changes: Any) -> Response:
    return Response(body=json.dumps({**json.loads(chat("{}").body), **changes}).encode())


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


def test_thoughts_that_never_end_are_no_answer() -> None:
    with EndpointServer(always(chat('<think>{"caption": "a dog"}'))) as server:
        reply = EndpointLanguageModel(config(server), Reporter()).complete([request()])[0]
    assert (reply.text, reply.failed) == (None, "the answer is empty: no text")


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
