"""What the Python functions refuse and say, apart from what they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synthio import generate_clip, load_config, predict
from synthio.cli import app
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
        ({"seed": -1}, "the seed is -1; expected 0 or more"),
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
    # From another folder the same words mean another place.
    monkeypatch.chdir(tmp_path / "runs")
    with pytest.raises(ConfigError, match="run_folder is runs/old"):
        load_config("old/recipe.yaml")
    # A recipe beside a run, or one of another name in it, says what it says.
    for own in ("recipe.yaml", "old/mine.yaml"):
        Path(own).write_text("{data: {path: demo}, run_folder: elsewhere}")
        assert load_config(own).run_folder == Path("elsewhere")
