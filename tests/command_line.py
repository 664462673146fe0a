"""The command line: in this process, and in one of its own where what that shows needs it (torch takes seconds)."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from synthio.cli import main

_WIDE = {"COLUMNS": "120"}
ENVIRONMENT = {**os.environ, **_WIDE}


def synthio(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> CompletedProcess[str]:
    """What the command would end with; with ``environment`` besides this process's own."""
    words = list(map(str, arguments))
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        for name, value in {**_WIDE, **environment}.items():
            patch.setenv(name, value)
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        patch.setattr(sys, "argv", ["synthio", *words])
        # The command sets its own.
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        if cwd is not None:
            patch.chdir(cwd)
        main()
    for stream in streams.values():
        stream.flush()
    told = {name: stream.buffer.getvalue().decode() for name, stream in streams.items()}
    return CompletedProcess(words, ended.value.code or 0, **told)


def synthio_process(*arguments: str | Path, cwd: Path | None = None) -> CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "synthio", *map(str, arguments)]
    return run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=300)
