"""Train a `transformers` classifier on examples in memory, and apply it."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.utils.data import Dataset, Subset, default_collate
from transformers import (
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from synthio import metrics
from synthio.backends.classifier import HEAD_PARTS, Inputs, ProblemType
from synthio.chunks import chunks
from synthio.config import TrainConfig
from synthio.errors import BackendError
from synthio.frozen import Frozen
from synthio.seeds import global_state_kept

_WEIGHT_DECAY = 0.01

#: Target of a clip whose class the model does not know: no loss (PyTorch's ``ignore_index``), and never right.
NO_CLASS = -100


@dataclass(frozen=True)
class Examples(Dataset[dict[str, torch.Tensor]]):
    """Clips as the network sees them, in memory, each with its target, as `Trainer` reads them."""

    inputs: Sequence[Inputs]
    """`Frontend.inputs` of every clip. Examples share them: thousands of spectrograms are gigabytes."""
    targets: torch.Tensor
    """Class indices (or `NO_CLASS`) of shape ``(clips,)``, or multi-hot float32 of shape ``(clips, classes)``."""

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {**self.inputs[index], "labels": self.targets[index]}

    def subset(self, indices: metrics.Indices) -> Examples:
        """The clips at ``indices``, in that order."""
        return Examples([self.inputs[index] for index in indices], self.targets[indices])


@dataclass(frozen=True)
class Optimisation:
    """AdamW (weight decay 0.01, gradients clipped at norm 1), 10% linear warm-up, cosine decay to 0."""

    settings: TrainConfig
    micro_batch: int
    """Clips per forward pass; divides the batch size. Gradients add up to whole batches."""
    device: torch.device
    seed: int


class CurvePoint(Frozen):
    """One validation. Figures that are not finite, or that there was nothing to measure on, are None."""

    step: int
    train_loss: float | None
    """Mean since the point before."""
    valid_loss: float | None
    valid_score: float | None
    """Accuracy or balanced accuracy, or mean average precision for several labels per clip."""

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: the score, ties broken by the lower loss."""
        worst = -math.inf
        return (
            worst if self.valid_score is None else self.valid_score,
            worst if self.valid_loss is None else -self.valid_loss,
        )


def fine_tune(
    model: Any,
    examples: Dataset[dict[str, torch.Tensor]],
    order: metrics.Indices,
    valid: Examples | None,
    optimisation: Optimisation,
    advance: Callable[[int], None],
) -> tuple[CurvePoint, tuple[CurvePoint, ...]]:
    """Train ``model`` in place and leave it with its best validation weights; without ``valid``, with the last ones.

    ``examples``: `Examples`, or several joined. ``order`` says which of them each slot of each batch holds, shape
    ``(steps * batch_size,)``. Returns the kept point and the whole curve. Leaves no file behind, and the random state
    of Python, NumPy and torch (CPU) as it was.
    """
    keeper = _KeepBest(advance)
    # `Trainer` seeds every global generator.
    with global_state_kept(), torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(optimisation, scratch, "no" if valid is None else "steps")
        model.to(optimisation.device)
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Subset(examples, order.tolist()),
            eval_dataset=valid,
            compute_loss_func=_LOSSES[model.config.problem_type],
            compute_metrics=_validation_score(_metric(model.config.problem_type, optimisation)),
            callbacks=[keeper],
            optimizers=(_optimiser(model, optimisation), None),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    curve = _curve(trainer.state.log_history)
    if keeper.best is None:
        last = CurvePoint(step=optimisation.settings.steps, train_loss=None, valid_loss=None, valid_score=None)
        return next((point for point in curve if point.step == last.step), last), curve
    model.load_state_dict(keeper.weights)
    return next(point for point in curve if point.step == keeper.best.step), curve


def _arguments(optimisation: Optimisation, scratch: str, evaluation: Literal["no", "steps"]) -> TrainingArguments:
    device = optimisation.device
    arguments = TrainingArguments(
        output_dir=scratch,
        max_steps=optimisation.settings.steps,
        per_device_train_batch_size=optimisation.micro_batch,
        per_device_eval_batch_size=optimisation.micro_batch,
        gradient_accumulation_steps=optimisation.settings.batch_size // optimisation.micro_batch,
        learning_rate=optimisation.settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        train_sampling_strategy="sequential",
        logging_steps=optimisation.settings.evaluate_every,
        logging_nan_inf_filter=False,
        eval_strategy=evaluation,
        eval_steps=optimisation.settings.evaluate_every,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=optimisation.seed,
    )
    if arguments.n_gpu > 1:
        # With several GPUs visible, Trainer would multiply the batch size by their number.
        arguments._n_gpu = 1
    return arguments


def _optimiser(model: Any, optimisation: Optimisation) -> torch.optim.Optimizer:
    """AdamW; head and network at their own rates (Howard and Ruder 2018, discriminative fine-tuning), no decay of
    biases and norms (as `Trainer` has it)."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        is_head = name.startswith(HEAD_PARTS)
        rate = optimisation.settings.head_learning_rate if is_head else optimisation.settings.learning_rate
        groups[rate, _WEIGHT_DECAY if parameter.ndim > 1 else 0.0].append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]
    )


def _cross_entropy(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
    total = functional.cross_entropy(outputs["logits"], labels, reduction="sum", ignore_index=NO_CLASS)
    return total / _items((labels != NO_CLASS).sum(), num_items_in_batch)


def _binary_cross_entropy(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None
) -> torch.Tensor:
    total = functional.binary_cross_entropy_with_logits(outputs["logits"], labels, reduction="sum")
    return total / _items(torch.tensor(labels.numel(), device=labels.device), num_items_in_batch)


def _items(here: torch.Tensor, in_batch: torch.Tensor | None) -> torch.Tensor:
    # Trainer counts the labels of the whole batch, so that the forward passes of one step add up to its mean.
    return (here if in_batch is None else in_batch).clamp(min=1)


# Not the models' own losses: wav2vec 2.0 and Whisper know cross-entropy only, and none counts over accumulated passes.
_LOSSES: Mapping[ProblemType, Callable[..., torch.Tensor]] = {
    "single_label_classification": _cross_entropy,
    "multi_label_classification": _binary_cross_entropy,
}


def _metric(problem_type: ProblemType, optimisation: Optimisation) -> metrics.Metric:
    if problem_type == "multi_label_classification":
        return metrics.mean_average_precision
    return {"accuracy": metrics.accuracy, "balanced accuracy": metrics.balanced_accuracy}[optimisation.settings.metric]


def _validation_score(metric: metrics.Metric) -> Callable[[EvalPrediction], dict[str, float]]:
    def score(prediction: EvalPrediction) -> dict[str, float]:
        logits = _first(prediction.predictions)
        labels = np.asarray(prediction.label_ids)
        targets = labels[:, None] == np.arange(logits.shape[1]) if labels.ndim == 1 else labels > 0.5
        return {"score": metric(targets, logits) if np.isfinite(logits).all() else math.nan}

    return score


def _first(outputs: Any) -> Any:
    # Models set to return hidden states give a tuple with the logits first.
    return outputs[0] if isinstance(outputs, tuple) else outputs


class _KeepBest(TrainerCallback):  # type: ignore[misc]
    """Keeps the weights of the best validation in memory; `Trainer` would pickle its own state beside them."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.best: CurvePoint | None = None
        self.weights: dict[str, torch.Tensor] = {}
        self._advance = advance

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._advance(1)

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        point = _point(state.global_step, {}, others["metrics"])
        if self.best is None or point.rank > self.best.rank:
            self.best = point
            self.weights = {k: v.detach().to("cpu", copy=True) for k, v in others["model"].state_dict().items()}


def _curve(history: Sequence[Mapping[str, float]]) -> tuple[CurvePoint, ...]:
    trained = {int(row["step"]): row for row in history if "loss" in row}
    validated = {int(row["step"]): row for row in history if "eval_loss" in row}
    return tuple(_point(s, trained.get(s, {}), validated.get(s, {})) for s in sorted({*trained, *validated}))


def _point(step: int, trained: Mapping[str, float], validated: Mapping[str, float]) -> CurvePoint:
    figures = (trained.get("loss"), validated.get("eval_loss"), validated.get("eval_score"))
    train_loss, valid_loss, valid_score = (x if x is not None and math.isfinite(x) else None for x in figures)
    return CurvePoint(step=step, train_loss=train_loss, valid_loss=valid_loss, valid_score=valid_score)


def collated(inputs: Sequence[Inputs], batch_size: int) -> Iterator[Inputs]:
    """Clips in batches of at most ``batch_size``."""
    return (default_collate(list(part)) for part in chunks(inputs, batch_size))


@torch.inference_mode()
def predict(model: Any, inputs: Sequence[Inputs], batch_size: int, device: torch.device) -> npt.NDArray[np.float64]:
    """Probabilities, shape ``(clips, classes)``: softmax for one label per clip, sigmoid for several.

    ``inputs``: `Frontend.inputs` of every clip.
    Raises: `BackendError` when they are not finite.
    """
    model.eval().to(device)
    if not len(inputs):
        return np.zeros((0, model.config.num_labels))
    batches = collated(inputs, batch_size)
    rows = [model(**{name: values.to(device) for name, values in batch.items()}).logits for batch in batches]
    # Not the other way round: MPS has no double precision.
    logits = torch.cat(rows).cpu().double()
    single = model.config.problem_type == "single_label_classification"
    probabilities = (logits.softmax(dim=1) if single else logits.sigmoid()).numpy()
    if not np.isfinite(probabilities).all():
        raise BackendError("the classifier's scores are not finite: training diverged; lower train.learning_rate")
    return probabilities
