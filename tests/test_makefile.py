"""What `make` says before anything is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_an_older_python_is_told_at_once(tmp_path: Path) -> None:
    """pip said that there is no torch for it."""
    older = tmp_path / "python3"
    pretend = 'import sys; sys.version_info = (3, 9, 6); sys.version = "3.9.6 (old)"; exec(sys.argv[2])'
    older.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{pretend}' \"$@\"\n")
    older.chmod(0o755)
    command = ["make", "setup", f"PYTHON={older}", f"VENV={tmp_path / 'venv'}"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "found Python 3.9.6; expected 3.11.4 or newer: make setup PYTHON=python3.11" in made.stderr
    assert not (tmp_path / "venv").exists()
