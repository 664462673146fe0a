"""A first look before a run: which clips it is of, what it leaves alone, and that a run goes on from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import make_clip, write_tiny_run
from command_line import synthio
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_packages import install

from synthio.preview import few_of_each


@pytest.fixture(scope="module")
def recipe(
    tmp_path_factory: pytest.TempPathFactory, small_data: Path, flow_model: Path, clap_model: Path, ast_model: Path
) -> Path:
    root = tmp_path_factory.mktemp("preview")
    return write_tiny_run(root, small_data, flow_model, clap_model, ast_model, steps=2, seeds=1)


@pytest.fixture(scope="module")
def seen(recipe: Path) -> dict[str, Any]:
    return look(recipe)


def look(recipe: Path, *arguments: str) -> dict[str, Any]:
    result = synthio("preview", recipe, *arguments, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def made(recipe: Path) -> dict[Path, int]:
    """Every generated clip, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in (recipe.parent / "run" / "stages").rglob("*.flac")}


def test_it_shows_some_clips_of_each_class(recipe: Path, seen: dict[str, Any]) -> None:
    assert Counter(example["labels"][0] for example in seen["examples"]) == {"low_tone": 2, "hiss": 2}
    for example in seen["examples"]:
        assert example["caption"] and example["prompt"]
        assert Path(example["real"]).is_file() and Path(example["synthetic"]).is_file()
        assert example["reason"] != "accepted" or example["score"] >= example["threshold"]
    page = Path(seen["page"])
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio") == 8 and "What a run would make" in text
    assert all((page.parent / name).is_file() for name in text.split('src="')[1:] for name in [name.split('"')[0]])
    assert any("the generator is aligned with your clips first" in said for said in seen["left_out"])
    assert any("2 captions are written per training clip" in said for said in seen["left_out"])


def test_the_page_warns_of_a_filter_that_drops_real_clips_too(recipe: Path) -> None:
    """It was told on standard error alone, while the page called the clips of such a class accepted or not."""
    found = look(recipe, "filter.rule=sigmoid", "filter.threshold=1.0")
    assert found["real_accepted"] == {"hiss": [0, 4], "low_tone": [0, 4]}
    assert any("would accept only 0 of 8 real training clips" in said for said in found["warnings"])
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert "would accept only 0 of 8" in page and "accepts 0 of 4 of your own clips" in page
    assert "guidance_scale" in page


def test_another_setting_makes_only_what_it_concerns(recipe: Path, seen: dict[str, Any]) -> None:
    before = made(recipe)
    assert look(recipe)["examples"] == seen["examples"] and made(recipe) == before
    every = look(recipe, "filter.rule=none", "filter.copies=ignore")["examples"]
    assert {example["reason"] for example in every} == {"accepted"} and made(recipe) == before
    assert [example["synthetic"] for example in every] == [example["synthetic"] for example in seen["examples"]]
    more = look(recipe, "--clips-per-class", "3")["examples"]
    assert len(more) == 6 and len(made(recipe)) > len(before)


def test_the_words_are_for_people(recipe: Path, seen: dict[str, Any]) -> None:
    result = synthio("preview", recipe, "--quiet")
    assert result.returncode == 0 and "caption of the real clip" in result.stdout
    accepted = sum(example["reason"] == "accepted" for example in seen["examples"])
    assert f"the filter accepts {accepted} of 4 clips" in result.stdout
    assert result.stdout.rstrip().endswith("preview/index.html")


def test_captions_of_templates_need_none_of_the_real_clips(recipe: Path) -> None:
    examples = look(recipe, "imagine.mode=template")["examples"]
    assert {example["prompt"] for example in examples} == {"Sound of a low tone", "Sound of a hiss"}
    assert {example["caption"] for example in examples} == {None}


#: A plug-in whose generator makes no clip of a prompt with a word that it is not given to know.
PICKY = """
import numpy as np
from pydantic import BaseModel
from synthio.plugins import *

class Options(BaseModel): refused: str
class Picky:
    sample_rate_hz, longest_s = 8000, 30.0
    def __init__(self, config): self.refused = config.options["refused"]
    def generate(self, prompts, duration_s, seeds):
        if any(self.refused in prompt for prompt in prompts): raise BackendError(f"no {self.refused} here")
        return [np.random.default_rng(s).uniform(-1, 1, round(duration_s * 8000)).astype(np.float32) for s in seeds]

picky = TextToAudioBackend(load=lambda config, resources: Picky(config), source="none", options=Options)
"""


def test_it_says_why_the_generator_refused(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"synthio.text_to_audio": {"picky": "picky:picky"}}
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", "picky", "1", points, PICKY)))
    picky = ("t2a.kind=picky", "align.method=none", "imagine.mode=template", "t2a.options.refused=hiss")
    result = synthio("preview", recipe, *picky, "--json")
    assert result.returncode == 0 and "refused 2 of 4 clips" in result.stderr
    found = json.loads(result.stdout)
    told = {(example["labels"][0], example["synthetic_failed"]) for example in found["examples"]}
    assert told == {("hiss", "no hiss here"), ("low_tone", None)}
    assert Path(found["page"]).read_text(encoding="utf-8").count("no hiss here") == 2
    result = synthio("preview", recipe, *picky[:-1], "t2a.options.refused=Sound")
    assert result.returncode != 0 and "refused 4 of 4 clips" in result.stderr and "no Sound here" in result.stderr


def test_it_says_before_anything_loads_what_would_stop_a_run(recipe: Path, tmp_path: Path) -> None:
    result = synthio("preview", recipe, "t2a.model=no such/model", f"run_folder={tmp_path / 'other'}")
    assert result.returncode == 4 and "t2a.model=no such/model" in result.stderr
    assert not (tmp_path / "other").exists()


def test_where_nothing_synthetic_is_added_there_is_nothing_to_look_at(recipe: Path) -> None:
    result = synthio("preview", recipe, "train.arms=[gold]")
    assert result.returncode == 2 and "none adds synthetic clips" in result.stderr


def test_a_run_makes_only_the_others(recipe: Path, tmp_path: Path) -> None:
    """Its captions, clips and verdicts are those of the preview: a preview of a few clips alone had other pools."""
    unaligned = ("align.method=none", f"run_folder={tmp_path / 'run'}")
    before = look(recipe, *unaligned)["examples"]
    clips = {Path(e["synthetic"]): Path(e["synthetic"]).stat().st_mtime_ns for e in before}
    result = synthio("run", recipe, *unaligned, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in clips} == clips
    (folder,) = {path.parent.parent for path in clips}
    assert folder.name.startswith("generate-") and (folder / "done.json").is_file()
    texts = {row["id"]: row["text"] for row in rows(tmp_path / "run", "imagine")}
    reasons = {row["id"]: row["reason"] for row in rows(tmp_path / "run", "filter")}
    for example in before:
        name = f"{example['clip_id']}-0"
        assert texts[name] == example["prompt"] and reasons[name] == example["reason"]
    assert len(texts) == 16
    # The other way round: what a run has made is looked at as it is.
    assert look(recipe, *unaligned)["examples"] == before
    assert {path: path.stat().st_mtime_ns for path in clips} == clips


def rows(run: Path, stage: str) -> list[dict[str, Any]]:
    found = {path.parent.name: path for path in (run / "stages").glob(f"{stage}-*/manifest.jsonl")}
    # `filter-1-...` is of the first round of reflection.
    (manifest,) = (path for name, path in found.items() if name.count("-") == 1)
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_after_the_alignment_the_clips_are_of_the_aligned_generator(recipe: Path, tmp_path: Path) -> None:
    folder = f"run_folder={tmp_path / 'run'}"
    before = look(recipe, folder)
    assert any("is aligned with your clips first" in said for said in before["left_out"])
    assert synthio("align", recipe, folder, "--quiet").returncode == 0
    after = look(recipe, folder)
    assert not any("is aligned" in said for said in after["left_out"])
    assert before["before_alignment"] and not after["before_alignment"]
    assert "These are the first captions and clips of the run" in Path(after["page"]).read_text(encoding="utf-8")
    assert [e["prompt"] for e in after["examples"]] == [e["prompt"] for e in before["examples"]]
    folders = [{Path(e["synthetic"]).parent for e in found["examples"]} for found in (before, after)]
    assert len(folders[0]) == len(folders[1]) == 1 and folders[0] != folders[1]


@given(
    st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(0, 5),
)
@settings(max_examples=50)
def test_few_of_each_label(labels: list[set[str]], count: int, seed: int) -> None:
    clips = [make_clip(id=f"c{number}", labels=tuple(sorted(own))) for number, own in enumerate(labels)]
    drawn = few_of_each(clips, count, seed)
    assert drawn == few_of_each(clips[::-1], count, seed)
    of_label = Counter(label for own in labels for label in own)
    kept = Counter(label for clip in clips if clip.id in drawn for label in clip.labels)
    assert all(kept[label] >= min(count, total) for label, total in of_label.items())
    if all(len(own) == 1 for own in labels):
        assert all(kept[label] <= count for label in of_label)
    # More of each class keep those that there were.
    assert drawn <= few_of_each(clips, count + 1, seed)
