"""Generate one clip per prompt (arXiv 2410.02056), batched by duration, resumable per clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from synthio import audio
from synthio.backends.devices import in_batches
from synthio.backends.text_to_audio import TextToAudio, asked_duration_s, generate_each
from synthio.config import RunConfig
from synthio.errors import BackendError
from synthio.progress import Reporter
from synthio.records import Candidate, Prompt
from synthio.seeds import derive_seed
from synthio.store import StageFolder, replacing


def generate_candidates(
    config: RunConfig, prompts: Sequence[Prompt], generator: TextToAudio, folder: StageFolder, reporter: Reporter
) -> list[Candidate]:
    """One candidate per prompt, in prompt order. A clip that the model refuses is recorded with its reason, and told.

    Raises: `BackendError` when the model refuses every imagined caption; the stage is then not finished.
    """
    # What was refused before a kill, or by a model that then refused all, is tried again.
    finished = {name: candidate for name, candidate in folder.items(Candidate).items() if candidate.failed is None}
    groups: dict[float, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        if prompt.id not in finished:
            groups[asked_duration_s(generator, prompt.duration_s)].append(prompt)
    with reporter.task("generate", len(prompts), len(finished)) as advance:

        def call(batch: Sequence[Prompt]) -> Sequence[Candidate]:
            candidates = _generate_batch(config, batch, generator, folder)
            folder.append(candidates)
            advance(len(batch))
            return candidates

        for group in groups.values():
            for candidate in in_batches(group, config.t2a.batch_size, call, reporter.warn):
                finished[candidate.id] = candidate
    candidates = [finished[prompt.id] for prompt in prompts]
    failed = [candidate.failed for candidate in candidates if candidate.failed is not None]
    if failed:
        _report_refused(failed, prompts, reporter)
    generated = len(candidates) - len(failed)
    folder.finish(candidates, {"generated": generated, "failed": len(failed)})
    return candidates


def _report_refused(reasons: Sequence[str], prompts: Sequence[Prompt], reporter: Reporter) -> None:
    refused = f"the model refused {len(reasons)} of {len(prompts)} clips"
    # Reflection may send back one odd caption; of the imagined ones some must work.
    if len(reasons) == len(prompts) and all(prompt.round == 0 for prompt in prompts):
        raise BackendError(f"{refused}, there is nothing to go on with; the first because: {reasons[0]}")
    reporter.warn(f"generate: {refused}, which count as rejected; the first because: {reasons[0]}")


def _generate_batch(
    config: RunConfig, batch: Sequence[Prompt], generator: TextToAudio, folder: StageFolder
) -> list[Candidate]:
    seeds = [derive_seed(config.seed, "generate", prompt.id) for prompt in batch]
    texts, rate_hz = [prompt.text for prompt in batch], generator.sample_rate_hz
    length_s = asked_duration_s(generator, batch[0].duration_s)
    candidates = []
    for prompt, seed, made in zip(batch, seeds, generate_each(generator, texts, length_s, seeds), strict=True):
        candidate = Candidate(id=prompt.id, prompt_id=prompt.id, path=None, seed=seed, sample_rate_hz=rate_hz)
        if isinstance(made, str):
            candidates.append(candidate.model_copy(update={"failed": made}))
            continue
        name = f"audio/{prompt.id}.flac"
        with replacing(folder.path / name) as partial:
            audio.write_flac(partial, audio.fit(made, max(1, round(prompt.duration_s * rate_hz))), rate_hz)
        candidates.append(candidate.model_copy(update={"path": name}))
    return candidates
