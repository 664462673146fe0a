"""diffusers' `AudioLDM2Pipeline` (Liu et al. 2023, arXiv 2308.05734): diffusion in the latents of a mel spectrogram.

``x_t = sqrt(a_t) x + sqrt(1 - a_t) noise`` with the ``alphas_cumprod`` of its scheduler; the target is the noise, or v.
The spectrogram is the one that it was trained on (haoheliu/AudioLDM2: ``audioldm2/utils.py`` has its settings,
``audioldm2/utilities/audio/stft.py`` its transform).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from transformers import GPT2LMHeadModel
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from synthio.audio import Waveform
from synthio.backends.diffusion import DiffusionGenerator
from synthio.backends.text_to_audio import Conditioning
from synthio.config import T2AConfig
from synthio.errors import ModelError

#: All that it was trained on has this length.
_LONGEST_S = 10.24
_WINDOW_SAMPLES = 1024
_HIGHEST_HZ = 8000.0
_MEL_FLOOR = 1e-5


class AudioLDM2(DiffusionGenerator):
    """`AudioLDM2Pipeline`: latents as long as the clip; prompts are read by CLAP, T5 and GPT-2."""

    denoiser = "unet"

    def __init__(self, pipeline: Any, config: T2AConfig, device: torch.device) -> None:
        if pipeline.text_encoder_2.config.model_type == "vits":
            raise ModelError(
                f"t2a.model {config.model!r} is an AudioLDM2 that speaks a transcript; expected one that reads prompts "
                "alone, such as cvssp/audioldm2"
            )
        let_generate(pipeline)
        super().__init__(pipeline, config, device)
        self.sample_rate_hz = int(pipeline.vocoder.config.sampling_rate)
        self._hop = int(math.prod(pipeline.vocoder.config.upsample_rates))
        # Of the training: samplers scale what they add noise to in ways of their own.
        self._noising = DDPMScheduler.from_config(pipeline.scheduler.config)
        self._filters = mel_filter_bank(
            num_frequency_bins=_WINDOW_SAMPLES // 2 + 1,
            num_mel_filters=int(pipeline.vocoder.config.model_in_dim),
            min_frequency=0.0,
            max_frequency=_HIGHEST_HZ,
            sampling_rate=self.sample_rate_hz,
            norm="slaney",
            mel_scale="slaney",
        )

    @property
    def longest_s(self) -> float:
        """See `Alignable.longest_s`."""
        return _LONGEST_S

    def condition(self, prompts: Sequence[str], duration_s: float) -> Conditioning:
        """See `Alignable.condition`; as `AudioLDM2Pipeline.__call__` builds it without guidance."""
        return Conditioning.joined([self._read(prompt, 1.0) for prompt in prompts])

    @property
    def _ratio(self) -> int:
        return self._hop * int(self.pipeline.vae_scale_factor)

    def _request(self, prompts: Sequence[str], duration_s: float) -> dict[str, Any]:
        read = Conditioning.joined([self._read(prompt, self._config.guidance_scale) for prompt in prompts])
        # Whole latent frames: the pipeline first rounds down to a frame of the spectrogram.
        length_s = self._window_frames(duration_s) * self._ratio / self.sample_rate_hz
        request: dict[str, Any] = {"audio_length_in_s": length_s}
        rows = len(read.cross) // len(prompts)
        # With guidance the negative prompt stands before each prompt.
        for number, kind in enumerate(("negative_", "")[-rows:]):
            own = read.rows(torch.arange(number, len(read.cross), rows, device=self.device))
            request[f"{kind}prompt_embeds"] = own.cross
            request[f"{kind}generated_prompt_embeds"] = own.overall
            request[f"{kind}attention_mask"] = own.mask
        return request

    @torch.no_grad()
    def _read(self, prompt: str, guidance_scale: float) -> Conditioning:
        """Of one prompt; with guidance two rows, of which the first is the negative prompt.

        Prompts are read one at a time: GPT-2 counts the positions of padding, so that in a batch it would hear how long
        the longest prompt is.
        """
        cross, mask, generated = self.pipeline.encode_prompt(
            prompt, self.device, 1, guidance_scale > 1, negative_prompt=self._config.negative_prompt
        )
        return Conditioning(cross, generated, mask)

    def _decode(self, latents: Tensor, duration_s: float) -> Tensor:
        mel = self.pipeline.vae.decode(latents.float() / self.pipeline.vae.config.scaling_factor).sample
        mono: Tensor = self.pipeline.mel_spectrogram_to_waveform(mel)
        return mono

    def _to_latents(self, mono: Tensor) -> Tensor:
        # At a clip's own level, although those of the training had a peak of 0.5: it is one of the things to learn.
        mel = torch.from_numpy(np.stack([self._log_mel(waveform) for waveform in mono.numpy()]))
        vae = self.pipeline.vae
        latents: Tensor = vae.encode(mel[:, None].to(self.device)).latent_dist.mode() * vae.config.scaling_factor
        return latents

    def _log_mel(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """``(frames, bands)``; the last frame, which is centred on the end, is left out, as in the training."""
        bands = spectrogram(
            waveform,
            window_function(_WINDOW_SAMPLES, "hann"),
            frame_length=_WINDOW_SAMPLES,
            hop_length=self._hop,
            power=1.0,
            mel_filters=self._filters,
            mel_floor=_MEL_FLOOR,
            log_mel="log",
        )
        return np.asarray(bands.T[:-1], dtype=np.float32)

    def _noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        steps = self._steps(time)
        noisy: Tensor = self._noising.add_noise(latents, noise, steps)
        match self._noising.config.prediction_type:
            case "epsilon":
                return noisy, noise
            case "sample":
                return noisy, latents
            case _:
                return noisy, self._noising.get_velocity(latents, noise, steps)

    def _predict(self, noisy: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        predicted: Tensor = self.pipeline.unet(
            noisy,
            self._steps(time),
            encoder_hidden_states=conditioning.overall,
            encoder_hidden_states_1=conditioning.cross,
            encoder_attention_mask_1=conditioning.mask,
            return_dict=False,
        )[0]
        return predicted

    def _steps(self, time: Tensor) -> Tensor:
        """The numbers of the training's steps."""
        return (time * int(self._noising.config.num_train_timesteps)).long()


def let_generate(pipeline: Any) -> None:
    """Give a pipeline's `GPT2Model`, which the published ones have, what diffusers asks of it: in transformers 5 only
    models with a head generate. Its hidden states are all that is read."""
    if isinstance(pipeline.language_model, GPT2LMHeadModel):
        return
    with torch.device("meta"):
        headed = GPT2LMHeadModel(pipeline.language_model.config)
    headed.transformer, headed.lm_head = pipeline.language_model, torch.nn.Identity()
    pipeline.language_model = headed
