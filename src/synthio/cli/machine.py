"""`synthio doctor` and `synthio prepare`: what is installed here, and the pocket models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synthio.cli.common import (
    Json,
    Overrides,
    config_of,
    print_data,
    print_result,
)

commands = typer.Typer()


@commands.command()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="Also show what this recipe would load.")] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what is installed, which devices there are, and which models are here."""
    from synthio.doctor import examine

    found = examine(None if recipe is None else config_of(recipe, overrides))

    def text() -> None:
        for name, value in found.items():
            rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
            print_data(f"{name}:" if rows is not None else f"{name}: {value}")
            for key, row in rows or ():
                print_data(f"  {key}: {row}")

    print_result(found, as_json, text)


@commands.command()
def prepare(as_json: Json = False) -> None:
    """Convert and cache the pocket models now (takes about two minutes, once)."""
    from synthio.doctor import prepare as prepare_models

    folders = prepare_models()
    told = "\n".join(f"{part}: {folder}" for part, folder in folders.items())
    print_result(folders, as_json, lambda: print_data(told))
