"""The alignment losses against closed forms and a second implementation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synthio.preference import Errors, dpo_loss

errors = st.lists(st.floats(0.01, 3.0), min_size=4, max_size=4).map(lambda v: [torch.tensor([x]) for x in v])


@given(errors, st.floats(0.1, 3000.0))
def test_dpo_matches_the_formula_term_by_term(values: list[torch.Tensor], beta: float) -> None:
    policy_w, policy_l, reference_w, reference_l = (float(v) for v in values)
    inner = -(beta / 2) * ((policy_w - reference_w) - (policy_l - reference_l))
    expected = math.log1p(math.exp(-inner)) if inner > -30 else -inner
    assert float(dpo_loss(Errors(*values), beta, 0.0)) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_loss_is_log_two_at_the_reference() -> None:
    same = torch.tensor([0.3, 1.2])
    loss = dpo_loss(Errors(same, same, same, same), 2000.0, 0.0)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2.0)))


def test_gradient_lowers_the_winners_error_and_raises_the_losers() -> None:
    winner, loser = torch.tensor([0.5], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    dpo_loss(Errors(winner, loser, torch.tensor([0.5]), torch.tensor([0.5])), 2.0, 0.0).sum().backward()
    # d(-log sigmoid(z))/dz = -1/2 at z = 0, and dz/dw = -beta/2.
    assert float(winner.grad) == pytest.approx(0.5)
    assert float(loser.grad) == pytest.approx(-0.5)


def test_anchor_adds_to_the_winners_gradient_only() -> None:
    winner, loser = torch.tensor([0.5], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    reference = torch.tensor([0.5])
    dpo_loss(Errors(winner, loser, reference, reference), 2.0, 1.0).sum().backward()
    assert float(winner.grad) == pytest.approx(1.5)
    assert float(loser.grad) == pytest.approx(-0.5)
