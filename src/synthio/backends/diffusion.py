"""What all text-to-audio pipelines of diffusers share here: generation, alignment, adapters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from synthio import audio
from synthio.audio import Waveform
from synthio.backends.loading import LOADING_ERRORS, loading_reason
from synthio.backends.text_to_audio import Conditioning
from synthio.config import T2AConfig
from synthio.errors import BackendError, ModelError
from synthio.writing import saving_model

#: Latent frames after a clip's last that are compared with it in alignment, where a window has more: the encoder
#: carries a clip's end a little further.
_COMPARED_BEYOND = 1


@contextmanager
def _supported(device: torch.device) -> Iterator[None]:
    """Raises: `ModelError` for what an Apple GPU cannot compute, as large convolutions before macOS 15.1."""
    try:
        yield
    except NotImplementedError as error:
        if device.type != "mps":
            raise
        raise ModelError(
            f"the text-to-audio model needs what this Apple GPU does not compute ({error}); install macOS 15.1 or "
            "newer, or set t2a.device=cpu"
        ) from error


class DiffusionGenerator(ABC):
    """An `Alignable` around a pipeline; its families know what the pipeline is asked, and how it was trained."""

    sample_rate_hz: int
    denoiser: ClassVar[str]
    """The pipeline's part that adapters are put on."""

    def __init__(self, pipeline: Any, config: T2AConfig, device: torch.device) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline.to(device)
        self.device = device
        self._config = config
        self._dtype = next(self._denoiser.parameters()).dtype
        if hasattr(pipeline.vae, "use_slicing"):
            # A batch of Stable Audio Open's windows of 47.5 s, decoded at once, takes more memory than its sampling.
            pipeline.vae.enable_slicing()
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)

    @property
    @abstractmethod
    def longest_s(self) -> float:
        """See `Alignable.longest_s`."""

    def generate(self, prompts: Sequence[str], duration_s: float, seeds: Sequence[int]) -> list[Waveform]:
        """One mono clip per prompt, each from its own seed, all ``duration_s`` long. Raises: `BackendError` when the
        model refuses or returns NaN."""
        if duration_s > self.longest_s:
            raise BackendError(
                f"the text-to-audio model refused {duration_s:.2f} s clips: it makes {self.longest_s:.2f} s at most; "
                "set data.max_duration_s to no more than that"
            )
        try:
            with torch.no_grad(), _supported(self.device):
                latents = self.pipeline(
                    **self._request(prompts, duration_s),
                    num_inference_steps=self._config.num_inference_steps,
                    guidance_scale=self._config.guidance_scale,
                    generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                    output_type="latent",
                ).audios
                mono = self._decode(latents, duration_s).cpu().numpy()
        except ValueError as error:
            raise BackendError(f"the text-to-audio model refused {duration_s:.2f} s clips: {error}") from error
        if not np.isfinite(mono).all():
            raise BackendError("the text-to-audio model returned NaN; try t2a.dtype=float32 or a lower guidance_scale")
        length = round(duration_s * self.sample_rate_hz)
        return [audio.fit(np.asarray(clip, dtype=np.float32), length) for clip in mono]

    def encode(self, waveforms: Sequence[Waveform], duration_s: float) -> Tensor:
        """See `Alignable.encode`."""
        # A model of one fixed length would else hear what stands after the clip's end.
        cut = [audio.crop(waveform, duration_s, self.sample_rate_hz) for waveform in waveforms]
        length = self._window_frames(duration_s) * self._ratio
        with torch.no_grad(), _supported(self.device):
            return self._to_latents(torch.from_numpy(np.stack([audio.fit(waveform, length) for waveform in cut])))

    def denoising_error(
        self, latents: Tensor, noise: Tensor, time: Tensor, conditioning: Conditioning, duration_s: float
    ) -> Tensor:
        """Mean squared error of the prediction over all but time, and the first ``duration_s`` of each item,
        ``(batch,)``.

        What follows in a window of fixed length is context only.
        """
        noisy, target = self._noised(latents, noise, time)
        predicted = self._predict(noisy.to(self._dtype), time, conditioning)
        # After a short clip a window of fixed length is silence, which would drown it in the mean.
        heard = slice(self._clip_frames(duration_s) + _COMPARED_BEYOND)
        squares = (predicted[:, :, heard].float() - target[:, :, heard].float()).square()
        return squares.mean(dim=tuple(range(1, squares.ndim)))

    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Alignable.draw_time`: uniform, unless a family was trained on others."""
        return torch.rand(count, generator=generator).to(self.device)

    def add_adapter(self, rank: int, seed: int) -> None:
        """Put trainable LoRA adapters on every linear layer of the denoiser (peft)."""
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")
            self._denoiser = get_peft_model(self._denoiser, config)

    def load_adapter(self, folder: Path) -> None:
        """See `Alignable.load_adapter`."""
        from peft import PeftModel

        try:
            adapted = PeftModel.from_pretrained(self._denoiser, str(folder))
        except LOADING_ERRORS as error:
            raise ModelError(
                f"{folder}: not an adapter of this text-to-audio model: {loading_reason(error)}"
            ) from error
        # Half-precision weights are too coarse to hold what an adapter adds; beside them it keeps its float32.
        merged = adapted.merge_and_unload() if self._dtype == torch.float32 else adapted
        self._denoiser = merged.eval().requires_grad_(False)

    def save_adapter(self, folder: Path) -> None:
        """See `Alignable.save_adapter`."""
        with saving_model(folder):
            self._denoiser.save_pretrained(str(folder), safe_serialization=True)

    def adapter_parameters(self) -> dict[str, torch.nn.Parameter]:
        """See `Alignable.adapter_parameters`."""
        return {name: p for name, p in self._denoiser.named_parameters() if p.requires_grad}

    @contextmanager
    def reference(self) -> Iterator[None]:
        """See `Alignable.reference`."""
        with self._denoiser.disable_adapter():
            yield

    @property
    def _denoiser(self) -> Any:
        return getattr(self.pipeline, self.denoiser)

    @_denoiser.setter
    def _denoiser(self, network: Any) -> None:
        setattr(self.pipeline, self.denoiser, network)

    def _clip_frames(self, duration_s: float) -> int:
        """Latent frames that hold a clip."""
        return math.ceil(duration_s * self.sample_rate_hz / self._ratio)

    def _window_frames(self, duration_s: float) -> int:
        """Latent frames that the model makes for a clip."""
        return self._clip_frames(duration_s)

    @abstractmethod
    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """See `Alignable.condition`."""

    @property
    @abstractmethod
    def _ratio(self) -> int:
        """Samples per latent frame."""

    @abstractmethod
    def _request(self, prompts: Sequence[str], duration_s: float) -> dict[str, Any]:
        """The pipeline's arguments that its families name differently."""

    @abstractmethod
    def _decode(self, latents: Tensor, duration_s: float) -> Tensor:
        """Mono audio of sampled latents, ``(batch, samples)``, at least as long as the clip."""

    @abstractmethod
    def _to_latents(self, mono: Tensor) -> Tensor:
        """Of ``(batch, samples)`` on the CPU, whole windows: ``(batch, channels, frames, ...)``."""

    @abstractmethod
    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """What the denoiser is given at ``time``, ``(batch,)``, and what it should predict."""

    @abstractmethod
    def _predict(self, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor: ...
