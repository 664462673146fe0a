"""The gate (`train.use_synthetic: auto`): whether, and with which share of a batch, synthetic clips join the training.

Cross-validation on the real training clips. In every fold the classifier is trained without the fold's clips and
without the synthetic clips that were made for them, once per share, with the same dice; the held-out clips are scored.
A share above 0 is chosen only when a paired test says that it lowers their log loss; otherwise 0, which is gold. The
validation clips pick each training's best step, as they always do; the test clips are never looked at.

What it cannot see: alignment and imagination have looked at all training clips, the held-out ones among them, so the
gate is a little too fond of synthetic clips. The test must be won clearly for that reason also.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from synthio import metrics
from synthio.arms import AddedClip, Material, check_clips, fit_in_memory, prepare
from synthio.backends.classifier import Examples, predict
from synthio.backends.devices import resolve_device
from synthio.config import RunConfig
from synthio.errors import DataError
from synthio.progress import Advance, Reporter
from synthio.records import Clip, GatedClip
from synthio.seeds import derive_seed
from synthio.store import StageFolder

_LOSSES = {
    "single_label_classification": metrics.log_losses,
    "multi_label_classification": metrics.binary_log_losses,
}


class GateOption(BaseModel):
    """One share of synthetic clips, on the held-out real clips."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    log_loss: float
    """Mean over the held-out clips, in nats per clip (summed over classes for several labels)."""
    p_value: float | None
    """Of the one-sided paired t-test that it is below the log loss of share 0, Holm-adjusted; None for share 0."""


class GateDecision(BaseModel):
    """The stage's summary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    """0: train on real clips alone."""
    options: tuple[GateOption, ...]
    folds: int
    seconds: float


def decide(
    config: RunConfig, clips: Sequence[Clip], synthetic: Sequence[AddedClip], folder: StageFolder, reporter: Reporter
) -> GateDecision:
    """Train, score, test and finish the stage; folds and shares that were finished before a kill are kept.

    Raises: `DataError` for clips that cannot be folded.
    """
    started = time.monotonic()
    check_clips(clips, {"synthio": synthetic})
    training = [clip for clip in clips if clip.split == "train"]
    shares = (0.0, *(share for share in dict.fromkeys(config.gate.shares) if share > 0)) if synthetic else (0.0,)
    folds = assign_folds(training, config.gate.folds, config.seed)
    units = [(fold, share) for fold in range(config.gate.folds) for share in shares]
    finished = folder.items(GatedClip)
    pending = [unit for unit in units if not _is_finished(unit, training, folds, finished)]
    if pending and len(shares) > 1:
        gold = config.model_copy(update={"train": config.train.model_copy(update={"arms": ("gold",)})})
        material = prepare(gold, clips, {"synthio": synthetic}, reporter)
        with reporter.task("gate", len(units) * config.train.steps) as advance:
            advance((len(units) - len(pending)) * config.train.steps)
            for fold, share in pending:
                scored = _score_fold(config, material, synthetic, folds, fold, share, advance, reporter)
                folder.append(scored)
                finished |= {record.id: record for record in scored}
    records = list(finished.values())
    options = compare_shares(records, shares) if len(shares) > 1 else (GateOption(share=0, log_loss=0, p_value=None),)
    decision = GateDecision(
        share=choose_share(options, config.gate.level),
        options=options,
        folds=config.gate.folds,
        seconds=time.monotonic() - started,
    )
    folder.finish(records, decision.model_dump(mode="json"))
    told = "real clips alone" if decision.share == 0 else f"synthetic clips, {100 * decision.share:.0f}% of a batch"
    reporter.note(f"gate: {told}")
    return decision


def assign_folds(training: Sequence[Clip], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each training clip: stratified by (first) label, groups kept whole where there are enough of them.

    Raises: `DataError` for fewer clips than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(training) < folds:
        raise DataError(f"gate.folds is {folds}; there are {len(training)} training clips: expected at most as many")
    labels = np.array([clip.labels[0] for clip in training])
    groups = np.array([clip.group or clip.id for clip in training])
    if len(set(groups)) < folds:
        groups = np.array([clip.id for clip in training])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=derive_seed(seed, "gate") % 2**32)
    fold = np.zeros(len(training), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
        fold[held_out] = number
    return fold


def _is_finished(
    unit: tuple[int, float],
    training: Sequence[Clip],
    folds: npt.NDArray[np.int64],
    finished: dict[str, GatedClip],
) -> bool:
    fold, share = unit
    return all(f"{share}/{clip.id}" in finished for clip, own in zip(training, folds, strict=True) if own == fold)


def _score_fold(
    config: RunConfig,
    material: Material,
    synthetic: Sequence[AddedClip],
    folds: npt.NDArray[np.int64],
    fold: int,
    share: float,
    advance: Advance,
    reporter: Reporter,
) -> list[GatedClip]:
    training = material.clips["train"]
    held_out = [clip for clip, own in zip(training, folds, strict=True) if own == fold]
    ids = {clip.id for clip in held_out}
    kept = torch.from_numpy(folds != fold)
    usable = torch.tensor([clip.clip_id not in ids for clip in synthetic])
    within = replace(
        material,
        examples={**material.examples, "train": _subset(material.examples["train"], kept)},
        added={"synthio": _subset(material.added["synthio"], usable)},
        shares={"synthio": share},
    )
    model, _ = fit_in_memory(config, within, "synthio", fold, advance, reporter)
    rest = _subset(material.examples["train"], ~kept)
    scores = predict(model, rest.inputs, config.train.batch_size, resolve_device(config.train.device))
    targets = metrics.multi_hot([clip.labels for clip in held_out], material.classes)
    losses = _LOSSES[material.problem_type](targets, scores)
    return [
        GatedClip(id=f"{share}/{clip.id}", clip_id=clip.id, share=share, fold=fold, log_loss=float(loss))
        for clip, loss in zip(held_out, losses, strict=True)
    ]


def _subset(examples: Examples, mask: torch.Tensor) -> Examples:
    return Examples(examples.inputs[mask], examples.targets[mask])


def compare_shares(records: Sequence[GatedClip], shares: Sequence[float]) -> tuple[GateOption, ...]:
    """Mean log loss per share, and the adjusted p-values against share 0. Pure."""
    from scipy import stats

    of_share = {share: {r.clip_id: r.log_loss for r in records if r.share == share} for share in shares}
    order = sorted(of_share[0.0])
    losses = {share: np.array([values[clip] for clip in order]) for share, values in of_share.items()}
    tried = [share for share in shares if share > 0]
    raw = [float(stats.ttest_rel(losses[share], losses[0.0], alternative="less").pvalue) for share in tried]
    # Equal losses (a share that changed nothing) have no p-value: no evidence.
    adjusted = dict(zip(tried, metrics.holm([1.0 if np.isnan(p) else p for p in raw]), strict=True))
    return tuple(GateOption(share=s, log_loss=float(losses[s].mean()), p_value=adjusted.get(s)) for s in shares)


def choose_share(options: Sequence[GateOption], level: float) -> float:
    """The share with the lowest log loss among those that passed the test; 0 when none did."""
    passed = [option for option in options if option.p_value is not None and option.p_value < level]
    return min(passed, key=lambda option: (option.log_loss, option.share)).share if passed else 0.0
