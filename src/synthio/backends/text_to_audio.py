"""Text-to-audio models: the protocols, and how all of them are asked; `diffusion` is what those of diffusers share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from synthio.audio import Waveform
from synthio.errors import BackendError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Rounding may take a sample a little beyond 1.
_LOUDEST = 1.01


class TextToAudio(Protocol):
    """Makes clips from prompts. Batch first."""

    sample_rate_hz: int
    """Of the clips."""

    @property
    def longest_s(self) -> float:
        """Longer clips are refused; infinite for a model of any length."""
        ...

    def generate(self, prompts: Sequence[str], duration_s: float, seeds: Sequence[int]) -> list[Waveform]:
        """One mono clip ``(samples,)`` per prompt, float32 in -1 to 1, all ``duration_s`` long, each from its own seed:
        in whatever batch it is made, and in whatever order.

        Raises: `BackendError` when the model refuses one of them; which one it was, is tried out.
        """
        ...


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser reads besides the noisy latents."""

    cross: Tensor
    """Prompt (and duration) tokens, ``(batch, tokens, width)``."""
    overall: Tensor
    """What else it reads, such as the duration's embedding, ``(batch, ...)``."""
    mask: Tensor | None
    """Valid tokens of ``cross``, ``(batch, tokens)``."""

    @classmethod
    def joined(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of several; prompts of fewer tokens than others are padded, where a mask says so."""
        import torch

        overall = torch.cat([part.overall for part in parts])
        masks = [row for part in parts if part.mask is not None for row in part.mask]
        if not masks:
            return cls(torch.cat([part.cross for part in parts]), overall, None)
        rows = [row for part in parts for row in part.cross]
        return cls(_padded(rows), overall, _padded(masks))

    def rows(self, index: Tensor) -> Conditioning:
        """The conditioning of some items."""
        return Conditioning(self.cross[index], self.overall[index], None if self.mask is None else self.mask[index])


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """``(tokens, ...)`` of each item, in one batch with zeros behind."""
    from torch.nn.utils.rnn import pad_sequence

    batch: Tensor = pad_sequence(list(rows), batch_first=True)
    return batch


@runtime_checkable
class Alignable(TextToAudio, Protocol):
    """A diffusion model that can also be aligned, through adapters on its denoiser."""

    device: torch.device

    def encode(self, waveforms: Sequence[Waveform], duration_s: float) -> Tensor:
        """Latents ``(batch, channels, frames)``, or with more axes behind, of mono clips at ``sample_rate_hz``, cut or
        padded with silence to ``duration_s``."""
        ...

    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """Text and duration conditioning; no guidance, no dropout."""
        ...

    def draw_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Diffusion times in (0, 1) from the family's training distribution, ``(count,)``."""
        ...

    def denoising_error(
        self, latents: Tensor, noise: Tensor, time: Tensor, conditioning: Conditioning, duration_s: float
    ) -> Tensor:
        """Mean squared error of the prediction over channels (and what stands behind the frames) and the first
        ``duration_s``, per item ``(batch,)``."""
        ...

    def add_adapter(self, rank: int, seed: int) -> None:
        """Put trainable LoRA adapters on the denoiser."""
        ...

    def load_adapter(self, folder: Path) -> None:
        """Put a saved adapter on, for generation. Raises: `ModelError` when it is not of this model."""
        ...

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter alone (safetensors)."""
        ...

    def adapter_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters, by name."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """Within it the adapters are off: the same weights are the reference, never a second copy."""
        ...


def generate_each(
    generator: TextToAudio, prompts: Sequence[str], duration_s: float, seeds: Sequence[int]
) -> list[Waveform | str]:
    """`TextToAudio.generate`, where a clip that the model refuses is the reason instead, and costs no other one.

    Raises: `BackendError` for what are no clips of that duration.
    """
    try:
        clips = generator.generate(prompts, duration_s, seeds)
    except BackendError as error:
        if len(prompts) == 1:
            return [str(error)]
        # Which one it was shows only alone.
        rows = zip(prompts, seeds, strict=True)
        return [clip for prompt, seed in rows for clip in generate_each(generator, [prompt], duration_s, [seed])]
    if wrong := _why_not(clips, len(prompts), round(duration_s * generator.sample_rate_hz)):
        raise BackendError(f"{generator} {wrong}; tell its authors")
    return [_refusal(clip) or clip for clip in clips]


def _refusal(clip: Waveform) -> str | None:
    if not np.isfinite(clip).all():
        return "the model returned NaN"
    peak = float(np.abs(clip).max(initial=0.0))
    return f"the model returned a peak of {peak:.3g}; a file cuts off what is beyond 1" if peak > _LOUDEST else None


def _why_not(clips: Sequence[Waveform], count: int, samples: int) -> str | None:
    """What is wrong with what a generator made."""
    if len(clips) != count:
        return f"gave {len(clips)} clips for {count} prompts"
    for clip in clips:
        if not isinstance(clip, np.ndarray) or clip.dtype != np.float32 or clip.ndim != 1:
            found = f"{clip.dtype} {clip.shape}" if isinstance(clip, np.ndarray) else type(clip).__name__
            return f"gave {found}; expected float32 arrays (samples,)"
        if len(clip) != samples:
            return f"gave {len(clip)} samples where {samples} were asked for"
    return None


def bucket_duration_s(duration_s: float) -> float:
    """The next half second: a pipeline call has one duration, so clips are batched by this and cut after."""
    return max(1, -(-round(duration_s * 1000) // 500)) * 0.5


def asked_duration_s(generator: TextToAudio, duration_s: float) -> float:
    """The duration to ask a generator for, to cut a clip of ``duration_s`` from: the next half second, as clips of one
    call have one duration, but never beyond the model's longest for a clip that fits into it."""
    rounded_s = bucket_duration_s(duration_s)
    return generator.longest_s if duration_s <= generator.longest_s < rounded_s else rounded_s
