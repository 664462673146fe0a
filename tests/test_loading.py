"""What is said of models that cannot be loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from synthio.backends.audio_llm import TransformersCaptioner
from synthio.backends.clap import load_clap
from synthio.backends.classifier import find_classifier
from synthio.backends.local_llm import LocalLanguageModel
from synthio.config import ClapConfig
from synthio.errors import ModelError
from synthio.progress import Reporter


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
