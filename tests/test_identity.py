"""What a model is called in keys: moved or copied it is the same, changed it is another."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from synthio.backends import pocket
from synthio.backends.audio_llm import TransformersCaptioner
from synthio.backends.clap import load_clap
from synthio.backends.classifier import find_classifier
from synthio.backends.identity import check_model, local_folder, longest_learnt_s, model_content, model_identity
from synthio.backends.local_llm import LocalLanguageModel
from synthio.config import ClapConfig
from synthio.errors import ModelError
from synthio.progress import Reporter


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


class GatedHub(BaseHTTPRequestHandler):
    """A hub on which everything is gated, and the caller has no access."""

    def do_HEAD(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to model owner/name is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, format: str, *args: object) -> None:
        """Not on the tests' stderr."""


@pytest.fixture
def gated_hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GatedHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LOADERS = """
from synthio.backends.audio_llm import TransformersCaptioner
from synthio.backends.classifier import find_classifier
from synthio.backends.clap import load_clap
from synthio.backends.local_llm import LocalLanguageModel
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.config import ClapConfig, T2AConfig
from synthio.errors import ModelError
from synthio.progress import Reporter

for load in (
    lambda: load_pipeline(T2AConfig(model="owner/name", device="cpu")),
    lambda: load_clap(ClapConfig(model="owner/name", device="cpu"), Reporter()),
    lambda: find_classifier("owner/name"),
    lambda: LocalLanguageModel("owner/name", None, "cpu", 1, Reporter()),
    lambda: TransformersCaptioner("owner/name", None, "cpu", 1, Reporter()),
):
    try:
        load()
    except ModelError as error:
        print(" ".join(str(error).split()))
"""


def test_a_gated_model_is_told_from_a_wrong_name(gated_hub: str, tmp_path: Path) -> None:
    """With a licence to accept, the advice was to check the name."""
    # In a process of its own: huggingface_hub reads these where it is imported.
    hub = {"HF_ENDPOINT": gated_hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(
        [sys.executable, "-c", LOADERS], env={**os.environ, **hub}, capture_output=True, text=True, timeout=300
    )
    told = ran.stdout.splitlines()
    assert len(told) == 5, ran.stderr
    advice = "it is gated: accept its licence at https://huggingface.co/owner/name, then `hf auth login`"
    assert [advice in line for line in told] == [True] * 5
    assert not any("the name and the network" in line for line in told)


@pytest.mark.parametrize("setting", [{"HF_HUB_OFFLINE": "YES"}, {"TRANSFORMERS_OFFLINE": "1"}])
def test_doctor_says_offline_where_the_hub_is_not_asked(setting: dict[str, str]) -> None:
    """It knew of HF_HUB_OFFLINE=1 alone."""
    others = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    ask = "from synthio.doctor import examine; print(examine(None)['offline'])"
    ran = subprocess.run([sys.executable, "-c", ask], env=others | setting, capture_output=True, text=True, timeout=300)
    assert ran.stdout == "True\n", ran.stderr


@pytest.mark.parametrize(
    "load",
    [
        lambda model: load_clap(ClapConfig(model=model, device="cpu"), Reporter()),
        find_classifier,
        lambda model: LocalLanguageModel(model, None, "cpu", 1, Reporter()),
        lambda model: TransformersCaptioner(model, None, "cpu", 1, Reporter()),
    ],
    ids=["clap", "classifier", "language model", "captioner"],
)
def test_code_of_a_model_is_neither_run_nor_asked_about(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asked on the terminal, in the midst of a progress bar, and advised a setting that is not here."""
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
    kinds = ("Config", "Model", "ModelForCausalLM", "ModelForAudioClassification")
    auto_map = {f"Auto{kind}": f"own.{kind}" for kind in kinds}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto_map}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="never runs.* choose a model of a family that is in transformers") as caught:
        load(str(tmp_path))
    assert "trust_remote_code" not in str(caught.value)
    assert not asked and not (tmp_path / "ran").exists()


def build(built: list[Path], folder: Path) -> None:
    """A cache entry; ``built`` counts."""
    built.append(folder)
    assert not list(folder.iterdir())
    (folder / "config.json").write_text("{}")


def test_a_cache_may_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built in a temporary folder, a model could be read by whoever had built it alone."""
    built: list[Path] = []
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    tmp_path.chmod(0o755)
    made = pocket._cached("ast", "1", partial(build, built))
    assert made.stat().st_mode & 0o777 == 0o755
    assert pocket._cached("ast", "1", partial(build, built)) == made and len(built) == 1


def test_the_prepared_generator_says_what_it_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by its folder, the pocket generator was asked for clips of any length, which are noise."""
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    assert longest_learnt_s(str(pocket.t2a_folder())) == longest_learnt_s("pocket") == 5


def test_the_cache_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SYNTHIO_CACHE", "~/models")
    assert pocket.cache_folder() == tmp_path / "models"


def test_a_killed_or_failed_build_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        build([], folder)
        raise ModelError("the wheel is damaged")

    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="damaged"):
        pocket._cached("ast", "1", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    # As a kill leaves it.
    (tmp_path / ".ast-1.partial" / "ast-1").mkdir(parents=True)
    (tmp_path / ".ast-1.partial" / "ast-1" / "half.safetensors").touch()
    made = pocket._cached("ast", "1", partial(build, []))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [made]
    assert [path.name for path in made.iterdir()] == ["config.json"]


def test_two_processes_build_one_cache_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []
    monkeypatch.setenv("SYNTHIO_CACHE", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: pocket._cached("ast", "1", partial(build, built)), range(4)))
    assert len(set(folders)) == len(built) == 1
