"""Train and compare the classifiers (METHOD section 5): the same model, seeds and optimiser steps for every arm.

    gold          the real training clips
    noise         the real ones and copies of them with white noise
    pitch_shift   the real ones and copies of them at other pitches
    specaugment   the real ones and copies of them with masked frames and bands
    synthio       the real training clips and the synthetic ones

Classes, clip length and normalisation come from the training split, the best weights of a training from the validation
split, and the figures from the test split, which nothing else ever sees (the published code selects on it).

The stage folder also gets ``curves.json`` (one `Training` per arm and seed) and ``model-<arm>/``, the weights of the
arm's best validation seed as an ordinary `transformers` folder.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from synthio import augment, metrics
from synthio.audio import Waveform, load
from synthio.backends.classifier import (
    NO_CLASS,
    CurvePoint,
    Examples,
    Frontend,
    Optimisation,
    ProblemType,
    Source,
    find_classifier,
    fine_tune,
    fit_frontend,
    load_classifier,
    predict,
    save_classifier,
)
from synthio.backends.devices import resolve_device
from synthio.config import RunConfig
from synthio.errors import BackendError, ConfigError, DataError
from synthio.progress import Advance, Reporter
from synthio.records import Clip, Prediction, Split
from synthio.seeds import derive_seed, numpy_generator
from synthio.store import StageFolder, write_text

Arm = Literal["gold", "noise", "pitch_shift", "specaugment", "synthio"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
PREDICTED_SPLITS: tuple[Split, ...] = ("valid", "test")


@dataclass(frozen=True)
class SyntheticClip:
    """One accepted synthetic clip."""

    path: str
    labels: tuple[str, ...]
    clip_id: str
    """The real training clip that it was made for."""


class Training(BaseModel):
    """How one arm's training with one seed went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: Arm
    seed: int
    n_train: int
    n_added: int
    steps: int
    seconds: float
    best: CurvePoint
    """Where its weights were taken."""
    curve: tuple[CurvePoint, ...]

    @property
    def name(self) -> str:
        """Unique within a run."""
        return _name(self.arm, self.seed)


def _name(arm: str, seed: int) -> str:
    return f"{arm}/{seed}"


def train_arms(
    config: RunConfig,
    clips: Sequence[Clip],
    synthetic: Sequence[SyntheticClip],
    folder: StageFolder,
    reporter: Reporter,
) -> list[Prediction]:
    """Train every arm with every seed, predict validation and test clips, compare, and finish the stage.

    What is already in ``folder`` is kept; one arm with one seed is made whole or not at all. Returns the predictions
    in the order arm, seed, validation clips, test clips; ``folder.summary()`` is then a `metrics.Comparison`.
    Raises: `DataError` for clips that cannot be compared on, `ModelError` for the model, `BackendError` when
    training diverges or does not fit into memory.
    """
    if folder.done:
        return folder.manifest(Prediction)
    check_clips(clips, synthetic)
    check_arms(config)
    units = [(arm, seed) for arm in dict.fromkeys(config.train.arms) for seed in range(config.train.seeds)]
    wanted = [clip for split in PREDICTED_SPLITS for clip in clips if clip.split == split]
    trainings, predictions = _finished(folder, wanted)
    # Seed by seed, so that a half-finished stage has something of every arm.
    pending = sorted((unit for unit in units if _name(*unit) not in trainings), key=lambda unit: unit[1])
    if pending:
        run = _Run(config, prepare(config, clips, synthetic, reporter), folder, reporter)
        steps = config.train.steps
        with reporter.task("train", len(units) * steps, (len(units) - len(pending)) * steps) as advance:
            for arm, seed in pending:
                trainings, made = _train_unit(run, arm, seed, trainings, advance)
                predictions |= {prediction.id: prediction for prediction in made}
    ordered = [predictions[f"{_name(*unit)}/{clip.id}"] for unit in units for clip in wanted]
    comparison = compare(ordered, clips, config, [trainings[_name(*unit)] for unit in units])
    folder.finish(ordered, comparison.model_dump(mode="json"))
    reporter.note(metrics.verdict(comparison))
    return ordered


def check_clips(clips: Sequence[Clip], synthetic: Sequence[SyntheticClip]) -> None:
    """Whether arms can be trained and compared on these clips. Raises: `DataError` saying what is missing."""
    counts = Counter(clip.split for clip in clips)
    for split in ("train", "test"):
        if not counts[split]:
            raise DataError(
                f"no clips in the {split} split (found {dict(counts)}); the comparison needs some: "
                "add them, or set data.valid_fraction and data.test_fraction"
            )
    if not any(clip.labels for clip in clips if clip.split == "test"):
        raise DataError("no test clip has a label; the comparison needs labelled test clips")
    classes = _classes(clips)
    if len(classes) < 2:
        raise DataError(f"the training clips have {len(classes)} class(es); expected at least 2 to tell apart")
    foreign = sorted({label for clip in synthetic for label in clip.labels} - set(classes))
    if foreign:
        raise DataError(
            f"synthetic clips have labels that no training clip has: {foreign}; run `synthio imagine` again"
        )


def _classes(clips: Iterable[Clip]) -> tuple[str, ...]:
    return tuple(sorted({label for clip in clips if clip.split == "train" for label in clip.labels}))


def check_arms(config: RunConfig) -> None:
    """Whether the arms can be made here; cheap, for before anything else runs.

    Raises: `MissingDependency` without librosa for `pitch_shift`, `ConfigError` when `specaugment` meets a model that
    reads waveforms, `ModelError` as `find_classifier` does.
    """
    if "pitch_shift" in config.train.arms:
        augment.check_pitch_shift()
    if "specaugment" in config.train.arms:
        source = find_classifier(config.train.model, config.train.revision)
        if not hasattr(source.config, "num_mel_bins"):
            raise ConfigError(
                f"train.arms has specaugment, which masks spectrograms; train.model {config.train.model!r} is a "
                f"{source.config.model_type!r} model, which reads waveforms: leave the arm out"
            )


def problem_type(config: RunConfig, clips: Sequence[Clip]) -> ProblemType:
    """Several labels per clip when the recipe splits label cells, or when a training clip has not exactly one."""
    several = any(len(clip.labels) != 1 for clip in clips if clip.split == "train")
    if several or config.data.label_separator is not None:
        return "multi_label_classification"
    return "single_label_classification"


def _finished(folder: StageFolder, wanted: Sequence[Clip]) -> tuple[dict[str, Training], dict[str, Prediction]]:
    """Trainings whose predictions are all there, by name. One that was cut short is made again."""
    path = folder.path / "curves.json"
    if not path.is_file():
        return {}, {}
    predictions = folder.items(Prediction)
    trainings = (Training.model_validate(entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    return {t.name: t for t in trainings if all(f"{t.name}/{clip.id}" in predictions for clip in wanted)}, predictions


# ------------------------------------------------------------------------------------------------------- material


@dataclass(frozen=True)
class Material:
    """Everything that the trainings share."""

    source: Source
    frontend: Frontend
    problem_type: ProblemType
    classes: tuple[str, ...]
    clips: Mapping[Split, Sequence[Clip]]
    examples: Mapping[Split, Examples]
    added: Mapping[Arm, Examples]
    """What each arm adds to the real training clips; the same number of clips for every arm that adds any."""


def prepare(
    config: RunConfig, clips: Sequence[Clip], synthetic: Sequence[SyntheticClip], reporter: Reporter
) -> Material:
    """Fit the feature extractor to the training split and compute every clip's features, once.

    Raises: `ModelError` for the model, `DataError` for a clip that cannot be decoded.
    """
    source = find_classifier(config.train.model, config.train.revision)
    splits: dict[Split, list[Clip]] = {split: [clip for clip in clips if clip.split == split] for split in SPLITS}
    classes, problem = _classes(clips), problem_type(config, clips)
    _warn(config, splits, classes, synthetic, reporter)
    rate_hz, limit_s = source.sample_rate_hz, config.data.max_duration_s
    frontend = fit_frontend(source, (_waveform(clip.path, rate_hz, limit_s) for clip in splits["train"]))
    with reporter.task("classifier features", len(clips) + len(synthetic)) as advance:

        def examples(items: Sequence[Clip] | Sequence[SyntheticClip]) -> Examples:
            features = []
            for item in items:
                features.append(torch.from_numpy(frontend.features(_waveform(item.path, rate_hz, limit_s))))
                advance(1)
            targets = _targets([item.labels for item in items], classes, problem)
            return Examples(torch.stack(features) if features else torch.zeros(0), targets)

        made = {split: examples(splits[split]) for split in SPLITS}
        nothing = Examples(torch.zeros(0), made["train"].targets[:0])
        added: dict[Arm, Examples] = {"gold": nothing, "synthio": examples(synthetic)}
    wanted = len(synthetic) or config.imagine.captions_per_clip * len(splits["train"])
    for arm in config.train.arms:
        if arm in added:
            continue
        added[arm] = _augmented(config, arm, splits["train"], made["train"], wanted, source, frontend, reporter)
    return Material(source, frontend, problem, classes, splits, made, added)


def _augmented(
    config: RunConfig,
    arm: Arm,
    clips: Sequence[Clip],
    real: Examples,
    wanted: int,
    source: Source,
    frontend: Frontend,
    reporter: Reporter,
) -> Examples:
    """``wanted`` augmented copies of the real training clips, taken in turn; each draws from its own generator."""
    rate_hz = source.sample_rate_hz
    features = []
    with reporter.task(f"{arm} copies", wanted) as advance:
        for number in range(wanted):
            index = number % len(clips)
            generator = numpy_generator(config.seed, "train", arm, clips[index].id, number // len(clips))
            if arm == "specaugment":
                copy = real.inputs[index].clone().reshape(1, 1, *real.inputs.shape[-2:])
                features.append(augment.mask_features(copy, augment.MASKED_SHARE, generator)[0, 0])
            else:
                samples = _waveform(clips[index].path, rate_hz, config.data.max_duration_s)
                if arm == "noise":
                    samples = augment.add_noise(samples, generator.uniform(*augment.SNR_RANGE_DB), generator)
                else:
                    samples = augment.pitch_shift(samples, rate_hz, generator.uniform(*augment.SEMITONE_RANGE))
                features.append(torch.from_numpy(frontend.features(samples)))
            advance(1)
    stacked = torch.stack(features).reshape(wanted, *real.inputs.shape[1:])
    return Examples(stacked, real.targets[torch.arange(wanted) % len(clips)])


def _waveform(path: str, sample_rate_hz: int, max_duration_s: float) -> Waveform:
    return load(Path(path), sample_rate_hz)[: int(max_duration_s * sample_rate_hz)]


def _targets(labels: Sequence[tuple[str, ...]], classes: tuple[str, ...], problem: ProblemType) -> torch.Tensor:
    if problem == "multi_label_classification":
        return torch.from_numpy(metrics.multi_hot(labels, classes).astype(np.float32))
    index = {label: i for i, label in enumerate(classes)}
    first = [next((index[name] for name in names if name in index), NO_CLASS) for names in labels]
    return torch.tensor(first, dtype=torch.long)


def _warn(
    config: RunConfig,
    splits: Mapping[Split, Sequence[Clip]],
    classes: tuple[str, ...],
    synthetic: Sequence[SyntheticClip],
    reporter: Reporter,
) -> None:
    if not synthetic and "synthio" in config.train.arms:
        reporter.warn("there are no synthetic clips: the synthio arm trains on the real clips alone, as gold does")
    if not splits["valid"]:
        reporter.warn("there are no validation clips: every training keeps its last weights")
    for split in PREDICTED_SPLITS:
        unseen = sorted({label for clip in splits[split] for label in clip.labels} - set(classes))
        if unseen:
            reporter.warn(f"no training clip has {unseen}: {split} clips cannot be right about these labels")


def draw_batches(
    n_real: int, n_added: int, synthetic_share: float, draws: int, run_seed: int, seed: int
) -> npt.NDArray[np.int64]:
    """Which example each of the ``draws`` slots of a training takes; synthetic ones count from ``n_real`` on.

    Every slot is synthetic with probability ``synthetic_share``, or 0 without synthetic clips. Real clips come from
    shuffled passes over all of them, synthetic ones likewise, each from its own generator: with one seed, all arms
    take the same real clip in every slot that they fill with a real one.
    """
    real = _passes(n_real, draws, numpy_generator(run_seed, "train", seed, "real"))
    if n_added == 0:
        return real
    made = n_real + _passes(n_added, draws, numpy_generator(run_seed, "train", seed, "synthetic"))
    drawn = numpy_generator(run_seed, "train", seed, "share").random(draws)
    return np.where(drawn < synthetic_share, made, real)


def _passes(items: int, draws: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    passes = [generator.permutation(items) for _ in range(-(-draws // items))]
    return np.concatenate(passes)[:draws].astype(np.int64)


# ------------------------------------------------------------------------------------------- one arm with one seed


@dataclass(frozen=True)
class _Run:
    config: RunConfig
    material: Material
    folder: StageFolder
    reporter: Reporter


def _train_unit(
    run: _Run, arm: Arm, seed: int, trainings: Mapping[str, Training], advance: Advance
) -> tuple[dict[str, Training], list[Prediction]]:
    """Train and keep the result. The predictions are written last: they mean that the unit is whole."""
    model, training = _fit_in_memory(run, arm, seed, advance)
    predictions = _predictions(run, model, training)
    others = [other.best.rank for other in trainings.values() if other.arm == arm]
    if not others or training.best.rank > max(others):
        _replace_model(model, run.material.frontend, run.folder.path / f"model-{arm}")
    kept = {**trainings, training.name: training}
    write_text(
        run.folder.path / "curves.json", json.dumps([t.model_dump(mode="json") for t in kept.values()], indent=1)
    )
    run.folder.append(predictions)
    score = training.best.valid_score
    valid = "no validation" if score is None else f"validation score {score:.3f} at step {training.best.step}"
    run.reporter.note(f"{arm}, seed {seed}: {valid}")
    return kept, predictions


def _fit_in_memory(run: _Run, arm: Arm, seed: int, advance: Advance) -> tuple[Any, Training]:
    """Train; when memory runs out, again with smaller forward passes that add up to the same batches."""
    micro_batch = run.config.train.batch_size
    while True:
        try:
            return fit_arm(run.config, run.material, arm, seed, micro_batch, advance)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if micro_batch == 1:
                raise BackendError(
                    "out of memory with one clip at a time; choose a smaller train.model or data.max_duration_s"
                ) from error
            micro_batch = smaller_divisor(run.config.train.batch_size, micro_batch)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        run.reporter.warn(f"out of memory: starting again with {micro_batch} clips per forward pass, same batches")


def smaller_divisor(batch_size: int, micro_batch: int) -> int:
    """The largest divisor of ``batch_size`` that is at most half of ``micro_batch`` (2 or more)."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch_size % size == 0)


def fit_arm(
    config: RunConfig, material: Material, arm: Arm, seed: int, micro_batch: int, advance: Advance
) -> tuple[Any, Training]:
    """Fine-tune one classifier, ``micro_batch`` clips at once; returns it with its best validation weights.

    The new head and the order of the real clips depend on the seed and not on the arm.
    """
    started = time.monotonic()
    real, valid = material.examples["train"], material.examples["valid"]
    added = material.added[arm]
    n_added = len(added.inputs)
    order = draw_batches(
        len(real.inputs),
        n_added,
        config.train.synthetic_share,
        config.train.steps * config.train.batch_size,
        config.seed,
        seed,
    )
    # Trainer also seeds NumPy's old generator, which takes 32 bits.
    unit_seed = derive_seed(config.seed, "train", seed) % 2**32
    model = load_classifier(material.source, material.frontend, material.classes, material.problem_type, unit_seed)
    optimisation = Optimisation(
        steps=config.train.steps,
        batch_size=config.train.batch_size,
        micro_batch=micro_batch,
        learning_rate=config.train.learning_rate,
        evaluate_every=config.train.evaluate_every,
        device=resolve_device(config.train.device),
        seed=unit_seed,
    )
    examples = _joined(real, added) if n_added else real
    best, curve = fine_tune(model, examples, order, valid if len(valid.inputs) else None, optimisation, advance)
    training = Training(
        arm=arm,
        seed=seed,
        n_train=len(real.inputs),
        n_added=n_added,
        steps=config.train.steps,
        seconds=time.monotonic() - started,
        best=best,
        curve=curve,
    )
    return model, training


def _joined(real: Examples, synthetic: Examples) -> Examples:
    return Examples(torch.cat([real.inputs, synthetic.inputs]), torch.cat([real.targets, synthetic.targets]))


def _predictions(run: _Run, model: Any, training: Training) -> list[Prediction]:
    material, device = run.material, resolve_device(run.config.train.device)
    made = []
    for split in PREDICTED_SPLITS:
        scores = predict(model, material.examples[split].inputs, run.config.train.batch_size, device)
        made += [
            Prediction(
                id=f"{training.name}/{clip.id}",
                arm=training.arm,
                seed=training.seed,
                clip_id=clip.id,
                split=split,
                labels=clip.labels,
                scores=dict(zip(material.classes, row.tolist(), strict=True)),
            )
            for clip, row in zip(material.clips[split], scores, strict=True)
        ]
    return made


def _replace_model(model: Any, frontend: Frontend, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_classifier(model, frontend, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


# ------------------------------------------------------------------------------------------------------ comparison


def compare(
    predictions: Sequence[Prediction], clips: Sequence[Clip], config: RunConfig, trainings: Sequence[Training]
) -> metrics.Comparison:
    """Compare the arms on the test clips: figures per seed, the difference with its interval, and every class.

    Pure. ``predictions`` holds every test clip for every training in ``trainings``.
    """
    test = [clip for clip in clips if clip.split == "test"]
    classes = sorted({*_classes(clips), *(label for clip in test for label in clip.labels)})
    targets = metrics.multi_hot([clip.labels for clip in test], classes)
    scores = _score_arrays(predictions, test, classes)
    measure = _MEASURES[problem_type(config, clips)]
    arms = [
        _arm_result(arm, scores[arm], targets, measure, [t for t in trainings if t.arm == arm])
        for arm in dict.fromkeys(t.arm for t in trainings)
    ]
    return metrics.Comparison(
        metric=measure.name,
        n_valid=sum(clip.split == "valid" for clip in clips),
        n_test=len(test),
        arms=tuple(arms),
        difference=_difference(scores, targets, measure, config),
        classes=_class_results(classes, clips, scores, targets, measure, config.train.tail_fraction),
    )


Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Measure:
    """How one kind of problem is scored."""

    name: Literal["accuracy", "mAP"]
    weighted: metrics.WeightedMetric
    decide: Callable[[Scores], metrics.BoolArray]
    per_class: Callable[[metrics.BoolArray, Scores], metrics.FloatArray]

    def value(self, targets: metrics.BoolArray, scores: Scores) -> float:
        """The metric with every clip counted once."""
        return float(self.weighted(targets, scores, np.ones((1, len(targets))))[0])


def _recall(targets: metrics.BoolArray, scores: Scores) -> metrics.FloatArray:
    return metrics.class_scores(targets, metrics.top_class(scores)).recall


_MEASURES: Mapping[ProblemType, _Measure] = {
    "single_label_classification": _Measure("accuracy", metrics.weighted_accuracy, metrics.top_class, _recall),
    "multi_label_classification": _Measure(
        "mAP", metrics.weighted_mean_average_precision, metrics.above_half, metrics.average_precision
    ),
}


def _score_arrays(predictions: Sequence[Prediction], test: Sequence[Clip], classes: Sequence[str]) -> dict[str, Scores]:
    """Scores per arm, shape ``(seeds, clips, classes)``; 0 for classes that training never saw."""
    by_key = {(p.arm, p.seed, p.clip_id): p.scores for p in predictions if p.split == "test"}
    seeds: dict[str, list[int]] = {}
    for arm, seed, _ in by_key:
        if seed not in seeds.setdefault(arm, []):
            seeds[arm].append(seed)
    return {
        arm: np.array(
            [[[by_key[arm, seed, clip.id].get(c, 0.0) for c in classes] for clip in test] for seed in sorted(of_arm)]
        )
        for arm, of_arm in seeds.items()
    }


def _arm_result(
    arm: str, scores: Scores, targets: metrics.BoolArray, measure: _Measure, trainings: Sequence[Training]
) -> metrics.ArmResult:
    values = [measure.value(targets, of_seed) for of_seed in scores]
    return metrics.ArmResult(
        arm=arm,
        per_seed=tuple(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else 0.0,
        macro_f1=statistics.fmean(metrics.macro_f1(targets, measure.decide(of_seed)) for of_seed in scores),
        n_train=trainings[0].n_train,
        n_added=trainings[0].n_added,
        steps=trainings[0].steps,
        seconds=sum(training.seconds for training in trainings),
    )


def _difference(
    scores: Mapping[str, Scores], targets: metrics.BoolArray, measure: _Measure, config: RunConfig
) -> metrics.Difference | None:
    if not {"gold", "synthio"} <= set(scores):
        return None
    confidence, resamples = 0.95, config.train.bootstrap_samples
    interval = metrics.bootstrap_difference(
        measure.weighted,
        targets,
        scores["gold"],
        scores["synthio"],
        resamples,
        numpy_generator(config.seed, "train", "bootstrap"),
        confidence,
    )
    return metrics.Difference(
        arm="synthio",
        baseline="gold",
        points=100 * interval.mean,
        low=100 * interval.low,
        high=100 * interval.high,
        confidence=confidence,
        resamples=resamples,
    )


def _class_results(
    classes: Sequence[str],
    clips: Sequence[Clip],
    scores: Mapping[str, Scores],
    targets: metrics.BoolArray,
    measure: _Measure,
    tail_fraction: float,
) -> tuple[metrics.ClassResult, ...]:
    counted = Counter(label for clip in clips if clip.split == "train" for label in clip.labels)
    counts = {label: counted[label] for label in classes}
    tail = tail_classes(counts, tail_fraction)
    means = {
        arm: np.mean([measure.per_class(targets, of_seed) for of_seed in of_arm], axis=0)
        for arm, of_arm in scores.items()
    }
    support = targets.sum(axis=0)
    return tuple(
        metrics.ClassResult(
            label=label,
            n_train=counts[label],
            support=int(support[k]),
            is_tail=label in tail,
            scores={arm: float(values[k]) if support[k] else None for arm, values in means.items()},
        )
        for k, label in enumerate(classes)
    )


def tail_classes(counts: Mapping[str, int], fraction: float) -> frozenset[str]:
    """The rarest ``fraction`` of the classes, rounded down; classes as rare as the last of them belong to it too.

    None are when that would reach the most frequent classes: with equal counts there is no tail.
    """
    ordered = sorted(counts.values())
    size = int(fraction * len(ordered))
    if size == 0 or ordered[size - 1] == ordered[-1]:
        return frozenset()
    return frozenset(label for label, count in counts.items() if count <= ordered[size - 1])
