"""Statistics over seeds against closed forms and second implementations, and the results they are computed from."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from synthio.bench import paper
from synthio.bench.results import Result, keep_results, read_kept, read_results, write_results
from synthio.bench.statistics import (
    Estimate,
    estimate,
    holm,
    paired_differences,
    rank_agreement,
    redraw_correction,
    regret,
    stratified,
)
from synthio.errors import DataError
from synthio.metrics import CONFIDENCE

fractions = st.floats(0, 1)
p_value_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def result(**changes: Any) -> Result:
    row: dict[str, Any] = {
        "dataset": "esc50", "n": 50, "arm": "gold", "seed": 0, "metric": "accuracy", "value": 0.5, "macro_f1": 0.4,
        "n_train": 50, "n_added": 0, "n_valid": 20, "n_test": 400, "test_fraction": 0.0, "train_s": 10.0,
        "shared_s": 0.0, "recipe": "abc",
    }  # fmt: skip
    return Result(**(row | changes))


# ------------------------------------------------------------------------------------------------------ one dataset


def test_an_interval_in_closed_form() -> None:
    # Mean 2, standard deviation 1, t(0.975, 2) = 4.302653: the half-width is 4.302653 / sqrt(3).
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((2 - found.half_width, 2 + found.half_width))


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.25])
    assert found == Estimate(0.25, None, None)
    assert (found.half_width, found.low, found.high, found.p_value) == (None, None, None, None)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_paired_differences_agree_with_scipy(pairs: list[tuple[float, float]]) -> None:
    arm, reference = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    differences = list(paired_differences(arm, reference).values())
    found = estimate(differences)
    if np.std(differences) < 1e-9:
        return
    expected = stats.ttest_rel(list(arm.values()), list(reference.values()))
    interval = expected.confidence_interval(CONFIDENCE)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-5, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-5, abs=1e-9)


def test_pairs_are_the_common_seeds_only() -> None:
    assert paired_differences({2: 0.5, 0: 0.75, 9: 1.0}, {0: 0.5, 2: 0.5, 3: 0.1}) == {0: 0.25, 2: 0.0}


@pytest.mark.parametrize("same", [[0.0, 0.0, 0.0], [0.1, 0.3 - 0.2], [0.02] * 5])
def test_values_without_spread_have_no_test_and_no_interval(same: list[float]) -> None:
    # SciPy says p = 0, or NaN: a t-test that is certain after two seeds would mislead, as would a width of 0.
    found = estimate(same)
    assert (found.p_value, found.half_width, found.low, found.high) == (None, None, None, None)
    assert found.mean == pytest.approx(same[0])


def test_draws_that_share_test_clips_are_worth_fewer_seeds() -> None:
    # Nadeau and Bengio (2003): 1/J becomes 1/J + n_test/n_train, here 1/5 + 0.4/0.6.
    values = [0.1, 0.3, 0.2, 0.25, 0.4]
    plain, corrected = estimate(values), estimate(values, redraw_correction(0.4))
    assert plain.half_width is not None and plain.p_value is not None and corrected.p_value is not None
    assert corrected.mean == plain.mean
    assert corrected.half_width == pytest.approx(plain.half_width * math.sqrt(5 * (1 / 5 + 0.4 / 0.6)))
    assert corrected.p_value > plain.p_value
    assert plain.standard_error is not None and corrected.standard_error is not None
    two = stratified([values, values], [redraw_correction(0.4), 0.0])
    assert two.standard_error == pytest.approx(math.sqrt(corrected.standard_error**2 + plain.standard_error**2) / 2)


def test_the_corrected_interval_covers_where_only_the_drawn_groups_matter() -> None:
    """Five seeds, each testing on 8 of the same 20 groups: the plain interval has the truth in it far too seldom."""
    generator = np.random.default_rng(0)
    covered = {0.0: 0, redraw_correction(0.4): 0}
    trials = 1000
    for _ in range(trials):
        effects = generator.normal(size=20)
        values = [float(effects[generator.permutation(20)[:8]].mean()) for _ in range(5)]
        for correction in covered:
            found = estimate(values, correction)
            covered[correction] += found.half_width is not None and abs(found.mean) <= found.half_width
    plain, corrected = (count / trials for count in covered.values())
    assert plain < 0.85
    assert 0.92 <= corrected <= 0.99


# ---------------------------------------------------------------------------------------------------- over datasets


def test_two_datasets_are_welch() -> None:
    # With b's sign turned, twice the mean over the two datasets is the difference of Welch's test.
    a, b = [0.1, 0.4, 0.2, 0.3], [0.05, 0.06, 0.1]
    found = stratified([a, [-x for x in b]])
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(CONFIDENCE)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.freedom == pytest.approx(expected.df)
    assert (found.low, found.high) == pytest.approx((interval.low / 2, interval.high / 2))


def test_equal_variances_and_counts_pool_their_freedom() -> None:
    found = stratified([[0.0, 0.1, 0.2], [0.5, 0.6, 0.7], [0.2, 0.3, 0.4]])
    assert found.mean == pytest.approx(1 / 3)
    assert found.freedom == pytest.approx(6)
    assert found.standard_error == pytest.approx(0.1 / 3)


def test_every_dataset_weighs_the_same_and_one_seed_spoils_the_interval() -> None:
    assert stratified([[0.0] * 9 + [0.1], [1.0, 1.0]]).mean == pytest.approx(0.505)
    assert stratified([[0.1, 0.2], [0.3]]) == Estimate(pytest.approx(0.225), None, None)


@given(st.lists(st.lists(fractions, min_size=2, max_size=5), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_freedom_lies_between_the_smallest_and_the_total(groups: list[list[float]]) -> None:
    freedom = stratified(groups).freedom
    own = [len(group) - 1 for group in groups]
    assert freedom is not None
    assert min(own) - 1e-9 <= freedom <= sum(own) + 1e-9


def test_the_pooled_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        found = stratified([generator.normal(0.1, scale, 4).tolist() for scale in (0.02, 0.05, 0.03)])
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.1 <= found.high
    assert 0.935 < covered / 2000 < 0.97


# ------------------------------------------------------------------------------------------------------ many at once


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_in_closed_form(raw: list[float], adjusted: list[float]) -> None:
    assert holm(raw) == pytest.approx(adjusted)


@given(p_value_lists, st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(raw: list[float], random: Any) -> None:
    adjusted = holm(raw)
    assert all(p <= a <= min(1.0, len(raw) * p) + 1e-15 for p, a in zip(raw, adjusted, strict=True))
    ordered = [a for _, a in sorted(zip(raw, adjusted, strict=True))]
    assert ordered == sorted(ordered)
    places = random.sample(range(len(raw)), len(raw))
    assert holm([raw[i] for i in places]) == [adjusted[i] for i in places]


@given(p_value_lists, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(raw: list[float], alpha: float) -> None:
    rejected = 0
    for step, p in enumerate(sorted(raw)):
        if (len(raw) - step) * p > alpha:
            break
        rejected += 1
    assert sum(a <= alpha for a in holm(raw)) == rejected


# ---------------------------------------------------------------------------------------------------- ranks and regret


def test_ranks_in_closed_form() -> None:
    ours = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "only ours": 0.9}
    found = rank_agreement(ours, {"a": 10.0, "b": 30.0, "c": 20.0, "d": 40.0, "only theirs": 0.0})
    assert found is not None
    # One neighbouring swap: 1 - 6 * 2 / (4 * 15), and (5 - 1) / 6.
    assert (found.spearman, found.kendall, found.arms) == pytest.approx((0.8, 2 / 3, 4))


def test_too_few_or_equal_arms_have_no_rank_correlation() -> None:
    assert rank_agreement({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0, "c": 3.0}) is None
    assert rank_agreement({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 2.0, "c": 3.0}) is None


def test_regret_is_against_the_better_choice_in_the_cells_that_all_have() -> None:
    gated = {("d", 50, 0): 0.5, ("d", 50, 1): 0.75, ("e", 50, 0): 0.75}
    choices = [{("d", 50, 0): 0.75, ("e", 50, 0): 0.25}, {("d", 50, 0): 0.25, ("e", 50, 0): 0.5, ("e", 50, 1): 0.1}]
    # On e the gated arm is better than both.
    assert regret(gated, choices) == {("d", 50, 0): 0.25, ("e", 50, 0): -0.25}
    assert regret({}, choices) == {}


@given(st.lists(st.fixed_dictionaries({0: fractions, 1: fractions}), min_size=1, max_size=4))
def test_one_of_the_choices_has_no_regret_and_none_is_below_that(choices: list[dict[int, float]]) -> None:
    found = [regret(own, choices) for own in choices]
    assert [min(own[cell] for own in found) for cell in (0, 1)] == [0, 0]


# ------------------------------------------------------------------------------------------------------------ the paper


def test_every_name_is_in_the_papers_table() -> None:
    for n in (50, 100, 200, 500):
        assert all(paper.paper_value(n, arm, name) is not None for arm in paper.ARMS for name in paper.DATASETS)
    assert len(paper.table1()) == 4 * len(paper.ARMS) * len(paper.DATASETS)
    assert paper.paper_value(50, "synthio", "esc50") == pytest.approx(0.4950)
    assert paper.paper_value(500, "no_dpo", "fsd50k") == pytest.approx(0.2128)


@pytest.mark.parametrize("key", [(51, "gold", "esc50"), (50, "else", "esc50"), (50, "gold", "else")])
def test_what_the_paper_lacks_is_none(key: tuple[int, str, str]) -> None:
    assert paper.paper_value(*key) is None


# ---------------------------------------------------------------------------------------------------------- results


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
seconds = st.floats(0, 1e9)
many_results = st.lists(
    st.builds(
        Result,
        dataset=names, n=st.integers(1, 500), arm=names, seed=st.integers(-5, 2**40),
        metric=st.sampled_from(["accuracy", "mAP", "macro-F1"]), value=fractions, macro_f1=fractions,
        head=st.none() | fractions, medium=st.none() | fractions, tail=st.none() | fractions,
        n_train=st.integers(0, 99), n_added=st.integers(0, 99), n_valid=st.integers(0, 99), n_test=st.integers(0, 99),
        test_fraction=st.floats(0, 1, exclude_max=True), train_s=seconds, shared_s=seconds, recipe=names,
    ),
    max_size=6, unique_by=lambda row: row.cell,
)  # fmt: skip


@given(rows=many_results)
@settings(max_examples=40, deadline=None)
def test_results_round_trip_whatever_their_order(tmp_path_factory: Any, rows: list[Result]) -> None:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder / "a.csv", rows)
    write_results(folder / "b.csv", rows[::-1])
    assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
    assert read_results([folder / "a.csv"]) == sorted(rows, key=lambda row: row.cell)


def test_the_first_of_two_equal_cells_counts(tmp_path: Path) -> None:
    write_results(tmp_path / "a.csv", [result(train_s=1.0)])
    write_results(tmp_path / "b.csv", [result(train_s=2.0), result(seed=1)])
    assert [row.train_s for row in read_results([tmp_path / "a.csv", tmp_path / "b.csv"])] == [1.0, 10.0]


def test_a_cell_of_two_recipes_is_refused_and_both_files_named(tmp_path: Path) -> None:
    write_results(tmp_path / "a.csv", [result()])
    write_results(tmp_path / "b.csv", [result(recipe="other")])
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv: .*'esc50'.*abc and other.*leave out"):
        read_results([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_kept_results_are_only_added_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept.csv"
    keep_results(kept, [])
    assert read_kept(kept) == [] and not kept.exists()
    keep_results(kept, [result(train_s=1.0)])
    keep_results(kept, [result(train_s=2.0), result(recipe="other"), result(seed=1)])
    found = [(row.seed, row.recipe, row.train_s) for row in read_kept(kept)]
    assert found == [(0, "abc", 1.0), (0, "other", 10.0), (1, "abc", 10.0)]


def damaged(path: Path, **changes: str) -> Path:
    write_results(path, [result()])
    with path.open(encoding="utf-8", newline="") as lines:
        row = next(csv.DictReader(lines))
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(row | changes))
        writer.writeheader()
        writer.writerow(row | changes)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": "1.5"}, r"line 2: value is '1\.5'"),
        ({"value": "nan"}, "line 2: value"),
        ({"value": ""}, "line 2: value is None"),
        ({"metric": "F2"}, "metric is 'F2'"),
        # Too large for a median, and for a sum.
        ({"n_added": "1" + 400 * "0"}, r"n_added is '10+': Input should be less than or equal to 1000000000000"),
        ({"train_s": "1e308"}, "train_s is '1e308'"),
        ({"extra": "1"}, r"unknown: \['extra'\]"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_results([damaged(tmp_path / "r.csv", **changes)])


@pytest.mark.parametrize("content", [b"", b"dataset,n\nx,1\n", b"\xff\xfe\x00", b'dataset,"n\n'])
def test_files_that_are_no_results_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"r\.csv.*expected"):
        read_results([tmp_path / "r.csv"])


def test_a_line_cut_short_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "r.csv", [result()])
    text = (tmp_path / "r.csv").read_text()
    (tmp_path / "r.csv").write_text(text[: text.rindex(",")] + "\n")
    with pytest.raises(DataError, match="line 2 does not have"):
        read_results([tmp_path / "r.csv"])
    with pytest.raises(DataError, match="cannot be read"):
        read_results([tmp_path / "none.csv"])


@pytest.mark.parametrize("changes", [{"dataset": "a\nb"}, {"arm": ""}, {"n": 0}, {"train_s": math.inf}, {"other": 1}])
def test_results_refuse_what_a_file_could_not_hold(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        result(**changes)
