"""Tiny random models, two easy classes and a recipe on them, for benchmarks of the machinery itself.

python benchmarks/make_tiny_recipe.py work/tiny && python benchmarks/kill_resume.py work/tiny/recipe.yaml 10
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny_ast
import tiny_llm
import tiny_models


def main(root: Path) -> None:
    """Write ``root/{data,flow,clap,ast,llm}`` and ``root/recipe.yaml``."""
    generator = np.random.default_rng(0)
    time = np.arange(8_000) / 16_000
    for split, count in (("train", 6), ("valid", 3), ("test", 6)):
        for label in ("low_tone", "hiss"):
            (root / "data" / split / label).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                tone = np.sin(2 * np.pi * generator.uniform(150, 400) * time)
                samples = tone if label == "low_tone" else generator.normal(size=time.shape[0]) * 0.3
                sf.write(root / "data" / split / label / f"{label}_{index}.wav", 0.5 * samples, 16_000)
    recipe = {
        "data": {"path": str(root / "data"), "domain": "test tones"},
        "t2a": {
            "model": str(tiny_models.tiny_stable_audio_3(root / "flow")),
            "num_inference_steps": 2,
            "batch_size": 4,
        },
        "clap": {"model": str(tiny_models.tiny_clap(root / "clap"))},
        "align": {"steps": 8, "evaluate_every": 2, "lora_rank": 2, "batch_size": 4},
        "imagine": {"model": str(tiny_llm.tiny_llama(root / "llm")), "max_tries": 1},
        "train": {
            "model": str(tiny_ast.build(root / "ast")),
            "steps": 8,
            "evaluate_every": 4,
            "bootstrap_samples": 100,
        },
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
