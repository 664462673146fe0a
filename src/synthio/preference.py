"""Alignment losses: small pure functions of per-item denoising errors, which know no model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Errors:
    """Of a batch of pairs, each ``(pairs,)``: the mean squared denoising error of one item over channels and the frames
    of the clip, for the winner (real clip) and the loser (generated clip), under the policy and under the frozen
    reference. One time step and one noise are drawn per pair and shared by all four (Wallace et al. 2023, arXiv
    2311.12908)."""

    policy_winner: Tensor
    policy_loser: Tensor
    reference_winner: Tensor
    reference_loser: Tensor

    @property
    def margin(self) -> Tensor:
        """The implicit reward's, ``-(d_w - d_l)`` with ``d = policy error - reference error``; positive when the winner
        is preferred."""
        return -((self.policy_winner - self.reference_winner) - (self.policy_loser - self.reference_loser))


def dpo_loss(errors: Errors, beta: float, anchor: float) -> Tensor:
    """``-log sigmoid(-(beta / 2) (d_w - d_l)) + anchor * (beta / 2) * d_w`` per pair; ``anchor = 0`` is Diffusion-DPO
    (eq. 14, with the time weight in ``beta``).

    The margin alone can grow by making losers worse (a known failure of DPO); the anchor term pulls the winner's own
    error down, as the SFT term of RPO (Pang et al. 2024, arXiv 2404.19733) does for text. It carries the same scale as
    the margin, so one value suits any ``beta``.
    """
    winner_change = errors.policy_winner - errors.reference_winner
    return -logsigmoid(0.5 * beta * errors.margin) + anchor * 0.5 * beta * winner_change
