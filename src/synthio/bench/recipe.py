"""A bench recipe: datasets x sizes x arms x seeds, and how each cell's run recipe is made from it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from synthio.bench.arms import PAPER_ARMS, BenchArm, OwnArm, built_in_arms
from synthio.config import RunConfig
from synthio.datasets.splits import count_folds
from synthio.errors import ConfigError
from synthio.recipes import Section, UserPath, merge, validate

_RUN_SECTIONS = [name for name, field in RunConfig.model_fields.items() if isinstance(field.default, Section)]


Sizes = Annotated[tuple[int, ...], Field(min_length=1)]


class DatasetSettings(Section):
    """What a dataset sets of a run recipe, which is checked as such, and of the bench."""

    model_config = ConfigDict(extra="allow")

    sizes: Sizes | None = None
    """In the place of the bench's."""


class BenchRecipe(Section):
    """`synthio bench`."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(_RUN_SECTIONS, "belongs to a run recipe: use `synthio run`, or put it under base"),
        "data": "belongs to a run recipe: use `synthio run`, or put it under datasets.NAME",
        "run_folder": "belongs to a run recipe: use `synthio run`; a bench has `output`",
    }

    version: Literal[1] = 1
    output: UserPath
    """Run folders, finished cells, results.csv and the tables go here."""
    datasets: dict[str, DatasetSettings] = Field(min_length=1)
    """By name (one of the paper's ten readers' names brings its numbers): what it sets of a run recipe, ``data`` above
    all."""
    sizes: Sizes
    """n: real training clips in total."""
    seeds: int = Field(5, ge=1)
    """Each draws the splits (where the data has none), the training clips, and all that follows. With
    ``data.split_method: folds`` at most as many as there are folds."""
    arms: tuple[str, ...] = Field(PAPER_ARMS, min_length=1)
    own_arms: dict[str, OwnArm] = Field(default_factory=dict)
    base: dict[str, Any] = Field(default_factory=dict)
    """What every cell's run recipe sets."""
    reference: str = "gold"
    """The arm that the others are compared with."""

    def sizes_of(self, dataset: str) -> tuple[int, ...]:
        """Its own, else those of the bench."""
        return self.datasets[dataset].sizes or self.sizes


@dataclass(frozen=True)
class Cell:
    """One arm on one draw of one dataset."""

    dataset: str
    n: int
    seed: int
    arm: str

    @property
    def draw(self) -> str:
        """What its arms share: data, captions, adapters, generated clips, and so the run folder."""
        return f"{self.dataset}-n{self.n}-s{self.seed}"

    @property
    def name(self) -> str:
        """Unique in a bench."""
        return f"{self.draw}-{self.arm}"

    @property
    def key(self) -> tuple[str, int, str, int]:
        """`Result.cell` of its result."""
        return self.dataset, self.n, self.arm, self.seed


def resolve_arms(recipe: BenchRecipe) -> dict[str, BenchArm]:
    """The recipe's arms in order, its own ones included. Raises: `ConfigError` for a name that is unknown."""
    known = dict(built_in_arms())
    for name, arm in recipe.own_arms.items():
        if name in known:
            raise ConfigError(f"own_arms.{name}: there is a built-in arm of this name; choose another")
        if arm.like not in known:
            raise ConfigError(f"own_arms.{name}.like is {arm.like!r}; expected one of {', '.join(known)}")
        known[name] = BenchArm(title=arm.title, run=merge(known[arm.like].run, arm.run))
    if unknown := [name for name in recipe.arms if name not in known]:
        raise ConfigError(f"arms: {unknown} are unknown; expected some of {', '.join(known)}")
    return {name: known[name] for name in recipe.arms}


def plan(recipe: BenchRecipe) -> dict[str, list[Cell]]:
    """All cells, by draw; the smallest sizes and one seed of everything first, so that a half-done table is a fair one.

    Raises: `ConfigError` for an unknown arm or a reference that is no arm.
    """
    resolve_arms(recipe)
    if recipe.reference not in recipe.arms:
        raise ConfigError(f"reference is {recipe.reference!r}; expected one of arms: {', '.join(recipe.arms)}")
    # Names become file names.
    if bad := [name for name in (*recipe.datasets, *recipe.own_arms) if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
        raise ConfigError(f"datasets, own_arms: {bad}; expected names of letters, digits, hyphens and underscores")
    listed: dict[str, tuple[object, ...]] = {"sizes": recipe.sizes, "arms": recipe.arms}
    for field, values in (
        listed | {f"datasets.{name}.sizes": recipe.sizes_of(name) for name in recipe.datasets}
    ).items():
        if len(set(values)) < len(values):
            raise ConfigError(f"{field}: {list(values)} has repetitions; expected each once")
    cells: dict[str, list[Cell]] = defaultdict(list)
    for size in dict.fromkeys(chain(recipe.sizes, *map(recipe.sizes_of, recipe.datasets))):
        for seed in range(recipe.seeds):
            for dataset in (name for name in recipe.datasets if size in recipe.sizes_of(name)):
                for arm in recipe.arms:
                    cell = Cell(dataset, size, seed, arm)
                    cells[cell.draw].append(cell)
    return dict(cells)


def all_cells(recipe: BenchRecipe) -> list[Cell]:
    """Of every draw, as `plan` has them."""
    return list(chain.from_iterable(plan(recipe).values()))


def run_config(recipe: BenchRecipe, cell: Cell) -> RunConfig:
    """The run recipe of one cell; what makes it this cell cannot be set elsewhere.

    Raises: `ConfigError` as `validate` does, and for an arm that is not one arm.
    """
    content: dict[str, Any] = {
        # Seeds that all test on the same groups would say nothing of other ones.
        "data": {"split_method": "random"},
        "train": {"seeds": 1},
        "retrieve": {"cache": str(recipe.output / "cache")},
    }
    dataset = recipe.datasets[cell.dataset].model_extra or {}
    for layer in (recipe.base, dataset, resolve_arms(recipe)[cell.arm].run):
        content = merge(content, layer)
    own = {
        "run_folder": str(recipe.output / "runs" / cell.draw),
        "seed": cell.seed,
        "data": {"sample": {"train": cell.n}},
    }
    config = validate(merge(content, own), RunConfig, f"{cell.name} (from the bench recipe)")
    folds = count_folds(config.data.test_fraction) if config.data.split_method == "folds" else recipe.seeds
    if recipe.seeds > folds:
        raise ConfigError(
            f"seeds is {recipe.seeds}, but data.split_method: folds has {folds} folds where data.test_fraction is "
            f"{config.data.test_fraction}, and each is for one seed; set seeds to {folds}, or another test_fraction"
        )
    if len(config.train.arms) != 1:
        raise ConfigError(f"arm {cell.arm!r}: its train.arms is {list(config.train.arms)}; expected exactly one")
    return config
