"""Kill a run at random moments, resume, and compare its manifests with an undisturbed run's.

    python benchmarks/kill_resume.py RECIPE.yaml 10

Both runs go to temporary folders. Prints whether the dataset's manifest and every generated clip are equal.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(recipe: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start one run in the background."""
    command = [sys.executable, "-m", "synthio", "run", recipe, f"run_folder={folder}", "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def main(recipe: str, kills: int) -> None:
    """Undisturbed first, for its duration; then killed after random shares of that time."""
    with tempfile.TemporaryDirectory() as scratch:
        whole, broken = Path(scratch, "whole"), Path(scratch, "broken")
        started = time.monotonic()
        if run(recipe, whole).wait() != 0:
            raise SystemExit("the undisturbed run failed")
        seconds = time.monotonic() - started
        dice = random.Random(0)
        done = 0
        while done < kills:
            process = run(recipe, broken)
            try:
                process.wait(timeout=dice.uniform(0.15, 0.4) * seconds)
                # It finished before its kill: begin another run to go on killing.
                shutil.rmtree(broken)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
        if run(recipe, broken).wait() != 0:
            raise SystemExit("the resumed run failed")
        names = [
            "dataset/metadata.jsonl",
            *sorted(p.relative_to(whole).as_posix() for p in whole.glob("dataset/audio/*")),
        ]
        equal = all((whole / n).read_bytes() == (broken / n).read_bytes() for n in names)
        print(f"undisturbed: {seconds:.0f} s; killed {done} times; manifest and {len(names) - 1} clips equal: {equal}")
        if not equal:
            raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
