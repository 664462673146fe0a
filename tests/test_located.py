"""What a name of a model means before anything loads, and what its settings tell."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from synthio.backends import pocket
from synthio.backends.located import check_model, longest_learnt_s
from synthio.errors import ModelError


@pytest.mark.parametrize("name", ["./models/ast", "/nowhere/ast", "a/b/c", "owner/na me"])
def test_what_cannot_be_a_model_is_refused_before_anything_loads(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder here, and no hub id"):
        check_model("t2a.model", name)


def test_a_file_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bare name may be a hub id, and would be looked for there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"t2a\.model=model\.safetensors: is a file"):
        check_model("t2a.model", "model.safetensors")


@pytest.mark.parametrize(
    "content", ["[]", '"x"', "3", "{", '{"_longest_learnt_s": null}', '{"_longest_learnt_s": "5"}']
)
def test_settings_of_a_model_that_are_no_object_are_told_when_it_is_loaded(tmp_path: Path, content: str) -> None:
    """They ended `synthio data check` in a traceback."""
    (tmp_path / "duration_embedder").mkdir()
    for name in ("model_index.json", "duration_embedder/config.json"):
        (tmp_path / name).write_text(content)
    check_model("t2a.model", str(tmp_path))
    assert longest_learnt_s(str(tmp_path)) == math.inf


def test_folders_and_hub_ids_may_be_models(tmp_path: Path) -> None:
    for name in ("pocket", str(tmp_path), "owner/name", "gpt2"):
        check_model("t2a.model", name)


def test_the_prepared_generator_says_what_it_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by its folder, the pocket generator was asked for clips of any length, which are noise."""
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    assert longest_learnt_s(str(pocket.t2a_folder())) == longest_learnt_s("pocket") == 5
