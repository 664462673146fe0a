"""What each arm of a comparison trains on, and one training of one arm (METHOD section 5).

    gold             the real training clips
    noise            the real ones and copies of them with white noise
    pitch_shift      the real ones and copies of them at other pitches
    specaugment      the real ones and copies of them with masked frames and bands
    audiomentations  the real ones and copies of them through a chain of transforms of that library
    retrieval        the real ones and the nearest clips of another corpus, by CLAP, under their labels
    synthio          the real ones and the synthetic ones

Classes, clip length and normalisation come from the training split; the best weights of a training from the validation
split.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from synthio import augment, metrics
from synthio.audio import Waveform, load
from synthio.backends.classifier import (
    NO_CLASS,
    CurvePoint,
    Examples,
    Frontend,
    Optimisation,
    ProblemType,
    Source,
    find_classifier,
    fine_tune,
    fit_frontend,
    load_classifier,
)
from synthio.backends.devices import resolve_device
from synthio.config import Arm, RunConfig
from synthio.errors import BackendError, ConfigError, DataError
from synthio.progress import Advance, Reporter
from synthio.records import Clip, Split
from synthio.seeds import derive_seed, numpy_generator

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
#: Arms whose added clips are files made or found by earlier stages.
ARMS_WITH_FILES: tuple[Arm, ...] = ("synthio", "retrieval")


@dataclass(frozen=True)
class AddedClip:
    """One clip that an arm adds to the real ones: synthetic, or retrieved."""

    path: str
    labels: tuple[str, ...]
    clip_id: str
    """The real training clip that it was made or found for."""


Pools = Mapping[Arm, Sequence[AddedClip]]
"""The files of `ARMS_WITH_FILES`."""


class Training(BaseModel):
    """How one arm's training with one seed went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: Arm
    seed: int
    n_train: int
    n_added: int
    steps: int
    seconds: float
    best: CurvePoint
    """Where its weights were taken."""
    curve: tuple[CurvePoint, ...]

    @property
    def name(self) -> str:
        """Unique within a run."""
        return training_name(self.arm, self.seed)


def training_name(arm: str, seed: int) -> str:
    """``gold/0``."""
    return f"{arm}/{seed}"


# --------------------------------------------------------------------------------------------------------- checks


def check_clips(clips: Sequence[Clip], pools: Pools) -> None:
    """Whether arms can be trained and compared on these clips. Raises: `DataError` saying what is missing."""
    counts = Counter(clip.split for clip in clips)
    for split in ("train", "test"):
        if not counts[split]:
            raise DataError(
                f"no clips in the {split} split (found {dict(counts)}); the comparison needs some: "
                "add them, or set data.valid_fraction and data.test_fraction"
            )
    if not any(clip.labels for clip in clips if clip.split == "test"):
        raise DataError("no test clip has a label; the comparison needs labelled test clips")
    classes = classes_of(clips)
    if len(classes) < 2:
        raise DataError(f"the training clips have {len(classes)} class(es); expected at least 2 to tell apart")
    foreign = sorted({label for pool in pools.values() for clip in pool for label in clip.labels} - set(classes))
    if foreign:
        raise DataError(
            f"synthetic clips have labels that no training clip has: {foreign}; run `synthio imagine` again"
        )


def classes_of(clips: Iterable[Clip]) -> tuple[str, ...]:
    """The labels of the training clips, sorted: what a classifier can answer."""
    return tuple(sorted({label for clip in clips if clip.split == "train" for label in clip.labels}))


def check_arms(config: RunConfig) -> None:
    """Whether the arms can be made here; cheap, for before anything else runs.

    Raises: `MissingDependency` without the library of an arm, `ConfigError` when `specaugment` meets a model that reads
    waveforms, `ModelError` as `find_classifier` does.
    """
    for arm in config.train.arms:
        augment.check_library(arm)
    if "specaugment" in config.train.arms:
        source = find_classifier(config.train.model, config.train.revision)
        if not hasattr(source.config, "num_mel_bins"):
            raise ConfigError(
                f"train.arms has specaugment, which masks spectrograms; train.model {config.train.model!r} is a "
                f"{source.config.model_type!r} model, which reads waveforms: leave the arm out"
            )


def problem_type(config: RunConfig, clips: Sequence[Clip]) -> ProblemType:
    """Several labels per clip when the recipe splits label cells, or when a training clip has not exactly one."""
    several = any(len(clip.labels) != 1 for clip in clips if clip.split == "train")
    if several or config.data.label_separator is not None:
        return "multi_label_classification"
    return "single_label_classification"


# ------------------------------------------------------------------------------------------------------- material


@dataclass(frozen=True)
class Material:
    """Everything that the trainings share."""

    source: Source
    frontend: Frontend
    problem_type: ProblemType
    classes: tuple[str, ...]
    clips: Mapping[Split, Sequence[Clip]]
    examples: Mapping[Split, Examples]
    added: Mapping[Arm, Examples]
    """What each arm adds to the real training clips."""
    shares: Mapping[Arm, float]
    """Expected share of added clips in a batch, for arms where it is not `train.synthetic_share`."""


def prepare(config: RunConfig, clips: Sequence[Clip], pools: Pools, reporter: Reporter) -> Material:
    """Fit the feature extractor to the training split and compute every clip's features, once.

    Raises: `ModelError` for the model, `DataError` for a clip that cannot be decoded.
    """
    source = find_classifier(config.train.model, config.train.revision)
    splits: dict[Split, list[Clip]] = {split: [clip for clip in clips if clip.split == split] for split in SPLITS}
    classes, problem = classes_of(clips), problem_type(config, clips)
    _warn(config, splits, classes, pools, reporter)
    rate_hz, limit_s = source.sample_rate_hz, config.data.max_duration_s
    frontend = fit_frontend(source, (_waveform(clip.path, rate_hz, limit_s) for clip in splits["train"]))
    total = len(clips) + sum(len(pool) for pool in pools.values())
    with reporter.task("classifier features", total) as advance:

        def examples(items: Sequence[Clip] | Sequence[AddedClip]) -> Examples:
            features = []
            for item in items:
                features.append(torch.from_numpy(frontend.features(_waveform(item.path, rate_hz, limit_s))))
                advance(1)
            targets = _targets([item.labels for item in items], classes, problem)
            return Examples(torch.stack(features) if features else torch.zeros(0), targets)

        made = {split: examples(splits[split]) for split in SPLITS}
        added: dict[Arm, Examples] = {"gold": Examples(torch.zeros(0), made["train"].targets[:0])}
        added |= {arm: examples(pools.get(arm, ())) for arm in ARMS_WITH_FILES}
    for arm in config.train.arms:
        if arm not in added:
            added[arm] = _augmented(config, arm, splits["train"], made["train"], source, frontend, reporter)
    return Material(source, frontend, problem, classes, splits, made, added, {})


def _augmented(
    config: RunConfig,
    arm: Arm,
    clips: Sequence[Clip],
    real: Examples,
    source: Source,
    frontend: Frontend,
    reporter: Reporter,
) -> Examples:
    """``imagine.captions_per_clip`` augmented copies of every real training clip; each draws from its own generator."""
    rate_hz, wanted = source.sample_rate_hz, config.imagine.captions_per_clip * len(clips)
    features = []
    with reporter.task(f"{arm} copies", wanted) as advance:
        for number in range(wanted):
            index = number % len(clips)
            generator = numpy_generator(config.seed, "train", arm, clips[index].id, number // len(clips))
            if arm == "specaugment":
                copy = real.inputs[index].clone().reshape(1, 1, *real.inputs.shape[-2:])
                features.append(augment.mask_features(copy, augment.MASKED_SHARE, generator)[0, 0])
            else:
                samples = _waveform(clips[index].path, rate_hz, config.data.max_duration_s)
                varied = augment.AUGMENTATIONS[arm](samples, rate_hz, generator)
                features.append(torch.from_numpy(frontend.features(varied)))
            advance(1)
    stacked = torch.stack(features).reshape(wanted, *real.inputs.shape[1:])
    return Examples(stacked, real.targets[torch.arange(wanted) % len(clips)])


def _waveform(path: str, sample_rate_hz: int, max_duration_s: float) -> Waveform:
    return load(Path(path), sample_rate_hz)[: int(max_duration_s * sample_rate_hz)]


def _targets(labels: Sequence[tuple[str, ...]], classes: tuple[str, ...], problem: ProblemType) -> torch.Tensor:
    if problem == "multi_label_classification":
        return torch.from_numpy(metrics.multi_hot(labels, classes).astype(np.float32))
    index = {label: i for i, label in enumerate(classes)}
    first = [next((index[name] for name in names if name in index), NO_CLASS) for names in labels]
    return torch.tensor(first, dtype=torch.long)


def _warn(
    config: RunConfig,
    splits: Mapping[Split, Sequence[Clip]],
    classes: tuple[str, ...],
    pools: Pools,
    reporter: Reporter,
) -> None:
    for arm in ARMS_WITH_FILES:
        if arm in config.train.arms and not pools.get(arm):
            kind = "synthetic" if arm == "synthio" else "retrieved"
            reporter.warn(f"there are no {kind} clips: the {arm} arm trains on the real clips alone, as gold does")
    if not splits["valid"]:
        reporter.warn("there are no validation clips: every training keeps its last weights")
    for split in SPLITS[1:]:
        unseen = sorted({label for clip in splits[split] for label in clip.labels} - set(classes))
        if unseen:
            reporter.warn(f"no training clip has {unseen}: {split} clips cannot be right about these labels")


def draw_batches(
    n_real: int, n_added: int, added_share: float, draws: int, run_seed: int, seed: int
) -> npt.NDArray[np.int64]:
    """Which example each of the ``draws`` slots of a training takes; added ones count from ``n_real`` on.

    Every slot is an added clip with probability ``added_share``, or 0 without any. Real clips come from shuffled passes
    over all of them, added ones likewise, each from its own generator: with one seed, all arms take the same real clip
    in every slot that they fill with a real one.
    """
    real = _passes(n_real, draws, numpy_generator(run_seed, "train", seed, "real"))
    if n_added == 0:
        return real
    made = n_real + _passes(n_added, draws, numpy_generator(run_seed, "train", seed, "synthetic"))
    drawn = numpy_generator(run_seed, "train", seed, "share").random(draws)
    return np.where(drawn < added_share, made, real)


def _passes(items: int, draws: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    passes = [generator.permutation(items) for _ in range(-(-draws // items))]
    return np.concatenate(passes)[:draws].astype(np.int64)


# ------------------------------------------------------------------------------------------- one arm with one seed


def fit_in_memory(
    config: RunConfig, material: Material, arm: Arm, seed: int, advance: Advance, reporter: Reporter
) -> tuple[Any, Training]:
    """`fit_arm`; when memory runs out, again with smaller forward passes that add up to the same batches.

    Raises: `BackendError` when not even one clip at a time fits.
    """
    micro_batch = config.train.batch_size
    while True:
        try:
            return fit_arm(config, material, arm, seed, micro_batch, advance)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if micro_batch == 1:
                raise BackendError(
                    "out of memory with one clip at a time; choose a smaller train.model or data.max_duration_s"
                ) from error
            micro_batch = smaller_divisor(config.train.batch_size, micro_batch)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        reporter.warn(f"out of memory: starting again with {micro_batch} clips per forward pass, same batches")


def smaller_divisor(batch_size: int, micro_batch: int) -> int:
    """The largest divisor of ``batch_size`` that is at most half of ``micro_batch`` (2 or more)."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch_size % size == 0)


def fit_arm(
    config: RunConfig, material: Material, arm: Arm, seed: int, micro_batch: int, advance: Advance
) -> tuple[Any, Training]:
    """Fine-tune one classifier, ``micro_batch`` clips at once; returns it with its best validation weights.

    The new head and the order of the real clips depend on the seed and not on the arm.
    """
    started = time.monotonic()
    real, valid = material.examples["train"], material.examples["valid"]
    added = material.added[arm]
    n_added = len(added.inputs)
    order = draw_batches(
        len(real.inputs),
        n_added,
        added_share(config, material, arm),
        config.train.steps * config.train.batch_size,
        config.seed,
        seed,
    )
    # Trainer also seeds NumPy's old generator, which takes 32 bits.
    unit_seed = derive_seed(config.seed, "train", seed) % 2**32
    model = load_classifier(material.source, material.frontend, material.classes, material.problem_type, unit_seed)
    optimisation = Optimisation(
        steps=config.train.steps,
        batch_size=config.train.batch_size,
        micro_batch=micro_batch,
        learning_rate=config.train.learning_rate,
        evaluate_every=config.train.evaluate_every,
        device=resolve_device(config.train.device),
        seed=unit_seed,
    )
    examples = _joined(real, added) if n_added else real
    best, curve = fine_tune(model, examples, order, valid if len(valid.inputs) else None, optimisation, advance)
    training = Training(
        arm=arm,
        seed=seed,
        n_train=len(real.inputs),
        n_added=n_added,
        steps=config.train.steps,
        seconds=time.monotonic() - started,
        best=best,
        curve=curve,
    )
    return model, training


def added_share(config: RunConfig, material: Material, arm: Arm) -> float:
    """Expected share of added clips in a batch; without a setting, every clip is drawn equally often."""
    share = material.shares.get(arm, config.train.synthetic_share)
    if share is not None:
        return share
    n_real, n_added = len(material.examples["train"].inputs), len(material.added[arm].inputs)
    return n_added / (n_real + n_added)


def _joined(real: Examples, added: Examples) -> Examples:
    return Examples(torch.cat([real.inputs, added.inputs]), torch.cat([real.targets, added.targets]))
