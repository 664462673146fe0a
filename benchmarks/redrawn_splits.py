"""How often a 95% interval over seeds has the truth in it when every seed draws its test groups anew from one set.

    python benchmarks/redrawn_splits.py

Each seed draws groups for training, validation and test; what it measures is the mean of its test groups' effects, of
its training groups' effects and of noise. Over other groups the truth is 0. No audio and no result of an arm: this is
how `bench.statistics.redraw_correction` was chosen. The kits have as many clips as those of the percussion set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthio.bench.statistics import estimate, redraw_correction

TEST, VALID, SEEDS, TRIALS = 0.4, 0.2, 5, 4000
SETS = {"11 kits": (8, 9, 13, 15, 19, 30, 65, 70, 73, 105, 279), "74 programs": (24,) * 74}
#: Shares of the variance of one draw: test groups, training groups, noise.
MIXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.0), (1 / 3, 1 / 3, 1 / 3), (0.2, 0.2, 0.6), (0.0, 0.0, 1.0))


def draws(
    sizes: npt.NDArray[np.float64], mix: tuple[float, float, float], generator: np.random.Generator
) -> list[float]:
    """One difference per seed, all over the same groups."""
    test_effect, training_effect = generator.normal(size=(2, len(sizes)))
    found = []
    for _ in range(SEEDS):
        order = generator.permutation(len(sizes))
        reached = np.cumsum(sizes[order]) / sizes.sum()
        first = 1 + int(np.searchsorted(reached, TEST))
        second = min(1 + int(np.searchsorted(reached, TEST + VALID)), len(sizes) - 1)
        test, training = order[:first], order[second:]
        parts = (
            np.average(test_effect[test], weights=sizes[test]) * np.sqrt(TEST * len(sizes)),
            training_effect[training].mean() * np.sqrt(TEST * len(sizes)),
            generator.normal(),
        )
        found.append(float(np.sqrt(mix) @ parts))
    return found


def main() -> None:
    """One row per set and mix."""
    print("| groups | test groups, training groups, noise | as if independent | corrected |")
    print("|---|---|---:|---:|")
    for name, sizes in SETS.items():
        for mix in MIXES:
            generator = np.random.default_rng(0)
            trials = [draws(np.array(sizes, dtype=float), mix, generator) for _ in range(TRIALS)]
            covered = []
            for correction in (0.0, redraw_correction(TEST)):
                found = [estimate(values, correction) for values in trials]
                covered.append(np.mean([abs(e.mean) <= (e.half_width or 0.0) for e in found]))
            print(f"| {name} | {', '.join(f'{100 * m:.0f}%' for m in mix)} | {covered[0]:.0%} | {covered[1]:.0%} |")


if __name__ == "__main__":
    main()
