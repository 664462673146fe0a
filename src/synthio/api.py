"""The Python API: the command line's verbs as functions."""

from __future__ import annotations

import operator
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from synthio.backends.modes import own_modes
from synthio.backends.quiet import quiet
from synthio.config import LONGEST_S, RunConfig, T2AConfig
from synthio.errors import BackendError, ConfigError, DataError
from synthio.progress import Reporter
from synthio.recipes import apply_overrides, load_recipe, validate

if TYPE_CHECKING:
    import torch

    from synthio.audio import Waveform
    from synthio.backends.classifier import TrainedClassifier
    from synthio.backends.text_to_audio import TextToAudio
    from synthio.pipeline import Pipeline

_Generator = Literal["aligned", "base"]
#: Of a clip that is generated, and of a window.
_SHORTEST_S = 0.1


def load_config(recipe: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a recipe: a file, its content as a mapping (without ``include``), or one that was read before,
    to be changed.

    ``overrides``: ``a.b=value``, as on the command line. Raises: `ConfigError` listing every problem, and for the
    recipe of a run that lies elsewhere than it says.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"the overrides are {overrides!r}; expected a list of them, such as [{overrides!r}]")
    if isinstance(recipe, Mapping | RunConfig):
        return validate(apply_overrides(_as_in_file(recipe), overrides, RunConfig), RunConfig, "the recipe")
    config = load_recipe(Path(recipe), overrides, RunConfig)
    if all(override.partition("=")[0].strip() != "run_folder" for override in overrides):
        _check_not_moved(Path(recipe), config.run_folder)
    return config


def _as_in_file(value: Any) -> Any:
    """As a recipe file has it: mappings for sections, text for paths, and of a section only what was set."""
    if isinstance(value, BaseModel):
        return _as_in_file(value.model_dump(exclude_unset=True))
    if isinstance(value, Mapping):
        return {name: _as_in_file(own) for name, own in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _check_not_moved(recipe: Path, run_folder: Path) -> None:
    from synthio.store import RUN_RECIPE, holds_run

    home = recipe.parent
    if recipe.name == RUN_RECIPE and home.resolve() != run_folder.resolve() and holds_run(home):
        raise ConfigError(
            f"{recipe}: lies in the folder of a run, and its run_folder is {run_folder}, which is another: the run was "
            f"moved or copied, or you are in another folder than then; add "
            f"run_folder={shlex.quote(str(home))} for the run here, or the place that you mean"
        )


def run(config: RunConfig, reporter: Reporter | None = None) -> Pipeline:
    """Run every stage, or resume; `Pipeline.finished` of what is returned reads the results.

    ``reporter``: what tells of progress, such as a `ConsoleReporter`; nothing when None.
    Raises: `ConfigError` for what is no `RunConfig`; every other `SynthioError`.
    """
    from synthio.pipeline import Pipeline

    if not isinstance(config, RunConfig):
        raise ConfigError(f"expected a RunConfig, as load_config makes of a recipe, found {type(config).__name__}")
    pipeline = Pipeline(config, reporter or Reporter())
    pipeline.run()
    return pipeline


@dataclass(frozen=True)
class FilePrediction:
    """What a trained classifier says of one file, or of one window of it."""

    path: Path
    start_s: float
    """Where in the file it begins to listen."""
    end_s: float
    """Where it stops."""
    labels: tuple[str, ...] = ()
    """The most probable class; of a classifier of several labels per clip, those above one half."""
    scores: dict[str, float] = field(default_factory=dict)
    """Probability per class; empty when the file, or the window, cannot be used."""
    failed: str | None = None
    """Why."""
    unheard_s: float = 0.0
    """How much longer the file is than what the classifier hears, which is its beginning; 0 with windows."""


def predict(
    model: str | Path,
    files: str | Path | Iterable[str | Path],
    *,
    window_s: float | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> Iterator[FilePrediction]:
    """Classify audio files with a classifier that a run trained (its ``model`` folder), as it was tested.

    ``files``: one or several, or folders, for all audio files in them. Every file is heard as the test clips were: at
    the same rate, cut or padded in the same way. ``window_s``: long recordings are heard in windows of so many seconds,
    one after the other, each as a clip. What is silent as far as it is heard has failed. Results in order.
    A file that cannot be heard has failed too, and says why; it raises nothing.
    ``batch_size``: files or windows at once.
    Raises: `ModelError` for the model, `ConfigError` for a device that is not here, a window that is too short, or
    longer than what the classifier hears, and a batch of nothing; once results are asked for, `DataError` for a folder
    without audio files.
    """
    from synthio.arms import unheard
    from synthio.backends.classifier import load_trained
    from synthio.backends.devices import resolve_device
    from synthio.files import with_folders

    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
    with own_modes():
        trained = load_trained(str(model))
    place = resolve_device(device)
    heard_s = trained.frontend.max_samples / trained.frontend.extractor.sampling_rate
    if window_s is not None and not (window_s >= _SHORTEST_S and unheard(window_s, heard_s) == 0):
        raise ConfigError(f"the window is {window_s:g} s; expected {_SHORTEST_S:g} to the {heard_s:.2f} s heard")
    given = [files] if isinstance(files, str | Path) else files
    stretches = _stretches(with_folders(Path(file) for file in given), trained, heard_s, window_s)
    return _predict(trained, stretches, place, batch_size)


@dataclass(frozen=True)
class _Stretch:
    """What is heard at once."""

    said: FilePrediction
    """Without labels."""
    samples: Waveform | None
    """None when it has failed."""


def _stretches(
    paths: Iterable[Path], trained: TrainedClassifier, heard_s: float, window_s: float | None
) -> Iterator[_Stretch]:
    from synthio import audio
    from synthio.arms import unheard

    rate_hz = trained.frontend.extractor.sampling_rate
    for path in paths:
        try:
            if window_s is not None:
                for start_s, end_s, samples in audio.windows(path, window_s, rate_hz):
                    yield _stretch(FilePrediction(path, start_s, end_s), samples, "is silent")
                continue
            samples, whole_s = audio.load_start(path, heard_s, rate_hz), audio.duration_s(path)
            unheard_s = unheard(whole_s, heard_s)
            said = FilePrediction(path, 0.0, whole_s - unheard_s, unheard_s=unheard_s)
            yield _stretch(said, samples, f"is silent in its first {heard_s:.1f} s, and the classifier hears no more")
        except DataError as error:
            yield _Stretch(FilePrediction(path, 0.0, 0.0, failed=str(error).removeprefix(f"{path}: ")), None)


def _stretch(said: FilePrediction, samples: Waveform, silent: str) -> _Stretch:
    from synthio.audio import is_silent, why_silent

    if is_silent(samples):
        why = why_silent(said.path, said.start_s, said.end_s, silent)
        return _Stretch(replace(said, failed=why, unheard_s=0.0), None)
    return _Stretch(said, samples)


def _predict(
    trained: TrainedClassifier, stretches: Iterator[_Stretch], device: torch.device, batch_size: int
) -> Iterator[FilePrediction]:
    from synthio import metrics
    from synthio.backends.fine_tuning import predict

    decide = metrics.top_class if trained.is_single_label else metrics.above_half
    while batch := list(islice(stretches, batch_size)):
        inputs = [trained.frontend.inputs(s.samples) for s in batch if s.samples is not None]
        with own_modes(), quiet("transformers"):
            rows = iter(predict(trained.model, inputs, batch_size, device))
        for stretch in batch:
            if stretch.samples is None:
                yield stretch.said
                continue
            row = next(rows)
            (chosen,) = decide(row[None])
            labels = tuple(label for label, yes in zip(trained.classes, chosen, strict=True) if yes)
            yield replace(stretch.said, labels=labels, scores=dict(zip(trained.classes, row.tolist(), strict=True)))


@dataclass(frozen=True)
class GeneratedClip:
    """What `generate_clip` made."""

    path: Path
    model: _Generator
    """The generator with the run's adapter on it, or as it was before alignment."""


def generate_clip(
    prompt: str,
    output: str | Path,
    *,
    duration_s: float = 2.0,
    seed: int = 0,
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
) -> GeneratedClip:
    """One clip from one prompt into ``output`` (FLAC or WAV, by its name), with the run's aligned model when ``config``
    has one. Where its alignment is not finished the base model makes the clip, and a note says so.

    Raises: `ConfigError` for another kind of file, an empty prompt, a duration or a seed that no clip can have;
    `DataError` when the data of ``config`` cannot be read; `ModelError`, `BackendError`, `StoreError`.
    """
    from synthio import audio
    from synthio.backends.text_to_audio import generate_each
    from synthio.writing import replacing

    seed = operator.index(seed)
    _check_wanted(prompt, duration_s, seed)
    output = Path(output)
    container = audio.CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise ConfigError(f"{output}: expected a name that ends in {' or '.join(audio.CONTAINERS)}")
    # This imports diffusers, which takes seconds.
    with own_modes(), quiet("transformers", "diffusers"):
        generator, model = _generator(config, reporter or Reporter())
        if duration_s > generator.longest_s:
            raise ConfigError(f"the duration is {duration_s:g} s; this model makes {generator.longest_s:g} s at most")
        (samples,) = generate_each(generator, [prompt], duration_s, [seed])
        if isinstance(samples, str):
            raise BackendError(samples)
    with replacing(output) as partial:
        audio.write(partial, samples, generator.sample_rate_hz, container)
    return GeneratedClip(output, model)


def _check_wanted(prompt: str, duration_s: float, seed: int) -> None:
    if not prompt.strip():
        raise ConfigError("the prompt is empty; expected a sound, such as 'Sound of a flute'")
    if not _SHORTEST_S <= duration_s <= LONGEST_S:
        raise ConfigError(f"the duration is {duration_s:g} s; expected {_SHORTEST_S:g} to {LONGEST_S} s")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"the seed is {seed}; expected 0 to 2^63 - 1")


def _generator(config: RunConfig | None, reporter: Reporter) -> tuple[TextToAudio, _Generator]:
    from synthio.backends.diffusers_pipelines import load_pipeline
    from synthio.models import Models
    from synthio.pipeline import Pipeline

    if config is None:
        return load_pipeline(T2AConfig()), "base"
    pipeline = Pipeline(config, Reporter(), ())
    models = Models(config, pipeline.root, lambda: pipeline.folders.align, reporter)
    if config.align.method == "none":
        return models.base_generator, "base"
    if pipeline.folders.awaits_alignment:
        reporter.note(
            f"alignment is not finished for this recipe in {pipeline.root}: the clip is of the base model; "
            "`synthio align` with the same recipe and overrides makes the aligned one"
        )
        return models.base_generator, "base"
    if not models.is_aligned:
        reporter.note("alignment kept the base model: the clip is of it")
    return models.generator, "aligned" if models.is_aligned else "base"
