"""`synthio pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synthio.cli.common import Overrides, Quiet, print_data, reporter_of

Recipe = Annotated[Path, typer.Argument(help="A recipe (YAML), as in recipes/pretrain/.")]

commands = typer.Typer(no_args_is_help=True, help="Train the pocket models from a captioned corpus.")


def _part_command(part: str, help_text: str) -> None:
    @commands.command(part, help=help_text)
    def command(recipe: Recipe, overrides: Overrides = None, quiet: Quiet = False) -> None:
        from synthio.pretrain import make_part

        print_data(str(make_part(part, recipe, overrides or [], reporter_of(quiet))))


_part_command("recordings", "Fetch what the corpus and the evaluation sets are made of.")
_part_command("autoencoder", "Waveform to latents and back.")
_part_command("t2a", "Text to latents.")
_part_command("clap", "Audio and text in one space.")
_part_command("classifier", "Audio tagging.")
