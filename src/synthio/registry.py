"""What other packages add to a recipe's choices: plug-ins, found by their entry points (docs/plugins.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from synthio.errors import ConfigError, SynthioError
from synthio.formats import problems_of

P = TypeVar("P", bound="Plugin")

#: Entry-point groups, by the key of the recipe that names a plug-in.
GROUPS: Mapping[str, str] = {
    "data.reader": "synthio.readers",
    "caption.kind": "synthio.captioners",
    "imagine.kind": "synthio.language_models",
    "t2a.kind": "synthio.text_to_audio",
}


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
            own = "if it is a plug-in's, install its package beside synthio"
            raise ValueError(f"expected {', '.join(self.built_in)}, or {others}; {own}")
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


class NoOptions(BaseModel):
    """Of what has no settings of its own."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """What an entry point is; what is built in has the same form."""

    options: type[BaseModel] = NoOptions
    """What the section's ``options`` may be, which is checked before anything loads."""

    def __post_init__(self) -> None:
        """Raises: `ConfigError` for what no run can use: plug-ins are written without a type checker too."""
        if not (isinstance(self.options, type) and issubclass(self.options, BaseModel)):
            raise ConfigError(
                f"{type(self).__name__}: options is {self.options!r}; expected a class of pydantic's BaseModel"
            )

    def check(self, options: Mapping[str, Any], key: str, name: str) -> None:
        """Whether a recipe's options are its. Raises: `ConfigError` listing every problem."""
        try:
            self.options.model_validate(options)
        except ValidationError as error:
            problems = problems_of(error)
            section = key.partition(".")[0]
            lines = [f"{section}.options for {key}={name}: {len(problems)} problem(s)", *problems]
            raise ConfigError("\n  ".join(lines)) from None


def load_plugin(key: str, name: str, expected: type[P]) -> P:
    """Import a plug-in.

    Raises: `ConfigError` for one that cannot be imported, that two packages add, or that is not what is ``expected``.
    """
    entry = _entry(key, name)
    try:
        with redirect_stdout(sys.stderr):
            found = entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{key}={name} cannot be imported from {entry.value!r} of {_package(entry)} "
            f"({type(error).__name__}: {error}); install that package again, with what it needs, or tell its authors"
        ) from error
    if not isinstance(found, expected):
        raise ConfigError(
            f"{said_of(key, name)} is a {type(found).__name__}; expected a synthio.plugins.{expected.__name__} "
            "(docs/plugins.md)"
        )
    return found


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
