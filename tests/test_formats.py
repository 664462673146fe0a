"""Numbers and text as a person reads them."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthio import formats

NAN = math.nan


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
