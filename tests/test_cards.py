"""The cards of the dataset and of the model: what they say, and that no text marks anything in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from sample_reports import HOSTILE, RATE_HZ, UNICODE, Page, full_data, least_data, recipe

from synthio import cards, formats
from synthio.confusion import ClassFound, Confusion
from synthio.metrics import Interval
from synthio.records import Candidate, Prompt, Verdict
from synthio.stages.dataset import Accepted


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
        "hi-hat 14 0 of 3 0.0% n/a 1 0 of 297",
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
