"""What the course of the trainings shows: mean curves, and signs of too few validations, too few steps or overfitting.

All of it is read from the stored `arms.Training`; nothing is measured again.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from synthio.arms import Training
from synthio.backends.fine_tuning import CurvePoint
from synthio.metrics import known_mean

_ADVICE: Mapping[str, str] = {
    "first": "set train.evaluate_every lower, or train.learning_rate lower",
    "last": "set train.steps higher",
}


def by_arm(trainings: Iterable[Training]) -> dict[str, list[Training]]:
    """The trainings of each arm, in their order."""
    found: dict[str, list[Training]] = defaultdict(list)
    for training in trainings:
        found[training.arm].append(training)
    return found


def mean_curve(trainings: Iterable[Training]) -> list[CurvePoint]:
    """The mean over one arm's trainings at each step; of those that measured a figure there."""
    at: dict[int, list[CurvePoint]] = defaultdict(list)
    for training in trainings:
        for point in training.curve:
            at[point.step].append(point)
    return [
        CurvePoint(
            step=step,
            train_loss=known_mean(point.train_loss for point in points),
            valid_loss=known_mean(point.valid_loss for point in points),
            valid_score=known_mean(point.valid_score for point in points),
        )
        for step, points in sorted(at.items())
    ]


def curve_warnings(trainings: Sequence[Training]) -> list[str]:
    """Where most trainings of an arm kept the weights of their first or last validation, and where the arm with
    synthetic clips learnt these at the cost of the validation clips."""
    return [*_kept_at_an_end(trainings), *_overfitting(trainings)]


def _kept_at_an_end(trainings: Iterable[Training]) -> list[str]:
    arms_at: dict[tuple[str, int], list[str]] = defaultdict(list)
    for arm, own in by_arm(trainings).items():
        steps = [point.step for point in own[0].curve if point.valid_loss is not None]
        # Of one validation there is nothing to choose.
        for end, step in {"first": steps[0], "last": steps[-1]}.items() if len(steps) > 1 else ():
            if 2 * sum(training.best.step == step for training in own) > len(own):
                arms_at[end, step].append(arm)
    return [
        f"the best weights of most trainings of {' and '.join(arms)} were at the {end} validation, step {step}: "
        + _ADVICE[end]
        for (end, step), arms in arms_at.items()
    ]


def _overfitting(trainings: Iterable[Training]) -> list[str]:
    """Paired by seed, and only where all seeds agree: one alone may be luck."""
    arms = by_arm(trainings)
    gold = {training.seed: training for training in arms.get("gold", ())}
    pairs = [(training, gold[training.seed]) for training in arms.get("synthio", ()) if training.seed in gold]
    if len(pairs) < 2 or not all(_overfits(*pair) for pair in pairs):
        return []
    synthio_loss, gold_loss = (statistics.fmean(map(_lowest_loss, of_arm)) for of_arm in zip(*pairs, strict=True))
    return [
        f"overfitting to synthetic clips: with each of {len(pairs)} seeds synthio fits the clips that it trains on, "
        f"but its lowest loss on validation clips is above gold's (mean {synthio_loss:.2f}, gold {gold_loss:.2f}): "
        "give synthetic clips a smaller share of a batch (train.synthetic_share; with the gate gate.shares)"
    ]


def _overfits(synthio: Training, gold: Training) -> bool:
    """Whether it is better than on validation clips on those that it trains on, and worse than gold on the former."""
    lowest = _lowest_loss(synthio)
    if not lowest > _lowest_loss(gold):
        return False
    learnt = synthio.curve[-1].train_loss
    return learnt is not None and learnt < lowest


def _lowest_loss(training: Training) -> float:
    """On validation clips; NaN without any."""
    return min((point.valid_loss for point in training.curve if point.valid_loss is not None), default=math.nan)
