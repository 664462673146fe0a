"""Train the pocket classifier: a small AST as a multi-label tagger over the corpus' tags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from synthio import audio
from synthio.augment import mask_features
from synthio.backends.devices import resolve_device
from synthio.chunks import chunks
from synthio.errors import DataError
from synthio.pretrain import loop
from synthio.pretrain.corpus import CorpusConfig, build_corpus, split_corpus
from synthio.pretrain.features import HeardClips
from synthio.progress import Reporter
from synthio.recipes import Section, UserPath
from synthio.seeds import numpy_generator


class ASTModelConfig(Section):
    """The arguments of `ASTConfig` that make it small."""

    hidden_size: int = 192
    num_hidden_layers: int = 4
    num_attention_heads: int = 3
    intermediate_size: int = 576
    patch_size: int = 16
    frequency_stride: int = 12
    time_stride: int = 12
    max_length: int = 200
    num_mel_bins: int = 64


class ClassifierRecipe(Section):
    """`synthio pretrain classifier`."""

    output: UserPath
    corpus: CorpusConfig = CorpusConfig()
    autoencoder: UserPath | None = None
    """With it, some copies of clips go through the autoencoder, as generated clips do."""
    variations: int = Field(3, ge=0)
    model: ASTModelConfig = ASTModelConfig()
    optimiser: loop.OptimiserConfig = loop.OptimiserConfig()
    min_clips_per_tag: int = Field(8, ge=1)
    mixup_share: float = Field(0.5, ge=0, le=1)
    masked_share: float = Field(0.2, ge=0, lt=1)
    level_range_db: float = Field(10.0, ge=0)
    """Clips are heard up to so much louder or softer: users' recordings have other levels."""
    validation_fraction: float = Field(0.05, gt=0, lt=1)


def train_classifier(recipe: ClassifierRecipe, reporter: Reporter) -> Path:
    """Train and save an `ASTForAudioClassification` folder in half precision. Returns the folder."""
    from transformers import ASTConfig, ASTForAudioClassification

    device = resolve_device("auto")
    data = TagData(recipe, device)
    torch.manual_seed(recipe.optimiser.seed)
    labels = dict(enumerate(data.tags))
    config = ASTConfig(
        **recipe.model.model_dump(),
        id2label=labels,
        label2id={tag: i for i, tag in labels.items()},
        problem_type="multi_label_classification",
    )
    model = ASTForAudioClassification(config).to(device)
    bce = torch.nn.functional.binary_cross_entropy_with_logits

    def loss(step: int) -> torch.Tensor:
        model.train()
        features, targets = data.batch(step)
        return bce(model(features).logits, targets) * targets.shape[1] / 4

    def evaluate() -> Mapping[str, float]:
        model.eval()
        with torch.no_grad():
            return data.validation_scores(model)

    loop.fit(model, loss, recipe.optimiser, recipe.output / "training", evaluate, data.depends, reporter)
    folder = recipe.output / "model"
    model.half().save_pretrained(folder)
    data.extractor.save_pretrained(folder)
    return folder


class TagData:
    """AST features and tag targets of every clip, computed once."""

    def __init__(self, recipe: ClassifierRecipe, device: torch.device) -> None:
        from transformers import ASTFeatureExtractor

        self._recipe, self._device = recipe, device
        folder = build_corpus(recipe.corpus)
        clips, validation = split_corpus(folder, recipe.validation_fraction)
        self._training, self._validation = np.flatnonzero(~validation), np.flatnonzero(validation)
        counts = Counter(tag for clip in clips for tag in clip.tags)
        self.tags = sorted(tag for tag, count in counts.items() if count >= recipe.min_clips_per_tag)
        index = {tag: i for i, tag in enumerate(self.tags)}
        self._targets = torch.zeros(len(clips), len(self.tags))
        for row, clip in enumerate(clips):
            self._targets[row, [index[tag] for tag in clip.tags if tag in index]] = 1
        if not self._targets[self._validation].any():
            raise DataError(
                f"{folder}: {len(self.tags)} of {len(counts)} tags have min_clips_per_tag={recipe.min_clips_per_tag} "
                f"clips, and none of the {len(self._validation)} clips held out has one of them; expected some: lower "
                "min_clips_per_tag, or raise validation_fraction"
            )
        rate, model = recipe.corpus.sample_rate_hz, recipe.model
        self.extractor = ASTFeatureExtractor(
            sampling_rate=rate, num_mel_bins=model.num_mel_bins, max_length=model.max_length, do_normalize=False
        )
        window = int(model.max_length * 0.01 * rate)

        def extract(samples: audio.Waveform) -> torch.Tensor:
            features: torch.Tensor = self.extractor(samples, sampling_rate=rate, return_tensors="pt")["input_values"][0]
            return features

        heard = HeardClips(folder, clips, rate, window, recipe.variations, recipe.autoencoder)
        self._features = heard.features(extract, recipe.output / "cache", self.extractor.to_json_string())
        self.depends = loop.depends_on(recipe, heard.digest)
        originals = self._features[self._training, 0].float()
        self.extractor.mean, self.extractor.std = float(originals.mean()), float(originals.std())
        self.extractor.do_normalize = True

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixed-up, masked features ``(batch, frames, mels)`` and targets ``(batch, tags)``."""
        recipe = self._recipe
        generator = numpy_generator(recipe.optimiser.seed, "classifier", step)
        chosen = generator.choice(self._training, (2, recipe.optimiser.batch_size))
        share = generator.beta(5.0, 5.0, recipe.optimiser.batch_size)
        share[generator.random(share.shape[0]) >= recipe.mixup_share] = 1.0
        weight = torch.from_numpy(share.astype(np.float32))[:, None]
        copies = generator.integers(self._features.shape[1], size=chosen.shape)
        gains_db = generator.uniform(-recipe.level_range_db, recipe.level_range_db, chosen.shape).astype(np.float32)
        first, second = (self._normalised(chosen[row], copies[row], gains_db[row]) for row in (0, 1))
        features = torch.lerp(second, first, weight[..., None])
        # Both sounds are there, so both tags hold (Gong et al. 2021 mix targets likewise, softly).
        targets = torch.lerp(self._targets[chosen[1]], self._targets[chosen[0]], weight)
        masked = mask_features(features[:, None].clone(), recipe.masked_share, generator)[:, 0]
        return masked.to(self._device), targets.to(self._device)

    def _normalised(self, clips: Any, copies: Any, gains_db: Any = 0.0) -> torch.Tensor:
        """As the extractor normalises, ``(batch, frames, mels)``."""
        drawn = self._features[clips, copies].float()
        # Log energies are natural logarithms; the extractor pads with exact zeros, which have no level.
        gains = torch.as_tensor(gains_db * (math.log(10) / 10)).reshape(-1, 1, 1)
        louder = torch.where(drawn == 0, drawn, drawn + gains)
        normalised: torch.Tensor = (louder - self.extractor.mean) / (2 * self.extractor.std)
        return normalised

    def validation_scores(self, model: torch.nn.Module) -> dict[str, float]:
        """Share of held-out clips whose best tag is one of theirs."""
        index = [int(i) for i in self._validation if self._targets[i].sum() > 0]
        parts = [self._normalised(part, 0) for part in chunks(index, 64)]
        logits = torch.cat([model(part.to(self._device)).logits.cpu() for part in parts])
        right = self._targets[index].gather(1, logits.argmax(1, keepdim=True))
        return {"top_tag_accuracy": float(right.mean()), "tags": float(len(self.tags))}
