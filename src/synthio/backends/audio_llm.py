"""Audio language models in process, through transformers: Qwen2-Audio, Audio Flamingo 3 and others; Qwen-Omni
where torchvision is installed, which its processor needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from synthio.audio import Waveform
from synthio.backends.captioner import instruction, read_caption
from synthio.backends.devices import Batches, resolve_device
from synthio.backends.loading import load_transformers_model, loading
from synthio.calls import Answer, Count, forget
from synthio.errors import ModelError
from synthio.progress import Reporter

_CAPTION_TOKENS = 80


class TransformersCaptioner:
    """Any transformers model that takes audio and text and writes text, with its processor. Greedy decoding."""

    def __init__(self, model: str, revision: str | None, device: str, batch_size: int, reporter: Reporter) -> None:
        """``model``: a local folder or a hub id with safetensors weights; ``reporter`` hears when memory runs out.

        Raises: `ModelError` when it cannot be loaded or takes no audio; `MissingDependency` without a package that it
        needs; `ConfigError` for a device that is not here.
        """
        self._device = resolve_device(device)
        self._processor, self._model = _load(model, revision, self._device)
        # Rows of one batch end together, so that generation goes on from the prompt's last token.
        self._processor.tokenizer.padding_side = "left"
        self._batches = Batches(batch_size, reporter.warn)
        self.sample_rate_hz = int(self._processor.feature_extractor.sampling_rate)
        self.clips_per_call = 4 * batch_size
        self._warn, self._warned = reporter.warn, False

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """One sentence per clip, or the failure that what was written is no caption."""
        longest_s = max((len(waveform) for waveform in waveforms), default=0) / self.sample_rate_hz
        if longest_s > (heard_s := self._heard_s()) and not self._warned:
            self._warned = True
            self._warn(
                f"caption.model hears {heard_s:g} s of a clip, and one has {longest_s:.1f} s: captions are of the "
                "beginning; set data.max_duration_s to no more than that, or cut the clips"
            )
        answers = self._batches.apply(list(zip(waveforms, labels, strict=True)), self._batch)
        count(dict(enumerate(answers)))
        return answers

    @torch.inference_mode()
    def _batch(self, clips: Sequence[tuple[Waveform, tuple[str, ...]]]) -> list[Answer]:
        inputs = self._processor(
            text=[self._chat(labels) for _, labels in clips],
            audio=[waveform for waveform, _ in clips],
            sampling_rate=self.sample_rate_hz,
            # Texts alone: each model's extractor pads audio to the window that its encoder wants.
            text_kwargs={"padding": True},
            return_tensors="pt",
        ).to(self._device, self._model.dtype)
        written = self._model.generate(**inputs, do_sample=False, **_text_only(self._model))
        answers = getattr(written, "sequences", written)[:, inputs["input_ids"].shape[1] :]
        texts = self._processor.tokenizer.batch_decode(answers, skip_special_tokens=True)
        pads, ends = (answers.new_tensor(self._ids(name)) for name in ("pad_token_id", "eos_token_id"))
        # Rows of a batch are padded to the longest, and go on together until all have ended.
        ended = torch.isin(answers[:, -1], torch.cat([pads, ends])).tolist()
        read = inputs["attention_mask"].sum(dim=1).tolist()
        wrote = torch.isin(answers, pads, invert=True).sum(dim=1).tolist()
        return [
            replace(
                read_caption(text, labels) if whole else Answer(None, f"cut after {said} tokens"),
                input_tokens=heard,
                output_tokens=said,
            )
            for text, whole, (_, labels), heard, said in zip(texts, ended, clips, read, wrote, strict=True)
        ]

    def _heard_s(self) -> float:
        """Some processors cut what is longer than their extractor's window into several (Audio Flamingo 3)."""
        extractor = self._processor.feature_extractor
        window_s = getattr(extractor, "n_samples", math.inf) / self.sample_rate_hz
        return float(getattr(self._processor, "max_audio_len", window_s))

    def _ids(self, name: str) -> list[int]:
        """Of a special token: what the tokenizer pads and ends with, and what `generate` does, which may be others."""
        own = getattr(self._model.generation_config, name)
        known = [getattr(self._processor.tokenizer, name), *(own if isinstance(own, list) else [own])]
        return [each for each in known if each is not None]

    def _chat(self, labels: tuple[str, ...]) -> str:
        content = [{"type": "audio", "audio": ""}, {"type": "text", "text": instruction(labels)}]
        chat = [{"role": "user", "content": content}]
        return str(self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def _text_only(model: Any) -> dict[str, Any]:
    """How long the text may be. Omni models have a name of their own for that, and would also speak it."""
    if hasattr(model, "has_talker"):
        return {"generation_mode": "text", "thinker_max_new_tokens": _CAPTION_TOKENS}
    return {"max_new_tokens": _CAPTION_TOKENS}


def _config(source: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    # What an Omni model would speak with takes memory and is never heard; the others do not know the setting.
    return AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False, enable_audio_output=False)


def _load(source: str, revision: str | None, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoModelForMultimodalLM, AutoModelForSeq2SeqLM, AutoProcessor

    with loading("caption", source, otherwise="use caption.kind=clap"):
        config = _config(source, revision)
        # Audio Flamingo 3 is registered as a sequence-to-sequence model, the others as multimodal ones.
        kinds = [k for k in (AutoModelForMultimodalLM, AutoModelForSeq2SeqLM) if type(config) in k._model_mapping]
        processor = AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False) if kinds else None
        if processor is None or not hasattr(processor, "feature_extractor"):
            raise ModelError(
                f"caption.model {source!r} is a {config.model_type!r} model, which does not describe audio in text; "
                "expected one such as Qwen/Qwen2-Audio-7B-Instruct or nvidia/audio-flamingo-3-hf"
            )
        return processor, load_transformers_model(kinds[0], config, source, revision, device)
