"""The house: imports point one way, stages do not import each other, importing synthio is light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "synthio"
LEVELS = [
    {
        "errors",
        "frozen",
        "seeds",
        "recipes",
        "verdict",
        "formats",
        "versions",
        "optional",
        "registry",
        "chunks",
        "writing",
    },
    {"config", "records", "progress"},
    {"store", "audio", "files", "wording"},
    {
        "metrics",
        "calls",
        "context",
        "pools",
        "copies",
        "augment",
        "preference",
        "charts",
        "media",
        "pages",
        "checkpoint",
        "datasets",
        "variation",
        "caption_words",
        "work_log",
    },
    {"backends"},
    {"arms", "data_check", "generation", "plugins"},
    {"comparison", "confusion", "curves"},
    {"stages", "pretrain"},
    {"results", "report_data", "report_page", "cards", "evaluation_page", "listening", "models", "stage_folders"},
    {"pipeline"},
    {"plan", "doctor", "api", "bench", "preview", "evaluation"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: depth for depth, names in enumerate(LEVELS) for name in names}


def rooms() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("synthio.")}


def test_every_room_has_a_level() -> None:
    assert {room_of(path) for path in rooms()} == set(LEVEL)


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    here = room_of(path)
    upward = [name for name in imported(path) if LEVEL.get(name.split(".")[1], -1) > LEVEL[here]]
    assert not upward, f"{path.name} imports {upward}, which are above it"
    if here == "stages":
        others = [n for n in imported(path) if n.startswith("synthio.stages.") and n.split(".")[2] != path.stem]
        assert not others, f"stage {path.stem} imports {others}"


def test_no_files_import_each_other_in_a_circle() -> None:
    files = {".".join(("synthio", *path.relative_to(ROOT).with_suffix("").parts)): path for path in rooms()}
    imports = {name: imported(path) & files.keys() - {name} for name, path in files.items()}
    # Raises CycleError, which names the circle.
    assert set(TopologicalSorter(imports).static_order()) == files.keys()


def test_importing_synthio_loads_no_model_library() -> None:
    code = (
        "import sys; from synthio import load_config, predict, run; "
        "print([m for m in ('torch', 'transformers', 'diffusers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom synthio.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\nprint('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_public_names_are_exactly_these_and_load() -> None:
    import synthio

    names = ["ConsoleReporter", "Pipeline", "Reporter", "RunConfig"]
    names += ["FilePrediction", "FinishedRun", "GeneratedClip"]
    names += ["BackendError", "ConfigError", "DataError", "MissingArtefact", "MissingDependency", "ModelError"]
    names += ["StoreError", "SynthioError"]
    names += ["__version__", "generate_clip", "load_config", "predict", "run"]
    assert sorted(synthio.__all__) == sorted(names)
    assert all(getattr(synthio, name) is not None for name in synthio.__all__)


def test_no_pickle_no_eval_no_unsafe_yaml() -> None:
    banned = ("import pickle", "torch.load(", "yaml.load(", "eval(", "exec(", "weights_only=False")
    for path in rooms():
        text = path.read_text(encoding="utf-8").replace(".eval()", "").replace(".eval().", "")
        assert not [word for word in banned if word in text.replace("model.eval(", "")], path


def test_every_room_stands_on_the_page_that_describes_them() -> None:
    page = (ROOT.parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    plan = page[page.index("```") : page.index("```", page.index("```") + 3)]
    missing = [name for name in LEVEL if not re.search(rf"(^  |\W){name}(\.py|/)", plan, re.MULTILINE)]
    assert not missing
