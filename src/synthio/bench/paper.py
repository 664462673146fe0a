"""Table 1 of the paper (Ghosh et al. 2025, arXiv:2410.02056), to print beside our own numbers."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from synthio.datasets.official import OFFICIAL

#: Our arm to the paper's method, spelt as in the file, in the paper's order.
ARMS: Mapping[str, str] = {
    "gold": "Gold-only (No Aug.)",
    "noise": "Random Noise",
    "pitch_shift": "Pitch Shifting",
    "specaugment": "SpecAugment",
    "audiomentations": "Audiomentations",
    "retrieval": "Retrieval",
    "vanilla": "Vanilla Syn. Aug.",
    "vanilla_llm": "Vanilla + LLM Caps.",
    "synthio": "Synthio (ours)",
    "template_captions": "w/ Template Captions",
    "erm": "w/ ERM",
    "no_reflection": "w/o Self-Reflection",
    "no_mixcap": "w/o MixCap",
    "no_dpo": "w/o DPO",
}

#: Our dataset to the paper's column, in the paper's order.
DATASETS: Mapping[str, str] = {name: dataset.column for name, dataset in OFFICIAL.items()}


@cache
def table1() -> Mapping[tuple[int, str, str], float]:
    """Fractions by ``(n, method, column)`` in the paper's spelling."""
    text = files("synthio.bench").joinpath("paper_table1.csv").read_text(encoding="utf-8")
    return {
        (int(row["n"]), row["method"], column): float(row[column]) / 100
        for row in csv.DictReader(text.splitlines())
        for column in DATASETS.values()
    }


def paper_value(n: int, arm: str, dataset: str) -> float | None:
    """The paper's number as a fraction, by our names; None where the paper has none."""
    return table1().get((n, ARMS.get(arm, ""), DATASETS.get(dataset, "")))
