"""Tiny random-weight language models of real transformers classes, on disk, with a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
    RwkvConfig,
    RwkvForCausalLM,
)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<eos>", "<bos>", "<turn>", "</turn>"]


def byte_tokenizer(special: list[str] = SPECIAL, chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """One token per byte, and a few special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=special[3:],
    )
    fast.chat_template = chat_template
    return fast


def tiny_gemma(folder: Path, sliding_window: int = 512, max_length: int = 2048, chat: bool = False) -> Path:
    """A `Gemma3ForCausalLM` with one sliding and one full attention layer."""
    tokenizer = byte_tokenizer(chat_template=CHAT_TEMPLATE if chat else None)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=sliding_window,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=max_length,
        query_pre_attn_scalar=16,
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(config)
    # As hub checkpoints do: these must not reach the seeded sampling.
    model.generation_config.do_sample = True
    model.generation_config.top_k = 3
    model.generation_config.repetition_penalty = 1.3
    model.generation_config.no_repeat_ngram_size = 2
    model.generation_config.min_new_tokens = 3
    model.generation_config.suppress_tokens = [40, 41, 42]
    model.generation_config.eos_token_id = [1, 4]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_llama(folder: Path) -> Path:
    """A `LlamaForCausalLM` without a chat template."""
    return _seeded(LlamaForCausalLM, _llama_config(_SIZES["vocab_size"], initializer_range=0.3), folder)


def tiny_falcon_h1(folder: Path) -> Path:
    """A `FalconH1ForCausalLM`: every layer has attention and, beside it, a recurrent state."""
    config = FalconH1Config(
        **_SIZES,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_n_groups=1,
    )
    return _seeded(FalconH1ForCausalLM, config, folder)


def tiny_mamba(folder: Path) -> Path:
    """A `MambaForCausalLM`, which has no keys and values at all."""
    return _seeded(MambaForCausalLM, MambaConfig(**_SIZES, state_size=4), folder)


def tiny_rwkv(folder: Path) -> Path:
    """An `RwkvForCausalLM`, which does not know of padding."""
    config = RwkvConfig(vocab_size=_SIZES["vocab_size"], hidden_size=32, num_hidden_layers=2, attention_hidden_size=32)
    return _seeded(RwkvForCausalLM, config, folder)


def tiny_chat_llama(folder: Path, instruction: str, answer: str, template: str = CHAT_TEMPLATE) -> Path:
    """A `LlamaForCausalLM` with a chat template that has learnt, in a second, to answer one instruction."""
    tokenizer = byte_tokenizer(chat_template=template)
    chat = [{"role": "user", "content": instruction}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    text = tokenizer(f"{asked}{answer}<eos>", add_special_tokens=False, return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    model = LlamaForCausalLM(_llama_config(len(tokenizer), initializer_range=0.1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(text, labels=text).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_SIZES = {
    "vocab_size": len(byte_tokenizer()),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def _seeded(family: type, config: object, folder: Path) -> Path:
    torch.manual_seed(0)
    family(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def _llama_config(vocabulary: int, initializer_range: float) -> LlamaConfig:
    sizes = _SIZES | {"vocab_size": vocabulary, "initializer_range": initializer_range}
    return LlamaConfig(**sizes, intermediate_size=64, num_attention_heads=2, max_position_embeddings=1024)
