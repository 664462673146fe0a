"""Metrics against closed forms and second implementations."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import sqrtm
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from synthio import metrics


def random_problem(seed: int, clips: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class indices, one-hot targets, and scores that are right more often than not."""
    generator = np.random.default_rng(seed)
    indices = generator.integers(classes, size=clips)
    targets = np.eye(classes, dtype=bool)[indices]
    return indices, targets, targets + generator.normal(scale=0.8, size=(clips, classes))


# ---------------------------------------------------------------------------------------------------- classification


def test_shares_have_the_published_intervals() -> None:
    """Wilson's of 15 of 148 (Newcombe 1998a, table I), and differences of Newcombe 1998b, table II, method 10."""
    found = metrics.share(15, 148)
    assert (found.low, found.high) == (pytest.approx(0.0624, abs=5e-5), pytest.approx(0.1605, abs=5e-5))
    for a, b, low, high in (((48, 80), (56, 70), 0.0524, 0.3339), ((3, 10), (9, 10), 0.1705, 0.8090)):
        found = metrics.share_difference(metrics.share(*a), metrics.share(*b))
        assert found.mean == pytest.approx(b[0] / b[1] - a[0] / a[1])
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert np.isnan(metrics.share(0, 0).mean) and np.isnan(metrics.share_difference(found, metrics.share(0, 0)).low)


def test_a_share_of_clips_without_groups_has_the_exact_interval() -> None:
    for right, clips in ((0, 4), (4, 6), (6, 6), (150, 297)):
        hits = np.arange(clips) < right
        found, exact = metrics.grouped_share(hits, [str(i) for i in range(clips)]), stats.binomtest(right, clips)
        assert found.mean == pytest.approx(right / clips)
        assert (found.low, found.high) == pytest.approx(tuple(exact.proportion_ci()), abs=1e-9)


def test_groups_that_are_alike_count_as_what_they_are() -> None:
    """Clips of three patients say as much as three clips; of one patient, or of no clips, nothing is said."""
    hits = np.array([True] * 4 + [False] * 2)
    alike = metrics.grouped_share(hits, list("aabbcc"))
    assert alike.low < 0.01 and alike.high > 0.99 and alike.mean == pytest.approx(2 / 3)
    all_found = metrics.grouped_share(np.ones(20, dtype=bool), list("abcdefghij") * 2)
    assert 0.4 < all_found.low < 0.8 and all_found.high == 1
    assert np.isnan(metrics.grouped_share(hits, ["a"] * 6).low)
    assert np.isnan(metrics.grouped_share(hits[:0], []).mean)
    # Few groups that happen to agree say little, whether they agree quite or nearly.
    for right in (25, 26):
        two = metrics.grouped_share(np.arange(100) % 50 < np.repeat([25, right], 50), ["a"] * 50 + ["b"] * 50)
        assert two.low < 0.1 and two.high > 0.9
    for share in (2, 3):
        ten = metrics.grouped_share(np.arange(60) % share == 0, [str(i // 6) for i in range(60)])
        assert 0.2 < ten.high - ten.low < 0.32
    # With groups that know nothing of each other's clips, nearly the exact interval.
    many = np.random.default_rng(0).random(400) < 0.7
    shuffled, exact = (
        metrics.grouped_share(many, [str(i % 50) for i in range(400)]),
        stats.binomtest(int(many.sum()), 400),
    )
    assert (shuffled.low, shuffled.high) == pytest.approx(tuple(exact.proportion_ci()), abs=0.02)


@pytest.mark.parametrize(
    ("groups", "clips", "mean", "alike"), [(5, 6, 0.8, 0.3), (11, 20, 0.6, 0.2), (40, 3, 0.7, 0.1)]
)
def test_the_interval_of_a_share_contains_the_truth(groups: int, clips: int, mean: float, alike: float) -> None:
    """In 95% of draws at least, of groups whose own shares differ (beta-binomial, correlation ``alike``)."""
    generator = np.random.default_rng(0)
    strength = 1 / alike - 1
    shares = generator.beta(mean * strength, (1 - mean) * strength, (500, groups, 1))
    names = np.repeat([str(i) for i in range(groups)], clips).tolist()
    found = [metrics.grouped_share(row.ravel(), names) for row in generator.random((500, groups, clips)) < shares]
    assert np.mean([interval.low <= mean <= interval.high for interval in found]) > 0.93


def test_the_mean_is_of_what_is_there() -> None:
    assert metrics.known_mean([1.0, None, 4.0]) == 2.5
    assert metrics.known_mean([None]) is None
    assert metrics.known_mean(iter(())) is None


def test_multi_hot_has_a_column_per_class_and_ignores_others() -> None:
    targets = metrics.multi_hot([("b",), ("a", "c"), ("z",), ()], ["a", "b", "c"])
    assert targets.tolist() == [[False, True, False], [True, False, True], [False] * 3, [False] * 3]


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_single_label_scores_equal_scikit_learn_on_class_indices(seed: int) -> None:
    indices, targets, scores = random_problem(seed)
    guessed = scores.argmax(axis=1)
    assert metrics.accuracy(targets, scores) == pytest.approx(accuracy_score(indices, guessed))
    expected = f1_score(indices, guessed, average="macro", labels=np.unique([*indices, *guessed]), zero_division=0)
    assert metrics.macro_f1(targets, metrics.top_class(scores)) == pytest.approx(expected)


def test_a_class_without_clips_is_left_out_of_the_means() -> None:
    targets = np.array([[True, False, False], [False, True, False]])
    scores = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert metrics.macro_f1(targets, metrics.top_class(scores)) == 1.0
    assert metrics.mean_average_precision(targets, scores) == 1.0
    assert np.isnan(metrics.mean_average_precision(np.zeros((2, 3), bool), scores))


def test_a_clip_of_no_known_class_is_wrong() -> None:
    targets = np.array([[True, False], [False, False]])
    assert metrics.accuracy(targets, np.array([[0.9, 0.1], [0.9, 0.1]])) == 0.5


def test_decisions() -> None:
    scores = np.array([[0.2, 0.7, 0.5], [0.4, 0.3, 0.1]])
    assert metrics.top_class(scores).tolist() == [[False, True, False], [True, False, False]]
    assert metrics.above_half(scores).tolist() == [[False, True, True], [False, False, False]]


def test_r_precision_by_hand() -> None:
    """Three clips of the first class, two of the second, none of the third."""
    targets = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    scores = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.5, 0.7, 0], [0.1, 0.2, 0], [0.0, 0.1, 1]])
    # Nearest to the first class: clips 0, 2, 1; to the second: clips 1, 2.
    assert metrics.r_precision(targets, scores) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.r_precision(targets, targets.astype(float)) == 1
    assert metrics.r_precision(targets[:4], 1 - targets[:4].astype(float)) == 0


def test_average_precision_by_hand() -> None:
    # Hits at ranks 1 and 3 of 4: (1/1 + 2/3) / 2.
    targets = np.array([[True], [False], [True], [False]])
    scores = np.array([[0.9], [0.8], [0.7], [0.1]])
    assert metrics.mean_average_precision(targets, scores) == pytest.approx((1 + 2 / 3) / 2)


@given(st.integers(0, 10**6), st.integers(2, 30))
@settings(max_examples=20, deadline=None)
def test_weighted_average_precision_equals_scikit_learn_with_ties(seed: int, clips: int) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.random((clips, 3)) < 0.4
    scores = generator.integers(0, 5, size=(clips, 3)) / 4
    weights = generator.integers(0, 3, size=(4, clips)).astype(float)
    found = metrics.weighted_mean_average_precision(targets, scores, weights)
    for row, value in zip(weights, found, strict=True):
        expected = [
            average_precision_score(targets[:, k], scores[:, k], sample_weight=row)
            for k in range(3)
            if (row * targets[:, k]).sum() > 0
        ]
        assert value == pytest.approx(np.mean(expected)) if expected else np.isnan(value)


# --------------------------------------------------------------------------------------------------------- intervals


def scores_of(correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two-class targets and scores that are right exactly where ``correct``, shape ``(seeds, clips)``, is true."""
    targets = np.tile([True, False], (correct.shape[-1], 1))
    return targets, np.stack([correct, ~correct], axis=-1).astype(float)


def bootstrap(
    metric: metrics.WeightedMetric,
    targets: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
    groups: list[str] | None = None,
) -> metrics.Interval:
    """Of scores of shape ``(seeds, clips, classes)``; without groups every clip is one."""

    def difference(weights: np.ndarray) -> np.ndarray:
        pairs = zip(a, b, strict=True)
        return np.array([metric(targets, own_b, weights) - metric(targets, own_a, weights) for own_a, own_b in pairs])

    units = [str(clip) for clip in range(len(targets))] if groups is None else groups
    return metrics.bootstrap_difference(difference, units, resamples, generator)


def interval(
    a: np.ndarray, b: np.ndarray, resamples: int = 4000, seed: int = 0, groups: list[str] | None = None
) -> metrics.Interval:
    """Bootstrap interval of the accuracy difference of two arrays of right and wrong, ``(seeds, clips)``."""
    targets, scores_a = scores_of(a)
    generator = np.random.default_rng(seed)
    return bootstrap(metrics.weighted_accuracy, targets, scores_a, scores_of(b)[1], resamples, generator, groups=groups)


def test_equal_arms_differ_by_exactly_nothing() -> None:
    correct = np.random.default_rng(0).random((3, 50)) < 0.6
    assert interval(correct, correct) == metrics.Interval(0.0, 0.0, 0.0)


def test_one_seed_interval_agrees_with_the_normal_approximation() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random((1, 800)) < 0.6, generator.random((1, 800)) < 0.7
    difference = (b.astype(float) - a)[0]
    half = 1.96 * difference.std() / np.sqrt(800)
    found = interval(a, b)
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - half, abs=0.005)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.005)


def test_the_interval_is_paired_by_clip() -> None:
    # The arms agree on every clip but one: independent resampling would give a half-width near 0.1.
    a = np.random.default_rng(2).random((1, 100)) < 0.5
    b = a.copy()
    b[0, np.flatnonzero(~a[0])[0]] = True
    found = interval(a, b)
    assert found.mean == pytest.approx(0.01)
    assert -0.002 < found.low <= 0.0
    assert found.high <= 0.04


def test_clips_of_a_group_are_drawn_together() -> None:
    """Ten recorders whose clips share their fate are ten pieces of evidence, not three hundred."""
    generator = np.random.default_rng(3)
    groups = [f"g{k // 30}" for k in range(300)]
    a = np.zeros((1, 300), dtype=bool)
    b = (generator.random(10) < 0.5).repeat(30)[None]
    targets, scores_a = scores_of(a)
    scores_b = scores_of(b)[1]
    share = float(b.mean())

    def found(of: list[str]) -> metrics.Interval:
        dice = np.random.default_rng(0)
        return bootstrap(metrics.weighted_accuracy, targets, scores_a, scores_b, 2000, dice, groups=of)

    # Student's t with 9 degrees of freedom, of the unbiased deviation.
    half = stats.t.ppf(0.975, 9) * np.sqrt(share * (1 - share) / 9)
    assert found(groups).mean == pytest.approx(share)
    assert found(groups).high - found(groups).low == pytest.approx(2 * half, rel=0.15)
    # One group alone says nothing of others.
    alone = found(["one"] * 300)
    assert alone.mean == pytest.approx(share) and np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize(
    "metric",
    [metrics.weighted_accuracy, metrics.weighted_balanced_accuracy, metrics.weighted_mean_average_precision],
)
def test_one_clip_says_nothing_of_others(metric: metrics.WeightedMetric) -> None:
    targets, scores_a = scores_of(np.zeros((3, 1), bool))
    scores_b = scores_of(np.ones((3, 1), bool))[1]
    found = bootstrap(metric, targets, scores_a, scores_b, 100, np.random.default_rng(0))
    assert found.mean >= 0 and np.isnan([found.low, found.high]).all()


def test_two_groups_that_happen_to_agree_are_no_proof() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.random((1, 120)) < 0.5, generator.random((1, 120)) < 0.55
    targets, scores_a = scores_of(a)
    arguments = (metrics.weighted_accuracy, targets, scores_a, scores_of(b)[1], 1000)
    for count in (2, 3, 5):
        groups = [f"g{k % count}" for k in range(120)]
        plain = bootstrap(*arguments, np.random.default_rng(0))
        grouped = bootstrap(*arguments, np.random.default_rng(0), groups=groups)
        assert grouped.mean == plain.mean
        assert grouped.low <= plain.low and grouped.high >= plain.high
    # Apart by 20 points, the two groups disagree: Student's t of one degree of freedom is 12.7.
    apart = np.concatenate([np.ones(60, bool), np.arange(60) < 48])[None]
    targets, scores_a = scores_of(np.zeros((1, 120), bool))
    halves = ["g0"] * 60 + ["g1"] * 60
    arguments = (metrics.weighted_accuracy, targets, scores_a, scores_of(apart)[1], 1000)
    wide = bootstrap(*arguments, np.random.default_rng(0), groups=halves)
    assert wide.low < 0 < bootstrap(*arguments, np.random.default_rng(0)).low


def test_groups_that_are_all_alike_do_not_hide_the_luck_of_clips() -> None:
    """One of four clips of every group is right: groups drawn whole would have no spread at all."""
    a, b = np.zeros((1, 120), bool), (np.arange(120) % 4 == 0)[None]
    plain, grouped = interval(a, b), interval(a, b, groups=[f"g{k // 4}" for k in range(120)])
    assert grouped == plain
    assert (plain.low, plain.high) == pytest.approx((0.174, 0.335), abs=0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_holds_the_difference_on_the_data_itself(sign: int) -> None:
    """Of a metric for which all resamples lie on one side of it."""

    def largest_weight(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(scores.mean() * weights.max(axis=1))

    a, b = np.zeros((1, 20, 2)), np.full((1, 20, 2), 0.1 * sign)
    targets, dice = np.zeros((20, 2), bool), np.random.default_rng(0)
    found = bootstrap(largest_weight, targets, a, b, 200, dice)
    near, far = (found.low, found.high) if sign > 0 else (found.high, found.low)
    assert found.mean == near == pytest.approx(0.1 * sign)
    assert sign * far > 0.3


def test_the_spread_of_few_seeds_is_students_t() -> None:
    """Twice as wide as the percentiles of four seeds, which show less than their spread."""
    shares = np.array([0.2, 0.35, 0.4, 0.6])
    b = np.arange(3000) < 3000 * shares[:, None]
    half = stats.t.ppf(0.975, 3) * shares.std(ddof=1) / 2
    found = interval(np.zeros((4, 3000), bool), b, resamples=2000)
    assert found.mean == pytest.approx(shares.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_a_metric_that_no_resample_defines_has_no_interval() -> None:
    scores = np.random.default_rng(0).random((2, 5, 2))
    found = bootstrap(
        lambda targets, scores, weights: np.full(len(weights), np.nan if len(weights) > 1 else 0.5),
        np.zeros((5, 2), bool), scores, scores, 50, np.random.default_rng(0),
    )  # fmt: skip
    assert found.mean == 0 and np.isnan([found.low, found.high]).all()


def test_two_seeds_that_disagree_prove_nothing() -> None:
    found = interval(np.zeros((2, 60), bool), np.array([[True] * 60, [True] * 30 + [False] * 30]))
    assert found.mean == 0.75
    assert found.low < 0


def test_two_seeds_show_half_of_their_spread_and_no_difference_exceeds_all_clips() -> None:
    none, most = np.zeros((2, 8), bool), np.array([[True] * 8, [True] * 6 + [False] * 2])
    found = interval(none, most)
    assert (found.high, interval(most, none).low) == (1.0, -1.0)
    # Without sqrt(S / (S - 1)) for the seeds' deviations it would lie above 0.
    assert found.low == pytest.approx(-0.21, abs=0.04)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_few_intervals_leave_out_zero(seeds: int) -> None:
    """Trainings of one arm differ by 3 to 4 points, as measured; none of the arms is better."""
    generator = np.random.default_rng(seeds)

    def arm() -> np.ndarray:
        ability = generator.normal(scale=0.25, size=(seeds, 1))
        return generator.random((seeds, 200)) < 1 / (1 + np.exp(-(difficulty + ability)))

    wrong = 0
    for _ in range(200):
        difficulty = generator.normal(size=200)
        found = interval(arm(), arm(), resamples=400)
        wrong += found.low > 0 or found.high < 0
    assert wrong <= 14


def test_swapping_the_arms_mirrors_the_interval() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.random((3, 70)) < 0.5, generator.random((3, 70)) < 0.6
    there, back = interval(a, b), interval(b, a)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))


def test_balanced_accuracy_is_scikit_learns() -> None:
    from sklearn.metrics import balanced_accuracy_score

    generator = np.random.default_rng(11)
    labels, scores = generator.integers(4, size=60), generator.random((60, 5))
    found = metrics.balanced_accuracy(np.eye(5, dtype=bool)[labels], scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))


@pytest.mark.parametrize(
    ("weighted", "plain"),
    [
        (metrics.weighted_accuracy, metrics.accuracy),
        (metrics.weighted_balanced_accuracy, metrics.balanced_accuracy),
        (metrics.weighted_mean_average_precision, metrics.mean_average_precision),
    ],
)
def test_weights_mean_repeated_clips(weighted: metrics.WeightedMetric, plain: metrics.Metric) -> None:
    def repeated(targets: metrics.BoolArray, scores: metrics.FloatArray, weights: metrics.FloatArray) -> np.ndarray:
        drawn = (np.repeat(np.arange(len(targets)), counts) for counts in weights.astype(int))
        return np.array([plain(targets[rows], scores[rows]) for rows in drawn])

    _, targets, first = random_problem(5)
    arms = np.stack([first, random_problem(5)[2] + np.random.default_rng(6).normal(size=first.shape)])
    found = [
        bootstrap(metric, targets, arms[:1], arms[1:], 100, np.random.default_rng(7)) for metric in (weighted, repeated)
    ]
    assert (found[0].mean, found[0].low, found[0].high) == pytest.approx((found[1].mean, found[1].low, found[1].high))
    assert found[0].low < found[0].high


@pytest.mark.parametrize("metric", [metrics.weighted_accuracy, metrics.weighted_mean_average_precision])
def test_a_usual_comparison_takes_under_two_seconds(metric: metrics.WeightedMetric) -> None:
    generator = np.random.default_rng(8)
    targets = np.eye(11, dtype=bool)[generator.integers(11, size=300)]
    scores = generator.random((2, 3, 300, 11))
    started = time.process_time()
    bootstrap(metric, targets, scores[0], scores[1], 2000, generator)
    assert time.process_time() - started < 2


def test_brier_scores_in_closed_form() -> None:
    targets = np.array([[True, False, False], [False, True, False], [False, False, False]])
    scores = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    expected = [(0.3**2 + 0.2**2 + 0.1**2) / 3, 2 / 3, (0.2**2 + 0.3**2 + 0.5**2) / 3]
    assert metrics.brier_scores(targets, scores) == pytest.approx(expected)
    several = np.array([[True, True, False]])
    assert metrics.brier_scores(several, scores[:1]) == pytest.approx([(0.3**2 + 0.8**2 + 0.1**2) / 3])


probabilities = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda x: np.array(x) / sum(x))


@given(probabilities, probabilities)
def test_nothing_scores_better_than_the_true_probabilities(true: metrics.FloatArray, told: metrics.FloatArray) -> None:
    outcomes = np.eye(3, dtype=bool)
    of_true, of_told = (true @ metrics.brier_scores(outcomes, np.tile(said, (3, 1))) for said in (true, told))
    assert of_true <= of_told + 1e-12


# --------------------------------------------------------------------------------------------------- sets of clips


def with_moments(mean: np.ndarray, covariance: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``n`` points whose sample mean and covariance are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(n, len(mean)))
    drawn -= drawn.mean(axis=0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_diagonal_gaussians() -> None:
    means = np.array([[0.0, 1.0, 2.0], [1.0, -1.0, 2.5]])
    variances = np.array([[1.0, 4.0, 0.25], [9.0, 1.0, 0.25]])
    a, b = (with_moments(m, np.diag(v), 200, seed) for seed, (m, v) in enumerate(zip(means, variances, strict=True)))
    expected = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2).sum()
    assert metrics.frechet_distance(a, b) == pytest.approx(expected)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected)


def test_frechet_distance_equals_the_matrix_square_root_formula() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(60, 5)) @ generator.normal(size=(5, 5))
    b = generator.normal(size=(70, 5)) @ generator.normal(size=(5, 5)) + 0.3
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(axis=0) - b.mean(axis=0)
    expected = shift @ shift + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_distance_of_a_set_with_itself_is_nothing_even_with_few_points() -> None:
    a = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(a, a + 2) == pytest.approx(4 * 40, rel=1e-5)


def test_kernel_distance_equals_its_definition() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(9, 4)), generator.normal(size=(7, 4)) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert metrics.kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * across)
    assert metrics.kernel_distance(b, a) == pytest.approx(metrics.kernel_distance(a, b))


def test_kernel_distance_has_no_bias_for_small_sets() -> None:
    generator = np.random.default_rng(0)
    values = [
        metrics.kernel_distance(generator.normal(size=(8, 3)), generator.normal(size=(8, 3))) for _ in range(2000)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_relative_diversity_compares_within_classes() -> None:
    real = np.array([[0.0, 0], [2, 0], [10, 0], [14, 0]])
    made = np.array([[0.0, 0], [1, 0], [10, 0], [18, 0], [5, 5]])
    value = metrics.relative_diversity(made, ["a", "a", "b", "b", "c"], real, ["a", "a", "b", "b"])
    assert value == pytest.approx((0.5 + 2.0) / 2)
    assert np.isnan(metrics.relative_diversity(made[:1], ["a"], real, ["a", "a", "b", "b"]))
    # One recording twice is no measure of diversity.
    alike = np.concatenate([real[:2], real[2:3], real[2:3]])
    names = ["a", "a", "b", "b"]
    assert metrics.relative_diversity(made, [*names, "c"], alike, names) == metrics.relative_diversity(
        made[:2], ["a", "a"], real[:2], ["a", "a"]
    )


def test_diversity_of_a_simplex() -> None:
    assert metrics.diversity(np.eye(6)) == pytest.approx(np.sqrt(2))
