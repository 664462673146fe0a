"""Two tones, clips of them, and trainings of a tiny AST that learns to tell them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from builders import make_clip
from reporters import RecordingReporter

from synthio.arms import AddedClip
from synthio.backends.fine_tuning import Examples
from synthio.comparison import read_comparison
from synthio.config import Arm, RunConfig
from synthio.context import StageContext
from synthio.progress import Advance, Reporter
from synthio.records import Clip, Prediction, Split
from synthio.stages.train import train_arms
from synthio.store import StageFolder, fingerprint
from synthio.verdict import Comparison

RATE_HZ = 16000
TONES_HZ = {"low": 400.0, "high": 2400.0}


class Listener(RecordingReporter):
    """Counts optimiser steps; stops the run, as Ctrl-C would, after ``stop_after`` optimiser steps."""

    def __init__(self, stop_after: float = float("inf")) -> None:
        super().__init__()
        self.steps = 0
        self._stop_after = stop_after

    @contextmanager
    def task(self, name: str, total: int, completed: int = 0) -> Iterator[Advance]:
        def advance(count: int) -> None:
            self.steps += count * (name == "train")
            if self.steps > self._stop_after:
                raise KeyboardInterrupt

        yield advance


def tones(labels: Sequence[str], seed: int, duration_s: float = 0.3) -> np.ndarray:
    """One tone per label, a little off its pitch, in noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    samples = 0.01 * generator.normal(size=time_s.shape)
    for label in labels:
        frequency_hz = TONES_HZ[label] * generator.uniform(0.9, 1.1)
        samples += 0.2 * np.sin(2 * np.pi * frequency_hz * time_s + generator.uniform(0, 6))
    return samples.astype(np.float32)


def features(examples: Examples) -> torch.Tensor:
    """The main input of every clip, ``(clips, frames, mels)``."""
    return torch.stack([inputs["input_values"] for inputs in examples.inputs])


def make_clips(
    folder: Path, counts: dict[Split, int], label_sets: Sequence[tuple[str, ...]] = (("low",), ("high",))
) -> list[Clip]:
    """``counts`` clips per split and label set."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for split, count in counts.items():
        for number, labels in enumerate(label_sets * count):
            name = f"{split}-{number}"
            path = folder / f"{name}.wav"
            sf.write(path, tones(labels, seed=sum(map(ord, name))), RATE_HZ)
            clips.append(make_clip(id=name, path=str(path), labels=labels, split=split, duration_s=0.3, sha256=name))
    return clips


def make_synthetic(folder: Path, clips: Sequence[Clip]) -> list[AddedClip]:
    """Another tone of the same kind for every training clip."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, clip in enumerate(clip for clip in clips if clip.split == "train"):
        path = folder / f"{number}.wav"
        sf.write(path, tones(clip.labels, seed=1000 + number), RATE_HZ)
        made.append(AddedClip(str(path), clip.labels, clip.id))
    return made


@dataclasses.dataclass(frozen=True)
class Project:
    config: RunConfig
    clips: list[Clip]
    synthetic: list[AddedClip]
    root: Path

    def folder(self, key: str = "key") -> StageFolder:
        return StageFolder(self.root, "train", key)

    def unit(self, arm: Arm, seed: int, key: str = "key") -> StageFolder:
        # As a run's: no order can be read from it.
        return self.folder(fingerprint([key, arm, seed]))

    def run(
        self, key: str = "key", reporter: Reporter | None = None, shares: dict[Arm, float] | None = None
    ) -> list[Prediction]:
        added_clips, train = {"synthio": self.synthetic}, self.config.train
        units = {(arm, seed): self.unit(arm, seed, key) for arm in train.arms for seed in range(train.seeds)}
        # Of other arms or seeds it is another folder, as in a run.
        folder = self.folder(key)

        context = StageContext(self.config, folder, reporter or Listener())

        def once(folder: StageFolder, work: Callable[[StageContext], None]) -> None:
            if not folder.done:
                work(dataclasses.replace(context, folder=folder))

        train_arms(context, self.clips, added_clips, shares or {}, units, once)
        return folder.manifest(Prediction)

    def comparison(self, key: str = "key") -> Comparison:
        return read_comparison(self.folder(key), self.clips, self.config)


def make_config(ast: Path, root: Path, **train: object) -> RunConfig:
    usual = {
        "model": str(ast),
        "seeds": 2,
        "steps": 24,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "evaluate_every": 10,
        "bootstrap_samples": 300,
        "device": "cpu",
    }
    return RunConfig.model_validate({"run_folder": root, "data": {"path": "x"}, "train": {**usual, **train}, "seed": 7})


def small(ast: Path, root: Path, **train: object) -> Project:
    """A project with one arm, one seed and few steps, not run yet."""
    clips = make_clips(root / "audio", {"train": 2, "valid": 2, "test": 2})
    usual = {"seeds": 1, "steps": 4, "evaluate_every": 2, "batch_size": 4, "arms": ["gold"]}
    return Project(make_config(ast, root, **{**usual, **train}), clips, [], root)
