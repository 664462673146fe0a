"""Make the pocket models. One module per part; `make_part` is what the command line calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthio.backends.quiet import quiet
from synthio.errors import ConfigError
from synthio.progress import Reporter


@quiet("transformers", "diffusers")
def make_part(part: str, recipe: Path, overrides: Sequence[str], reporter: Reporter) -> Path:
    """Fetch `recordings`, or train `autoencoder`, `t2a`, `clap` or `classifier`, from a recipe; resumes.

    Returns: the table of recordings, or the model folder.
    Raises: `ConfigError` for another part.
    """
    from synthio.recipes import load_recipe

    if part == "recordings":
        from synthio.pretrain.recordings import RecordingsRecipe, make_recordings

        return make_recordings(load_recipe(recipe, overrides, RecordingsRecipe), reporter)
    if part == "autoencoder":
        from synthio.pretrain.autoencoder import AutoencoderRecipe, train_autoencoder

        return train_autoencoder(load_recipe(recipe, overrides, AutoencoderRecipe), reporter)
    if part == "t2a":
        from synthio.pretrain.t2a import T2ARecipe, train_t2a

        return train_t2a(load_recipe(recipe, overrides, T2ARecipe), reporter)
    if part == "clap":
        from synthio.pretrain.clap import ClapRecipe, train_clap

        return train_clap(load_recipe(recipe, overrides, ClapRecipe), reporter)
    if part == "classifier":
        from synthio.pretrain.classifier import ClassifierRecipe, train_classifier

        return train_classifier(load_recipe(recipe, overrides, ClassifierRecipe), reporter)
    raise ConfigError(f"no part {part!r}; expected recordings, autoencoder, t2a, clap or classifier")
