"""`synthio evaluate t2a` for people: the rows of its table, and its page of samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthio import audio, pages
from synthio.formats import measure
from synthio.records import GeneratorState, Samples
from synthio.stages.evaluate import Evaluation, GeneratorScores
from synthio.store import check_no_link, inside, write_text

_SAMPLES_PER_CLASS = 2


@dataclass(frozen=True)
class FinishedEvaluation:
    """What `synthio evaluate t2a` found, for those who read it."""

    name: str
    """The run folder's."""
    evaluation: Evaluation
    made: Mapping[GeneratorState, Samples]
    align_method: str
    warnings: tuple[str, ...]
    """Of the data and the alignment."""

    @property
    def alignment(self) -> str:
        """What became of the alignment, in words."""
        return alignment_text(self.align_method, self.evaluation)


@dataclass(frozen=True)
class TableRow:
    """One measure: the real clips' value, then one per model; words, ready to print."""

    measure: str
    values: tuple[str, ...]


def table_rows(evaluation: Evaluation) -> list[TableRow]:
    """The table of the command line and of the page."""
    sets = [evaluation.real, *evaluation.generated.values()]

    def row(name: str, field: str, form: str) -> TableRow:
        return TableRow(name, tuple(measure(getattr(scores, field), form) for scores in sets))

    rows = [
        row("clips", "clips", "d"),
        row("silent or refused", "silent", "d"),
        row("judge accuracy", "judge_accuracy", ".1%"),
        row("learnt accuracy", "learnt_accuracy", ".1%"),
        row("Frechet distance", "frechet_distance", ".3g"),
        row("kernel distance", "kernel_distance", ".3g"),
        row("relative diversity", "relative_diversity", ".2f"),
        row("copy rate", "copy_rate", ".1%"),
        row("CLAP retrieval", "retrieval", ".1%"),
    ]
    for field in evaluation.real.features:
        name, unit = audio.FEATURES[field]
        values = tuple(f"{scores.features[field]:.3g}" for scores in sets)
        rows.append(TableRow(f"median {name} ({unit})" if unit else f"median {name}", values))
    return rows


def alignment_text(method: str, evaluation: Evaluation) -> str:
    """What became of the alignment, in words. ``method``: `align.method`."""
    if method == "none":
        return "The generator was not aligned (align.method: none)."
    if "aligned" not in evaluation.generated:
        return (
            "Alignment kept the base generator: no step was better on held-out pairs. So there is no aligned generator "
            "to evaluate."
        )
    return _change(evaluation.generated["base"], evaluation.generated["aligned"])


def _change(base: GeneratorScores, aligned: GeneratorScores) -> str:
    assert base.frechet_distance is not None and aligned.frechet_distance is not None
    nearer = 100 * (1 - aligned.frechet_distance / max(base.frechet_distance, 1e-12))
    said = f"Aligned clips are {abs(nearer):.0f}% {'nearer to' if nearer >= 0 else 'farther from'} the real ones"
    if base.relative_diversity and aligned.relative_diversity:
        said += f"; diversity changed by {100 * (aligned.relative_diversity / base.relative_diversity - 1):+.0f}%"
    said += f"; the judge recognises {aligned.judge_accuracy:.0%} instead of {base.judge_accuracy:.0%}"
    learnt = f"{aligned.learnt_accuracy:.0%} instead of {base.learnt_accuracy:.0%}"
    return f"{said}; a classifier that learns from them alone is right about {learnt} of real clips."


def write_page(finished: FinishedEvaluation, page: Path) -> Path:
    """Write the page; it plays the clips where they lie. Returns ``page``.

    Raises: `StoreError` when it cannot be written, or its folder is a link.
    """
    check_no_link(page.parent)
    evaluation, made = finished.evaluation, finished.made
    of_id = {
        clip.id: inside(own.folder, clip.path) for own in made.values() for clip in own.clips if clip.failed is None
    }
    samples = []
    for label in evaluation.real.per_class:
        for number in range(_SAMPLES_PER_CLASS):
            # In the order of the table's columns; a model that refused its clip has none.
            paths = {model: of_id.get(f"{model}/{label}/{number}") for model in evaluation.generated}
            sources = {
                model: Path(os.path.relpath(path, page.parent.resolve())).as_posix() if path else None
                for model, path in paths.items()
            }
            samples.append({"label": label, "number": number + 1, "sources": sources})
    view = {"finished": finished, "evaluation": evaluation, "rows": table_rows(evaluation), "samples": samples}
    write_text(page, pages.render("evaluation", **view))
    return page
