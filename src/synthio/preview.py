"""A first look before a run: of each class a few training clips, their captions, new captions, what the generator makes
of these, and what the filter says. They are the first items of the run's own stages: a run then makes only the others.

run_folder/preview/
  index.html   opens from disk, needs no network
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from synthio import pages
from synthio.backends.modes import own_modes
from synthio.backends.quiet import quiet
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.errors import ConfigError
from synthio.formats import reason_words
from synthio.media import Media, Player
from synthio.pipeline import Pipeline, check_recipe
from synthio.progress import Reporter
from synthio.recipes import to_yaml
from synthio.records import Candidate, Caption, Clip, Prompt, Reason, Record, Verdict, of_split
from synthio.seeds import derive_seed
from synthio.stage_folders import StageFolders
from synthio.stages.clips import all_warnings
from synthio.stages.filter import hear, real_clip_warnings
from synthio.stages.generate import make_candidates
from synthio.stages.imagine import imagine_first
from synthio.store import StageFolder, working_in
from synthio.writing import check_no_link, write_text

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Example:
    """One training clip, and the first synthetic one that a run makes for it."""

    labels: tuple[str, ...]
    """Of the synthetic clip."""
    clip_id: str
    real: Path
    caption: str | None
    """Of the real clip; None where new captions are made without (`imagine.mode`)."""
    caption_failed: str | None
    prompt: str
    """The new caption."""
    prompt_failed: str | None
    synthetic: Path | None
    """None when the model refused."""
    synthetic_failed: str | None
    """Why it refused."""
    reason: Reason
    """What the filter says."""
    similarity: float | None
    score: float | None
    threshold: float


@dataclass(frozen=True)
class Preview:
    """What `make_preview` made."""

    page: Path
    examples: tuple[Example, ...]
    before_alignment: bool
    """The clips are of the generator as it is before the recipe's alignment, which is not finished; the captions are
    those of the run."""
    real_accepted: Mapping[str, tuple[int, int]]
    """By label: how many of the real training clips the filter itself would accept, and how many there are."""
    left_out: tuple[str, ...]
    """What a run of the recipe does besides."""
    warnings: tuple[str, ...]
    """Of the data, and of a filter that drops real clips too."""


class _FirstItems:
    """The first items of some stages of a run."""

    def __init__(self, run: Pipeline) -> None:
        self._run, self._config, self._folders = run, run.config, run.folders

    def preview(self, clips_per_class: int) -> Preview:
        """Make what is missing of the first items; no stage is finished by it."""
        clips = self._run.clips()
        asked = [clip for clip in of_split(clips, "train") if self._config.imagine.asks_for(clip.labels)]
        prompts = self._first_prompts(few_of_each(asked, clips_per_class, self._config.seed))
        # It tells of a filter that drops real clips too before the generator works.
        real, generated = self._run.calibration.real, self._generated

        def generate(context: StageContext) -> list[Candidate]:
            return make_candidates(context, clips, prompts, self._run.models.generator)

        of_id = {candidate.id: candidate for candidate in self._some(generated, "generate", Candidate, generate)}
        candidates = [of_id[prompt.id] for prompt in prompts]
        verdicts = hear(self._config, self._run.calibration, prompts, candidates, generated, self._run.models.clap)
        examples = map(partial(self._example, generated), prompts, candidates, verdicts)
        return Preview(
            page=self._config.run_folder / "preview" / "index.html",
            examples=tuple(sorted(examples, key=lambda example: (example.labels, example.clip_id))),
            before_alignment=self._folders.awaits_alignment,
            real_accepted=real.labels,
            left_out=tuple(_left_out(self._config, self._folders.awaits_alignment)),
            warnings=(*all_warnings(self._config, clips, self._folders.clips), *real_clip_warnings(real)),
        )

    def _first_prompts(self, chosen: Collection[str]) -> list[Prompt]:
        clips, components = self._run.clips(), self._run.components()

        def imagine(context: StageContext) -> None:
            imagine_first(context, clips, components, self._run.models.language_model, chosen)

        first: dict[str, Prompt] = {}
        for prompt in self._some(self._folders.imagine, "imagine", Prompt, imagine):
            first.setdefault(prompt.clip_id, prompt)
        return [prompt for clip_id, prompt in first.items() if clip_id in chosen]

    def _example(self, generated: StageFolder, prompt: Prompt, candidate: Candidate, verdict: Verdict) -> Example:
        caption = self._caption_of.get(prompt.clip_id)
        path = None if candidate.path is None else generated.file(candidate.path)
        return Example(
            labels=prompt.labels,
            clip_id=prompt.clip_id,
            real=self._path_of[prompt.clip_id],
            caption=caption.text if caption else None,
            caption_failed=caption.failed if caption else None,
            prompt=prompt.text,
            prompt_failed=prompt.failed,
            synthetic=None if path is None else self._config.run_folder / path.relative_to(self._run.root),
            synthetic_failed=candidate.failed,
            reason=verdict.reason,
            similarity=verdict.similarity,
            score=verdict.score,
            threshold=verdict.threshold,
        )

    @cached_property
    def _caption_of(self) -> dict[str, Caption]:
        """By clip; none where new captions are made without."""
        return {c.id: c for c in self._run.captions()} if self._config.imagine.mode == "mixcap" else {}

    @cached_property
    def _path_of(self) -> dict[str, Path]:
        return {clip.id: Path(clip.path) for clip in self._run.clips()}

    @property
    def _generated(self) -> StageFolder:
        """Of the unaligned generator until the alignment is finished."""
        folders = self._folders
        if folders.awaits_alignment:
            unaligned = self._config.align.model_copy(update={"method": "none"})
            folders = StageFolders(self._config.model_copy(update={"align": unaligned}), self._run.clips)
        return folders.generate(0, self._folders.imagine)

    def _some(self, folder: StageFolder, stage: str, kind: type[R], work: Callable[[StageContext], object]) -> list[R]:
        """All records of a finished stage; of another those that there are after ``work``."""
        self._run.work_in(folder, stage, work)
        return folder.manifest(kind) if folder.done else list(folder.items(kind).values())


def few_of_each(clips: Sequence[Clip], count: int, seed: int) -> set[str]:
    """Ids of up to ``count`` clips of each label, drawn from the seed."""
    ordered = sorted(clips, key=lambda clip: derive_seed(seed, "preview", clip.id))
    labels = {label for clip in clips for label in clip.labels}
    return {clip.id for label in labels for clip in [c for c in ordered if label in c.labels][:count]}


@own_modes()
@quiet("transformers", "diffusers")
def make_preview(config: RunConfig, clips_per_class: int, reporter: Reporter) -> Preview:
    """Make the examples, and the page that plays them. What a changed setting does not concern is not made again.

    Raises: `ConfigError` where no arm adds synthetic clips; as `check_recipe`, before any model loads; what the stages
        raise.
    """
    if not config.train.adds_synthetic:
        raise ConfigError(
            f"train.arms is {', '.join(config.train.arms)}: none adds synthetic clips; add synthio to look"
        )
    check_recipe(config)
    run = Pipeline(config, reporter)
    preview = _FirstItems(run).preview(clips_per_class)
    with working_in(run.root):
        _write_page(config, preview, reporter)
    return preview


def _left_out(config: RunConfig, is_unaligned: bool) -> list[str]:
    left_out = []
    if is_unaligned:
        left_out.append("the generator is aligned with your clips first (`synthio evaluate t2a` shows the change)")
    if config.reflect.rounds:
        left_out.append(f"captions whose clips are rejected are rewritten, up to {config.reflect.rounds} times")
    if config.imagine.captions_per_clip > 1:
        left_out.append(f"{config.imagine.captions_per_clip} captions are written per training clip")
    return left_out


def _write_page(config: RunConfig, preview: Preview, reporter: Reporter) -> None:
    folder = preview.page.parent
    check_no_link(folder)
    media = Media(folder, config.data.max_duration_s, reporter)

    def players(number: int, example: Example) -> tuple[Example, Player, Player]:
        real = media.player(example.real, f"real-{number:03d}")
        return example, real, media.player(example.synthetic, f"synthetic-{number:03d}")

    view = {
        "name": folder.parent.name,
        "preview": preview,
        "shown": [players(number, example) for number, example in enumerate(preview.examples)],
        "rule": config.filter.rule,
        "reasons": reason_words(config.filter.rule),
        "recipe": to_yaml(config.model_dump(mode="json")),
    }
    write_text(preview.page, pages.render("preview", **view))
    media.remove_outdated()
