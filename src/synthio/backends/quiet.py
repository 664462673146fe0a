"""The model libraries' own chatter: our progress says what matters, and `Reporter` nothing at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

_NOISY = r"(torch|torchsde|transformers|diffusers|peft|huggingface_hub)\."


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """No bars of ``libraries`` (`transformers`, `diffusers`), no words below an error, and no warnings of theirs and
    of what they stand on; afterwards all is as it was. Imports them."""
    with ExitStack() as before:
        before.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=_NOISY)
        for library in libraries:
            logging = import_module(f"{library}.utils.logging")
            before.callback(logging.set_verbosity, logging.get_verbosity())
            if logging.is_progress_bar_enabled():
                before.callback(logging.enable_progress_bar)
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
