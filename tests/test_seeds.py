"""Seeds: stable values, named by what they are for and by nothing else."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthio.seeds import derive_seed, global_state_kept, numpy_generator, shuffled_passes, torch_generator

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_seeds_never_change() -> None:
    # A change here changes the results of every run ever made.
    assert derive_seed(0) == 4761921975702974394
    assert derive_seed(0, "generate", "dog-01234567", 3) == 7206790109927374529
    assert numpy_generator(0, "split").integers(1 << 30) == 605715217
    assert torch_generator(7, "noise").initial_seed() == derive_seed(7, "noise")


def test_torch_draws_are_named_too() -> None:
    import torch

    first, again, other = (torch.randn(4, generator=torch_generator(0, name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@unhurried
@given(st.integers(0, 2**31), st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3))
def test_seeds_fit_every_library(run_seed: int, parts: list[str | int]) -> None:
    seed = derive_seed(run_seed, *parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(run_seed, *parts)


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
def test_passes_are_shuffled_each_and_draw_as_they_always_did(items: int, draws: int, seed: int) -> None:
    """Second implementation: the two formulas that trainings and the judge had, which their results depend on."""
    own, of_trainings, of_judge = (np.random.default_rng(seed) for _ in range(3))
    order = shuffled_passes(items, draws, own)
    passes = [of_trainings.permutation(items) for _ in range(max(1, -(-draws // items)))]
    np.testing.assert_array_equal(order, np.concatenate(passes)[:draws])
    clips = 7 * np.arange(items) + 3
    permuted = [of_judge.permutation(clips) for _ in range(-(-draws // items))]
    np.testing.assert_array_equal(clips[order], np.concatenate(permuted)[:draws] if permuted else [])
    # The judge's generator draws for class after class.
    assert own.bit_generator.state == of_judge.bit_generator.state
    for start in range(0, draws, items):
        part = order[start : start + items]
        assert len(set(part.tolist())) == len(part)
