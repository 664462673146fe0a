"""Charts: drawn where the numbers are, inside their picture, and in colours that the page has."""

from __future__ import annotations

import io
import itertools
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample_reports import full_data, write

from synthio import charts, formats
from synthio.config import Arm

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
