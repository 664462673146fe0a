"""The report: complete, honest about what is missing, safe with untrusted text, and readable from disk."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import re
import tracemalloc
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile as sf
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from reporters import RecordingReporter

from synthio import audio, cards, charts, formats, pages, report_data, results
from synthio.backends.fine_tuning import CurvePoint
from synthio.caption_words import ClassCaptions, TypicalWord
from synthio.config import Arm, CaptionConfig, FilterRule, RunConfig
from synthio.confusion import ClassFound, Confusion
from synthio.errors import StoreError
from synthio.metrics import Interval
from synthio.progress import Reporter
from synthio.records import Candidate, Measurement, PreferencePair, Prompt, RejectedClip, Verdict
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
from synthio.results import synthetic_clips
from synthio.stages.dataset import Accepted
from synthio.stages.gate import GateMeasures, GateOption
from synthio.store import StageFolder
from synthio.verdict import ArmResult, ClassDifference, ClassResult, Comparison, Difference, effect

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


HEARS_HALF_A_SECOND = recipe(data={"path": "x", "max_duration_s": 0.5})


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


def write(data: ReportData, folder: Path, reporter: Reporter | None = None) -> Page:
    return Page(write_report(data, folder, reporter or Reporter()))


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


# The whole page -------------------------------------------------------------------------------------------------------


def test_a_full_report_says_everything(tmp_path: Path) -> None:
    page = write(full_data(tmp_path / "run"), tmp_path / "report")
    assert_links_stay_inside(page, tmp_path / "report")
    for words in (
        "Synthetic data helped by 4.1 points",
        "gold real clips only 59.1% 1.2 57.1% 3 55 0 300",
        "synthio real and synthetic clips 63.2% 1.0 61.9% 3 55 110 300",
        "+4.1 points, 95% interval +1.2 to +7.0",
        "kick drum 24 of 27 88.9% 41.2% to 100.0% 3 12 of 273",
        "hi-hat 0 of 3 0.0% n/a to n/a 1 0 of 297",
        "Accuracy on validation clips",
        "gold 25 0.0494 1.51 41.2% 2 of 3 seeds",
        "synthio 75 0.0165 1.61 51.2%",
        "kick drum: centroid 1,400 Hz (real: 512 to 1,399)",
        "class kick drum hi-hat kick drum 24 3 hi-hat 3 0",
        "Synthetic clips joined the training, as 80.0% of a batch.",
        "80.0% 0.691 −0.0211 chosen",
        "Here the p-value is 0.346",
        "91 of 147 generated clips were accepted (61.9%)",
        "kick drum 137 91 88 9.12 3 kick drum 61.2%",
        "kick drum kick drum 61.2% 4.1% n/a",
        "Step 60 was chosen",
        "A kick drum in a small room",
        "similarity 0.412",
        "score 0.712",
        "verdict not similar enough to its label",
        "A clip fits when its similarity reaches the threshold",
        "No sound: no audio was made",
        "1 h 06 min",
        "2 min 05 s",
        "1,234,567 tokens read, 98,765 written, in 212 requests",
        "Cost at the recipe's prices: 0.12",
        "Peak memory of the process that wrote this page: 3.2 GiB",
        "1 file could not be used",
        "abc123",
    ):
        assert words in page.text, words
    assert "learning_rate: 0.00012345678" in (tmp_path / "report/index.html").read_text(encoding="utf-8")
    # 1 difference, 1 seeds, 1 classes, 3 trainings, 1 funnel, 3 alignment, 2 features
    assert len(page.all("svg")) == 12
    assert len(page.all("audio")) == 3 + 2 + 3
    assert all(player["preload"] == "none" and "controls" in player for player in page.all("audio"))
    assert page.text.count("long-tail classes 2") == 1


@pytest.mark.parametrize("rule", get_args(FilterRule))
def test_cards_say_what_score_and_threshold_are_by_the_filters_rule(tmp_path: Path, rule: FilterRule) -> None:
    """Under `nearest`, the default, a clip is rejected for its lead over other classes, whatever its similarity."""
    data = dataclasses.replace(full_data(tmp_path / "run"), config=recipe(filter={"rule": rule, "threshold": 0.35}))
    page = write(data, tmp_path / "report")
    nearest = rule == "nearest"
    assert ("verdict another class is nearer" in page.text) == (
        "minus its similarity to the nearest other" in page.text
    )
    assert ("verdict another class is nearer" in page.text) == nearest
    assert ("verdict not similar enough to its label" in page.text) != nearest
    assert ("Score:" in page.text) == (rule in ("nearest", "sigmoid"))
    assert "clip fits" in page.text
    assert "below threshold" not in page.text and "unlike label" in page.text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((4.1, 1.2, 7.0), "on real and synthetic clips (synthio, seed 1): accuracy 64.1% on 300 test clips"),
        ((-0.3, -2.0, 1.4), "on real clips only (gold, seed 1): accuracy 60.0% on 300 test clips"),
    ],
)
def test_the_page_says_which_classifier_the_run_recommends(
    tmp_path: Path, found: tuple[float, float, float], words: str
) -> None:
    """Under "No clear effect" and "do not rely on it" it read as if the model folder were not to be used."""
    data = full_data(tmp_path / "run")
    compared = data.comparison.model_copy(update={"difference": difference(*found), "gated_share": None})
    page = write(dataclasses.replace(data, comparison=compared), tmp_path / "report")
    assert f"The classifier in model/ was trained {words}." in page.text
    assert "synthio predict RUN_FOLDER new.wav" in page.text


def test_the_least_that_a_run_makes_has_sentences_and_no_empty_charts(tmp_path: Path) -> None:
    page = write(least_data(tmp_path / "run"), tmp_path / "report")
    # 1 seeds, 1 classes, 1 funnel, 1 feature
    assert len(page.all("svg")) == 4
    assert page.all("audio") == page.all("img") == []
    for words in (
        "Effect not measured",
        "Only one arm was trained",
        "gold real clips only 50.0% 0.0 50.0% 1 55 0 300",
        "No generated clip passed the filter (0 of 109)",
        "bell 110 0 0 n/a 0 Distinct",
        "Nothing was measured while the classifiers were trained",
        "Alignment was turned off",
        "no clips from before and after alignment",
        "Pitch, Hz (no synthetic clips)",
        "bell 300 n/a",
        "No accepted clips to show",
        "No rejected clips to show",
        "No file was rejected",
        "No language model was used",
        "Peak memory of the process that wrote this page: 3.2 GiB.",
    ):
        assert words in page.text, words
    assert "The gate" not in page.text and "warning" not in page.text
    assert not re.search(r"\b(nan|inf|None)\b", page.text)


NAN = math.nan
NO_SCORES = comparison(
    arm("gold", NAN, 0, (NAN,), std=NAN, macro_f1=NAN),
    arm("synthio", NAN, 9, std=math.inf),
    between=difference(NAN, NAN, math.inf),
    classes=(
        class_result("bell", {"gold": NAN}, support=0),
        class_result("drum", {}),
        class_result("tom", {"gold": None}),
    ),
)
NO_SYNTHETIC = comparison(
    arm("gold", 0.5, 0, (0.5,)), arm("synthio", 0.52, 0), between=difference(2.0, -1.0, 5.0), classes=NO_SCORES.classes
)
NO_DIFFERENCE = NO_SCORES.model_copy(update={"difference": None})


@pytest.mark.parametrize(
    ("part", "words", "n_charts"),
    [
        # Without the chart of seeds.
        ({"comparison": NO_SCORES}, "Effect not measured", 3),
        ({"comparison": NO_DIFFERENCE}, "No difference between the arms", 3),
        ({"comparison": NO_SYNTHETIC}, "+2.0 points; no synthetic clip was available", 4),
        (
            {"funnel": [FunnelRound(0, 9, 0, 0, 0, 0, 9, 0), FunnelRound(1, 0, 0, 0, 0, 0, 0, 9)]},
            "No clip was generated",
            4,
        ),
        ({"gate": GateMeasures(options=(), p_value=None)}, "There was nothing to decide", 4),
        ({"gate": GateMeasures(options=gate_options(0.7, 0.7), p_value=0.6)}, "were kept out of the training", 4),
        (
            {"alignment": Alignment([Measurement(0, None, None, 0.4, 0.5, 0.0, 0.0)], 0, [])},
            "Step 0 was chosen, the base generator itself",
            7,
        ),
        (
            {"alignment": Alignment([Measurement(0, None, None, NAN, NAN, NAN, -math.inf)], 0, [])},
            "0 n/a n/a",
            4,
        ),
        ({"spectral": [FeatureQuantiles("pitch", "Hz", (), ())], "spectral_classes": []}, "Pitch: not measured", 3),
        ({"times_s": {}}, "No times were recorded", 4),
        ({"times_s": {"clips": 0.0}}, "clips 0.0 s n/a together 0.0 s", 4),
        ({"language_models": [LanguageModelUse("captioner", "m", 0, 0, None, 0)]}, "so no cost is counted", 4),
        ({"peak_device_memory_bytes": 2**31}, "on the accelerator 2.0 GiB", 4),
    ],
)
def test_missing_parts_become_sentences(tmp_path: Path, part: dict[str, Any], words: str, n_charts: int) -> None:
    page = write(dataclasses.replace(least_data(tmp_path / "run"), **part), tmp_path / "report")
    assert words in page.text
    assert len(page.all("svg")) == n_charts
    assert not re.search(r"\b(nan|inf|None)\b", page.text)


def test_the_page_needs_no_network_and_no_scripts(tmp_path: Path) -> None:
    page = write(full_data(tmp_path / "run"), tmp_path / "report")
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    # The recipe is shown as text, and has an address of its own.
    shown = re.sub("<pre>.*?</pre>", "", source, flags=re.DOTALL)
    assert set(re.findall(r"[a-z]+://[^\"' <]+", shown)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in source
    assert "url(" not in source
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and "script-src 'none'" in policy


def test_figures_and_players_have_names(tmp_path: Path) -> None:
    page = write(full_data(tmp_path / "run"), tmp_path / "report")
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(player["aria-label"] for player in page.all("audio"))
    assert [name for name, _ in page.tags].count("h1") == 1


def test_players_of_one_label_have_names_of_their_own(tmp_path: Path) -> None:
    accepted = [sample(tone(tmp_path / "run" / f"{i}.flac", 300.0 + i)) for i in range(2)]
    data = full_data(tmp_path / "run", "bell", "bell")
    data = dataclasses.replace(data, accepted=accepted, before_after=[*data.before_after] * 2)
    page = write(data, tmp_path / "report")
    names = [player["aria-label"] for player in page.all("audio")]
    assert len(names) > 8 and len(set(names)) == len(names)
    assert "accepted clip 2, bell" in names


def luminance(colour: str) -> float:
    """Of WCAG 2, as is the ratio of 4.5 below."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["report", "bench", "evaluation"])
def test_small_text_stands_out_from_its_page(name: str) -> None:
    template = (Path(pages.__file__).parent / "templates" / f"{name}.html.j2").read_text(encoding="utf-8")
    light, _, dark = template.partition("prefers-color-scheme: dark")
    links = {"c1": charts.SERIES_COLOURS[1]} if "series_colours" in template else {}
    assert links or name != "report"
    # Where a template names none, the browser's own.
    for number, (style, default) in enumerate(((light, "ffffff"), (dark or light, "121212"))):
        colours = {"page": default, **dict(re.findall(r"--([\w-]+): #([0-9a-f]+);", style))}
        colours |= {text: pair[number].removeprefix("#") for text, pair in links.items()}
        for ground in {"page", "raised"} & colours.keys():
            for text in {"text", "muted", "c1", "good", "bad", "unsure"} & colours.keys():
                ratio = (luminance(colours[text]) + 0.05) / (luminance(colours[ground]) + 0.05)
                assert max(ratio, 1 / ratio) >= 4.5, (text, ground)
        assert "muted" in colours


def test_no_number_has_absurd_precision(tmp_path: Path) -> None:
    page = write(full_data(tmp_path / "run"), tmp_path / "report")
    numbers = re.findall(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.]*\.)", page.text)
    assert len(numbers) > 100
    for number in numbers:
        assert len(number.replace(",", "").replace(".", "").lstrip("0")) <= 4, number


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    data = full_data(tmp_path / "run")
    for name in ("one", "two"):
        write_report(data, tmp_path / name, Reporter())
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 1 + 4 + 4


# Untrusted text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_no_tag_and_no_attribute(tmp_path: Path, text: str) -> None:
    """The page has the same tags and attribute names as with harmless text of the same length, and shows the text."""
    caption = f"A {text} in a room"
    hostile = write(full_data(tmp_path / "run", text, caption), tmp_path / "hostile")
    harmless = write(full_data(tmp_path / "run", "x" * len(text), "x" * len(caption)), tmp_path / "harmless")
    assert hostile.structure == harmless.structure
    assert_links_stay_inside(hostile, tmp_path / "hostile")
    assert hostile.pieces.count(text) >= 10
    assert caption in hostile.pieces
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)


@pytest.mark.parametrize("text", UNICODE)
def test_odd_unicode_is_shown_and_isolated(tmp_path: Path, text: str) -> None:
    page = write(full_data(tmp_path / "run", text, text), tmp_path / "report")
    assert page.pieces.count(formats.printable(text)) >= 10
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    for line in re.findall(r"<svg.*?</svg>", source, re.S):
        ET.fromstring(line)


def test_a_file_name_never_reaches_the_disk_or_an_address(tmp_path: Path) -> None:
    odd = tone(tmp_path / "run" / "'\"><b>& 鐘 %2e%2e.wav")
    page = write(data_with(tmp_path / "run", [sample(odd)]), tmp_path / "report")
    assert_links_stay_inside(page, tmp_path / "report")
    assert len(played(page)) == 1


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_keeps_the_structure(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")

    def page(label: str) -> Page:
        clip = SampleClip(None, (label,), label, 0.1, 0.2, "copy", 0, label, folder / "run/real.wav", None)
        config = recipe(data={"path": "x", "domain": f"sounds {label}"})
        told = {"title": label, "verdict": label, "warnings": [label], "rejected": [clip], "config": config}
        return write(dataclasses.replace(least_data(folder / "run"), **told), folder / "report")

    assert page(text).structure == page("x").structure


def test_every_page_is_cleaned_and_escaped() -> None:
    """Control characters were cleaned in the report alone."""
    said = {"progress": "bell\x07 & <b>", "sections": [], "notes": ["half \ud800"]}
    page = pages.render("bench", **said)
    assert page.startswith("<!DOCTYPE html>")
    assert "bell\ufffd &amp; &lt;b&gt;" in page and "half \ufffd" in page


# Cards ---------------------------------------------------------------------------------------------------------------


def rendered(card: str, folder: Path) -> Page:
    """A card as the hub shows it, without its front matter."""
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert set(yaml.safe_load(front)) <= {"library_name", "pipeline_tag", "task_categories", "tags"}
    (folder / "card.html").write_text(MarkdownIt("commonmark").enable("table").render(body), encoding="utf-8")
    return Page(folder / "card.html")


def accepted_clip(*labels: str) -> Accepted:
    return Accepted(
        Prompt(id="p", clip_id="c", labels=labels, text="x", duration_s=1),
        Candidate(id="p", prompt_id="p", path="p.flac", seed=0, sample_rate_hz=RATE_HZ),
        Verdict(id="p", similarity=1, score=1, threshold=0, accepted=True, reason="accepted"),
        Path("p.flac"),
    )


def test_the_card_of_a_model_says_what_it_is_and_what_it_scores(tmp_path: Path) -> None:
    data = full_data(tmp_path)
    text = rendered(cards.model_card(data), tmp_path).text
    for words in (
        "from pocket (identity not given), on 55 real clips and 110 added ones: arm synthio, seed 1",
        "On 300 test clips, which took no part in training or selection, it scores 64.1% accuracy (mean over the 3",
        "Synthetic data helped by 4.1 points (95% interval 1.2 to 7.0)",
        "kick drum 14 24 of 27 88.9% 41.2% to 100.0% 3 12 of 273",
        "hi-hat 14 0 of 3 0.0% n/a to n/a 1 0 of 297",
        "It names one of its classes for every sound",
        "and those of the generator and the language model",
    ):
        assert words in text, words
    several = dataclasses.replace(data, confusion=dataclasses.replace(data.confusion, named={}))
    assert "every class with a score of at least 0.5" in rendered(cards.model_card(several), tmp_path).text
    assert "synthio predict model new.wav" in cards.model_card(data)
    assert "it scores 50.0% accuracy.\n" in cards.model_card(least_data(tmp_path))
    assert "synthetic clips were made" not in cards.model_card(least_data(tmp_path))


def test_the_card_of_a_dataset_says_what_made_it(tmp_path: Path) -> None:
    model = tmp_path / "home" / "my generator"
    model.mkdir(parents=True)
    config = recipe(t2a={"model": str(model)}, filter={"rule": "quantile"}).model_copy(update={"seed": 7})
    accepted = [accepted_clip("bell"), accepted_clip("bell", "drum")]
    text = rendered(cards.dataset_card("bells", config, accepted, {}, is_aligned=True), tmp_path).text
    for words in ("2 clips made by", "bell 2 drum 1", "), aligned with the real", "seed 7", "(filter.quantile) of the"):
        assert words in text, words
    assert "generator my generator (my generator-" in text and "home" not in text
    none = config.model_copy(update={"imagine": config.imagine.model_copy(update={"mode": "template"})})
    text = rendered(cards.dataset_card("bells", none, [], {}, is_aligned=False), tmp_path).text
    assert (
        "bells: synthetic clips" in text
        and "0 clips made by" in text
        and "new captions the label template" in text
        and "not aligned" in text
    )


@pytest.mark.parametrize("text", [*HOSTILE, *UNICODE, "a | b", "# x", "*b* `c` [d](e) ![f](g)", "---", "$x$ ~~y~~"])
def test_text_in_a_card_marks_nothing(tmp_path: Path, text: str) -> None:
    def pages_of(label: str) -> list[Page]:
        data = dataclasses.replace(full_data(tmp_path, label), confusion=Confusion(
            (ClassFound(label, 27, 3, 24, Interval(0.8, 0.4, 1.0), 273, 12),), {}))  # fmt: skip
        made = cards.dataset_card(label, data.config, [accepted_clip(label)], {}, is_aligned=False)
        return [rendered(card, tmp_path) for card in (cards.model_card(data), made)]

    for page, plain in zip(pages_of(text), pages_of("bell"), strict=True):
        assert page.structure == plain.structure
        assert " ".join(formats.printable(text).split()) in page.text


# Media ----------------------------------------------------------------------------------------------------------------


def played(page: Page) -> list[str]:
    """Addresses of the page's sounds, each once."""
    return list(dict.fromkeys(str(player["src"]) for player in page.all("audio")))


def sample(path: Path) -> SampleClip:
    """Of a generated clip, which was made for itself: one file to play."""
    return SampleClip(path, ("bell",), "A bell", 0.4, 0.3, "accepted", 0, "bell-1", path, None)


def test_flac_is_copied_and_other_formats_become_flac(tmp_path: Path) -> None:
    flac, wav = tone(tmp_path / "a.flac"), tone(tmp_path / "b.wav", 880, subtype="FLOAT")
    page = write(data_with(tmp_path / "run", [sample(flac), sample(wav)]), tmp_path / "report")
    copied, converted = (tmp_path / "report" / address for address in played(page))
    assert copied.read_bytes() == flac.read_bytes()
    assert sf.info(str(converted)).format == "FLAC"
    written, original = sf.read(str(converted))[0], sf.read(str(wav))[0]
    np.testing.assert_allclose(written, original, atol=1 / 2**15)


@pytest.mark.parametrize("rate_hz", [1_000_000, 65_537, 96_001, 96_000])
def test_clips_at_rates_that_flac_or_browsers_do_not_know_are_resampled(tmp_path: Path, rate_hz: int) -> None:
    """FLAC has no such rate, and the page is the last thing that a run writes."""
    clip = tmp_path / "fast.wav"
    sf.write(str(clip), 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz // 2) / rate_hz), rate_hz, subtype="FLOAT")
    page = write(data_with(tmp_path / "run", [sample(clip)]), tmp_path / "report")
    (address,) = played(page)
    samples, written_hz = sf.read(str(tmp_path / "report" / address))
    assert written_hz == 48_000
    assert samples.size == pytest.approx(24_000, abs=2)
    inner = slice(1_000, 23_000)
    np.testing.assert_allclose(
        samples[inner], 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples.size) / 48_000)[inner], atol=1e-3
    )
    assert "0.5" in page.text


@pytest.mark.parametrize("name", ["long.wav", "long.flac"])
def test_of_a_long_recording_only_what_the_stages_hear_is_copied(tmp_path: Path, name: str) -> None:
    """Field recordings of hours once stood in the report as a whole, and were decoded for it."""
    long = tone(tmp_path / name, duration_s=120)
    data = dataclasses.replace(data_with(tmp_path / "run", [sample(long)]), config=HEARS_HALF_A_SECOND)
    tracemalloc.start()
    page = write(data, tmp_path / "report")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (address,) = played(page)
    written, _ = sf.read(str(tmp_path / "report" / address))
    np.testing.assert_allclose(written, sf.read(str(long))[0][: RATE_HZ // 2], atol=1 / 2**15)
    assert peak < 120 * RATE_HZ * 4 / 2


def test_flac_as_long_as_what_is_heard_is_copied_as_it_is(tmp_path: Path) -> None:
    flac = tone(tmp_path / "a.flac", duration_s=0.5)
    data = dataclasses.replace(data_with(tmp_path / "run", [sample(flac)]), config=HEARS_HALF_A_SECOND)
    page = write(data, tmp_path / "report")
    (address,) = played(page)
    assert (tmp_path / "report" / address).read_bytes() == flac.read_bytes()


def test_a_clip_shown_twice_is_copied_once(tmp_path: Path) -> None:
    flac = tone(tmp_path / "a.flac")
    page = write(data_with(tmp_path / "run", [sample(flac)] * 3), tmp_path / "report")
    assert len(played(page)) == 1
    assert len(list((tmp_path / "report/audio").iterdir())) == 1


def test_unreadable_clips_become_notes_and_warnings(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio", encoding="utf-8")
    silent = tmp_path / "silent.flac"
    sf.write(str(silent), np.zeros(4000), RATE_HZ)
    reporter = RecordingReporter()
    clips = [sample(tmp_path / "gone.flac"), sample(text), sample(silent), sample(tmp_path)]
    page = write(data_with(tmp_path / "run", clips), tmp_path / "report", reporter)
    # Each stands there twice: as what was made, and as what it was made for.
    assert page.text.count("No sound: ") == 2 * 3
    assert page.text.count("No picture: is silent") == 2
    assert len(played(page)) == 1
    assert page.all("img") == []
    assert len(reporter.warnings) == 3
    assert "gone.flac" in reporter.warnings[0]


def test_links_are_copied_as_files(tmp_path: Path) -> None:
    tone(tmp_path / "a.flac")
    link = tmp_path / "link.flac"
    link.symlink_to(tmp_path / "a.flac")
    page = write(data_with(tmp_path / "run", [sample(link)]), tmp_path / "report")
    assert_links_stay_inside(page, tmp_path / "report")


def test_a_new_report_removes_the_old_ones_media_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(data_with(tmp_path / "run", [sample(tone(tmp_path / "a.flac"))]), folder)
    old = {path.name for path in folder.rglob("accepted-*")}
    (folder / "audio" / "my notes.txt").write_text("keep", encoding="utf-8")
    (folder / "audio" / ".0123456789abcdef.partial").write_text("of a kill", encoding="utf-8")
    page = write(data_with(tmp_path / "run", [sample(tone(tmp_path / "b.flac", 880))]), folder)
    assert_links_stay_inside(page, folder)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert len(old) == 2
    assert not old & names
    assert len(names) == 1 + 2 + 1
    assert "my notes.txt" in names


def test_a_failed_write_leaves_the_old_page_and_its_media(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    data = data_with(tmp_path / "run", [sample(tone(tmp_path / "a.flac"))])
    page = write_report(data, folder, Reporter())
    before = page.read_bytes()
    (folder / "spectrograms").rename(tmp_path / "elsewhere")
    (folder / "spectrograms").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="leaves"):
        write_report(dataclasses.replace(data, accepted=[sample(tone(tmp_path / "b.flac", 880))]), folder, Reporter())
    assert page.read_bytes() == before
    assert_links_stay_inside(Page(page), folder)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_page_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "index.html").write_text("mine", encoding="utf-8")
    (tmp_path / "report").symlink_to(tmp_path / "own")
    with pytest.raises(StoreError, match="remove the link"):
        write(least_data(tmp_path / "run"), tmp_path / "report")
    assert (tmp_path / "own" / "index.html").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(least_data(tmp_path / "run"), tmp_path / "report", Reporter())


def test_progress_counts_every_clip(tmp_path: Path) -> None:
    reporter = RecordingReporter()
    write(full_data(tmp_path / "run"), tmp_path / "report", reporter)
    (task,) = reporter.tasks
    assert task.total == sum(task.done) == 4


# Numbers as text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formatter", "value", "expected"),
    [
        ("percent", 0.63172, "63.2%"),
        ("percent", -0.0001, "0.0%"),
        ("points", 4.09, "+4.1"),
        ("points", -4.09, "−4.1"),
        ("points", -0.04, "0.0"),
        ("spread", 0.0123, "1.2"),
        ("count", 1234567, "1,234,567"),
        ("similarity", -0.12345, "−0.123"),
        ("quantity", 1234.5, "1,234"),
        ("quantity", 999.7, "1,000"),
        ("quantity", 0.0123456, "0.0123"),
        ("quantity", 0.0, "0"),
        ("quantity", -1.234e-5, "−1.23×10⁻⁵"),
        ("quantity", 6.6e30, "6.6×10³⁰"),
        ("duration", 0.04, "0.0 s"),
        ("duration", -0.0, "0.0 s"),
        ("duration", 59.96, "1 min 00 s"),
        ("duration", 3599.6, "1 h 00 min"),
        ("duration", 7500, "2 h 05 min"),
        ("cost", 0.0, "0.00"),
        ("cost", 0.00123, "0.00123"),
        ("cost", 1234.5, "1,234.50"),
        ("size", 700 * 2**20, "700 MiB"),
        ("size", 1.5 * 2**30, "1.5 GiB"),
    ],
)
def test_numbers_read_as_a_person_writes_them(formatter: str, value: float, expected: str) -> None:
    assert formats.FORMATTERS[formatter](value) == expected


@given(
    st.sampled_from(sorted(formats.FORMATTERS)), st.none() | st.floats(-1e300, 1e300) | st.sampled_from([NAN, math.inf])
)
def test_every_number_has_a_text(formatter: str, value: float | None) -> None:
    text = formats.FORMATTERS[formatter](value)
    assert text
    assert not re.search(r"nan|inf|e[+-]?\d|-", text)
    assert (text == formats.MISSING) == (formats.finite(value) is None)


def test_a_long_list_says_how_many_more_there_are() -> None:
    """There were two spaces before it."""
    assert formats.some("abc", most=3) == "a, b, c"
    assert formats.some("abcde", most=3) == "a, b, c and 2 more"
    assert formats.some(map(str, range(23)), separator="; ").endswith("18; 19 and 3 more")


@given(st.text())
def test_printable_text_is_valid_xml_and_utf8(text: str) -> None:
    cleaned = formats.printable(text)
    assert len(cleaned) == len(text)
    ET.fromstring(f"<a>{cleaned.replace('&', '&amp;').replace('<', '&lt;')}</a>".encode())


def test_text_cannot_turn_the_direction_of_what_is_read() -> None:
    """`ylf<U+202E>gnp.exe` read as `ylfexe.png`."""
    turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert formats.printable(f"a{turning}b") == "a" + 9 * "\ufffd" + "b"
    # Marks that only say how a neighbour is written turn nothing.
    assert formats.printable("שלום\u200f عربي\u200e") == "שלום\u200f عربي\u200e"


# Charts ---------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e12, 1e12), st.one_of(st.just(0.0), st.floats(1e-12, 1e12)), st.integers(3, 8))
def test_ticks_are_round_even_and_cover_the_range(low: float, width: float, target: int) -> None:
    ticks = charts.nice_ticks(low, low + width, target)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= target + 3
    assert (steps > 0).all()
    scale = max(abs(ticks[0]), abs(ticks[-1]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6, atol=scale * 1e-12)
    assert ticks[0] <= low + scale * 1e-9
    assert ticks[-1] >= low + width - scale * 1e-9
    assert len(set(charts.tick_texts(ticks))) == len(ticks) or steps[0] < 1e-2 * scale


def test_tick_labels_have_only_the_decimals_that_they_need() -> None:
    assert charts.tick_texts(charts.nice_ticks(0, 1)) == ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")
    assert charts.tick_texts(charts.nice_ticks(-3, 12)) == ("−5", "0", "5", "10", "15")
    assert charts.tick_texts((0.0, 2e-5, 4e-5)) == ("0", "2×10⁻⁵", "4×10⁻⁵")


def find(svg: ET.Element, css: str) -> list[ET.Element]:
    return [element for element in svg.iter() if css in element.get("class", "").split()]


def number(element: ET.Element, name: str) -> float:
    return float(element.get(name, "nan"))


@given(st.floats(-100, 100), st.floats(0, 50), st.floats(0, 50))
def test_the_difference_is_drawn_where_it_is(mean: float, below: float, above: float) -> None:
    """Closed form: positions are linear in the value, through the zero line and the ticks."""
    svg = charts.difference_chart(mean, mean - below, mean + above)
    assert svg is not None
    zero = number(find(svg, "zero")[0], "x1")
    dot = number(find(svg, "dot")[0], "cx")
    bar = find(svg, "whisker")[0]
    left, right = number(bar, "x1"), number(bar, "x2")
    assert 0 <= left <= dot + 0.2
    assert dot <= right + 0.2 <= 720
    if mean - below > 2:
        assert left > zero
    if mean + above < -2:
        assert right < zero
    if abs(mean) > 5:
        scale = (dot - zero) / mean
        assert right - dot == pytest.approx(above * scale, abs=1 + 4 * above / abs(mean))
        assert dot - left == pytest.approx(below * scale, abs=1 + 4 * below / abs(mean))


def test_the_difference_without_an_interval_has_no_whisker() -> None:
    svg = charts.difference_chart(4.0, None, 10.0)
    assert svg is not None
    assert not find(svg, "whisker")
    assert charts.difference_chart(math.nan, 0.0, 10.0) is None


def test_bars_are_as_long_as_their_values() -> None:
    group = charts.BarGroup("bell", "n=3", (0.25, 1.0, None))
    svg = charts.grouped_bars(("a", "b", "c"), [group])
    assert svg is not None
    quarter, whole = (
        number(next(r for r in find(svg, css) if r.find("title") is not None), "width")
        for css in ("series-0", "series-1")
    )
    assert quarter * 4 == pytest.approx(whole, abs=0.3)
    assert formats.MISSING in [text.text for text in svg.iter("text")]


def span_px(text: ET.Element) -> tuple[float, float]:
    """From where to where a text reaches, by a generous estimate."""
    width, x, css = charts._width_px(text.text or ""), number(text, "x"), text.get("class", "").split()
    start = x - (width if "end" in css else width / 2 if "middle" in css else 0)
    return start, start + width


@pytest.mark.parametrize("count", [1, 2, 6, 7, 14])
def test_every_text_of_the_bars_lies_in_the_picture(count: int) -> None:
    """The legend of six arms went on beyond its right edge."""
    arms = [f"{name} {turn}".removesuffix(" 0") for turn in (0, 1) for name in get_args(Arm)][:count]
    svg = charts.grouped_bars(arms, [charts.BarGroup("bell", "◆ n=300", (1.0,) * count)] * 3)
    assert svg is not None
    width, height = (float(size) for size in svg.get("viewBox", "").split()[2:])
    for text in svg.iter("text"):
        start, end = span_px(text)
        assert start >= 0 and end <= width and 0 < number(text, "y") <= height, text.text
    legend = [text for text in svg.iter("text") if text.text in arms]
    first_bar = min(number(bar, "y") for bar in svg.iter("rect") if bar.find("title") is not None)
    assert len(legend) == count and max(number(text, "y") for text in legend) < first_bar
    in_order = sorted((number(text, "y"), span_px(text)) for text in legend)
    for (y, (_, end)), (next_y, (start, _)) in itertools.pairwise(in_order):
        assert next_y > y or start > end


def test_the_legend_of_lines_stays_above_them() -> None:
    few, all_arms = (
        charts.line_chart("loss", [charts.Series(name, [(1, 0.0), (2, 1.0)]) for name in names])
        for names in (["gold"], get_args(Arm))
    )
    assert few is not None and all_arms is not None
    assert number(find(few, "grid")[-1], "y2") == number(find(all_arms, "grid")[-1], "y2") - 32
    lowest_name = max(number(name, "y") for name in find(all_arms, "label"))
    assert lowest_name < min(number(line, "y1") for line in find(all_arms, "grid"))


def test_no_two_arms_have_one_colour(tmp_path: Path) -> None:
    write(full_data(tmp_path / "run"), tmp_path / "report")
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert len(get_args(Arm)) <= len(charts.SERIES_COLOURS)
    for own in zip(*charts.SERIES_COLOURS, strict=True):
        assert len(set(own)) == len(own)
    for number_ in range(len(charts.SERIES_COLOURS)):
        assert f".chart .series-{number_} " in source and f".chart .line-{number_} " in source
        # For light and for dark screens.
        assert source.count(f"--c{number_}: #") == 2


@given(st.lists(st.tuples(*[st.integers(0, 500)] * 3), min_size=1, max_size=4))
def test_stacked_parts_neither_overlap_nor_leave_gaps(rows: list[tuple[int, int, int]]) -> None:
    parts = {"one": "p1", "two": "p2", "three": "p3"}
    svg = charts.stacked_bars([("r", dict(zip(parts, row, strict=True))) for row in rows], parts)
    if not any(map(sum, rows)):
        assert svg is None
        return
    assert svg is not None
    bars = [rect for rect in svg.iter("rect") if rect.find("title") is not None]
    by_row: dict[str, list[ET.Element]] = {}
    for bar in bars:
        by_row.setdefault(str(bar.get("y")), []).append(bar)
    for line in by_row.values():
        for before, after in itertools.pairwise(line):
            assert number(before, "x") + number(before, "width") == pytest.approx(number(after, "x"), abs=0.11)
    ends = sorted(
        (number(b[-1], "x") + number(b[-1], "width"), sum(number(x, "width") for x in b)) for b in by_row.values()
    )
    totals = sorted(sum(row) for row in rows if sum(row))
    for (_, width), total in zip(ends, totals, strict=True):
        assert width / ends[-1][1] == pytest.approx(total / totals[-1], abs=0.01)


def test_lines_break_where_a_value_is_missing() -> None:
    gap = charts.Series("loss", [(0, 1.0), (1, 0.5), (2, math.nan), (3, 0.4), (4, 0.3), (5, None)])
    svg = charts.line_chart("Loss", [gap, charts.Series("empty", [(0, None)])], chosen_x=4)
    assert svg is not None
    assert [path.get("d", "").count("L") for path in svg.iter("path")] == [1, 1]
    dots = list(svg.iter("circle"))
    assert len(dots) == 4
    heights = [number(dot, "cy") for dot in dots]
    assert heights == sorted(heights), "falling values are drawn downwards"
    assert number(find(svg, "chosen")[0], "x1") == number(dots[-1], "cx")
    assert "empty" not in [text.text for text in svg.iter("text")]
    assert charts.line_chart("Loss", [charts.Series("loss", [(0, None)])]) is None


def test_quantiles_are_drawn_in_order() -> None:
    svg = charts.quantile_chart("pitch", "Hz", [("real", (100, 200, 250, 400, 800)), ("synthetic", (None,) * 5)])
    assert svg is not None
    whisker, median = find(svg, "whisker")[0], find(svg, "median")[0]
    box = find(svg, "series-0")[0]
    positions = [
        number(whisker, "x1"),
        number(box, "x"),
        number(median, "x1"),
        number(box, "x") + number(box, "width"),
        number(whisker, "x2"),
    ]
    assert positions == sorted(positions)
    assert (positions[3] - positions[1]) / (positions[4] - positions[0]) == pytest.approx(200 / 700, abs=0.01)
    assert formats.MISSING in [text.text for text in svg.iter("text")]


@given(st.text(max_size=60), st.floats(20, 300))
def test_shortened_labels_fit(text: str, limit_px: float) -> None:
    short = charts.shorten(text, limit_px)
    assert short == text or (short.endswith("…") and charts._width_px(short) <= max(limit_px, 14))


def test_every_chart_of_the_page_is_well_formed_and_finite(tmp_path: Path) -> None:
    write(full_data(tmp_path / "run"), tmp_path / "report")
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", source, re.S)
    assert len(drawings) == 12
    for drawing in drawings:
        svg = ET.fromstring(drawing)
        width, height = (float(v) for v in svg.get("viewBox", "").split()[2:])
        assert svg[0].tag.endswith("title")
        for element in svg.iter():
            for name in {"x", "x1", "x2", "cx"} & set(element.keys()):
                assert 0 <= number(element, name) <= width
            for name in {"y", "y1", "y2", "cy"} & set(element.keys()):
                assert 0 <= number(element, name) <= height


def test_colour_classes_of_the_charts_exist_in_the_page(tmp_path: Path) -> None:
    page = write(full_data(tmp_path / "run"), tmp_path / "report")
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    style = source[source.index("<style>") : source.index("</style>")]
    used = {css for tag, attributes in page.tags if tag in {"rect", "circle", "line", "path", "text"}
            for css in str(attributes.get("class", "")).split()} - {"label"}  # fmt: skip
    assert used
    for css in used:
        assert f".chart .{css} " in style, css


# Pictures -------------------------------------------------------------------------------------------------------------


def test_a_spectrogram_has_low_frequencies_below_and_time_to_the_right() -> None:
    levels = np.full((50, 64), -80.0, dtype=np.float32)
    levels[40:, :8] = 0.0
    picture = Image.open(io.BytesIO(charts.spectrogram_png(levels)))
    assert (picture.format, picture.size) == ("PNG", (320, 96))
    light = np.asarray(picture.convert("L"), dtype=np.float64)
    assert light[-1, -1] > 200
    assert light[0, -1] < 10
    assert light[-1, 0] < 10


def test_a_spectrogram_takes_missing_values() -> None:
    levels = np.full((1, 1), np.nan, dtype=np.float32)
    assert Image.open(io.BytesIO(charts.spectrogram_png(levels))).size == (320, 96)


# Verdict --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "n_added", "expected"),
    [
        (1.0, 7.0, 9, "helped"),
        (-7.0, -1.0, 9, "hurt"),
        (-1.0, 7.0, 9, "unclear"),
        (0.0, 10.0, 9, "unclear"),
        (NAN, 10.0, 9, "unknown"),
        (1.0, 7.0, 0, "unknown"),
    ],
)
def test_the_effect_follows_the_interval(tmp_path: Path, low: float, high: float, n_added: int, expected: str) -> None:
    seeds = (0.5, 0.52)
    compared = comparison(
        arm("gold", 0.5, 0, seeds),
        arm("synthio", 0.53, n_added, seeds),
        between=difference((low + high) / 2, low, high),
    )
    assert effect(compared) == expected
    page = write(dataclasses.replace(least_data(tmp_path / "run"), comparison=compared), tmp_path / "report")
    tag = next(p for p in page.all("p") if str(p.get("class", "")).startswith("effect"))
    assert tag["class"] == f"effect {expected}"


def test_one_training_per_arm_shows_no_effect(tmp_path: Path) -> None:
    arms = arm("gold", 0.5, 0, (0.5,), std=None), arm("synthio", 0.53, 9, (0.53,), std=None)
    compared = comparison(*arms, between=difference(4.0, 1.0, 7.0))
    assert effect(compared) == "unknown"
    page = write(dataclasses.replace(least_data(tmp_path / "run"), comparison=compared), tmp_path / "report")
    assert "the interval of the test clips alone" in page.text
    assert "+4.0 points, of one training per arm" in page.text
    assert re.search(r"gold.* 50\.0% n/a 50\.0%", page.text)


def test_one_training_per_arm_without_an_interval_is_not_said_to_have_one(tmp_path: Path) -> None:
    compared = comparison(
        arm("gold", 0.5, 0, (0.5,)), arm("synthio", 0.53, 9, (0.53,)), between=difference(4.0, NAN, NAN)
    )
    page = write(dataclasses.replace(least_data(tmp_path / "run"), comparison=compared), tmp_path / "report")
    assert "The dot is the mean; there is no interval." in page.text
    assert "+4.0 points, no interval" in page.text


def test_every_class_has_its_own_interval_where_there_is_an_effect(tmp_path: Path) -> None:
    differences = [
        ClassDifference(points=9.0, low=-2.5, high=20.5),
        ClassDifference(points=4.0, low=NAN, high=NAN),
        None,
    ]
    scores: dict[str, float | None] = {"gold": 0.5, "synthio": 0.5}
    classes = tuple(
        class_result(name, scores).model_copy(update={"difference": found})
        for name, found in zip(("flute", "one group", "untested"), differences, strict=True)
    )
    seeds = (0.5, 0.52)
    arms = arm("gold", 0.5, 0, seeds), arm("synthio", 0.53, 9, seeds)
    compared = comparison(*arms, between=difference(4.0, 1.0, 7.0), classes=classes)
    shown = write(dataclasses.replace(least_data(tmp_path / "run"), comparison=compared), tmp_path / "report").text
    assert "of too few groups to say anything; the section “The classifier in model/” says how many." in shown
    assert "+9.0 −2.5 to +20.5 14 27" in shown and "+4.0 n/a 14 27" in shown and "n/a n/a 14 27" in shown
    # Where the whole has no interval, no class has one.
    alone = compared.model_copy(update={"arms": tuple(a.model_copy(update={"per_seed": (0.5,)}) for a in arms)})
    page = write(dataclasses.replace(least_data(tmp_path / "run"), comparison=alone), tmp_path / "report")
    assert "with intervals" not in page.text and "+20.5" not in page.text


def test_classes_are_listed_by_gain(tmp_path: Path) -> None:
    write(full_data(tmp_path / "run"), tmp_path / "report")
    source = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    tips = re.findall(r"<title>([^<]+), synthio: [\d.]+%</title>", source)
    assert tips == ["cowbell", "hi-hat", "snare_drum", "kick drum"]


# Features -------------------------------------------------------------------------------------------------------------


def sounds(folder: Path) -> dict[str, list[report_data.Sound]]:
    def sound(name: str, frequency_hz: float) -> report_data.Sound:
        return report_data.Sound(name, ("bell",), tone(folder / f"{name}.flac", frequency_hz))

    return {"real": [sound("a", 220), sound("b", 440)], "synthetic": [sound("c", 880)]}


def test_a_report_written_anew_measures_no_clip_again(tmp_path: Path) -> None:
    heard = sounds(tmp_path)
    first, warnings = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert not warnings and [row.pitch_hz for _, row in first["real"]] == pytest.approx([220, 440], rel=0.05)
    for sound in (*heard["real"], *heard["synthetic"]):
        sound.path.unlink()
    assert report_data.measure_sounds(heard, tmp_path / "cache", 10.0) == (first, [])
    # What is heard of a clip is another part of it.
    assert report_data.measure_sounds(heard, tmp_path / "cache", 0.1)[0] == {"real": [], "synthetic": []}


def test_an_unpitched_clip_is_kept_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=RATE_HZ) * 0.1
    sf.write(str(tmp_path / "noise.flac"), noise, RATE_HZ)
    heard = {"real": [report_data.Sound("noise", ("hiss",), tmp_path / "noise.flac")]}
    first, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    again, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert math.isnan(first["real"][0][1].pitch_hz)
    np.testing.assert_equal(dataclasses.asdict(again["real"][0][1]), dataclasses.asdict(first["real"][0][1]))


def test_clips_that_cannot_be_measured_are_told(tmp_path: Path) -> None:
    """They were left out without a word."""
    heard = sounds(tmp_path)
    heard["real"][1].path.unlink()
    measured, (warning,) = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    assert [len(rows) for rows in measured.values()] == [1, 1]
    assert "1 of 3 clips are left out of the spectral features" in warning and "b.flac: no such file" in warning


def features(centroid_hz: float) -> audio.SpectralFeatures:
    rest = {field: 1.0 for field in audio.FEATURES if field != "centroid_hz"}
    return audio.SpectralFeatures(centroid_hz=centroid_hz, **rest)


@pytest.mark.parametrize(
    ("real_hz", "synthetic_hz", "unlike"),
    [
        ([100, 200, 300, 400, 500], [90, 99, 900], (100, 500)),
        ([100, 200, 300, 400, 500], [101, 101, 101], None),
        # One odd clip of many stretches no range.
        ([*range(101, 121), 9000], [130], (103, 119)),
        # Too few real clips say nothing.
        ([100, 200, 300, 400], [900], None),
        ([100, 200, 300, 400, 500], [], None),
    ],
)
def test_classes_whose_synthetic_clips_are_unlike_the_real_ones_are_told(
    real_hz: list[float], synthetic_hz: list[float], unlike: tuple[float, float] | None
) -> None:
    measured = {
        kind: [(("bell",), features(hz)) for hz in values]
        for kind, values in (("real", real_hz), ("synthetic", synthetic_hz))
    }
    _, (bell,) = report_data._spectral(measured)
    assert bell.unlike == ({} if unlike is None else {audio.FEATURES["centroid_hz"][0]: unlike})


def test_damaged_features_are_measured_anew(tmp_path: Path) -> None:
    heard = sounds(tmp_path)
    first, _ = report_data.measure_sounds(heard, tmp_path / "cache", 10.0)
    (kept,) = (tmp_path / "cache").glob("features-*.json")
    for text in ("", "[]", '{"a": {"centroid_hz": 1}}', "\x00"):
        kept.write_text(text)
        assert report_data.measure_sounds(heard, tmp_path / "cache", 10.0) == (first, [])


@pytest.mark.parametrize(("prices", "cost"), [((0.0, 0.0), None), ((2.0, 4.0), 80e-6), ((0.0, 1.0), 10e-6)])
def test_tokens_are_summed_and_cost_is_told_where_there_are_prices(
    tmp_path: Path, prices: tuple[float, float], cost: float | None
) -> None:
    """At the prices that the recipe has now: those that were added after a run came to 0.00."""
    folders = [StageFolder(tmp_path, "caption", key) for key in ("a", "b", "unfinished")]
    for folder in folders[:2]:
        usage = {"requests": 2, "input_tokens": 10, "output_tokens": 5, "cost": 0.0}
        folder.finish([], {"usage": usage})
    names = ("price_per_million_input_tokens", "price_per_million_output_tokens")
    endpoint = {"model": "ears", **dict(zip(names, prices, strict=True))}
    section = CaptionConfig.model_validate({"kind": "endpoint", "endpoint": endpoint})
    use = report_data._use("captioner", section, folders)
    assert use == LanguageModelUse("captioner", "ears", 20, 10, cost, 4)


# What a run made ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "identity"), [("clap", "by the CLAP above"), ("template", "no model")])
def test_a_captioner_without_weights_of_its_own_is_told_as_such(kind: str, identity: str) -> None:
    models = report_data.models_used(recipe(caption={"kind": kind}), {})
    assert models[-1] == ModelUsed("captioner", kind, identity)
    assert "clap" in [model.part for model in models[:-1]]


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


def test_the_funnel_counts_every_verdict_once(tmp_path: Path) -> None:
    whys = ["accepted"] * 5 + ["below-threshold"] * 4 + ["copy"] * 3 + ["generation-failed"] * 2 + ["silent"]
    row = report_data.funnel_round(filtered_round(tmp_path, {"bell": whys}))
    assert row == FunnelRound(
        round=0, captions=15, generated=13, accepted=5, below_threshold=4, copies=3, failed=3, given_up=1
    )


def test_labels_of_which_little_was_accepted_are_told(tmp_path: Path) -> None:
    """Under a quarter of what was imagined, reflection and all."""
    first = filtered_round(
        tmp_path, {"bell": ["accepted"] * 8, "gong": ["accepted"] + ["copy"] * 7, "horn": ["copy"] * 8}
    )
    (told,) = results._acceptance_warnings([first])
    assert "few synthetic clips were accepted of 'gong' 1 of 8, 'horn' 0 of 8" in told
    later = filtered_round(tmp_path, {"gong": ["accepted"], "horn": ["accepted"] * 2}, 1)
    assert results._acceptance_warnings([first, later]) == []
    none = filtered_round(tmp_path, {"bell": ["accepted"] + ["copy"] * 7, "gong": ["copy"] * 8}, 2)
    warned = results._acceptance_warnings([none])
    assert "only 1 of 16 wanted synthetic clips were accepted: the generator may not know" in warned[0]


def test_a_damaged_summary_of_the_filter_is_told_with_what_to_delete(tmp_path: Path) -> None:
    first = filtered_round(tmp_path, {"bell": ["accepted"]})
    damaged = {"reasons": {"accepted": 1}, "copies": 0, "real_clips": {"accepted": 0}}
    first.filtered.finish(first.verdicts, damaged)
    with pytest.raises(StoreError, match=r"done.json: is damaged \(real_clips.total: .*delete"):
        results._acceptance_warnings([first])


def test_samples_to_listen_to_are_of_every_class() -> None:
    samples = [
        SampleClip(Path(f"{k}.flac"), (label,), "x", 0.5, 0.2, "accepted", 0, "c", Path("c.wav"), None)
        for k, label in enumerate(["bell"] * 9 + ["gong"])
    ]
    for seed in range(5):
        assert {clip.labels for clip in report_data._spread(samples, 2, seed)} == {("bell",), ("gong",)}


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


def test_the_report_says_of_which_commits_a_hub_model_was(tmp_path: Path) -> None:
    """It named the branch, which moves."""
    config = RunConfig.model_validate({"data": {"path": "x"}, "clap": {"model": "owner/clap"}})
    commits = {"owner/clap@main": ["aaaa", "bbbb"]}
    said = {used.part: used.identity for used in report_data.models_used(config, commits)}
    assert said["clap"] == "owner/clap@main (commit aaaa, then bbbb)" and "commit" not in str(said["t2a"])


def test_a_finished_run_is_shown_without_work(tmp_path: Path) -> None:
    """A notebook's last line compared the arms, wrote into the run folder, and could fail."""
    assert repr(finished_run(tmp_path)) == f"FinishedRun(root={str(tmp_path)!r})"
    assert not list(tmp_path.iterdir())


def test_before_is_the_loser_and_after_what_the_aligned_model_made(tmp_path: Path) -> None:
    aligned, losers = StageFolder(tmp_path, "align", "k"), StageFolder(tmp_path, "losers", "k")
    pair = PreferencePair(
        id="c-0", clip_id="c", prompt="Sound of a bell", loser_path="losers/c-0.flac", duration_s=1, held_out=True
    )
    aligned.finish([pair], {"after": ["c-0"]})
    run = finished_run(tmp_path, align_folder=aligned, losers_folder=losers)
    (shown,) = report_data._before_after(run, {"c": Path("c.wav")})
    assert shown.base_audio == losers.path / "losers" / "c-0.flac"
    assert (shown.aligned_audio, shown.real_audio) == (aligned.path / "after" / "c-0.flac", Path("c.wav"))


@pytest.mark.parametrize("path", ["/etc/passwd", "../../key"])
def test_a_record_that_names_a_file_outside_its_stage_is_refused(path: str, tmp_path: Path) -> None:
    """Any file was copied into the dataset and the report of a run folder that came from elsewhere."""
    filtered = filtered_round(tmp_path, {"bell": ["accepted"]})
    filtered = dataclasses.replace(filtered, candidates=(filtered.candidates[0].model_copy(update={"path": path}),))
    with pytest.raises(StoreError, match="leaves"):
        synthetic_clips([filtered])
    with pytest.raises(StoreError, match="leaves"):
        report_data._sample(filtered, filtered.made[0], {"c": Path("c.wav")})
    stage = StageFolder(tmp_path, "align", "k")
    pair = PreferencePair(id="p", clip_id="c", prompt="", loser_path=path, duration_s=1, held_out=True)
    stage.finish([pair], {"after": ["p"]})
    with pytest.raises(StoreError, match="leaves"):
        report_data._before_after(finished_run(tmp_path, align_folder=stage, losers_folder=stage), {"c": Path("c.wav")})
