"""What each arm of a comparison trains on, and one training of one arm (arXiv 2410.02056).

    gold             the real training clips
    noise            the real ones and copies of them with white noise
    pitch_shift      the real ones and copies of them at other pitches
    specaugment      the real ones and copies of them with masked frames and bands
    audiomentations  the real ones and copies of them through a chain of transforms of that library
    retrieval        the real ones and the nearest clips of another corpus, by CLAP, under their labels
    synthio          the real ones and the synthetic ones

Classes and clip length come from the training split; the best weights of a training from the validation split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils.memory import clear_device_cache

from synthio import augment, metrics
from synthio.audio import Waveform, load_start
from synthio.backends.classifier import (
    Frontend,
    Inputs,
    ProblemType,
    Source,
    find_classifier,
    fit_frontend,
    load_classifier,
)
from synthio.backends.devices import is_out_of_memory, resolve_device
from synthio.backends.fine_tuning import NO_CLASS, CurvePoint, Examples, Optimisation, fine_tune
from synthio.config import Arm, RunConfig, Sampling
from synthio.errors import BackendError, ConfigError
from synthio.frozen import Frozen
from synthio.generation import load_generated_start
from synthio.progress import Advance, Reporter
from synthio.records import HELD_OUT_SPLITS, SPLITS, Clip, Split, is_multi_label, of_split
from synthio.seeds import balanced_passes, derive_seed, numpy_generator, shuffled_passes
from synthio.store import StageFolder

#: Arms whose added clips are files made or found by earlier stages.
ARMS_WITH_FILES: tuple[Arm, ...] = ("synthio", "retrieval")
#: A clip may be as long as the window but for a hop.
_ROUNDING_S = 0.05


@dataclass(frozen=True)
class AddedClip:
    """One clip that an arm adds to the real ones: synthetic, or retrieved."""

    path: str
    labels: tuple[str, ...]
    clip_id: str
    """The real training clip that it was made or found for."""


AddedClips = Mapping[Arm, Sequence[AddedClip]]
"""The files of `ARMS_WITH_FILES`; none of an arm that the gate made gold."""


_Load = Callable[[Path, float, int], Waveform]
"""A file, how many seconds of it, and a rate in Hz to its samples."""


class Training(Frozen):
    """How one arm's training with one seed went."""

    arm: Arm
    seed: int
    n_train: int
    n_added: int
    steps: int
    seconds: float
    heard_s: float
    """What the classifier hears of a clip at most."""
    best: CurvePoint
    """Where its weights were taken."""
    curve: tuple[CurvePoint, ...]

    @property
    def name(self) -> str:
        """``gold/0``: unique within a run."""
        return f"{self.arm}/{self.seed}"


def read_trainings(folder: StageFolder) -> dict[Path, Training]:
    """Those of a finished stage of train, by the folder that each is kept in, in the order of the recipe's arms.

    Raises: `MissingArtefact` before the stage is done, `StoreError` when it is damaged.
    """
    summary = folder.summary()
    try:
        rows = summary["trainings"]
        return {folder.path.with_name(name): Training.model_validate(row) for name, row in rows}
    except (ValueError, TypeError) as error:
        raise folder.damaged("done.json", error) from error


def model_folder(training: Path, arm: str) -> Path:
    """The weights in the folder of one of the arm's trainings."""
    return training / f"model-{arm}"


# --------------------------------------------------------------------------------------------------------- checks


def classes_of(clips: Iterable[Clip]) -> tuple[str, ...]:
    """The labels of the training clips, sorted: what a classifier can answer."""
    return tuple(sorted({label for clip in of_split(clips, "train") for label in clip.labels}))


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
    """Of the classifier of a run (`is_multi_label`)."""
    several = is_multi_label(config.data.label_separator, clips)
    return "multi_label_classification" if several else "single_label_classification"


# ------------------------------------------------------------------------------------------------------- material


@dataclass(frozen=True)
class ArmExamples:
    """Clips to train on, and what each may stand in for."""

    examples: Examples
    keys: tuple[str, ...]
    """Of each clip: its label; with several labels per clip, the id of the real clip that it is or was made for."""

    def subset(self, kept: Sequence[bool]) -> ArmExamples:
        """Those that are ``kept``, in order."""
        indices = np.flatnonzero(kept)
        return ArmExamples(self.examples.subset(indices), tuple(self.keys[index] for index in indices))


@dataclass
class MicroBatch:
    """What trainings of the same data know of each other."""

    size: int | None = None
    """Clips at once that memory allowed, where the whole batch was too much."""


@dataclass(frozen=True)
class TrainingData:
    """Everything that the trainings share."""

    source: Source
    frontend: Frontend
    problem_type: ProblemType
    classes: tuple[str, ...]
    clips: Mapping[Split, Sequence[Clip]]
    real: ArmExamples
    """The real training clips."""
    examples: Mapping[Split, Examples]
    """Of validation and test."""
    added: Mapping[Arm, ArmExamples]
    """What each arm adds to the real training clips."""
    shares: Mapping[Arm, float]
    """Expected share of added clips in a batch, for arms where it is not `train.synthetic_share`."""
    fits: MicroBatch = field(default_factory=MicroBatch)
    """What of a batch fits into memory at once, as the trainings before found."""


def prepare(
    config: RunConfig, clips: Sequence[Clip], added_clips: AddedClips, reporter: Reporter, arms: Iterable[Arm] = ()
) -> TrainingData:
    """Fit the feature extractor to the training split and compute every clip's features, once, with those of the
    augmented copies that ``arms`` add.

    Raises: `ModelError` for the model, `DataError` for a clip that cannot be decoded, `StoreError` for a synthetic one.
    """
    source = find_classifier(config.train.model, config.train.revision)
    splits: dict[Split, list[Clip]] = {split: of_split(clips, split) for split in SPLITS}
    classes, problem = classes_of(clips), problem_type(config, clips)
    # One of another class would train as if it had none.
    assert {label for of_arm in added_clips.values() for clip in of_arm for label in clip.labels} <= set(classes)
    _warn_of_empty(added_clips, reporter)
    rate_hz, limit_s = source.sample_rate_hz, config.data.max_duration_s
    frontend = _fit_frontend(source, splits["train"], limit_s)
    total = len(clips) + sum(len(of_arm) for of_arm in added_clips.values())
    for warning in unheard_warnings(clips, frontend.max_samples / rate_hz):
        reporter.warn(warning)
    # A set in which classes weigh the same has clips several times.
    heard = cache(lambda path, load: frontend.inputs(load(Path(path), limit_s, rate_hz)))
    with reporter.task("classifier features", total) as advance:

        def examples(items: Sequence[Clip] | Sequence[AddedClip], load: _Load = load_start) -> Examples:
            inputs = []
            for item in items:
                inputs.append(heard(item.path, load))
                advance(1)
            return Examples(inputs, _targets([item.labels for item in items], classes, problem))

        real = ArmExamples(examples(splits["train"]), _keys(splits["train"], problem))
        held_out = {split: examples(splits[split]) for split in HELD_OUT_SPLITS}
        added: dict[Arm, ArmExamples] = {"gold": ArmExamples(Examples([], real.examples.targets[:0]), ())}
        for arm in ARMS_WITH_FILES:
            load = load_generated_start if arm == "synthio" else load_start
            added[arm] = ArmExamples(examples(added_clips.get(arm, ()), load), _keys(added_clips.get(arm, ()), problem))
    for arm in arms:
        if arm not in added:
            added[arm] = _augmented(config, arm, splits["train"], real, frontend, reporter)
    return TrainingData(source, frontend, problem, classes, splits, real, held_out, added, {})


def _fit_frontend(source: Source, training: Sequence[Clip], limit_s: float) -> Frontend:
    rate_hz = source.sample_rate_hz
    frontend = fit_frontend(source, [samples_of(clip, rate_hz, limit_s) for clip in training])
    # Who hears through it later cuts as the clips were cut here.
    limit = max(frontend.min_samples, min(frontend.max_samples, round(limit_s * rate_hz)))
    return replace(frontend, max_samples=limit)


def _keys(items: Sequence[Clip] | Sequence[AddedClip], problem: ProblemType) -> tuple[str, ...]:
    if problem == "single_label_classification":
        return tuple(item.labels[0] for item in items)
    return tuple(item.clip_id if isinstance(item, AddedClip) else item.id for item in items)


def _augmented(
    config: RunConfig, arm: Arm, clips: Sequence[Clip], real: ArmExamples, frontend: Frontend, reporter: Reporter
) -> ArmExamples:
    """``imagine.captions_per_clip`` rounds of augmented copies of every real training clip, each copy from its own
    generator."""
    rounds = config.imagine.captions_per_clip
    copies: list[list[Inputs]] = [[] for _ in range(rounds)]
    with reporter.task(f"{arm} copies", rounds * len(clips)) as advance:
        # Clip by clip: each is decoded once.
        for clip, inputs in zip(clips, real.examples.inputs, strict=True):
            vary = _variation(config, arm, clip, inputs, frontend)
            for number, of_round in enumerate(copies):
                of_round.append(vary(numpy_generator(config.seed, "train", arm, clip.id, number)))
                advance(1)
    targets = torch.cat([real.examples.targets] * rounds)
    return ArmExamples(Examples([copy for of_round in copies for copy in of_round], targets), real.keys * rounds)


def _variation(
    config: RunConfig, arm: Arm, clip: Clip, inputs: Inputs, frontend: Frontend
) -> Callable[[np.random.Generator], Inputs]:
    """What makes a copy of one clip by a generator. ``inputs``: the clip's own."""
    if arm == "specaugment":
        name, features = frontend.main_input, inputs[frontend.main_input]

        def masked(generator: np.random.Generator) -> Inputs:
            copy = features[None, None].clone()
            return {**inputs, name: augment.mask_features(copy, augment.MASKED_SHARE, generator)[0, 0]}

        return masked
    rate_hz = frontend.extractor.sampling_rate
    samples = load_start(Path(clip.path), config.data.max_duration_s, rate_hz)
    return lambda generator: frontend.inputs(augment.AUGMENTATIONS[arm](samples, rate_hz, generator))


def samples_of(clip: Clip, sample_rate_hz: int, max_duration_s: float) -> int:
    """How many samples `load_start` gives of a clip, without decoding it."""
    limit = max(1, round(max_duration_s * sample_rate_hz))
    if clip.duration_s >= max_duration_s:
        return limit
    own = round(clip.duration_s * clip.sample_rate_hz)
    # As libsoxr rounds.
    return min(limit, int(own / (clip.sample_rate_hz / sample_rate_hz) + 0.5))


def _targets(labels: Sequence[tuple[str, ...]], classes: tuple[str, ...], problem: ProblemType) -> torch.Tensor:
    if problem == "multi_label_classification":
        return torch.from_numpy(metrics.multi_hot(labels, classes).astype(np.float32))
    index = {label: i for i, label in enumerate(classes)}
    first = [next((index[name] for name in names if name in index), NO_CLASS) for names in labels]
    return torch.tensor(first, dtype=torch.long)


def _warn_of_empty(added_clips: AddedClips, reporter: Reporter) -> None:
    for arm, of_arm in added_clips.items():
        if not of_arm:
            kind = "synthetic" if arm == "synthio" else "retrieved"
            reporter.warn(f"there are no {kind} clips: the {arm} arm trains on the real clips alone, as gold does")


def unheard(duration_s: float, heard_s: float) -> float:
    """Seconds that a classifier which hears ``heard_s`` does not hear of a clip; 0 where it is but a hop."""
    return duration_s - heard_s if duration_s > heard_s + _ROUNDING_S else 0.0


def unheard_warnings(clips: Sequence[Clip], heard_s: float) -> list[str]:
    """When clips are longer than what the classifier hears (`fit_frontend`)."""
    cut = sum(unheard(clip.duration_s, heard_s) > 0 for clip in clips)
    if not cut:
        return []
    return [
        f"{cut} of {len(clips)} clips are longer than the {heard_s:.1f} s that the classifier hears, which most of the "
        "training clips fit in: only their beginning counts, so cut them where the sound is"
    ]


def draw_real(real: Sequence[str], sampling: Sampling, draws: int, run_seed: int, seed: int) -> npt.NDArray[np.int64]:
    """Which real clip each of the ``draws`` slots of a training takes first, ``(draws,)``, the same for all arms.

    ``real``: the clips' keys (see `ArmExamples`), which are their classes where each clip has one label."""
    generator = numpy_generator(run_seed, "train", seed, "real")
    if sampling == "class-balanced":
        return balanced_passes(real, draws, generator)
    return shuffled_passes(len(real), draws, generator)


def draw_batches(
    slots: npt.NDArray[np.int64],
    real: Sequence[str],
    added: Sequence[str],
    added_share: float,
    run_seed: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Which example each slot of a training takes, ``(draws,)``; added ones count from ``len(real)`` on.

    ``slots``: as of `draw_real`; ``real`` and ``added``: the clips' keys. With probability ``added_share`` an added
    clip of the same key takes the place of the slot's real one, from shuffled passes over those. So every arm sees
    every class as often as gold does, whatever was filtered out, and a real clip whose key has no added clips stays.
    """
    slots = slots.copy()
    drawn = numpy_generator(run_seed, "train", seed, "share").random(len(slots)) < added_share
    slot_keys = np.array(real)[slots]
    added_keys = np.array(added)
    for key in sorted(set(added)):
        places, own = np.flatnonzero(drawn & (slot_keys == key)), np.flatnonzero(added_keys == key)
        order = shuffled_passes(len(own), len(places), numpy_generator(run_seed, "train", seed, "added", key))
        slots[places] = len(real) + own[order]
    return slots


# ------------------------------------------------------------------------------------------- one arm with one seed


def fit_in_memory(
    config: RunConfig, data: TrainingData, arm: Arm, seed: int, advance: Advance, reporter: Reporter
) -> tuple[Any, Training]:
    """`fit_arm`; when memory runs out, again with smaller forward passes that add up to the same batches, with which
    later trainings begin.

    Raises: `BackendError` when not even one clip at a time fits.
    """
    while True:
        micro_batch = data.fits.size or config.train.batch_size
        try:
            return fit_arm(config, data, arm, seed, micro_batch, advance)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if micro_batch == 1:
                raise BackendError(
                    "out of memory with one clip at a time; choose a smaller train.model or data.max_duration_s"
                ) from error
            data.fits.size = smaller_divisor(config.train.batch_size, micro_batch)
        clear_device_cache()
        reporter.warn(f"out of memory: starting again with {data.fits.size} clips per forward pass, same batches")


def smaller_divisor(batch_size: int, micro_batch: int) -> int:
    """The largest divisor of ``batch_size`` that is at most half of ``micro_batch`` (2 or more)."""
    return next(size for size in range(micro_batch // 2, 0, -1) if batch_size % size == 0)


def fit_arm(
    config: RunConfig, data: TrainingData, arm: Arm, seed: int, micro_batch: int, advance: Advance
) -> tuple[Any, Training]:
    """Fine-tune one classifier, ``micro_batch`` clips at once; returns it with its best validation weights.

    The new head and the order of the real clips depend on the seed and not on the arm.
    """
    started = time.monotonic()
    real, added, valid = data.real, data.added[arm], data.examples["valid"]
    draws = config.train.steps * config.train.batch_size
    slots = draw_real(real.keys, config.train.sampling, draws, config.seed, seed)
    order = draw_batches(slots, real.keys, added.keys, added_share(config, data, arm), config.seed, seed)
    # Trainer also seeds NumPy's old generator, which takes 32 bits.
    unit_seed = derive_seed(config.seed, "train", seed) % 2**32
    model = load_classifier(data.source, data.frontend, data.classes, data.problem_type, unit_seed)
    optimisation = Optimisation(config.train, micro_batch, resolve_device(config.train.device), unit_seed)
    # Joined without a copy: of thousands of clips it would be gigabytes.
    examples = real.examples + added.examples
    best, curve = fine_tune(model, examples, order, valid if len(valid) else None, optimisation, advance)
    training = Training(
        arm=arm,
        seed=seed,
        n_train=len(real.keys),
        n_added=len(added.keys),
        steps=config.train.steps,
        seconds=time.monotonic() - started,
        heard_s=data.frontend.max_samples / data.source.sample_rate_hz,
        best=best,
        curve=curve,
    )
    return model, training


def added_share(config: RunConfig, data: TrainingData, arm: Arm) -> float:
    """Expected share of added clips in a batch: the gate's, the recipe's, or ``N / (N + 1)``, as with N per real clip
    and every clip drawn equally often; it does not depend on how many the filter accepted."""
    share = data.shares.get(arm, config.train.synthetic_share)
    n = config.imagine.captions_per_clip
    return n / (n + 1) if share is None else share
