"""What the Python functions refuse and say, apart from what they make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from typer.testing import CliRunner

from synthio import RunConfig, generate_clip, load_config, predict, run
from synthio.backends.classifier import find_classifier, fit_frontend, load_classifier, save_classifier
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.modes import own_modes
from synthio.cli import app
from synthio.config import TrainConfig
from synthio.errors import ConfigError
from synthio.store import StageFolder, fingerprint


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused_before_the_model_loads(batch_size: int) -> None:
    """0 gave no rows and no error, -1 a ValueError."""
    with pytest.raises(ConfigError, match=f"batch_size is {batch_size}; expected at least 1"):
        predict("no/such/model", "a.wav", batch_size=batch_size)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"duration_s": 121.0}, "the duration is 121 s; expected 0.1 to 120 s"),
        ({"duration_s": 0.0}, "the duration is 0 s"),
        ({"duration_s": float("nan")}, "the duration is nan s"),
        ({"seed": -1}, "the seed is -1; expected 0 to"),
        ({"seed": 2**70}, "the seed is 1180591620717411303424; expected 0 to"),
    ],
)
def test_a_clip_that_cannot_be_is_refused_before_a_model_loads(
    wanted: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the command line had bounds."""
    monkeypatch.setattr("synthio.api._generator", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(ConfigError, match=words):
        generate_clip(**{"prompt": "a bell", "output": tmp_path / "clip.wav", **wanted})
    assert not list(tmp_path.iterdir())


def test_an_empty_prompt_is_told_before_any_model_library_loads() -> None:
    code = (
        "import sys; from synthio import SynthioError, generate_clip\n"
        "try: generate_clip(' ', 'clip.wav')\n"
        "except SynthioError as error: print(error, [m for m in ('torch', 'diffusers') if m in sys.modules])"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.startswith("the prompt is empty") and told.strip().endswith("[]")


def test_overrides_that_are_one_text_are_one_problem(tmp_path: Path) -> None:
    """Each letter was an override of its own."""
    (tmp_path / "recipe.yaml").write_text("data: {path: demo}")
    with pytest.raises(ConfigError) as told:
        load_config(tmp_path / "recipe.yaml", "seed=2")
    assert str(told.value) == "the overrides are 'seed=2'; expected a list of them, such as ['seed=2']"


def test_a_recipe_may_be_a_mapping() -> None:
    content = {"data": {"path": "demo"}, "seed": 1}
    config = load_config(content, ["train.seeds=5"])
    assert (config.seed, config.train.seeds, content) == (1, 5, {"data": {"path": "demo"}, "seed": 1})
    with pytest.raises(ConfigError, match="the recipe: 1 problem.*\n  train.sedes: unknown key; did you mean 'seeds'"):
        load_config({"data": {"path": "demo"}, "train": {"sedes": 3}})


def test_a_recipe_may_hold_sections_and_paths_and_be_one_that_was_read(tmp_path: Path) -> None:
    """An override put a section's other settings back to their defaults without a word."""
    train = TrainConfig(seeds=5, arms=("gold",))
    config = load_config({"data": {"path": tmp_path}, "train": train}, ["train.steps=7"])
    assert (config.train.seeds, config.train.arms, config.train.steps) == (5, ("gold",), 7)
    assert config.data.path == str(tmp_path)
    changed = load_config(config, ["train.steps=8"])
    assert changed == config.model_copy(update={"train": config.train.model_copy(update={"steps": 8})})
    # What was not set is still not: some defaults follow others.
    assert changed.model_fields_set == config.model_fields_set
    with pytest.raises(ConfigError, match="expected a RunConfig, as load_config makes of a recipe, found dict"):
        run({"data": {"path": "demo"}})  # type: ignore[arg-type]


def test_what_a_notebook_set_in_torch_changes_no_clip_and_is_left_as_it_was(tmp_path: Path, flow_model: Path) -> None:
    config = RunConfig.model_validate(
        {"data": {"path": "demo"}, "t2a": {"model": str(flow_model)}, "align": {"method": "none"}}
    )
    plain = generate_clip("a bell", tmp_path / "plain.wav", duration_s=0.5, config=config)
    adapted = load_pipeline(config.t2a)
    adapted.add_adapter(rank=2, seed=0)
    adapted.save_adapter(tmp_path / "adapter")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            odd = generate_clip("a bell", tmp_path / "odd.wav", duration_s=0.5, seed=np.int64(0), config=config)
            assert torch.is_inference_mode_enabled()
        with own_modes():
            # Its weights are drawn before they are loaded.
            load_pipeline(config.t2a).load_adapter(tmp_path / "adapter")
        assert (torch.get_default_dtype(), torch.get_default_device()) == (torch.float64, torch.device("meta"))
        assert torch.equal(torch.get_rng_state(), before)
        with own_modes():
            assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert odd.path.read_bytes() == plain.path.read_bytes()


def test_what_a_notebook_set_in_torch_changes_no_prediction(tmp_path: Path, ast_model: Path) -> None:
    """A default device was an error, in a model of its own and in the inputs."""
    source, clip = find_classifier(str(ast_model)), tmp_path / "a.wav"
    sf.write(clip, np.random.default_rng(0).normal(scale=0.1, size=16_000), 16_000)
    frontend = fit_frontend(source, [16_000])
    trained = load_classifier(source, frontend, ["bell", "dog"], "single_label_classification", 0)
    save_classifier(trained, frontend, tmp_path / "model")
    plain = list(predict(tmp_path / "model", clip))
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        odd = list(predict(tmp_path / "model", clip))
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert odd == plain and not plain[0].failed


def test_the_names_are_found_before_their_use() -> None:
    code = "import synthio; print(set(synthio.__all__) <= set(dir(synthio)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"


def test_the_recipe_of_a_run_that_was_copied_is_not_of_the_old_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`synthio report copy/recipe.yaml` wrote over the report of the original."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/old", "runs/copy"):
        StageFolder(Path(name), "clips", fingerprint("x")).finish([], {})
        Path(name, "recipe.yaml").write_text("{data: {path: demo}, run_folder: runs/old}")
    (tmp_path / "latest").symlink_to("runs/old")
    for own in ("runs/old/recipe.yaml", "latest/recipe.yaml"):
        assert load_config(own).run_folder == Path("runs/old")
    copied = tmp_path / "runs" / "copy"
    with pytest.raises(ConfigError, match=r"copy/recipe.yaml: .*run_folder is runs/old, .*add run_folder=.*runs/copy "):
        load_config(copied / "recipe.yaml")
    assert load_config(copied / "recipe.yaml", [f"run_folder={copied}"]).run_folder == copied
    assert load_config("runs/copy/recipe.yaml", ["run_folder=runs/new"]).run_folder == Path("runs/new")
    told = CliRunner().invoke(app, ["run", "runs/copy/recipe.yaml", "--dry-run"])
    assert isinstance(told.exception, ConfigError) and "add run_folder=runs/copy" in str(told.exception)
    # Where nothing is written, it makes no difference.
    assert CliRunner().invoke(app, ["data", "check", "runs/copy/recipe.yaml", "--json"]).exception is None
    copied.rename("runs/my copy")
    with pytest.raises(ConfigError, match="add run_folder='runs/my copy' for"):
        load_config("runs/my copy/recipe.yaml")
    # From another folder the same words mean another place.
    monkeypatch.chdir(tmp_path / "runs")
    with pytest.raises(ConfigError, match="run_folder is runs/old"):
        load_config("old/recipe.yaml")
    # A recipe beside a run, or one of another name in it, says what it says.
    for own in ("recipe.yaml", "old/mine.yaml"):
        Path(own).write_text("{data: {path: demo}, run_folder: elsewhere}")
        assert load_config(own).run_folder == Path("elsewhere")
