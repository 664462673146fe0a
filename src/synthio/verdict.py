"""What a comparison found, and what it says in plain words: figures per arm, the difference with its interval, every
class, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from synthio.frozen import Frozen

#: NaN where it is not defined, which JSON has as null.
_End = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]

MetricName = Literal["accuracy", "balanced accuracy", "mAP"]
#: Share of the clips above which accuracy may say more of their class than of what a classifier has learnt.
MOSTLY_ONE_CLASS = 0.6


class ArmResult(Frozen):
    """One arm on the test clips. Scores are fractions."""

    arm: str
    per_seed: tuple[float, ...]
    mean: float
    std: float | None
    """Over seeds, with n - 1; None for one seed."""
    macro_f1: float
    """Mean over seeds."""
    n_train: int
    """Real training clips."""
    n_added: int
    """Synthetic clips, or augmented copies of the real ones."""
    steps: int
    """Optimiser steps per seed."""
    seconds: float
    """All seeds together."""


class Difference(Frozen):
    """How much better ``arm`` is than ``baseline``, in points, with the bootstrap interval over clips and seeds."""

    arm: str
    baseline: str
    points: float
    low: _End
    high: _End
    confidence: float
    resamples: int


class ClassDifference(Frozen):
    """`Difference` on one class: in points, NaN ends where its test clips are of one group, or it has one. Every class
    has its own 95% interval: of twenty one misses by chance."""

    points: float
    low: _End
    high: _End


class ClassResult(Frozen):
    """One class on the test clips."""

    label: str
    n_train: int
    support: int
    """Test clips."""
    is_tail: bool
    """Among the rarest classes of the training split."""
    scores: dict[str, float | None]
    """Per arm, the mean over seeds of recall (one label per clip) or average precision; None without test clips."""
    difference: ClassDifference | None = None
    """Between the arms of `Comparison.difference`; None without them, or without test clips."""


class ConstantGuess(Frozen):
    """What a classifier scores that gives every test clip the most frequent label of training."""

    label: str
    mean: float
    macro_f1: float


class Comparison(Frozen):
    """What training found; see `comparison.read_comparison`."""

    metric: MetricName
    n_valid: int
    n_test: int
    arms: tuple[ArmResult, ...]
    difference: Difference | None
    """None unless both arms were trained."""
    classes: tuple[ClassResult, ...]
    constant: ConstantGuess | None = None
    """None with several labels per clip."""
    gated_share: float | None = None
    """Share of a batch that the gate left to synthetic clips, 0 when it kept them out; None when it was not asked."""

    @property
    def trainings_per_arm(self) -> int:
        """Of the arms that are compared."""
        compared = {self.difference.arm, self.difference.baseline} if self.difference else set()
        return min((len(arm.per_seed) for arm in self.arms if arm.arm in compared), default=0)

    @property
    def n_synthetic(self) -> int:
        """Clips that the synthio arm added; augmented copies of other arms are not synthetic."""
        return sum(arm.n_added for arm in self.arms if arm.arm == "synthio")


Effect = Literal["helped", "hurt", "unclear", "unknown"]
_Finding = Literal["gated", "no clips", "no interval", "one training", "equal", "helped", "hurt", "unclear"]


def _finding(comparison: Comparison, difference: Difference) -> _Finding:
    """What stands in the way of a result, or the result."""
    if comparison.gated_share == 0:
        return "gated"
    if not comparison.n_synthetic:
        return "no clips"
    if not math.isfinite(difference.low + difference.high):
        return "no interval"
    if comparison.trainings_per_arm < 2:
        return "one training"
    if difference.points == difference.low == difference.high == 0:
        return "equal"
    if difference.low > 0:
        return "helped"
    return "hurt" if difference.high < 0 else "unclear"


_EFFECTS: Mapping[_Finding, Effect] = {"helped": "helped", "hurt": "hurt", "unclear": "unclear", "equal": "unclear"}
_TEXTS: Mapping[_Finding, str] = {
    "gated": "The gate kept synthetic clips out: no cross-validation on the training clips showed that they help. "
    "Both arms are the same training.",
    "no clips": "No comparison: no synthetic clip was available, so both arms saw the same data.",
    "no interval": "Not shown: the difference is {points} points, without an interval: the test clips are of one "
    "group, or too few. {advice}",
    "one training": "Not shown: with one training per arm the difference is {points} points {interval}. This interval "
    "covers the test clips alone, and trainings differ by luck. Set train.seeds to 3 or more. {advice}",
    "equal": "Not shown: both arms score the same on the test clips, and on all draws of them. {advice}",
    "helped": "Synthetic data helped by {points} points {interval}.",
    "hurt": "Synthetic data hurt by {loss} points {interval}. Do not use synthetic clips.",
    "unclear": "Synthetic data was not shown to help or to hurt: the difference is {points} points {interval}, which "
    "chance alone can explain. {advice}",
}


def effect(comparison: Comparison) -> Effect:
    """`helped` or `hurt` only where the whole interval is on one side of 0, else `unclear`.

    `unknown` where nothing can be said: without an interval, without synthetic clips, and with one training per arm,
    whose luck no interval has.
    """
    difference = comparison.difference
    return "unknown" if difference is None else _EFFECTS.get(_finding(comparison, difference), "unknown")


def recommended_arm(comparison: Comparison) -> str:
    """The arm whose classifier to use: with synthetic clips only where they helped, or where the gate let them in
    and they were not shown to hurt; else real clips alone."""
    names = [arm.arm for arm in comparison.arms]
    difference = comparison.difference
    if difference is None:
        return "gold" if "gold" in names else names[0]
    found = effect(comparison)
    taken = bool(comparison.gated_share) and found != "hurt"
    return difference.arm if found == "helped" or taken else difference.baseline


def verdict_text(comparison: Comparison) -> str:
    """The result in plain words (`effect` says when it is one)."""
    return " ".join(filter(None, (_difference_text(comparison), _constant_text(comparison))))


def _constant_text(comparison: Comparison) -> str | None:
    """Where no arm is better than always giving the most frequent label."""
    constant = comparison.constant
    if constant is None or any(arm.mean > constant.mean for arm in comparison.arms):
        return None
    blind = comparison.metric == "accuracy" and constant.mean > MOSTLY_ONE_CLASS
    advice = " If every class matters alike, set train.metric to balanced accuracy." if blind else ""
    return f"No arm is better than always saying {constant.label!r} ({100 * constant.mean:.1f}%).{advice}"


def _difference_text(comparison: Comparison) -> str:
    difference = comparison.difference
    if difference is None:
        trained = [arm.arm for arm in comparison.arms]
        if len(trained) == 1:
            return f"No comparison: only {trained[0]} was trained."
        return (
            f"No comparison: {' and '.join(trained)} were trained, but a run compares synthio with gold only (`synthio "
            "bench` compares other arms)."
        )
    points, low, high = (f"{round(x, 1) + 0.0:.1f}" for x in (difference.points, difference.low, difference.high))
    return _TEXTS[_finding(comparison, difference)].format(
        points=points,
        loss=points.removeprefix("-"),
        interval=f"({100 * difference.confidence:.0f}% CI {low} to {high})",
        advice="The gate let synthetic clips in." if comparison.gated_share else "Do not rely on synthetic clips.",
    )
