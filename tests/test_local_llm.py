"""Language models in process: batching, sampling, stopping, and what cannot be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from llm_requests import request
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

from synthio.backends.llm import finished_object, json_object
from synthio.backends.local_llm import LocalLanguageModel, _AnswerEnd, _SeededSampling
from synthio.errors import MissingDependency, ModelError
from synthio.progress import Reporter


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
