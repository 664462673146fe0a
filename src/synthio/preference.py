"""Alignment losses: small pure functions of per-item denoising errors, which know no model.

All take tensors of shape ``(pairs,)``: the mean squared denoising error of one item over channels and the frames of the
clip, for the winner (real clip) and the loser (generated clip), under the policy and under the frozen reference. One
time step and one noise are drawn per pair and shared by all four (Wallace et al. 2023, arXiv 2311.12908).
"""

from __future__ import annotations

import torch
from torch import Tensor


def implicit_reward_margin(
    policy_winner: Tensor, policy_loser: Tensor, reference_winner: Tensor, reference_loser: Tensor
) -> Tensor:
    """``-(d_w - d_l)`` with ``d = policy error - reference error``; positive when the winner is preferred."""
    return -((policy_winner - reference_winner) - (policy_loser - reference_loser))


def diffusion_dpo_loss(
    policy_winner: Tensor, policy_loser: Tensor, reference_winner: Tensor, reference_loser: Tensor, beta: float
) -> Tensor:
    """``-log sigmoid(-(beta / 2) (d_w - d_l))`` per pair (Diffusion-DPO, eq. 14, with the time weight in ``beta``)."""
    margin = implicit_reward_margin(policy_winner, policy_loser, reference_winner, reference_loser)
    return -torch.nn.functional.logsigmoid(0.5 * beta * margin)


def anchored_dpo_loss(
    policy_winner: Tensor,
    policy_loser: Tensor,
    reference_winner: Tensor,
    reference_loser: Tensor,
    beta: float,
    anchor: float,
) -> Tensor:
    """Diffusion-DPO plus ``anchor * (beta / 2) * d_w``, per pair; ``anchor = 0`` is Diffusion-DPO.

    The margin alone can grow by making losers worse (a known failure of DPO); the anchor term
    pulls the winner's own error down, as the SFT term of RPO (Pang et al. 2024, arXiv 2404.19733) does for text. It
    carries the same scale as the margin, so one value suits any ``beta``.
    """
    dpo = diffusion_dpo_loss(policy_winner, policy_loser, reference_winner, reference_loser, beta)
    return dpo + anchor * 0.5 * beta * (policy_winner - reference_winner)


def erm_loss(policy_winner: Tensor) -> Tensor:
    """Plain fine-tuning on the real clips: the diffusion loss itself (the `w/ ERM` ablation)."""
    return policy_winner
