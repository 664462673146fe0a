"""Train and compare the classifiers (arXiv 2410.02056): the same model, seeds and optimiser steps for every arm.

`synthio.arms` says what each arm is, `synthio.comparison` compares. The figures come from the test split, which nothing
else ever sees (the published code selects on it).

One arm with one seed is a folder of its own, which holds its `Training`, its predictions and ``model-<arm>/``, its
weights as an ordinary `transformers` folder: more seeds, or another arm, train nothing again. The stage's own folder
has all predictions together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from synthio.config import Arm, RunConfig
from synthio.context import StageContext
from synthio.progress import Advance
from synthio.records import HELD_OUT_SPLITS, Clip, Prediction
from synthio.store import StageFolder
from synthio.writing import publish

Units = Mapping[tuple[Arm, int], StageFolder]
"""The folder of each arm with each seed."""
Once = Callable[[StageFolder, Callable[[StageContext], None]], object]
"""Has a folder's work done, unless it is finished."""


def train_arms(
    context: StageContext,
    clips: Sequence[Clip],
    added_clips: AddedClips,
    shares: Mapping[Arm, float],
    units: Units,
    once: Once,
) -> None:
    """Train every arm with every seed, predict validation and test clips, compare, and finish the stage.

    ``shares``: expected share of added clips in a batch, for arms where it is not ``train.synthetic_share``.
    ``units``: every arm of the recipe with every seed; one is made whole or not at all. The stage's folder has their
    predictions in this order, first validation clips, then test clips; `comparison.read_comparison` compares them.
    Raises: `ModelError` for the model, `BackendError` when training diverges or does not fit into memory.
    """
    # Seed by seed, so that a half-finished stage has something of every arm.
    pending = sorted((unit for unit, folder in units.items() if not folder.done), key=lambda unit: unit[1])
    arms = tuple(dict.fromkeys(arm for arm, _ in pending))
    data = cache(lambda: _prepare(context, clips, added_clips, shares, arms))
    for number, (arm, seed) in enumerate(pending, len(units) - len(pending)):

        def work(own: StageContext, arm: Arm = arm, seed: int = seed, number: int = number) -> None:
            gold = units.get(("gold", seed), own.folder)
            # What the gate keeps out leaves gold, dice and all.
            if shares.get(arm) == 0 and gold.done and model_folder(gold.path, "gold").is_dir():
                _repeat(own, gold, arm)
                return
            prepared, steps = data(), own.config.train.steps
            with own.reporter.task("train", len(units) * steps, number * steps) as advance:
                _train(own, prepared, arm, seed, advance)

        once(units[arm, seed], work)
    once(context.folder, lambda context: _gather(context, shares, units))


def _prepare(
    context: StageContext,
    clips: Sequence[Clip],
    added_clips: AddedClips,
    shares: Mapping[Arm, float],
    arms: tuple[Arm, ...],
) -> TrainingData:
    """What the trainings of these arms share."""
    check_arms(context.config)
    own_clips = {arm: of_arm for arm, of_arm in added_clips.items() if arm in arms}
    return replace(prepare(context.config, clips, own_clips, context.reporter, arms), shares=shares)


def _train(context: StageContext, data: TrainingData, arm: Arm, seed: int, advance: Advance) -> None:
    model, training = fit_in_memory(context.config, data, arm, seed, advance, context.reporter)
    save_classifier(model, data.frontend, model_folder(context.folder.path, arm))
    context.folder.finish(_predictions(context.config, data, model, training), training.model_dump(mode="json"))
    score = training.best.valid_score
    valid = "no validation" if score is None else f"validation score {score:.3f} at step {training.best.step}"
    context.reporter.note(f"{arm}, seed {seed}: {valid}")


def _repeat(context: StageContext, gold: StageFolder, arm: Arm) -> None:
    """The training of gold as that of an arm to which nothing is added."""
    training = gold.summary_as(Training).model_copy(update={"arm": arm})
    publish(model_folder(gold.path, "gold"), model_folder(context.folder.path, arm))
    predictions = [
        one.model_copy(update={"arm": arm, "id": f"{training.name}/{one.clip_id}"}) for one in gold.manifest(Prediction)
    ]
    context.folder.finish(predictions, training.model_dump(mode="json"))
    context.reporter.note(f"{arm}, seed {training.seed}: gold's, as the gate kept synthetic clips out")


def _gather(context: StageContext, shares: Mapping[Arm, float], units: Units) -> None:
    predictions = [prediction for own in units.values() for prediction in own.manifest(Prediction)]
    trainings = [[own.path.name, own.summary()] for own in units.values()]
    context.folder.finish(predictions, {"gated_share": shares.get("synthio"), "trainings": trainings})


def _predictions(config: RunConfig, data: TrainingData, model: Any, training: Training) -> list[Prediction]:
    device = resolve_device(config.train.device)
    made = []
    for split in HELD_OUT_SPLITS:
        scores = predict(model, data.examples[split].inputs, config.train.batch_size, device)
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
