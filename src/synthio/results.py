"""Read a finished run's stages and fill the report's data. Numbers are read or counted here, never made up."""

from __future__ import annotations

import platform
import resource
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synthio import audio
from synthio.arms import model_folder, read_trainings, unheard_warnings
from synthio.backends.identity import model_identity
from synthio.backends.parts import used_models
from synthio.comparison import read_comparison
from synthio.config import CaptionConfig, ImagineConfig, RunConfig
from synthio.errors import DataError, MissingArtefact
from synthio.records import Candidate, Clip, PreferencePair, Prompt, RejectedClip, Verdict
from synthio.seeds import derive_seed
from synthio.stages import report
from synthio.stages.align import read_curve
from synthio.stages.gate import GateMeasures
from synthio.store import StageFolder, json_lines
from synthio.verdict import Comparison, verdict_text

_FEATURES = {"centroid_hz": "Hz", "bandwidth_hz": "Hz", "flatness": "", "pitch_hz": "Hz"}
_PACKAGES = ("synthio", "torch", "diffusers", "transformers", "peft", "accelerate", "datasets")
_RATE_HZ = 16_000


@dataclass(frozen=True)
class Round:
    """One turn of imagine (or rewrite), generate, filter."""

    number: int
    prompts: tuple[Prompt, ...]
    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]
    imagined: StageFolder
    generated: StageFolder
    judged: StageFolder


@dataclass(frozen=True)
class FinishedRun:
    """What a run made, for those who read it."""

    config: RunConfig
    root: Path
    clips: tuple[Clip, ...]
    rounds: tuple[Round, ...]
    clips_folder: StageFolder
    align_folder: StageFolder | None
    losers_folder: StageFolder
    caption_folder: StageFolder
    extract_folder: StageFolder
    train_folder: StageFolder
    gate: GateMeasures | None
    """None when the recipe does not ask the gate."""
    seconds: Mapping[str, float]

    def model_folder(self, arm: str) -> Path:
        """The arm's trained classifier, of the seed that was best on the validation clips.

        Raises: `MissingArtefact` for an arm that the run has not.
        """
        trainings = read_trainings(self.train_folder)
        of_arm = {folder: training for folder, training in trainings.items() if training.arm == arm}
        if not of_arm:
            arms = sorted({training.arm for training in trainings.values()})
            raise MissingArtefact(f"{self.root} has no arm {arm!r}, but {', '.join(arms)}; add it to train.arms")
        return model_folder(max(of_arm, key=lambda folder: of_arm[folder].best.rank), arm)

    @cached_property
    def comparison(self) -> Comparison:
        """The arms, their difference and its interval."""
        return read_comparison(self.train_folder, self.clips, self.config)


def collect_report(run: FinishedRun) -> report.ReportData:
    """Everything on the page."""
    config, clips, rounds, align_folder = run.config, run.clips, run.rounds, run.align_folder
    comparison = run.comparison
    samples = [_sample(r, i, clips) for r in rounds for i in range(len(r.prompts))]
    accepted = [sample for sample in samples if sample.reason == "accepted"]
    rejected = [sample for sample in samples if sample.reason != "accepted"]
    real = {clip.id: (clip.labels, Path(clip.path)) for clip in clips if clip.split == "train"}
    synthetic = {str(s.audio): (tuple(s.labels), s.audio) for s in accepted if s.audio is not None}
    spectral, spectral_classes = _spectral(real, synthetic, config.data.max_duration_s)
    return report.ReportData(
        title=f"Synthio report: {run.root.name}",
        verdict=verdict_text(comparison),
        comparison=comparison,
        gate=_gate(run),
        funnel=[funnel_round(r) for r in rounds],
        alignment=_alignment(config, align_folder),
        before_after=_before_after(run, real),
        spectral=spectral,
        spectral_classes=spectral_classes,
        accepted=_spread(accepted, config.report.samples_per_verdict, config.seed),
        rejected=_spread(rejected, config.report.samples_per_verdict, config.seed),
        times=[report.StageTime(stage, seconds) for stage, seconds in run.seconds.items()],
        language_models=_language_models(run),
        peak_memory_bytes=_peak_memory_bytes(),
        peak_device_memory_bytes=_peak_device_memory_bytes(),
        versions=versions(),
        models=models_used(config),
        config_yaml=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        warnings=[*_data_warnings(run), *_warnings(config, align_folder, rounds)],
        class_counts=_class_counts(clips),
        rejected_files=_rejected_files(run),
    )


def funnel_round(r: Round) -> report.FunnelRound:
    """What became of one round's captions."""
    reasons = [verdict.reason for verdict in r.verdicts]
    return report.FunnelRound(
        round=r.number,
        captions=len(r.prompts),
        generated=sum(candidate.failed is None for candidate in r.candidates),
        accepted=reasons.count("accepted"),
        below_threshold=reasons.count("below-threshold"),
        copies=reasons.count("copy"),
        failed=reasons.count("generation-failed") + reasons.count("silent"),
        given_up=int(r.imagined.summary().get("given_up", 0)),
    )


def versions() -> dict[str, str]:
    """Of Python, the platform and the packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def models_used(config: RunConfig) -> list[report.ModelUsed]:
    """Each part's model and what identifies it."""
    return [
        report.ModelUsed(
            used.part,
            used.name,
            model_identity(used.part, used.name, used.revision) if used.kind == "weights" else None,
        )
        for used in used_models(config)
    ]


def _gate(run: FinishedRun) -> report.Gate | None:
    if run.gate is None:
        return None
    rows = [report.GateRow(option.share, option.error) for option in run.gate.options]
    return report.Gate(run.config.gate.level, run.comparison.gated_share or 0.0, run.gate.p_value, rows)


def _sample(r: Round, index: int, clips: Sequence[Clip]) -> report.SampleClip:
    prompt, candidate, verdict = r.prompts[index], r.candidates[index], r.verdicts[index]
    source = next((Path(clip.path) for clip in clips if clip.id == prompt.clip_id), None)
    return report.SampleClip(
        audio=None if candidate.path is None else r.generated.path / candidate.path,
        labels=prompt.labels,
        caption=prompt.text,
        similarity=verdict.similarity,
        threshold=verdict.threshold,
        reason=verdict.reason,
        round=prompt.round,
        source_clip_id=prompt.clip_id,
        source_audio=source,
        score=None if verdict.score == verdict.similarity else verdict.score,
    )


def _spread(samples: Sequence[report.SampleClip], count: int, seed: int) -> list[report.SampleClip]:
    """A seeded sample that takes the classes in turn, so that none is hidden."""
    groups: dict[tuple[str, ...], list[report.SampleClip]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: derive_seed(seed, "report", str(s.audio), s.caption)):
        groups[tuple(sample.labels)].append(sample)
    turns = [(turn, label, sample) for label, group in groups.items() for turn, sample in enumerate(group)]
    return [sample for _, _, sample in sorted(turns, key=lambda row: row[:2])][:count]


def _alignment(config: RunConfig, folder: StageFolder | None) -> report.Alignment:
    if folder is None:
        return report.Alignment(method="none")
    summary = folder.summary()
    rows = [report.AlignmentRow(**asdict(row)) for row in read_curve(folder)]
    return report.Alignment(config.align.method, rows, summary["chosen_step"], summary["warnings"])


def _before_after(run: FinishedRun, real: Mapping[str, tuple[Any, Path]]) -> list[report.BeforeAfter]:
    folder = run.align_folder
    if folder is None:
        return []
    pairs = {pair.id: pair for pair in folder.manifest(PreferencePair)}
    return [
        report.BeforeAfter(
            prompt=pairs[name].prompt,
            base_audio=run.losers_folder.path / pairs[name].loser_path,
            aligned_audio=folder.path / f"after/{name}.flac",
            real_audio=real[pairs[name].clip_id][1],
            seed=derive_seed(run.config.seed, "loser", name),
        )
        for name in folder.summary()["after"]
    ]


_Sounds = Mapping[str, tuple[tuple[str, ...], Path]]


def _spectral(
    real: _Sounds, synthetic: _Sounds, most_s: float
) -> tuple[list[report.FeatureQuantiles], list[report.ClassMedians]]:
    """Quantiles over all clips, and medians per class, of real training clips and accepted synthetic clips."""
    measured = {"real": _measure(real, most_s), "synthetic": _measure(synthetic, most_s)}
    quantiles = [
        report.FeatureQuantiles(
            name.removesuffix("_hz"), unit, *(_quantiles([row[name] for _, row in rows]) for rows in measured.values())
        )
        for name, unit in _FEATURES.items()
    ]
    labels = sorted({label for rows in measured.values() for names, _ in rows for label in names})
    medians = [
        report.ClassMedians(label, _medians(measured["real"], label), _medians(measured["synthetic"], label))
        for label in labels
    ]
    return quantiles, medians


_Measured = list[tuple[tuple[str, ...], dict[str, float]]]


def _measure(sounds: _Sounds, most_s: float) -> _Measured:
    rows: _Measured = []
    for labels, path in sounds.values():
        try:
            samples = audio.load_start(path, most_s, _RATE_HZ)
        except DataError:
            # An accepted clip was loaded by the filter, a real one by the clips stage: the file changed since.
            continue
        rows.append((labels, asdict(audio.spectral_features(samples, _RATE_HZ))))
    return rows


def _quantiles(values: Sequence[float]) -> list[float | None]:
    finite = [value for value in values if np.isfinite(value)]
    return [float(q) for q in np.quantile(finite, [0.1, 0.25, 0.5, 0.75, 0.9])] if finite else []


def _medians(rows: _Measured, label: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in _FEATURES:
        finite = [row[name] for labels, row in rows if label in labels and np.isfinite(row[name])]
        found[name.removesuffix("_hz")] = float(np.median(finite)) if finite else None
    return found


def _language_models(run: FinishedRun) -> list[report.LanguageModelUse]:
    """The one that imagines captions, and a captioner that is one."""
    imagine, caption = run.config.imagine, run.config.caption
    used = []
    if imagine.mode != "template":
        folders = [r.imagined for r in run.rounds] + ([run.extract_folder] if imagine.mode == "mixcap" else [])
        used.append(_use("language model", imagine, folders))
    if caption.kind in ("endpoint", "transformers"):
        used.append(_use("captioner", caption, [run.caption_folder]))
    return used


def _use(part: str, section: ImagineConfig | CaptionConfig, folders: Sequence[StageFolder]) -> report.LanguageModelUse:
    usage = [folder.summary().get("usage", {}) for folder in folders if folder.done]

    def total(name: str) -> int:
        return sum(int(row.get(name, 0)) for row in usage)

    endpoint = section.endpoint if section.kind == "endpoint" else None
    priced = endpoint and (endpoint.price_per_million_input_tokens or endpoint.price_per_million_output_tokens)
    return report.LanguageModelUse(
        part=part,
        model=endpoint.model if endpoint else section.model,
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        cost=sum(float(row.get("cost", 0.0)) for row in usage) if priced else None,
        requests=total("requests"),
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_device_memory_bytes() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def _data_warnings(run: FinishedRun) -> list[str]:
    """What was told of the clips when they were read, and when the classifier was made."""
    heard_s = next(iter(read_trainings(run.train_folder).values())).heard_s
    return [*run.clips_folder.summary().get("warnings", ()), *unheard_warnings(run.clips, heard_s)]


def _warnings(config: RunConfig, align_folder: StageFolder | None, rounds: Sequence[Round]) -> list[str]:
    warnings = list(align_folder.summary()["warnings"]) if align_folder is not None else []
    topped_up = sum(prompt.source == "top-up" for r in rounds for prompt in r.prompts)
    prompts = sum(len(r.prompts) for r in rounds)
    if topped_up:
        warnings.append(
            f"{topped_up} of {prompts} captions are template top-ups: the language model's own failed "
            f"{config.imagine.max_tries} times; the manifest has each reason"
        )
    accepted = sum(verdict.accepted for r in rounds for verdict in r.verdicts)
    if accepted < len(rounds[0].prompts) // 4:
        warnings.append(
            f"only {accepted} of {len(rounds[0].prompts)} wanted synthetic clips were accepted: the generator may not "
            "know these sounds"
        )
    return warnings


def _class_counts(clips: Sequence[Clip]) -> list[report.ClassCount]:
    labels = sorted({label for clip in clips for label in clip.labels})

    def count(label: str, split: str) -> int:
        return sum(label in clip.labels and clip.split == split for clip in clips)

    return [
        report.ClassCount(label, count(label, "train"), count(label, "valid"), count(label, "test")) for label in labels
    ]


def _rejected_files(run: FinishedRun) -> list[RejectedClip]:
    path = run.clips_folder.path / "rejected.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [RejectedClip.model_validate_json(line) for line in json_lines(text)]
