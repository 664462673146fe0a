"""Packages with plug-ins, installed as pip does: a module, and what `importlib.metadata` reads of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "plugins.md"


def install(folder: Path, name: str, version: str, entry_points: dict[str, dict[str, str]], module: str) -> Path:
    """Into ``folder``, to be put on the path. ``entry_points``: by group, as in a pyproject.toml."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for group, own in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))
    (folder / f"{name.replace('-', '_')}.py").write_text(module)
    return folder


def install_example(folder: Path, version: str = "0.1") -> Path:
    """The package of docs/plugins.md, as it stands there."""
    page = PAGE.read_text(encoding="utf-8")
    toml, module = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("toml", "python"))
    project = tomllib.loads(toml)["project"]
    return install(folder, project["name"], version, project["entry-points"], module)
