"""Generate one clip per prompt (arXiv 2410.02056), batched by duration, resumable per clip."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from synthio import audio
from synthio.backends.devices import in_batches
from synthio.backends.text_to_audio import TextToAudio, generate_each
from synthio.config import RunConfig
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
    texts, length_s, rate_hz = [p.text for p in batch], bucket_duration_s(batch[0].duration_s), generator.sample_rate_hz
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
