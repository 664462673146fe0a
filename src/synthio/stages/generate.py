"""Generate one clip per prompt (METHOD section 4), batched by duration, resumable per clip."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from synthio import audio
from synthio.backends.devices import in_batches
from synthio.backends.text_to_audio import TextToAudio
from synthio.config import RunConfig
from synthio.errors import BackendError
from synthio.progress import Reporter
from synthio.records import Candidate, Prompt, bucket_duration_s
from synthio.seeds import derive_seed
from synthio.store import StageFolder, replacing


def generate_candidates(
    config: RunConfig, prompts: Sequence[Prompt], generator: TextToAudio, folder: StageFolder, reporter: Reporter
) -> list[Candidate]:
    """One candidate per prompt, in prompt order. A clip that the model refuses is recorded with its reason."""
    started = time.monotonic()
    finished = folder.items(Candidate)
    groups: dict[float, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        if prompt.id not in finished:
            groups[bucket_duration_s(prompt.duration_s)].append(prompt)
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
    failed = sum(candidate.failed is not None for candidate in candidates)
    folder.finish(
        candidates, {"generated": len(candidates) - failed, "failed": failed, "seconds": time.monotonic() - started}
    )
    return candidates


def _generate_batch(
    config: RunConfig, batch: Sequence[Prompt], generator: TextToAudio, folder: StageFolder
) -> list[Candidate]:
    seeds = [derive_seed(config.seed, "generate", prompt.id) for prompt in batch]
    rate = generator.sample_rate_hz
    try:
        waveforms = generator.generate([p.text for p in batch], bucket_duration_s(batch[0].duration_s), seeds)
    except BackendError as error:
        if len(batch) > 1:
            # One clip fails a batch: which one shows alone, and the others must not suffer for their company.
            return [candidate for prompt in batch for candidate in _generate_batch(config, [prompt], generator, folder)]
        failed = {"path": None, "seed": seeds[0], "sample_rate_hz": rate, "failed": str(error)}
        return [Candidate.model_validate({"id": batch[0].id, "prompt_id": batch[0].id, **failed})]
    candidates = []
    for prompt, seed, samples in zip(batch, seeds, waveforms, strict=True):
        name = f"audio/{prompt.id}.flac"
        with replacing(folder.path / name) as partial:
            audio.write_flac(partial, audio.fit(samples, max(1, round(prompt.duration_s * rate))), rate)
        candidates.append(Candidate(id=prompt.id, prompt_id=prompt.id, path=name, seed=seed, sample_rate_hz=rate))
    return candidates
