"""The gate (`train.use_synthetic: auto`): whether, and with which share of a batch, synthetic clips join the training.

Cross-validation on the real training clips. In every fold the classifier is trained without the fold's clips and
without the synthetic clips that were made for them, once per share, with the same dice; the held-out clips are scored.
Synthetic clips join only when a paired test says that, on average over the shares, they lower the error of the held-out
clips' class probabilities; then the share with the lowest error is taken, otherwise 0, which is gold. The validation
clips pick each training's best step, as they always do; test clips decide nothing.

What it cannot see: alignment and imagination have looked at all training clips, the held-out ones among them, so the
gate is a little too fond of synthetic clips.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from synthio import metrics
from synthio.arms import AddedClip, TrainingData, fit_in_memory, prepare
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.context import StageContext
from synthio.frozen import Frozen
from synthio.progress import Advance
from synthio.records import Clip, GatedClip, kept_together, of_split
from synthio.seeds import derive_seed


class GateOption(Frozen):
    """One share of synthetic clips in a batch, on the held-out real clips of the gate."""

    share: float
    error: float
    """Of the held-out clips' class probabilities, mean over clips (`metrics.brier_scores`), or over classes where
    ``train.metric`` is balanced."""


class GateMeasures(Frozen):
    """The stage's summary."""

    options: tuple[GateOption, ...]
    """Empty when there was nothing to decide: no synthetic clips, or training clips of one group."""
    p_value: float | None
    """That synthetic clips, on average over their shares, do not lower the error: one-sided, corrected (`p_value`)."""


def measure_shares(context: StageContext, clips: Sequence[Clip], synthetic: Sequence[AddedClip]) -> GateMeasures:
    """Train, score, test and finish the stage; folds and shares that were finished before a kill are kept."""
    gate, training = context.config.gate, of_split(clips, "train")
    groups = len(set(kept_together(training)))
    told = bool(synthetic) and groups > 1
    shares = gate.tried_shares if told else ()
    folds = min(gate.folds, groups)
    records = _score_all(context, clips, synthetic, shares, folds) if shares else []
    measures = GateMeasures(
        options=mean_errors(records, shares),
        p_value=p_value(group_differences(records), folds) if shares else None,
    )
    context.folder.finish(records, measures.model_dump(mode="json"))
    return measures


def _score_all(
    context: StageContext,
    clips: Sequence[Clip],
    synthetic: Sequence[AddedClip],
    shares: Sequence[float],
    count: int,
) -> list[GatedClip]:
    config, training = context.config, of_split(clips, "train")
    folds = assign_folds(training, count, config.seed)
    units = [(fold, share) for fold in range(count) for share in shares]
    wanted = {
        unit: [f"{unit[1]}/{clip.id}" for clip, own in zip(training, folds, strict=True) if own == unit[0]]
        for unit in units
    }
    finished = context.folder.items(GatedClip)
    pending = [unit for unit in units if not all(name in finished for name in wanted[unit])]
    if pending:
        data = prepare(config, clips, {"synthio": synthetic}, context.reporter)
        steps = config.train.steps
        with context.reporter.task("gate", len(units) * steps, (len(units) - len(pending)) * steps) as advance:
            for unit in pending:
                scored = _score_fold(context, data, synthetic, folds, unit, advance)
                context.folder.append(scored)
                finished |= {record.id: record for record in scored}
    return [finished[name] for unit in units for name in wanted[unit]]


def assign_folds(training: Sequence[Clip], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each training clip: groups whole, copies of one clip together, stratified by (first) label where a
    class has enough clips. ``folds``: at most as many as there are groups, or clips without one.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.array(kept_together(training))
    labels = np.array([clip.labels[0] for clip in training])
    if max(Counter(labels.tolist()).values()) < folds:
        labels = np.full(len(training), "")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=derive_seed(seed, "gate") % 2**32)
    fold = np.zeros(len(training), dtype=np.int64)
    with warnings.catch_warnings():
        # Of a rare class, which then cannot be in every fold: nothing that the user could change.
        warnings.filterwarnings("ignore", "The least populated class in y has only", UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            fold[held_out] = number
    return fold


def _score_fold(
    context: StageContext,
    data: TrainingData,
    synthetic: Sequence[AddedClip],
    folds: npt.NDArray[np.int64],
    unit: tuple[int, float],
    advance: Advance,
) -> list[GatedClip]:
    """``unit``: which fold is held out, and the share of synthetic clips in a batch."""
    config, (fold, share) = context.config, unit
    kept = [bool(own != fold) for own in folds]
    training = data.clips["train"]
    held_out = [clip for clip, keep in zip(training, kept, strict=True) if not keep]
    groups = dict(zip((clip.id for clip in training), kept_together(training), strict=True))
    ids = {clip.id for clip in held_out}
    within = replace(
        data,
        real=data.real.subset(kept),
        added={"synthio": data.added["synthio"].subset([clip.clip_id not in ids for clip in synthetic])},
        shares={"synthio": share},
    )
    model, _ = fit_in_memory(config, within, "synthio", fold, advance, context.reporter)
    inputs = data.real.subset([not keep for keep in kept]).examples.inputs
    scores = predict(model, inputs, config.train.batch_size, resolve_device(config.train.device))
    targets = metrics.multi_hot([clip.labels for clip in held_out], data.classes)
    errors = metrics.brier_scores(targets, scores)
    if config.train.metric != "accuracy" and data.problem_type == "single_label_classification":
        labels, of_all = ([clip.labels[0] for clip in some] for some in (held_out, training))
        errors = errors * class_weights(labels, of_all)
    return [
        GatedClip(
            id=f"{share}/{clip.id}", clip_id=clip.id, group=groups[clip.id], share=share, fold=fold, error=float(error)
        )
        for clip, error in zip(held_out, errors, strict=True)
    ]


def class_weights(labels: Sequence[str], of_all: Sequence[str]) -> npt.NDArray[np.float64]:
    """Of clips with these labels, ``(clips,)``, so that all classes weigh the same, as in balanced accuracy; 1 on
    average over the clips ``of_all`` labels. Pure."""
    counts = Counter(of_all)
    return np.array([len(of_all) / len(counts) / counts[label] for label in labels])


def mean_errors(records: Sequence[GatedClip], shares: Sequence[float]) -> tuple[GateOption, ...]:
    """Mean error over held-out clips, per share. Pure."""
    return tuple(
        GateOption(share=share, error=float(np.mean([r.error for r in records if r.share == share])))
        for share in shares
    )


def group_differences(records: Sequence[GatedClip]) -> list[float]:
    """Mean difference in error to share 0, over the other shares, per group. Pure.

    Clips of one recorder or kit are no independent evidence. The shares' trainings hear the same clips: one test of
    their average needs no correction for several, and keeps the power that such a correction costs.
    """
    gold = {r.clip_id: r.error for r in records if r.share == 0}
    by_group: Mapping[str, list[float]] = defaultdict(list)
    for record in records:
        if record.share > 0:
            by_group[record.group or record.clip_id].append(record.error - gold[record.clip_id])
    return [float(np.mean(values)) for _, values in sorted(by_group.items())]


def p_value(differences: Sequence[float], folds: int) -> float:
    """One-sided paired t-test that the mean difference is below 0, corrected for cross-validation.

    Clips of one fold share a trained model, and the folds' models share training clips; Nadeau and Bengio (2003) add
    ``test / train = 1 / (folds - 1)`` to the ``1 / folds`` of the variance of a mean over folds, so this one's variance
    is ``s^2 / m * (1 + folds / (folds - 1))`` for ``m`` differences. 1 without at least 2 that vary: no evidence.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return 1.0
    variance = values.var(ddof=1) / len(values) * (1 + folds / (folds - 1))
    return float(stats.t.cdf(values.mean() / np.sqrt(variance), len(values) - 1))


def choose_share(measures: GateMeasures, level: float) -> float:
    """The share with the lowest error when the test passes; else 0."""
    if measures.p_value is None or measures.p_value >= level:
        return 0.0
    return min(measures.options, key=lambda option: (option.error, option.share)).share
