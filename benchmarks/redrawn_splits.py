"""How often a 95% interval over seeds has the truth in it when every seed draws its test groups anew from one set.

    python benchmarks/redrawn_splits.py

Each seed draws groups for training, validation and test; what it measures is the mean of its test groups' effects, of
its training groups' effects and of noise. Over other groups the truth is 0. No audio and no result of an arm: this is
how `bench.statistics.redraw_correction` was chosen. The kits have as many clips as those of the percussion set. Then
the same of folds, where every seed tests on groups of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from synthio.bench.statistics import estimate, redraw_correction

TEST, VALID, SEEDS, TRIALS = 0.4, 0.2, 5, 4000
SETS = {"11 kits": (8, 9, 13, 15, 19, 30, 65, 70, 73, 105, 279), "74 programs": (24,) * 74}
#: Of folds also sets of few groups, which they are for.
FEW = {"4 machines": (60,) * 4, "6 sites": (10, 20, 30, 60, 90, 120)}
#: Shares of the variance of one draw: test groups, training groups, noise.
MIXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.0), (1 / 3, 1 / 3, 1 / 3), (0.2, 0.2, 0.6), (0.0, 0.0, 1.0))

Floats = npt.NDArray[np.float64]
Parts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Part = Callable[[Floats, np.random.Generator], Iterator[Parts]]


def random_parts(sizes: Floats, generator: np.random.Generator) -> Iterator[Parts]:
    """Test and training groups of each seed, drawn anew."""
    for _ in range(SEEDS):
        order = generator.permutation(len(sizes))
        reached = np.cumsum(sizes[order]) / sizes.sum()
        first = 1 + int(np.searchsorted(reached, TEST))
        second = min(1 + int(np.searchsorted(reached, TEST + VALID)), len(sizes) - 1)
        yield order[:first], order[second:]


def fold_parts(sizes: Floats, generator: np.random.Generator) -> Iterator[Parts]:
    """The same where the folds are as even as can be, and as many as the seeds, or as the groups."""
    count = min(SEEDS, len(sizes))
    folds: list[list[int]] = [[] for _ in range(count)]
    for group in sorted(generator.permutation(len(sizes)), key=lambda group: -sizes[group]):
        min(folds, key=lambda fold: sizes[fold].sum()).append(int(group))
    for fold in folds:
        rest = generator.permutation(np.setdiff1d(np.arange(len(sizes)), fold))
        reached = np.cumsum(sizes[rest]) / sizes.sum()
        yield np.array(fold), rest[min(1 + int(np.searchsorted(reached, VALID)), len(rest) - 1) :]


def draws(
    sizes: Floats, mix: tuple[float, float, float], part: Part, test_share: float, generator: np.random.Generator
) -> list[float]:
    """One difference per seed, all over the same groups."""
    test_effect, training_effect = generator.normal(size=(2, len(sizes)))
    scale, found = np.sqrt(test_share * len(sizes)), []
    for test, training in part(sizes, generator):
        of_test = np.average(test_effect[test], weights=sizes[test]) * scale
        parts = (of_test, training_effect[training].mean() * scale, generator.normal())
        found.append(float(np.sqrt(mix) @ parts))
    return found


def show(
    sets: Mapping[str, tuple[int, ...]],
    part: Part,
    test_share: Callable[[Floats], float],
) -> None:
    """One row per set and mix."""
    print("| groups | test groups, training groups, noise | as if independent | corrected |")
    print("|---|---|---:|---:|")
    for name, of_set in sets.items():
        sizes = np.array(of_set, dtype=float)
        for mix in MIXES:
            generator = np.random.default_rng(0)
            trials = [draws(sizes, mix, part, test_share(sizes), generator) for _ in range(TRIALS)]
            covered = []
            for correction in (0.0, redraw_correction(test_share(sizes))):
                found = [estimate(values, correction) for values in trials]
                covered.append(np.mean([abs(e.mean) <= (e.half_width or 0.0) for e in found]))
            print(f"| {name} | {', '.join(f'{100 * m:.0f}%' for m in mix)} | {covered[0]:.0%} | {covered[1]:.0%} |")


def main() -> None:
    """Both tables."""
    print(f"drawn anew, {TEST:.0%} of the clips for the test, {SEEDS} seeds\n")
    show(SETS, random_parts, lambda sizes: TEST)
    print(f"\n{SEEDS} folds, or as many as there are groups\n")
    show(SETS | FEW, fold_parts, lambda sizes: 1 / min(SEEDS, len(sizes)))


if __name__ == "__main__":
    main()
