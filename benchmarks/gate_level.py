"""What a level of the gate costs: expected regret and harm, in points, on simulated datasets.

    python benchmarks/gate_level.py

A dataset's true gain by synthetic clips is drawn from a normal distribution; share 0.8 has it, share 0.5 four fifths of
it. Cross-validation on 50 clips in 22 groups sees the gain with a standard error of 5 points, of which a part is the
luck of each fold's trained model. No audio, no test clip: this is how `gate.level` was chosen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthio.stages.gate import GateOption, choose_share, p_values

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5)
#: Mean and standard deviation of the true gains over datasets, in points.
WORLDS = {"no effect": (0.0, 0.0), "either way": (0.0, 4.0), "mostly helps": (3.0, 4.0), "mostly hurts": (-3.0, 3.0)}
FOLDS, GROUPS, STANDARD_ERROR, LUCK = 3, 22, 5.0, 0.05
TRIALS = 4000


def seen_differences(gain: float, generator: np.random.Generator) -> dict[float, npt.NDArray[np.float64]]:
    """Per share, differences in error to share 0 by group (below 0 is better)."""
    fold = np.arange(GROUPS) % FOLDS
    common = generator.normal(size=GROUPS)
    error_of_mean = np.sqrt(LUCK / FOLDS + (1 - LUCK) / GROUPS)
    seen = {}
    for share, part in ((0.5, 0.8), (0.8, 1.0)):
        own = np.sqrt(0.5) * (common + generator.normal(size=GROUPS))
        luck = generator.normal(size=FOLDS)[fold]
        noise = np.sqrt(LUCK) * luck + np.sqrt(1 - LUCK) * own
        seen[share] = STANDARD_ERROR * noise / error_of_mean - part * gain
    return seen


def choices(gain: float, generator: np.random.Generator) -> dict[float, float]:
    """The gate's share by level, for one dataset."""
    seen = seen_differences(gain, generator)
    adjusted = p_values([list(differences) for differences in seen.values()], FOLDS)
    options = [GateOption(share=0.0, error=0.0, p_value=None)]
    for (share, differences), p in zip(seen.items(), adjusted, strict=True):
        options.append(GateOption(share=share, error=float(differences.mean()), p_value=p))
    return {level: choose_share(options, level) for level in LEVELS}


def main() -> None:
    """One row per world and level."""
    print("| true gains | level | let in | regret | harm | always: regret | never: regret |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for world, (mean, deviation) in WORLDS.items():
        generator = np.random.default_rng(0)
        gains = generator.normal(mean, deviation, TRIALS)
        chosen = [choices(gain, generator) for gain in gains]
        always, never = np.maximum(-gains, 0).mean(), np.maximum(gains, 0).mean()
        for level in LEVELS:
            shares = np.array([choice[level] for choice in chosen])
            got = gains * np.select([shares == 0.5, shares == 0.8], [0.8, 1.0], 0.0)
            regret, harm = (np.maximum(gains, 0) - got).mean(), np.maximum(-got, 0).mean()
            print(
                f"| {world} | {level} | {100 * (shares > 0).mean():.0f}% | {regret:.2f} | {harm:.2f} | "
                f"{always:.2f} | {never:.2f} |"
            )


if __name__ == "__main__":
    main()
