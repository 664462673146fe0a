"""Which versions are installed here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("synthio", "torch", "diffusers", "transformers", "peft", "accelerate")


def versions() -> dict[str, str]:
    """Of Python, the platform and the packages that matter."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
