"""Align the generator with the training clips (arXiv 2410.02056): pairs, cached latents, adapters, early stopping."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

from synthio import audio
from synthio.backends.devices import Batches, in_batches
from synthio.backends.text_to_audio import Alignable, Conditioning, asked_duration_s, generate_each
from synthio.checkpoint import cached_tensors, restore_checkpoint, save_checkpoint
from synthio.config import AlignConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError
from synthio.generation import load_generated, recorded_rate_hz, write_generated
from synthio.metrics import known_mean
from synthio.preference import Errors, dpo_loss
from synthio.progress import Reporter
from synthio.records import Clip, Measurement, PreferencePair, of_split
from synthio.seeds import derive_seed, numpy_generator, torch_generator
from synthio.store import StageFolder
from synthio.wording import label_template
from synthio.writing import write_lines

#: Times and noises per held-out pair; fixed, so that measurements differ only by the policy.
_DRAWS = 4
#: The gradient of a mean over thousands of numbers, for which half precision is too coarse where no beta stands before
#: it. A power of two, so that nothing else changes.
_ERM_SCALE = 1024.0
#: Prompts to listen to before and after alignment.
_COMPARED = 6


def align(
    context: StageContext,
    clips: Sequence[Clip],
    pairs: Sequence[PreferencePair],
    pairs_folder: StageFolder,
    generator: Alignable,
) -> None:
    """Train adapters and write the best into the folder's ``adapter`` (absent when nothing beat the base model).

    ``pairs_folder`` holds the losers of ``pairs`` and caches the latents.
    """
    config, folder, reporter = context.config, context.folder, context.reporter
    started = time.monotonic()
    data = _load_pairs(clips, pairs, generator, pairs_folder, reporter)
    generator.add_adapter(config.align.lora_rank, derive_seed(config.seed, "align", "adapter"))
    curve, chosen = _train(context, data, generator)
    warnings = diagnose(curve, chosen, config.align)
    for warning in warnings:
        reporter.warn(warning)
    write_lines(folder.path / "curve.jsonl", (json.dumps(asdict(row)) for row in curve))
    compared = _generate_after(context, clips, pairs, generator) if chosen > 0 else []
    folder.finish(
        pairs,
        {
            "method": config.align.method,
            "pairs": len(pairs),
            "chosen_step": chosen,
            "warnings": warnings,
            "after": compared,
            "seconds": time.monotonic() - started,
        },
    )


def read_curve(folder: StageFolder) -> list[Measurement]:
    """The measurements of a finished alignment. Raises: `StoreError` when they are damaged."""
    return folder.rows("curve.jsonl", Measurement)


def make_pairs(context: StageContext, clips: Sequence[Clip], generator: Alignable) -> list[PreferencePair]:
    """Generate the losers with the unaligned model; finished ones are kept across kills.

    A stage of its own: losers do not depend on how alignment is then done. A pair whose loser the model refuses is
    left out, told, and counted with its reason.
    Raises: `BackendError` when pairs to train on or to measure on are all refused.
    """
    config, folder, reporter = context.config, context.folder, context.reporter
    wanted = _plan_pairs(config, clips, generator)
    finished = folder.items(PreferencePair)
    refused: dict[str, str] = {}
    # What no winner can hold need not be unlearnt: the generate stage takes it out.
    limit_hz = recorded_rate_hz(clips)
    with reporter.task("align: losers", len(wanted), len(finished)) as advance:

        def generate(batch: Sequence[PreferencePair]) -> Sequence[PreferencePair]:
            seeds = [derive_seed(config.seed, "loser", pair.id) for pair in batch]
            made = generate_each(generator, [pair.prompt for pair in batch], batch[0].duration_s, seeds)
            for pair, samples in zip(batch, made, strict=True):
                if isinstance(samples, str):
                    refused[pair.id] = samples
                    continue
                write_generated(folder.file(pair.loser_path), samples, generator.sample_rate_hz, limit_hz)
            folder.append(pair for pair in batch if pair.id not in refused)
            advance(len(batch))
            return batch

        for group in _by_duration([pair for pair in wanted if pair.id not in finished]).values():
            in_batches(group, config.t2a.batch_size, generate, reporter.warn)
    pairs = [pair for pair in wanted if pair.id not in refused]
    if refused:
        first = f"the first because: {next(iter(refused.values()))}"
        if len({pair.held_out for pair in pairs}) < 2:
            raise BackendError(f"the model refused {len(refused)} of {len(wanted)} losers, too many to align; {first}")
        reporter.warn(f"align: the model refused {len(refused)} of {len(wanted)} losers, left out; {first}")
    folder.finish(pairs, {"losers": len(pairs), "refused": refused})
    return pairs


def _plan_pairs(config: RunConfig, clips: Sequence[Clip], generator: Alignable) -> list[PreferencePair]:
    training = of_split(clips, "train")
    held_out = held_out_clips(training, config.align.held_out_fraction, config.seed)
    return [
        PreferencePair(
            id=f"{clip.id}-{j}",
            clip_id=clip.id,
            prompt=label_template(clip.labels),
            loser_path=f"losers/{clip.id}-{j}.flac",
            duration_s=asked_duration_s(generator, clip.duration_s),
            held_out=clip.id in held_out,
        )
        for clip in training
        for j in range(config.align.losers_per_clip)
    ]


def held_out_clips(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Ids of the clips whose pairs only measure: a seeded share, at least one, never all.

    Groups stay whole, as far as they fit into the share: else slices of one recording would stand on both sides, and
    overfitting would go unseen. Where no group fits, clips are drawn alone.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        groups[clip.unit].append(clip.id)
    wanted = min(len(clips) - 1, max(1, round(fraction * len(clips))))
    held_out: set[str] = set()
    for name in sorted(groups, key=lambda name: derive_seed(seed, "held-out", name)):
        if len(held_out) + len(groups[name]) <= wanted:
            held_out.update(groups[name])
    ranked = sorted((clip.id for clip in clips), key=lambda name: derive_seed(seed, "held-out", name))
    return held_out or set(ranked[:wanted])


def _by_duration(pairs: Sequence[PreferencePair]) -> dict[float, list[PreferencePair]]:
    groups: dict[float, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.duration_s].append(pair)
    return groups


def _generate_after(
    context: StageContext, clips: Sequence[Clip], pairs: Sequence[PreferencePair], generator: Alignable
) -> list[str]:
    """The aligned model on held-out prompts, one per prompt, each with its loser's seed: the same dice, before and
    after. Returns the ids of the pairs; one that the model refuses is told."""
    compared = list({pair.prompt: pair for pair in reversed(pairs) if pair.held_out}.values())[:_COMPARED]
    made: list[str] = []
    for pair in compared:
        seed = derive_seed(context.config.seed, "loser", pair.id)
        samples = generate_each(generator, [pair.prompt], pair.duration_s, [seed])[0]
        if isinstance(samples, str):
            context.reporter.warn(f"align: the aligned model refused {pair.prompt!r}: {samples}")
            continue
        made.append(pair.id)
        # As the loser that it is heard beside.
        path = context.folder.file(f"after/{pair.id}.flac")
        write_generated(path, samples, generator.sample_rate_hz, recorded_rate_hz(clips))
    return made


class _Pairs:
    """Latents and conditioning of all pairs, encoded once, grouped by duration."""

    def __init__(
        self, pairs: Sequence[PreferencePair], latents: Mapping[str, Tensor], conditioning: Mapping[str, Conditioning]
    ) -> None:
        self.training = _by_duration([pair for pair in pairs if not pair.held_out])
        self.held_out = _by_duration([pair for pair in pairs if pair.held_out])
        self._latents, self._conditioning = latents, conditioning

    def collate(self, pairs: Sequence[PreferencePair]) -> tuple[Tensor, Tensor, Conditioning]:
        """Winners and losers ``(pairs, channels, frames, ...)`` and their conditioning."""
        winners = torch.stack([self._latents[f"winner/{pair.clip_id}"] for pair in pairs])
        losers = torch.stack([self._latents[f"loser/{pair.id}"] for pair in pairs])
        rows = [self._conditioning[f"{pair.duration_s}/{pair.prompt}"] for pair in pairs]
        return winners, losers, Conditioning.joined(rows)


def _load_pairs(
    clips: Sequence[Clip],
    pairs: Sequence[PreferencePair],
    generator: Alignable,
    folder: StageFolder,
    reporter: Reporter,
) -> _Pairs:
    latents = cached_tensors(folder.path, "latents", lambda: _encode_all(clips, pairs, generator, folder, reporter))
    conditioning: dict[str, Conditioning] = {}
    for duration_s, group in _by_duration(pairs).items():
        for prompt in dict.fromkeys(pair.prompt for pair in group):
            conditioning[f"{duration_s}/{prompt}"] = generator.condition([prompt], duration_s)
    device = next(iter(conditioning.values())).cross.device
    return _Pairs(pairs, {k: v.to(device) for k, v in latents.items()}, conditioning)


def _encode_all(
    clips: Sequence[Clip],
    pairs: Sequence[PreferencePair],
    generator: Alignable,
    folder: StageFolder,
    reporter: Reporter,
) -> dict[str, Tensor]:
    real = {clip.id: clip for clip in clips}
    rate_hz = generator.sample_rate_hz
    winners = {f"winner/{pair.clip_id}": pair for pair in pairs}
    losers = {f"loser/{pair.id}": pair for pair in pairs}
    wanted = {**winners, **losers}
    with reporter.task("align: latents", len(wanted)) as advance:

        def encode(names: Sequence[str]) -> list[Tensor]:
            (name,) = names
            pair = wanted[name]
            clip = real[pair.clip_id]
            # Losers last to the end of the bucket; sound after the real clip's end would tell them from winners.
            if name in winners:
                heard = audio.load_start(Path(clip.path), clip.duration_s, rate_hz)
            else:
                loser = load_generated(folder.file(pair.loser_path), rate_hz)
                heard = audio.crop(loser, clip.duration_s, rate_hz)
            latents = generator.encode([heard], pair.duration_s)[0].float().cpu().contiguous()
            advance(1)
            return [latents]

        # One at a time: padding never depends on the company a clip keeps.
        return dict(zip(wanted, in_batches(list(wanted), 1, encode, reporter.warn), strict=True))


def _train(context: StageContext, data: _Pairs, generator: Alignable) -> tuple[list[Measurement], int]:
    """Returns the curve and the chosen step; 0 means that the base model was best."""
    config, folder, reporter = context.config, context.folder, context.reporter
    settings = config.align
    parameters = generator.adapter_parameters()
    optimiser = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    checkpoint = folder.path / "training.safetensors"
    step, best, notes = restore_checkpoint(checkpoint, parameters, optimiser)
    curve = [Measurement(**row) for row in notes.get("curve", [])]
    held_out = _HeldOut(config, data, generator, reporter)
    curve = curve or [held_out.measure(0, [], [])]
    losses: list[float] = []
    margins: list[float] = []
    batches = Batches(settings.batch_size, reporter.warn)
    with reporter.task(f"align: {settings.method}", settings.steps, step) as advance:
        while step < settings.steps and not exhausted(curve, settings):
            optimiser.zero_grad(set_to_none=True)
            own = _accumulate(config, data, generator, _draw_batch(config, data, step), batches)
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimiser.step()
            step += 1
            losses.append(sum(loss for loss, _ in own) / len(own))
            margins.extend(float(margin > 0) for _, margin in own)
            advance(1)
            if step % settings.evaluate_every == 0 or step == settings.steps:
                curve.append(held_out.measure(step, losses, margins))
                losses, margins = [], []
                if best_step(curve) == step:
                    best = {name: p.detach().clone() for name, p in parameters.items()}
                rows = [asdict(row) for row in curve]
                save_checkpoint(checkpoint, step, parameters, optimiser, best, {"curve": rows})
    chosen = best_step(curve)
    if chosen > 0:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(best[name])
        generator.save_adapter(folder.path / "adapter")
    return curve, chosen


def _accumulate(
    config: RunConfig, data: _Pairs, generator: Alignable, drawn: Sequence[_Draw], batches: Batches
) -> list[tuple[float, float]]:
    """Add the gradient of the pairs' mean loss to the adapters', in parts that fit into memory, which change the result
    by rounding only.

    Returns: loss and margin of each pair.
    Raises: `BackendError` when one pair does not fit.
    """
    parameters = list(generator.adapter_parameters().values())
    scale = _ERM_SCALE if config.align.method == "erm" else 1.0

    def add(part: Sequence[_Draw]) -> list[tuple[float, float]]:
        errors = pair_errors(config, data, generator, part)
        loss = pair_loss(errors, config.align)
        # Not `backward`: where memory runs out half way, nothing has been added.
        gradients = torch.autograd.grad(scale * loss.sum() / len(drawn), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                own = gradient / scale
                parameter.grad = own if parameter.grad is None else parameter.grad + own
        return list(zip(loss.detach().tolist(), errors.margin.detach().tolist(), strict=True))

    return batches.apply(drawn, add)


def pair_loss(errors: Errors, settings: AlignConfig) -> Tensor:
    """The configured loss per pair, ``(pairs,)``."""
    match settings.method:
        case "erm":
            # Plain fine-tuning on the real clips: the diffusion loss itself.
            return errors.policy_winner
        case "dpo":
            return dpo_loss(errors, settings.beta, settings.anchor)
        case "none":
            raise ValueError("align.method is none, which trains nothing")
        case _ as other:
            assert_never(other)


_Draw = tuple[PreferencePair, tuple[str, int]]
"""A pair, and what seeds its time and noise."""


def _draw_batch(config: RunConfig, data: _Pairs, step: int) -> list[_Draw]:
    """One duration, by its share of pairs; pairs without replacement."""
    generator = numpy_generator(config.seed, "align", "batch", step)
    durations = sorted(data.training)
    counts = [len(data.training[duration]) for duration in durations]
    group = data.training[durations[int(generator.choice(len(durations), p=[c / sum(counts) for c in counts]))]]
    chosen = generator.permutation(len(group))[: config.align.batch_size]
    return [(group[int(i)], (group[int(i)].id, step)) for i in chosen]


def pair_errors(config: RunConfig, data: _Pairs, generator: Alignable, drawn: Sequence[_Draw]) -> Errors:
    """Denoising errors of a batch of one duration under policy and reference."""
    given = noised(config, data, generator, drawn)
    with torch.no_grad(), generator.reference():
        reference = generator.denoising_error(*given)
    return Errors(*generator.denoising_error(*given).chunk(2), *reference.chunk(2))


def noised(
    config: RunConfig, data: _Pairs, generator: Alignable, drawn: Sequence[_Draw]
) -> tuple[Tensor, Tensor, Tensor, Conditioning, float]:
    """What `TextToAudio.denoising_error` is asked about a batch of one duration: winners, then losers, with one time
    and one noise per pair for both."""
    duration_s = drawn[0][0].duration_s
    winners, losers, conditioning = data.collate([pair for pair, _ in drawn])
    generators = [torch_generator(config.seed, "align", "noise", *seeds) for _, seeds in drawn]
    time = torch.cat([generator.draw_time(1, g) for g in generators])
    noise = torch.stack([torch.randn(winners.shape[1:], generator=g) for g in generators]).to(winners)
    # One forward pass for both: rows [winners; losers].
    both, noises, times = torch.cat([winners, losers]), torch.cat([noise, noise]), torch.cat([time, time])
    index = torch.arange(len(drawn), device=winners.device).repeat(2)
    return both, noises, times, conditioning.rows(index), duration_s


class _HeldOut:
    """Held-out pairs under fixed times and noises. The reference's errors on them never change: they are taken once."""

    def __init__(self, config: RunConfig, data: _Pairs, generator: Alignable, reporter: Reporter) -> None:
        self._config, self._data, self._generator, self._reporter = config, data, generator, reporter
        with generator.reference():
            self._reference = self._errors()

    def measure(self, step: int, losses: list[float], margins: list[float]) -> Measurement:
        """The policy as it is now, and what the training had since the measurement before."""
        errors = Errors(*self._errors(), *self._reference)
        margin = errors.margin
        return Measurement(
            step=step,
            train_loss=known_mean(losses),
            train_accuracy=known_mean(margins),
            held_out_loss=float(pair_loss(errors, self._config.align).mean()),
            held_out_accuracy=float(((margin > 0).float() + 0.5 * (margin == 0).float()).mean()),
            winner_error_change=float((errors.policy_winner - errors.reference_winner).mean()),
            loser_error_change=float((errors.policy_loser - errors.reference_loser).mean()),
        )

    @torch.no_grad()
    def _errors(self) -> tuple[Tensor, ...]:
        def errors_of(part: Sequence[_Draw]) -> list[Tensor]:
            errors = self._generator.denoising_error(*noised(self._config, self._data, self._generator, part))
            return list(torch.stack(errors.chunk(2), dim=1))

        rows: list[Tensor] = []
        for group in self._data.held_out.values():
            work = [(pair, (f"held-out-{pair.id}", draw)) for pair in group for draw in range(_DRAWS)]
            rows += in_batches(work, 2 * self._config.align.batch_size, errors_of, self._reporter.warn)
        return torch.stack(rows).unbind(1)


def best_step(curve: Sequence[Measurement]) -> int:
    """The step with the lowest error on held-out real clips; ties go to the lower held-out loss, then the earlier.

    Not the lowest held-out loss: the margin also grows when only the losers get worse (arXiv 2410.02056).
    """
    return min(curve, key=lambda row: (row.winner_error_change, row.held_out_loss, row.step)).step


def exhausted(curve: Sequence[Measurement], settings: AlignConfig) -> bool:
    """Whether the last ``patience`` measurements brought nothing better."""
    index = next(i for i, row in enumerate(curve) if row.step == best_step(curve))
    return len(curve) - 1 - index >= settings.patience


def diagnose(curve: Sequence[Measurement], chosen: int, settings: AlignConfig) -> list[str]:
    """The failure signatures, in words."""
    warnings = []
    last = curve[-1]
    advice = "Try a lower align.learning_rate"
    if settings.method == "dpo":
        advice += ", align.anchor=1 or align.method=erm" if settings.anchor < 1 else " or align.method=erm"
    if chosen == 0:
        warnings.append(
            "alignment did not help: no step lowered the error on held-out real clips; the base model is used. "
            f"{advice}"
        )
    if last.winner_error_change > 0 and settings.method != "erm":
        found = (
            "the adapter only learnt to make losers worse"
            if last.loser_error_change > 0
            else "it learnt the training clips by heart"
        )
        kept = f"step {chosen}" if chosen else "the base model"
        warnings.append(
            f"the winner's error rose by {last.winner_error_change:.4g} by step {last.step}: {found}; {kept} is kept. "
            f"{advice}"
        )
    return warnings
