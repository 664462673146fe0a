"""The report's figures: SVG charts and spectrogram pictures. Pure functions, no files.

Charts are ElementTree elements, so every label in them is escaped by construction. They carry CSS classes instead of
colours: the page defines these for light and for dark screens. Values that are None, NaN or infinite are left out.
"""

from __future__ import annotations

import io
import math
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from synthio.formats import MISSING, finite, percent, points, printable, quantity, signed

#: On light and on dark screens, one pair for each arm that a run can have: the page makes the classes `series-0`,
#: `series-1`, ... and `line-0`, `line-1`, ... of them.
SERIES_COLOURS = (
    ("#8a94a6", "#97a3b8"),
    ("#0b7285", "#3cb9cf"),
    ("#8055b3", "#b795e6"),
    ("#a86400", "#e0a040"),
    ("#c2387e", "#f285b8"),
    ("#4b8b2b", "#8fce6a"),
    ("#2f63d0", "#7fa6ff"),
)
_SVG_NAMESPACE = "http://www.w3.org/2000/svg"
_CHARACTER_PX = 6.6
#: Dark violet to pale yellow, evenly rising in lightness, so that it also reads in grey.
_HEAT_ANCHORS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


# Building blocks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One line of a line chart: ``(x, y)`` in order of x; the line breaks where y is missing."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Axis:
    """A linear map from values to pixels, with its ticks."""

    low: float
    high: float
    start_px: float
    end_px: float
    ticks: tuple[float, ...]

    def px(self, value: float) -> float:
        """Where a value lies."""
        return self.start_px + (value - self.low) / (self.high - self.low) * (self.end_px - self.start_px)


def nice_ticks(low: float, high: float, target: int = 5) -> tuple[float, ...]:
    """About ``target`` round values (1, 2, 2.5 or 5 times a power of ten) that cover ``low`` to ``high``.

    The first is at or under ``low``, the last at or over ``high``. Equal or nearly equal ends are moved apart first.
    """
    room = max(abs(low), abs(high), 1e-12) * 1e-6
    if high - low < room:
        middle, half = (low + high) / 2, max(abs(low) * 0.1, room)
        low, high = middle - half, middle + half
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def tick_texts(ticks: Sequence[float]) -> tuple[str, ...]:
    """Labels of ticks, all with the same number of decimals, no more than their step needs."""
    largest = max(abs(tick) for tick in ticks)
    if not 1e-3 <= largest < 1e6:
        return tuple("0" if tick == 0 else quantity(tick) for tick in ticks)
    step = ticks[1] - ticks[0]
    decimals = next((n for n in range(6) if abs(round(step, n) - step) < step * 1e-3), 6)
    return tuple(signed(f"{tick:,.{decimals}f}") for tick in ticks)


def _axis(values: Sequence[float], start_px: float, end_px: float, target: int = 5) -> Axis:
    ticks = nice_ticks(min(values), max(values), target)
    return Axis(ticks[0], ticks[-1], start_px, end_px, ticks)


def _series(index: int) -> str:
    """The colour class of one series of several."""
    return f"series-{index % len(SERIES_COLOURS)}"


def _svg(width: float, height: float, description: str) -> ET.Element:
    attributes = {"xmlns": _SVG_NAMESPACE, "viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}"}
    svg = ET.Element("svg", {**attributes, "class": "chart", "role": "img", "aria-label": printable(description)})
    _add(svg, "title", description)
    return svg


def _add(parent: ET.Element, tag: str, text: str = "", /, **attributes: float | str) -> ET.Element:
    """A child element; ``font_size`` becomes ``font-size``, ``class_`` becomes ``class``, numbers get one decimal."""
    named = {
        name.rstrip("_").replace("_", "-"): value if isinstance(value, str) else f"{value:.1f}"
        for name, value in attributes.items()
    }
    child = ET.SubElement(parent, tag, named)
    child.text = printable(text) or None
    return child


def _width_px(text: str) -> float:
    """A generous estimate of a label's width at the charts' font size; East Asian characters count double."""
    return sum(_CHARACTER_PX * (2 if unicodedata.east_asian_width(c) in "WF" else 1) for c in text)


def shorten(text: str, limit_px: float) -> str:
    """The text, cut with an ellipsis where it would be wider than ``limit_px``."""
    if _width_px(text) <= limit_px:
        return text
    kept = ""
    for character in text:
        if _width_px(kept + character + "…") > limit_px:
            break
        kept += character
    return kept.rstrip() + "…"


def _label(svg: ET.Element, text: str, x: float, y: float, limit_px: float) -> None:
    """A text that is cut to fit, with the whole of it as a tooltip."""
    element = _add(svg, "text", shorten(text, limit_px), x=x, y=y, class_="label end")
    if element.text != text:
        _add(element, "title", text)


def _horizontal_axis(svg: ET.Element, axis: Axis, top: float, bottom: float, unit: str) -> None:
    for tick, text in zip(axis.ticks, tick_texts(axis.ticks), strict=True):
        _add(svg, "line", x1=axis.px(tick), x2=axis.px(tick), y1=top, y2=bottom, class_="grid")
        _add(svg, "text", text, x=axis.px(tick), y=bottom + 14, class_="tick middle")
    if unit:
        _add(svg, "text", unit, x=(axis.start_px + axis.end_px) / 2, y=bottom + 30, class_="tick middle")


def _vertical_axis(svg: ET.Element, axis: Axis, left: float, right: float) -> None:
    for tick, text in zip(axis.ticks, tick_texts(axis.ticks), strict=True):
        _add(svg, "line", x1=left, x2=right, y1=axis.px(tick), y2=axis.px(tick), class_="grid")
        _add(svg, "text", text, x=left - 6, y=axis.px(tick) + 4, class_="tick end")


_LEGEND_ROW_PX = 16


def _legend_places(names: Sequence[str], left: float, right: float) -> list[tuple[float, int]]:
    """Where each name's swatch begins, and in which row: a name that would go beyond ``right`` begins the next."""
    places: list[tuple[float, int]] = []
    x, row = left, 0
    for name in names:
        width = 15 + _width_px(name)
        if x > left and x + width > right:
            x, row = left, row + 1
        places.append((x, row))
        x += width + 18
    return places


def _legend(svg: ET.Element, names: Sequence[tuple[str, str]], left: float, y: float, right: float) -> None:
    """Swatches with names, in rows; ``names`` pairs a CSS class with a text."""
    for (css, name), (x, row) in zip(names, _legend_places([name for _, name in names], left, right), strict=True):
        base = y + _LEGEND_ROW_PX * row
        _add(svg, "rect", x=x, y=base - 9, width=10, height=10, rx=2, class_=css)
        _add(svg, "text", name, x=x + 15, y=base, class_="label")


# Charts ---------------------------------------------------------------------------------------------------------------


def difference_chart(mean: float | None, low: float | None, high: float | None) -> ET.Element | None:
    """Dot and whisker of a difference in percentage points, against a zero line.

    Returns: None when the mean is missing. The whisker is left out unless both its ends are there.
    """
    dot, ends = finite(mean), (finite(low), finite(high))
    if dot is None:
        return None
    interval = [end for end in ends if end is not None] if None not in ends else []
    words = f"Difference {points(dot)} points"
    words += f", interval {points(low)} to {points(high)}" if interval else ", no interval"
    svg = _svg(720, 112, words)
    reach = max(abs(value) for value in (dot, *interval, 0.5)) * 1.05
    axis = _axis((min(-0.3 * reach, dot, *interval), max(0.3 * reach, dot, *interval)), 70, 650, target=6)
    _horizontal_axis(svg, axis, 12, 74, "difference in percentage points")
    _add(svg, "line", x1=axis.px(0), x2=axis.px(0), y1=6, y2=74, class_="zero")
    _add(svg, "text", "← synthetic data hurts", x=4, y=108, class_="tick")
    _add(svg, "text", "synthetic data helps →", x=716, y=108, class_="tick end")
    if interval:
        left, right = axis.px(min(interval)), axis.px(max(interval))
        _add(svg, "line", x1=left, x2=right, y1=46, y2=46, class_="whisker")
        for end in (left, right):
            _add(svg, "line", x1=end, x2=end, y1=39, y2=53, class_="whisker")
        _add(svg, "text", points(min(interval)), x=left - 7, y=50, class_="label end")
        _add(svg, "text", points(max(interval)), x=right + 7, y=50, class_="label")
    _add(svg, "circle", cx=axis.px(dot), cy=46, r=7, class_="dot")
    _add(svg, "text", points(dot), x=axis.px(dot), y=30, class_="label strong middle")
    return svg


def seed_chart(arms: Sequence[tuple[str, Sequence[float | None], float | None]]) -> ET.Element | None:
    """One dot per seed and a bar at the mean, one row per arm. ``arms`` holds name, score per seed, mean score.

    Returns: None when no arm has a score.
    """
    rows = [
        (name, [100 * v for v in map(finite, scores) if v is not None], finite(mean)) for name, scores, mean in arms
    ]
    values = [score for _, scores, _ in rows for score in scores] + [100 * m for _, _, m in rows if m is not None]
    if not values:
        return None
    bottom = 10 + 30 * len(rows)
    svg = _svg(720, bottom + 36, "Score of every seed and the mean of each arm")
    axis = _axis(values, 150, 690)
    _horizontal_axis(svg, axis, 8, bottom, "score on the test clips, %")
    for index, (name, scores, mean) in enumerate(rows):
        y, css = 25 + 30 * index, _series(index)
        _label(svg, name, 138, y + 4, 130)
        for score in scores:
            dot = _add(svg, "circle", cx=axis.px(score), cy=y, r=5, class_=f"seed {css}")
            _add(dot, "title", f"{name}: {score:.1f}%")
        if mean is not None:
            x = axis.px(100 * mean)
            _add(svg, "line", x1=x, x2=x, y1=y - 11, y2=y + 11, class_="mean")
    return svg


@dataclass(frozen=True)
class BarGroup:
    """The bars of one class: its label, a short note after it, and one fraction per arm."""

    label: str
    note: str
    values: Sequence[float | None]


def grouped_bars(arms: Sequence[str], groups: Sequence[BarGroup]) -> ET.Element | None:
    """Horizontal bars of fractions in percent, one group per class, one bar per arm.

    Returns: None when there is nothing to draw.
    """
    if not groups or not arms:
        return None
    left, right, bar, edge = 250, 660, 12, 720
    step = bar * len(arms) + 10
    below = _LEGEND_ROW_PX * max(row for _, row in _legend_places(arms, left, edge))
    bottom = 34 + below + step * len(groups)
    svg = _svg(edge, bottom + 36, f"Score per class for {', '.join(arms)}")
    _legend(svg, [(_series(i), arm) for i, arm in enumerate(arms)], left, 16, edge)
    axis = Axis(0, 100, left, right, (0, 25, 50, 75, 100))
    _horizontal_axis(svg, axis, 26 + below, bottom, "%")
    for row, group in enumerate(groups):
        top = 32 + below + step * row
        middle = top + bar * len(arms) / 2 + 4
        end = left - 22 - _width_px(group.note)
        _label(svg, group.label, end, middle, end)
        _add(svg, "text", group.note, x=left - 10, y=middle, class_="tick end")
        for index, value in enumerate(group.values):
            _bar(svg, axis, group.label, arms[index], finite(value), top + bar * index, index)
    return svg


def _bar(svg: ET.Element, axis: Axis, label: str, arm: str, value: float | None, top: float, index: int) -> None:
    if value is None:
        _add(svg, "text", MISSING, x=axis.start_px + 4, y=top + 10, class_="tick")
        return
    end = axis.px(100 * min(max(value, 0.0), 1.0))
    css = _series(index)
    bar = _add(svg, "rect", x=axis.start_px, y=top + 1, width=max(end - axis.start_px, 1.0), height=10, class_=css)
    _add(bar, "title", f"{label}, {arm}: {percent(value)}")
    _add(svg, "text", f"{100 * value:.1f}", x=end + 5, y=top + 10, class_="tick")


def stacked_bars(rows: Sequence[tuple[str, Mapping[str, int]]], parts: Mapping[str, str]) -> ET.Element | None:
    """Horizontal bars of counts, split into parts. ``parts`` maps a part's name to its CSS class.

    Returns: None when every count is zero.
    """
    largest = max((sum(counts.values()) for _, counts in rows), default=0)
    if largest <= 0:
        return None
    bottom = 30 + 34 * len(rows)
    svg = _svg(720, bottom + 36, "Generated clips of every round by what became of them")
    axis = _axis((0, largest), 130, 690)
    _legend(svg, [(css, name) for name, css in parts.items()], 130, 16, 720)
    _horizontal_axis(svg, axis, 26, bottom, "clips")
    for row, (name, counts) in enumerate(rows):
        x, y = axis.start_px, 33 + 34 * row
        _label(svg, name, 120, y + 15, 115)
        for part, css in parts.items():
            number = counts.get(part, 0)
            width = axis.px(number) - axis.px(0)
            if number <= 0:
                continue
            _add(
                _add(svg, "rect", x=x, y=y, width=width, height=22, class_=css), "title", f"{name}, {part}: {number:,}"
            )
            if width > _width_px(f"{number:,}") + 6:
                _add(svg, "text", f"{number:,}", x=x + width / 2, y=y + 15, class_="inside middle")
            x += width
    return svg


def line_chart(
    title: str, series: Sequence[Series], chosen_x: float | None = None, reference_y: float | None = None
) -> ET.Element | None:
    """Lines over steps, with axes. ``chosen_x`` draws a dashed vertical line, ``reference_y`` a horizontal one that is
    in view.

    Returns: None when no series has a finite value.
    """
    drawn = [(s.name, [(x, finite(y)) for x, y in s.points if finite(x) is not None]) for s in series]
    drawn = [(name, line) for name, line in drawn if any(y is not None for _, y in line)]
    if not drawn:
        return None
    below = _LEGEND_ROW_PX * max(row for _, row in _legend_places([name for name, _ in drawn], 56, 350))
    top, bottom = 34 + below, 200 + below
    svg = _svg(350, 40 + bottom, title)
    values = [y for _, line in drawn for _, y in line if y is not None]
    vertical = _axis([*values, *([] if reference_y is None else [reference_y])], bottom, top)
    horizontal = _axis([x for _, line in drawn for x, _ in line] + ([] if chosen_x is None else [chosen_x]), 56, 330, 4)
    _vertical_axis(svg, vertical, 56, 330)
    _horizontal_axis(svg, horizontal, bottom, bottom + 4, "step")
    if reference_y is not None:
        _add(svg, "line", x1=56, x2=330, y1=vertical.px(reference_y), y2=vertical.px(reference_y), class_="zero")
    if chosen_x is not None:
        x = horizontal.px(chosen_x)
        _add(svg, "line", x1=x, x2=x, y1=top - 6, y2=bottom, class_="chosen")
        anchor = "end" if x > 250 else ""
        _add(
            svg, "text", f"chosen: {chosen_x:,.0f}", x=x + (-5 if anchor else 5), y=top + 10,
            class_=f"tick {anchor}".strip(),
        )  # fmt: skip
    _legend(svg, [(_series(i), name) for i, (name, _) in enumerate(drawn)], 56, 14, 350)
    for index, (name, line) in enumerate(drawn):
        _line(svg, name, line, horizontal, vertical, index)
    return svg


def _line(
    svg: ET.Element, name: str, line: Sequence[tuple[float, float | None]], across: Axis, up: Axis, index: int
) -> None:
    for run in _runs(line):
        path = "M" + "L".join(f"{across.px(x):.1f},{up.px(y):.1f}" for x, y in run)
        _add(svg, "path", d=path, class_=f"line line-{index % len(SERIES_COLOURS)}")
    marked = [(x, y) for x, y in line if y is not None]
    if len(marked) <= 40:
        for x, y in marked:
            dot = _add(svg, "circle", cx=across.px(x), cy=up.px(y), r=2.5, class_=_series(index))
            _add(dot, "title", f"{name}, step {x:,.0f}: {quantity(y)}")


def _runs(line: Sequence[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    """Stretches of at least two neighbouring points whose y is there."""
    run: list[tuple[float, float]] = []
    for x, y in [*line, (0.0, None)]:
        if y is not None:
            run.append((x, y))
            continue
        if len(run) > 1:
            yield run
        run = []


def quantile_chart(name: str, unit: str, groups: Sequence[tuple[str, Sequence[float | None]]]) -> ET.Element | None:
    """One box per group from its quantiles 10, 25, 50, 75 and 90: whisker, box and median line.

    Returns: None when no group has all five.
    """
    boxes = [(label, [finite(value) for value in quantiles]) for label, quantiles in groups]
    whole = [value for _, quantiles in boxes if None not in quantiles for value in quantiles if value is not None]
    if not whole:
        return None
    bottom = 10 + 32 * len(boxes)
    svg = _svg(500, bottom + 36, f"{name} of {' and '.join(label for label, _ in boxes)} clips")
    axis = _axis(whole, 90, 480)
    _horizontal_axis(svg, axis, 6, bottom, unit)
    for index, (label, quantiles) in enumerate(boxes):
        y = 26 + 32 * index
        _label(svg, label, 80, y + 4, 76)
        _box(svg, axis, [q for q in quantiles if q is not None], y, index)
    return svg


def _box(svg: ET.Element, axis: Axis, quantiles: Sequence[float], y: float, index: int) -> None:
    if len(quantiles) != 5:
        _add(svg, "text", MISSING, x=axis.start_px + 4, y=y + 4, class_="tick")
        return
    low, left, median, right, high = (axis.px(value) for value in quantiles)
    _add(svg, "line", x1=low, x2=high, y1=y, y2=y, class_="whisker thin")
    css = _series(index)
    box = _add(svg, "rect", x=left, y=y - 9, width=max(right - left, 1.0), height=18, rx=2, class_=css)
    _add(box, "title", "quantiles 10, 25, 50, 75, 90: " + ", ".join(quantity(value) for value in quantiles))
    _add(svg, "line", x1=median, x2=median, y1=y - 9, y2=y + 9, class_="median")


# Pictures -------------------------------------------------------------------------------------------------------------


def _heat_palette() -> npt.NDArray[np.uint8]:
    """256 colours, shape ``(256, 3)``."""
    anchors = np.array(_HEAT_ANCHORS, dtype=np.float64)
    at = np.linspace(0, 255, len(anchors))
    return np.stack([np.interp(np.arange(256), at, channel) for channel in anchors.T], axis=1).astype(np.uint8)


_RANGE_DB = 80.0


def spectrogram_png(log_mel_db: npt.NDArray[np.float32]) -> bytes:
    """A log-mel spectrogram as PNG: time to the right, frequency upwards.

    Args: ``log_mel_db`` has shape ``(frames, n_mels)`` and values from -80 dB (dark) to 0 (bright).
    """
    levels = np.clip(np.nan_to_num(log_mel_db, nan=-_RANGE_DB) / _RANGE_DB + 1.0, 0.0, 1.0)
    pixels = np.ascontiguousarray((255 * levels).round().astype(np.uint8).T[::-1])
    picture = Image.fromarray(pixels).resize((320, 96), Image.Resampling.BILINEAR)
    picture.putpalette(_heat_palette().tobytes())
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()
