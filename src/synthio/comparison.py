"""Compare trained arms on the test clips: figures per seed, the difference with its interval, and every class."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from synthio import metrics
from synthio.arms import Training, classes_of, problem_type, read_trainings
from synthio.config import STAGE_VERSIONS, RunConfig
from synthio.errors import StoreError
from synthio.records import Clip, Prediction, of_split
from synthio.seeds import numpy_generator
from synthio.store import StageFolder, fingerprint
from synthio.verdict import ArmResult, ClassDifference, ClassResult, Comparison, ConstantGuess, Difference, MetricName
from synthio.writing import write_text


def read_comparison(folder: StageFolder, clips: Sequence[Clip], config: RunConfig) -> Comparison:
    """Of a finished stage of train, from its predictions.

    It takes minutes where clips and classes are many, so it is kept beside them, under what it depends on.
    Raises: `MissingArtefact` before the stage is done, `StoreError` when it is damaged.
    """
    train = config.train
    depends = [STAGE_VERSIONS["compare"], train.metric, train.bootstrap_samples, train.tail_fraction]
    path = folder.path / f"comparison-{fingerprint(depends)}.json"
    # None yet, or damaged: it is made anew.
    with suppress(OSError, ValueError):
        return Comparison.model_validate_json(path.read_bytes())
    comparison = _compare_finished(folder, clips, config)
    # In a folder that only others may write, it is computed each time.
    with suppress(StoreError):
        write_text(path, comparison.model_dump_json())
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
    test = of_split(clips, "test")
    classes = sorted({*classes_of(clips), *(label for clip in test for label in clip.labels)})
    targets = metrics.multi_hot([clip.labels for clip in test], classes)
    several = problem_type(config, clips) == "multi_label_classification"
    measure = _MEASURES["mAP" if several else config.train.metric]
    exam = _Exam(score_arrays(predictions, test, classes), targets, [clip.unit for clip in test], measure)
    counts = Counter(label for clip in of_split(clips, "train") for label in clip.labels)
    arms = [
        _arm_result(exam, arm, [t for t in trainings if t.arm == arm])
        for arm in dict.fromkeys(t.arm for t in trainings)
    ]
    return Comparison(
        metric=measure.name,
        n_valid=len(of_split(clips, "valid")),
        n_test=len(test),
        arms=tuple(arms),
        difference=_difference(exam, config),
        classes=_class_results(exam, {label: counts[label] for label in classes}, config),
        constant=None if several else _constant_guess(exam, classes, counts),
    )


Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Measure:
    """How one kind of problem is scored."""

    name: MetricName
    weighted: metrics.WeightedMetric
    decide: Callable[[Scores], metrics.BoolArray]
    of_class: Callable[[metrics.BoolArray, int], tuple[metrics.Indices, slice]]
    """Targets and the number of a class -> the clips and the columns on which the metric is that class's own score."""

    def value(self, targets: metrics.BoolArray, scores: Scores) -> float:
        """The metric with every clip counted once."""
        return float(self.weighted(targets, scores, np.ones((1, len(targets))))[0])


def _own_clips(targets: metrics.BoolArray, number: int) -> tuple[metrics.Indices, slice]:
    return np.flatnonzero(targets[:, number]), slice(None)


def _own_column(targets: metrics.BoolArray, number: int) -> tuple[metrics.Indices, slice]:
    return np.arange(len(targets)), slice(number, number + 1)


_MEASURES: Mapping[MetricName, _Measure] = {
    measure.name: measure
    for measure in (
        _Measure("accuracy", metrics.weighted_accuracy, metrics.top_class, _own_clips),
        _Measure("balanced accuracy", metrics.weighted_balanced_accuracy, metrics.top_class, _own_clips),
        _Measure("mAP", metrics.weighted_mean_average_precision, metrics.above_half, _own_column),
    )
}


def score_arrays(predictions: Sequence[Prediction], test: Sequence[Clip], classes: Sequence[str]) -> dict[str, Scores]:
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


@dataclass(frozen=True)
class _Exam:
    """What the arms said of some test clips, and how that is scored."""

    scores: Mapping[str, Scores]
    """Per arm, shape ``(seeds, clips, classes)``."""
    targets: metrics.BoolArray
    """Shape ``(clips, classes)``."""
    units: Sequence[str]
    """`Clip.unit` of each clip."""
    measure: _Measure

    def of_class(self, number: int) -> _Exam:
        """The part on which the metric is the class's own score."""
        rows, columns = self.measure.of_class(self.targets, number)
        scores = {arm: of_arm[:, rows, columns] for arm, of_arm in self.scores.items()}
        return _Exam(scores, self.targets[rows, columns], [self.units[row] for row in rows], self.measure)

    def per_seed(self, arm: str) -> list[float]:
        """The metric of each training."""
        return [self.measure.value(self.targets, of_seed) for of_seed in self.scores[arm]]

    def values(self, arm: str, weights: metrics.FloatArray) -> metrics.FloatArray:
        """The metric of each training under each row of clip weights, shape ``(seeds, resamples)``."""
        return np.array([self.measure.weighted(self.targets, of_seed, weights) for of_seed in self.scores[arm]])


def _arm_result(exam: _Exam, arm: str, trainings: Sequence[Training]) -> ArmResult:
    values = exam.per_seed(arm)
    decisions = map(exam.measure.decide, exam.scores[arm])
    return ArmResult(
        arm=arm,
        per_seed=tuple(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        macro_f1=statistics.fmean(metrics.macro_f1(exam.targets, decided) for decided in decisions),
        n_train=trainings[0].n_train,
        n_added=trainings[0].n_added,
        steps=trainings[0].steps,
        seconds=sum(training.seconds for training in trainings),
    )


#: The arms whose difference is the result.
_BASELINE, _ARM = "gold", "synthio"


def _difference(exam: _Exam, config: RunConfig) -> Difference | None:
    if not {_BASELINE, _ARM} <= set(exam.scores):
        return None
    generator = numpy_generator(config.seed, "train", "bootstrap")
    resamples = config.train.bootstrap_samples
    interval = metrics.bootstrap_difference(
        lambda weights: exam.values(_ARM, weights) - exam.values(_BASELINE, weights), exam.units, resamples, generator
    )
    return Difference(
        arm=_ARM,
        baseline=_BASELINE,
        points=100 * interval.mean,
        low=100 * interval.low,
        high=100 * interval.high,
        confidence=metrics.CONFIDENCE,
        resamples=resamples,
    )


def _constant_guess(exam: _Exam, classes: Sequence[str], counts: Mapping[str, int]) -> ConstantGuess:
    label = min(counts, key=lambda name: (-counts[name], name))
    said = np.zeros_like(exam.targets)
    said[:, classes.index(label)] = True
    mean = exam.measure.value(exam.targets, said.astype(np.float64))
    return ConstantGuess(label=label, mean=mean, macro_f1=metrics.macro_f1(exam.targets, said))


def _class_results(exam: _Exam, counts: Mapping[str, int], config: RunConfig) -> tuple[ClassResult, ...]:
    """``counts``: training clips of every class."""
    tail = tail_classes(counts, config.train.tail_fraction)
    results = []
    for number, (label, n_train) in enumerate(counts.items()):
        of_label = exam.targets[:, number]
        own = exam.of_class(number) if of_label.any() else None
        difference = own and _difference(own, config)
        homes = set(compress(exam.units, of_label))
        results.append(
            ClassResult(
                label=label,
                n_train=n_train,
                support=int(of_label.sum()),
                is_tail=label in tail,
                scores={arm: own and statistics.fmean(own.per_seed(arm)) for arm in exam.scores},
                difference=difference and _class_difference(difference, homes),
            )
        )
    return tuple(results)


def _class_difference(difference: Difference, homes: Collection[str]) -> ClassDifference:
    """``homes``: the units of the class's own clips."""
    # Average precision ranks them among all others, which say nothing of further clips of the class.
    low, high = (difference.low, difference.high) if len(homes) > 1 else (math.nan, math.nan)
    return ClassDifference(points=difference.points, low=low, high=high)


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
