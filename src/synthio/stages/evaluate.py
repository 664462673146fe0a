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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, field_validator

from synthio import audio, metrics
from synthio.arms import fit_in_memory, prepare
from synthio.backends.clap import Clap, embed_clips
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.backends.judge import SAMPLE_RATE_HZ, Judge, train_judge
from synthio.config import RunConfig
from synthio.copies import CopyCheck, fit_copy_check
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.records import Clip, EvaluatedClip, GeneratorState, Samples, label_template, of_split
from synthio.store import StageFolder


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GeneratorScores(_Result):
    """One set of clips. Shares are fractions."""

    clips: int
    silent: int
    """Of these, or refused by the model; such a clip counts as not recognised and has no other measures."""
    judge_accuracy: float
    """Mean over classes of the share that the judge takes for their class."""
    learnt_accuracy: float
    """Mean over classes of the accuracy on the real validation and test clips of a classifier that learnt from these
    clips alone."""
    frechet_distance: float | None
    """To the real training clips, all classes weighing the same, on the judge's embeddings; None for these clips."""
    kernel_distance: float | None
    relative_diversity: float | None
    """Mean distance within a class over that of the real training clips; None without two clips of a class."""
    copy_rate: float | None
    retrieval: float
    """Mean over classes of the share whose own class template is the nearest by CLAP, which also filters: an
    indication only."""
    features: dict[str, float]
    """Medians of spectral features."""
    per_class: dict[str, float]
    """The judge's accuracy by class."""


class Evaluation(_Result):
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
    config: RunConfig,
    clips: Sequence[Clip],
    samples: Mapping[GeneratorState, Samples],
    clap: Clap,
    folder: StageFolder,
    reporter: Reporter,
) -> Evaluation:
    """Judge the generated clips and finish the stage, which has a summary only.

    ``clips``: as `check_clips` wants them. Raises: `DataError` when nearly all generated clips are silent or refused.
    """
    started = time.monotonic()
    training = of_split(clips, "train")
    classes = sorted({clip.labels[0] for clip in training})
    known = [clip for clip in clips if clip.split != "train" and clip.labels[0] in classes]
    real = [_load(Path(clip.path), config) for clip in training]
    scorer = _scorer(config, training, real, known, clap, reporter)
    generated: dict[str, GeneratorScores] = {state: scorer.score_generated(made) for state, made in samples.items()}
    evaluation = Evaluation(
        judge_training_clips=len(known),
        chance=1 / len(classes),
        real=scorer.score_real(real, training),
        generated=generated,
        seconds=time.monotonic() - started,
    )
    folder.finish([], evaluation.model_dump(mode="json"))
    return evaluation


def _scorer(
    config: RunConfig,
    training: Sequence[Clip],
    real: Sequence[audio.Waveform],
    known: Sequence[Clip],
    clap: Clap,
    reporter: Reporter,
) -> _Scorer:
    """``real``: the training clips' audio. ``known``: the clips that the judge learns from."""
    labels = [clip.labels[0] for clip in training]
    classes, durations_s = sorted(set(labels)), [clip.duration_s for clip in training]
    judge = train_judge(
        [_load(Path(clip.path), config) for clip in known],
        [clip.labels[0] for clip in known],
        classes,
        float(np.quantile(durations_s, 0.9)),
        config.evaluate.judge_steps,
        config.seed,
        reporter,
    )
    copies = fit_copy_check(real, float(np.median(durations_s)), config.filter.copy_quantile)
    return _Scorer(
        judge,
        clap,
        lambda taught: lesson(config, taught, known, reporter),
        classes,
        judge.embed(real),
        labels,
        copies,
        config.data.max_duration_s,
    )


def check_clips(clips: Sequence[Clip]) -> None:
    """Whether a judge can be trained. Raises: `DataError` saying what is missing."""
    if any(len(clip.labels) != 1 for clip in clips):
        raise DataError("the judge names one class per clip; found clips with several labels or none")
    trained = {clip.labels[0] for clip in clips if clip.split == "train"}
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


def lesson(config: RunConfig, training: Sequence[Clip], exam: Sequence[Clip], reporter: Reporter) -> float:
    """Train the recipe's classifier on some clips, every class weighing the same, and examine it on others.

    Returns: the mean over classes of its accuracy.
    """
    labels = [clip.labels[0] for clip in training]
    clips = [training[i].model_copy(update={"split": "train"}) for i in balanced(labels)]
    # Nothing is selected here, so there are no validation clips.
    held_out = [clip.model_copy(update={"split": "test"}) for clip in exam]
    material = prepare(config, [*clips, *held_out], {}, Reporter())
    with reporter.task("evaluate: lesson", config.train.steps) as advance:
        model, _ = fit_in_memory(config, material, "gold", 0, advance, reporter)
    inputs = material.examples["test"].inputs
    scores = predict(model, inputs, config.train.batch_size, resolve_device(config.train.device))
    named = np.array(material.classes)[scores.argmax(axis=1)]
    return float(np.mean(list(_share_per_class(named, [clip.labels[0] for clip in exam], []).values())))


class _Scorer:
    """Scores sets of clips against the real training clips."""

    def __init__(
        self,
        judge: Judge,
        clap: Clap,
        teach: Callable[[Sequence[Clip]], float],
        classes: Sequence[str],
        real_embeddings: npt.NDArray[np.float64],
        real_labels: Sequence[str],
        copies: CopyCheck,
        limit_s: float,
    ) -> None:
        self._limit_s = limit_s
        self._judge, self._clap, self._teach, self._classes, self._copies = judge, clap, teach, list(classes), copies
        self._real, self._real_labels = real_embeddings, list(real_labels)
        self._templates = clap.embed_text([label_template((name,)) for name in classes])

    def score_real(self, waveforms: Sequence[audio.Waveform], clips: Sequence[Clip]) -> GeneratorScores:
        """The reference row."""
        return self._scores(waveforms, clips, [], relative_diversity=1.0)

    def score_generated(self, made: Samples) -> GeneratorScores:
        """A row of generated clips; a silent or refused one is nobody's sound."""
        heard: list[audio.Waveform] = []
        taught: list[Clip] = []
        silent = []
        for clip in made.clips:
            if clip.failed is not None:
                silent.append(clip.label)
                continue
            samples = audio.load_generated(made.folder / clip.path, SAMPLE_RATE_HZ)
            if audio.is_silent(samples):
                silent.append(clip.label)
                continue
            heard.append(samples)
            taught.append(_as_clip(clip, made.folder, samples.shape[0] / SAMPLE_RATE_HZ))
        if len(heard) < 2:
            why = next((f" ({clip.failed})" for clip in made.clips if clip.failed), "")
            raise DataError(f"{len(silent)} of {len(made.clips)} generated clips are silent or refused{why}")
        labels = [clip.labels[0] for clip in taught]
        rows, real = self._judge.embed(heard), self._real[balanced(self._real_labels)]
        diversity = metrics.relative_diversity(rows, labels, self._real, self._real_labels)
        return self._scores(
            heard,
            taught,
            silent,
            frechet_distance=metrics.frechet_distance(rows, real),
            kernel_distance=metrics.kernel_distance(rows, real),
            relative_diversity=None if np.isnan(diversity) else diversity,
            copy_rate=float((self._copies.nearest(heard)[0] < self._copies.distance).mean()),
        )

    def _scores(
        self,
        waveforms: Sequence[audio.Waveform],
        clips: Sequence[Clip],
        silent: Sequence[str],
        frechet_distance: float | None = None,
        kernel_distance: float | None = None,
        relative_diversity: float | None = None,
        copy_rate: float | None = None,
    ) -> GeneratorScores:
        labels = [clip.labels[0] for clip in clips]
        judged = self._named(self._judge.scores(waveforms))
        found = self._named(embed_clips(self._clap, clips, self._limit_s) @ self._templates.T)
        per_class = _share_per_class(judged, labels, silent)
        spectral = [audio.spectral_features(waveform, SAMPLE_RATE_HZ) for waveform in waveforms]
        return GeneratorScores(
            clips=len(waveforms) + len(silent),
            silent=len(silent),
            judge_accuracy=float(np.mean(list(per_class.values()))),
            learnt_accuracy=self._teach(clips),
            frechet_distance=frechet_distance,
            kernel_distance=kernel_distance,
            relative_diversity=relative_diversity,
            copy_rate=copy_rate,
            retrieval=float(np.mean(list(_share_per_class(found, labels, silent).values()))),
            features={
                name: float(np.median([getattr(row, name) for row in spectral]))
                for name in ("centroid_hz", "bandwidth_hz", "flatness")
            },
            per_class=per_class,
        )

    def _named(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.str_]:
        named: npt.NDArray[np.str_] = np.array(self._classes)[scores.argmax(axis=1)]
        return named


def _share_per_class(named: npt.NDArray[np.str_], labels: Sequence[str], silent: Sequence[str]) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    for name, label in zip(named.tolist(), labels, strict=True):
        right[label].append(name == label)
    for label in silent:
        right[label].append(False)
    return {label: float(np.mean(right[label])) for label in sorted(right)}


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
