"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from synthio.bench.recipe import BenchRecipe
from synthio.bench.show import show
from synthio.config import RunConfig
from synthio.recipes import load_recipe, validate

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_configuration_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_configuration_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.render(), "run `make docs`"


def test_every_pretraining_recipe_is_valid() -> None:
    from synthio.pretrain.autoencoder import AutoencoderRecipe
    from synthio.pretrain.clap import ClapRecipe
    from synthio.pretrain.classifier import ClassifierRecipe
    from synthio.pretrain.recordings import RecordingsRecipe
    from synthio.pretrain.t2a import T2ARecipe

    schemas = {
        AutoencoderRecipe: ("autoencoder",),
        ClapRecipe: ("clap", "clap-more", "clap-sizes"),
        ClassifierRecipe: ("classifier",),
        RecordingsRecipe: ("recordings", "soundfonts", "timgm6mb"),
        T2ARecipe: ("t2a", "t2a-more"),
    }
    folder = ROOT / "recipes" / "pretrain"
    # The others include corpus.yaml.
    known = {"corpus", *(name for names in schemas.values() for name in names)}
    assert {path.stem for path in folder.glob("*.yaml")} == known
    for schema, names in schemas.items():
        for name in names:
            load_recipe(folder / f"{name}.yaml", [], schema)


def test_the_recipes_of_the_page_on_own_archives_are_valid(tmp_path: Path) -> None:
    from synthio.pretrain.autoencoder import AutoencoderRecipe
    from synthio.pretrain.t2a import T2ARecipe

    page = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    names = ("corpus", "autoencoder", "t2a", "run")
    for name, block in zip(names, re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL), strict=True):
        (tmp_path / f"{name}.yaml").write_text(block)
    load_recipe(tmp_path / "autoencoder.yaml", [], AutoencoderRecipe)
    t2a, run = load_recipe(tmp_path / "t2a.yaml", [], T2ARecipe), load_recipe(tmp_path / "run.yaml", [], RunConfig)
    assert t2a.corpus.note_sizes == t2a.corpus.drum_sizes == t2a.corpus.machine_hits == 0
    assert (run.t2a.model, run.data.max_duration_s) == (str(t2a.output / "model"), max(t2a.durations_s))


def test_the_benchmark_page_has_the_tables_that_its_commands_print(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    command = r"(?:ARMS='([^']+)' )?synthio bench show (\S+\.yaml) ([^`]*?) ?--results (\S+\.csv)"
    flat = " ".join(page.split())
    found = list(re.finditer(command, flat))
    assert {Path(match[4]).name for match in found} >= {
        "pocket-n50.csv",
        "pocket-n100.csv",
        "soundfonts-parts.csv",
        "sweep-share.csv",
        "sweep-size.csv",
    }
    for match, end in zip(found, [*(match.start() for match in found[1:]), len(flat)], strict=True):
        arms, recipe, arguments, results = match.groups()
        overrides = [*shlex.split(arguments.replace("$ARMS", arms or "")), f"output={tmp_path}"]
        shown = show(load_recipe(ROOT / recipe, overrides, BenchRecipe), [ROOT / results])
        grids = re.findall(r"^(.+:)\n\n((?:\|.*\n)+)", shown.markdown, flags=re.M)
        # Of each dataset's own differences, the page has those that it begins to show behind the command. Over several
        # datasets it has all, but of models before today's, which it says in its text.
        behind = flat[match.end() : end]
        over_all = [grid for caption, grid in grids if "-before" not in results and "over datasets" in caption]
        of_each = [grid for caption, grid in grids if caption.startswith("Difference from") and caption in behind]
        expected = [line for grid in (grids[0][1], *over_all, *of_each) for line in grid.splitlines()]
        assert len(grids[0][1].splitlines()) > 4 and not set(expected) - set(page.splitlines()), results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            name, _, heading = target.partition("#")
            there = page.parent / name if name else page
            assert there.exists(), f"{page.name}: {target}"
            assert not heading or heading in anchors(there), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them: small letters, hyphens for blanks, no punctuation."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_text_are_valid(page: Path) -> None:
    """The page on full-size models put training on a card that is refused."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for found in re.findall(rf"`((?:{'|'.join(RunConfig.model_fields)}): \{{[^`]*\}})`", text):
        content = {"data": {"path": "demo"}, **yaml.safe_load(found)}
        validate(content, RunConfig, f"{page.name}: {found}")


def test_readme_names_the_ci_command() -> None:
    assert re.search("^make test ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
