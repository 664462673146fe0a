"""What a process may have set in torch, and a run must not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_modes() -> Iterator[None]:
    """Gradients, no inference mode, and float32, whatever a notebook has set: no stage's key says it. Afterwards all is
    as it was. Imports torch."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)
