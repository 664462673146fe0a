"""Records and recipes that are valid, and small, apart from what a test says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from synthio.records import Clip


def make_clip(**changes: Any) -> Clip:
    """A training clip, of no file."""
    usual: dict[str, Any] = {"id": "c", "path": "x.wav", "labels": ("a",), "split": "train", "duration_s": 1.0}
    return Clip(**usual | {"sample_rate_hz": 16_000, "sha256": "0"} | changes)


def tiny_recipe(
    flow_model: Path, clap_model: Path, language_model: Path, classifier: Path, steps: int, captions_per_clip: int
) -> dict[str, Any]:
    """A run recipe without its data and folder: every stage, each as little as it can be."""
    return {
        "t2a": {"model": str(flow_model), "num_inference_steps": 2, "batch_size": 4},
        "clap": {"model": str(clap_model)},
        "align": {"steps": steps, "evaluate_every": 2, "lora_rank": 2, "losers_per_clip": 1, "batch_size": 4},
        "imagine": {"model": str(language_model), "max_tries": 1, "captions_per_clip": captions_per_clip},
        "reflect": {"rounds": 1},
        "train": {"model": str(classifier), "steps": steps, "evaluate_every": 2, "bootstrap_samples": 100},
    }


def write_tiny_run(root: Path, data: Path, flow: Path, clap: Path, classifier: Path, steps: int, seeds: int) -> Path:
    """A whole run recipe in ``root``, with a tiny language model beside it. Returns its file."""
    from tiny_llm import tiny_llama

    content = tiny_recipe(flow, clap, tiny_llama(root / "llm"), classifier, steps, captions_per_clip=2)
    content |= {"run_folder": str(root / "run"), "data": {"path": str(data), "domain": "test tones"}}
    content["train"]["seeds"] = seeds
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
