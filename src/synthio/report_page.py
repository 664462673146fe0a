"""The report: one folder with a page, audio and pictures that opens from disk, without network or scripts.

Everything shown is in `report_data.ReportData`. Captions, labels and file names are untrusted text: the template
escapes all of it, and charts escape by construction (see `charts`).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synthio import charts, pages
from synthio.config import FilterRule
from synthio.errors import StoreError
from synthio.formats import finite, reason_words, sentence
from synthio.media import Media
from synthio.metrics import known_mean
from synthio.progress import Advance, Reporter
from synthio.recipes import to_yaml
from synthio.report_data import (
    Alignment,
    ArmCurve,
    BeforeAfter,
    FeatureQuantiles,
    FunnelRound,
    ReportData,
    SampleClip,
)
from synthio.verdict import ArmResult, ClassResult, Comparison, effect, recommended_arm
from synthio.writing import check_no_link, write_text

_FUNNEL_PARTS = {
    "accepted": "part-accepted",
    "unlike label": "part-below",
    "copies": "part-copy",
    "failed": "part-failed",
}
_METRICS = {"mAP": "mean average precision"}
_CLASS_METRICS = {"mAP": "average precision of the class"}
_ARM_MEANINGS = {
    "gold": "real clips only",
    "noise": "real clips and copies with white noise",
    "pitch_shift": "real clips and copies at other pitches",
    "specaugment": "real clips and copies with masked frames and bands",
    "audiomentations": "real clips and copies through audiomentations",
    "retrieval": "real clips and the nearest ones of another corpus",
    "synthio": "real and synthetic clips",
}
#: When a clip fits its label, by `filter.rule`.
FITTING: Mapping[FilterRule, str] = {
    "nearest": "Score: the clip's similarity to its own label, minus its similarity to the nearest other label. A clip "
    "fits when the score is 0 or more (the threshold), whatever its similarity.",
    "quantile": "A clip fits when its similarity reaches the threshold, which all but a share (filter.quantile) of the "
    "real training clips reach.",
    "cosine": "A clip fits when its similarity reaches the threshold (filter.threshold).",
    "sigmoid": "Score: the similarity on a scale from 0 to 1 (a sigmoid, as published). A clip fits when its score "
    "reaches the threshold (filter.threshold).",
    "none": "Every clip fits, whatever its similarity (filter.rule: none).",
}


# Writing ------------------------------------------------------------------------------------------------------------


def write_report(data: ReportData, folder: Path, reporter: Reporter) -> Path:
    """Write ``folder/index.html``, ``folder/audio/*.flac`` and ``folder/spectrograms/*.png``.

    Media files are named by their content and the page is replaced last, so a reader sees the old report or the whole
    new one, also after a kill. Files of an older report are removed at the end; nothing else in ``folder`` is touched.

    Returns: the path of the page.
    Raises: `StoreError` when the folder cannot be written, or is a link. A clip that cannot be read becomes a note on
    the page and a warning, never an error.
    """
    check_no_link(folder)
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: cannot be written, it is a file; expected a folder, or a path where none is yet")
    media = Media(folder, data.config.data.max_duration_s, reporter)
    samples = len(data.accepted) + len(data.rejected) + len(data.before_after)
    with reporter.task("report", total=samples) as advance:
        view = {
            "before_after": [_before_after(pair, media, i, advance) for i, pair in enumerate(data.before_after, 1)],
            "accepted": [_sample(clip, media, f"accepted-{i:02d}", advance) for i, clip in enumerate(data.accepted, 1)],
            "rejected": [_sample(clip, media, f"rejected-{i:02d}", advance) for i, clip in enumerate(data.rejected, 1)],
        }
    page = folder / "index.html"
    write_text(page, pages.render("report", data=data, **view, **_figures(data)))
    media.remove_outdated()
    return page


def _before_after(pair: BeforeAfter, media: Media, index: int, advance: Advance) -> dict[str, Any]:
    advance(1)
    name = f"pair-{index:02d}"
    players = [
        ("before alignment", media.player(pair.base_audio, f"{name}-before")),
        ("after alignment", media.player(pair.aligned_audio, f"{name}-after")),
        ("real clip", media.player(pair.real_audio, f"{name}-real")),
    ]
    return {"prompt": pair.prompt, "seed": pair.seed, "players": players}


def _sample(clip: SampleClip, media: Media, name: str, advance: Advance) -> dict[str, Any]:
    advance(1)
    return {
        "clip": clip,
        "player": media.player(clip.audio, name),
        "source": media.player(clip.source_audio, f"{name}-source"),
    }


# Figures ------------------------------------------------------------------------------------------------------------


def _inline(element: ET.Element | None) -> Markup | None:
    """A chart as the template inserts it: ElementTree has escaped it."""
    return None if element is None else Markup(ET.tostring(element, encoding="unicode"))  # noqa: S704


def _figures(data: ReportData) -> dict[str, Any]:
    """Charts, and the few figures that are sums or means of what `ReportData` holds."""
    rule = data.config.filter.rule
    return {
        "series_colours": charts.SERIES_COLOURS,
        "config_yaml": to_yaml(data.config.model_dump(mode="json")),
        "reasons": reason_words(rule),
        "fitting": FITTING[rule],
        "effect": effect(data.comparison),
        "model": recommended_result(data.comparison),
        "funnel_chart": _funnel_chart(data.funnel),
        "training_charts": _training_charts(data.curves, data.comparison.metric),
        "alignment_charts": _alignment_charts(data.alignment) if data.alignment else [],
        "spectral_charts": [(row, _inline(_spectral_chart(row))) for row in data.spectral],
        "total_s": sum(data.times_s.values()),
        **_comparison_figures(data.comparison),
    }


def recommended_result(comparison: Comparison) -> ArmResult:
    """Of the arm whose classifier is in ``model/``."""
    name = recommended_arm(comparison)
    return next(arm for arm in comparison.arms if arm.arm == name)


def _comparison_figures(comparison: Comparison) -> dict[str, Any]:
    arms = [arm.arm for arm in comparison.arms]
    rows = _by_change(comparison)
    return {
        "arm_meanings": _ARM_MEANINGS,
        "metric": _METRICS.get(comparison.metric, comparison.metric),
        "class_metric": _CLASS_METRICS.get(comparison.metric, "accuracy on the class's own clips"),
        "difference_chart": _difference_chart(comparison),
        "seed_chart": _inline(charts.seed_chart([(arm.arm, arm.per_seed, arm.mean) for arm in comparison.arms])),
        "class_chart": _inline(charts.grouped_bars(arms, [_bar_group(row, arms) for row in rows])),
        "class_rows": rows,
        "class_means": _class_means(comparison),
    }


def _difference_chart(comparison: Comparison) -> Markup | None:
    """None also when no arm had synthetic clips: a picture of two equal arms would only mislead."""
    difference = comparison.difference
    if difference is None or not comparison.n_synthetic:
        return None
    return _inline(charts.difference_chart(difference.points, difference.low, difference.high))


def _bar_group(row: ClassResult, arms: Sequence[str]) -> charts.BarGroup:
    note = f"◆ n={row.support}" if row.is_tail else f"n={row.support}"
    return charts.BarGroup(row.label, note, [row.scores.get(arm) for arm in arms])


def _by_change(comparison: Comparison) -> list[ClassResult]:
    """Largest gain first; classes without a gain keep their order at the end."""
    difference = comparison.difference
    if difference is None:
        return list(comparison.classes)

    def loss(row: ClassResult) -> float:
        before, after = (finite(row.scores.get(arm)) for arm in (difference.baseline, difference.arm))
        return float("inf") if before is None or after is None else before - after

    return sorted(comparison.classes, key=loss)


def _class_means(comparison: Comparison) -> list[dict[str, Any]]:
    """Mean score over the long-tail classes and over the others, by arm; empty unless there are both."""
    groups = {
        "long-tail classes": [row for row in comparison.classes if row.is_tail],
        "other classes": [row for row in comparison.classes if not row.is_tail],
    }
    if not all(groups.values()):
        return []
    arms = [arm.arm for arm in comparison.arms]
    return [
        {
            "name": name,
            "n": len(rows),
            "scores": {arm: known_mean(finite(row.scores.get(arm)) for row in rows) for arm in arms},
        }
        for name, rows in groups.items()
    ]


def _funnel_chart(rounds: Sequence[FunnelRound]) -> Markup | None:
    rows = []
    for row in rounds:
        counts = (row.accepted, row.below_threshold, row.copies, row.failed)
        name = "imagined" if row.round == 0 else f"reflection {row.round}"
        rows.append((name, dict(zip(_FUNNEL_PARTS, counts, strict=True))))
    return _inline(charts.stacked_bars(rows, _FUNNEL_PARTS))


def _training_charts(curves: Sequence[ArmCurve], metric: str) -> list[tuple[str, Markup]]:
    pictures = {
        "Loss on validation clips": "valid_loss",
        f"{sentence(_METRICS.get(metric, metric))} on validation clips": "valid_score",
        "Loss on the clips trained on": "train_loss",
    }
    drawn = []
    for title, column in pictures.items():
        series = [charts.Series(c.arm, [(point.step, getattr(point, column)) for point in c.points]) for c in curves]
        chart = _inline(charts.line_chart(f"{title}, by step", series))
        if chart is not None:
            drawn.append((title, chart))
    return drawn


def _alignment_charts(alignment: Alignment) -> list[tuple[str, Markup]]:
    pictures = (
        ("Loss", None, {"training pairs": "train_loss", "held-out pairs": "held_out_loss"}),
        (
            "Share of pairs in which the real clip is preferred",
            0.5,
            {"training pairs": "train_accuracy", "held-out pairs": "held_out_accuracy"},
        ),
        (
            "Denoising error on held-out pairs, minus the base model's (MSE)",
            0.0,
            {"real (winner)": "winner_error_change", "generated (loser)": "loser_error_change"},
        ),
    )
    drawn = []
    for title, reference_y, lines in pictures:
        series = [
            charts.Series(name, [(row.step, getattr(row, column)) for row in alignment.curve])
            for name, column in lines.items()
        ]
        chart = _inline(charts.line_chart(f"{title}, by step", series, alignment.chosen_step, reference_y))
        if chart is not None:
            drawn.append((title, chart))
    return drawn


def _spectral_chart(row: FeatureQuantiles) -> ET.Element | None:
    groups = [(name, values) for name, values in (("real", row.real), ("synthetic", row.synthetic)) if values]
    return charts.quantile_chart(row.name, row.unit or "ratio", groups)
