"""Train and compare the classifiers (arXiv 2410.02056): the same model, seeds and optimiser steps for every arm.

`synthio.arms` says what each arm is, `synthio.comparison` compares. The figures come from the test split, which nothing
else ever sees (the published code selects on it).

The stage folder also gets ``curves.json`` (one `Training` per arm and seed) and ``model-<arm>/``, the weights of the
arm's best validation seed as an ordinary `transformers` folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthio.arms import (
    Material,
    Pools,
    Training,
    check_arms,
    check_clips,
    fit_in_memory,
    prepare,
    read_trainings,
    training_name,
)
from synthio.backends.classifier import Frontend, save_classifier
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.comparison import read_comparison
from synthio.config import Arm, RunConfig
from synthio.progress import Advance, Reporter
from synthio.records import Clip, Prediction, Split
from synthio.store import StageFolder, write_text
from synthio.verdict import verdict_text

PREDICTED_SPLITS: tuple[Split, ...] = ("valid", "test")


def train_arms(
    config: RunConfig,
    clips: Sequence[Clip],
    pools: Pools,
    shares: Mapping[Arm, float],
    folder: StageFolder,
    reporter: Reporter,
) -> list[Prediction]:
    """Train every arm with every seed, predict validation and test clips, compare, and finish the stage.

    ``shares``: expected share of added clips in a batch, for arms where it is not ``train.synthetic_share``.
    What is already in ``folder`` is kept; one arm with one seed is made whole or not at all. Returns the predictions
    in the order arm, seed, validation clips, test clips; `comparison.read_comparison` compares them.
    Raises: `DataError` for clips that cannot be compared on, `ModelError` for the model, `BackendError` when
    training diverges or does not fit into memory.
    """
    if folder.done:
        return folder.manifest(Prediction)
    check_clips(clips, pools)
    check_arms(config)
    units = [(arm, seed) for arm in dict.fromkeys(config.train.arms) for seed in range(config.train.seeds)]
    wanted = [clip for split in PREDICTED_SPLITS for clip in clips if clip.split == split]
    trainings, predictions = _finished(folder, wanted)
    # Seed by seed, so that a half-finished stage has something of every arm.
    pending = sorted((unit for unit in units if training_name(*unit) not in trainings), key=lambda unit: unit[1])
    if pending:
        material = replace(prepare(config, clips, pools, reporter), shares=shares)
        run = _Run(config, material, folder, reporter)
        steps = config.train.steps
        with reporter.task("train", len(units) * steps, (len(units) - len(pending)) * steps) as advance:
            for arm, seed in pending:
                trainings, made = _train_unit(run, arm, seed, trainings, advance)
                predictions |= {prediction.id: prediction for prediction in made}
    ordered = [predictions[f"{training_name(*unit)}/{clip.id}"] for unit in units for clip in wanted]
    folder.finish(ordered, {"gated_share": shares.get("synthio")})
    if len(config.train.arms) > 1:
        reporter.note(verdict_text(read_comparison(folder, clips, config)))
    return ordered


def _finished(folder: StageFolder, wanted: Sequence[Clip]) -> tuple[dict[str, Training], dict[str, Prediction]]:
    """Trainings whose predictions are all there, by name. One that was cut short is made again."""
    predictions = folder.items(Prediction)
    whole = [t for t in read_trainings(folder) if all(f"{t.name}/{clip.id}" in predictions for clip in wanted)]
    return {training.name: training for training in whole}, predictions


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
    model, training = fit_in_memory(run.config, run.material, arm, seed, advance, run.reporter)
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
