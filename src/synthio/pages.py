"""Pages of HTML from the templates of the package. All that they show is escaped, whatever a user's text holds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from synthio.formats import FORMATTERS, printable, sentence


def render(template: str, **values: Any) -> str:
    """The page of ``templates/<template>.html.j2``; a value that it asks for and is not given is an error.

    Plain strings lose their control characters (`formats.printable`). Only what has a method ``__html__`` is put in as
    it is.
    """
    return _environment().get_template(f"{template}.html.j2").render(**values).lstrip()


def _finalize(value: Any) -> Any:
    """Clean every plain string before it is escaped; charts and numbers pass."""
    return printable(value) if type(value) is str else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("synthio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(FORMATTERS, sentence=sentence)
    return environment
