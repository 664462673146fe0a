"""Does Synthio with the pocket models help on data that pre-training never heard? Every arm, two sets, five seeds.

    python scripts/make_evaluation_sets.py ...                     # once
    python benchmarks/pocket_gain.py run --sets instruments percussion --sizes 50 100 --seeds 0 1 2 3 4
    python benchmarks/pocket_gain.py show

A cell is one ordinary run of recipes/pocket-gain.yaml; a seed draws the groups of the splits, the training clips and
all that follows. Cells resume; `--shard 0/2` takes every second cell, so that two processes share the work. The result
of a cell is one line of benchmarks/results/pocket_gain.jsonl. The interval of a difference is Student's over the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

RESULTS = Path(__file__).parent / "results" / "pocket_gain.jsonl"
BASELINES = ("noise", "pitch_shift", "specaugment")


def run_cell(name: str, size: int, seed: int, overrides: list[str]) -> None:
    """Run, or resume, one cell and add its line."""
    cell = f"{name}-n{size}-s{seed}"
    options = [f"data.path=work/evaluation/{cell}.csv", f"run_folder=runs/gain/{cell}", f"seed={seed}", *overrides]
    command = [sys.executable, "-m", "synthio.cli", "run", "recipes/pocket-gain.yaml", *options, "--quiet", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{cell}: {done.stderr}")
    value = json.loads(done.stdout)
    arms = {arm["arm"]: {"mean": arm["mean"], "added": arm["n_added"]} for arm in value["comparison"]["arms"]}
    funnel = [{key: row[key] for key in ("captions", "accepted")} for row in value["funnel"]]
    seconds = {stage: round(spent, 1) for stage, spent in value["seconds"].items()}
    row = {
        "set": name,
        "n": size,
        "seed": seed,
        "overrides": overrides,
        "arms": arms,
        "funnel": funnel,
        "seconds": seconds,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    print(cell, {arm: round(100 * of["mean"], 1) for arm, of in arms.items()}, flush=True)


def finished(overrides: list[str]) -> dict[tuple[str, int, int], dict[str, float]]:
    """Accuracy per arm of every cell finished with these overrides."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["set"], row["n"], row["seed"]): {arm: of["mean"] for arm, of in row["arms"].items()} for row in rows}


def interval(differences: list[float]) -> str:
    """Mean and 95% interval in points, Student's t over seeds."""
    points = 100 * np.array(differences)
    if len(points) < 2:
        return f"{points.mean():+.1f} (one seed)"
    half = stats.t.ppf(0.975, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    return f"{points.mean():+.1f} ({points.mean() - half:.1f} to {points.mean() + half:.1f})"


def show(overrides: list[str]) -> None:
    """The table, in Markdown."""
    groups: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for (name, size, _), arms in sorted(finished(overrides).items()):
        groups[name, size].append(arms)
    names = ("set", "n", "seeds", "gold", *BASELINES, "synthio", "synthio minus gold", "minus the best classical")
    print(f"| {' | '.join(names)} |")
    print("|---" * len(names) + "|")
    for (name, size), cells in groups.items():
        means = {arm: 100 * np.mean([cell[arm] for cell in cells]) for arm in ("gold", *BASELINES, "synthio")}
        # The baseline that is best on the test clips: chosen with hindsight, so the strictest rival.
        best = max(BASELINES, key=lambda arm: means[arm])
        against_gold = interval([cell["synthio"] - cell["gold"] for cell in cells])
        against_best = f"{interval([cell['synthio'] - cell[best] for cell in cells])}, {best}"
        values = " | ".join(f"{mean:.1f}" for mean in means.values())
        print(f"| {name} | {size} | {len(cells)} | {values} | {against_gold} | {against_best} |")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "show"))
    parser.add_argument("--sets", nargs="+", default=["instruments", "percussion"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[50, 100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--shard", default="0/1", help="i/k: every k-th cell from the i-th on")
    parser.add_argument("--override", action="append", default=[], help="key=value for every cell")
    arguments = parser.parse_args()
    if arguments.action == "show":
        show(arguments.override)
        return
    index, count = map(int, arguments.shard.split("/"))
    cells = [(n, name, seed) for n in arguments.sizes for seed in arguments.seeds for name in arguments.sets]
    for size, name, seed in cells[index::count]:
        if (name, size, seed) not in finished(arguments.override):
            run_cell(name, size, seed, arguments.override)


if __name__ == "__main__":
    main()
