"""Generate one clip per prompt (arXiv 2410.02056), batched by duration, resumable per clip."""

from __future__ import annotations

from collections.abc import Sequence

from synthio.backends.text_to_audio import TextToAudio
from synthio.context import StageContext
from synthio.errors import BackendError
from synthio.generation import Wanted, generate_wanted, recorded_rate_hz
from synthio.progress import Reporter
from synthio.records import Candidate, Clip, Prompt
from synthio.seeds import derive_seed


def generate_candidates(
    context: StageContext, clips: Sequence[Clip], prompts: Sequence[Prompt], generator: TextToAudio
) -> list[Candidate]:
    """One candidate per prompt, in prompt order. A clip that the model refuses is recorded with its reason, and told.

    Raises: `BackendError` when the model refuses every imagined caption; the stage is then not finished.
    """
    candidates = make_candidates(context, clips, prompts, generator)
    generated = sum(candidate.failed is None for candidate in candidates)
    context.folder.finish(candidates, {"generated": generated, "failed": len(candidates) - generated})
    return candidates


def make_candidates(
    context: StageContext, clips: Sequence[Clip], prompts: Sequence[Prompt], generator: TextToAudio
) -> list[Candidate]:
    """As `generate_candidates`, for some of the stage's prompts: it is not finished, and makes only the others later.

    No clip has sound where none of the training ``clips`` can have any: else that would tell them apart.
    """
    recorded_hz = recorded_rate_hz(clips)
    wanted = [
        Wanted(
            prompt.id,
            prompt.text,
            prompt.duration_s,
            derive_seed(context.config.seed, "generate", prompt.id),
            f"audio/{prompt.id}.flac",
            recorded_hz,
        )
        for prompt in prompts
    ]

    def record(one: Wanted, failed: str | None) -> Candidate:
        path, rate_hz = one.path if failed is None else None, generator.sample_rate_hz
        return Candidate(id=one.id, prompt_id=one.id, path=path, seed=one.seed, sample_rate_hz=rate_hz, failed=failed)

    candidates = generate_wanted(context, "generate", wanted, Candidate, record, generator)
    failed = [candidate.failed for candidate in candidates if candidate.failed is not None]
    if failed:
        _report_refused(failed, prompts, context.reporter)
    return candidates


def _report_refused(reasons: Sequence[str], prompts: Sequence[Prompt], reporter: Reporter) -> None:
    refused = f"the model refused {len(reasons)} of {len(prompts)} clips"
    # Reflection may send back one odd caption; of the imagined ones some must work.
    if len(reasons) == len(prompts) and all(prompt.round == 0 for prompt in prompts):
        raise BackendError(f"{refused}, there is nothing to go on with; the first because: {reasons[0]}")
    reporter.warn(f"generate: {refused}, which count as rejected; the first because: {reasons[0]}")
