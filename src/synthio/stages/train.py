"""Train and compare the classifiers (arXiv 2410.02056): the same model, seeds and optimiser steps for every arm.

`synthio.arms` says what each arm is, `synthio.comparison` compares. The figures come from the test split, which nothing
else ever sees (the published code selects on it).

One arm with one seed is a folder of its own, which holds its `Training`, its predictions and ``model-<arm>/``, its
weights as an ordinary `transformers` folder: more seeds, or another arm, train nothing again. The stage's own folder
has all predictions together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from synthio.arms import (
    AddedClips,
    Training,
    TrainingData,
    check_arms,
    fit_in_memory,
    model_folder,
    prepare,
)
from synthio.backends.classifier import save_classifier
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.comparison import read_comparison
from synthio.config import Arm, RunConfig
from synthio.progress import Advance, Reporter
from synthio.records import HELD_OUT_SPLITS, Clip, Prediction
from synthio.store import StageFolder, publish
from synthio.verdict import verdict_text

Units = Mapping[tuple[Arm, int], StageFolder]
"""The folder of each arm with each seed."""
Once = Callable[[StageFolder, Callable[[StageFolder], None]], object]
"""Has a folder's work done, unless it is finished."""


def train_arms(
    config: RunConfig,
    clips: Sequence[Clip],
    added_clips: AddedClips,
    shares: Mapping[Arm, float],
    units: Units,
    folder: StageFolder,
    once: Once,
    reporter: Reporter,
) -> None:
    """Train every arm with every seed, predict validation and test clips, compare, and finish the stage.

    ``shares``: expected share of added clips in a batch, for arms where it is not ``train.synthetic_share``.
    ``units``: every arm of the recipe with every seed; one is made whole or not at all. ``folder``: for the predictions
    in the order of ``units``, then validation clips, then test clips; `comparison.read_comparison` compares them.
    Raises: `ModelError` for the model, `BackendError` when training diverges or does not fit into memory.
    """
    # Seed by seed, so that a half-finished stage has something of every arm.
    pending = sorted((unit for unit, own in units.items() if not own.done), key=lambda unit: unit[1])
    arms = tuple(dict.fromkeys(arm for arm, _ in pending))
    data = cache(lambda: _prepare(config, clips, added_clips, shares, arms, reporter))
    for number, (arm, seed) in enumerate(pending, len(units) - len(pending)):

        def work(own: StageFolder, arm: Arm = arm, seed: int = seed, number: int = number) -> None:
            gold = units.get(("gold", seed), own)
            # What the gate keeps out leaves gold, dice and all.
            if shares.get(arm) == 0 and gold.done and model_folder(gold.path, "gold").is_dir():
                _repeat(gold, arm, own, reporter)
                return
            prepared, steps = data(), config.train.steps
            with reporter.task("train", len(units) * steps, number * steps) as advance:
                _train(_Run(config, prepared, reporter), arm, seed, own, advance)

        once(units[arm, seed], work)
    once(folder, lambda folder: _gather(config, clips, shares, units, folder, reporter))


def _prepare(
    config: RunConfig,
    clips: Sequence[Clip],
    added_clips: AddedClips,
    shares: Mapping[Arm, float],
    arms: tuple[Arm, ...],
    reporter: Reporter,
) -> TrainingData:
    """What the trainings of these arms share."""
    check_arms(config)
    own_clips = {arm: of_arm for arm, of_arm in added_clips.items() if arm in arms}
    return replace(prepare(config, clips, own_clips, reporter, arms), shares=shares)


@dataclass(frozen=True)
class _Run:
    config: RunConfig
    data: TrainingData
    reporter: Reporter


def _train(run: _Run, arm: Arm, seed: int, folder: StageFolder, advance: Advance) -> None:
    model, training = fit_in_memory(run.config, run.data, arm, seed, advance, run.reporter)
    save_classifier(model, run.data.frontend, model_folder(folder.path, arm))
    folder.finish(_predictions(run, model, training), training.model_dump(mode="json"))
    score = training.best.valid_score
    valid = "no validation" if score is None else f"validation score {score:.3f} at step {training.best.step}"
    run.reporter.note(f"{arm}, seed {seed}: {valid}")


def _repeat(gold: StageFolder, arm: Arm, folder: StageFolder, reporter: Reporter) -> None:
    """The training of gold as that of an arm to which nothing is added."""
    training = gold.summary_as(Training).model_copy(update={"arm": arm})
    publish(model_folder(gold.path, "gold"), model_folder(folder.path, arm))
    predictions = [
        one.model_copy(update={"arm": arm, "id": f"{training.name}/{one.clip_id}"}) for one in gold.manifest(Prediction)
    ]
    folder.finish(predictions, training.model_dump(mode="json"))
    reporter.note(f"{arm}, seed {training.seed}: gold's, as the gate kept synthetic clips out")


def _gather(
    config: RunConfig,
    clips: Sequence[Clip],
    shares: Mapping[Arm, float],
    units: Units,
    folder: StageFolder,
    reporter: Reporter,
) -> None:
    predictions = [prediction for own in units.values() for prediction in own.manifest(Prediction)]
    trainings = [[own.path.name, own.summary()] for own in units.values()]
    folder.finish(predictions, {"gated_share": shares.get("synthio"), "trainings": trainings})
    if len(config.train.arms) > 1:
        reporter.note(verdict_text(read_comparison(folder, clips, config)))


def _predictions(run: _Run, model: Any, training: Training) -> list[Prediction]:
    data, device = run.data, resolve_device(run.config.train.device)
    made = []
    for split in HELD_OUT_SPLITS:
        scores = predict(model, data.examples[split].inputs, run.config.train.batch_size, device)
        made += [
            Prediction(
                id=f"{training.name}/{clip.id}",
                arm=training.arm,
                seed=training.seed,
                clip_id=clip.id,
                split=split,
                labels=clip.labels,
                scores=dict(zip(data.classes, row.tolist(), strict=True)),
            )
            for clip, row in zip(data.clips[split], scores, strict=True)
        ]
    return made
