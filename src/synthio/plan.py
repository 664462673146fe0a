"""What a run would do, counted before any model loads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from synthio.config import RunConfig
from synthio.data_check import DataCheck, check_data
from synthio.datasets.checks import rejection_warnings
from synthio.errors import DataError
from synthio.models import model_warnings
from synthio.pipeline import Pipeline, check_recipe
from synthio.progress import Reporter
from synthio.records import SPLITS, Split

#: Seconds per item of the pocket models on 2 cores without AVX-512, from the demo's own timings (README), whose clips
#: last 1.5 s.
_POCKET_SECONDS = {
    "caption": 0.09,
    "align": 0.18,
    "imagine": 0.20,
    "generate": 0.11,
    "filter": 0.02,
    "train": 0.09,
}
#: Stages whose work grows with the clips' length.
_OF_AUDIO = frozenset({"align", "generate", "filter", "train"})


@dataclass(frozen=True)
class PlannedStage:
    """One stage: how many items of what, and an estimate of what is left of it, where one is known."""

    stage: str
    items: int
    unit: str
    estimate_s: float | None
    most_s: float | None
    """With every clip rejected in every round of reflection."""
    finished: bool
    """Nothing is left of it."""


@dataclass(frozen=True)
class Plan:
    """The whole run."""

    classes: int
    clips: dict[Split, int]
    rejected: int
    warnings: tuple[str, ...]
    stages: tuple[PlannedStage, ...]


def make_plan(config: RunConfig) -> Plan:
    """Count items per stage.

    Raises: `DataError` when the data would stop the run; as `check_recipe`.
    """
    check_recipe(config)
    check = check_data(config)
    if check.problems:
        raise DataError("\n".join(check.problems))
    counts = {split: check.splits[split] for split in SPLITS}
    slower = _slowdown(min(check.duration_median_s, config.data.max_duration_s))
    works = _work(config, counts["train"], check.imagined)
    pipeline = Pipeline(config, Reporter(), ())
    finished = {stage for stage, work in works.items() if work.items and pipeline.is_finished(stage)}
    stages = tuple(_stage(config, stage, work, finished, slower) for stage, work in works.items())
    return Plan(len(check.counts), counts, len(check.rejected), run_warnings(config, check), stages)


def run_warnings(config: RunConfig, check: DataCheck) -> tuple[str, ...]:
    """What a run would tell before its first model loads."""
    return (*model_warnings(config), *rejection_warnings(check.rejected), *check.warnings)


class _Work(NamedTuple):
    """Of one stage."""

    items: int
    passes: int
    """Of a model."""
    most_passes: int
    """With every clip rejected in every round of reflection."""
    unit: str
    """What the items are."""


def _work(config: RunConfig, training_clips: int, imagined: int) -> dict[str, _Work]:
    heard = training_clips if config.train.adds_synthetic else 0
    wanted = imagined * config.imagine.captions_per_clip if config.train.adds_synthetic else 0
    extractions = heard if config.imagine.mode == "mixcap" else 0
    losers = 0 if config.align.method == "none" else heard * config.align.losers_per_clip
    trainings = len(config.train.arms) * config.train.seeds
    if config.train.asks_gate:
        trainings += config.gate.folds * len(config.gate.tried_shares)
    # Alignment: each loser is generated once, each step denoises a batch of pairs forward and backward.
    pair_passes = 0 if losers == 0 else losers + config.align.steps * config.align.batch_size // 8
    most = wanted * (1 + config.reflect.rounds)
    asks, most_asks = (0, 0) if config.imagine.mode == "template" else (extractions + wanted, extractions + most)
    # The gate has no more folds than the training clips have groups.
    bound = ", at most" if config.train.asks_gate else ""
    steps = trainings * config.train.steps
    return {
        "caption": _Work(extractions, extractions, extractions, "clips"),
        "imagine": _Work(
            asks, asks, most_asks, f"requests to the language model{_most_requests(config, most_asks, asks)}"
        ),
        "align": _Work(losers, pair_passes, pair_passes, "preference pairs"),
        "generate": _Work(wanted, wanted, most, f"clips{_at_most(most, wanted)}"),
        "filter": _Work(wanted, wanted, most, f"clips{_at_most(most, wanted)}"),
        "train": _Work(trainings, steps, steps, f"trainings of {config.train.steps} steps{bound}"),
    }


def _most_requests(config: RunConfig, most: int, first: int) -> str:
    """Of those to an endpoint, which may cost money, also the tries that refused answers may take."""
    if config.imagine.kind != "endpoint" or most == 0 or config.imagine.max_tries == 1:
        return _at_most(most, first)
    also = "reflection and " if most > first else ""
    return f", at most {most * config.imagine.max_tries} with {also}answers asked for again"


def _at_most(most: int, first: int) -> str:
    return f", at most {most} with reflection" if most > first else ""


def _stage(config: RunConfig, stage: str, work: _Work, finished: Collection[str], slower: float) -> PlannedStage:
    passes, most_passes = work.passes, work.most_passes
    if stage in finished:
        # The filter is finished with all that reflection made.
        passes, most_passes = 0, 0 if "filter" in finished else most_passes - passes
    nothing_left = stage in finished and most_passes == 0
    if not nothing_left and not _is_pocket(config, stage):
        return PlannedStage(stage, work.items, work.unit, None, None, nothing_left)
    pass_s = _POCKET_SECONDS[stage] * (slower if stage in _OF_AUDIO else 1)
    estimate_s, most_s = round(passes * pass_s, 1), round(most_passes * pass_s, 1)
    return PlannedStage(stage, work.items, work.unit, estimate_s, most_s, nothing_left)


def _is_pocket(config: RunConfig, stage: str) -> bool:
    """Whether the stage's model is one whose times are known."""
    return {
        "caption": config.caption.kind == "clap" and config.clap.model == "pocket",
        "align": config.t2a.is_pocket,
        "imagine": config.imagine.is_pocket,
        "generate": config.t2a.is_pocket,
        "filter": config.clap.model == "pocket",
        "train": config.train.model == "pocket",
    }[stage]


def _slowdown(duration_s: float) -> float:
    """Against clips of 1.5 s. Measured for clips of 2, 5 and 10 s: 1.3, 2.7 and 5.2 times as long to generate, and 1.1,
    2.6 and 5.1 times to train on; for 20 and 30 s, of which none are generated, 12.2 and 24.4 times."""
    # Attention takes the square of the length, which shows from about 10 s on.
    return max(1.0, (0.5 + duration_s) / 2.0) + 0.023 * max(0.0, duration_s - 10) ** 2
