"""The arms as recipes: a title and a few lines of run recipe each, in ``arms/*.yaml``; ablations include their base."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from synthio.bench import paper
from synthio.errors import ConfigError
from synthio.recipes import Section, merge, read_yaml, validate

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


def built_in_arms() -> dict[str, BenchArm]:
    """All that ship, by name: `PAPER_ARMS` first, then the others."""
    folder = Path(str(resources.files("synthio.bench") / "arms"))
    others = sorted({path.stem for path in folder.glob("*.yaml")} - set(PAPER_ARMS))
    files = {name: folder / f"{name}.yaml" for name in (*PAPER_ARMS, *others)}
    return {name: validate(read_yaml(path), BenchArm, str(path)) for name, path in files.items()}


def resolve_arms(names: tuple[str, ...], own: Mapping[str, OwnArm]) -> dict[str, BenchArm]:
    """The named arms in order, a recipe's own ones included. Raises: `ConfigError` for a name that is unknown."""
    known = built_in_arms()
    for name, arm in own.items():
        if name in known:
            raise ConfigError(f"own_arms.{name}: there is a built-in arm of this name; choose another")
        if arm.like not in known:
            raise ConfigError(f"own_arms.{name}.like is {arm.like!r}; expected one of {', '.join(known)}")
        known[name] = BenchArm(title=arm.title, run=merge(known[arm.like].run, arm.run))
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"arms: {unknown} are unknown; expected some of {', '.join(known)}")
    return {name: known[name] for name in names}
