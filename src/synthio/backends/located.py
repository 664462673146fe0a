"""Where the files of a model are, a folder or the cache of the hub, and what its settings tell before it loads."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

from huggingface_hub.errors import HFValidationError

from synthio.backends import pocket
from synthio.errors import ModelError
from synthio.recipes import user_path


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
