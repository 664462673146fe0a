"""The Python API: the command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthio.config import RunConfig, T2AConfig
from synthio.errors import ConfigError
from synthio.pipeline import Pipeline
from synthio.progress import Reporter
from synthio.recipes import load_recipe


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a recipe. Raises: `ConfigError` listing every problem."""
    return load_recipe(Path(recipe), overrides, RunConfig)


def run(config: RunConfig, reporter: Reporter | None = None) -> Pipeline:
    """Run every stage, or resume; the returned pipeline reads the results (`rounds`, `predictions`, `dataset`)."""
    pipeline = Pipeline(config, reporter or Reporter())
    pipeline.run()
    return pipeline


def generate_clip(
    prompt: str, output: str | Path, *, duration_s: float = 2.0, seed: int = 0, config: RunConfig | None = None
) -> Path:
    """One clip from one prompt into ``output`` (FLAC or WAV, by its name), with the run's aligned model when ``config``
    has one.

    Raises: `ConfigError` for another kind of file; `ModelError`, `BackendError`, `StoreError`.
    """
    from synthio import audio
    from synthio.backends.text_to_audio import load_text_to_audio
    from synthio.store import replacing

    output = Path(output)
    container = audio.CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise ConfigError(f"{output}: expected a name that ends in {' or '.join(audio.CONTAINERS)}")
    generator = load_text_to_audio(T2AConfig()) if config is None else Pipeline(config, Reporter()).generator()
    samples = generator.generate([prompt], duration_s, [seed])[0]
    with replacing(output) as partial:
        audio.write(partial, samples, generator.sample_rate_hz, container)
    return output
