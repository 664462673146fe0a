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
    from synthio.api import generate_clip as generate_clip
    from synthio.api import load_config as load_config
    from synthio.api import predict as predict
    from synthio.api import run as run
    from synthio.config import RunConfig as RunConfig
    from synthio.errors import SynthioError as SynthioError
    from synthio.pipeline import Pipeline as Pipeline
    from synthio.progress import ConsoleReporter as ConsoleReporter
    from synthio.progress import Reporter as Reporter

__version__ = "0.1.0"

_PUBLIC = {
    "ConsoleReporter": "synthio.progress",
    "Pipeline": "synthio.pipeline",
    "Reporter": "synthio.progress",
    "RunConfig": "synthio.config",
    "SynthioError": "synthio.errors",
    "generate_clip": "synthio.api",
    "load_config": "synthio.api",
    "predict": "synthio.api",
    "run": "synthio.api",
}
__all__ = [
    "ConsoleReporter",
    "Pipeline",
    "Reporter",
    "RunConfig",
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
