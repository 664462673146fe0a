"""Keys of stages: what a result depends on is in them, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from synthio.config import RunConfig
from synthio.recipes import merge
from synthio.records import Clip
from synthio.stage_folders import StageFolders

CLIP = Clip(id="a", path="a.wav", labels=("dog",), split="train", duration_s=1.0, sample_rate_hz=16_000, sha256="0")


def keys(**changes: Any) -> dict[str, str]:
    """Of all stages that need no file, by name."""
    content = merge({"data": {"path": "demo"}}, changes)
    folders = StageFolders(RunConfig.model_validate(content), lambda: [CLIP])
    generated = folders.generate(0, folders.imagine)
    judged = folders.filter(0, generated)
    found = [folders.caption, folders.losers, folders.align, folders.imagine, generated, judged, folders.evaluate]
    found += [folders.reflect(1, judged), folders.gate([judged]), folders.train([judged], None, {})]
    return {folder.stage: folder.key for folder in found}


@pytest.mark.parametrize(
    ("changes", "rerun"),
    [
        ({"t2a": {"batch_size": 3, "device": "cpu"}}, set()),
        ({"train": {"bootstrap_samples": 500, "tail_fraction": 0.2}}, set()),
        ({"train": {"seeds": 5}}, {"train"}),
        ({"train": {"steps": 10}}, {"train", "gate", "evaluate"}),
        ({"gate": {"level": 0.1}}, set()),
        ({"gate": {"folds": 5}}, {"gate"}),
        ({"filter": {"rule": "none"}}, {"filter", "reflect-1", "gate", "train"}),
        ({"imagine": {"endpoint": {"max_tokens": 5000}}}, set()),
        ({"align": {"steps": 7}}, {"align", "generate", "filter", "reflect-1", "gate", "train", "evaluate"}),
        ({"imagine": {"revision": "v2"}}, {"imagine", "generate", "filter", "reflect-1", "gate", "train"}),
    ],
    ids=str,
)
def test_a_knob_reruns_what_depends_on_it_and_no_more(changes: dict[str, Any], rerun: set[str]) -> None:
    before, after = keys(), keys(**changes)
    assert {stage for stage in before if before[stage] != after[stage]} == rerun


def test_an_endpoints_allowance_is_asked_anew_and_its_speed_is_not() -> None:
    remote = {"kind": "endpoint", "endpoint": {"model": "m"}}
    before = keys(imagine=remote)
    assert keys(imagine=merge(remote, {"endpoint": {"concurrency": 2, "timeout_s": 5}})) == before
    assert keys(imagine=merge(remote, {"endpoint": {"max_tokens": 5000}}))["imagine"] != before["imagine"]
