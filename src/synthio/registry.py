"""What other packages add to a recipe's choices: plug-ins, found by their entry points (docs/plugins.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from synthio.errors import ConfigError, SynthioError

#: Entry-point groups, by the key of the recipe that names a plug-in.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "data.reader": "synthio.readers",
        "caption.kind": "synthio.captioners",
        "imagine.kind": "synthio.language_models",
        "t2a.kind": "synthio.text_to_audio",
    }
)


@dataclass(frozen=True)
class Choice:
    """Validates a name: one that is built in, or that of a plug-in."""

    key: str
    """Of the recipe."""
    built_in: tuple[str, ...]

    def __call__(self, name: str) -> str:
        """As it was written. Raises: `ValueError` for a name that is neither."""
        if name in self.built_in:
            return name
        added = plugins(self.key)
        if name not in added:
            others = f"the plug-ins {', '.join(added)}" if added else f"a plug-in (none is installed for {self.key})"
            raise ValueError(f"expected {', '.join(self.built_in)}, or {others}")
        return name


def plugins(key: str) -> list[str]:
    """Names of the plug-ins for a key of the recipe, sorted; none of them is imported."""
    return sorted(entry_points(group=GROUPS[key]).names)


def packages_of(key: str, name: str) -> list[str]:
    """``birdcap 0.1``: the packages that add a plug-in of that name, with their versions; there should be one."""
    return sorted(_entries(key, name))


def package_of(key: str, name: str) -> str:
    """The one package that adds a plug-in, with its version. Raises: `ConfigError` where two do."""
    return _package(_entry(key, name))


def said_of(key: str, name: str) -> str:
    """``caption.kind=birds of birdcap 0.1``: a plug-in, as messages name it. Raises: as `package_of`."""
    return f"{key}={name} of {package_of(key, name)}"


def load_plugin(key: str, name: str) -> Any:
    """Import a plug-in. Raises: `ConfigError` for one that cannot be imported, or that two packages add."""
    entry = _entry(key, name)
    try:
        with redirect_stdout(sys.stderr):
            return entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{key}={name} cannot be imported from {entry.value!r} of {_package(entry)} "
            f"({type(error).__name__}: {error}); install that package again, with what it needs, or tell its authors"
        ) from error


def _never(error: Exception) -> bool:
    return False


@contextmanager
def at_work(plugin: str, failure: type[SynthioError], passes: Callable[[Exception], bool] = _never) -> Iterator[None]:
    """Around every call of a plug-in: standard output is for results, so what it prints goes to standard error.

    ``plugin``: as `said_of`; ``passes``: which errors whoever calls can go on from, beside a `SynthioError`.
    Raises: ``failure`` for any other error, saying whose it is.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SynthioError:
        raise
    except Exception as error:
        if passes(error):
            raise
        raise failure(f"{plugin} failed: {type(error).__name__}: {error}") from error


def _entry(key: str, name: str) -> EntryPoint:
    entries = _entries(key, name)
    if len(entries) > 1:
        raise ConfigError(f"{key}={name} is of {' and of '.join(sorted(entries))}; uninstall one")
    (entry,) = entries.values()
    return entry


def _entries(key: str, name: str) -> dict[str, EntryPoint]:
    # A folder that is twice in the path has the same one twice.
    return {_package(entry): entry for entry in entry_points(group=GROUPS[key], name=name)}


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
