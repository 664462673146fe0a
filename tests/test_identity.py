"""What a model is called in keys: moved or copied it is the same, changed it is another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthio.backends.identity import model_content, model_identity
from synthio.backends.located import local_folder


def model(folder: Path, weights: bytes = b"weights") -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "model.safetensors").write_bytes(weights)
    return folder


def test_contents_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """Shards of a bench could not be joined when a model was downloaded twice: its files' times differed."""
    here, there = model(tmp_path / "a" / "ast"), model(tmp_path / "b" / "other")
    os.utime(there / "config.json", (1, 1))
    assert model_content("classifier", str(here)) == model_content("classifier", str(there))
    (there / "sub" / "model.safetensors").write_bytes(b"other weights")
    assert model_content("classifier", str(here)) != model_content("classifier", str(there))
    # Once more, now that both are in the cache.
    os.utime(here / "config.json", (2, 2))
    (here / "config.json").rename(here / "config2.json")
    assert model_content("classifier", str(here)) != model_content("classifier", str(model(tmp_path / "c")))


def test_a_home_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New weights under `~` once had the key of the old ones."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = model(tmp_path / "ast")
    before = model_identity("classifier", "~/ast"), model_content("classifier", "~/ast")
    (folder / "sub" / "model.safetensors").write_bytes(b"other")
    assert model_identity("classifier", "~/ast") != before[0]
    assert model_content("classifier", "~/ast") != before[1]


def test_weights_in_a_linked_folder_count(tmp_path: Path) -> None:
    """They were in no key: new weights had the results of the old ones."""
    plain, shared = model(tmp_path / "plain"), model(tmp_path / "shared")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "config.json").write_text("{}")
    (linked / "sub").symlink_to(shared / "sub")
    (shared / "sub" / "circle").symlink_to(linked)
    assert model_content("classifier", str(linked)) == model_content("classifier", str(plain))
    before = model_identity("classifier", str(linked)), model_content("classifier", str(linked))
    (shared / "sub" / "model.safetensors").write_bytes(b"other")
    assert model_identity("classifier", str(linked)) != before[0]
    assert model_content("classifier", str(linked)) != before[1]


def test_a_folder_called_pocket_is_not_the_pocket_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "pocket")
    assert local_folder("pocket") is None and local_folder("./pocket") is not None
    assert model_content("clap", "pocket") != model_content("clap", "./pocket")


def test_hub_ids_have_their_revision_and_pocket_models_their_digest() -> None:
    assert model_content("clap", "owner/name", "v1") == model_identity("clap", "owner/name", "v1") == "owner/name@v1"
    assert model_content("clap", "pocket") == model_identity("clap", "pocket")
