"""What a process may have set in torch, and a run must not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def own_modes() -> Iterator[None]:
    """Gradients, no inference mode, no autocast, float32 on the CPU where nothing else is said, and random numbers of
    its own, whatever a notebook has set: no stage's key says it. Afterwards all is as it was. Imports torch."""
    import torch

    with ExitStack() as before:
        # Libraries draw weights before they load them.
        cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        before.enter_context(torch.random.fork_rng(devices=cards))
        before.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        before.enter_context(torch.inference_mode(False))
        before.enter_context(torch.enable_grad())
        for device in filter(torch.is_autocast_enabled, _DEVICES):
            before.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            before.enter_context(torch.device("cpu"))
        yield
