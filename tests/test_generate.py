"""Generation: one candidate per prompt, whatever the batch, with failures recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch

from synthio.backends.text_to_audio import load_text_to_audio
from synthio.config import RunConfig
from synthio.progress import Reporter
from synthio.records import Candidate, Prompt, bucket_duration_s
from synthio.stages.generate import generate_candidates
from synthio.store import StageFolder

PROMPTS = [
    Prompt(id=f"p{i}", clip_id="c", labels=("hiss",), text=f"hiss {'soft loud high'.split()[i % 3]}", duration_s=d)
    for i, d in enumerate([0.2, 0.5, 0.7, 0.2, 1.0, 0.3, 0.45, 0.9])
]


def config(model: Path, root: Path, batch_size: int) -> RunConfig:
    t2a = {"model": str(model), "num_inference_steps": 2, "batch_size": batch_size}
    return RunConfig.model_validate({"run_folder": root, "data": {"path": "x"}, "t2a": t2a})


def generate(settings: RunConfig, root: Path, prompts: list[Prompt]) -> tuple[list[Candidate], StageFolder]:
    folder = StageFolder(root, "generate", "k")
    return generate_candidates(settings, prompts, load_text_to_audio(settings.t2a), folder, Reporter()), folder


def test_batch_of_eight_equals_eight_batches_of_one(flow_model: Path, tmp_path: Path) -> None:
    eight, first = generate(config(flow_model, tmp_path / "8", 8), tmp_path / "8", PROMPTS)
    one, second = generate(config(flow_model, tmp_path / "1", 1), tmp_path / "1", PROMPTS)
    assert eight == one
    for candidate in eight:
        a, _ = sf.read(first.path / candidate.path)
        b, _ = sf.read(second.path / candidate.path)
        assert a.shape == b.shape and abs(a - b).max() < 1e-3


def test_lengths_follow_the_prompts(flow_model: Path, tmp_path: Path) -> None:
    candidates, folder = generate(config(flow_model, tmp_path, 8), tmp_path, PROMPTS)
    assert [c.id for c in candidates] == [p.id for p in PROMPTS]
    for prompt, candidate in zip(PROMPTS, candidates, strict=True):
        assert sf.info(folder.path / candidate.path).frames == round(prompt.duration_s * 16_000)


def test_finished_clips_are_not_made_again(flow_model: Path, tmp_path: Path) -> None:
    settings = config(flow_model, tmp_path, 2)
    _, folder = generate(settings, tmp_path, PROMPTS[:4])
    (folder.path / "done.json").unlink()
    stamp = {p.name: p.stat().st_mtime_ns for p in (folder.path / "audio").iterdir()}
    candidates, _ = generate(settings, tmp_path, PROMPTS)
    assert len(candidates) == len(PROMPTS)
    assert {name: (folder.path / "audio" / name).stat().st_mtime_ns for name in stamp} == stamp


def test_what_the_model_refuses_is_recorded(v_model: Path, tmp_path: Path) -> None:
    """The tiny v-model makes at most one second; the pipeline refuses more."""
    prompts = [PROMPTS[0], PROMPTS[1].model_copy(update={"duration_s": 5.0})]
    candidates, folder = generate(config(v_model, tmp_path, 4), tmp_path, prompts)
    assert candidates[0].failed is None
    assert candidates[1].path is None and "refused 5.00 s" in candidates[1].failed
    assert folder.summary()["failed"] == 1


@pytest.mark.parametrize(("duration_s", "bucket_s"), [(0.1, 0.5), (0.5, 0.5), (0.501, 1.0), (1.5, 1.5), (2.2, 2.5)])
def test_buckets_are_the_next_half_second(duration_s: float, bucket_s: float) -> None:
    assert bucket_duration_s(duration_s) == bucket_s


def test_a_refused_clip_fails_alone(v_model: Path, tmp_path: Path) -> None:
    """Weights that give NaN for one prompt: its batch was lost with it, and how many depended on the batch size."""
    settings, prompts = config(v_model, tmp_path, 8), [p.model_copy(update={"duration_s": 0.5}) for p in PROMPTS[:4]]
    generator = load_text_to_audio(settings.t2a)
    with torch.no_grad():
        # A vocabulary entry that only the bad prompt uses.
        tokenizer, encoder = generator.pipeline.tokenizer, generator.pipeline.text_encoder
        bad = (set(tokenizer("high")["input_ids"]) - set(tokenizer("hiss soft loud")["input_ids"])).pop()
        encoder.get_input_embeddings().weight[bad] = torch.nan
    folder = StageFolder(tmp_path, "generate", "k")
    candidates = generate_candidates(settings, prompts, generator, folder, Reporter())
    assert [c.failed is not None for c in candidates] == ["high" in p.text for p in prompts]
    assert [c.path is None for c in candidates] == ["high" in p.text for p in prompts]
    assert folder.summary()["failed"] == 1
