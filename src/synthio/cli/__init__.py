"""The command line: parse, call, print. One file per group of commands."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from synthio.cli import bench, data, evaluate, machine, predict, pretrain, recipe, run
from synthio.cli.common import console_of, print_json
from synthio.errors import StoreError, SynthioError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train a better classifier from 50 to 500 labelled clips, with synthetic clips that can be aligned with them.",
)
# In the order of the help; without a name, a file's commands stand at the top.
app.add_typer(run.commands)
app.add_typer(predict.commands)
app.add_typer(recipe.commands)
app.add_typer(machine.commands)
app.add_typer(data.commands, name="data")
app.add_typer(pretrain.commands, name="pretrain")
app.add_typer(evaluate.commands, name="evaluate")
app.add_typer(bench.commands, name="bench")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"synthio {version('synthio')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        # Libraries of torch end the process with a message of their own.
        raise StoreError("the current folder was deleted or moved; change to one that is there (cd)") from error


_INTERRUPTED = 130


def main() -> None:
    """Run the command line; a `SynthioError` becomes one message and its exit code."""
    sys.unraisablehook = _heed_dropped
    for stream in (sys.stdout, sys.stderr):
        # A label or a file name that the terminal's encoding has not is shown in escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SynthioError as error:
        _fail(error)
    except SystemExit as ended:
        # What typer makes of Ctrl-C.
        if ended.code == _INTERRUPTED:
            _tell_interrupted()
        raise
    except OSError as error:
        why = error.strerror or error
        _fail(StoreError(f"{error.filename or 'a file'}: cannot be used ({why}); check it and its permissions"))


def _heed_dropped(dropped: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C in a destructor, or in what C code calls back (an encoder), Python drops: it is to end the command too.

    At once, since nothing raised here would be heard: whatever is on disk survives a kill.
    """
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        _tell_interrupted()
        os._exit(_INTERRUPTED)
    sys.__unraisablehook__(dropped)


def _tell_interrupted() -> None:
    console = console_of(stderr=True)
    # A progress bar hides it, and is not closed where the command ends at once.
    console.show_cursor()
    console.print("interrupted: run the same command again, it resumes", style="yellow")


def _fail(error: SynthioError) -> NoReturn:
    if "--json" in sys.argv:
        print_json(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
    console_of(stderr=True, soft_wrap=True).print(f"{type(error).__name__}: {error}", style="red")
    raise SystemExit(error.exit_code) from None
