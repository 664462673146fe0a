"""Seeds: stable values, named by what they are for and by nothing else."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthio.seeds import (
    balanced_passes,
    derive_seed,
    global_state_kept,
    numpy_generator,
    shuffled_passes,
    torch_generator,
)

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_seeds_never_change() -> None:
    # A change here changes the results of every run ever made.
    assert derive_seed(0) == 4761921975702974394
    assert derive_seed(0, "generate", "dog-01234567", 3) == 7206790109927374529
    assert numpy_generator(0, "split").integers(1 << 30) == 605715217
    assert shuffled_passes(4, 7, numpy_generator(0, "train")).tolist() == [2, 3, 0, 1, 3, 2, 1]
    assert torch_generator(7, "noise").initial_seed() == derive_seed(7, "noise")


def test_torch_draws_are_named_too() -> None:
    import torch

    first, again, other = (torch.randn(4, generator=torch_generator(0, name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@unhurried
@given(st.integers(0, 2**31), st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3))
def test_seeds_fit_every_library(run_seed: int, parts: list[str | int]) -> None:
    assert 0 <= derive_seed(run_seed, *parts) < 2**63


def test_seeds_of_different_items_differ() -> None:
    names = [(run, stage, item) for run in range(3) for stage in ("align", "generate") for item in range(50)]
    assert len({derive_seed(*name) for name in names}) == len(names)
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")


def test_an_item_draws_the_same_whatever_is_drawn_around_it() -> None:
    alone = numpy_generator(0, "b").standard_normal(4)
    for order in itertools.permutations("abc"):
        drawn = {name: numpy_generator(0, name).standard_normal(4) for name in order}
        assert (drawn["b"] == alone).all()


def test_a_library_may_seed_and_draw_and_the_callers_draws_go_on() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = [random.random(), np.random.random(), random.random(), np.random.random()]
    random.seed(1)
    np.random.seed(1)
    first = [random.random(), np.random.random()]
    try:
        with global_state_kept():
            random.seed(9)
            np.random.seed(9)
            random.random(), np.random.random()
            raise LookupError
    except LookupError:
        pass
    assert [*first, random.random(), np.random.random()] == expected


@unhurried
@given(items=st.integers(1, 30), draws=st.integers(0, 100), seed=st.integers(0, 2**31))
def test_every_pass_has_every_item_once(items: int, draws: int, seed: int) -> None:
    order = shuffled_passes(items, draws, np.random.default_rng(seed)).tolist()
    assert len(order) == draws and set(order) <= set(range(items))
    for start in range(0, draws, items):
        part = order[start : start + items]
        assert len(set(part)) == len(part)


@unhurried
@given(targets=st.lists(st.integers(0, 3), min_size=1, max_size=40), draws=st.integers(1, 400), seed=st.integers(0, 99))
def test_every_class_is_drawn_about_equally_often(targets: list[int], draws: int, seed: int) -> None:
    array = np.array(targets)
    order = balanced_passes(array, draws, np.random.default_rng(seed))
    assert order.shape == (draws,) and ((order >= 0) & (order < len(array))).all()
    counts = np.array([(array[order] == value).sum() for value in np.unique(array)])
    expected = draws / len(counts)
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected) + 1).all()
    for value in np.unique(array):
        times = np.bincount(order, minlength=len(array))[array == value]
        assert times.max() - times.min() <= 1
