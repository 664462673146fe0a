"""Every error that Synthio raises on purpose.

    SynthioError
    ├── ConfigError       a recipe or an override is wrong; lists every problem at once
    ├── DataError         the user's clips or labels cannot be used
    ├── ModelError        a model cannot be loaded, has the wrong family, or (a plug-in's generator) fails
    ├── BackendError      a model or endpoint failed while running
    ├── StoreError        the run folder cannot be read or written
    │   └── MissingArtefact   a stage was asked for before the one that makes its input
    ├── MissingDependency an optional package is needed
    └── BenchIncomplete   some cells of a bench failed; the others are finished

Messages say what was found, what was expected and what to do next.
"""


class SynthioError(Exception):
    """Base class. ``exit_code`` is what the command line returns."""

    exit_code = 1


class ConfigError(SynthioError):
    """A recipe or an override is wrong. The message lists every problem."""

    exit_code = 2


class DataError(SynthioError):
    """The clips or labels given cannot be used."""

    exit_code = 3


class ModelError(SynthioError):
    """A model folder or hub id cannot be loaded, or is of the wrong family; or the generator of a plug-in failed."""

    exit_code = 4


class BackendError(SynthioError):
    """A model or an endpoint failed while running."""

    exit_code = 5


class StoreError(SynthioError):
    """The run folder cannot be read or written."""

    exit_code = 6


class MissingArtefact(StoreError):
    """A stage's input does not exist yet; the message names the stage that makes it."""


class MissingDependency(SynthioError):
    """An optional package is needed; the message says which extra to install."""

    exit_code = 7


class BenchIncomplete(SynthioError):
    """Cells of a bench failed; the message lists them with their reasons, and a second run tries them again."""

    exit_code = 8
