"""One resumable training loop for the three pocket models that are networks; the autoencoder is fitted in one go.

Step ``s`` draws its batch and noise from generators seeded by (run seed, s), so a checkpoint is weights, optimiser
moments and a step number: no generator state, and nothing pickled.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file

from synthio.checkpoint import restore_checkpoint, save_checkpoint
from synthio.errors import ConfigError
from synthio.progress import Reporter
from synthio.recipes import Section
from synthio.store import fingerprint
from synthio.writing import append_lines


class OptimiserConfig(Section):
    """AdamW with linear warm-up and cosine decay to a tenth."""

    steps: int = Field(2000, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    warmup_steps: int = Field(100, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Exponential moving average of the weights; 0.999 is too slow for a few thousand steps."""
    checkpoint_every: int = Field(100, ge=1)
    seed: int = 0


Loss = Callable[[int], torch.Tensor]
"""Takes the step, returns the scalar loss of that step's batch."""
Evaluate = Callable[[], Mapping[str, float]]


def depends_on(recipe: Section, made_of: object) -> str:
    """Digest of everything that a training depends on but its length: a longer schedule may go on from a checkpoint."""
    content = recipe.model_dump(mode="json", exclude={"output", "corpus", "autoencoder"})
    content["optimiser"] = {k: v for k, v in content["optimiser"].items() if k not in {"steps", "checkpoint_every"}}
    return fingerprint([content, made_of])


def start_from(weights: Path, module: torch.nn.Module, elsewhere: str | tuple[str, ...] = ()) -> None:
    """Load a safetensors file into ``module``; parameters whose names begin with ``elsewhere`` may be missing in it.

    Raises: `ConfigError` for a file that is not there or is of a model of other sizes.
    """
    if not weights.is_file():
        raise ConfigError(f"{weights}: no such file; `initial` must be a folder of the same kind of model")
    try:
        found = module.load_state_dict(load_file(weights), strict=False)
    except RuntimeError as error:
        raise ConfigError(f"{weights}: weights of a model of other sizes: {error}") from error
    if wrong := [*found.unexpected_keys, *(key for key in found.missing_keys if not key.startswith(elsewhere))]:
        raise ConfigError(f"{weights}: weights of another model: {wrong[:3]} do not fit")


def learning_rate_at(step: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then cosine decay to a tenth of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress))))


def fit(
    module: torch.nn.Module,
    loss: Loss,
    config: OptimiserConfig,
    folder: Path,
    evaluate: Evaluate,
    depends: str,
    reporter: Reporter,
) -> None:
    """Train ``module`` in place to its averaged weights; resumes from ``folder`` and logs ``curve.jsonl`` there.

    Every ``checkpoint_every`` steps the state is saved, and ``evaluate`` runs on the averaged weights.
    Raises: `ConfigError` when ``folder`` holds a training whose ``depends`` (see `depends_on`) was another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    average = {name: p.detach().clone() for name, p in parameters.items()}
    checkpoint = folder / "checkpoint.safetensors"
    first, restored, notes = restore_checkpoint(checkpoint, parameters, optimiser)
    if notes.get("depends", depends) != depends:
        raise ConfigError(
            f"{checkpoint}: was trained with another recipe, corpus or autoencoder; expected the same but for "
            "optimiser.steps and optimiser.checkpoint_every: choose another output, or delete this folder"
        )
    if first >= config.steps:
        reporter.note(
            f"{folder.parent.name}: already trained for {first} steps; optimiser.steps={config.steps} adds none"
        )
    average |= {name: restored[name].to(p.device) for name, p in parameters.items() if name in restored}
    for name, buffer in _statistics(module).items():
        buffer.copy_(restored.get(name, buffer))
    recent: list[float] = []
    started = time.monotonic()
    with reporter.task(f"pretrain {folder.parent.name}", config.steps, first) as advance:
        for step in range(first, config.steps):
            recent.append(_take_step(step, loss, parameters, optimiser, config))
            _update_average(average, parameters, min(config.ema_decay, (1 + step) / (10 + step)))
            advance(1)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                with _averaged(parameters, average):
                    measured = dict(evaluate())
                kept = {**average, **_statistics(module)}
                save_checkpoint(checkpoint, step + 1, parameters, optimiser, kept, {"depends": depends})
                _log(folder, step + 1, sum(recent) / len(recent), time.monotonic() - started, measured)
                recent = []
    _assign(parameters, average)


def _take_step(
    step: int,
    loss: Loss,
    parameters: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.AdamW,
    config: OptimiserConfig,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate_at(step, config)
    value = loss(step)
    optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters.values(), config.max_grad_norm)
    optimiser.step()
    return float(value.detach())


@contextmanager
def _averaged(parameters: Mapping[str, torch.Tensor], average: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Within the block, parameters hold their averaged values."""
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    _assign(parameters, average)
    try:
        yield
    finally:
        _assign(parameters, kept)


@torch.no_grad()
def _assign(parameters: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _statistics(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a model keeps besides parameters, as the running mean of batch normalisation; it is not averaged."""
    parameters = dict(module.named_parameters())
    return {name: tensor for name, tensor in module.state_dict().items() if name not in parameters}


@torch.no_grad()
def _update_average(average: dict[str, torch.Tensor], parameters: Mapping[str, torch.Tensor], decay: float) -> None:
    for name, parameter in parameters.items():
        average[name].lerp_(parameter, 1 - decay)


def _log(folder: Path, step: int, loss: float, seconds: float, measured: Mapping[str, float]) -> None:
    row = {"step": step, "loss": round(loss, 5), "seconds": round(seconds, 1)}
    row |= {name: round(value, 5) for name, value in measured.items()}
    append_lines(folder / "curve.jsonl", [json.dumps(row)])
