"""The Python API: the command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthio.config import RunConfig, T2AConfig
from synthio.errors import ConfigError, DataError, MissingArtefact
from synthio.pipeline import Pipeline
from synthio.progress import Reporter
from synthio.recipes import load_recipe

if TYPE_CHECKING:
    from synthio.backends.classifier import TrainedClassifier


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a recipe. Raises: `ConfigError` listing every problem."""
    return load_recipe(Path(recipe), overrides, RunConfig)


def run(config: RunConfig, reporter: Reporter | None = None) -> Pipeline:
    """Run every stage, or resume; the returned pipeline reads the results (`rounds`, `predictions`, `dataset`)."""
    pipeline = Pipeline(config, reporter or Reporter())
    pipeline.run()
    return pipeline


@dataclass(frozen=True)
class FilePrediction:
    """What a trained classifier says of one file."""

    path: Path
    labels: tuple[str, ...]
    """The most probable class; of a classifier of several labels per clip, those above one half."""
    scores: dict[str, float]
    """Probability per class; empty when the file cannot be used."""
    failed: str | None = None
    """Why."""
    unheard_s: float = 0.0
    """How much longer the file is than what the classifier hears, which is its beginning."""


def predict(
    model: str | Path, files: str | Path | Iterable[str | Path], *, device: str = "auto", batch_size: int = 16
) -> Iterator[FilePrediction]:
    """Classify audio files with a classifier that a run trained (``stages/train-*/model-*``), as it was tested.

    ``files``: one or several, or folders, for all audio files in them. Every file is heard as the test clips were: at
    the same rate, cut or padded in the same way. What is silent as far as it is heard has failed. Results in order.
    Raises: `ModelError` for the model, `ConfigError` for a device that is not here.
    """
    from synthio.audio import with_folders
    from synthio.backends.classifier import load_trained
    from synthio.backends.devices import resolve_device

    trained, place = load_trained(str(model)), resolve_device(device)
    given = [files] if isinstance(files, str | Path) else files
    return _predict(trained, with_folders(Path(file) for file in given), place, batch_size)


def _predict(trained: TrainedClassifier, paths: list[Path], device: Any, batch_size: int) -> Iterator[FilePrediction]:
    import torch

    from synthio import audio, metrics
    from synthio.arms import unheard
    from synthio.backends.fine_tuning import predict

    decide = metrics.top_class if trained.is_single_label else metrics.above_half
    rate_hz, most = trained.frontend.extractor.sampling_rate, trained.frontend.max_samples
    for start in range(0, len(paths), batch_size):
        heard: dict[Path, torch.Tensor] = {}
        failed: dict[Path, str] = {}
        unheard_s: dict[Path, float] = {}
        for path in paths[start : start + batch_size]:
            try:
                samples = audio.load_start(path, most / rate_hz, rate_hz)
                whole_s = audio.duration_s(path)
            except DataError as error:
                failed[path] = str(error).removeprefix(f"{path}: ")
                continue
            if audio.is_silent(samples):
                failed[path] = f"is silent in its first {most / rate_hz:.1f} s, and the classifier hears no more"
                continue
            heard[path] = torch.from_numpy(trained.frontend.features(samples))
            unheard_s[path] = unheard(whole_s, most / rate_hz)
        inputs = torch.stack(list(heard.values())) if heard else torch.zeros(0)
        scores = predict(trained.model, inputs, batch_size, device)
        rows: dict[Path, Any] = dict(zip(heard, scores, strict=True))
        for path in paths[start : start + batch_size]:
            if path in failed:
                yield FilePrediction(path, (), {}, failed[path])
                continue
            (chosen,) = decide(rows[path][None])
            labels = tuple(label for label, yes in zip(trained.classes, chosen, strict=True) if yes)
            by_class = dict(zip(trained.classes, rows[path].tolist(), strict=True))
            yield FilePrediction(path, labels, by_class, unheard_s=unheard_s[path])


def generate_clip(
    prompt: str, output: str | Path, *, duration_s: float = 2.0, seed: int = 0, config: RunConfig | None = None
) -> Path:
    """One clip from one prompt into ``output`` (FLAC or WAV, by its name), with the run's aligned model when ``config``
    has one.

    Raises: `ConfigError` for another kind of file; `ModelError`, `BackendError`, `StoreError`.
    """
    from synthio import audio
    from synthio.store import replacing

    output = Path(output)
    container = audio.CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise ConfigError(f"{output}: expected a name that ends in {' or '.join(audio.CONTAINERS)}")
    generator = _generator(config)
    samples = generator.generate([prompt], duration_s, [seed])[0]
    with replacing(output) as partial:
        audio.write(partial, samples, generator.sample_rate_hz, container)
    return output


def _generator(config: RunConfig | None) -> Any:
    from synthio.backends.text_to_audio import load_text_to_audio

    if config is None:
        return load_text_to_audio(T2AConfig())
    try:
        return Pipeline(config, Reporter(), ()).generator()
    except MissingArtefact:
        # Nothing of the run is there yet.
        return load_text_to_audio(config.t2a)
