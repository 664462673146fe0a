"""diffusers' Stable Audio pipelines, of either family, behind one class.

`StableAudio3Pipeline` is a rectified flow: ``x_t = (1 - t) x + t noise``, target ``noise - x``.
`StableAudioPipeline` predicts v: ``x_t = cos(pi t / 2) x + sin(pi t / 2) noise``, target ``noise cos - x sin``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthio import audio
from synthio.audio import Waveform
from synthio.backends import (
    mel_codec,  # noqa: F401  (diffusers loads a component's class only from modules that are imported already)
    pocket,
)
from synthio.backends.devices import resolve_device
from synthio.backends.identity import check_model, longest_learnt_s
from synthio.backends.loading import LOADING_ERRORS, loading
from synthio.backends.text_to_audio import Conditioning
from synthio.config import T2AConfig
from synthio.errors import BackendError, ModelError
from synthio.optional import OPTIONAL
from synthio.writing import saving_model

#: Latent frames of a window after a clip's last that are decoded with it (Stable Audio Open's decoder hears 10 to each
#: side), and compared with it in alignment, as the encoder carries a clip's end a little further.
_DECODED_BEYOND, _COMPARED_BEYOND = 16, 1


class StableAudioFamily(ABC):
    """What both families share: an `Alignable`."""

    def __init__(self, pipeline: Any, config: T2AConfig, device: torch.device) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline.to(device)
        self.device = device
        self.sample_rate_hz = int(pipeline.vae.config.sampling_rate)
        self._config = config
        self._channels = int(pipeline.vae.config.audio_channels)
        self._dtype = next(pipeline.transformer.parameters()).dtype
        if hasattr(pipeline.vae, "use_slicing"):
            # A batch of Stable Audio Open's windows of 47.5 s, decoded at once, takes more memory than its sampling.
            pipeline.vae.enable_slicing()
        for module in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
            module.eval().requires_grad_(False)

    @property
    def longest_s(self) -> float:
        """See `Alignable.longest_s`."""
        return math.inf

    def generate(self, prompts: Sequence[str], duration_s: float, seeds: Sequence[int]) -> list[Waveform]:
        """One mono clip per prompt, each from its own seed, all ``duration_s`` long. Raises: `BackendError` when the
        model refuses or returns NaN."""
        if duration_s > self.longest_s:
            raise BackendError(
                f"the text-to-audio model refused {duration_s:.2f} s clips: it makes {self.longest_s:.2f} s at most; "
                "set data.max_duration_s to no more than that"
            )
        negative = self._config.negative_prompt
        try:
            with torch.no_grad():
                latents = self.pipeline(
                    list(prompts),
                    **self._duration_arguments(duration_s),
                    num_inference_steps=self._config.num_inference_steps,
                    guidance_scale=self._config.guidance_scale,
                    negative_prompt=None if negative is None else [negative] * len(prompts),
                    generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                    output_type="latent",
                ).audios
                # Stable Audio Open's whole window of 47.5 s would take 8 times what a clip of 5 s does.
                heard = latents[:, :, : self._clip_frames(duration_s) + _DECODED_BEYOND]
                clips = self.pipeline.vae.decode(heard.float()).sample.clamp(-1.0, 1.0)
        except ValueError as error:
            raise BackendError(f"the text-to-audio model refused {duration_s:.2f} s clips: {error}") from error
        mono = clips.mean(dim=1).cpu().numpy()
        if not np.isfinite(mono).all():
            raise BackendError("the text-to-audio model returned NaN; try t2a.dtype=float32 or a lower guidance_scale")
        length = round(duration_s * self.sample_rate_hz)
        return [audio.fit(np.asarray(clip, dtype=np.float32), length) for clip in mono]

    def encode(self, waveforms: Sequence[Waveform], duration_s: float) -> Tensor:
        """See `Alignable.encode`."""
        # A model of one fixed length would else hear what stands after the clip's end.
        cut = [audio.crop(waveform, duration_s, self.sample_rate_hz) for waveform in waveforms]
        length = self._window_frames(duration_s) * self._ratio
        batch = torch.from_numpy(np.stack([audio.fit(waveform, length) for waveform in cut]))
        stereo = batch[:, None].repeat(1, self._channels, 1).to(self.device)
        with torch.no_grad():
            return self._to_latents(stereo)

    def denoising_error(
        self, latents: Tensor, noise: Tensor, time: Tensor, conditioning: Conditioning, duration_s: float
    ) -> Tensor:
        """Mean squared error of the prediction over channels and the first ``duration_s`` of each item, ``(batch,)``.

        What follows in a window of fixed length is context only.
        """
        noisy, target = self._noised(latents, noise, time[:, None, None])
        predicted = self._predict(noisy.to(self._dtype), time, conditioning)
        # After a short clip a window of fixed length is silence, which would drown it in the mean.
        heard = slice(self._clip_frames(duration_s) + _COMPARED_BEYOND)
        return (predicted[:, :, heard].float() - target[:, :, heard].float()).square().mean(dim=(1, 2))

    def add_adapter(self, rank: int, seed: int) -> None:
        """Put trainable LoRA adapters on every linear layer of the denoiser (peft)."""
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")
            self.pipeline.transformer = get_peft_model(self.pipeline.transformer, config)

    def load_adapter(self, folder: Path) -> None:
        """See `Alignable.load_adapter`."""
        from peft import PeftModel

        try:
            adapted = PeftModel.from_pretrained(self.pipeline.transformer, str(folder))
        except LOADING_ERRORS as error:
            raise ModelError(f"{folder}: not an adapter of this text-to-audio model: {error}") from error
        # Half-precision weights are too coarse to hold what an adapter adds; beside them it keeps its float32.
        merged = adapted.merge_and_unload() if self._dtype == torch.float32 else adapted
        self.pipeline.transformer = merged.eval().requires_grad_(False)

    def save_adapter(self, folder: Path) -> None:
        """See `Alignable.save_adapter`."""
        with saving_model(folder):
            self.pipeline.transformer.save_pretrained(str(folder), safe_serialization=True)

    def adapter_parameters(self) -> dict[str, torch.nn.Parameter]:
        """See `Alignable.adapter_parameters`."""
        return {name: p for name, p in self.pipeline.transformer.named_parameters() if p.requires_grad}

    @contextmanager
    def reference(self) -> Iterator[None]:
        """See `Alignable.reference`."""
        with self.pipeline.transformer.disable_adapter():
            yield

    def _clip_frames(self, duration_s: float) -> int:
        """Latent frames that hold a clip."""
        return math.ceil(duration_s * self.sample_rate_hz / self._ratio)

    @abstractmethod
    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """See `Alignable.condition`."""

    @abstractmethod
    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Alignable.draw_time`."""

    @abstractmethod
    def _duration_arguments(self, duration_s: float) -> dict[str, Any]: ...

    @abstractmethod
    def _window_frames(self, duration_s: float) -> int:
        """Latent frames that the model makes for a clip."""

    @property
    @abstractmethod
    def _ratio(self) -> int: ...

    @abstractmethod
    def _to_latents(self, stereo: Tensor) -> Tensor: ...

    @abstractmethod
    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _predict(self, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor: ...


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

    def _window_frames(self, duration_s: float) -> int:
        return self._clip_frames(duration_s)

    @property
    def _ratio(self) -> int:
        return int(self.pipeline.vae.downsampling_ratio)

    def _to_latents(self, stereo: Tensor) -> Tensor:
        latents: Tensor = self.pipeline.vae.encode(stereo).latents
        return latents

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lerp(latents, noise, time.to(latents)), noise - latents

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

    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform times."""
        return torch.rand(count, generator=generator).to(self.device)

    def _duration_arguments(self, duration_s: float) -> dict[str, Any]:
        return {"audio_start_in_s": 0.0, "audio_end_in_s": duration_s}

    def _window_frames(self, duration_s: float) -> int:
        return int(self.pipeline.transformer.config.sample_size)

    @property
    def _ratio(self) -> int:
        return int(self.pipeline.vae.hop_length)

    def _to_latents(self, stereo: Tensor) -> Tensor:
        latents: Tensor = self.pipeline.vae.encode(stereo).latent_dist.mode()
        return latents

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = torch.cos(time * math.pi / 2).to(latents), torch.sin(time * math.pi / 2).to(latents)
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


FAMILIES: dict[str, type[StableAudioFamily]] = {
    "StableAudio3Pipeline": StableAudio3,
    "StableAudioPipeline": StableAudio,
}


def load_stable_audio(config: T2AConfig) -> StableAudioFamily:
    """Load `pocket`, a local folder or a hub id.

    Raises: `ModelError` when it cannot be found or is of another family; `ConfigError` for a missing device.
    """
    import diffusers

    device = resolve_device(config.device)
    check_model("t2a.model", config.model)
    source = str(pocket.t2a_folder()) if config.model == "pocket" else config.model
    family = _pipeline_class(source, config.revision)
    if family not in FAMILIES:
        raise ModelError(
            f"t2a.model {source!r} is a {family}; expected one of {', '.join(FAMILIES)}, or a plug-in for another "
            "(docs/plugins.md)"
        )
    # In half precision an autoencoder puts a noise floor under every synthetic clip, which real clips do not have.
    dtype = {"vae": torch.float32, "default": getattr(torch, config.dtype)}
    cure = f"torchsde is for {OPTIONAL['torchsde']}"
    with loading("t2a", source, "use t2a.model=pocket", cure):
        pipeline = getattr(diffusers, family).from_pretrained(
            source, revision=config.revision, dtype=dtype, use_safetensors=True
        )
        return FAMILIES[family](pipeline, config, device)


def _pipeline_class(source: str, revision: str | None) -> str:
    from diffusers import DiffusionPipeline

    with loading("t2a", source, "use t2a.model=pocket"):
        return str(DiffusionPipeline.load_config(source, revision=revision).get("_class_name"))
