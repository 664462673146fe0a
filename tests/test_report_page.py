"""The report: complete, honest about what is missing, safe with untrusted text, and readable from disk."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporters import RecordingReporter
from sample_reports import (
    HOSTILE,
    UNICODE,
    Page,
    arm,
    assert_links_stay_inside,
    class_result,
    comparison,
    data_with,
    difference,
    full_data,
    gate_options,
    least_data,
    played,
    recipe,
    sample,
    tone,
    write,
)

from synthio import formats
from synthio.config import FilterRule
from synthio.errors import StoreError
from synthio.progress import Reporter
from synthio.records import Measurement
from synthio.report_data import Alignment, FeatureQuantiles, FunnelRound, LanguageModelUse, SampleClip
from synthio.report_page import write_report
from synthio.stages.gate import GateMeasures
from synthio.verdict import ClassDifference, effect

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
        "hi-hat 0 of 3 0.0% n/a 1 0 of 297",
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


# The folder -----------------------------------------------------------------------------------------------------------


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
