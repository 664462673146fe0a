"""What a run would do, counted before any model loads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from synthio.config import RunConfig
from synthio.errors import DataError
from synthio.models import sampler_warning
from synthio.pipeline import check_recipe
from synthio.stages.clips import check_data

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
    """One stage: how many items of what, and an estimate where one is known."""

    stage: str
    items: int
    unit: str
    estimate_s: float | None
    most_s: float | None
    """With every clip rejected in every round of reflection."""


@dataclass(frozen=True)
class Plan:
    """The whole run."""

    classes: int
    clips: dict[str, int]
    rejected: int
    warnings: tuple[str, ...]
    stages: tuple[PlannedStage, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def make_plan(config: RunConfig) -> Plan:
    """Count items per stage.

    Raises: `DataError` when the data would stop the run; as `check_recipe`.
    """
    check_recipe(config)
    check = check_data(config)
    if check.problems:
        raise DataError("\n".join(check.problems))
    counts = {split: check.splits[split] for split in ("train", "valid", "test")}
    slower = _slowdown(min(check.duration_median_s, config.data.max_duration_s))
    stages = tuple(_stage(config, stage, *work, slower) for stage, work in _work(config, counts["train"]).items())
    told = sampler_warning(config.t2a)
    warnings = check.warnings if told is None else (told, *check.warnings)
    return Plan(len(check.counts), counts, len(check.rejected), warnings, stages)


def _work(config: RunConfig, training_clips: int) -> dict[str, tuple[int, int, str]]:
    """Of each stage: how many items, how many passes of a model, and what the items are."""
    wanted = training_clips * config.imagine.captions_per_clip
    extractions = training_clips if config.imagine.mode == "mixcap" else 0
    asks = 0 if config.imagine.mode == "template" else extractions + wanted
    losers = 0 if config.align.method == "none" else training_clips * config.align.losers_per_clip
    trainings = len(config.train.arms) * config.train.seeds
    if config.train.use_synthetic == "auto" and "synthio" in config.train.arms:
        trainings += config.gate.folds * (1 + len(config.gate.shares))
    # Alignment: each loser is generated once, each step denoises a batch of pairs forward and backward.
    pair_passes = 0 if losers == 0 else losers + config.align.steps * config.align.batch_size // 8
    most = wanted * (1 + config.reflect.rounds)
    return {
        "caption": (extractions, extractions, "clips"),
        "align": (losers, pair_passes, "preference pairs"),
        "imagine": (asks, asks, "requests to the language model"),
        "generate": (wanted, wanted, f"clips, at most {most} with reflection"),
        "filter": (wanted, wanted, f"clips, at most {most} with reflection"),
        "train": (trainings, trainings * config.train.steps, f"trainings of {config.train.steps} steps"),
    }


def _stage(config: RunConfig, stage: str, count: int, passes: int, unit: str, slower: float) -> PlannedStage:
    if not _is_pocket(config, stage):
        return PlannedStage(stage, count, unit, None, None)
    estimate_s = passes * _POCKET_SECONDS[stage] * (slower if stage in _OF_AUDIO else 1)
    rounds = 1 + (config.reflect.rounds if stage in ("generate", "filter") else 0)
    return PlannedStage(stage, count, unit, round(estimate_s, 1), round(rounds * estimate_s, 1))


def _is_pocket(config: RunConfig, stage: str) -> bool:
    """Whether the stage's model is one whose times are known."""
    return {
        "caption": config.caption.kind == "clap" and config.clap.model == "pocket",
        "align": config.t2a.model == "pocket",
        "imagine": config.imagine.kind == "local" and config.imagine.model == "pocket",
        "generate": config.t2a.model == "pocket",
        "filter": config.clap.model == "pocket",
        "train": config.train.model == "pocket",
    }[stage]


def _slowdown(duration_s: float) -> float:
    """Against clips of 1.5 s. Measured for clips of 2, 5 and 10 s: 1.3, 2.7 and 5.2 times as long to generate."""
    return max(1.0, (0.5 + duration_s) / 2.0)
