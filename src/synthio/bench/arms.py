"""The arms as recipes: a title and a few lines of run recipe each, in ``arms/*.yaml``; ablations include their base."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from synthio.bench import paper
from synthio.recipes import Section, read_yaml, validate

#: The paper's 14, in its order.
PAPER_ARMS = tuple(paper.ARMS)


class BenchArm(Section):
    """One arm."""

    title: str
    run: dict[str, Any]
    """What it sets of a run recipe."""


class OwnArm(Section):
    """An arm of a bench recipe's own, for example one point of a sweep: a built-in one with a few changes."""

    like: str
    title: str
    run: dict[str, Any] = Field(default_factory=dict)


@cache
def built_in_arms() -> Mapping[str, BenchArm]:
    """All that ship, by name: `PAPER_ARMS` first, then the others."""
    folder = Path(str(resources.files("synthio.bench") / "arms"))
    others = sorted({path.stem for path in folder.glob("*.yaml")} - set(PAPER_ARMS))
    files = {name: folder / f"{name}.yaml" for name in (*PAPER_ARMS, *others)}
    return {name: validate(read_yaml(path), BenchArm, str(path)) for name, path in files.items()}
