"""CLAP through the real loading code, and the pocket text tower."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_models import with_half_of
from transformers import ClapModel

from synthio.backends.clap import load_clap
from synthio.config import ClapConfig, DataConfig, RunConfig
from synthio.doctor import examine
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
            one, other = large.embed_audio(clips(8)), single.embed_audio(clips(8))
        else:
            texts = ["hiss", "a low tone with rain in the background", "click"]
            one, other = large.embed_text(texts), single.embed_text(texts)
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_the_scale_is_that_of_the_models_own_logits(clap_model: Path, tmp_path: Path) -> None:
    """The published rule accepts clips by it."""
    model = ClapModel.from_pretrained(clap_model).eval()
    with torch.no_grad():
        model.logit_scale_a.fill_(2.5)
        spectrum, tokens = torch.randn(2, 1, 126, 32), torch.tensor([[2, 4, 3]])
        told = model(tokens, spectrum, is_longer=torch.zeros(2, 1, dtype=torch.bool))
        scale = told.logits_per_audio / (told.audio_embeds @ told.text_embeds.T)
    saved = shutil.copytree(clap_model, tmp_path / "scaled")
    model.save_pretrained(saved)
    assert load_clap(ClapConfig(model=str(saved)), Reporter()).logit_scale == pytest.approx(
        float(scale[0, 0]), rel=1e-4
    )


def test_long_clips_are_cut_the_same_way_every_time(clap_model: Path) -> None:
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    long = np.random.default_rng(1).normal(size=80_000).astype(np.float32)
    np.testing.assert_array_equal(clap.embed_audio([long]), clap.embed_audio([long[:16_000]]))


def test_no_clips_no_rows(clap_model: Path) -> None:
    assert load_clap(ClapConfig(model=str(clap_model)), Reporter()).embed_audio([]).shape == (0, 16)


def test_another_kind_of_model_is_refused(ast_model: Path) -> None:
    with pytest.raises(ModelError, match="audio-spectrogram-transformer.*expected `clap`"):
        load_clap(ClapConfig(model=str(ast_model)), Reporter())


def test_a_missing_model_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="clap.model=pocket"):
        load_clap(ClapConfig(model="nobody/no-such-model"), Reporter())


@pytest.fixture
def hub_model(clap_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of `owner/clap` in a hub cache, as of a repository whose safetensors are in a pull request only."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--clap"
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(clap_model, snapshot, ignore=shutil.ignore_patterns("*.safetensors"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return snapshot


@pytest.mark.parametrize("revision", [None, "a" * 40])
def test_a_hub_model_without_safetensors_names_the_cure(hub_model: Path, revision: str | None) -> None:
    """It said to check the name and the network, and `synthio doctor` that the model was there."""
    config = ClapConfig(model="owner/clap", revision=revision)
    with pytest.raises(ModelError, match=r"clap\.revision=refs/pr/N.* on main, or use clap\.model=pocket"):
        load_clap(config, Reporter())
    recipe = RunConfig(data=DataConfig(path="demo"), clap=config)
    assert "hub cache, without safetensors weights: download them" in examine(recipe)["models"]["clap"]
    assert "clap.revision=refs/pr/N" in examine(recipe)["models"]["clap"]


def test_doctor_looks_at_the_revision_of_a_hub_model(hub_model: Path, clap_model: Path) -> None:
    shutil.copy(clap_model / "model.safetensors", hub_model)
    for revision, place in [(None, "hub cache"), ("a" * 40, "hub cache"), ("refs/pr/4", "hub, not downloaded yet")]:
        config = ClapConfig(model="owner/clap", revision=revision, device="cpu")
        found = examine(RunConfig(data=DataConfig(path="demo"), clap=config))["models"]["clap"]
        weights = ", 0 MiB of weights" if place == "hub cache" else ""
        assert found.startswith(f"owner/clap: {place}{weights}; device cpu with ")


def test_a_folder_with_pickled_weights_is_to_be_saved_again(clap_model: Path, tmp_path: Path) -> None:
    shutil.copytree(clap_model, tmp_path / "clap", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ModelError, match="save it again with save_pretrained"):
        load_clap(ClapConfig(model=str(tmp_path / "clap")), Reporter())


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_a_folder_with_half_a_file_says_so(file: str, clap_model: Path, tmp_path: Path) -> None:
    """Half of the weights ended in a traceback."""
    folder = with_half_of(file, clap_model, tmp_path / "clap")
    with pytest.raises(ModelError, match=r"clap\.model .*clap' cannot be loaded .*; check its files"):
        load_clap(ClapConfig(model=str(folder)), Reporter())


def test_weights_of_another_size_are_no_traceback(clap_model: Path, tmp_path: Path) -> None:
    shutil.copytree(clap_model, tmp_path / "clap")
    settings = json.loads((clap_model / "config.json").read_text())
    (tmp_path / "clap" / "config.json").write_text(json.dumps({**settings, "projection_dim": 8}))
    with pytest.raises(
        ModelError, match=r"cannot be loaded \(its weights do not fit config.json\); check its files, or"
    ):
        load_clap(ClapConfig(model=str(tmp_path / "clap")), Reporter())


def test_a_text_tower_without_weights_is_refused(clap_model: Path, tmp_path: Path) -> None:
    """It was drawn at random, another one at every start, and decided what the filter kept."""
    shutil.copytree(clap_model, tmp_path / "clap")
    weights = load_file(clap_model / "model.safetensors")
    towerless = {name: tensor for name, tensor in weights.items() if not name.startswith("text_model.")}
    save_file(towerless, tmp_path / "clap" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing, for example text_model\."):
        load_clap(ClapConfig(model=str(tmp_path / "clap")), Reporter())


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
