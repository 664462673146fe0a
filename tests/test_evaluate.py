"""What the evaluation of the generator plans and refuses; the command itself is in the end-to-end tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_ast
from builders import make_clip
from sample_reports import Page, assert_links_stay_inside, tone
from tone_project import make_clips, make_config

from synthio.audio import Waveform, load_start, write_flac
from synthio.backends.clap import embed_clips, load_clap
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.config import ClapConfig, RunConfig
from synthio.context import StageContext
from synthio.copies import SAMPLE_RATE_HZ
from synthio.errors import BackendError, DataError
from synthio.evaluation_page import FinishedEvaluation, alignment_text, figure_warnings, table_rows, write_page
from synthio.progress import Reporter
from synthio.records import Clip, EvaluatedClip, GeneratorState, Samples, Split
from synthio.stages.evaluate import (
    Evaluation,
    GeneratorScores,
    _Scorer,
    balanced,
    check_clips,
    classification_accuracy_score,
)
from synthio.stages.samples import generate_samples, plan_samples
from synthio.store import StageFolder, StoreError


def clip(name: str, split: Split, *labels: str, duration_s: float = 1.0) -> Clip:
    return make_clip(id=name, path=f"/{name}", labels=labels, split=split, duration_s=duration_s)


def scores(frechet: float | None, diversity: float | None = 0.8) -> GeneratorScores:
    return GeneratorScores(
        clips=2, silent=0, judge_accuracy=0.5, classification_accuracy_score=0.4, zero_shot_accuracy=0.5,
        text_to_audio_precision=0.5,
        frechet_distance=frechet, kernel_distance=frechet, relative_diversity=diversity,
        copy_rate=None if frechet is None else 0.0,
        features={"centroid_hz": 1000.0, "bandwidth_hz": 500.0, "flatness": 0.1}, per_class={"<b>bell</b>": 0.5},
    )  # fmt: skip


def test_the_judge_needs_every_class_outside_training() -> None:
    training = [clip("1", "train", "a"), clip("2", "train", "b"), clip("3", "train", "c")]
    check_clips([*training, clip("4", "valid", "a"), clip("5", "test", "b"), clip("6", "test", "c")])
    with pytest.raises(DataError, match=r"no validation or test clip has \['c'\]"):
        check_clips([*training, clip("4", "valid", "a"), clip("5", "test", "b")])
    with pytest.raises(DataError, match="at least 2 classes"):
        check_clips([*training, clip("4", "valid", "a")])
    with pytest.raises(DataError, match="one class per clip"):
        check_clips([clip("1", "train", "a", "b")])


def test_clips_that_were_refused_are_asked_for_again(v_model: Path, tmp_path: Path) -> None:
    """The tiny v-model makes at most one second; the pipeline refuses more."""
    recipe = {
        "data": {"path": "x"},
        "t2a": {"model": str(v_model), "num_inference_steps": 2},
        "evaluate": {"clips_per_class": 2},
    }
    config = RunConfig.model_validate(recipe)
    folder, generator = StageFolder(tmp_path, "samples", "k"), load_pipeline(config.t2a)

    def made(*durations_s: float) -> list[bool]:
        training = [clip(str(number), "train", "a", duration_s=of) for number, of in enumerate(durations_s)]
        planned = plan_samples(config, training, "base")
        return [
            one.failed is None for one in generate_samples(StageContext(config, folder, Reporter()), planned, generator)
        ]

    with pytest.raises(BackendError, match=r"refused 2 of 2 clips; the first because: .*refused 5.00 s"):
        made(5.0)
    assert not folder.done
    assert made(0.5, 5.0) == [True, False]
    assert folder.done and folder.summary() == {"generated": 1, "failed": 1}


class _Rates:
    """A CLAP of 48 kHz whose row of a clip is how much of it there was."""

    sample_rate_hz = 48_000
    logit_scale = 1.0

    def embed_audio(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float32]:
        return np.array([waveform.shape for waveform in waveforms], dtype=np.float32)

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        raise AssertionError("no text here")


def test_zero_shot_accuracy_hears_at_the_claps_own_rate(tmp_path: Path) -> None:
    """It heard 16 kHz audio whatever the CLAP: a full-size one reads 48 kHz."""
    clips = []
    for number in range(70):
        write_flac(tmp_path / f"{number}.flac", np.resize([0.5, -0.5], 4_800 + number).astype(np.float32), 48_000)
        clips.append(clip("1", "train", "a").model_copy(update={"path": str(tmp_path / f"{number}.flac")}))
    rows = embed_clips(_Rates(), clips, 0.101)
    assert rows[:, 0].tolist() == [min(4_800 + number, 4_848) for number in range(70)]


def test_base_and_aligned_get_the_same_seeds_and_real_durations() -> None:
    config = RunConfig.model_validate({"data": {"path": "x"}, "evaluate": {"clips_per_class": 3}})
    training = [clip("1", "train", "a", duration_s=0.7), clip("2", "train", "a", duration_s=2.0)]
    base, aligned = plan_samples(config, training, "base"), plan_samples(config, training, "aligned")
    assert [c.seed for c in base] == [c.seed for c in aligned] and len({c.seed for c in base}) == 3
    assert [c.duration_s for c in base] == [0.7, 2.0, 0.7]
    assert len({c.path for c in base}) == len(base)
    assert {c.model for c in base} == {"base"} and not {c.id for c in base} & {c.id for c in aligned}


def evaluated(**generated: GeneratorScores) -> Evaluation:
    return Evaluation(
        judge_training_clips=4, chance=0.5, real=scores(None, None), generated=generated, seconds=1.0
    )  # fmt: skip


def finished(evaluation: Evaluation, made: dict[GeneratorState, Samples], **more: Any) -> FinishedEvaluation:
    values = {
        "name": "run",
        "align_method": "dpo",
        "warnings": (),
        "real": {"<b>bell</b>": [Path("gone")]},
        "heard_s": 1.0,
    } | more
    return FinishedEvaluation(evaluation=evaluation, made=made, **values)


def test_what_alignment_did_is_said() -> None:
    said = alignment_text("dpo", evaluated(base=scores(10.0), aligned=scores(7.5, 0.72)))
    assert said.startswith("Aligned clips are 25% nearer to the real ones; diversity changed by -10%")
    assert "20% farther from" in alignment_text("erm", evaluated(base=scores(10.0), aligned=scores(12.0)))


def test_an_alignment_that_was_not_kept_is_told_with_its_warnings(tmp_path: Path) -> None:
    """Base stood there alone, as if the recipe did not align."""
    evaluation = evaluated(base=scores(10.0))
    assert "was not aligned" in alignment_text("none", evaluation)
    assert alignment_text("dpo", evaluation).startswith("Alignment kept the base generator")
    made: dict[GeneratorState, Samples] = {"base": Samples(tmp_path / "stage", ())}
    page = tmp_path / "evaluation" / "index.html"
    text = write_page(finished(evaluation, made, warnings=("did not <help>",)), page, Reporter()).read_text()
    assert "Alignment kept the base generator" in text and "did not &lt;help&gt;" in text


def test_page_escapes_labels_and_refuses_paths_outside(tmp_path: Path) -> None:
    evaluation = evaluated(base=scores(3.0))
    config = RunConfig.model_validate({"data": {"path": "x"}, "evaluate": {"clips_per_class": 2}})
    made = tuple(plan_samples(config, [clip("1", "train", "<b>bell</b>")], "base"))
    stage, page = tmp_path / "stage", tmp_path / "evaluation" / "index.html"
    write_page(finished(evaluation, {"base": Samples(stage, made)}), page, Reporter())
    text = page.read_text()
    assert "<b>bell</b>" not in text and "&lt;b&gt;bell&lt;/b&gt;" in text
    assert [row.values[0] for row in table_rows(evaluation)][4] == "-"
    outside = (made[0].model_copy(update={"path": "../../secret.flac"}),)
    with pytest.raises(StoreError, match="leaves"):
        write_page(finished(evaluation, {"base": Samples(stage, outside)}), page, Reporter())


def test_every_row_of_the_table_is_explained(tmp_path: Path) -> None:
    evaluation = evaluated(base=scores(3.0), aligned=scores(2.0))
    page = write_page(finished(evaluation, {}), tmp_path / "evaluation" / "index.html", Reporter()).read_text()
    explained = re.findall(r"<dt>([^<]+)</dt>\s*<dd>[A-Z0-9].+\.</dd>", page)
    assert explained == [row.measure for row in table_rows(evaluation)] and len(explained) == 13
    assert "What now" in page and "synthio run" in page
    assert alignment_text("dpo", evaluation) in page
    assert [row.values[0] for row in table_rows(evaluation)][-3:] == ["1,000", "500", "0.1"]


@pytest.mark.parametrize(
    ("clips", "judge", "told"),
    [(15, 0.2, [0, 1]), (15, 0.9, [1]), (100, 0.9, []), (100, 0.35, [0]), (100, 0.45, [])],
)
def test_figures_of_few_clips_and_a_judge_that_guesses_are_told(clips: int, judge: float, told: list[int]) -> None:
    """13.3% of 15 clips stood there as a fact."""
    real = scores(None, None).model_copy(update={"clips": clips, "judge_accuracy": judge})
    base = scores(3.0).model_copy(update={"clips": 100, "per_class": {"bell": 0.5, "gong": 0.5, "horn": 0.5}})
    evaluation = Evaluation(
        judge_training_clips=100, chance=1 / 3, real=real, generated={"base": base}, seconds=1.0
    )  # fmt: skip
    texts = (
        f"the judge recognises {100 * judge:.1f}% of the {clips} real clips",
        "a share of 15 clips is uncertain by 25",
    )
    warnings = figure_warnings(evaluation)
    assert len(warnings) == len(told)
    assert all(texts[number] in warning for number, warning in zip(told, warnings, strict=True))


def test_real_and_generated_clips_are_played_side_by_side(tmp_path: Path) -> None:
    """Summaries are read back with sorted keys: `aligned` came before `base`, under the wrong headings. The page plays
    copies, so its folder can be handed over alone."""
    evaluation = evaluated(aligned=scores(2.0), base=scores(3.0))
    assert list(evaluation.generated) == ["base", "aligned"]
    config = RunConfig.model_validate({"data": {"path": "x"}, "evaluate": {"clips_per_class": 2}})
    training = [clip("1", "train", "<b>bell</b>")]
    base, aligned = (tuple(plan_samples(config, training, state)) for state in ("base", "aligned"))
    made: dict[GeneratorState, Samples] = {
        "aligned": Samples(tmp_path / "after", aligned),
        "base": Samples(tmp_path / "before", base),
    }
    real = tone(tmp_path / "real.wav")
    for index, path in enumerate(own.folder / clip.path for own in made.values() for clip in own.clips):
        tone(path, 500.0 + index)
    folder = tmp_path / "evaluation"
    values = {"real": {"<b>bell</b>": [real]}}
    page = Page(write_page(finished(evaluation, made, **values), folder / "index.html", Reporter()))
    assert_links_stay_inside(page, folder)
    names = [player["aria-label"] for player in page.all("audio")]
    assert names[:3] == [f"<b>bell</b>, clip 1, {name}" for name in ("real", "base", "aligned")]
    assert len(set(names)) == len(names) == 6 and len(page.all("img")) == 6
    sources = [str(player["src"]) for player in page.all("audio")]
    for source, played in zip(sources[1:3], (base[0], aligned[0]), strict=True):
        assert (folder / source).read_bytes() == (made[played.model].folder / played.path).read_bytes()
    assert all(attributes.get("scope") for attributes in page.all("th"))
    assert all(region["tabindex"] == "0" for region in page.all("div") if region.get("class") == "scroll")
    refused = tuple(clip.model_copy(update={"failed": "NaN"}) for clip in base)
    made["base"] = Samples(tmp_path / "before", refused)
    page = Page(write_page(finished(evaluation, made, **values), folder / "index.html", Reporter()))
    assert len(page.all("audio")) == 4 and page.text.count("No sound: no audio was made") == 2
    assert len(list((folder / "audio").iterdir())) == 3


def test_balanced_gives_every_class_the_same_weight() -> None:
    assert balanced(["a", "a", "a", "b", "b"]) == [0, 1, 2, 3, 4, 3]


def test_real_clips_given_back_are_copies_as_near_and_as_diverse_as_they_are(clap_model: Path, tmp_path: Path) -> None:
    """Four low notes and two high ones, each of these twice; and then a silent clip, which is nobody's sound."""
    clips = make_clips(tmp_path / "real", {"train": 4, "valid": 4, "test": 2})
    clips = [c for c in clips if c.split != "train" or c.labels == ("low",) or c.id < "train-4"]
    training, known = ([c for c in clips if (c.split == "train") == own] for own in (True, False))
    content = make_config(tiny_ast.build(tmp_path / "ast"), tmp_path, steps=2).model_dump()
    config = RunConfig.model_validate({**content, "evaluate": {"judge_steps": 60}})
    real = [load_start(Path(c.path), config.data.max_duration_s, SAMPLE_RATE_HZ) for c in training]
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    context = StageContext(config, StageFolder(tmp_path, "evaluate", "k"), Reporter())
    scorer = _Scorer.fit(context, training, real, known, clap)
    labels = [c.labels[0] for c in training]
    made = [
        EvaluatedClip(id=f"base/{k}", model="base", label=labels[i], path=training[i].path, duration_s=0.3, seed=k)
        for k, i in enumerate(balanced(labels))
    ]
    given = scorer.score_generated(Samples(tmp_path, tuple(made)))
    assert (labels.count("low"), labels.count("high"), given.clips, given.silent) == (4, 2, 8, 0)
    assert given.copy_rate == 1.0
    assert given.frechet_distance == pytest.approx(0, abs=1e-3)
    # Of pairs of two clips, each twice, two thirds are of different ones.
    assert given.relative_diversity == pytest.approx((1 + 2 / 3) / 2, abs=0.01)
    assert given.per_class["low"] > 0.7
    write_flac(tmp_path / "silent.flac", np.zeros(4_800, np.float32), SAMPLE_RATE_HZ)
    silent = made[0].model_copy(update={"label": "low", "path": "silent.flac"})
    worse = scorer.score_generated(Samples(tmp_path, (*made, silent)))
    assert (worse.clips, worse.silent) == (9, 1)
    assert worse.per_class["low"] == pytest.approx(given.per_class["low"] * 4 / 5)
    assert 0 < worse.text_to_audio_precision == given.text_to_audio_precision < 1


def test_a_lesson_is_as_good_as_its_clips(tmp_path: Path) -> None:
    """Clips under their own labels teach the classes, clips under each other's the opposite."""
    clips = make_clips(tmp_path / "real", {"train": 4, "valid": 1, "test": 4})
    config = make_config(tiny_ast.build(tmp_path / "ast"), tmp_path, steps=30)
    held_out = [clip for clip in clips if clip.split == "test"]
    training = [clip for clip in clips if clip.split == "train"]
    # One class with half the clips weighs as much as the other.
    uneven = [clip for clip in training if clip.labels == ("low",)][:2] + [c for c in training if c.labels != ("low",)]
    swapped = [clip.model_copy(update={"labels": ("high" if clip.labels == ("low",) else "low",)}) for clip in uneven]
    assert classification_accuracy_score(config, uneven, held_out, Reporter()) == 1.0
    assert classification_accuracy_score(config, swapped, held_out, Reporter()) == 0.0
