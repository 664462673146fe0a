"""Keep generated clips that sound like their label and are not copies (arXiv 2410.02056).

CLAPs differ in scale, so no fixed cosine fits all: a clip's label must be the nearest of the data's labels (`nearest`),
or its cosine must reach a quantile of the real training clips' own (`quantile`). The CLAP that filters never judges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import numpy.typing as npt

from synthio import audio, metrics
from synthio.backends.clap import HEARD_AT_ONCE, Clap, Embeddings
from synthio.chunks import chunks
from synthio.config import FilterConfig, RunConfig
from synthio.context import StageContext
from synthio.copies import SAMPLE_RATE_HZ, CopyCheck, Spectrum, fit_to_spectra, spectrum
from synthio.formats import some
from synthio.frozen import Frozen
from synthio.generation import load_generated
from synthio.progress import Reporter
from synthio.records import Candidate, Clip, Prompt, Reason, Verdict, of_split
from synthio.store import StageFolder
from synthio.wording import label_template

Floats = npt.NDArray[np.float64]

#: Of a class, before all of its real clips failing says something.
_FEWEST_REAL = 3
#: Of the rules that have no threshold to set: no cosine is below -1, and a lead of 0 is the nearest label.
_FIXED_THRESHOLDS = {"none": -1.0, "nearest": 0.0}


@dataclass(frozen=True)
class RealClips:
    """How many of the real training clips the rule itself would accept, and how many there are."""

    accepted: int
    total: int
    labels: Mapping[str, tuple[int, int]]
    """Both by label; a clip with several counts for each."""


class FilterSummary(Frozen):
    """The stage's summary."""

    reasons: dict[Reason, int]
    copies: int
    real_clips: RealClips


@dataclass(frozen=True)
class Calibration:
    """What the real training clips say about the filter."""

    thresholds: Mapping[tuple[str, ...], float]
    """Smallest accepted score per label set."""
    fallback: float
    """For label sets that no real clip carries (multi-label mixes)."""
    classes: tuple[str, ...]
    """All labels of the training clips."""
    clip_ids: tuple[str, ...]
    copies: CopyCheck
    real: RealClips

    def threshold(self, labels: tuple[str, ...]) -> float:
        """Smallest accepted score of a clip with these labels."""
        return self.thresholds.get(labels, self.fallback)


def calibrate(config: RunConfig, clips: Sequence[Clip], clap: Clap, reporter: Reporter) -> Calibration:
    """Measure the real training clips, some at a time."""
    training = of_split(clips, "train")
    window_s = float(np.median([clip.duration_s for clip in training]))
    spectra: list[Spectrum] = []
    rows: list[Embeddings] = []
    with reporter.task("filter: real clips", len(training)) as advance:
        for part in chunks(training, HEARD_AT_ONCE):
            heard = [_load(clip, config, clap) for clip in part]
            spectra += [spectrum(waveform, window_s) for waveform in _for_copies(heard, clap)]
            rows.append(clap.embed_audio(heard))
            advance(len(part))
    labels = [clip.labels for clip in training]
    classes = tuple(sorted({label for own in labels for label in own}))
    scores = score(compare(clap, np.concatenate(rows), labels, classes), config.filter, clap.logit_scale)
    thresholds, fallback = class_thresholds(scores, labels, config.filter)
    passing = [own for own, value in zip(labels, scores, strict=True) if value >= thresholds.get(own, fallback)]
    passed, total = (Counter(label for own in sets for label in own) for sets in (passing, labels))
    counts = {name: (passed[name], count) for name, count in total.items()}
    real = RealClips(len(passing), len(labels), counts)
    for warning in real_clip_warnings(real):
        reporter.warn(warning)
    return Calibration(
        thresholds=thresholds,
        fallback=fallback,
        classes=classes,
        clip_ids=tuple(clip.id for clip in training),
        copies=fit_to_spectra(spectra, window_s, config.filter.copy_quantile),
        real=real,
    )


def real_clip_warnings(real: RealClips) -> list[str]:
    """When the filter would drop the user's own clips, and so synthetic ones that are as good."""
    none = [repr(name) for name, (good, of) in sorted(real.labels.items()) if good == 0 and of >= _FEWEST_REAL]
    if 2 * real.accepted >= real.total and not none:
        return []
    classes = f", and of {some(none)} none" if none else ""
    return [
        f"the filter itself would accept only {real.accepted} of {real.total} real training clips{classes}: it drops "
        "synthetic clips that are as good as real ones. Try filter.rule=quantile, which goes by what your own clips "
        "score, or another clap.model"
    ]


def _load(clip: Clip, config: RunConfig, clap: Clap) -> audio.Waveform:
    return audio.load_start(Path(clip.path), config.data.max_duration_s, clap.sample_rate_hz)


@dataclass(frozen=True)
class Similarities:
    """Cosines of clips, each of shape ``(clips,)``."""

    own: Floats
    """With the template of the clip's own labels."""
    other: Floats
    """The highest with the template of a label that the clip does not have; -1 where it has all labels."""


def compare(clap: Clap, rows: Embeddings, labels: Sequence[tuple[str, ...]], classes: Sequence[str]) -> Similarities:
    """How near each clip, of which ``rows`` has the embedding, is to its own labels, and to the nearest of the other
    ``classes``."""
    own_texts, class_texts = [label_template(own) for own in labels], [label_template((name,)) for name in classes]
    texts = sorted({*own_texts, *class_texts})
    column = {text: index for index, text in enumerate(texts)}
    cosine = np.asarray(rows @ clap.embed_text(texts).T, dtype=np.float64)
    own = cosine[np.arange(len(labels)), [column[text] for text in own_texts]]
    of_classes = cosine[:, [column[text] for text in class_texts]]
    return Similarities(own, np.where(metrics.multi_hot(labels, classes), -1.0, of_classes).max(axis=1))


def score(similarities: Similarities, settings: FilterConfig, logit_scale: float) -> Floats:
    """What the threshold applies to: the cosine with the own labels; under `nearest` its lead over the other labels;
    under the published rule sigmoid(logit_scale * cosine)."""
    match settings.rule:
        case "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logit_scale * similarities.own)))
        case "nearest":
            return similarities.own - similarities.other
        case "quantile" | "cosine" | "none":
            return similarities.own
        case _ as other:
            assert_never(other)


def class_thresholds(
    scores: Floats, labels: Sequence[tuple[str, ...]], settings: FilterConfig
) -> tuple[dict[tuple[str, ...], float], float]:
    """Thresholds per label set, and one for unseen sets.

    Under `quantile`, a class with enough clips uses its own quantile. A smaller one uses its own mean plus the pooled
    quantile of all clips' deviations from their class means: a mean needs few clips, a quantile many.
    """
    if settings.rule != "quantile":
        return {}, _FIXED_THRESHOLDS.get(settings.rule, settings.threshold)
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for label, value in zip(labels, scores, strict=True):
        groups[label].append(float(value))
    deviations = [value - np.mean(group) for group in groups.values() for value in group]
    below_mean = float(np.quantile(deviations, settings.quantile))
    thresholds = {
        label: float(np.quantile(group, settings.quantile))
        if len(group) >= settings.min_clips_per_class
        else float(np.mean(group)) + below_mean
        for label, group in groups.items()
    }
    return thresholds, float(np.quantile(scores, settings.quantile))


def filter_candidates(
    context: StageContext,
    calibration: Calibration,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    generated: StageFolder,
    clap: Clap,
) -> list[Verdict]:
    """One verdict per candidate, in order; ``generated`` has their files.

    Some are heard at a time, and verdicts are kept across kills. Raises: `StoreError` for a file that is gone.
    """
    finished, wanted = context.folder.items(Verdict), {candidate.id: candidate for candidate in candidates}

    def make(part: Sequence[Candidate]) -> list[Verdict]:
        return hear(context.config, calibration, prompts, part, generated, clap)

    ordered = context.make_missing("filter", wanted, finished, HEARD_AT_ONCE, make)
    summary = FilterSummary(
        reasons=Counter(v.reason for v in ordered),
        copies=sum(v.is_copy for v in ordered),
        real_clips=calibration.real,
    )
    context.folder.finish(ordered, summary.model_dump(mode="json"))
    return ordered


def hear(
    config: RunConfig,
    calibration: Calibration,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    generated: StageFolder,
    clap: Clap,
) -> list[Verdict]:
    """One verdict per candidate, in order, of all at once; ``generated`` has their files.

    Raises: `StoreError` for a file that is gone.
    """
    labels = {prompt.id: prompt.labels for prompt in prompts}
    heard: list[tuple[Candidate, audio.Waveform]] = []
    unheard: list[Verdict] = []
    for candidate in candidates:
        threshold = calibration.threshold(labels[candidate.prompt_id])
        if candidate.path is None:
            unheard.append(_unheard(candidate, threshold, "generation-failed"))
            continue
        samples = load_generated(generated.file(candidate.path), clap.sample_rate_hz)
        if audio.is_silent(samples):
            unheard.append(_unheard(candidate, threshold, "silent"))
        else:
            heard.append((candidate, samples))
    verdicts = {v.id: v for v in (*unheard, *_filter_heard(config, calibration, labels, heard, clap))}
    return [verdicts[candidate.id] for candidate in candidates]


def _for_copies(waveforms: Sequence[audio.Waveform], clap: Clap) -> list[audio.Waveform]:
    return [audio.resample(waveform, clap.sample_rate_hz, SAMPLE_RATE_HZ) for waveform in waveforms]


def _unheard(candidate: Candidate, threshold: float, reason: Reason) -> Verdict:
    return Verdict(id=candidate.id, similarity=None, score=None, threshold=threshold, accepted=False, reason=reason)


def _filter_heard(
    config: RunConfig,
    calibration: Calibration,
    labels: Mapping[str, tuple[str, ...]],
    heard: Sequence[tuple[Candidate, audio.Waveform]],
    clap: Clap,
) -> list[Verdict]:
    if not heard:
        return []
    settings = config.filter
    own = [labels[candidate.prompt_id] for candidate, _ in heard]
    waveforms = [waveform for _, waveform in heard]
    similarities = compare(clap, clap.embed_audio(waveforms), own, calibration.classes)
    scores = score(similarities, settings, clap.logit_scale)
    distances, nearest = calibration.copies.nearest(_for_copies(waveforms, clap))
    verdicts = []
    for row, (candidate, _) in enumerate(heard):
        threshold = calibration.threshold(own[row])
        is_copy = settings.copies != "ignore" and bool(distances[row] < calibration.copies.distance)
        dropped_copy = is_copy and settings.copies == "drop"
        passed = bool(scores[row] >= threshold)
        verdicts.append(
            Verdict(
                id=candidate.id,
                similarity=float(similarities.own[row]),
                score=float(scores[row]),
                threshold=threshold,
                accepted=passed and not dropped_copy,
                reason="copy" if dropped_copy else "accepted" if passed else "below-threshold",
                nearest_clip_id=calibration.clip_ids[int(nearest[row])],
                nearest_distance=float(distances[row]),
                is_copy=is_copy,
            )
        )
    return verdicts
