"""What the commands share: their arguments, and how they speak."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic_core import to_json

from synthio.errors import SynthioError
from synthio.formats import printable
from synthio.progress import ConsoleReporter, PlainConsole, Reporter

if TYPE_CHECKING:
    from rich.console import Console

    from synthio.config import RunConfig
    from synthio.pipeline import Pipeline

Recipe = Annotated[Path, typer.Argument(help="The recipe (a YAML file); see docs/configuration.md.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings that override the recipe, as section.key=value.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, notes or warnings on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def config_of(recipe: Path, overrides: list[str] | None) -> RunConfig:
    """The recipe with its overrides. Raises: `ConfigError` that lists every problem."""
    from synthio.api import load_config

    return load_config(recipe, overrides or [])


def reporter_of(quiet: bool) -> Reporter:
    """What tells of progress: nothing when quiet."""
    return Reporter() if quiet else ConsoleReporter()


def as_given(path: Path, pipeline: Pipeline) -> Path:
    """A path in the run folder as the recipe writes that: relative where it is."""
    return pipeline.config.run_folder / path.relative_to(pipeline.root)


def console_of(stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Wrapped softly, a path stays whole; tables need the hard wrap."""
    return PlainConsole(stderr=stderr, soft_wrap=soft_wrap)


def print_result(value: Any, as_json: bool, text: Callable[[], None]) -> None:
    """On standard output: one JSON document of ``value``, or what ``text`` prints for people."""
    if as_json:
        # JSON has no NaN: null.
        print_json(to_json(value, indent=2, inf_nan_mode="null", fallback=str).decode())
    else:
        text()


def fail_after(error: SynthioError, as_json: bool) -> NoReturn:
    """End a command whose result is printed. Printed as JSON it has the problems, and a second document would make the
    first unreadable."""
    raise typer.Exit(error.exit_code) if as_json else error


def print_json(text: str) -> None:
    """JSON, in escapes where the output's encoding has not all characters: those that it lacks stand in strings."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = "".join(character if character.isascii() else json.dumps(character)[1:-1] for character in text)
    print_data(text)


def print_data(text: str) -> None:
    """What programs read stays as it is; a terminal would obey the control characters in it."""
    print(printable(text) if sys.stdout.isatty() else text, flush=True)
