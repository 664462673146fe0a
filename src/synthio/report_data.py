"""What the report shows of a finished run: plain values. Numbers are read or counted here, never made up."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from synthio import audio
from synthio.backends.choices import backend_of, plugin_of
from synthio.backends.fine_tuning import CurvePoint
from synthio.backends.identity import model_identity
from synthio.backends.parts import UsedModel, used_models
from synthio.caption_words import ClassCaptions, class_captions
from synthio.config import CaptionConfig, EndpointConfig, ImagineConfig, RunConfig
from synthio.confusion import Confusion
from synthio.curves import by_arm, mean_curve
from synthio.datasets.checks import class_counts
from synthio.errors import DataError
from synthio.records import Caption, Measurement, PreferencePair, RejectedClip, Split, of_split
from synthio.results import FinishedRun, Made, Round
from synthio.seeds import derive_seed, in_turn
from synthio.stages.align import read_curve
from synthio.stages.gate import GateMeasures
from synthio.store import StageFolder, fingerprint
from synthio.verdict import Comparison
from synthio.versions import versions
from synthio.writing import write_text

_RATE_HZ = 16_000
#: Raise it when `audio.spectral_features` changes: kept features no longer hold.
_FEATURES_VERSION = 1
#: An unpitched clip has a pitch of NaN.
_FEATURES_FILE = TypeAdapter(dict[str, audio.SpectralFeatures], config=ConfigDict(ser_json_inf_nan="constants"))
#: All of five clips lie on one side of what half of all clips lie on once in sixteen times; of fewer, too often.
_FEWEST_FOR_A_RANGE = 5
#: By ``caption.kind``; the table has the CLAP in a row above.
_CAPTIONERS_WITHOUT_WEIGHTS = {"clap": "by the CLAP above", "template": "no model"}


# What the page shows. Scores are fractions in [0, 1]; None or NaN means "not measured" ------------------------------


@dataclass(frozen=True)
class FunnelRound:
    """What became of one round's captions. Round 0 is imagined; later rounds are rewritten."""

    round: int
    captions: int
    generated: int
    accepted: int
    below_threshold: int
    copies: int
    failed: int
    """Generation failed, or the clip is silent."""
    given_up: int
    """Captions that are not rewritten any more."""


@dataclass(frozen=True)
class Alignment:
    """How the generator was aligned."""

    curve: Sequence[Measurement]
    chosen_step: int
    warnings: Sequence[str]


@dataclass(frozen=True)
class ArmCurve:
    """How the trainings of one arm went."""

    arm: str
    points: Sequence[CurvePoint]
    """The mean over its seeds at each step."""
    kept_steps: Sequence[int]
    """Where the weights of each seed were taken."""


@dataclass(frozen=True)
class BeforeAfter:
    """The same prompt and seed through the base and the aligned generator."""

    prompt: str
    base_audio: Path
    aligned_audio: Path
    real_audio: Path
    """The training clip that the prompt belongs to."""
    seed: int


@dataclass(frozen=True)
class FeatureQuantiles:
    """Quantiles 10, 25, 50, 75 and 90 of one spectral feature; an empty sequence where no such clip has it."""

    name: str
    unit: str
    """`Hz`, or empty for a ratio."""
    real: Sequence[float]
    synthetic: Sequence[float]


@dataclass(frozen=True)
class ClassMedians:
    """Medians of the spectral features of one class, by feature name."""

    label: str
    real: Mapping[str, float | None]
    synthetic: Mapping[str, float | None]
    unlike: Mapping[str, tuple[float, float]]
    """Of features whose synthetic median lies outside it: the range of the real clips without the lowest and the
    highest tenth."""


@dataclass(frozen=True)
class SampleClip:
    """One generated clip to listen to."""

    audio: Path | None
    """None when generation failed."""
    labels: Sequence[str]
    caption: str
    similarity: float | None
    """CLAP cosine."""
    threshold: float
    reason: str
    """As in `records.Verdict`."""
    round: int
    source_clip_id: str
    source_audio: Path
    score: float | None
    """What was compared with the threshold, where that is not the cosine."""


@dataclass(frozen=True)
class LanguageModelUse:
    """What a language model read and wrote. ``cost`` is at the recipe's prices, None when it has none."""

    part: str
    """What it did: `language model` or `captioner`."""
    model: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    requests: int


@dataclass(frozen=True)
class ModelUsed:
    """One model of the run."""

    part: str
    name: str
    identity: str | None
    """`model_identity`, and the commits of the hub's; None for a model that is not loaded here."""


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    config: RunConfig
    title: str
    verdict: str
    """The result in plain words."""
    comparison: Comparison
    confusion: Confusion
    """Of the classifier in the folder ``model``."""
    gate: GateMeasures | None
    """None when the gate was not asked."""
    funnel: Sequence[FunnelRound]
    captions: Sequence[ClassCaptions]
    curves: Sequence[ArmCurve]
    alignment: Alignment | None
    """None when it was turned off."""
    before_after: Sequence[BeforeAfter]
    spectral: Sequence[FeatureQuantiles]
    spectral_classes: Sequence[ClassMedians]
    accepted: Sequence[SampleClip]
    rejected: Sequence[SampleClip]
    times_s: Mapping[str, float]
    """How long each stage took, over all sittings."""
    language_models: Sequence[LanguageModelUse]
    peak_memory_bytes: int
    peak_device_memory_bytes: int | None
    """None without an accelerator."""
    versions: Mapping[str, str]
    models: Sequence[ModelUsed]
    warnings: Sequence[str]
    class_counts: Mapping[str, Mapping[Split, int]]
    """Usable clips per class and split."""
    rejected_files: Sequence[RejectedClip]
    model_seed: int
    """Of the training, of the recommended arm, that is in the folder ``model``."""


# Filling --------------------------------------------------------------------------------------------------------------


def collect_report(run: FinishedRun) -> ReportData:
    """Everything on the page."""
    config, clips, rounds = run.config, run.clips, run.rounds
    sources = {clip.id: Path(clip.path) for clip in clips}
    samples = [_sample(r, made, sources) for r in rounds for made in r.made]
    accepted = [sample for sample in samples if sample.reason == "accepted"]
    rejected = [sample for sample in samples if sample.reason != "accepted"]
    measured, unmeasured = measure_sounds(_sounds(run, accepted), run.root / "cache", config.data.max_duration_s)
    spectral, spectral_classes = _spectral(measured)
    return ReportData(
        config=config,
        title=run.root.name,
        verdict=run.verdict,
        comparison=run.comparison,
        confusion=run.confusion,
        gate=run.gate,
        funnel=[funnel_round(r) for r in rounds],
        captions=_captions(run),
        curves=_curves(run),
        alignment=_alignment(run.align_folder),
        before_after=_before_after(run, sources),
        spectral=spectral,
        spectral_classes=spectral_classes,
        accepted=_spread(accepted, config.report.samples_per_verdict, config.seed),
        rejected=_spread(rejected, config.report.samples_per_verdict, config.seed),
        times_s=run.seconds,
        language_models=_language_models(run),
        peak_memory_bytes=_peak_memory_bytes(),
        peak_device_memory_bytes=_peak_device_memory_bytes(),
        versions=versions(),
        models=models_used(run.config, run.hub_commits),
        warnings=[*run.warnings, *unmeasured],
        class_counts=class_counts(clips),
        rejected_files=_rejected_files(run),
        model_seed=run.model_seed,
    )


def funnel_round(r: Round) -> FunnelRound:
    """What became of one round's captions."""
    reasons = [verdict.reason for verdict in r.verdicts]
    return FunnelRound(
        round=r.number,
        captions=len(r.prompts),
        generated=sum(candidate.failed is None for candidate in r.candidates),
        accepted=reasons.count("accepted"),
        below_threshold=reasons.count("below-threshold"),
        copies=reasons.count("copy"),
        failed=reasons.count("generation-failed") + reasons.count("silent"),
        given_up=int(r.imagined.summary().get("given_up", 0)),
    )


def models_used(config: RunConfig, hub_commits: Mapping[str, Sequence[str]]) -> list[ModelUsed]:
    """Each part's model and what identifies it."""
    return [
        ModelUsed(
            used.part,
            used.name,
            ", ".join(filter(None, [used.plugin, _identity(used, hub_commits)])) or None,
        )
        for used in used_models(config)
    ]


def _identity(used: UsedModel, hub_commits: Mapping[str, Sequence[str]]) -> str | None:
    if used.kind != "weights":
        return _CAPTIONERS_WITHOUT_WEIGHTS.get(used.name) if used.kind == "none" else None
    identity = model_identity(used.part, used.name, used.revision)
    commits = hub_commits.get(identity)
    return identity if commits is None else f"{identity} (commit {', then '.join(commits)})"


def _sample(r: Round, made: Made, sources: Mapping[str, Path]) -> SampleClip:
    prompt, candidate, verdict = made
    return SampleClip(
        audio=None if candidate.path is None else r.generated.file(candidate.path),
        labels=prompt.labels,
        caption=prompt.text,
        similarity=verdict.similarity,
        threshold=verdict.threshold,
        reason=verdict.reason,
        round=prompt.round,
        source_clip_id=prompt.clip_id,
        source_audio=sources[prompt.clip_id],
        score=None if verdict.score == verdict.similarity else verdict.score,
    )


def _spread(samples: Sequence[SampleClip], count: int, seed: int) -> list[SampleClip]:
    """A seeded sample of all classes."""

    # Not by the audio's path: the same run shows the same wherever it lies.
    def seed_of(sample: SampleClip) -> int:
        return derive_seed(seed, "report", sample.source_clip_id, sample.round, sample.caption)

    chosen = in_turn(samples, lambda sample: tuple(sample.labels), seed_of, seed)[:count]
    return sorted(chosen, key=lambda sample: tuple(sample.labels))


def _captions(run: FinishedRun) -> list[ClassCaptions]:
    labels = {clip.id: clip.labels for clip in run.clips}
    # Other modes write no captions of the real clips.
    real = run.caption_folder.manifest(Caption) if run.rounds and run.config.imagine.mode == "mixcap" else []
    return class_captions(
        [(prompt.labels, prompt.text) for r in run.rounds for prompt in r.prompts],
        [(prompt.labels, prompt.text) for r in run.rounds for prompt, _, _ in r.accepted],
        [(labels[caption.id], caption.text) for caption in real],
    )


def _curves(run: FinishedRun) -> list[ArmCurve]:
    trainings = by_arm(run.trainings.values())
    return [ArmCurve(arm, mean_curve(own), [training.best.step for training in own]) for arm, own in trainings.items()]


def _alignment(folder: StageFolder | None) -> Alignment | None:
    if folder is None:
        return None
    summary = folder.summary()
    return Alignment(read_curve(folder), summary["chosen_step"], summary["warnings"])


def _before_after(run: FinishedRun, sources: Mapping[str, Path]) -> list[BeforeAfter]:
    folder = run.align_folder
    if folder is None:
        return []
    pairs = {pair.id: pair for pair in folder.manifest(PreferencePair)}
    return [
        BeforeAfter(
            prompt=pairs[name].prompt,
            base_audio=run.losers_folder.file(pairs[name].loser_path),
            aligned_audio=folder.file(f"after/{name}.flac"),
            real_audio=sources[pairs[name].clip_id],
            seed=derive_seed(run.config.seed, "loser", name),
        )
        for name in folder.summary()["after"]
    ]


@dataclass(frozen=True)
class Sound:
    """A clip whose spectral features are shown."""

    key: str
    """Another one for other content."""
    labels: tuple[str, ...]
    path: Path


Measured = Mapping[str, Sequence[tuple[tuple[str, ...], audio.SpectralFeatures]]]
"""Labels and features of the clips of each kind, `real` and `synthetic`."""


def _sounds(run: FinishedRun, accepted: Sequence[SampleClip]) -> dict[str, list[Sound]]:
    training = of_split(run.clips, "train")
    made = {sample.audio: tuple(sample.labels) for sample in accepted if sample.audio is not None}
    return {
        "real": [Sound(f"{clip.sha256}@{clip.sample_rate_hz}", clip.labels, Path(clip.path)) for clip in training],
        # The name of a stage's folder changes with what the stage makes.
        "synthetic": [Sound(path.relative_to(run.root).as_posix(), labels, path) for path, labels in made.items()],
    }


def measure_sounds(sounds: Mapping[str, Sequence[Sound]], cache: Path, most_s: float) -> tuple[Measured, list[str]]:
    """Spectral features of the first ``most_s`` seconds of each sound, kept in the folder ``cache``: a report that is
    written anew measures only what is new.

    Returns: the features of each kind, and a warning where files could not be read.
    """
    path = cache / f"features-{fingerprint([_FEATURES_VERSION, _RATE_HZ, most_s])}.json"
    kept = _kept_features(path)
    new: dict[str, audio.SpectralFeatures] = {}
    failed: list[DataError] = []
    for sound in (sound for of_kind in sounds.values() for sound in of_kind if sound.key not in kept):
        try:
            new[sound.key] = audio.spectral_features(audio.load_start(sound.path, most_s, _RATE_HZ), _RATE_HZ)
        except DataError as error:
            # An accepted clip was loaded by the filter, a real one by the clips stage: the file changed since.
            failed.append(error)
    if new:
        kept |= new
        write_text(path, _FEATURES_FILE.dump_json(kept).decode())
    measured = {
        kind: [(sound.labels, kept[sound.key]) for sound in of_kind if sound.key in kept]
        for kind, of_kind in sounds.items()
    }
    if not failed:
        return measured, []
    total = sum(map(len, sounds.values()))
    return measured, [
        f"{len(failed)} of {total} clips are left out of the spectral features: their files cannot be read any more "
        f"({failed[0]})"
    ]


def _kept_features(path: Path) -> dict[str, audio.SpectralFeatures]:
    try:
        return _FEATURES_FILE.validate_json(path.read_bytes())
    except (OSError, ValueError):
        # None yet, or damaged: they are measured anew.
        return {}


def _spectral(measured: Measured) -> tuple[list[FeatureQuantiles], list[ClassMedians]]:
    """Quantiles over all clips, and medians per class, of real training clips and accepted synthetic clips."""
    quantiles = [
        FeatureQuantiles(
            name,
            unit,
            *(_quantiles([getattr(row, field) for _, row in measured[kind]]) for kind in ("real", "synthetic")),
        )
        for field, (name, unit) in audio.FEATURES.items()
    ]
    labels = sorted({label for rows in measured.values() for names, _ in rows for label in names})
    return quantiles, [_class_medians(measured, label) for label in labels]


def _class_medians(measured: Measured, label: str) -> ClassMedians:
    real: dict[str, float | None] = {}
    synthetic: dict[str, float | None] = {}
    unlike: dict[str, tuple[float, float]] = {}
    for field, (name, _) in audio.FEATURES.items():
        own, made = (_finite_values(measured[kind], label, field) for kind in ("real", "synthetic"))
        real[name], synthetic[name] = (float(np.median(values)) if values else None for values in (own, made))
        if made and len(own) >= _FEWEST_FOR_A_RANGE:
            # No ends between two clips: of ten clips or fewer, the range is that of all.
            low, high = float(np.quantile(own, 0.1, method="lower")), float(np.quantile(own, 0.9, method="higher"))
            if not low <= np.median(made) <= high:
                unlike[name] = low, high
    return ClassMedians(label, real, synthetic, unlike)


def _quantiles(values: Sequence[float]) -> list[float]:
    finite = [value for value in values if np.isfinite(value)]
    return [float(q) for q in np.quantile(finite, [0.1, 0.25, 0.5, 0.75, 0.9])] if finite else []


def _finite_values(
    rows: Sequence[tuple[tuple[str, ...], audio.SpectralFeatures]], label: str, field: str
) -> list[float]:
    values = [getattr(row, field) for labels, row in rows if label in labels]
    return [value for value in values if np.isfinite(value)]


def _language_models(run: FinishedRun) -> list[LanguageModelUse]:
    """The one that imagines captions, and a captioner that is one."""
    if not run.rounds:
        return []
    imagine, caption = run.config.imagine, run.config.caption
    used = []
    if imagine.mode != "template":
        folders = [r.imagined for r in run.rounds] + ([run.extract_folder] if imagine.mode == "mixcap" else [])
        used.append(_use("language model", imagine, folders))
    if imagine.mode == "mixcap" and _asks_a_model(caption):
        used.append(_use("captioner", caption, [run.caption_folder]))
    return used


def _asks_a_model(caption: CaptionConfig) -> bool:
    return plugin_of(caption) is not None or backend_of(caption).source != "none"


def _use(part: str, section: ImagineConfig | CaptionConfig, folders: Sequence[StageFolder]) -> LanguageModelUse:
    usage = [folder.summary()["usage"] for folder in folders if folder.done]

    def total(name: str) -> int:
        return sum(int(row[name]) for row in usage)

    source = backend_of(section).source
    endpoint = section.endpoint if source == "endpoint" else None
    return LanguageModelUse(
        part=part,
        model=endpoint.model if endpoint else section.model if source == "weights" else section.kind,
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        cost=_cost(endpoint, total("input_tokens"), total("output_tokens")) if endpoint else None,
        requests=total("requests"),
    )


def _cost(endpoint: EndpointConfig, input_tokens: int, output_tokens: int) -> float | None:
    """At the prices of today's recipe; None where it has none."""
    read, written = endpoint.price_per_million_input_tokens, endpoint.price_per_million_output_tokens
    return (input_tokens * read + output_tokens * written) / 1e6 if read or written else None


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_device_memory_bytes() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def _rejected_files(run: FinishedRun) -> list[RejectedClip]:
    if not run.clips_folder.summary()["rejected"]:
        return []
    return run.clips_folder.rows("rejected.jsonl", RejectedClip)
