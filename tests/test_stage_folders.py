"""Keys of stages: what a result depends on is in them, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from builders import make_clip

from synthio import stage_folders
from synthio.backends.choices import CAPTIONERS, LANGUAGE_MODELS, Backend
from synthio.config import STAGE_VERSIONS, Arm, CaptionConfig, ImagineConfig, RunConfig
from synthio.recipes import merge
from synthio.records import Clip
from synthio.stage_folders import StageFolders
from synthio.store import StageFolder

CLIP = make_clip(id="a", path="a.wav", labels=("dog",))


def keys(clips: Sequence[Clip] = (CLIP,), **changes: Any) -> dict[str, str]:
    """Of all stages that need no file, by name."""
    content = merge({"data": {"path": "demo"}}, changes)
    folders = StageFolders(RunConfig.model_validate(content), lambda: clips)
    generated = folders.generate(0, folders.imagine)
    filtered = folders.filter(0, generated)
    found = [folders.caption, folders.losers, folders.align, folders.imagine, generated, filtered, folders.evaluate]
    found += [folders.reflect(1, filtered), folders.gate([filtered])]
    samples = {state: folders.samples(state) for state in ("base", "aligned")}
    of_arms: dict[Arm, StageFolder] = {arm: folders.training(arm, 0, (), None) for arm in ("gold", "noise")}
    of_arms["synthio"] = folders.training("synthio", 0, [filtered], None)
    return {folder.stage: folder.key for folder in found} | {
        name: folder.key for name, folder in (of_arms | samples).items()
    }


TRAININGS = {"gold", "noise", "synthio"}


@pytest.mark.parametrize(
    ("changes", "rerun"),
    [
        ({"t2a": {"batch_size": 3, "device": "cpu"}}, set()),
        ({"train": {"bootstrap_samples": 500, "tail_fraction": 0.2}}, set()),
        ({"train": {"seeds": 5, "arms": ["gold", "noise"], "use_synthetic": "auto"}}, set()),
        ({"train": {"steps": 10}}, {*TRAININGS, "gate", "evaluate"}),
        ({"train": {"metric": "balanced accuracy"}}, {*TRAININGS, "gate", "evaluate"}),
        ({"train": {"synthetic_share": 0.5}}, {"noise", "synthio"}),
        ({"gate": {"level": 0.1}}, set()),
        ({"gate": {"folds": 5}}, {"gate"}),
        ({"filter": {"rule": "none"}}, {"filter", "reflect-1", "gate", "synthio"}),
        ({"imagine": {"endpoint": {"max_tokens": 5000}}}, set()),
        (
            {"align": {"steps": 7}},
            {"align", "generate", "filter", "reflect-1", "gate", "synthio", "evaluate", "aligned"},
        ),
        ({"evaluate": {"judge_steps": 9}}, {"evaluate"}),
        ({"evaluate": {"clips_per_class": 3}}, {"evaluate", "base", "aligned"}),
        ({"imagine": {"model": "owner/name"}}, {"imagine", "generate", "filter", "reflect-1", "gate", "synthio"}),
        ({"data": {"domain": "bells"}}, {"imagine", "generate", "filter", "reflect-1", "gate", "synthio"}),
        (
            {"imagine": {"captions_per_clip": 3}},
            {"imagine", "generate", "filter", "reflect-1", "gate", "noise", "synthio"},
        ),
        ({"gate": {"shares": [0.3]}}, {"gate"}),
        ({"filter": {"copy_quantile": 0.1}}, {"filter", "reflect-1", "gate", "synthio", "evaluate"}),
    ],
    # The order of a set differs from process to process.
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_knob_reruns_what_depends_on_it_and_no_more(changes: dict[str, Any], rerun: set[str]) -> None:
    before, after = keys(), keys(**changes)
    assert {stage for stage in before if before[stage] != after[stage]} == rerun


def test_another_seed_reruns_everything() -> None:
    before, after = keys(), keys(seed=1)
    assert [stage for stage in before if before[stage] == after[stage]] == []


def test_weights_that_changed_under_one_name_rerun_what_they_made(tmp_path: Path) -> None:
    """A model that was trained on, or downloaded again, lies in the same folder."""
    (tmp_path / "model.safetensors").write_bytes(b"before")
    here = {"model": str(tmp_path)}
    parts = {
        # Templates are captions that no CLAP wrote.
        "clap": {"filter", "reflect-1", "gate", "synthio", "evaluate"},
        "train": {*TRAININGS, "gate", "evaluate"},
        "t2a": {
            "losers",
            "align",
            "generate",
            "filter",
            "reflect-1",
            "gate",
            "synthio",
            "evaluate",
            "base",
            "aligned",
        },
    }
    before = {part: keys(caption={"kind": "template"}, **{part: here}) for part in parts}
    (tmp_path / "model.safetensors").write_bytes(b"trained on")
    for part, rerun in parts.items():
        after = keys(caption={"kind": "template"}, **{part: here})
        assert {stage for stage in after if after[stage] != before[part][stage]} == rerun, part


def test_a_retrieval_training_is_of_its_corpus_and_of_how_many_clips_it_takes(tmp_path: Path) -> None:
    """Another corpus under an old training would have shown that one's figures."""
    for corpus in ("one", "other"):
        (tmp_path / corpus).mkdir()
        sf.write(tmp_path / corpus / f"{corpus}.wav", np.zeros(10), 16_000)
    content = {"data": {"path": "demo"}, "train": {"arms": ["gold", "retrieval"]}}
    found = []
    for corpus, count in (("one", 1), ("one", 2), ("other", 1)):
        changes = {"retrieve": {"corpus": str(tmp_path / corpus)}, "imagine": {"captions_per_clip": count}}
        folders = StageFolders(RunConfig.model_validate({**content, **changes}), lambda: [CLIP])
        found.append([folder.key for folder in (folders.retrieve, folders.training("retrieval", 0, (), None))])
    assert all(len(set(own)) == 3 for own in zip(*found, strict=True))


def test_what_changes_no_clip_retrieves_nothing_anew(small_data: Path, tmp_path: Path) -> None:
    """New permissions, or a hard link of a back-up, did, and trained the arm again."""
    shutil.copytree(small_data, tmp_path / "data")
    content = {"data": {"path": str(tmp_path / "data")}, "retrieve": {"corpus": str(small_data)}}

    def key() -> str:
        return StageFolders(RunConfig.model_validate(content), lambda: [CLIP]).retrieve.key

    before, clip = key(), next((tmp_path / "data").rglob("*.wav"))
    clip.chmod(0o600)
    os.link(clip, tmp_path / "backup.wav")
    assert key() == before
    clip.rename(clip.with_name("other.wav"))
    assert key() != before


def test_what_is_generated_does_not_depend_on_clips_that_only_judge() -> None:
    """One test clip more generated everything again."""
    judging = [CLIP.model_copy(update={"id": name, "split": name}) for name in ("valid", "test")]
    before, after = keys(), keys([CLIP, *judging])
    assert {stage for stage in before if before[stage] != after[stage]} == {*TRAININGS, "gate", "evaluate"}
    other = CLIP.model_copy(update={"labels": ("owl",)})
    assert {stage for stage, key in keys([other]).items() if key == before[stage]} == set()


ACCEPTED = {"filter", "reflect-1", "gate", "synthio"}
CLIPS_OF_IMAGINED = {"imagine", "generate", *ACCEPTED}
BY_ALIGNED = {"align", "generate", *ACCEPTED, "evaluate", "aligned"}
#: What is made again when one of the stages works otherwise, of those that `keys` has.
MADE_AGAIN = {
    "caption": {"caption", *CLIPS_OF_IMAGINED},
    "losers": {"losers", *BY_ALIGNED},
    "align": BY_ALIGNED,
    "imagine": CLIPS_OF_IMAGINED,
    "generate": {"losers", "base", *BY_ALIGNED},
    "filter": ACCEPTED,
    "train": {*TRAININGS, "gate", "evaluate"},
    "gate": {"gate"},
    "evaluate": {"evaluate"},
    # Their keys need files, and a comparison has none of its own.
    "splits": set(),
    "clips": set(),
    "retrieve": set(),
    "compare": set(),
}


@pytest.mark.parametrize("stage", STAGE_VERSIONS)
def test_a_stage_that_works_otherwise_is_made_again_with_what_follows(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts that a chat model wrote while it thought stayed the captions of finished stages."""
    before = keys()
    monkeypatch.setitem(STAGE_VERSIONS, stage, 99)
    after = keys()
    assert {name for name in before if before[name] != after[name]} == MADE_AGAIN[stage]


@pytest.mark.parametrize("stage", ["splits", "clips", "retrieve"])
def test_clips_that_are_drawn_read_or_retrieved_otherwise_are_made_again(
    stage: str, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"data": {"path": str(small_data)}, "retrieve": {"corpus": str(small_data)}}

    def found() -> dict[str, str]:
        folders = StageFolders(RunConfig.model_validate(content), lambda: [CLIP])
        return {"clips": folders.clips.key, "retrieve": folders.retrieve.key}

    before = found()
    monkeypatch.setitem(STAGE_VERSIONS, stage, 99)
    changed = {name for name, key in found().items() if key != before[name]}
    assert changed == ({"clips", "retrieve"} if stage == "splits" else {stage})


def test_how_labels_are_chosen_matters_where_clips_have_several() -> None:
    pair = [CLIP, CLIP.model_copy(update={"id": "b", "labels": ("dog", "owl")})]
    drawn = {"imagine": {"labels": "drawn"}}
    assert keys(pair)["imagine"] != keys(pair, **drawn)["imagine"]


def test_captions_are_no_part_of_what_does_not_read_them() -> None:
    """Another captioner made all clips of a recipe without MixCap again."""
    rerun = {}
    for mode in ("mixcap", "llm", "template"):
        before, after = (keys(imagine={"mode": mode}, caption={"kind": kind}) for kind in ("clap", "template"))
        rerun[mode] = {stage for stage in before if before[stage] != after[stage]}
    assert "imagine" in rerun["mixcap"] and rerun["llm"] == rerun["template"] == {"caption"}
    owl = [CLIP.model_copy(update={"labels": ("owl",)})]
    assert keys(owl, imagine={"mode": "llm"})["imagine"] != keys(imagine={"mode": "llm"})["imagine"]


def test_an_endpoints_allowance_is_asked_anew_and_its_speed_is_not() -> None:
    remote = {"kind": "endpoint", "endpoint": {"model": "m"}}
    before = keys(imagine=remote)
    assert keys(imagine=merge(remote, {"endpoint": {"concurrency": 2}})) == before
    # What got no answer in time was a template for good, also with a higher limit.
    for more in (
        {"max_tokens": 5000},
        {"timeout_s": 600},
        {"max_retries": 9},
        {"extra_body": {"reasoning_effort": "low"}},
    ):
        assert keys(imagine=merge(remote, {"endpoint": more}))["imagine"] != before["imagine"]


def test_a_knob_of_another_kind_pays_for_no_caption_again() -> None:
    """And all clips of these captions were made again."""
    remote = {name: {"kind": "endpoint", "endpoint": {"model": "m"}} for name in ("caption", "imagine")}
    before = keys(**remote)
    other = {
        "caption": {"model": "a/b", "revision": "c", "tags_per_clip": 4},
        "imagine": {"model": "a/b", "revision": "c"},
    }
    assert keys(**merge(remote, other)) == before


@pytest.mark.parametrize("section", [CaptionConfig, ImagineConfig])
def test_captions_of_every_kind_depend_on_what_makes_them(
    section: type[CaptionConfig | ImagineConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new kind had no model in its key: captions of other weights would have stayed."""

    def key(kind: str, content: str) -> str:
        monkeypatch.setattr(stage_folders, "model_identity", lambda part, *_: f"{part} {content}")
        name = "caption" if section is CaptionConfig else "imagine"
        return keys(**merge({"imagine": {"mode": "llm"}}, {name: {"kind": kind}}))[name]

    backends: Mapping[str, Backend] = CAPTIONERS if section is CaptionConfig else LANGUAGE_MODELS
    assert len(backends) > 1
    for kind, backend in backends.items():
        assert (key(kind, "one") != key(kind, "another")) == (backend.source == "weights" or kind == "clap")


def test_a_training_is_of_its_arm_its_seed_and_the_gates_share() -> None:
    folders = StageFolders(RunConfig.model_validate({"data": {"path": "demo"}}), lambda: [CLIP])
    found = [folders.training(arm, seed, (), None) for arm in ("gold", "noise") for seed in (0, 1)]
    found += [folders.training("synthio", 0, (), share) for share in (None, 0.5)]
    assert len({folder.key for folder in found}) == len(found)
    # The gate's share is the synthetic clips' alone, and gold has no share at all.
    assert folders.training("gold", 0, (), 0.5).key == found[0].key
    # What the gate said is told with the figures, so its share is not the same as the recipe's.
    asked = RunConfig.model_validate({"data": {"path": "demo"}, "train": {"synthetic_share": 0.5}})
    always = StageFolders(asked, lambda: [CLIP]).training("synthio", 0, (), None)
    assert always.key != folders.training("synthio", 0, (), 0.5).key
    assert len({folders.train(some).key for some in (found, found[:3], found[1:])}) == 3
