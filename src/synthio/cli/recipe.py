"""`synthio recipe`: recipes to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from synthio.cli.common import print_data
from synthio.errors import ConfigError, StoreError
from synthio.writing import write_text

#: The files of ``starters/``, and what each is for.
STARTERS = {
    "demo": "the bundled data: `synthio run`",
    "own-data": "your own clips, with the pocket models: `synthio run`",
    "full-size": "the same with models of the hub, for a GPU: `synthio run`",
    "bench": "cross-validation of your own clips: `synthio bench`",
}

commands = typer.Typer()


@commands.command()
def recipe(
    name: Annotated[str | None, typer.Argument(help=f"{', '.join(STARTERS)}; without a name, lists them.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file to write. Default: standard output.")
    ] = None,
) -> None:
    """Print a recipe to start from, with its settings explained."""
    if name is None:
        print_data("\n".join(f"{starter:<10} {purpose}" for starter, purpose in STARTERS.items()))
        return
    if name not in STARTERS:
        raise ConfigError(f"no recipe {name!r}; expected one of {', '.join(STARTERS)}")
    text = files("synthio").joinpath("starters", f"{name}.yaml").read_text(encoding="utf-8")
    if output is None:
        print_data(text.rstrip("\n"))
        return
    if output.exists():
        raise StoreError(f"{output}: is there already; give another name, or delete it")
    write_text(output, text)
    print_data(str(output))
