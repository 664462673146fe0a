"""`synthio evaluate t2a` for people: the rows of its table, and its page of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio import audio, pages
from synthio.formats import measure
from synthio.media import Media, Player
from synthio.progress import Reporter
from synthio.records import GeneratorState, Samples
from synthio.stages.evaluate import Evaluation, GeneratorScores
from synthio.writing import check_no_link, inside, write_text

_SAMPLES_PER_CLASS = 2
#: Uncertainty of a share from which on the reader is warned.
_MUCH = 0.1


@dataclass(frozen=True)
class FinishedEvaluation:
    """What `synthio evaluate t2a` found, for those who read it."""

    name: str
    """The run folder's."""
    evaluation: Evaluation
    made: Mapping[GeneratorState, Samples]
    align_method: str
    warnings: tuple[str, ...]
    """Of the data, the alignment and the figures."""
    real: Mapping[str, Sequence[Path]]
    """The training clips of each class."""
    heard_s: float
    """What the stages hear of a recording, from its start, and so what of it is played."""

    @property
    def alignment(self) -> str:
        """What became of the alignment, in words."""
        return alignment_text(self.align_method, self.evaluation)


@dataclass(frozen=True)
class TableRow:
    """One measure: the real clips' value, then one per model; words, ready to print."""

    measure: str
    values: tuple[str, ...]
    meaning: str


#: Name, field of `GeneratorScores`, format, and what a reader must know.
_MEASURES = (
    ("clips", "clips", "d", "How many clips the column has."),
    (
        "silent or refused",
        "silent",
        "d",
        "Clips without sound, and clips that the model refused to make. Judge accuracy and CLAP zero-shot accuracy "
        "count them as wrong; the other rows leave them out.",
    ),
    (
        "judge accuracy",
        "judge_accuracy",
        ".1%",
        "Share of clips whose class the judge recognises, as a mean over classes. A perfect generator would reach what "
        "the real clips reach.",
    ),
    (
        "classification accuracy score",
        "classification_accuracy_score",
        ".1%",
        "The recipe's classifier is trained on the clips of this column alone, and tested on the real validation and "
        "test clips. Mean over classes.",
    ),
    (
        "Frechet distance",
        "frechet_distance",
        ".3g",
        "Distance of all clips together from the real training clips, in the judge's embeddings. 0 is best; it has no "
        "unit and no upper end. With few clips it is too high, so compare only columns with equally many clips.",
    ),
    (
        "kernel distance",
        "kernel_distance",
        ".3g",
        "Another distance of the same kind, which is not too high with few clips. Near 0, and sometimes below, is as "
        "good as real. Compare it within this table only.",
    ),
    (
        "relative diversity",
        "relative_diversity",
        ".2f",
        "How much the clips of one class differ from each other. 1 is as varied as the real clips; below 1 they are "
        "more alike.",
    ),
    (
        "copy rate",
        "copy_rate",
        ".1%",
        "Share of clips that are nearer to a real training clip than real clips are to each other. 0% is best: a copy "
        "adds nothing new.",
    ),
    (
        "CLAP zero-shot accuracy",
        "zero_shot_accuracy",
        ".1%",
        "Share of clips whose own class is the nearest by CLAP, as a mean over classes. An indication only: the filter "
        "selects clips by the same model.",
    ),
    (
        "CLAP text-to-audio precision",
        "text_to_audio_precision",
        ".1%",
        "The other way round: all clips are searched for each class, by CLAP. If the class has 10 clips, this is the "
        "share of the 10 nearest clips that are of the class, as a mean over classes (R-precision). Guessing reaches "
        "the share that a class has of all clips.",
    ),
)
#: Format and meaning of the medians of `GeneratorScores.features`.
_FEATURES = {
    "centroid_hz": (",.0f", "The middle of the spectrum: higher sounds brighter."),
    "bandwidth_hz": (",.0f", "The width of the spectrum: a tone is narrow, noise is wide."),
    "flatness": (".3g", "0 is a pure tone, 1 is white noise."),
}


def table_rows(evaluation: Evaluation) -> list[TableRow]:
    """The table of the command line and of the page."""
    sets = [evaluation.real, *evaluation.generated.values()]
    measures = [
        TableRow(name, tuple(measure(getattr(scores, field), form) for scores in sets), meaning)
        for name, field, form, meaning in _MEASURES
    ]
    features = [
        TableRow(_feature_name(field), tuple(measure(scores.features[field], form) for scores in sets), meaning)
        for field, (form, meaning) in _FEATURES.items()
    ]
    return [*measures, *features]


def _feature_name(field: str) -> str:
    name, unit = audio.FEATURES[field]
    return f"median {name} ({unit})" if unit else f"median {name}"


def figure_warnings(evaluation: Evaluation) -> list[str]:
    """When the figures are of too few clips to say much, or of a judge that knows no class."""
    warnings = []
    real, generated = evaluation.real, evaluation.generated.values()
    if real.judge_accuracy <= evaluation.chance + _uncertainty(real.clips):
        warnings.append(
            f"the judge recognises {real.judge_accuracy:.1%} of the {real.clips} real clips, which guessing may reach "
            f"too ({evaluation.chance:.1%} on average): its accuracies, the distances and the diversity say nothing. "
            f"It has learnt from {evaluation.judge_training_clips} validation and test clips; it needs more"
        )
    fewest = min(evaluation.judge_training_clips, real.clips, *(scores.clips for scores in generated))
    if _uncertainty(fewest) > _MUCH:
        of_class = min(scores.clips // len(scores.per_class) for scores in generated)
        warnings.append(
            f"few clips: a share of {fewest} clips is uncertain by {100 * _uncertainty(fewest):.0f} points, and that "
            f"of one class ({of_class} generated clips) by {100 * _uncertainty(of_class):.0f} points; set "
            "evaluate.clips_per_class higher, or add real clips"
        )
    return warnings


def _uncertainty(clips: int) -> float:
    """Of a share of so many clips: half of its 95% interval, where that is widest (a share of one half)."""
    return 0.98 / math.sqrt(clips)


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
    learnt = f"{aligned.classification_accuracy_score:.0%} instead of {base.classification_accuracy_score:.0%}"
    return f"{said}; a classifier that learns from them alone is right about {learnt} of real clips."


def write_page(finished: FinishedEvaluation, page: Path, reporter: Reporter) -> Path:
    """Write the page, and the clips that it plays into folders beside it. Returns ``page``.

    Raises: `StoreError` when it cannot be written, or its folder is a link. A clip that cannot be read becomes a note
    on the page and a warning.
    """
    check_no_link(page.parent)
    media = Media(page.parent, finished.heard_s, reporter)
    view = {
        "finished": finished,
        "evaluation": finished.evaluation,
        "rows": table_rows(finished.evaluation),
        "samples": _samples(finished, media),
    }
    write_text(page, pages.render("evaluation", **view))
    media.remove_outdated()
    return page


def _samples(finished: FinishedEvaluation, media: Media) -> dict[str, list[list[tuple[str, Player]]]]:
    """By class, sets of clips to compare: a real one, and what each model made in its place (None where it refused), by
    name and in the order of the table's columns."""
    of_id = {
        clip.id: inside(own.folder, clip.path)
        for own in finished.made.values()
        for clip in own.clips
        if clip.failed is None
    }

    def players(index: int, label: str, number: int) -> list[tuple[str, Player]]:
        real = finished.real[label]
        # As `plan_samples` takes the durations.
        sources: dict[str, Path | None] = {"real": real[number % len(real)]}
        for model in finished.evaluation.generated:
            sources[model] = of_id.get(f"{model}/{label}/{number}")
        file_number = _SAMPLES_PER_CLASS * index + number
        return [(name, media.player(source, f"{name}-{file_number:03d}")) for name, source in sources.items()]

    return {
        label: [players(index, label, number) for number in range(_SAMPLES_PER_CLASS)]
        for index, label in enumerate(finished.evaluation.real.per_class)
    }
