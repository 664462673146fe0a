"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_configuration_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_configuration_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.render(), "run `make docs`"


@pytest.mark.parametrize("recipe", sorted(p.name for p in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_is_valid(recipe: str) -> None:
    from synthio import load_config

    assert load_config(ROOT / "recipes" / recipe).data.path


def test_every_pretraining_recipe_is_valid() -> None:
    from synthio.pretrain.autoencoder import AutoencoderRecipe
    from synthio.pretrain.clap import ClapRecipe
    from synthio.pretrain.classifier import ClassifierRecipe
    from synthio.pretrain.recordings import RecordingsRecipe
    from synthio.pretrain.t2a import T2ARecipe
    from synthio.recipes import load_recipe

    schemas = {"autoencoder": AutoencoderRecipe, "t2a": T2ARecipe, "clap": ClapRecipe, "classifier": ClassifierRecipe}
    for name, schema in schemas.items():
        load_recipe(ROOT / "recipes" / "pretrain" / f"{name}.yaml", [], schema)
    for name in ("recordings", "timgm6mb"):
        load_recipe(ROOT / "recipes" / "pretrain" / f"{name}.yaml", [], RecordingsRecipe)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_names_the_ci_command() -> None:
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
