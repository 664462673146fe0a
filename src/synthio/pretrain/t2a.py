"""Train the pocket text-to-audio model: `StableAudio3DiTModel` by flow matching on cached autoencoder latents."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from synthio import audio
from synthio.backends import pocket
from synthio.backends.devices import resolve_device
from synthio.backends.pocket import LONGEST_LEARNT_S
from synthio.backends.stable_audio import restore_frequencies
from synthio.checkpoint import cached_tensors
from synthio.chunks import chunks
from synthio.pretrain import loop
from synthio.pretrain.corpus import CorpusConfig, build_corpus, split_corpus
from synthio.pretrain.features import codec_digest, corpus_digest, load_codec
from synthio.progress import Reporter
from synthio.recipes import Section, UserPath
from synthio.seeds import numpy_generator, torch_generator
from synthio.store import fingerprint
from synthio.variation import varied_copies


class DiTConfig(Section):
    """The arguments of `StableAudio3DiTModel`."""

    embed_dim: int = 256
    depth: int = 8
    num_heads: int = 4
    ff_mult: float = 3.0
    num_memory_tokens: int = 4
    timestep_features_dim: int = 256
    local_add_cond_dim: int = 1
    """Inpainting is not trained: the smallest projection."""
    use_differential_attention: bool = False


class T2ARecipe(Section):
    """`synthio pretrain t2a`."""

    output: UserPath
    autoencoder: UserPath
    initial: UserPath | None = None
    """A pipeline folder of the same sizes and autoencoder whose weights training goes on from; null starts anew."""
    corpus: CorpusConfig = CorpusConfig()
    model: DiTConfig = DiTConfig()
    optimiser: loop.OptimiserConfig = loop.OptimiserConfig()
    durations_s: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
    """Clip lengths trained on; a clip goes to the first that holds it, longer clips are cropped."""
    variations: int = Field(3, ge=0)
    """Varied copies of every clip beside the original (see `variation`): against learning 7,000 clips by heart."""
    max_prompt_tokens: int = Field(32, ge=8)
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of empty prompts, for classifier-free guidance."""
    template_share: float = Field(0.3, ge=0, le=1)
    """Share of items trained on their first caption, the label template that alignment and generation use."""
    validation_fraction: float = Field(0.03, gt=0, lt=1)


def train_t2a(recipe: T2ARecipe, reporter: Reporter) -> Path:
    """Train and save a whole pipeline folder. Returns the folder."""
    device = resolve_device("auto")
    vae = load_codec(recipe.autoencoder, recipe.corpus.sample_rate_hz).to(device).eval()
    data = LatentData(recipe, vae, device)
    torch.manual_seed(recipe.optimiser.seed)
    transformer, embedder = _build(recipe, vae.config.latent_dim, data.text_width)
    if recipe.initial is not None:
        for name, module in (("transformer", transformer), ("duration_embedder", embedder)):
            loop.start_from(recipe.initial / name / "diffusion_pytorch_model.safetensors", module)
    both = torch.nn.ModuleDict({"transformer": transformer, "embedder": embedder}).to(device)

    def loss(step: int) -> torch.Tensor:
        return flow_loss(both, data.batch(step), torch_generator(recipe.optimiser.seed, "flow", step))

    def evaluate() -> Mapping[str, float]:
        with torch.no_grad():
            batches = enumerate(data.validation_batches())
            losses = [float(flow_loss(both, batch, torch_generator(0, "validation", i))) for i, batch in batches]
        return {"validation_loss": float(np.mean(losses))}

    loop.fit(both, loss, recipe.optimiser, recipe.output / "training", evaluate, data.depends, reporter)
    embedder.register_to_config(**{LONGEST_LEARNT_S: data.longest_s})
    return save_pipeline(recipe, vae, transformer, embedder)


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]
"""Latents ``(batch, channels, frames)``, prompt embeddings ``(batch, tokens, width)``, mask ``(batch, tokens)``,
duration in seconds."""


def flow_loss(both: torch.nn.ModuleDict, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Rectified-flow loss with logit-normal time (Esser et al. 2024): ``x_t = (1 - t) x + t noise``, target
    ``noise - x``. Times and noise are drawn from ``generator``."""
    latents, prompts, mask, duration_s = batch
    time = torch.sigmoid(torch.randn(latents.shape[0], generator=generator)).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = torch.lerp(latents, noise, time[:, None, None])
    duration = both["embedder"](torch.full((latents.shape[0],), duration_s, device=latents.device))
    context = torch.cat([prompts, duration[:, None]], dim=1)
    context_mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
    velocity = both["transformer"](noisy, time, context, duration, context_mask, return_dict=False)[0]
    return torch.nn.functional.mse_loss(velocity, noise - latents)


class LatentData:
    """Every clip encoded once, every caption embedded once; batches are drawn by step."""

    def __init__(self, recipe: T2ARecipe, vae: Any, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        self._ratio = int(vae.downsampling_ratio)
        self._lengths_trained = [self._frames(duration_s) for duration_s in sorted(recipe.durations_s)]
        folder = build_corpus(recipe.corpus)
        clips, validation = split_corpus(folder, recipe.validation_fraction)
        self._captions = [clip.captions for clip in clips]
        made_of = [corpus_digest(folder, clips), codec_digest(vae)]
        self.depends = loop.depends_on(recipe, made_of)
        depends = [made_of, recipe.durations_s, recipe.variations, recipe.optimiser.seed]
        cache = recipe.output / "cache"
        encoded = cached_tensors(
            cache,
            f"latents-{fingerprint(depends)}",
            lambda: {str(i): self._encode(vae, folder / clip.file_name, i) for i, clip in enumerate(clips)},
        )
        self._latents = [encoded[str(index)] for index in range(len(clips))]
        captions = sorted({caption for clip in clips for caption in clip.captions} | {""})
        embedded = cached_tensors(
            cache,
            f"captions-{fingerprint([captions, recipe.max_prompt_tokens])}",
            lambda: {str(i): rows for i, rows in enumerate(embed_captions(captions, recipe))},
        )
        self._embedded = {caption: embedded[str(index)] for index, caption in enumerate(captions)}
        self.text_width = next(iter(self._embedded.values())).shape[1]
        self._by_frames: dict[int, list[int]] = defaultdict(list)
        self._validation: dict[int, list[int]] = defaultdict(list)
        for index, latents in enumerate(self._latents):
            frames = min(latents.shape[2], self._lengths_trained[-1])
            (self._validation if validation[index] else self._by_frames)[frames].append(index)
        self._lengths = sorted(self._by_frames)
        counts = np.array([len(self._by_frames[length]) for length in self._lengths], dtype=float)
        self._weights = counts / counts.sum()

    @property
    def longest_s(self) -> float:
        """The longest of ``durations_s`` that a clip to train on has."""
        return max(
            duration_s for duration_s in self._recipe.durations_s if self._frames(duration_s) <= self._lengths[-1]
        )

    def _frames(self, duration_s: float) -> int:
        """As `StableAudio3Pipeline` counts them."""
        return math.ceil(duration_s * self._recipe.corpus.sample_rate_hz / self._ratio)

    @torch.no_grad()
    def _encode(self, vae: Any, path: Path, index: int) -> torch.Tensor:
        """Latents ``(1 + variations, channels, frames)`` of one clip, padded with silence to the first trained length
        that holds it; the original comes first."""
        rate_hz = self._recipe.corpus.sample_rate_hz
        samples = audio.load(path, rate_hz)
        frames = self._frames(samples.shape[0] / rate_hz)
        frames = next((length for length in self._lengths_trained if length >= frames), frames)
        generator = numpy_generator(self._recipe.optimiser.seed, "variation", index)
        copies = varied_copies(samples, rate_hz, self._recipe.variations, generator)
        fitted = np.stack([audio.fit(copy, frames * self._ratio) for copy in (samples, *copies)])
        latents: torch.Tensor = vae.encode(torch.from_numpy(fitted)[:, None].to(self._device)).latents
        return latents

    def batch(self, step: int) -> Batch:
        """The batch of one step: one length, random clips of it, random crops, captions, dropped prompts."""
        recipe = self._recipe
        generator = numpy_generator(recipe.optimiser.seed, "batch", step)
        length = int(generator.choice(self._lengths, p=self._weights))
        chosen = generator.choice(self._by_frames[length], recipe.optimiser.batch_size)
        copies = generator.integers(1 + recipe.variations, size=recipe.optimiser.batch_size)
        items = [(int(index), int(copy)) for index, copy in zip(chosen, copies, strict=True)]
        return self._collate(items, length, generator, recipe.caption_dropout)

    def validation_batches(self) -> list[Batch]:
        """The same batches every time."""
        return [
            self._collate([(index, 0) for index in indices], length, numpy_generator(0, "validation", length), 0.0)
            for length, indices in sorted(self._validation.items())
        ]

    def _collate(
        self, items: list[tuple[int, int]], length: int, generator: np.random.Generator, dropout: float
    ) -> Batch:
        """Items are clip and copy; the copy 0 is the original."""
        latents, captions = [], []
        for index, copy in items:
            start = int(generator.integers(self._latents[index].shape[2] - length + 1))
            latents.append(self._latents[index][copy, :, start : start + length])
            options = self._captions[index]
            pick = 0 if generator.random() < self._recipe.template_share else int(generator.integers(len(options)))
            captions.append("" if generator.random() < dropout else options[pick])
        tokens = self._recipe.max_prompt_tokens
        embedded = torch.zeros(len(items), tokens, self.text_width)
        mask = torch.zeros(len(items), tokens, dtype=torch.long)
        for row, caption in enumerate(captions):
            vectors = self._embedded[caption]
            embedded[row, : vectors.shape[0]] = vectors.float()
            mask[row, : vectors.shape[0]] = 1
        # Any duration that takes this many frames: the embedder must not know the trained ones only.
        duration_s = (length - float(generator.random())) * self._ratio / self._recipe.corpus.sample_rate_hz
        return torch.stack(latents).to(self._device), embedded.to(self._device), mask.to(self._device), duration_s


@torch.no_grad()
def embed_captions(captions: list[str], recipe: T2ARecipe) -> list[torch.Tensor]:
    """MiniLM token embeddings of each caption, ``(tokens, width)`` in half precision, in order."""
    from transformers import AutoTokenizer, BertModel

    folder = pocket.minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()
    embedded: dict[str, torch.Tensor] = {}
    for chunk in chunks(sorted(captions, key=len), 128):
        inputs = tokenizer(
            chunk, padding=True, truncation=True, max_length=recipe.max_prompt_tokens, return_tensors="pt"
        )
        hidden = model(inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
        for caption, vectors, mask in zip(chunk, hidden, inputs.attention_mask, strict=True):
            embedded[caption] = vectors[: int(mask.sum())].half().clone()
    return [embedded[caption] for caption in captions]


def _build(recipe: T2ARecipe, channels: int, text_width: int) -> tuple[Any, Any]:
    """Denoiser and duration embedder."""
    from diffusers import StableAudio3DiTModel
    from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder

    transformer = StableAudio3DiTModel(
        io_channels=channels, cond_token_dim=text_width, global_cond_dim=text_width, **recipe.model.model_dump()
    )
    return transformer, StableAudio3DurationEmbedder(output_dim=text_width, max_val=16.0)


def save_pipeline(recipe: T2ARecipe, vae: Any, transformer: torch.nn.Module, embedder: torch.nn.Module) -> Path:
    """Save as a `StableAudio3Pipeline` folder, in half precision but for its fixed frequencies."""
    from diffusers import FlowMatchEulerDiscreteScheduler, StableAudio3Pipeline
    from transformers import AutoTokenizer, BertModel

    minilm = pocket.minilm_folder()
    pipeline = StableAudio3Pipeline(
        vae=vae,
        text_encoder=BertModel.from_pretrained(minilm),
        tokenizer=AutoTokenizer.from_pretrained(minilm, model_max_length=recipe.max_prompt_tokens),
        duration_embedder=embedder,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )
    folder = recipe.output / "model"
    pipeline.to(torch.float16)
    restore_frequencies(pipeline)
    pipeline.save_pretrained(folder)
    return folder
