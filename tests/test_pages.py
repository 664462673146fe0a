"""What all pages have: text that is cleaned and escaped, and that stands out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthio import charts, pages


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


def test_every_page_is_cleaned_and_escaped() -> None:
    """Control characters were cleaned in the report alone."""
    said = {"progress": "bell\x07 & <b>", "sections": [], "notes": ["half \ud800"]}
    page = pages.render("bench", **said)
    assert page.startswith("<!DOCTYPE html>")
    assert "bell\ufffd &amp; &lt;b&gt;" in page and "half \ufffd" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("try `synthio bench` & <b>", "try <code>synthio bench</code> &amp; &lt;b&gt;"),
        ("`a<b`, then `c\x07`", "<code>a&lt;b</code>, then <code>c\ufffd</code>"),
        ("a file called it`s.wav", "a file called it`s.wav"),
        ("none", "none"),
    ],
)
def test_commands_in_messages_are_code_on_pages(text: str, shown: str) -> None:
    """Warnings had the backticks of the terminal."""
    assert pages.code(text) == shown
