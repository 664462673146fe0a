"""Make the pocket models. One module per part; `make_part` is what the command line calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from synthio.backends.quiet import quiet
from synthio.progress import Reporter

Part = Literal["recordings", "autoencoder", "t2a", "clap", "classifier"]


@quiet("transformers", "diffusers")
def make_part(part: Part, recipe: Path, overrides: Sequence[str], reporter: Reporter) -> Path:
    """Fetch the recordings, or train a model, from a recipe; resumes. Returns: their table, or the model folder."""
    from synthio.recipes import load_recipe

    match part:
        case "recordings":
            from synthio.pretrain.recordings import RecordingsRecipe, make_recordings

            return make_recordings(load_recipe(recipe, overrides, RecordingsRecipe), reporter)
        case "autoencoder":
            from synthio.pretrain.autoencoder import AutoencoderRecipe, train_autoencoder

            return train_autoencoder(load_recipe(recipe, overrides, AutoencoderRecipe), reporter)
        case "t2a":
            from synthio.pretrain.t2a import T2ARecipe, train_t2a

            return train_t2a(load_recipe(recipe, overrides, T2ARecipe), reporter)
        case "clap":
            from synthio.pretrain.clap import ClapRecipe, train_clap

            return train_clap(load_recipe(recipe, overrides, ClapRecipe), reporter)
        case "classifier":
            from synthio.pretrain.classifier import ClassifierRecipe, train_classifier

            return train_classifier(load_recipe(recipe, overrides, ClassifierRecipe), reporter)
