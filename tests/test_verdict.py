"""What a comparison says in plain words, and which classifier it leaves to use."""

from __future__ import annotations

import pytest

from synthio.verdict import ArmResult, ClassResult, Comparison, Difference, effect, recommended_arm, verdict_text


def comparison(points: float, low: float, high: float, n_added: int = 20) -> Comparison:
    def arm(name: str, added: int) -> ArmResult:
        return ArmResult(
            arm=name,
            per_seed=(0.5, 0.5),
            mean=0.5,
            std=0.0,
            macro_f1=0.4,
            n_train=10,
            n_added=added,
            steps=5,
            seconds=1.0,
        )

    difference = Difference(
        arm="synthio", baseline="gold", points=points, low=low, high=high, confidence=0.95, resamples=100
    )
    return Comparison(
        metric="accuracy",
        n_valid=3,
        n_test=5,
        arms=(arm("gold", 0), arm("synthio", n_added)),
        difference=difference,
        classes=(ClassResult(label="a", n_train=5, support=0, is_tail=True, scores={"gold": None}),),
    )


VERDICTS = [
    ((4.1, 1.2, 7.0), "Synthetic data helped by 4.1 points (95% CI 1.2 to 7.0)."),
    ((-4.1, -7.0, -1.2), "Synthetic data hurt by 4.1 points (95% CI -7.0 to -1.2). Do not use synthetic clips."),
    (
        (-0.3, -2.0, 1.4),
        "Synthetic data was not shown to help or to hurt: the difference is -0.3 points (95% CI -2.0 to 1.4), "
        "which chance alone can explain. Do not rely on synthetic clips.",
    ),
    (
        (4.1, -0.04, 8.2),
        "Synthetic data was not shown to help or to hurt: the difference is 4.1 points (95% CI 0.0 to 8.2), "
        "which chance alone can explain. Do not rely on synthetic clips.",
    ),
]


@pytest.mark.parametrize(("numbers", "text"), VERDICTS)
def test_the_arm_to_use_is_gold_unless_synthetic_clips_helped(numbers: tuple[float, float, float], text: str) -> None:
    found = comparison(*numbers)
    assert recommended_arm(found) == ("synthio" if "helped by" in text else "gold")
    gated = found.model_copy(update={"gated_share": 0.5})
    assert ("The gate let synthetic clips in." in verdict_text(gated)) == ("not shown" in text)
    assert recommended_arm(gated) == ("gold" if "hurt by" in text else "synthio")
    assert recommended_arm(found.model_copy(update={"difference": None})) == "gold"


@pytest.mark.parametrize(("numbers", "text"), VERDICTS)
def test_verdict(numbers: tuple[float, float, float], text: str) -> None:
    assert verdict_text(comparison(*numbers)) == text


def test_without_an_interval_or_any_difference_nothing_is_claimed() -> None:
    nothing = comparison(7.0, float("nan"), float("nan"))
    assert effect(nothing) == "unknown" and recommended_arm(nothing) == "gold"
    assert verdict_text(nothing) == (
        "Not shown: the difference is 7.0 points, without an interval: the test clips are of one group, or too few. Do "
        "not rely on synthetic clips."
    )
    assert verdict_text(comparison(0.0, 0.0, 0.0)) == (
        "Not shown: both arms score the same on the test clips, and on all draws of them. Do not rely on "
        "synthetic clips."
    )


def with_one_training(found: Comparison) -> Comparison:
    return found.model_copy(update={"arms": tuple(a.model_copy(update={"per_seed": (0.5,)}) for a in found.arms)})


def test_one_training_per_arm_is_no_verdict() -> None:
    found = with_one_training(comparison(4.1, 1.2, 7.0))
    assert verdict_text(found) == (
        "Not shown: with one training per arm the difference is 4.1 points (95% CI 1.2 to 7.0). This interval covers "
        "the test clips alone, and trainings differ by luck. Set train.seeds to 3 or more. Do not rely on "
        "synthetic clips."
    )
    assert recommended_arm(found) == "gold"
    gated = found.model_copy(update={"gated_share": 0.5})
    assert verdict_text(gated).endswith("The gate let synthetic clips in.")
    assert recommended_arm(gated) == "synthio"


def test_one_training_per_arm_that_scores_the_same_is_no_verdict_either() -> None:
    found = with_one_training(comparison(0.0, 0.0, 0.0))
    assert effect(found) == "unknown"
    assert verdict_text(found).startswith("Not shown: with one training per arm the difference is 0.0 points")


def test_verdict_without_synthetic_clips_or_a_second_arm_compares_nothing() -> None:
    assert "no synthetic clip" in verdict_text(comparison(0, 0, 0, n_added=0))
    noisy = comparison(0, 0, 0, n_added=0)
    copies = noisy.arms[1].model_copy(update={"arm": "noise", "n_added": 20})
    assert "no synthetic clip" in verdict_text(noisy.model_copy(update={"arms": (*noisy.arms, copies)}))
    whole = comparison(0, 0, 0)
    alone = whole.model_copy(update={"arms": whole.arms[:1], "difference": None})
    assert verdict_text(alone) == "No comparison: only gold was trained."
