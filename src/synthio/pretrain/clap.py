"""Train the pocket CLAP: a small HTSAT audio tower against a frozen MiniLM text tower.

Symmetric contrastive loss with soft targets: a caption's positives are all clips that have it (several "kick" clips in
a batch are not each other's negatives), as in supervised contrastive learning (Khosla et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from synthio import audio
from synthio.augment import mask_features
from synthio.backends import pocket
from synthio.backends.devices import resolve_device
from synthio.chunks import chunks
from synthio.errors import DataError
from synthio.pretrain import loop
from synthio.pretrain.corpus import CorpusClip, CorpusConfig, build_corpus, split_corpus
from synthio.pretrain.features import HeardClips
from synthio.progress import Reporter
from synthio.recipes import Section, UserPath
from synthio.seeds import numpy_generator


class ClapModelConfig(Section):
    """The parts of `ClapAudioConfig` and `ClapConfig` that make it small."""

    spec_size: int = 128
    num_mel_bins: int = 64
    patch_size: int = 8
    patch_embeds_hidden_size: int = 96
    depths: tuple[int, ...] = (2, 4)
    num_attention_heads: tuple[int, ...] = (4, 8)
    projection_dim: int = 192
    window_s: int = 2
    hop_length: int = 128
    fft_window_size: int = 512


class ClapRecipe(Section):
    """`synthio pretrain clap`."""

    output: UserPath
    initial: UserPath | None = None
    """A model folder of the same sizes whose weights training goes on from; null starts anew."""
    corpus: CorpusConfig = CorpusConfig()
    autoencoder: UserPath | None = None
    """With it, some copies of clips go through the autoencoder, as generated clips do."""
    variations: int = Field(3, ge=0)
    model: ClapModelConfig = ClapModelConfig()
    optimiser: loop.OptimiserConfig = loop.OptimiserConfig()
    template_share: float = Field(0.5, ge=0, le=1)
    """Share of items paired with their label template."""
    masked_share: float = Field(0.15, ge=0, lt=1)
    """Longest share of mel bins and of frames that is masked (SpecAugment)."""
    validation_fraction: float = Field(0.05, gt=0, lt=1)


def train_clap(recipe: ClapRecipe, reporter: Reporter) -> Path:
    """Train and save a `ClapModel` folder in half precision. Returns the folder."""
    device = resolve_device("auto")
    torch.manual_seed(recipe.optimiser.seed)
    model = build_clap(recipe).to(device)
    if recipe.initial is not None:
        # A folder that ships has no MiniLM weights; `build_clap` has put them into the text tower.
        loop.start_from(recipe.initial / "model.safetensors", model, elsewhere="text_model.")
    for name, parameter in model.text_model.named_parameters():
        parameter.requires_grad = name.startswith("pooler")
    data = ClapData(recipe, model, device)

    def loss(step: int) -> torch.Tensor:
        model.train()
        model.text_model.eval()
        return contrastive_loss(model, *data.batch(step))

    def evaluate() -> Mapping[str, float]:
        model.eval()
        with torch.no_grad():
            return data.validation_accuracy(model)

    loop.fit(model, loss, recipe.optimiser, recipe.output / "training", evaluate, data.depends, reporter)
    return _save(recipe, model.eval())


def contrastive_loss(model: Any, features: torch.Tensor, hidden: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy against ``shared / shared.sum()``, ``(batch, batch)``: which captions fit which clips."""
    audio_rows, text_rows = _embed_audio(model, features), _embed_pooled(model, hidden)
    logits = model.logit_scale_a.exp().clamp(max=100) * audio_rows @ text_rows.T
    by_audio = -(shared / shared.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_text = -(shared / shared.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    loss: torch.Tensor = 0.5 * (by_audio + by_text)
    return loss


def _embed_audio(model: Any, features: torch.Tensor) -> torch.Tensor:
    rows = model.get_audio_features(features).pooler_output
    normalised: torch.Tensor = torch.nn.functional.normalize(rows, dim=-1)
    return normalised


def _embed_pooled(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Text rows from the frozen encoder's cached first hidden state ``(batch, width)``: pooler and projection only."""
    pooler = model.text_model.pooler
    pooled = pooler.activation(pooler.dense(hidden))
    return torch.nn.functional.normalize(model.text_projection(pooled), dim=-1)


class ClapData:
    """Mel features of every clip and the text tower's state of every caption, computed once."""

    def __init__(self, recipe: ClapRecipe, model: Any, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        folder = build_corpus(recipe.corpus)
        self._clips, validation = split_corpus(folder, recipe.validation_fraction)
        self._training, self._validation = np.flatnonzero(~validation), np.flatnonzero(validation)
        self._check_counts(folder)
        extractor = build_extractor(recipe)
        rate, window = recipe.corpus.sample_rate_hz, recipe.model.window_s * recipe.corpus.sample_rate_hz

        def extract(samples: audio.Waveform) -> torch.Tensor:
            features: torch.Tensor = extractor(samples, sampling_rate=rate, return_tensors="pt")["input_features"][0, 0]
            return features

        heard = HeardClips(folder, self._clips, rate, window, recipe.variations, recipe.autoencoder)
        self._features = heard.features(extract, recipe.output / "cache", extractor.to_json_string())
        self.depends = loop.depends_on(recipe, heard.digest)
        self._hidden = self._encode_captions(model)

    def _check_counts(self, folder: Path) -> None:
        """Raises: `DataError` where a batch cannot be drawn, or nothing be measured."""
        training, wanted = len(self._training), self._recipe.optimiser.batch_size
        if training < wanted:
            raise DataError(
                f"{folder}: has {training} clips to train on beside {len(self._validation)} held out; expected "
                f"optimiser.batch_size={wanted} at least, as a batch has no clip twice: set it to {training} or less"
            )
        if not any(self._clips[i].has_template for i in self._validation):
            raise DataError(
                f"{folder}: none of the {len(self._validation)} clips held out has a cls or label, by which the CLAP "
                "is measured; expected some: name them in corpus.clips_csv, or raise validation_fraction"
            )

    @torch.no_grad()
    def _encode_captions(self, model: Any) -> dict[str, torch.Tensor]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(pocket.minilm_folder())
        captions = sorted({c for clip in self._clips for c in clip.captions}, key=len)
        model.eval()
        hidden: dict[str, torch.Tensor] = {}
        for chunk in chunks(captions, 128):
            inputs = tokenizer(chunk, padding=True, truncation=True, max_length=64, return_tensors="pt").to(
                self._device
            )
            output = model.text_model(inputs.input_ids, attention_mask=inputs.attention_mask)
            hidden |= dict(zip(chunk, output.last_hidden_state[:, 0].cpu(), strict=True))
        return hidden

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Masked features, caption states and the matrix of what fits what."""
        recipe = self._recipe
        generator = numpy_generator(recipe.optimiser.seed, "clap", step)
        chosen = generator.choice(self._training, recipe.optimiser.batch_size, replace=False)
        clips = [self._clips[i] for i in chosen]
        captions = []
        for clip in clips:
            pick = 0 if generator.random() < recipe.template_share else int(generator.integers(len(clip.captions)))
            captions.append(clip.captions[pick])
        copies = generator.integers(self._features.shape[1], size=len(chosen))
        drawn = self._features[chosen, copies][:, None].float()
        features = mask_features(drawn, recipe.masked_share, generator)
        hidden = torch.stack([self._hidden[caption] for caption in captions])
        return features.to(self._device), hidden.to(self._device), fits(clips, captions).to(self._device)

    def validation_accuracy(self, model: Any) -> dict[str, float]:
        """Share of held-out clips whose own label template is the nearest of all label templates."""
        index = [int(i) for i in self._validation if self._clips[i].has_template]
        clips = [self._clips[i] for i in index]
        templates = sorted({clip.captions[0] for clip in clips})
        text = _embed_pooled(model, torch.stack([self._hidden[t] for t in templates]).to(self._device))
        rows = torch.cat(
            [
                _embed_audio(model, self._features[part, 0][:, None].float().to(self._device))
                for part in chunks(index, 64)
            ]
        )
        best = (rows @ text.T).argmax(1).tolist()
        right = [templates[b] == clip.captions[0] for b, clip in zip(best, clips, strict=True)]
        return {"label_accuracy": float(np.mean(right)), "labels": float(len(templates))}


def fits(clips: list[CorpusClip], captions: list[str]) -> torch.Tensor:
    """``[i, j] = 1`` when caption ``j`` also describes clip ``i``: its own, the same text, or one of its captions."""
    rows = [
        [float(i == j or caption in clip.captions) for j, caption in enumerate(captions)]
        for i, clip in enumerate(clips)
    ]
    return torch.tensor(rows)


def build_extractor(recipe: ClapRecipe) -> Any:
    """`ClapFeatureExtractor` at the corpus' rate; clips over the window are cut, shorter ones padded with silence."""
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(
        feature_size=recipe.model.num_mel_bins,
        sampling_rate=recipe.corpus.sample_rate_hz,
        hop_length=recipe.model.hop_length,
        max_length_s=recipe.model.window_s,
        fft_window_size=recipe.model.fft_window_size,
        frequency_min=30,
        frequency_max=recipe.corpus.sample_rate_hz // 2,
        truncation="rand_trunc",
        padding="pad",
    )


def build_clap(recipe: ClapRecipe) -> Any:
    """A `ClapModel` whose text tower holds MiniLM's weights."""
    from transformers import BertConfig, ClapConfig, ClapModel

    minilm = pocket.minilm_folder()
    bert = BertConfig.from_pretrained(minilm)
    small = recipe.model
    config = ClapConfig(
        text_config={
            "vocab_size": bert.vocab_size,
            "hidden_size": bert.hidden_size,
            "num_hidden_layers": bert.num_hidden_layers,
            "num_attention_heads": bert.num_attention_heads,
            "intermediate_size": bert.intermediate_size,
            "max_position_embeddings": bert.max_position_embeddings + 1,
            "type_vocab_size": bert.type_vocab_size,
            "pad_token_id": bert.pad_token_id,
            "layer_norm_eps": bert.layer_norm_eps,
        },
        audio_config={
            "spec_size": small.spec_size,
            "num_mel_bins": small.num_mel_bins,
            "patch_size": small.patch_size,
            "patch_stride": [small.patch_size, small.patch_size],
            "patch_embeds_hidden_size": small.patch_embeds_hidden_size,
            "hidden_size": small.patch_embeds_hidden_size * 2 ** (len(small.depths) - 1),
            "depths": list(small.depths),
            "num_attention_heads": list(small.num_attention_heads),
            "enable_fusion": False,
        },
        projection_dim=small.projection_dim,
    )
    model = ClapModel(config)
    model.text_model.load_state_dict(pocket.clap_text_weights(minilm), strict=False)
    return model


def _save(recipe: ClapRecipe, model: Any) -> Path:
    from transformers import AutoTokenizer

    folder = recipe.output / "model"
    model.half().save_pretrained(folder)
    build_extractor(recipe).save_pretrained(folder)
    AutoTokenizer.from_pretrained(pocket.minilm_folder(), model_max_length=64).save_pretrained(folder)
    return folder
