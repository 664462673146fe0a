"""The pocket autoencoder: log-mel patches on their principal components; back to audio by Griffin-Lim.

Not a network: a fixed transform with three arrays, in closed form. It speaks `AutoencoderSAME`'s dialect (``encode``,
``decode``, ``downsampling_ratio``, ``config.latent_dim``), so it is the ``vae`` of an ordinary `StableAudio3Pipeline`
folder. A generator on its latents never has to model phase, which is what a small model cannot learn in an hour of CPU
time (docs/pocket.md has the figures).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn.functional import pad

from synthio.audio import mel_filters

#: Multiplicative updates that turn mel bands into FFT bins (Lee & Seung 2001).
_MEL_INVERSION_UPDATES = 50
#: Bands within this of the floor are silence, and get this much quieter still.
_GATE_DB, _GATE_DEPTH_DB = 3.0, 20.0


@dataclass(frozen=True)
class EncodedMel:
    """``latents``: ``(batch, latent_dim, frames)``."""

    latents: Tensor


@dataclass(frozen=True)
class DecodedMel:
    """``sample``: ``(batch, 1, samples)``."""

    sample: Tensor


class MelCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Audio ``(batch, 1, samples)`` to latents ``(batch, latent_dim, samples / downsampling_ratio)`` and back.

    `fit` sets the arrays; `from_pretrained` loads them.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sampling_rate: int = 16_000,
        audio_channels: int = 1,
        n_fft: int = 512,
        hop_length: int = 128,
        n_mels: int = 64,
        frames_per_latent: int = 8,
        latent_dim: int = 64,
        floor_db: float = -60.0,
        whitening: float = 0.5,
        griffin_lim_iterations: int = 32,
        griffin_lim_momentum: float = 0.99,
    ) -> None:
        super().__init__()
        width = n_mels * frames_per_latent
        self.mean = torch.nn.Parameter(torch.zeros(width), requires_grad=False)
        self.components = torch.nn.Parameter(torch.eye(latent_dim, width), requires_grad=False)
        self.scale = torch.nn.Parameter(torch.ones(latent_dim), requires_grad=False)

    @property
    def downsampling_ratio(self) -> int:
        """Samples per latent frame."""
        return int(self.config.hop_length * self.config.frames_per_latent)

    def encode(self, waveform: Tensor) -> EncodedMel:
        """Latents of ``(batch, 1, samples)``; samples are padded with silence to whole latent frames."""
        return EncodedMel(self._project(self._patches(waveform)).to(waveform.dtype))

    def decode(self, latents: Tensor) -> DecodedMel:
        """Audio of ``(batch, latent_dim, frames)``; the same starting phases for every item, so no randomness."""
        scaled = latents.float().transpose(1, 2) * self.scale.float()
        patches = scaled @ self.components.float() + self.mean.float()
        batch, frames, _ = patches.shape
        log_mel = patches.reshape(batch, frames, self.config.n_mels, -1).permute(0, 2, 1, 3).flatten(2)
        magnitude = self._magnitude(log_mel)
        samples = self._griffin_lim(magnitude, frames * self.downsampling_ratio)
        return DecodedMel(samples[:, None].to(latents.dtype))

    @torch.no_grad()
    def fit(self, waveforms: list[Tensor]) -> None:
        """Principal components of the log-mel patches of clips ``(samples,)``.

        Latents are scaled by ``spread ** whitening`` of each component, then to unit variance overall: 1 would blow
        up the fine detail that no prompt predicts, 0 would drown all but the first components in noise.
        """
        rows = torch.cat([self._patches(waveform[None, None])[0] for waveform in waveforms])
        mean = rows.mean(dim=0)
        covariance = ((rows - mean).T @ (rows - mean)).double() / rows.shape[0]
        values, vectors = torch.linalg.eigh(covariance)
        spread = values.flip(0)[: self.config.latent_dim].clamp_min(1e-6).sqrt().float()
        scale = spread**self.config.whitening
        overall = (spread / scale).square().mean().sqrt()
        self.mean.copy_(mean)
        self.components.copy_(vectors.flip(1)[:, : self.config.latent_dim].T)
        self.scale.copy_(scale * overall)

    def _project(self, patches: Tensor) -> Tensor:
        centred = patches - self.mean.float()
        return ((centred @ self.components.float().T) / self.scale.float()).transpose(1, 2)

    def _patches(self, waveform: Tensor) -> Tensor:
        """Log-mel in dB, cut into latent frames: ``(batch, frames, n_mels * frames_per_latent)``."""
        ratio = self.downsampling_ratio
        samples = waveform[:, 0].float()
        samples = pad(samples, (0, -samples.shape[1] % ratio))
        power = self._stft(samples).abs().square()[..., :-1]
        log_mel = 10 * torch.log10((self._filters.T.to(power) @ power).clamp_min(10 ** (self.config.floor_db / 10)))
        patches = log_mel.reshape(*log_mel.shape[:2], -1, self.config.frames_per_latent)
        return patches.permute(0, 2, 1, 3).flatten(2)

    def _magnitude(self, log_mel: Tensor) -> Tensor:
        """FFT magnitudes ``(batch, bins, frames)`` whose mel power is the given one, by non-negative factorisation."""
        silent: Tensor = log_mel < self.config.floor_db + _GATE_DB
        power = 10 ** ((log_mel - _GATE_DEPTH_DB * silent).clamp(max=60.0) / 10)
        filters = self._filters.to(power)
        bins = torch.linalg.pinv(filters.T) @ power
        bins = bins.clamp_min(1e-12)
        wanted = filters @ power
        for _ in range(_MEL_INVERSION_UPDATES):
            bins = bins * (wanted / (filters @ (filters.T @ bins) + 1e-20))
        magnitude: Tensor = bins.sqrt()
        return magnitude

    def _griffin_lim(self, magnitude: Tensor, length: int) -> Tensor:
        """Waveforms ``(batch, length)`` by fast Griffin-Lim (Perraudin et al. 2013)."""
        momentum = self.config.griffin_lim_momentum / (1 + self.config.griffin_lim_momentum)
        generator = torch.Generator().manual_seed(0)
        turns = torch.rand(magnitude.shape[1:], generator=generator).to(magnitude)
        phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).expand_as(magnitude)
        previous = torch.zeros_like(phase)
        for _ in range(self.config.griffin_lim_iterations):
            rebuilt = self._stft(self._istft(magnitude * phase, length))[..., : magnitude.shape[-1]]
            accelerated = rebuilt - momentum * previous
            phase = accelerated / accelerated.abs().clamp_min(1e-16)
            previous = rebuilt
        return self._istft(magnitude * phase, length)

    def _stft(self, samples: Tensor) -> Tensor:
        config = self.config
        window = torch.hann_window(config.n_fft, device=samples.device)
        return torch.stft(samples, config.n_fft, config.hop_length, window=window, return_complex=True)

    def _istft(self, spectrum: Tensor, length: int) -> Tensor:
        config = self.config
        window = torch.hann_window(config.n_fft, device=spectrum.device)
        return torch.istft(spectrum, config.n_fft, config.hop_length, window=window, length=length)

    @cached_property
    def _filters(self) -> Tensor:
        """Triangular mel filters, ``(n_fft // 2 + 1, n_mels)``."""
        config = self.config
        return torch.from_numpy(mel_filters(config.sampling_rate, config.n_fft, config.n_mels)).float()
