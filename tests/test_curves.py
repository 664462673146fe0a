"""What the course of the trainings shows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from synthio.arms import Training
from synthio.backends.fine_tuning import CurvePoint
from synthio.config import Arm
from synthio.curves import curve_warnings, mean_curve

FITTED = (1.5, 0.01, 0.0)


def training(
    arm: Arm,
    seed: int,
    valid_loss: Sequence[float | None],
    train_loss: Sequence[float] = FITTED,
    kept: int = 1,
    every: int = 25,
) -> Training:
    """One that kept the weights of the point with the index ``kept``."""
    curve = tuple(
        CurvePoint(step=every * number, train_loss=learnt, valid_loss=loss, valid_score=None if loss is None else 0.5)
        for number, (learnt, loss) in enumerate(zip(train_loss, valid_loss, strict=True), 1)
    )
    best = curve[kept] if curve else CurvePoint(step=9, train_loss=None, valid_loss=None, valid_score=None)
    return Training(
        arm=arm, seed=seed, n_train=6, n_added=0, steps=75, seconds=1.0, heard_s=1.0, best=best, curve=curve
    )  # fmt: skip


def test_the_mean_is_of_what_was_measured() -> None:
    first, second = training("gold", 0, (1.0, 2.0, None)), training("gold", 1, (2.0, 2.0, 4.0))
    points = mean_curve([first, second])
    assert [point.step for point in points] == [25, 50, 75]
    assert [point.valid_loss for point in points] == [1.5, 2.0, 4.0]
    assert points[0].train_loss == 1.5 and points[2].valid_score == 0.5
    assert mean_curve([training("gold", 0, (None,), (1.0,), kept=0)])[0].valid_loss is None


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ((0, 0, 1), "first validation, step 25: set train.evaluate_every lower, or train.learning_rate lower"),
        ((2, 1, 2), "last validation, step 75: set train.steps higher"),
        ((0, 1, 2), None),
        # Half are not most.
        ((0, 0, 1, 1), None),
    ],
)
def test_weights_of_the_first_or_last_validation_are_told(kept: Sequence[int], told: str | None) -> None:
    trainings = [training("gold", seed, (1.0, 1.0, 1.0), kept=index) for seed, index in enumerate(kept)]
    assert curve_warnings(trainings) == (
        [] if told is None else [f"the best weights of most trainings of gold were at the {told}"]
    )


def test_arms_with_one_fault_share_a_warning() -> None:
    trainings = [training(arm, 0, (1.0, 1.0, 1.0), kept=0) for arm in ("gold", "synthio")]
    (told,) = curve_warnings(trainings)
    assert "most trainings of gold and synthio were at the first validation" in told


@pytest.mark.parametrize("losses", [(), (1.0,), (None, None)])
def test_without_a_choice_between_validations_nothing_is_told(losses: Sequence[float | None]) -> None:
    assert curve_warnings([training("gold", 0, losses, FITTED[: len(losses)], kept=0)]) == []


@pytest.mark.parametrize(
    ("lowest_of_synthio", "train_loss", "told"),
    [
        ((1.2, 1.5), FITTED, True),
        # Better than gold with one of the seeds.
        ((0.9, 1.5), FITTED, False),
        # The gate kept synthetic clips out: the same training.
        ((1.0, 1.4), FITTED, False),
        # It does not even fit the clips that it trains on.
        ((1.2, 1.5), (1.9, 1.8, 1.7), False),
        # One seed may be luck.
        ((1.2,), FITTED, False),
    ],
)
def test_overfitting_to_synthetic_clips_is_told_where_all_seeds_show_it(
    lowest_of_synthio: Sequence[float], train_loss: Sequence[float], told: bool
) -> None:
    gold = [training("gold", seed, (2.0, lowest, 2.5)) for seed, lowest in enumerate((1.0, 1.4))]
    synthio = [training("synthio", k, (2.0, loss, 2.5), train_loss) for k, loss in enumerate(lowest_of_synthio)]
    warnings = curve_warnings([*gold, *synthio])
    assert len(warnings) == told
    # Without validations nothing is known.
    assert curve_warnings([training(arm, k, (), (), kept=0) for arm in ("gold", "synthio") for k in (0, 1)]) == []
    if told:
        assert "overfitting to synthetic clips: with each of 2 seeds" in warnings[0]
        assert "(mean 1.35, gold 1.20)" in warnings[0]
