"""What a model is, for stage keys and the report: a hub id with its revision, or a digest of a local folder; and what
language models are asked."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from huggingface_hub.errors import HFValidationError

from synthio.backends import pocket
from synthio.errors import ModelError
from synthio.files import files_below
from synthio.recipes import user_path

_SHIPPED = frozenset({"t2a", "clap", "classifier"})
#: Files of ``prompts/`` by the stage that uses them.
_PROMPTS = {
    "caption": ("caption", "tags"),
    "imagine": ("extract", "extract.fewshot", "mix", "mix.fewshot", "reflect", "reflect.fewshot", "openings"),
}


def local_folder(model: str) -> Path | None:
    """The folder that a model name means; None for ``pocket``, a hub id, or a folder that is not there."""
    folder = user_path(model)
    return folder if model != "pocket" and folder.is_dir() else None


def check_model(key: str, model: str) -> None:
    """Whether a name is a folder here, with all its parts, or may be a hub id, before anything loads.

    Raises: `ModelError`.
    """
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not in __all__

    if (folder := local_folder(model)) is not None:
        if missing := _missing_parts(folder):
            raise ModelError(
                f"{key}={model}: has no folder {', '.join(missing)}, which its model_index.json names; expected a "
                "whole pipeline, as save_pretrained writes it"
            )
        return
    if model == "pocket":
        return
    if user_path(model).exists():
        raise ModelError(f"{key}={model}: is a file; expected `pocket`, a model folder or owner/name")
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise ModelError(
            f"{key}={model}: no such folder here, and no hub id; expected `pocket`, a model folder or owner/name"
        ) from error


def _missing_parts(folder: Path) -> list[str]:
    """The parts of a diffusers pipeline that are not in its folder; none of a folder that is no pipeline's."""
    # A part is a library and a class; one that is left out on purpose has two nulls.
    index = _settings(folder / "model_index.json")
    parts = [name for name, kind in index.items() if isinstance(kind, list) and all(kind)]
    return [name for name in parts if not (folder / name).is_dir()]


def longest_learnt_s(model: str) -> float:
    """The longest clips that a generator of `synthio pretrain t2a` learnt from, beyond which it makes noise; infinite
    for a model that does not say."""
    if model == "pocket":
        return pocket.LONGEST_S
    folder = local_folder(model)
    settings = {} if folder is None else _settings(folder / "duration_embedder" / "config.json")
    told = settings.get(pocket.LONGEST_LEARNT_S)
    return float(told) if isinstance(told, int | float) else math.inf


def _settings(path: Path) -> dict[str, object]:
    """A JSON object of a model's; empty where there is none. How it is damaged is told when the model is loaded."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def cached_snapshot(model: str, revision: str | None) -> Path | None:
    """The folder of the local hub cache with a hub model's revision; None when nothing of it was downloaded,
    and for what is no hub id."""
    from huggingface_hub import try_to_load_from_cache

    with suppress(HFValidationError):
        for file in ("config.json", "model_index.json"):
            if isinstance(found := try_to_load_from_cache(model, file, revision=revision), str):
                return Path(found).parent
    return None


def hub_commit(model: str, revision: str | None) -> str | None:
    """The commit that the local hub cache has of a revision, such as a branch, which moves; None for what is not of the
    hub, or not downloaded."""
    if model == "pocket" or local_folder(model) is not None:
        return None
    snapshot = cached_snapshot(model, revision)
    return None if snapshot is None else snapshot.name


def is_distilled(model: str, revision: str | None) -> bool:
    """Whether a pipeline's sampler is one of few steps that add noise, as of Stable Audio 3; False where it is neither
    in a folder nor in the local hub cache."""
    folder = local_folder(model) or cached_snapshot(model, revision)
    settings = {} if folder is None else _settings(folder / "scheduler" / "scheduler_config.json")
    return settings.get("stochastic_sampling") is True


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
