"""CLAP through the real loading code, and the pocket text tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synthio.backends.clap import load_clap
from synthio.config import ClapConfig
from synthio.errors import ModelError
from synthio.progress import Reporter


def clips(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=4_000 + 3_000 * i).astype(np.float32) * 0.1 for i in range(count)]


def test_rows_are_unit_and_do_not_depend_on_the_batch(clap_model: Path) -> None:
    large = load_clap(ClapConfig(model=str(clap_model), batch_size=8), Reporter())
    single = load_clap(ClapConfig(model=str(clap_model), batch_size=1), Reporter())
    for embed in ("audio", "text"):
        if embed == "audio":
            one, other = large.embed_audio(clips(8), 16_000), single.embed_audio(clips(8), 16_000)
        else:
            texts = ["hiss", "a low tone with rain in the background", "click"]
            one, other = large.embed_text(texts), single.embed_text(texts)
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_long_clips_are_cut_the_same_way_every_time(clap_model: Path) -> None:
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    long = np.random.default_rng(1).normal(size=80_000).astype(np.float32)
    np.testing.assert_array_equal(clap.embed_audio([long], 16_000), clap.embed_audio([long[:16_000]], 16_000))


def test_no_clips_no_rows(clap_model: Path) -> None:
    assert load_clap(ClapConfig(model=str(clap_model)), Reporter()).embed_audio([], 16_000).shape == (0, 16)


def test_another_kind_of_model_is_refused(ast_model: Path) -> None:
    with pytest.raises(ModelError, match="audio-spectrogram-transformer.*expected `clap`"):
        load_clap(ClapConfig(model=str(ast_model)), Reporter())


def test_a_missing_model_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="clap.model=pocket"):
        load_clap(ClapConfig(model="nobody/no-such-model"), Reporter())


def test_minilm_inside_clap_is_minilm() -> None:
    """`ClapTextModel` with the mapped weights gives MiniLM's hidden states: keys and the position shift are right."""
    pytest.importorskip("all_minilm_l6_v2")
    from transformers import AutoTokenizer, BertModel

    from synthio.backends import pocket
    from synthio.pretrain.clap import ClapRecipe, build_clap

    minilm = pocket.minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    inputs = tokenizer(["Sound of a flute", "a low, soft note with rain"], padding=True, return_tensors="pt")
    clap = build_clap(ClapRecipe(output=Path("unused"))).eval()
    bert = BertModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        ours = clap.text_model(inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
        theirs = bert(inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
    kept = inputs.attention_mask.bool()
    torch.testing.assert_close(ours[kept], theirs[kept], atol=1e-4, rtol=1e-3)
