"""`synthio pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synthio.cli.common import Overrides, Quiet, print_data, reporter_of
from synthio.pretrain import Part, make_part

Recipe = Annotated[Path, typer.Argument(help="The recipe (a YAML file), such as one in recipes/pretrain/.")]

commands = typer.Typer(no_args_is_help=True, help="Train the pocket models on a captioned corpus.")


def _part_command(part: Part, help_text: str) -> None:
    @commands.command(part, help=help_text)
    def command(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
        print_data(str(make_part(part, recipe, overrides or [], reporter_of(quiet))))


_part_command("recordings", "Fetch the recordings and SoundFonts that the corpus and the evaluation sets are made of.")
_part_command("autoencoder", "Fit the autoencoder: waveform to latents and back.")
_part_command("t2a", "Train the text-to-audio model: text to latents.")
_part_command("clap", "Train the CLAP: audio and text in one space.")
_part_command("classifier", "Train the classifier on audio tagging.")
