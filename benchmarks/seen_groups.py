"""Do synthetic clips help with the instruments of the training clips, or with others?

    python benchmarks/seen_groups.py OUT.jsonl [bench recipe overrides...]
    python benchmarks/seen_groups.py seen.jsonl 'sizes=[50]' 'arms=[gold,synthio,no_dpo]' seeds=3

Every draw of the bench recipe is trained on with every arm's synthetic clips at the recipe's share (no gate), and the
last weights are examined on clips that the draw left over: other clips of the training groups, and all clips of the
validation groups. No figure comes from test clips, so settings may be chosen by this; but one draw's validation groups
may be another's test groups. Appends one JSON line per training to OUT.jsonl, goes on where it stopped, and prints the
means.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthio.arms import added_share, fit_in_memory, prepare
from synthio.backends.devices import resolve_device
from synthio.backends.fine_tuning import predict
from synthio.bench.recipe import BenchRecipe, Cell, all_cells, run_config
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.pipeline import Pipeline
from synthio.progress import Reporter
from synthio.recipes import load_recipe
from synthio.records import Clip
from synthio.results import synthetic_clips
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder

RECIPE = Path("recipes/bench/pocket.yaml")
TRAININGS, MOST = 2, 400
#: Training clips of the larger draw of the same seed that what is left over comes from.
LARGE = {"instruments": 400, "percussion": 200}


def left_over(config: RunConfig, training: Sequence[Clip], dataset: str, folder: Path) -> dict[str, list[Clip]]:
    """Clips that the draw did not take: of its training groups, and of the validation groups."""
    sample = config.data.sample.model_copy(update={"train": LARGE[dataset]})
    large = config.model_copy(update={"data": config.data.model_copy(update={"sample": sample})})
    clips = collect_clips(StageContext(large, StageFolder(folder, "clips", "large"), Reporter()))
    taken, groups = {clip.id for clip in training}, {clip.group for clip in training}
    seen = [c for c in clips if c.split == "train" and c.group in groups and c.id not in taken]
    return {"seen": seen[:MOST], "unseen": [clip for clip in clips if clip.split == "valid"][:MOST]}


def examine(scores: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy, and mean log loss with probabilities of at least 1e-6."""
    own = scores[np.arange(len(targets)), targets]
    return float((scores.argmax(axis=1) == targets).mean()), float(-np.log(np.maximum(own, 1e-6)).mean())


def run_draw(recipe: BenchRecipe, cell: Cell, done: set[tuple[Any, ...]], out: Path) -> None:
    """Every training of one cell that is not done."""
    todo = [seed for seed in range(TRAININGS) if (cell.dataset, cell.seed, cell.arm, seed) not in done]
    if not todo:
        return
    config = run_config(recipe, cell)
    pipeline = Pipeline(config, Reporter())
    arm = config.train.arms[-1]
    training = [clip for clip in pipeline.clips() if clip.split == "train"]
    added_clips = {"synthio": synthetic_clips(pipeline.rounds())} if arm == "synthio" else {}
    exams = left_over(config, training, cell.dataset, out.with_suffix(".draws") / f"{cell.dataset}-{cell.seed}")
    exam = [clip.model_copy(update={"split": "test"}) for clips in exams.values() for clip in clips]
    data = prepare(config, [*training, *exam], added_clips, Reporter(), config.train.arms)
    data = replace(data, shares={arm: added_share(config, data, arm)})
    targets, device = data.examples["test"].targets.numpy(), resolve_device(config.train.device)
    for seed in todo:
        model, _ = fit_in_memory(config, data, arm, seed, lambda _: None, Reporter())
        scores = predict(model, data.examples["test"].inputs, config.train.batch_size, device)
        row: dict[str, Any] = {"dataset": cell.dataset, "draw": cell.seed, "arm": cell.arm, "training": seed}
        start = 0
        for name, clips in exams.items():
            part = slice(start, start + len(clips))
            row[name], row[f"{name}_loss"] = examine(scores[part], targets[part])
            start += len(clips)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """See the module."""
    out, recipe = Path(sys.argv[1]), load_recipe(RECIPE, sys.argv[2:], BenchRecipe)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    done = {(row["dataset"], row["draw"], row["arm"], row["training"]) for row in rows}
    for cell in all_cells(recipe):
        run_draw(recipe, cell, done, out)
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in map(json.loads, out.read_text().splitlines()):
        found[row["dataset"], row["arm"]].append([row[k] for k in ("seen", "seen_loss", "unseen", "unseen_loss")])
    for (dataset, arm), values in sorted(found.items()):
        seen, seen_loss, unseen, unseen_loss = np.mean(values, axis=0)
        print(
            f"{dataset:12} {arm:10} {len(values)} trainings: same groups {100 * seen:.1f}%, {seen_loss:.2f}; "
            f"other groups {100 * unseen:.1f}%, {unseen_loss:.2f}"
        )


if __name__ == "__main__":
    main()
