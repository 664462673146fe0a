"""Numbers and text for people: on pages, in tables, charts and errors. Pure functions."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from pydantic import ValidationError

MISSING = "n/a"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Embeddings, overrides and isolates: they turn the direction of all that follows.
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def finite(value: float | None) -> float | None:
    """The value, or None when it is None, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def signed(text: str) -> str:
    """A true minus sign, and no sign on a number that rounded to zero."""
    return text.lstrip("+-") if not text.strip("+-0.,") else text.replace("-", "−")


def _shown(value: float | None, form: str, unit: str = "") -> str:
    """A value in a format of Python's, with a true minus sign, and what stands after it."""
    number = finite(value)
    return MISSING if number is None else signed(format(number, form)) + unit


def _hundredfold(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal: 0.6317 becomes `63.2%`."""
    return _shown(_hundredfold(fraction), ".1f", "%")


def points(difference: float | None) -> str:
    """A difference in percentage points, always signed, with one decimal: 4.0953 becomes `+4.1`."""
    return _shown(difference, "+.1f")


def interval(low: str, high: str) -> str:
    """The two ends of an interval, each as it is shown; once that they are missing, as of clips of one group."""
    return low if low == MISSING else f"{low} to {high}"


def spread(fraction: float | None) -> str:
    """A standard deviation of fractions in percentage points, unsigned: 0.012 becomes `1.2`."""
    return _shown(_hundredfold(fraction), ".1f")


def count(number: float | None) -> str:
    """A whole number with thousands separators."""
    return _shown(number, ",.0f")


def similarity(value: float | None) -> str:
    """A similarity or a score with three decimals."""
    return _shown(value, ".3f")


def quantity(value: float | None) -> str:
    """Three significant digits at any scale: 1234.5 becomes `1,234`, 0.0000123 becomes `1.23×10⁻⁵`."""
    number = finite(value)
    if number is None:
        return MISSING
    if 999.5 <= abs(number) < 1e7:
        return signed(f"{number:,.0f}")
    text = f"{number:.3g}"
    if "e" not in text:
        return signed(text)
    mantissa, exponent = text.split("e")
    return f"{signed(mantissa)}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def duration(seconds: float | None) -> str:
    """A time in the units that a person would use: `0.4 s`, `12.3 s`, `3 min 05 s`, `2 h 05 min`."""
    value = finite(seconds)
    if value is None:
        return MISSING
    if value < 59.95:
        return f"{max(value, 0.0) + 0.0:.1f} s"
    minutes, rest_s = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def size(n_bytes: float | None) -> str:
    """A number of bytes in MiB or GiB."""
    value = finite(n_bytes)
    if value is None:
        return MISSING
    mebibytes = value / 2**20
    text, unit = (f"{mebibytes:,.0f}", "MiB") if mebibytes < 1024 else (f"{mebibytes / 1024:,.1f}", "GiB")
    return f"{signed(text)} {unit}"


def cost(amount: float | None) -> str:
    """Money in whatever currency the prices are in: two decimals, or three significant digits under 0.1."""
    value = finite(amount)
    if value is None:
        return MISSING
    return quantity(value) if 0 < abs(value) < 0.1 else signed(f"{value:,.2f}")


def in_percent(fraction: float) -> str:
    """A fraction in percent with one decimal, in ASCII and without a sign of its unit: 0.6317 becomes `63.2`."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def in_points(difference: float) -> str:
    """A difference of fractions in percentage points, always signed, in ASCII: 0.0409 becomes `+4.1`."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def measure(value: float | None, form: str) -> str:
    """A value in a format of Python's, such as `.3g`; a dash where it was not measured."""
    return "-" if value is None else format(value, form)


def sentence(text: str) -> str:
    """The text with its first letter as a capital; the others stay."""
    return text[:1].upper() + text[1:]


def some(items: Iterable[str], separator: str = ", ", most: int = 20) -> str:
    """The first ``most`` of a list that may be long, and how many more there are."""
    every = list(items)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return separator.join(every[:most]) + more


def problems_of(error: ValidationError) -> list[str]:
    """``words: Input should be a valid integer``, for each."""
    return [
        f"{'.'.join(map(str, problem['loc'])) or '(all)'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False)
    ]


def printable(text: str) -> str:
    """Text that any XML or UTF-8 writer takes, and that reads in the order in which it is written: control characters,
    those of direction too, and lone surrogates become U+FFFD."""
    return "".join("\ufffd" if _unprintable(character) else character for character in text)


_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "} | {c: f"\\{c}" for c in "\\`*_[]|#~$"}
)


def markdown(text: str) -> str:
    """Text that stands in Markdown, also in a table, as it is."""
    # Before a blank it begins no tag, and a terminal shows it as it is.
    return printable(text.translate(_MARKDOWN).replace("&lt; ", "< "))


def _unprintable(character: str) -> bool:
    if character in "\n\t":
        return False
    if unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _TURNING:
        return True
    return (ord(character) & 0xFFFE) == 0xFFFE


_REASONS = {
    "accepted": "accepted",
    "below-threshold": "not similar enough to its label",
    "copy": "too close to a training clip (copy)",
    "generation-failed": "generation failed",
    "silent": "silent",
}


def reason_words(rule: str) -> dict[str, str]:
    """What a `records.Reason` is called; ``rule``: `filter.rule`."""
    return _REASONS | ({"below-threshold": "another class is nearer"} if rule == "nearest" else {})


#: A function that turns a number, or a missing one, into text for the page.
Formatter = Callable[[float | None], str]
FORMATTERS: Mapping[str, Formatter] = {
    "percent": percent,
    "points": points,
    "spread": spread,
    "cost": cost,
    "count": count,
    "similarity": similarity,
    "quantity": quantity,
    "duration": duration,
    "size": size,
}
