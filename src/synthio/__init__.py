"""Synthio: turn 50 to 500 labelled audio clips into a better classifier with aligned synthetic audio.

    from synthio import load_config, run
    pipeline = run(load_config("recipe.yaml"))
    pipeline.root / "report" / "index.html"

Importing this package loads no model library; names below load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthio.api import FilePrediction, GeneratedClip, generate_clip, load_config, predict, run
    from synthio.config import RunConfig
    from synthio.errors import (
        BackendError,
        ConfigError,
        DataError,
        MissingArtefact,
        MissingDependency,
        ModelError,
        StoreError,
        SynthioError,
    )
    from synthio.pipeline import Pipeline
    from synthio.progress import ConsoleReporter, Reporter
    from synthio.results import FinishedRun

__version__ = "0.1.0"

_PUBLIC = {
    "BackendError": "synthio.errors",
    "ConfigError": "synthio.errors",
    "ConsoleReporter": "synthio.progress",
    "DataError": "synthio.errors",
    "FilePrediction": "synthio.api",
    "FinishedRun": "synthio.results",
    "GeneratedClip": "synthio.api",
    "MissingArtefact": "synthio.errors",
    "MissingDependency": "synthio.errors",
    "ModelError": "synthio.errors",
    "Pipeline": "synthio.pipeline",
    "Reporter": "synthio.progress",
    "RunConfig": "synthio.config",
    "StoreError": "synthio.errors",
    "SynthioError": "synthio.errors",
    "generate_clip": "synthio.api",
    "load_config": "synthio.api",
    "predict": "synthio.api",
    "run": "synthio.api",
}
__all__ = [
    "BackendError",
    "ConfigError",
    "ConsoleReporter",
    "DataError",
    "FilePrediction",
    "FinishedRun",
    "GeneratedClip",
    "MissingArtefact",
    "MissingDependency",
    "ModelError",
    "Pipeline",
    "Reporter",
    "RunConfig",
    "StoreError",
    "SynthioError",
    "__version__",
    "generate_clip",
    "load_config",
    "predict",
    "run",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'synthio' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
