"""What a level of the gate costs: expected regret and harm, in points, on simulated datasets.

    python benchmarks/gate_level.py

A dataset's true gain by synthetic clips is drawn from a normal distribution; share 0.8 has it, share 0.5 four fifths of
it. Cross-validation on 50 clips, in 22 groups or in 4, sees the gain with a standard error of 5 points, of which a part
is the luck of each fold's trained model. No audio, no test clip: this is how `gate.level` was chosen, and one test of
the shares' average rather than one per share under Holm's correction ("per share").
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from synthio.bench.statistics import holm
from synthio.stages.gate import p_value

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5)
#: Mean and standard deviation of the true gains over datasets, in points.
WORLDS = {"no effect": (0.0, 0.0), "either way": (0.0, 4.0), "mostly helps": (3.0, 4.0), "mostly hurts": (-3.0, 3.0)}
FOLDS, STANDARD_ERROR, LUCK = 3, 5.0, 0.05
GROUPS = (22, 4)
#: What a share of a batch has of a dataset's gain.
PARTS = (0.8, 1.0)
TRIALS = 4000


def seen_differences(gain: float, groups: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Differences in error to share 0 (below 0 is better). Shape ``(shares, groups)``."""
    fold = np.arange(groups) % FOLDS
    common = generator.normal(size=groups)
    error_of_mean = np.sqrt(LUCK / FOLDS + (1 - LUCK) / groups)
    seen = []
    for part in PARTS:
        own = np.sqrt(0.5) * (common + generator.normal(size=groups))
        luck = generator.normal(size=FOLDS)[fold]
        noise = np.sqrt(LUCK) * luck + np.sqrt(1 - LUCK) * own
        seen.append(STANDARD_ERROR * noise / error_of_mean - part * gain)
    return np.stack(seen)


def of_average(seen: npt.NDArray[np.float64], level: float) -> float:
    """The gate's rule: the part of the gain that its choice has."""
    return PARTS[int(np.argmin(seen.mean(1)))] if p_value(list(seen.mean(0)), FOLDS) < level else 0.0


def per_share(seen: npt.NDArray[np.float64], level: float) -> float:
    """A test for each share, and Holm's correction: what the gate did before."""
    adjusted = holm([p_value(list(differences), FOLDS) for differences in seen])
    passed = [k for k, p in enumerate(adjusted) if p < level]
    return PARTS[min(passed, key=lambda k: float(seen[k].mean()))] if passed else 0.0


RULES = {"average": of_average, "per share": per_share}


def main() -> None:
    """One row per number of groups, world, rule and level."""
    print("| groups | true gains | rule | level | let in | regret | harm | always: regret | never: regret |")
    print("|---:|---|---|---:|---:|---:|---:|---:|---:|")
    for groups, (world, (mean, deviation)) in itertools.product(GROUPS, WORLDS.items()):
        generator = np.random.default_rng(0)
        gains = generator.normal(mean, deviation, TRIALS)
        trials = [seen_differences(gain, groups, generator) for gain in gains]
        always, never = np.maximum(-gains, 0).mean(), np.maximum(gains, 0).mean()
        for (rule, choose), level in itertools.product(RULES.items(), LEVELS):
            parts = np.array([choose(seen, level) for seen in trials])
            got = parts * gains
            regret, harm = (np.maximum(gains, 0) - got).mean(), np.maximum(-got, 0).mean()
            print(
                f"| {groups} | {world} | {rule} | {level} | {100 * (parts > 0).mean():.0f}% | {regret:.2f} | "
                f"{harm:.2f} | {always:.2f} | {never:.2f} |"
            )


if __name__ == "__main__":
    main()
