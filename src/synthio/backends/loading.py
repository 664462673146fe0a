"""How language models are loaded, and what is said of a model that cannot be loaded: why, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import GatedRepoError, StrictDataclassError
from pydantic import ValidationError
from safetensors import SafetensorError

from synthio.backends.devices import is_out_of_memory, language_dtype
from synthio.backends.located import local_folder
from synthio.errors import MissingDependency, ModelError
from synthio.formats import problems_of

if TYPE_CHECKING:
    import torch

#: What Python raises where a library meets something else in a model's files than it looks for.
_UNFORESEEN = (LookupError, TypeError, AttributeError, ArithmeticError)
#: What the libraries raise for a model that is not there, is damaged, or too large, or whose weights do not fit its
#: configuration.
LOADING_ERRORS = (OSError, ValueError, RuntimeError, MemoryError, SafetensorError, StrictDataclassError, *_UNFORESEEN)


def load_transformers_model(family: Any, config: Any, source: str, revision: str | None, device: torch.device) -> Any:
    """A model of a transformers class, ``config`` its loaded configuration, on its device.

    Raises: `LOADING_ERRORS`, for `loading` to tell.
    """
    model = family.from_pretrained(
        source,
        config=config,
        revision=revision,
        dtype=language_dtype(device) or "auto",
        # Straight to its device: else all of it passes through the machine's memory.
        device_map=device,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return model.eval()


@contextmanager
def loading(section: str, model: str, otherwise: str, cure: str = "install it") -> Iterator[None]:
    """Around what a library does to load the ``model`` of a section of the recipe; ``otherwise``: what else to use, and
    ``cure``: what to do where a package is missing.

    Raises: `ModelError` when it cannot be loaded, `MissingDependency` without a package that it needs.
    """
    what = f"{section}.model {model!r}"
    try:
        yield
    except ImportError as error:
        # transformers gives its reason as a paragraph, with line breaks around it.
        reason = " ".join(str(error).split())
        raise MissingDependency(
            f"{what} needs a package that is not installed ({reason}); {cure}, or {otherwise}"
        ) from error
    except LOADING_ERRORS as error:
        advice = _loading_advice(section, model, error)
        raise ModelError(f"{what} cannot be loaded ({loading_reason(error)}); {advice}, or {otherwise}") from error


def _loading_advice(key: str, model: str, error: Exception) -> str:
    """What to do about a model whose weights could not be loaded; ``key`` is its section of the recipe."""
    from transformers.utils import SAFE_WEIGHTS_NAME

    if is_out_of_memory(error):
        half = ", t2a.dtype=float16" if key == "t2a" else ""
        return f"its weights do not fit into the memory of its device: take a smaller model{half} or {key}.device=cpu"
    if _is_gated(error):
        return _gated_advice(model)
    if _needs_code(error):
        return "choose a model of a family that is in transformers"
    no_weights = SAFE_WEIGHTS_NAME in str(error)
    if local_folder(model) is not None:
        return "save it again with save_pretrained, which writes safetensors" if no_weights else "check its files"
    return missing_weights_advice(key) if no_weights else "check the name and the network"


def _needs_code(error: Exception) -> bool:
    """Whether a model is no family of transformers: it comes with code, which is never run or asked about."""
    return "trust_remote_code" in str(error)


def loading_reason(error: Exception) -> str:
    """Why a model cannot be loaded, without the settings that transformers would advise and that are not here."""
    if _needs_code(error):
        return "it needs code that comes with it, which Synthio never runs"
    if "ignore_mismatched_sizes" in str(error):
        return "its weights do not fit config.json"
    if isinstance(error, ValidationError):
        return "; ".join(problems_of(error))
    return f"{type(error).__name__}: {error}" if isinstance(error, _UNFORESEEN) else str(error)


def _is_gated(error: BaseException) -> bool:
    """Whether the hub holds a model back until its licence is accepted: diffusers says that there is no such model."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, GatedRepoError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _gated_advice(model: str) -> str:
    """What to do about a model that `_is_gated`."""
    return (
        f"it is gated: accept its licence at https://huggingface.co/{model}, then `hf auth login` or set HF_TOKEN to a "
        "token of that account"
    )


def missing_weights_advice(key: str) -> str:
    """What to do about a hub model of which a configuration was found, but no safetensors weights."""
    return (
        "download them while online; where the repository has them in a pull request only (see its Community tab), set "
        f"{key}.revision=refs/pr/N, or choose one that has them on main"
    )
