"""What a model is, for stage keys and the report: a hub id with its revision, or a digest of a local folder; and what
language models are asked."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from synthio.backends import pocket
from synthio.backends.located import local_folder
from synthio.files import files_below

_SHIPPED = frozenset({"t2a", "clap", "classifier"})
#: Files of ``prompts/`` by the stage that uses them.
_PROMPTS = {
    "caption": ("caption", "tags"),
    "imagine": ("extract", "extract.fewshot", "mix", "mix.fewshot", "reflect", "reflect.fewshot", "openings"),
}


def model_identity(part: str, model: str, revision: str | None = None) -> str:
    """A short string that changes when the model does.

    A local folder is known by its files' names, sizes and modification times; the pocket models by their contents.
    """
    if model == "pocket":
        return f"pocket-{pocket.digest(part)}" if part in _SHIPPED else f"pocket-{part}"
    folder = local_folder(model)
    if folder is None:
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for path in _files(folder):
        stat = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}\x1e".encode())
    return f"{folder.name}-{digest.hexdigest()[:12]}"


def model_content(part: str, model: str, revision: str | None = None) -> str:
    """As `model_identity`, but the same on every machine: a local folder is known by its files' names and contents."""
    folder = local_folder(model)
    if folder is None:
        return model_identity(part, model, revision)
    return _content(folder, model_identity(part, model))


@cache
def _content(folder: Path, _identity: str) -> str:
    # The identity is there for the cache: gigabytes are read again only when they have changed.
    digest = hashlib.sha256()
    for path in _files(folder):
        with path.open("rb") as content:
            own = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\x1f{own}\x1e".encode())
    return digest.hexdigest()[:12]


def _files(folder: Path) -> list[Path]:
    """Every file below, hidden ones and those in linked folders too, sorted; but for cards, which no model reads."""
    found = files_below(folder, lambda name: False)
    return sorted(path for path in found if path.is_file() and path.name != "README.md")


def prompts_identity(stage: str) -> str:
    """A short string that changes with the prompts of a stage, ``caption`` or ``imagine``."""
    folder = files("synthio").joinpath("prompts")
    texts = [folder.joinpath(f"{name}.txt").read_bytes() for name in _PROMPTS[stage]]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]
