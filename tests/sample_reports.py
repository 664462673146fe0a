"""What a report shows, made without a run; and a page, read as a browser does."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from synthio import results
from synthio.backends.fine_tuning import CurvePoint
from synthio.caption_words import ClassCaptions, TypicalWord
from synthio.config import RunConfig
from synthio.confusion import ClassFound, Confusion
from synthio.metrics import Interval
from synthio.progress import Reporter
from synthio.records import Candidate, Measurement, Prompt, RejectedClip, Verdict
from synthio.report_data import (
    Alignment,
    ArmCurve,
    BeforeAfter,
    ClassMedians,
    FeatureQuantiles,
    FunnelRound,
    LanguageModelUse,
    ModelUsed,
    ReportData,
    SampleClip,
)
from synthio.report_page import write_report
from synthio.stages.gate import GateMeasures, GateOption
from synthio.store import StageFolder
from synthio.verdict import ArmResult, ClassResult, Comparison, Difference

RATE_HZ = 16_000
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "</title></style></svg><script>alert(1)</script>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "javascript:alert(1)//&lt;b&gt;",
    "]]><!-- --><![CDATA[<b>",
]
UNICODE = [
    "Glocke «läutet» 鐘の音 🔔",
    "\u202egnp.exe",
    "nul\x00bell\x07\x1b[31m",
    "half \ud800 pair \udcff",
    "a\nb\tc",
]


class Page(HTMLParser):
    """A parsed page: tags with attributes, the text outside style and pre, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self._flow: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], "unclosed tags"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._break(tag)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag not in {"bdi", "code", "strong"}:
            self._flow.append(" ")

    def handle_data(self, data: str) -> None:
        if not {"style", "pre"} & set(self._open):
            self.pieces.append(data)
            self._flow.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._flow).split())

    @property
    def structure(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(sorted(attributes))) for tag, attributes in self.tags]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def tone(path: Path, frequency_hz: float = 440.0, duration_s: float = 0.3, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    sf.write(str(path), 0.5 * np.sin(2 * np.pi * frequency_hz * time_s), RATE_HZ, **options)
    return path


def arm(name: str, mean: float, n_added: int, per_seed: tuple[float, ...] = (), **more: Any) -> ArmResult:
    scores = {"std": 0.0, "macro_f1": mean, "seconds": 12.0} | more
    return ArmResult(
        arm=name, mean=mean, per_seed=per_seed, n_train=55, n_added=n_added, steps=300, **scores
    )  # fmt: skip


def difference(points: float, low: float, high: float) -> Difference:
    return Difference(
        arm="synthio", baseline="gold", points=points, low=low, high=high, confidence=0.95, resamples=2000
    )  # fmt: skip


def class_result(label: str, scores: dict[str, float | None], is_tail: bool = False, support: int = 27) -> ClassResult:
    return ClassResult(label=label, n_train=14, support=support, is_tail=is_tail, scores=scores)


def comparison(
    *arms: ArmResult, between: Difference | None = None, classes: tuple[ClassResult, ...] = ()
) -> Comparison:
    return Comparison(metric="accuracy", n_valid=9, n_test=30, arms=arms, difference=between, classes=classes)


def recipe(**sections: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate({"data": {"path": "x"}} | sections)


def full_data(clips: Path, text: str = "kick drum", caption: str = "A kick drum in a small room") -> ReportData:
    """Every part filled, with numbers that have many digits. ``text`` stands wherever a user's text may come."""
    first, second, third = (tone(clips / f"{name}.flac", hz) for name, hz in (("a", 220), ("b", 880), ("c", 1760)))
    real = tone(clips / "real.wav", 330)
    labels = [text, "snare_drum", "hi-hat", "cowbell"]
    # No recipe holds half of a pair.
    domain = text.encode(errors="replace").decode()
    return ReportData(
        config=recipe(
            data={"path": "x", "domain": domain}, filter={"rule": "quantile"}, train={"learning_rate": 0.00012345678}
        ),
        title=text,
        verdict=f"Synthetic data helped by 4.1 points (95% interval 1.2 to 7.0). {text}",
        comparison=Comparison(
            metric="accuracy",
            n_valid=55,
            n_test=300,
            arms=(
                arm("gold", 0.591234567, 0, (0.58123, 0.6, 0.59234), std=0.0123456, macro_f1=0.5712345),
                arm("synthio", 0.632187654, 110, (0.62, 0.64123, 0.6355), std=0.0098765, macro_f1=0.6187),
            ),
            difference=difference(4.0953087, 1.2345678, 7.0123456),
            gated_share=0.8,
            classes=tuple(
                class_result(label, {"gold": 0.5123456 - 0.1 * i, "synthio": 0.6 + 0.05 * i}, i > 1)
                for i, label in enumerate(labels)
            ),
        ),
        confusion=Confusion(
            (
                ClassFound(text, 27, 3, 24, Interval(0.888888, 0.412345, 1.0), 273, 12),
                ClassFound("hi-hat", 3, 1, 0, Interval(0.0, math.nan, math.nan), 297, 0),
            ),
            {text: {text: 24, "hi-hat": 3}, "hi-hat": {text: 3, "hi-hat": 0}},
        ),
        gate=GateMeasures(options=gate_options(0.7123456, 0.7, 0.6912345), p_value=0.3456),
        funnel=[FunnelRound(0, 110, 110, 71, 30, 6, 3, 2), FunnelRound(1, 37, 37, 20, 14, 2, 1, 17)],
        captions=[
            ClassCaptions(text, 137, 91, 88, 9.1234567, 3, [TypicalWord(text, 0.61234, 0.041234, None)]),
            ClassCaptions("hi-hat", 10, 0, 0, None, 0, []),
        ],
        curves=[ArmCurve(name, curve_points(0.1 * i), (25, 50, 25)) for i, name in enumerate(("gold", "synthio"))],
        alignment=Alignment(
            [
                Measurement(s, 0.69 / (1 + s / 40), 0.5 + s / 300, 0.6931, 0.5 + s / 400, -1e-5 * s, 2.34567e-5 * s)
                for s in range(0, 110, 10)
            ],
            60,
            [f"the winner's error rose: {text}"],
        ),
        before_after=[BeforeAfter(f"Sound of a {text}", first, second, real, 1234567)],
        spectral=[
            FeatureQuantiles("centroid", "Hz", (512.3456, 812.1, 1203.9, 1800.2, 2900.7), (480, 900, 1400, 2100, 3300)),
            FeatureQuantiles("flatness", "", (0.00123, 0.0045, 0.0123, 0.05, 0.123), (0.002, 0.006, 0.02, 0.06, 0.15)),
        ],
        spectral_classes=[
            ClassMedians(
                text, {"centroid": 1203.912, "flatness": 0.01}, {"centroid": 1400.0}, {"centroid": (512.3, 1399)}
            )
        ],
        accepted=[SampleClip(first, (text,), caption, 0.4123456, 0.3512345, "accepted", 0, text, real, None)],
        rejected=[
            SampleClip(third, (text, "rain"), caption, 0.2123456, 0.35, "below-threshold", 2, text, real, 0.71234567),
            SampleClip(None, (text,), caption, None, 0.35, "generation-failed", 1, text, real, None),
        ],
        times_s={"align": 125.123456, text: 4012.9, "train": 61.0},
        language_models=[LanguageModelUse("captioner", text, 1_234_567, 98_765, 0.123456789, 212)],
        peak_memory_bytes=3_456_789_012,
        peak_device_memory_bytes=2**31,
        versions={"python": "3.11.7", text: "2.13.0"},
        models=[ModelUsed("generator", text, "abc123"), ModelUsed("classifier", "pocket", None)],
        warnings=[f"one class has one clip: {text}"],
        class_counts={label: {"train": 14, "valid": 7, "test": 27} for label in labels},
        rejected_files=[RejectedClip(id="r1", path=f"/data/{text}.wav", reason=f"cannot be decoded: {text}")],
        model_seed=1,
    )


def curve_points(more: float = 0.0) -> list[CurvePoint]:
    return [
        CurvePoint(step=step, train_loss=1.234567 / step, valid_loss=1.512345 + more, valid_score=0.4123456 + more)
        for step in (25, 50, 75)
    ]


def gate_options(*errors: float) -> tuple[GateOption, ...]:
    return tuple(GateOption(share=share, error=error) for share, error in zip((0, 0.5, 0.8), errors, strict=False))


def least_data(clips: Path) -> ReportData:
    """The least that a finished run has: real clips alone, trained once; the base generator; captions of templates, one
    of which it could not make and all others of which were refused."""
    return dataclasses.replace(
        full_data(clips),
        verdict="No comparison: only gold was trained.",
        comparison=comparison(arm("gold", 0.5, 0, (0.5,)), classes=(class_result("bell", {"gold": 0.5}),)),
        gate=None,
        curves=[ArmCurve("gold", [], (9,))],
        funnel=[FunnelRound(0, 110, 109, 0, 109, 0, 1, 0)],
        captions=[ClassCaptions("bell", 110, 0, 0, None, 0, [])],
        alignment=None,
        before_after=[],
        spectral=[FeatureQuantiles("pitch", "Hz", (100, 200, 300, 400, 500), ())],
        spectral_classes=[ClassMedians("bell", {"pitch": 300.0}, {"pitch": None}, {})],
        accepted=[],
        rejected=[],
        language_models=[],
        peak_device_memory_bytes=None,
        warnings=[],
        rejected_files=[],
        model_seed=0,
    )


def data_with(clips: Path, accepted: list[SampleClip]) -> ReportData:
    """The full report, with these clips alone to listen to."""
    return dataclasses.replace(full_data(clips), before_after=[], accepted=accepted, rejected=[])


def sample(path: Path) -> SampleClip:
    """Of a generated clip, which was made for itself: one file to play."""
    return SampleClip(path, ("bell",), "A bell", 0.4, 0.3, "accepted", 0, "bell-1", path, None)


def write(data: ReportData, folder: Path, reporter: Reporter | None = None) -> Page:
    return Page(write_report(data, folder, reporter or Reporter()))


def played(page: Page) -> list[str]:
    """Addresses of the page's sounds, each once."""
    return list(dict.fromkeys(str(player["src"]) for player in page.all("audio")))


def assert_links_stay_inside(page: Page, folder: Path) -> None:
    """Every address is relative, exists, and is a plain file inside the folder; fragments have a target."""
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for tag, attributes in page.tags:
        for name in {"src", "href", "srcset", "poster", "action", "data"} & set(attributes):
            address = attributes[name]
            assert address
            if address.startswith("#"):
                assert address[1:] in targets
                continue
            assert re.fullmatch(r"(audio|spectrograms)/[a-z0-9-]+\.(flac|png)", address), (tag, address)
            path = folder / address
            assert path.is_file()
            assert not path.is_symlink()


def filtered_round(root: Path, reasons: dict[str, list[str]], number: int = 0) -> results.Round:
    """A round of prompts whose verdicts have these reasons, by label."""
    named = [(f"{label}{k}-r{number}", label, why) for label, own in reasons.items() for k, why in enumerate(own)]
    prompts = [
        Prompt(id=id_, clip_id="c", labels=(label,), text=label, duration_s=1, round=number) for id_, label, _ in named
    ]
    candidates = [
        Candidate(id=id_, prompt_id=id_, path=f"{id_}.flac", seed=0, sample_rate_hz=RATE_HZ,
                  failed="NaN" if why == "generation-failed" else None)
        for id_, _, why in named
    ]  # fmt: skip
    verdicts = [
        Verdict(id=id_, similarity=0.5, score=0.5, threshold=0, accepted=why == "accepted", reason=why)  # type: ignore[arg-type]
        for id_, _, why in named
    ]
    imagined, generated, filtered = (StageFolder(root, name, str(number)) for name in ("imagine", "generate", "filter"))
    imagined.finish(prompts, {"given_up": 1})
    none = {"accepted": 0, "total": 0, "labels": {}}
    filtered.finish(verdicts, {"reasons": Counter(why for *_, why in named), "copies": 0, "real_clips": none})
    return results.Round(number, tuple(prompts), tuple(candidates), tuple(verdicts), imagined, generated, filtered)


def finished_run(root: Path, **changes: Any) -> results.FinishedRun:
    stage = StageFolder(root, "train", "k")
    folders = dict.fromkeys(
        ("clips_folder", "align_folder", "losers_folder", "caption_folder", "extract_folder", "train_folder"), stage
    )
    config = recipe()
    return results.FinishedRun(
        **{
            "config": config,
            "root": root,
            "clips": (),
            "rounds": (),
            "gate": None,
            "seconds": {},
            "hub_commits": {},
            **folders,
            **changes,
        }
    )
