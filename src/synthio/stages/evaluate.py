"""Evaluate the generator alone on the target dataset, before and after alignment (the paper's first experiment).

Template prompts, the same seeds for the base and the aligned model, and two questions:

* Do the clips sound like their class? An independent judge answers, which learns from validation and test clips only,
  which neither the alignment nor the filter saw. Its accuracy on the real training clips, which it never heard, stands
  beside every figure.
* Can a classifier learn from them? The recipe's classifier is trained on the generated clips alone, and hears the real
  validation and test clips (classification accuracy score, Ravuri and Vinyals 2019, arXiv 1905.10887). Trained on the
  real training clips it stands beside.

Nothing may be chosen by these figures: both know the test clips.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from synthio import audio, metrics
from synthio.arms import fit_in_memory, prepare
from synthio.backends.clap import Clap, embed_clips
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.backends.judge import Judge, train_judge
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.copies import SAMPLE_RATE_HZ, CopyCheck, fit_copy_check
from synthio.errors import DataError
from synthio.frozen import Frozen
from synthio.generation import load_generated
from synthio.progress import Reporter
from synthio.records import Clip, EvaluatedClip, GeneratorState, Samples, of_split
from synthio.wording import label_template


class GeneratorScores(Frozen):
    """One set of clips. Shares are fractions."""

    clips: int
    silent: int
    """Of these, or refused by the model; such a clip counts as not recognised and has no other measures."""
    judge_accuracy: float
    """Mean over classes of the share that the judge takes for their class."""
    classification_accuracy_score: float
    """Mean over classes of the accuracy on the real validation and test clips of a classifier that learnt from these
    clips alone."""
    frechet_distance: float | None
    """To the real training clips, all classes weighing the same, on the judge's embeddings; None for these clips."""
    kernel_distance: float | None
    relative_diversity: float | None
    """Mean distance within a class over that of the real training clips; None without two clips of a class."""
    copy_rate: float | None
    zero_shot_accuracy: float
    """Mean over classes of the share whose own class template is the nearest by CLAP, which also filters: an
    indication only."""
    text_to_audio_precision: float
    """R-precision of the class templates' search in the clips, by the same CLAP: mean over classes of the share of the
    class's R clips among the R nearest to its template."""
    features: dict[str, float]
    """Medians of spectral features."""
    per_class: dict[str, float]
    """The judge's accuracy by class."""


class Evaluation(Frozen):
    """The stage's summary."""

    judge_training_clips: int
    chance: float
    real: GeneratorScores
    """The real training clips, unseen by the judge: what a perfect generator would score."""
    generated: dict[str, GeneratorScores]
    """`base`, then `aligned` when alignment kept an adapter."""
    seconds: float

    @field_validator("generated")
    @classmethod
    def _base_first(cls, generated: dict[str, GeneratorScores]) -> dict[str, GeneratorScores]:
        # The summary on disk has its keys sorted.
        return {name: generated[name] for name in ("base", "aligned") if name in generated}


def evaluate_generator(
    context: StageContext, clips: Sequence[Clip], samples: Mapping[GeneratorState, Samples], clap: Clap
) -> Evaluation:
    """Judge the generated clips and finish the stage, which has a summary only.

    ``clips``: as `check_clips` wants them. Raises: `DataError` when nearly all generated clips are silent or refused.
    """
    started = time.monotonic()
    training = of_split(clips, "train")
    classes = sorted({clip.labels[0] for clip in training})
    known = [clip for clip in clips if clip.split != "train" and clip.labels[0] in classes]
    real = [_load(Path(clip.path), context.config) for clip in training]
    scorer = _Scorer.fit(context, training, real, known, clap)
    generated: dict[str, GeneratorScores] = {state: scorer.score_generated(made) for state, made in samples.items()}
    evaluation = Evaluation(
        judge_training_clips=len(known),
        chance=1 / len(classes),
        real=scorer.score_real(real, training),
        generated=generated,
        seconds=time.monotonic() - started,
    )
    context.folder.finish([], evaluation.model_dump(mode="json"))
    return evaluation


def check_clips(clips: Sequence[Clip]) -> None:
    """Whether a judge can be trained. Raises: `DataError` saying what is missing."""
    if any(len(clip.labels) != 1 for clip in clips):
        raise DataError(
            "the judge names one class per clip; found clips with several labels or none. `synthio evaluate listening` "
            "compares real and synthetic clips of any labels"
        )
    trained = {clip.labels[0] for clip in of_split(clips, "train")}
    heard = {clip.labels[0] for clip in clips if clip.split != "train"}
    if len(trained & heard) < 2:
        raise DataError(
            f"the judge learns from validation and test clips of the training classes; found {sorted(trained & heard)} "
            "there; expected at least 2 classes: set data.valid_fraction and data.test_fraction"
        )
    if missing := sorted(trained - heard):
        raise DataError(
            f"no validation or test clip has {missing}: the judge cannot know these classes; add such clips, "
            "or leave the classes out"
        )


def _load(path: Path, config: RunConfig) -> audio.Waveform:
    return audio.load_start(path, config.data.max_duration_s, SAMPLE_RATE_HZ)


def classification_accuracy_score(
    config: RunConfig, training: Sequence[Clip], held_out: Sequence[Clip], reporter: Reporter
) -> float:
    """Train the recipe's classifier on some clips, every class weighing the same, and examine it on others.

    Returns: the mean over classes of its accuracy.
    """
    labels = [clip.labels[0] for clip in training]
    clips = [training[i].model_copy(update={"split": "train"}) for i in balanced(labels)]
    # Nothing is selected here, so there are no validation clips; what the classifier does not hear of a clip is told
    # when arms are trained.
    tested = [clip.model_copy(update={"split": "test"}) for clip in held_out]
    data = prepare(config, [*clips, *tested], {}, Reporter())
    with reporter.task("evaluate: classifier", config.train.steps) as advance:
        model, _ = fit_in_memory(config, data, "gold", 0, advance, reporter)
    inputs = data.examples["test"].inputs
    scores = predict(model, inputs, config.train.batch_size, resolve_device(config.train.device))
    named = np.array(data.classes)[scores.argmax(axis=1)]
    return _mean(_share_per_class(named, [clip.labels[0] for clip in tested], []))


@dataclass(frozen=True)
class _Scorer:
    """Scores sets of clips against the real training clips."""

    context: StageContext
    judge: Judge
    clap: Clap
    known: Sequence[Clip]
    """The real validation and test clips, which the judge has learnt from."""
    classes: Sequence[str]
    labels: Sequence[str]
    """Of the real training clips."""
    embeddings: npt.NDArray[np.float64]
    """The judge's, of the real training clips, ``(clips, width)``."""
    copies: CopyCheck

    @classmethod
    def fit(
        cls,
        context: StageContext,
        training: Sequence[Clip],
        real: Sequence[audio.Waveform],
        known: Sequence[Clip],
        clap: Clap,
    ) -> _Scorer:
        """Train the judge on ``known``. ``real``: the training clips' audio."""
        config = context.config
        labels = [clip.labels[0] for clip in training]
        classes, durations_s = sorted(set(labels)), [clip.duration_s for clip in training]
        judge = train_judge(
            [(_load(Path(clip.path), config), clip.labels[0]) for clip in known],
            classes,
            float(np.quantile(durations_s, 0.9)),
            config.evaluate.judge_steps,
            config.seed,
            context.reporter,
        )
        copies = fit_copy_check(real, float(np.median(durations_s)), config.filter.copy_quantile)
        return cls(context, judge, clap, known, classes, labels, judge.embed(real), copies)

    def score_real(self, waveforms: Sequence[audio.Waveform], clips: Sequence[Clip]) -> GeneratorScores:
        """The reference row."""
        return self._scores(waveforms, clips, []).model_copy(update={"relative_diversity": 1.0})

    def score_generated(self, made: Samples) -> GeneratorScores:
        """A row of generated clips; a silent or refused one is nobody's sound."""
        heard, clips, silent = _audible(made)
        labels = [clip.labels[0] for clip in clips]
        rows, real = self.judge.embed(heard), self.embeddings[balanced(self.labels)]
        diversity = metrics.relative_diversity(rows, labels, self.embeddings, self.labels)
        beside_real = {
            "frechet_distance": metrics.frechet_distance(rows, real),
            "kernel_distance": metrics.kernel_distance(rows, real),
            "relative_diversity": None if np.isnan(diversity) else diversity,
            "copy_rate": float((self.copies.nearest(heard)[0] < self.copies.distance).mean()),
        }
        return self._scores(heard, clips, silent).model_copy(update=beside_real)

    def _scores(
        self, waveforms: Sequence[audio.Waveform], clips: Sequence[Clip], silent: Sequence[str]
    ) -> GeneratorScores:
        """All that is measured without the real training clips. ``silent``: the labels of clips without sound."""
        config, labels = self.context.config, [clip.labels[0] for clip in clips]
        judged = self._named(self.judge.scores(waveforms))
        templates = self.clap.embed_text([label_template((name,)) for name in self.classes])
        rows = embed_clips(self.clap, clips, config.data.max_duration_s)
        similarities = rows @ templates.T
        found = self._named(similarities)
        targets = metrics.multi_hot([(label,) for label in labels], self.classes)
        per_class = _share_per_class(judged, labels, silent)
        spectral = [audio.spectral_features(waveform, SAMPLE_RATE_HZ) for waveform in waveforms]
        return GeneratorScores(
            clips=len(waveforms) + len(silent),
            silent=len(silent),
            judge_accuracy=_mean(per_class),
            classification_accuracy_score=classification_accuracy_score(
                config, clips, self.known, self.context.reporter
            ),
            frechet_distance=None,
            kernel_distance=None,
            relative_diversity=None,
            copy_rate=None,
            zero_shot_accuracy=_mean(_share_per_class(found, labels, silent)),
            text_to_audio_precision=metrics.r_precision(targets, similarities),
            features={
                name: float(np.median([getattr(row, name) for row in spectral]))
                for name in ("centroid_hz", "bandwidth_hz", "flatness")
            },
            per_class=per_class,
        )

    def _named(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.str_]:
        named: npt.NDArray[np.str_] = np.array(self.classes)[scores.argmax(axis=1)]
        return named


def _audible(made: Samples) -> tuple[list[audio.Waveform], list[Clip], list[str]]:
    """Generated clips that can be heard: their audio, and the clips as training clips; and the labels of the others.

    Raises: `DataError` for fewer than two.
    """
    heard: list[audio.Waveform] = []
    clips: list[Clip] = []
    silent: list[str] = []
    for clip in made.clips:
        samples = None if clip.failed is not None else load_generated(made.folder / clip.path, SAMPLE_RATE_HZ)
        if samples is None or audio.is_silent(samples):
            silent.append(clip.label)
            continue
        heard.append(samples)
        clips.append(_as_clip(clip, made.folder, samples.shape[0] / SAMPLE_RATE_HZ))
    if len(heard) < 2:
        why = next((f" ({clip.failed})" for clip in made.clips if clip.failed), "")
        raise DataError(f"{len(silent)} of {len(made.clips)} generated clips are silent or refused{why}")
    return heard, clips, silent


def _share_per_class(named: npt.NDArray[np.str_], labels: Sequence[str], silent: Sequence[str]) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    for name, label in zip(named.tolist(), labels, strict=True):
        right[label].append(name == label)
    for label in silent:
        right[label].append(False)
    return {label: float(np.mean(right[label])) for label in sorted(right)}


def _mean(shares: Mapping[str, float]) -> float:
    return float(np.mean(list(shares.values())))


def balanced(labels: Sequence[str]) -> list[int]:
    """Indices of clips, repeated in turn until every class has as many as the largest one: a set in which classes weigh
    the same, as in the generated one."""
    index = {label: [i for i, own in enumerate(labels) if own == label] for label in sorted(set(labels))}
    most = max(len(of_label) for of_label in index.values())
    return [of_label[i % len(of_label)] for of_label in index.values() for i in range(most)]


def _as_clip(made: EvaluatedClip, folder: Path, duration_s: float) -> Clip:
    return Clip(
        id=made.id,
        path=str(folder / made.path),
        labels=(made.label,),
        split="train",
        duration_s=duration_s,
        sample_rate_hz=SAMPLE_RATE_HZ,
        sha256="",
    )
