"""`synthio pretrain`."""

from __future__ import annotations

from pathlib import Path

import typer

from synthio.cli.common import (
    Overrides,
    Quiet,
    Recipe,
    reporter_of,
    silence_library_bars,
)

commands = typer.Typer(no_args_is_help=True, help="Train the pocket models from a captioned corpus.")


def _pretrain(part: str, recipe: Path, overrides: list[str] | None, quiet: bool) -> None:
    from synthio.pretrain import make_part

    silence_library_bars()
    print(make_part(part, recipe, overrides or [], reporter_of(quiet)))


@commands.command("recordings")
def pretrain_recordings(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Fetch what the corpus and the evaluation sets are made of."""
    _pretrain("recordings", recipe, overrides, quiet)


@commands.command("autoencoder")
def pretrain_autoencoder(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Waveform to latents and back."""
    _pretrain("autoencoder", recipe, overrides, quiet)


@commands.command("t2a")
def pretrain_t2a(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Text to latents."""
    _pretrain("t2a", recipe, overrides, quiet)


@commands.command("clap")
def pretrain_clap(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Audio and text in one space."""
    _pretrain("clap", recipe, overrides, quiet)


@commands.command("classifier")
def pretrain_classifier(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Audio tagging."""
    _pretrain("classifier", recipe, overrides, quiet)
