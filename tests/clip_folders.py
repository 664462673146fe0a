"""Datasets on disk, small: folders and tables of clips, and what stops a run of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf

from synthio.config import DataConfig, RunConfig
from synthio.context import StageContext
from synthio.data_check import check_data
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder

RATE_HZ = 8_000


def sound(name: str, duration_s: float = 0.2, rate_hz: int = RATE_HZ) -> npt.NDArray[np.float32]:
    """Audio that depends on the name, so that no two files are copies; exact in 16 bits."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    noise = np.random.default_rng(seed).standard_normal(int(duration_s * rate_hz))
    return ((3000 * noise).astype(np.int16) / 32768).astype(np.float32)


def clip(path: Path, samples: npt.ArrayLike | None = None, rate_hz: int = RATE_HZ, **format_: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(
        str(path), sound(str(path), rate_hz=rate_hz) if samples is None else np.asarray(samples), rate_hz, **format_
    )
    return path


def dataset(root: Path, classes: tuple[str, ...] = ("dog", "cat"), per_split: int = 2) -> Path:
    for split in ("train", "valid", "test"):
        for label in classes:
            for index in range(per_split):
                clip(root / split / label / f"{label} {index}.wav")
    return root


def table_of(root: Path, header: str, rows: Iterable[str]) -> Path:
    """A table of new clips, one per row; ``rows`` are their cells after the path."""
    lines = [f"path,{header}"]
    for number, cells in enumerate(rows):
        clip(root / f"{number}.wav")
        lines.append(f"{number}.wav,{cells}")
    (root / "x.csv").write_text("\n".join(lines))
    return root / "x.csv"


def run_config(path: Path, seed: int = 0, **data: Any) -> RunConfig:
    return RunConfig(data=DataConfig(path=str(path), **data), seed=seed)


def problems(path: Path, run: Path, **data: Any) -> str:
    folder = StageFolder(run, "clips", "key")
    with pytest.raises(DataError) as caught:
        collect_clips(StageContext(run_config(path, **data), folder, Reporter()))
    assert not folder.done
    checked = check_data(run_config(path, **data)).problems
    assert checked
    assert all(problem in str(caught.value) for problem in checked)
    return str(caught.value)


def write_noise(path: Path, seed: int) -> None:
    sf.write(path, 0.1 * np.random.default_rng(seed).normal(size=1600), 16_000)
