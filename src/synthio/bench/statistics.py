"""Arrays in, numbers out: means over seeds, paired comparisons of arms, Holm's correction, ranks and regret.

The seed is the unit of repetition. An interval here covers what changes with the seed and nothing else: neither
other test clips where the split is fixed nor other datasets. Seeds that draw their test groups anew from one set draw
some of them again, and are not independent: `redraw_correction`. All values are fractions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from synthio.metrics import CONFIDENCE

#: A standard error below this is rounding of equal values.
_NO_SPREAD = 1e-12

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean with what its Student's t interval and test need."""

    mean: float
    standard_error: float | None
    """None when a group has one value only."""
    freedom: float | None
    """Degrees of freedom; None with ``standard_error``."""

    @property
    def half_width(self) -> float | None:
        """Half of the interval of `CONFIDENCE`; None where ``p_value`` is."""
        from scipy.special import stdtrit

        if self.standard_error is None or self.freedom is None or self.standard_error < _NO_SPREAD:
            return None
        return float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2) * self.standard_error)

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def p_value(self) -> float | None:
        """Two-sided, for a true mean of 0. Below ``1 - CONFIDENCE`` exactly when the interval leaves out 0.

        None without a standard error, and when the values do not vary: two seeds whose scores are counts of the same
        few test clips often differ by the same amount, and a t-test would then be certain.
        """
        from scipy.special import stdtr

        if self.standard_error is None or self.standard_error < _NO_SPREAD:
            return None
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.standard_error))


def redraw_correction(test_fraction: float) -> float:
    """What to add to the ``1 / m`` of the variance of a mean over ``m`` seeds that each draw their test groups anew.

    Two draws share that fraction of their test clips, so their values are correlated by up to ``test_fraction``, their
    sample variance is too small by ``1 - test_fraction``, and the variance of their mean never falls below the
    covariance: ``s^2 (1 / m + test_fraction / (1 - test_fraction))`` (Nadeau and Bengio 2003, section 3). Right where
    all that varies is due to which of many like groups are drawn, too wide where noise has a part, and too narrow where
    a few groups of unlike size decide: a nominal 95% is 81% at worst in ``benchmarks/redrawn_splits.py``.

    Folds (`datasets.splits.fold_splits`) share no test clips, but most training clips. There it is too wide, unless
    only the training groups matter: a nominal 95% is 97% or more where test groups have a part, 79% at worst.
    """
    return test_fraction / (1 - test_fraction)


def estimate(values: Sequence[float], correction: float = 0.0) -> Estimate:
    """Mean over seeds; at least one value. ``correction`` is added to ``1 / m``; see `redraw_correction`."""
    return stratified([values], [correction])


def stratified(groups: Sequence[Sequence[float]], corrections: Sequence[float] | None = None) -> Estimate:
    """The mean of the groups' means; at least one group, and one value in each.

    Every group weighs the same, however many values it has, and is taken as fixed: only the values vary. The variance
    is ``sum_d v_d / D^2`` with ``v_d = s_d^2 (1 / m_d + c_d)`` and ``c_d`` the group's correction, 0 for independent
    values, and the degrees of freedom are Welch's and Satterthwaite's, ``(sum v_d)^2 / sum(v_d^2 / (m_d - 1))``
    (Satterthwaite 1946). For one group of independent values it is the usual t interval.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    mean = float(np.mean([array.mean() for array in arrays]))
    counts = np.array([len(array) for array in arrays])
    if (counts < 2).any():
        return Estimate(mean, None, None)
    added = np.zeros(len(arrays)) if corrections is None else np.asarray(corrections, dtype=np.float64)
    variances = np.array([array.var(ddof=1) for array in arrays]) * (1 / counts + added)
    return Estimate(mean, float(np.sqrt(variances.sum())) / len(arrays), _freedom(variances, counts))


def _freedom(variances: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> float:
    if np.sqrt(variances.max()) < _NO_SPREAD:
        return float((counts - 1).sum())
    return float(variances.sum() ** 2 / (variances**2 / (counts - 1)).sum())


def paired_differences(arm: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """``arm - reference`` by seed, for the seeds that both have.

    Their `estimate` has the interval and the p-value of the paired t-test; over datasets, see `stratified`.
    """
    return {seed: arm[seed] - reference[seed] for seed in sorted(arm.keys() & reference.keys())}


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Holm 1979).

    The i-th smallest of m becomes ``max over j <= i of (m - j + 1) p_j``, at most 1. When those below ``alpha`` are
    called significant, the chance of any false call is at most ``alpha``, however the tests depend on each other.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order])
    return [float(value) for value in np.minimum(adjusted, 1.0)]


@dataclass(frozen=True)
class RankAgreement:
    """How alike two rankings of the same arms are: 1 is the same order, -1 the reverse."""

    spearman: float
    kendall: float
    """tau-b: ties count for neither side."""
    arms: int


def rank_agreement(ours: Mapping[str, float], paper: Mapping[str, float]) -> RankAgreement | None:
    """Of the means per arm, over the arms that both have.

    None for fewer than 3 arms, which can hardly disagree, and when all arms of a side are equal.
    """
    from scipy.stats import kendalltau, spearmanr

    arms = sorted(ours.keys() & paper.keys())
    a, b = [ours[arm] for arm in arms], [paper[arm] for arm in arms]
    if len(arms) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return RankAgreement(float(spearmanr(a, b).statistic), float(kendalltau(a, b).statistic), len(arms))


def regret(own: Mapping[Key, float], choices: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    """By cell (dataset, n, seed), what an arm gives away: the best choice's value minus its own.

    Below 0 where it beats them all. Only over cells that all have: the best of some choices is no measure.
    """
    shared = [cell for cell in own if all(cell in choice for choice in choices)]
    return {cell: max(choice[cell] for choice in choices) - own[cell] for cell in shared}
