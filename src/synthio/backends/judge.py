"""An independent judge of generated clips: a small ResNet on a spectrogram that no other model here looks at.

It is trained from nothing on real clips that neither the alignment nor the filter saw, so it shares neither weights nor
features nor clips with what it judges; the CLAP that filtered never judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from synthio import audio
from synthio.audio import Waveform
from synthio.augment import mask_features
from synthio.backends.classifier import Inputs
from synthio.backends.fine_tuning import Examples, Optimisation, collated, fine_tune, predict
from synthio.config import TrainConfig
from synthio.copies import SAMPLE_RATE_HZ
from synthio.progress import Reporter
from synthio.seeds import balanced_passes, derive_seed, numpy_generator
from synthio.variation import draw_recording, vary

#: Long windows and fine bands, where the AST takes 25 ms and the CLAP 32 ms windows with 64 bands.
_N_FFT, _HOP, _BANDS, _RANGE_DB = 1024, 320, 96, 80.0
_BATCH_SIZE, _LEARNING_RATE = 32, 2e-3
_MAX_SHIFT_S = 0.1
_IMAGE = ResNetForImageClassification.main_input_name
#: Of every clip, beside the clip itself and a shifted one.
_VARIATIONS, _MASKED_SHARE = 4, 0.2


class Judge:
    """Class probabilities and embeddings of clips; made by `train_judge`."""

    def __init__(self, model: ResNetForImageClassification, window_s: float) -> None:
        self._model, self._window_s = model.eval(), window_s

    def scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """Probabilities, ``(clips, classes)``, of clips at `SAMPLE_RATE_HZ`."""
        return predict(self._model, self._heard(waveforms), _BATCH_SIZE, torch.device("cpu"))

    @torch.inference_mode()
    def embed(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """The pooled last features, ``(clips, width)``."""
        batches = collated(self._heard(waveforms), _BATCH_SIZE)
        rows = [self._model.resnet(**batch).pooler_output for batch in batches]
        return np.asarray(torch.cat(rows).flatten(1).double().numpy())

    def _heard(self, waveforms: Sequence[Waveform]) -> list[Inputs]:
        return [{_IMAGE: image(waveform, self._window_s)} for waveform in waveforms]


def train_judge(
    clips: Sequence[tuple[Waveform, str]],
    classes: Sequence[str],
    window_s: float,
    steps: int,
    seed: int,
    reporter: Reporter,
) -> Judge:
    """Train on clips at `SAMPLE_RATE_HZ`, each with its label, one of ``classes``.

    Every clip also comes shifted by up to 0.1 s and as four other recordings (`variation.draw_recording`), these five
    with stretches of time and frequency masked: what is judged was recorded elsewhere.
    """
    generator = numpy_generator(seed, "judge")
    waveforms = [waveform for waveform, _ in clips]
    images = chain((image(w, window_s) for w in waveforms), varied_images(waveforms, window_s, generator))
    inputs = [{_IMAGE: own} for own in images]
    targets = torch.tensor([classes.index(label) for _, label in clips] * (2 + _VARIATIONS))
    unit_seed = derive_seed(seed, "judge") % 2**32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(unit_seed)
        model = ResNetForImageClassification(_config(classes))
    # So that a rare class is not judged away.
    order = balanced_passes(targets.numpy(), steps * _BATCH_SIZE, generator)
    settings = TrainConfig(
        steps=steps,
        batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        head_learning_rate=_LEARNING_RATE,
        evaluate_every=steps,
    )
    optimisation = Optimisation(settings, _BATCH_SIZE, torch.device("cpu"), unit_seed)
    with reporter.task("judge", steps) as advance:
        fine_tune(model, Examples(inputs, targets), order, None, optimisation, advance)
    return Judge(model, window_s)


def varied_images(
    waveforms: Sequence[Waveform], window_s: float, generator: np.random.Generator
) -> Iterator[torch.Tensor]:
    """The shifted clips, then every round of variations, as `image` has them, masked; one waveform at a time."""
    shifts = generator.integers(1, int(_MAX_SHIFT_S * SAMPLE_RATE_HZ), len(waveforms))
    shifted = (np.pad(w, (int(shift), 0)) for w, shift in zip(waveforms, shifts, strict=True))
    # Drawn before the first mask, as every judge was.
    variations = [(w, draw_recording(generator)) for _ in range(_VARIATIONS) for w in waveforms]
    varied = (vary(w, SAMPLE_RATE_HZ, variation) for w, variation in variations)
    for copy in chain(shifted, varied):
        yield mask_features(image(copy, window_s)[None], _MASKED_SHARE, generator)[0]


def image(waveform: Waveform, window_s: float) -> torch.Tensor:
    """A log-mel image in [-1, 1] under the clip's own peak, ``(1, bands, frames)``."""
    fitted = audio.fit(waveform, max(2 * _N_FFT, round(window_s * SAMPLE_RATE_HZ)))
    mel_db = audio.log_mel_db(fitted, SAMPLE_RATE_HZ, _BANDS, _RANGE_DB, n_fft=_N_FFT, hop=_HOP)
    return (torch.from_numpy(mel_db).T[None] / (_RANGE_DB / 2) + 1).float()


def _config(classes: Sequence[str]) -> ResNetConfig:
    return ResNetConfig(
        num_channels=1,
        embedding_size=24,
        hidden_sizes=[32, 64, 128],
        depths=[1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(classes)),
        label2id={label: index for index, label in enumerate(classes)},
        problem_type="single_label_classification",
    )
