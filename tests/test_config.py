"""The recipe of a run: defaults, meanings, and the recipes that are shipped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from synthio.bench.recipe import BenchRecipe, all_cells, run_config
from synthio.cli import app
from synthio.config import DataConfig, RunConfig
from synthio.errors import ConfigError
from synthio.recipes import load_recipe, to_yaml, validate

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECIPES = Path(__file__).parent.parent / "recipes"
STARTERS = RECIPES.parent / "src" / "synthio" / "starters"
RUNS = ("demo", "own-data", "full-size")


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from sections(info.annotation, f"{path}{name}.")


def test_only_the_data_path_is_required() -> None:
    required = [
        path + n for path, model in sections(RunConfig) for n, f in model.model_fields.items() if f.is_required()
    ]
    assert sorted(required) == ["data", "data.path"]


def test_defaults_pass_their_own_rules() -> None:
    config = RunConfig(data=DataConfig(path="demo"))
    assert validate(config.model_dump(mode="json"), RunConfig, "defaults") == config


@unhurried
@given(st.text(min_size=1), st.text(min_size=1))
@example("clips with spaces/ü", "|")
@example("\x85", "\u2028a\u2029")
def test_a_config_survives_yaml(path: str, separator: str) -> None:
    config = RunConfig(data=DataConfig(path=path, label_separator=separator), run_folder=Path("runs/x"), seed=7)
    assert validate(yaml.safe_load(to_yaml(config.model_dump(mode="json"))), RunConfig, "again") == config


def test_a_config_is_written_as_people_read_it() -> None:
    assert to_yaml({"domain": "Vögel", "seeds": 3, "arms": ["gold"]}) == "domain: Vögel\nseeds: 3\narms:\n- gold\n"


def test_a_cosine_needs_a_threshold_of_its_own() -> None:
    """The default is the published one of a sigmoid, which no cosine reaches."""
    content = {"data": {"path": "demo"}, "filter": {"rule": "cosine"}}
    with pytest.raises(ConfigError, match=r"filter.rule: cosine needs a filter.threshold"):
        validate(content, RunConfig, "recipe.yaml")
    config = validate(content | {"filter": {"rule": "cosine", "threshold": 0.3}}, RunConfig, "recipe.yaml")
    assert validate(config.model_dump(mode="json"), RunConfig, "as the run folder has it") == config


def test_training_on_another_card_than_the_first_is_refused_with_the_way_out() -> None:
    """`Trainer` would take the first without a word. What was shown was a regular expression."""
    recipe = {"data": {"path": "clips"}, "t2a": {"device": "cuda:1"}, "train": {"device": "cuda:1"}}
    with pytest.raises(ConfigError, match=r"train\.device: is not the first card.*CUDA_VISIBLE_DEVICES=1") as caught:
        validate(recipe, RunConfig, "recipe.yaml")
    assert "t2a.device" not in str(caught.value)
    for device in ("auto", "cpu", "cuda", "cuda:0"):
        recipe["train"]["device"] = device
        assert validate(recipe, RunConfig, "recipe.yaml").train.device == device


def test_sections_are_frozen() -> None:
    config = RunConfig(data=DataConfig(path="demo"))
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("section", [model for _, model in sections(RunConfig)])
def test_every_section_says_what_it_is(section: type[BaseModel]) -> None:
    assert section.__doc__


@unhurried
@given(st.floats(0, 0.99), st.floats(0, 0.99))
def test_fractions_leave_training_clips(valid: float, test: float) -> None:
    content = {"data": {"path": "x", "valid_fraction": valid, "test_fraction": test}}
    if valid + test < 1:
        assert validate(content, RunConfig, "x").data.valid_fraction == valid
    else:
        with pytest.raises(ConfigError, match="no training clips"):
            validate(content, RunConfig, "x")


def test_a_negative_prompt_needs_guidance() -> None:
    content = {"data": {"path": "x"}, "t2a": {"negative_prompt": "noise", "guidance_scale": 1}}
    with pytest.raises(ConfigError, match=r"needs t2a\.guidance_scale above 1"):
        validate(content, RunConfig, "x")


@pytest.mark.parametrize(
    "recipe",
    [*sorted(RECIPES.glob("*.yaml")), *(STARTERS / f"{name}.yaml" for name in RUNS)],
    ids=lambda path: path.name,
)
def test_shipped_recipes_are_valid(recipe: Path) -> None:
    load_recipe(recipe, [], RunConfig)


@pytest.mark.parametrize(
    "recipe", [*sorted((RECIPES / "bench").glob("[!_]*.yaml")), STARTERS / "bench.yaml"], ids=lambda path: path.name
)
def test_every_cell_of_a_shipped_bench_is_valid(recipe: Path) -> None:
    bench = load_recipe(recipe, [], BenchRecipe)
    cells = all_cells(bench)
    assert len({run_config(bench, cell).model_dump_json() for cell in cells}) == len(cells)


def test_a_recipe_to_start_from_is_printed_or_written_to_a_new_file(tmp_path: Path) -> None:
    def command(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["recipe", *arguments])
        return done.exit_code, done.stdout if done.exception is None else str(done.exception)

    listed = [line.split()[0] for line in command()[1].splitlines()]
    assert listed == [*RUNS, "bench"] and {path.stem for path in STARTERS.iterdir()} == set(listed)
    path = tmp_path / "recipe.yaml"
    for name in listed:
        text = (STARTERS / f"{name}.yaml").read_text(encoding="utf-8")
        assert command(name) == (0, text)
    assert command("bench", "-o", str(path)) == (0, f"{path}\n") and path.read_text(encoding="utf-8") == text
    assert "is there already" in command("demo", "-o", str(path))[1] and path.read_text(encoding="utf-8") == text
    assert command("demos")[1] == "no recipe 'demos'; expected one of demo, own-data, full-size, bench"


def test_the_config_imports_no_torch() -> None:
    code = "import sys, synthio.config, synthio.store, synthio.data_check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
