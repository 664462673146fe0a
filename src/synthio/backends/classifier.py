"""Audio classifiers: any `transformers` audio-classification model, with a head for the user's classes.

A `Source` is a model that was found and checked; a `Frontend` is its feature extractor fitted to the training split;
`load_classifier` gives the network with a new head, which `fine_tuning` trains and applies.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    ASTFeatureExtractor,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

from synthio.audio import Waveform, fit
from synthio.backends import pocket
from synthio.backends.loading import LOADING_ERRORS, loading, loading_reason
from synthio.backends.located import check_model, local_folder
from synthio.backends.quiet import quiet
from synthio.errors import ModelError
from synthio.formats import some
from synthio.frozen import Frozen
from synthio.recipes import user_path
from synthio.store import holds_run
from synthio.writing import saving_model

#: Share of the training clips that an AST hears to their end.
_KEPT_WHOLE = 0.75
#: Analysis window and hop of the extractors of AST and SeamlessM4T, in samples at any rate (Kaldi's 25 and 10 ms at 16
#: kHz).
_WINDOW, _HOP = 400, 160
#: Of shorter clips, a network that reads waveforms may have no frame at all (25 ms), or no deviation of frames.
_LEAST_S = 0.05
_FRONTEND = "frontend.json"
#: Parts of `transformers` audio classifiers that belong to a task, not to the pre-trained network.
HEAD_PARTS = ("classifier", "projector", "layer_weights")
#: Standard deviation of a new head's weights, as in AST, BERT and wav2vec 2.0.
_HEAD_STD = 0.02

ProblemType = Literal["single_label_classification", "multi_label_classification"]
"""One label per clip, or any number of them; the spelling of `transformers`."""

Inputs = Mapping[str, torch.Tensor]
"""What a network reads of a clip, or of a batch of them, by the network's own names."""


@dataclass(frozen=True)
class Source:
    """An audio-classification model that was found: where it is, its configuration and its feature extractor."""

    location: str
    """A folder or a hub id."""
    revision: str | None
    config: Any
    extractor: Any

    @property
    def sample_rate_hz(self) -> int:
        """What the feature extractor expects."""
        return int(self.extractor.sampling_rate)


@quiet("transformers")
def find_classifier(model: str, revision: str | None = None) -> Source:
    """Find ``pocket``, a local folder or a hub id, and check its family without loading weights.

    Raises: `ModelError` when it is missing, cannot be reached or read, or is no audio-classification model.
    """
    location = _locate(model)
    with loading("train", location, otherwise="use train.model=pocket"):
        return _source(location, revision)


def _source(location: str, revision: str | None) -> Source:
    """Raises: `ModelError` for a model of another kind, and one of `LOADING_ERRORS`."""
    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
    if type(config) not in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING:
        known = ", ".join(sorted(known.model_type for known in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING))
        raise ModelError(
            f"{location}: is a {config.model_type!r} model; expected an audio-classification family ({known}); "
            "choose another model"
        )
    extractor = AutoFeatureExtractor.from_pretrained(location, revision=revision, trust_remote_code=False)
    bins, expected = getattr(extractor, "num_mel_bins", None), getattr(config, "num_mel_bins", None)
    if _is_ast(config) and bins != expected:
        raise ModelError(
            f"{location}: preprocessor_config.json makes {bins} mel bins; config.json expects {expected}; "
            "use the two files that were saved together"
        )
    return Source(location, revision, config, extractor)


def _locate(model: str) -> str:
    if model == "pocket":
        return str(pocket.classifier_folder())
    check_model("train.model", model)
    folder = local_folder(model)
    if folder is None:
        return model
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: holds no config.json; expected a folder written by save_pretrained")
    return str(folder)


def _is_ast(config: Any) -> bool:
    return bool(config.model_type == "audio-spectrogram-transformer")


# ------------------------------------------------------------------------------------------------------- features


@dataclass(frozen=True)
class Frontend:
    """A feature extractor at one clip length; gives every clip inputs of one shape."""

    extractor: Any
    min_samples: int
    """Shorter clips are zero-padded to this before the extractor pads in its own way."""
    max_samples: int
    """Longer clips are cut."""

    @property
    def main_input(self) -> str:
        """The network's name for a clip's waveform or spectrogram, among `inputs`."""
        return str(self.extractor.model_input_names[0])

    def inputs(self, samples: Waveform) -> Inputs:
        """What the network reads of one clip of shape ``(samples,)``, at the extractor's rate.

        A clip is normalised before it is padded. ``attention_mask`` (bool) tells padding from sound for models whose
        extractor says, as `return_attention_mask`, that they were trained with it.
        """
        fitted = fit(samples, min(max(samples.shape[0], self.min_samples), self.max_samples))
        padding = self._padding()
        extracted = self.extractor(fitted, sampling_rate=self.extractor.sampling_rate, return_tensors="np", **padding)
        inputs = {self.main_input: torch.from_numpy(np.asarray(extracted[self.main_input][0], dtype=np.float32))}
        if padding and self.extractor.return_attention_mask:
            inputs["attention_mask"] = torch.from_numpy(extracted["attention_mask"][0] > 0)
        return inputs

    @property
    def pads(self) -> bool:
        """Whether inputs are as long as ``max_samples``, not of a length of the extractor's own."""
        return bool(self._padding())

    def _padding(self) -> dict[str, Any]:
        if isinstance(self.extractor, Wav2Vec2FeatureExtractor):
            longest = self.max_samples
        elif isinstance(self.extractor, SeamlessM4TFeatureExtractor):
            longest = 1 + (self.max_samples - _WINDOW) // _HOP
        else:
            # AST and Whisper pad to a length of their own.
            return {}
        # The mask also keeps the padding out of a waveform's mean and variance.
        return {"padding": "max_length", "max_length": longest, "return_attention_mask": True}


def fit_frontend(source: Source, lengths: Sequence[int]) -> Frontend:
    """The feature extractor for training clips of these lengths, in samples; ``source`` is left as it is.

    An AST keeps the mean and deviation of its pre-training, and at least its clip length: its weights and position
    embeddings expect them. Where more than a quarter of the training clips are longer, it becomes as long as three
    quarters of them, in whole patches, and cuts the rest: a few long clips must not fill the others with padding. Other
    families keep their own features, at the length of the longest training clip.
    """
    extractor = copy.deepcopy(source.extractor)
    if not isinstance(extractor, ASTFeatureExtractor):
        least = round(_LEAST_S * source.sample_rate_hz)
        return Frontend(extractor, least, max([*lengths, least]))
    frames = 1 + (math.ceil(np.quantile(lengths, _KEPT_WHOLE)) - _WINDOW) // _HOP
    patch, stride = source.config.patch_size, source.config.time_stride
    # Whole patches: the network does not see frames after the last one.
    steps = max(0, -(-(frames - patch) // stride))
    extractor.max_length = max(extractor.max_length, patch + steps * stride)
    return Frontend(extractor, _WINDOW, _WINDOW + (extractor.max_length - 1) * _HOP)


# -------------------------------------------------------------------------------------------------------- network


def load_classifier(
    source: Source, frontend: Frontend, classes: Sequence[str], problem_type: ProblemType, seed: int
) -> transformers.PreTrainedModel:
    """The pre-trained network (float32) with a new head for ``classes``; an AST is fitted to the clip length.

    The head is always new, drawn from ``seed``, also when the model had as many classes before.
    Raises: `ModelError` when the weights are missing, damaged, pickled, or do not fit config.json.
    """
    with torch.random.fork_rng(devices=[]), quiet("transformers"):
        torch.manual_seed(seed)
        with loading("train", source.location, otherwise="use train.model=pocket"):
            model, report = AutoModelForAudioClassification.from_pretrained(
                source.location,
                revision=source.revision,
                id2label=dict(enumerate(classes)),
                label2id={label: index for index, label in enumerate(classes)},
                problem_type=problem_type,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                use_safetensors=True,
                dtype=torch.float32,
                trust_remote_code=False,
            )
        _check_weights(source, report)
        _new_head(model, len(classes))
    if _is_ast(model.config):
        fit_positions(model, frontend.extractor.max_length)
    frames = _maskable_frames(model.config, frontend)
    if frames is not None and frames < model.config.mask_time_length:
        # The network would refuse. Not a shorter span: the least of two would hide most of such a clip.
        model.config.mask_time_prob = 0.0
    return model


def _maskable_frames(config: Any, frontend: Frontend) -> int | None:
    """Frames among which SpecAugment places its spans, of clips at the frontend's length; None for a network that has
    no SpecAugment or a length of its own."""
    if not hasattr(config, "mask_time_length") or not frontend.pads:
        return None
    clip = np.zeros(frontend.max_samples, dtype=np.float32)
    frames = frontend.inputs(clip)[frontend.main_input].shape[0]
    # Of waveforms, networks make their own frames.
    for kernel, stride in zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True):
        frames = (frames - kernel) // stride + 1
    return int(frames)


def _check_weights(source: Source, report: dict[str, Any]) -> None:
    """Only the head may be new: anything else missing would train a random network without a word."""
    for key, found, expected in sorted(report["mismatched_keys"]):
        if not key.startswith(HEAD_PARTS):
            raise ModelError(
                f"{source.location}: the weights do not fit config.json: {key} has shape {tuple(found)}; "
                f"expected {tuple(expected)}"
            )
    # SpecAugment's mask vector is absent from checkpoints that were never trained with it.
    missing = sorted(
        key
        for key in report["missing_keys"]
        if not key.startswith(HEAD_PARTS) and not key.endswith("masked_spec_embed")
    )
    if missing:
        raise ModelError(
            f"{source.location}: {len(missing)} of the network's weights are missing, for example {missing[0]}; "
            "expected those of an audio-classification model or of its encoder"
        )


def _new_head(model: Any, n_classes: int) -> None:
    for layer in model.classifier.modules():
        if isinstance(layer, torch.nn.Linear) and layer.out_features == n_classes:
            torch.nn.init.normal_(layer.weight, std=_HEAD_STD)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


class _Lengths(Frozen):
    """What `Frontend` knows besides the extractor, as ``frontend.json``."""

    min_samples: int
    max_samples: int


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier as `save_classifier` wrote it: the network, and how it hears."""

    model: Any
    frontend: Frontend

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of `predict`'s columns."""
        return tuple(self.model.config.id2label[index] for index in range(self.model.config.num_labels))

    @property
    def is_single_label(self) -> bool:
        """Whether a clip has one label, or any number of them."""
        return bool(self.model.config.problem_type == "single_label_classification")


def load_trained(folder: str) -> TrainedClassifier:
    """Read what `save_classifier` wrote; of a run folder, its ``model``.

    Raises: `ModelError` when it is something else, or damaged.
    """
    if not user_path(folder).is_dir():
        raise ModelError(f"{folder}: no such folder; expected the `model` that `synthio run` names")
    own = user_path(folder) / "model"
    folder = str(own) if (own / _FRONTEND).is_file() else folder
    path = user_path(folder) / _FRONTEND
    if not path.is_file():
        runs = sorted(str(found.parents[1]) for found in path.parent.glob(f"**/model/{_FRONTEND}"))
        below = runs or sorted(str(found.parent) for found in path.parent.glob(f"**/model-*/{_FRONTEND}"))
        cure = f"; found {some(below, most=5)}" if below else ""
        if holds_run(path.parent):
            raise ModelError(
                f"{folder}: this run has not finished; run the same `synthio run` again, which resumes{cure}"
            )
        raise ModelError(f"{folder}: holds no {_FRONTEND}; expected the `model` that `synthio run` names{cure}")
    try:
        lengths = _Lengths.model_validate_json(path.read_text(encoding="utf-8"))
        with quiet("transformers"):
            source = _source(str(path.parent), None)
            model = AutoModelForAudioClassification.from_pretrained(
                source.location, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
            )
        trained = TrainedClassifier(model, Frontend(source.extractor, lengths.min_samples, lengths.max_samples))
        if not trained.classes:
            raise ValueError("config.json names no classes")
        # Whether the extractor's settings make sense shows in use alone.
        trained.frontend.inputs(np.zeros(1, np.float32))
    except LOADING_ERRORS as error:
        raise ModelError(
            f"{folder}: cannot be loaded: {loading_reason(error)}; copy the folder again, or run the same recipe again"
        ) from error
    return trained


def save_classifier(model: transformers.PreTrainedModel, frontend: Frontend, folder: Path) -> None:
    """Write network (safetensors), configuration, feature extractor and lengths: `load_trained` reads it, and
    `transformers` the rest.

    Raises: `StoreError` when it cannot be written.
    """
    lengths = _Lengths(min_samples=frontend.min_samples, max_samples=frontend.max_samples)
    with saving_model(folder), quiet("transformers"):
        model.save_pretrained(folder)
        frontend.extractor.save_pretrained(folder)
        (folder / _FRONTEND).write_text(lengths.model_dump_json(), encoding="utf-8")


def fit_positions(model: Any, max_length: int) -> None:
    """Give an `ASTForAudioClassification` another clip length, ``max_length`` log-mel frames, in place."""
    config = model.config
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    steps = (max_length - config.patch_size) // config.time_stride + 1
    embeddings = model.audio_spectrogram_transformer.embeddings
    fitted = resize_positions(embeddings.position_embeddings.detach(), bands, steps)
    embeddings.position_embeddings = torch.nn.Parameter(fitted)
    config.max_length = max_length


def resize_positions(positions: torch.Tensor, bands: int, steps: int) -> torch.Tensor:
    """Position embeddings of an AST for another number of time steps.

    Shape ``(1, 2 + bands * old_steps, width)`` to ``(1, 2 + bands * steps, width)``. As in AST's paper and code (Gong
    et al. 2021, section 2.2, cut and bi-linear interpolation): fewer steps are cut from the middle, more are
    interpolated; the two special tokens keep theirs.
    """
    special, patches = positions[:, :2], positions[:, 2:]
    grid = patches.reshape(1, bands, -1, positions.shape[-1]).permute(0, 3, 1, 2)
    old_steps = grid.shape[-1]
    if steps <= old_steps:
        first = (old_steps - steps) // 2
        grid = grid[..., first : first + steps]
    else:
        grid = torch.nn.functional.interpolate(grid, size=(bands, steps), mode="bilinear", align_corners=False)
    return torch.cat([special, grid.flatten(2).transpose(1, 2)], dim=1).contiguous()
