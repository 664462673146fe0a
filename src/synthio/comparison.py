"""Compare trained arms on the test clips: figures per seed, the difference with its interval, and every class."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthio import metrics
from synthio.arms import Training, classes_of, problem_type, read_trainings
from synthio.config import COMPARISON_VERSION, RunConfig
from synthio.records import Clip, Prediction
from synthio.seeds import numpy_generator
from synthio.store import StageFolder, write_text
from synthio.verdict import ArmResult, ClassResult, Comparison, ConstantGuess, Difference, Metric


def read_comparison(folder: StageFolder, clips: Sequence[Clip], config: RunConfig) -> Comparison:
    """Of a finished stage of train, from its predictions: also what an earlier version trained is compared as today.

    It takes minutes where clips and classes are many, so it is kept beside them, with what it depends on.
    Raises: `MissingArtefact` before the stage is done, `StoreError` when it is damaged.
    """
    path = folder.path / "comparison.json"
    train = config.train
    version = [COMPARISON_VERSION, train.metric, train.bootstrap_samples, train.tail_fraction]
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["version"] == version:
                return Comparison.model_validate(kept["comparison"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise folder.damaged(path.name, error) from error
    comparison = _compare_finished(folder, clips, config)
    write_text(path, json.dumps({"version": version, "comparison": comparison.model_dump(mode="json")}))
    return comparison


def _compare_finished(folder: StageFolder, clips: Sequence[Clip], config: RunConfig) -> Comparison:
    comparison = compare(folder.manifest(Prediction), clips, config, list(read_trainings(folder).values()))
    return comparison.model_copy(update={"gated_share": folder.summary()["gated_share"]})


def compare(
    predictions: Sequence[Prediction], clips: Sequence[Clip], config: RunConfig, trainings: Sequence[Training]
) -> Comparison:
    """Compare the arms on the test clips: figures per seed, the difference with its interval, and every class.

    Pure. ``predictions`` holds every test clip for every training in ``trainings``.
    """
    test = [clip for clip in clips if clip.split == "test"]
    classes = sorted({*classes_of(clips), *(label for clip in test for label in clip.labels)})
    targets = metrics.multi_hot([clip.labels for clip in test], classes)
    scores = _score_arrays(predictions, test, classes)
    several = problem_type(config, clips) == "multi_label_classification"
    measure = _MEASURES["mAP" if several else config.train.metric]
    arms = [
        _arm_result(arm, scores[arm], targets, measure, [t for t in trainings if t.arm == arm])
        for arm in dict.fromkeys(t.arm for t in trainings)
    ]
    return Comparison(
        metric=measure.name,
        n_valid=sum(clip.split == "valid" for clip in clips),
        n_test=len(test),
        arms=tuple(arms),
        difference=_difference(scores, targets, measure, config, [clip.unit for clip in test]),
        classes=_class_results(classes, clips, scores, targets, measure, config.train.tail_fraction),
        constant=None if several else _constant_guess(clips, classes, targets, measure),
    )


def _training_counts(clips: Sequence[Clip]) -> Counter[str]:
    return Counter(label for clip in clips if clip.split == "train" for label in clip.labels)


Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Measure:
    """How one kind of problem is scored."""

    name: Metric
    weighted: metrics.WeightedMetric
    decide: Callable[[Scores], metrics.BoolArray]
    per_class: Callable[[metrics.BoolArray, Scores], metrics.FloatArray]

    def value(self, targets: metrics.BoolArray, scores: Scores) -> float:
        """The metric with every clip counted once."""
        return float(self.weighted(targets, scores, np.ones((1, len(targets))))[0])


def _recall(targets: metrics.BoolArray, scores: Scores) -> metrics.FloatArray:
    return metrics.recall(targets, metrics.top_class(scores))


_MEASURES: Mapping[Metric, _Measure] = {
    measure.name: measure
    for measure in (
        _Measure("accuracy", metrics.weighted_accuracy, metrics.top_class, _recall),
        _Measure("balanced accuracy", metrics.weighted_balanced_accuracy, metrics.top_class, _recall),
        _Measure("mAP", metrics.weighted_mean_average_precision, metrics.above_half, metrics.average_precision),
    )
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
) -> ArmResult:
    values = [measure.value(targets, of_seed) for of_seed in scores]
    return ArmResult(
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
    scores: Mapping[str, Scores],
    targets: metrics.BoolArray,
    measure: _Measure,
    config: RunConfig,
    groups: Sequence[str],
) -> Difference | None:
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
        groups,
    )
    return Difference(
        arm="synthio",
        baseline="gold",
        points=100 * interval.mean,
        low=100 * interval.low,
        high=100 * interval.high,
        confidence=confidence,
        resamples=resamples,
    )


def _constant_guess(
    clips: Sequence[Clip], classes: Sequence[str], targets: metrics.BoolArray, measure: _Measure
) -> ConstantGuess:
    counts = _training_counts(clips)
    label = min(counts, key=lambda name: (-counts[name], name))
    said = np.zeros_like(targets)
    said[:, classes.index(label)] = True
    mean = measure.value(targets, said.astype(np.float64))
    return ConstantGuess(label=label, mean=mean, macro_f1=metrics.macro_f1(targets, said))


def _class_results(
    classes: Sequence[str],
    clips: Sequence[Clip],
    scores: Mapping[str, Scores],
    targets: metrics.BoolArray,
    measure: _Measure,
    tail_fraction: float,
) -> tuple[ClassResult, ...]:
    counted = _training_counts(clips)
    counts = {label: counted[label] for label in classes}
    tail = tail_classes(counts, tail_fraction)
    means = {
        arm: np.mean([measure.per_class(targets, of_seed) for of_seed in of_arm], axis=0)
        for arm, of_arm in scores.items()
    }
    support = targets.sum(axis=0)
    return tuple(
        ClassResult(
            label=label,
            n_train=counts[label],
            support=int(support[k]),
            is_tail=label in tail,
            scores={arm: float(values[k]) if support[k] else None for arm, values in means.items()},
        )
        for k, label in enumerate(classes)
    )


def tail_classes(counts: Mapping[str, int], fraction: float) -> frozenset[str]:
    """The rarest ``fraction`` of the classes, rounded down but at least one; classes as rare as the last of them belong
    to it too.

    None are when that would reach the most frequent classes: with equal counts there is no tail.
    """
    ordered = sorted(counts.values())
    size = max(int(fraction * len(ordered)), fraction > 0)
    if size == 0 or ordered[size - 1] == ordered[-1]:
        return frozenset()
    return frozenset(label for label, count in counts.items() if count <= ordered[size - 1])
