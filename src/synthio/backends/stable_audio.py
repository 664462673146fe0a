"""diffusers' Stable Audio pipelines, of either family.

`StableAudio3Pipeline` is a rectified flow: ``x_t = (1 - t) x + t noise``, target ``noise - x``.
`StableAudioPipeline` predicts v: ``x_t = cos(pi t / 2) x + sin(pi t / 2) noise``, target ``noise cos - x sin``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synthio.backends.diffusion import DiffusionGenerator
from synthio.backends.located import longest_learnt_s
from synthio.backends.text_to_audio import Conditioning
from synthio.config import T2AConfig

#: Latent frames of a window after a clip's last that are decoded with it: Stable Audio Open's decoder hears 10 to each
#: side.
_DECODED_BEYOND = 16


class StableAudioFamily(DiffusionGenerator):
    """What both families share."""

    denoiser = "transformer"

    def __init__(self, pipeline: Any, config: T2AConfig, device: torch.device) -> None:
        super().__init__(pipeline, config, device)
        self.sample_rate_hz = int(pipeline.vae.config.sampling_rate)
        self._channels = int(pipeline.vae.config.audio_channels)
        if not config.is_pocket:
            # In alignment a pair at Stable Audio Open's size would else keep 6 GiB for its gradient; so 0.14.
            pipeline.transformer.enable_gradient_checkpointing()

    def _request(self, prompts: Sequence[str], duration_s: float) -> dict[str, Any]:
        negative = self._config.negative_prompt
        return {
            "prompt": list(prompts),
            "negative_prompt": None if negative is None else [negative] * len(prompts),
            **self._duration_arguments(duration_s),
        }

    def _decode(self, latents: Tensor, duration_s: float) -> Tensor:
        # Stable Audio Open's whole window of 47.5 s would take 8 times what a clip of 5 s does.
        heard = latents[:, :, : self._clip_frames(duration_s) + _DECODED_BEYOND]
        clips: Tensor = self.pipeline.vae.decode(heard.float()).sample
        return clips.clamp(-1.0, 1.0).mean(dim=1)

    def _stereo(self, mono: Tensor) -> Tensor:
        return mono[:, None].repeat(1, self._channels, 1).to(self.device)

    @abstractmethod
    def _duration_arguments(self, duration_s: float) -> dict[str, Any]: ...


class StableAudio3(StableAudioFamily):
    """`StableAudio3Pipeline`: rectified flow, latents as long as the clip."""

    def __init__(self, pipeline: Any, config: T2AConfig, device: torch.device) -> None:
        restore_frequencies(pipeline)
        super().__init__(pipeline, config, device)

    @property
    def longest_s(self) -> float:
        """See `Alignable.longest_s`."""
        return longest_learnt_s(self._config.model)

    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """See `Alignable.condition`."""
        with torch.no_grad():
            embedded, mask = self.pipeline.encode_prompt(list(prompts), self.device, 1)
            overall = self.pipeline.encode_duration(duration_s, self.device, 1, len(prompts))
            cross, mask = self.pipeline.prepare_cross_attention(embedded, mask, overall)
        return Conditioning(cross, overall, mask)

    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Logit-normal times (Esser et al. 2024)."""
        return torch.sigmoid(torch.randn(count, generator=generator)).to(self.device)

    def _duration_arguments(self, duration_s: float) -> dict[str, Any]:
        return {"duration": duration_s}

    @property
    def _ratio(self) -> int:
        return int(self.pipeline.vae.downsampling_ratio)

    def _to_latents(self, mono: Tensor) -> Tensor:
        latents: Tensor = self.pipeline.vae.encode(self._stereo(mono)).latents
        return latents

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lerp(latents, noise, time[:, None, None].to(latents)), noise - latents

    def _predict(self, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        predicted: Tensor = self.pipeline.transformer(
            noisy, time, conditioning.cross, conditioning.overall, conditioning.mask, return_dict=False
        )[0]
        return predicted


class StableAudio(StableAudioFamily):
    """`StableAudioPipeline` (Stable Audio Open): v-prediction, latents of one fixed length."""

    @property
    def longest_s(self) -> float:
        """See `Alignable.longest_s`: the window, or what the duration's embedding knows of it."""
        window_s = self._window_frames(0.0) * self._ratio / self.sample_rate_hz
        return min(window_s, float(self.pipeline.projection_model.config.max_value))

    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """See `Alignable.condition`; as `StableAudioPipeline.__call__` builds it without guidance."""
        with torch.no_grad():
            embedded = self.pipeline.encode_prompt(list(prompts), self.device, False)
            start, end = self.pipeline.encode_duration(0.0, duration_s, self.device, False, len(prompts))
        return Conditioning(torch.cat([embedded, start, end], dim=1), torch.cat([start, end], dim=2), None)

    def _duration_arguments(self, duration_s: float) -> dict[str, Any]:
        return {"audio_start_in_s": 0.0, "audio_end_in_s": duration_s}

    def _window_frames(self, duration_s: float) -> int:
        return int(self.pipeline.transformer.config.sample_size)

    @property
    def _ratio(self) -> int:
        return int(self.pipeline.vae.hop_length)

    def _to_latents(self, mono: Tensor) -> Tensor:
        latents: Tensor = self.pipeline.vae.encode(self._stereo(mono)).latent_dist.mode()
        return latents

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        angle = time[:, None, None] * math.pi / 2
        alpha, sigma = torch.cos(angle).to(latents), torch.sin(angle).to(latents)
        return latents * alpha + noise * sigma, noise * alpha - latents * sigma

    def _predict(self, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        rotary = get_1d_rotary_pos_embed(
            self.pipeline.rotary_embed_dim,
            noisy.shape[2] + conditioning.overall.shape[1],
            use_real=True,
            repeat_interleave_real=False,
        )
        predicted: Tensor = self.pipeline.transformer(
            noisy,
            time.to(noisy),
            encoder_hidden_states=conditioning.cross,
            global_hidden_states=conditioning.overall,
            rotary_embedding=rotary,
            return_dict=False,
        )[0]
        return predicted


def restore_frequencies(pipeline: Any) -> None:
    """Set the fixed frequencies of Stable Audio 3 back to float32, which loading in half precision rounds with the
    weights: in bfloat16 also the positions that they multiply would be whole numbers up to 256 only."""
    embedder, transformer = pipeline.duration_embedder, pipeline.transformer
    if embedder.freqs.dtype != torch.float32:
        embedder.freqs = type(embedder).from_config(embedder.config).freqs
    rotary = transformer.rotary_pos_emb
    if rotary.inv_freq.dtype != torch.float32:
        # As `StableAudio3DiTModel` builds it.
        head_width = transformer.config.embed_dim // transformer.config.num_heads
        rotary.inv_freq = type(rotary)(head_width // 2).inv_freq
