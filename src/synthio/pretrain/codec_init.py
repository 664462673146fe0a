"""Start `AutoencoderSAME` from a linear codec in closed form.

Its blocks start with zero output projections, so a fresh model passes nothing from input to output, and at this scale
(a few thousand CPU steps) gradient descent did not find the way out: 26 dB log-mel error after 400 steps against
13 dB for this start (docs/pocket.md). Here the first attention layer of each block is set so that head ``h`` of a new
token looks ``h + 1`` positions back (through RoPE) and copies the principal components of that patch; the latent
projections hold the principal components of the copies. Every later layer starts as the identity, as in the class.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from synthio import audio
from synthio.errors import ConfigError

#: Slope of the first `DynamicTanh`: small, so that audio in [-1, 1] passes almost linearly.
_SLOPE = 0.5
#: Sharpness of the positional attention: squared amplitude of each of the three fastest rotary pairs.
_SHARPNESS = 40.0
_ROTARY_PAIRS = 3


@torch.no_grad()
def start_from_linear_codec(model: Any, waveforms: list[audio.Waveform], frames: int = 60_000) -> None:
    """Set the weights from the principal components of ``frames`` random latent-sized windows of the waveforms.

    Raises: `ConfigError` unless there is one level whose stride equals its number of heads and whose width equals
    the patch (then the copies of all patches fit side by side).
    """
    config = model.config
    encoder, decoder = model.encoder.blocks[0], model.decoder.blocks[0]
    attention = encoder.transformers[0].attn
    heads, width = attention.heads, attention.heads * attention.dim_heads
    strides = list(config.encoder_strides)
    if strides != [heads] or width != config.patch_size or config.audio_channels != 1:
        raise ConfigError(
            f"the linear start needs mono, one level, stride = heads and width = patch_size; found strides {strides}, "
            f"{heads} heads, width {width}: change the model or set linear_start: false"
        )
    windows = _windows(waveforms, width * heads, frames)
    basis, _ = principal_components(windows.reshape(-1, width), attention.dim_heads)
    _set_encoder(encoder, basis)
    offset = _set_decoder(decoder, basis)
    # In runs of eight windows, so that most have neighbours on both sides.
    run = min(8, windows.shape[0])
    joined = windows[: min(8192, windows.shape[0]) // run * run].reshape(-1, 1, windows.shape[1] * run)
    patches = model.patch_embed.encode(joined)
    tokens = encoder(patches).transpose(1, 2).reshape(-1, width)
    mean = tokens.mean(dim=0)
    components, variances = principal_components(tokens - mean, config.latent_dim)
    spread = variances.sqrt().clamp_min(1e-4)
    # Head h of the encoder holds the patch h + 1 back from the segment's end; head h of the decoder writes patch h.
    order = torch.arange(width).reshape(heads, -1).flip(0).flatten()
    model.encoder.proj.weight.copy_(components / spread[:, None])
    model.encoder.proj.bias.copy_(-(components @ mean) / spread)
    model.decoder.proj.weight.copy_((components.T * spread)[order])
    model.decoder.proj.bias.copy_((mean - offset)[order])


def principal_components(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``count`` leading eigenvectors ``(count, width)`` of the second moment of ``rows``, and their eigenvalues."""
    values, vectors = torch.linalg.eigh((rows.T @ rows).double() / rows.shape[0])
    return vectors.flip(1)[:, :count].T.float(), values.flip(0)[:count].float()


def _windows(waveforms: list[audio.Waveform], length: int, count: int) -> torch.Tensor:
    cut = [w[: len(w) // length * length].reshape(-1, length) for w in waveforms]
    rows = np.concatenate(cut)
    return torch.from_numpy(rows[np.random.default_rng(0).permutation(len(rows))[:count]])


def _set_encoder(block: Any, basis: torch.Tensor) -> None:
    attention, _, unseen = _look_back(block)
    size = attention.dim_heads
    values = attention.to_qkv.weight[2 * unseen.shape[0] :]
    for head in range(attention.heads):
        values[head * size : (head + 1) * size] = basis @ unseen
    attention.to_out.weight.copy_(torch.eye(unseen.shape[0]))


def _set_decoder(block: Any, basis: torch.Tensor) -> torch.Tensor:
    """Returns the constant that new tokens carry; the last layer's bias takes it out of the audio."""
    attention, token, unseen = _look_back(block)
    size, width = attention.dim_heads, unseen.shape[0]
    values = attention.to_qkv.weight[2 * width :]
    for head in range(attention.heads):
        rows = slice(head * size, (head + 1) * size)
        values[rows] = torch.eye(width)[rows] @ unseen
        attention.to_out.weight[:, rows] = basis.T
    block.transformers[-1].ff.proj_out.bias.copy_(-token)
    return token


def _look_back(block: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Make head ``h`` of new tokens attend ``h + 1`` positions back.

    Returns: the attention, the constant new token, and the projector that blinds values to that token.
    """
    layer = block.transformers[0]
    attention, norm = layer.attn, layer.norm_attn
    size, width = attention.dim_heads, attention.heads * attention.dim_heads
    norm.alpha.fill_(_SLOPE)
    norm.gamma.fill_(1 / _SLOPE)
    token = 0.02 * torch.tensor([(-1.0) ** i for i in range(width)])
    block.new_tokens.copy_(token.view(1, 1, -1))
    seen = torch.tanh(_SLOPE * token) / _SLOPE
    amplitude = math.sqrt(_SHARPNESS)
    key = torch.zeros(size)
    key[:_ROTARY_PAIRS] = amplitude
    attention.k_norm.beta.copy_(key)
    attention.k_norm.alpha.fill_(1.0)
    attention.q_norm.alpha.fill_(1.0)
    attention.q_norm.gamma.fill_(2 * amplitude)
    weights = attention.to_qkv.weight
    weights.mul_(0.1)
    frequencies = attention.rope.inv_freq[:_ROTARY_PAIRS]
    for head in range(attention.heads):
        # <q, R(delta) key> peaks at delta = -(head + 1) when q = R(-(head + 1)) key.
        angle = -(head + 1) * frequencies
        query = torch.zeros(size)
        query[:_ROTARY_PAIRS] = amplitude * torch.cos(angle)
        query[size // 4 : size // 4 + _ROTARY_PAIRS] = amplitude * torch.sin(angle)
        target = torch.atanh(query / (2 * amplitude))
        weights[head * size : (head + 1) * size] = torch.outer(target, seen / seen.dot(seen))
    return attention, token, torch.eye(width) - torch.outer(seen, seen) / seen.dot(seen)
