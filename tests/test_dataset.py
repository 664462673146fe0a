"""The folder of accepted clips: it holds what was made, whole and inside itself, and loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from synthio import audio
from synthio.errors import StoreError
from synthio.records import Candidate, Prompt, Verdict
from synthio.stages.dataset import Accepted, write_dataset


def test_the_dataset_folder_follows_the_clips(tmp_path: Path) -> None:
    """A file of the same name and size was once kept, with another clip's caption beside it."""
    made = tmp_path / "clip.flac"
    prompt = Prompt(id="p", clip_id="c", labels=("a",), text="a", duration_s=1.0)
    candidate = Candidate(id="p", prompt_id="p", path="clip.flac", seed=1, sample_rate_hz=16_000)
    verdict = Verdict(id="p", similarity=1.0, score=1.0, threshold=0.0, accepted=True, reason="accepted")
    for sound in (np.full(800, 0.1, np.float32), np.full(800, 0.2, np.float32)):
        audio.write_flac(made, sound, 16_000)
        write_dataset([Accepted(prompt, candidate, verdict, made)], tmp_path / "dataset")
        assert (tmp_path / "dataset" / "audio" / "p.flac").read_bytes() == made.read_bytes()
    whole = made.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", None):
        made.unlink() if damaged is None else made.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"clip\.flac: was made by this run and is gone or damaged.*delete"):
            write_dataset([Accepted(prompt, candidate, verdict, made)], tmp_path / "dataset")
        assert (tmp_path / "dataset" / "audio" / "p.flac").read_bytes() == whole


@pytest.mark.parametrize("link", ["dataset", "dataset/audio"])
def test_the_dataset_is_not_written_through_a_link(link: str, tmp_path: Path) -> None:
    """The files of the folder that it led to were deleted."""
    own = tmp_path / "own" / "audio" / "mine.flac"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(own.parent if link.endswith("audio") else own.parent.parent)
    with pytest.raises(StoreError, match=rf"{link}: is a link to .*own.*remove the link"):
        write_dataset([], tmp_path / "dataset")
    assert own.read_bytes() == b"mine"


def test_a_clip_whose_id_leads_outside_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "clip.flac").write_bytes(b"sound")
    for name in (str(tmp_path / "mine"), "../../mine"):
        prompt = Prompt(id=name, clip_id="c", labels=("a",), text="a", duration_s=1.0)
        candidate = Candidate(id=name, prompt_id=name, path="clip.flac", seed=1, sample_rate_hz=16_000)
        verdict = Verdict(id=name, similarity=1.0, score=1.0, threshold=0.0, accepted=True, reason="accepted")
        with pytest.raises(StoreError, match="leaves"):
            write_dataset([Accepted(prompt, candidate, verdict, tmp_path / "clip.flac")], tmp_path / "dataset")
    assert [path.name for path in tmp_path.rglob("*.flac")] == ["clip.flac"]


def test_a_dataset_of_clips_with_one_and_several_labels_loads(tmp_path: Path) -> None:
    """A text in one row and a list in the next was no column that any reader takes."""
    from datasets import load_dataset

    accepted = []
    for name, labels in (("p", ("a",)), ("q", ("a", "b"))):
        made = tmp_path / f"{name}.flac"
        audio.write_flac(made, np.full(800, 0.1, np.float32), 16_000)
        prompt = Prompt(id=name, clip_id="c", labels=labels, text="a", duration_s=1.0)
        candidate = Candidate(id=name, prompt_id=name, path=made.name, seed=1, sample_rate_hz=16_000)
        verdict = Verdict(id=name, similarity=1.0, score=1.0, threshold=0.0, accepted=True, reason="accepted")
        accepted.append(Accepted(prompt, candidate, verdict, made))
    write_dataset(accepted, tmp_path / "dataset")
    metadata = str(tmp_path / "dataset" / "metadata.jsonl")
    rows = load_dataset("json", data_files=metadata, cache_dir=str(tmp_path / "cache"), split="train")
    assert [row["label"] for row in rows] == [["a"], ["a", "b"]]
    write_dataset(accepted[:1], tmp_path / "dataset")
    assert json.loads((tmp_path / "dataset" / "metadata.jsonl").read_text())["label"] == "a"
