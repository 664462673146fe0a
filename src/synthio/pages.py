"""Pages of HTML and Markdown from the templates of the package. All that they show is escaped, whatever users wrote."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from synthio.formats import FORMATTERS, interval, markdown, printable, sentence


def render(template: str, **values: Any) -> str:
    """The page of ``templates/<template>.html.j2``; a value that it asks for and is not given is an error.

    Plain strings lose their control characters (`formats.printable`). Only what has a method ``__html__`` is put in as
    it is.
    """
    return _html().get_template(f"{template}.html.j2").render(**values).lstrip()


def render_markdown(template: str, **values: Any) -> str:
    """As `render`, of ``templates/<template>.md.j2``: strings stand there as they are, and mark nothing."""
    return _markdown().get_template(f"{template}.md.j2").render(**values).lstrip() + "\n"


def code(message: str) -> Markup:
    """A message as HTML, what it has between backticks as code; an odd backtick is somebody's own."""
    parts = [escape(printable(part)) for part in message.split("`")]
    if len(parts) % 2 == 0:
        return Markup("`").join(parts)
    return Markup().join(Markup("<code>{}</code>").format(part) if k % 2 else part for k, part in enumerate(parts))


@lru_cache(maxsize=1)
def _html() -> Environment:
    # Cleaned before it is escaped.
    environment = _environment(printable)
    environment.filters["code"] = code
    return environment


@lru_cache(maxsize=1)
def _markdown() -> Environment:
    # Escaped for Markdown, which takes HTML too.
    return _environment(lambda text: Markup(markdown(text)))  # noqa: S704


def _environment(clean: Callable[[str], str]) -> Environment:
    """``clean``: what becomes of every plain string; charts and numbers pass."""
    environment = Environment(
        loader=PackageLoader("synthio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters.update(FORMATTERS, interval=interval, sentence=sentence)
    return environment
