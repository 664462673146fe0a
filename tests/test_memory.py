"""What weights take of the memory is told before they load, and that they do not fit when they do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_llm import tiny_llama
from transformers import AutoModelForAudioClassification, AutoModelForCausalLM, ClapModel

from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.loading import loading
from synthio.backends.memory import needed_bytes, weights_bytes
from synthio.backends.parts import used_model
from synthio.config import RunConfig, T2AConfig
from synthio.doctor import examine
from synthio.errors import ModelError
from synthio.models import model_warnings


def recipe(section: str, model: Path | str, **more: object) -> RunConfig:
    content = {"data": {"path": "demo"}, section: {"model": str(model), "device": "cpu", **more}}
    return RunConfig.model_validate(content)


def told(part: str, config: RunConfig) -> int | None:
    return weights_bytes(used_model(part, config), config)


def held(*modules: torch.nn.Module) -> int:
    """Bytes that really loaded networks hold; weights under two names once."""
    tensors = {tensor.data_ptr(): tensor for module in modules for tensor in module.state_dict().values()}
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["flow_model", "v_model", "ldm_model"])
def test_of_a_generator_as_it_is_loaded(request: pytest.FixtureRequest, family: str, dtype: str) -> None:
    folder = request.getfixturevalue(family)
    pipeline = load_pipeline(T2AConfig(model=str(folder), device="cpu", dtype=dtype)).pipeline
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    # Frequencies keep float32.
    assert told("t2a", recipe("t2a", folder, dtype=dtype)) == pytest.approx(held(*parts), rel=0.005)


def test_of_a_clap_and_a_classifier_with_its_training(clap_model: Path, ast_model: Path) -> None:
    assert told("clap", recipe("clap", clap_model)) == held(ClapModel.from_pretrained(clap_model))
    config = recipe("train", ast_model)
    loaded = held(AutoModelForAudioClassification.from_pretrained(ast_model))
    assert told("classifier", config) == loaded
    assert needed_bytes(used_model("classifier", config), loaded) == 4 * loaded


def test_of_a_language_model_in_shards_beside_other_copies(tmp_path: Path) -> None:
    """Half precision becomes float32 on a CPU; a variant and the authors' own file are not loaded."""
    folder = tiny_llama(tmp_path / "whole")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    for name in ("model.fp16.safetensors", "consolidated.safetensors"):
        shutil.copy(folder / "model.safetensors", tmp_path / "shards" / name)
    assert told("llm", recipe("imagine", tmp_path / "shards")) == 2 * held(model)


def with_header(folder: Path, parameters: int) -> Path:
    """A model whose file says that it holds so many numbers, and ends there."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F16", "shape": [parameters], "data_offsets": [0, 2 * parameters]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_what_the_device_cannot_hold_is_told_before_a_run(tmp_path: Path) -> None:
    folder = with_header(tmp_path / "huge", 2**50)
    (warning,) = model_warnings(recipe("clap", folder))
    assert warning.startswith(f"clap.model {str(folder)!r} needs 4,194,304.0 GiB for its weights, and cpu has ")
    assert warning.endswith("take a smaller model or another clap.device")
    (warning,) = model_warnings(recipe("train", folder))
    assert "needs 16,777,216.0 GiB for its weights and their training" in warning
    (warning, _) = model_warnings(recipe("t2a", folder))
    assert warning.endswith("take a smaller model, t2a.dtype=float16 or another t2a.device")
    without = recipe("clap", folder).model_copy(update={"train": recipe("train", "pocket", arms=["gold"]).train})
    assert model_warnings(without) == []


def test_what_another_program_holds_of_a_card_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of language models takes most of its card, where only all of the card was compared with."""
    gib = 2**30
    card = SimpleNamespace(total_memory=24 * gib)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * gib, 24 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: gib)
    # In float32 these are 4 GiB.
    config = recipe("clap", with_header(tmp_path / "large", gib), device="cuda")
    (warning,) = model_warnings(config)
    assert "for its weights, and cuda has 3.0 GiB of 24.0 GiB free, beside other programs: take" in warning
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * gib)
    assert model_warnings(config) == []

    def full(device: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    (warning,) = model_warnings(config)
    assert "cuda has 0 MiB of 24.0 GiB free" in warning


def test_doctor_tells_it(ast_model: Path, tmp_path: Path) -> None:
    line = examine(recipe("train", with_header(tmp_path / "large", 2**28)))["models"]["classifier"]
    assert ": local folder, 1.0 GiB of weights (4.0 GiB in training); device cpu with " in line
    nowhere = recipe("imagine", ast_model, device="cuda:99")
    assert ": local folder; device none: " in examine(nowhere)["models"]["llm"]


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_what_is_damaged_or_not_here_is_told_when_it_is_loaded(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    assert told("clap", recipe("clap", tmp_path)) is None
    assert told("clap", recipe("clap", "owner/name")) is None


def test_weights_that_do_not_fit_are_no_traceback() -> None:
    """They were loaded, and then put on the device where nothing was caught."""
    advice = r"do not fit into the memory.*t2a\.dtype=float16 or t2a\.device=cpu, or use t2a\.model=pocket"
    with pytest.raises(ModelError, match=advice), loading("t2a", "owner/name", "use t2a.model=pocket"):
        torch.empty(2**60, dtype=torch.uint8)
