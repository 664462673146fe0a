"""Arrays in, numbers out: scores of classifiers, intervals, distances between sets of clips.

Labels are multi-hot, ``targets`` of shape ``(clips, classes)``, for one label per clip and for several alike.
``scores`` has the same shape. Scores and shares are fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

Metric = Callable[[BoolArray, FloatArray], float]
"""``(targets, scores) -> value``."""
WeightedMetric = Callable[[BoolArray, FloatArray, FloatArray], FloatArray]
"""``(targets, scores, weights) -> values``: clip weights of shape ``(resamples, clips)`` to ``(resamples,)``."""
WeightedDifference = Callable[[FloatArray], FloatArray]
"""``weights -> metric(b) - metric(a)``: clip weights of shape ``(resamples, clips)`` to ``(seeds, resamples)``."""

#: Of every interval.
CONFIDENCE = 0.95


def known_mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


# ---------------------------------------------------------------------------------------------------- classification


def multi_hot(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> BoolArray:
    """Label sets as rows of booleans, shape ``(clips, classes)``; labels outside ``classes`` are left out."""
    column = {label: index for index, label in enumerate(classes)}
    targets = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, names in enumerate(labels):
        for name in names:
            if name in column:
                targets[row, column[name]] = True
    return targets


def top_class(scores: FloatArray) -> BoolArray:
    """The decision for one label per clip: one-hot of the largest score, shape ``(clips, classes)``."""
    return np.asarray(np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)])


def above_half(scores: FloatArray) -> BoolArray:
    """The decision for several labels per clip: probability at least 0.5, shape ``(clips, classes)``."""
    return np.asarray(scores >= 0.5)


def accuracy(targets: BoolArray, scores: FloatArray) -> float:
    """Share of clips whose top class is one of their labels."""
    return float(weighted_accuracy(targets, scores, np.ones((1, len(targets))))[0])


def weighted_accuracy(targets: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """`accuracy` under each row of clip weights, shape ``(resamples,)``."""
    correct = targets[np.arange(len(targets)), scores.argmax(axis=1)].astype(np.float64)
    return np.asarray(weights @ correct / weights.sum(axis=1))


def balanced_accuracy(targets: BoolArray, scores: FloatArray) -> float:
    """Mean over the classes that have clips of the share of their clips whose top-scoring class is theirs."""
    return float(weighted_balanced_accuracy(targets, scores, np.ones((1, len(targets))))[0])


def weighted_balanced_accuracy(targets: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """`balanced_accuracy` under each row of clip weights, shape ``(resamples,)``; without the classes that have no
    weight in the row, as `sklearn.metrics.balanced_accuracy_score` leaves out those without clips."""
    correct = targets & top_class(scores)
    own = weights @ targets.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmean((weights @ correct.astype(np.float64)) / own, axis=1))


def macro_f1(targets: BoolArray, decisions: BoolArray) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    A class that no clip has and no decision names is left out (its F1 is 0/0).
    """
    from sklearn.metrics import f1_score

    return float(f1_score(targets, decisions, average="macro", zero_division=np.nan))


def mean_average_precision(targets: BoolArray, scores: FloatArray) -> float:
    """Mean of average precision, sum over thresholds of (R_k - R_{k-1}) P_k, over the classes that some clip has; NaN
    when no clip has any."""
    from sklearn.metrics import average_precision_score

    values = [average_precision_score(targets[:, k], scores[:, k]) for k in np.flatnonzero(targets.any(axis=0))]
    return float(np.mean(values)) if values else float("nan")


def r_precision(targets: BoolArray, scores: FloatArray) -> float:
    """Mean over the classes that have clips of the share of their R clips among the R that score highest for the class
    (Manning et al. 2008, section 8.4)."""
    shares = []
    for own, found in zip(targets.T, scores.T, strict=True):
        if own.any():
            first = np.argsort(-found, kind="stable")[: own.sum()]
            shares.append(own[first].mean())
    return float(np.mean(shares))


def weighted_mean_average_precision(targets: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """`mean_average_precision` under each row of clip weights, shape ``(resamples,)``.

    Equal to scikit-learn's with ``sample_weight``, for all rows at once. A class whose clips all weigh nothing in a
    row is left out of that row's mean.
    """
    per_class = [_weighted_average_precision(targets[:, k], scores[:, k], weights) for k in range(targets.shape[1])]
    values = np.array(per_class)
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / defined.sum(axis=0))


def _weighted_average_precision(targets: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    order = np.argsort(-scores, kind="stable")
    # Clips with equal scores pass a threshold together: only the last of each run is a threshold.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered = weights[:, order]
    found = np.cumsum(ordered, axis=1)[:, ends]
    hits = np.cumsum(ordered * targets[order], axis=1)[:, ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found > 0, hits / found, 0.0)
        recall = hits / hits[:, -1:]
    return np.asarray((np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1))


# --------------------------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval, in the metric's own unit."""

    mean: float
    low: float
    high: float


def bootstrap_difference(
    difference: WeightedDifference, groups: Sequence[str], resamples: int, generator: np.random.Generator
) -> Interval:
    """Paired bootstrap of ``metric(b) - metric(a)``, averaged over seeds.

    Every resample draws clips and seeds with replacement, the same ones for both arms, so what makes a clip hard or a
    seed lucky cancels (Efron and Tibshirani 1993, section 13.3: percentile interval). ``mean`` is the difference on the
    data itself, not the mean of the resamples. Resamples in which the metric is undefined (NaN) are left out.

    Few seeds, or few groups, show less than their true spread, and their own spread is uncertain. So seeds' deviations
    are drawn ``sqrt(S / (S - 1))`` times as large, and the interval is as much wider as Student's t is than the normal
    distribution, with the degrees of freedom of both sources together (Satterthwaite 1946; Hesterberg 2015 does the
    same to one). One seed has no spread to show: the interval is then of the test clips alone (`verdict` says so).

    ``groups`` names each clip's recorder, patient or song, or the clip itself: clips of a group share their luck, so
    whole groups are drawn as well (the cluster bootstrap; Davison and Hinkley 1997, section 3.8), and the interval
    holds both: a handful of groups may happen to agree. One group, or one clip, alone says nothing of others: its
    interval is NaN.
    """
    clips, units = len(groups), len(set(groups))
    found = _bootstrap(difference, np.arange(clips), resamples, generator)
    if units == 1:
        return Interval(found.mean, np.nan, np.nan)
    if units == clips:
        return found
    group_of = np.unique(np.asarray(groups), return_inverse=True)[1]
    wide = _bootstrap(difference, group_of, resamples, generator)
    return Interval(found.mean, min(found.low, wide.low), max(found.high, wide.high))


def _bootstrap(
    difference: WeightedDifference, unit_of: Indices, resamples: int, generator: np.random.Generator
) -> Interval:
    """``unit_of`` numbers the unit that each clip is drawn with, from 0."""
    observed = difference(np.ones((1, len(unit_of))))[:, 0]
    seeds, units = len(observed), int(unit_of.max()) + 1
    draws = generator.multinomial(units, np.full(units, 1 / units), size=resamples)
    clip_weights = draws[:, unit_of].astype(np.float64)
    seed_counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).T
    seed_weights = (1 + (seed_counts - 1) * np.sqrt(_unbiased(seeds))) / seeds
    drawn = difference(clip_weights)
    low, high = np.nanquantile((seed_weights * drawn).sum(axis=0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    mean = float(observed.mean())
    of_clips = float(np.nanvar(drawn.mean(axis=0)))
    of_seeds = float(observed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    wider = _expansion(of_clips, units, of_seeds, seeds)
    # NumPy's minimum and maximum keep NaN: a metric that no resample defines has no interval.
    below, above = np.minimum(low - mean, 0.0), np.maximum(high - mean, 0.0)
    # Scores are fractions, and so are their differences.
    ends = np.clip(mean + wider * np.array([below, above]), -1.0, 1.0)
    return Interval(mean, float(ends[0]), float(ends[1]))


def _unbiased(count: int) -> float:
    return count / max(1, count - 1)


def _expansion(of_units: float, units: int, of_seeds: float, seeds: int) -> float:
    """How much wider than its percentiles an interval must be, for two sources of variance that ``units`` and ``seeds``
    tell of. ``of_units`` is the bootstrap's, too small by ``(units - 1) / units``."""
    from scipy import stats

    corrected = of_units * _unbiased(units)
    if corrected + of_seeds <= 0:
        return 1.0
    uncertain = sum(v**2 / (n - 1) for v, n in ((corrected, units), (of_seeds, seeds)) if n > 1 and v > 0)
    freedom = (corrected + of_seeds) ** 2 / uncertain if uncertain > 0 else np.inf
    upper = (1 + CONFIDENCE) / 2
    widening = stats.t.ppf(upper, freedom) / stats.norm.ppf(upper)
    return float(widening * np.sqrt((corrected + of_seeds) / (of_units + of_seeds)))


def share(count: int, of: int) -> Interval:
    """``count / of`` with its score interval (Wilson 1927); all NaN of nothing."""
    from scipy.stats import binomtest

    if not of:
        return Interval(np.nan, np.nan, np.nan)
    found = binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(count / of, float(found.low), float(found.high))


def grouped_share(hits: BoolArray, groups: Sequence[str]) -> Interval:
    """The share of ``hits``, shape ``(clips,)``, with its exact interval (Clopper and Pearson 1934); where clips of one
    group are alike, that of as few clips as tell as much (Korn and Graubard 1998). All NaN of no clips; of one group,
    which says nothing of others, the ends are.
    """
    from scipy import stats

    clips, units = len(hits), len(set(groups))
    mean = float(hits.mean()) if clips else np.nan
    if units < 2:
        return Interval(mean, np.nan, np.nan)
    upper = (1 + CONFIDENCE) / 2
    effective = float(clips if units == clips else _effective_clips(hits, groups, upper))
    right, wrong = mean * effective, (1 - mean) * effective
    low = stats.beta.ppf(1 - upper, right, wrong + 1) if right > 0 else 0.0
    high = stats.beta.ppf(upper, right + 1, wrong) if wrong > 0 else 1.0
    return Interval(mean, float(low), float(high))


def _effective_clips(hits: BoolArray, groups: Sequence[str], upper: float) -> float:
    from scipy import stats

    mean, clips = float(hits.mean()), len(hits)
    group_of = np.unique(np.asarray(groups), return_inverse=True)[1]
    apart = np.bincount(group_of, weights=hits - mean) / clips
    units = len(apart)
    variance = _unbiased(units) * float(np.square(apart).sum())
    if mean in (0, 1):
        # All clips are alike: the groups are what there is to count.
        effective = float(units)
    else:
        # Few groups may happen to agree, and rounding alone tells their shares apart.
        effective = clips if clips * variance <= mean * (1 - mean) else mean * (1 - mean) / variance
    return float(effective * (stats.norm.ppf(upper) / stats.t.ppf(upper, units - 1)) ** 2)


def share_difference(a: Interval, b: Interval) -> Interval:
    """``b - a`` of two independent shares with their score intervals (Newcombe 1998, method 10)."""
    difference = b.mean - a.mean
    below = np.hypot(b.mean - b.low, a.high - a.mean)
    above = np.hypot(b.high - b.mean, a.mean - a.low)
    return Interval(difference, float(difference - below), float(difference + above))


def brier_scores(targets: BoolArray, scores: FloatArray) -> FloatArray:
    """Mean squared error of every clip's class probabilities (Brier 1950), shape ``(clips,)``, between 0 and 1.

    ``targets`` and ``scores`` have shape ``(clips, classes)``. It is least, in expectation, for the true probabilities;
    an absolute error is least for a sure guess, and so prefers those that are too sure. And it is bounded,
    as a log loss is not: a few confident mistakes cannot drown the rest.
    """
    return np.asarray(np.square(targets - np.asarray(scores, dtype=np.float64)).mean(axis=1))


# --------------------------------------------------------------------------------------------------- sets of clips


def frechet_distance(a: FloatArray, b: FloatArray) -> float:
    """Frechet distance between Gaussians fitted to two sets of embeddings, shapes ``(n, d)`` and ``(m, d)``.

    ||mu_a - mu_b||^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau 1982; Kilgour et al. 2019 for audio), with
    plain sample covariances (n - 1): at least 2 rows each. Biased upwards for small sets: compare sets of the same size
    only.
    """
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False, dtype=np.float64)) for x in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # C_a C_b and root C_b root have the same eigenvalues; the second is symmetric, so they come out real.
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    shift = a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.clip(product, 0, None)).sum()
    return float(max(0.0, shift @ shift + spread))


def kernel_distance(a: FloatArray, b: FloatArray) -> float:
    """Squared maximum mean discrepancy, unbiased, of embeddings ``(n, d)`` and ``(m, d)``.

    With the kernel ``(x . y / d + 1)^3`` (Binkowski et al. 2018, KID). Unlike `frechet_distance` it needs no large
    sets, only 2 rows; near 0, and sometimes below, for sets from one distribution.
    """
    from sklearn.metrics.pairwise import polynomial_kernel

    n, m = len(a), len(b)
    within_a, within_b, across = (polynomial_kernel(x, y, degree=3, coef0=1) for x, y in ((a, a), (b, b), (a, b)))
    mean_a = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    mean_b = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(mean_a + mean_b - 2 * across.mean())


def diversity(embeddings: FloatArray) -> float:
    """Mean Euclidean distance over all pairs of rows, shape ``(n, d)``, of at least 2."""
    from scipy.spatial.distance import pdist

    return float(pdist(embeddings).mean())


#: Mean pairwise distance under which clips are all alike.
_NO_DIVERSITY = 1e-9


def relative_diversity(
    embeddings: FloatArray, labels: Sequence[str], real: FloatArray, real_labels: Sequence[str]
) -> float:
    """`diversity` within each class over that of the real clips of the class, averaged over classes.

    1 is as diverse as the real clips. Classes with fewer than 2 clips on either side, or whose real clips are alike,
    are left out; NaN when all are.
    """
    ratios = []
    for label in sorted(set(labels) & set(real_labels)):
        own, reference = (
            rows[[name == label for name in names]] for rows, names in ((embeddings, labels), (real, real_labels))
        )
        if len(own) > 1 and len(reference) > 1 and (spread := diversity(reference)) > _NO_DIVERSITY:
            ratios.append(diversity(own) / spread)
    return float(np.mean(ratios)) if ratios else float("nan")
