"""A first look before a run: of each class a few training clips, their captions, new captions, what the generator makes
of these, and what the filter says. Seconds to minutes, as only these clips are captioned, imagined and generated.

run_folder/preview/
  index.html   opens from disk, needs no network
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio import pages
from synthio.backends.modes import own_modes
from synthio.backends.quiet import quiet
from synthio.config import RunConfig
from synthio.formats import reason_words
from synthio.media import Media, Player
from synthio.pipeline import Pipeline, check_recipe
from synthio.progress import Reporter
from synthio.records import Clip, Reason, of_split
from synthio.seeds import derive_seed
from synthio.store import check_no_link, working_in, write_text


@dataclass(frozen=True)
class Example:
    """One training clip, and the synthetic one that was made for it."""

    labels: tuple[str, ...]
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
    left_out: tuple[str, ...]
    """What a run of the recipe would do besides."""


class _FewClips(Pipeline):
    """The stages up to the generator for some of the training clips. The filter is calibrated on all of them."""

    def __init__(self, config: RunConfig, clips_per_class: int, reporter: Reporter) -> None:
        imagine = config.imagine.model_copy(update={"captions_per_clip": 1})
        unaligned = config.align.model_copy(update={"method": "none"})
        super().__init__(config.model_copy(update={"imagine": imagine, "align": unaligned}), reporter)
        self._clips_per_class = clips_per_class

    def clips(self) -> list[Clip]:
        """Those of other splits, and the few of each class that the run's seed draws."""
        training = of_split(self._clips, "train")
        drawn = few_of_each(training, self._clips_per_class, self.config.seed)
        return [clip for clip in self._clips if clip.split != "train" or clip.id in drawn]


def few_of_each(clips: Sequence[Clip], count: int, seed: int) -> set[str]:
    """Ids of up to ``count`` clips of each label, drawn from the seed."""
    ordered = sorted(clips, key=lambda clip: derive_seed(seed, "preview", clip.id))
    labels = {label for clip in clips for label in clip.labels}
    return {clip.id for label in labels for clip in [c for c in ordered if label in c.labels][:count]}


@own_modes()
@quiet("transformers", "diffusers")
def make_preview(config: RunConfig, clips_per_class: int, reporter: Reporter) -> Preview:
    """Make the examples, and the page that plays them. What a changed setting does not concern is not made again.

    Raises: as `check_recipe`, before any model loads; what the stages raise.
    """
    check_recipe(config)
    few = _FewClips(config, clips_per_class, reporter)
    examples = tuple(_examples(few))
    with working_in(few.root):
        page = _write_page(config, examples, few.root / "preview" / "index.html", reporter)
    return Preview(page, examples, tuple(_left_out(config)))


def _examples(few: _FewClips) -> list[Example]:
    captions = {caption.id: caption for caption in few.captions()} if few.config.imagine.mode == "mixcap" else {}
    prompts = few.prompts()[1]
    candidates, generated = few.first_candidates()
    verdicts = few.verdicts(prompts, candidates, generated)
    clips = {clip.id: clip for clip in few.clips()}
    examples = []
    for prompt, candidate, verdict in zip(prompts, candidates, verdicts, strict=True):
        caption = captions.get(prompt.clip_id)
        examples.append(
            Example(
                labels=prompt.labels,
                clip_id=prompt.clip_id,
                real=Path(clips[prompt.clip_id].path),
                caption=caption.text if caption else None,
                caption_failed=caption.failed if caption else None,
                prompt=prompt.text,
                prompt_failed=prompt.failed,
                synthetic=None if candidate.path is None else generated.file(candidate.path),
                reason=verdict.reason,
                similarity=verdict.similarity,
                score=verdict.score,
                threshold=verdict.threshold,
            )
        )
    return sorted(examples, key=lambda example: (example.labels, example.clip_id))


def _left_out(config: RunConfig) -> list[str]:
    left_out = []
    if config.align.method != "none":
        left_out.append("the generator is aligned with your clips first (`synthio evaluate t2a` shows the change)")
    if config.reflect.rounds:
        left_out.append(f"captions whose clips are rejected are rewritten, up to {config.reflect.rounds} times")
    if config.imagine.captions_per_clip > 1:
        left_out.append(f"{config.imagine.captions_per_clip} captions are written per training clip")
    return left_out


def _write_page(config: RunConfig, examples: Sequence[Example], page: Path, reporter: Reporter) -> Path:
    check_no_link(page.parent)
    media = Media(page.parent, config.data.max_duration_s, reporter)

    def players(number: int, example: Example) -> tuple[Example, Player, Player]:
        real = media.player(example.real, f"real-{number:03d}")
        return example, real, media.player(example.synthetic, f"synthetic-{number:03d}")

    shown = [players(number, example) for number, example in enumerate(examples)]
    view: dict[str, object] = {"name": page.parent.parent.name, "shown": shown, "left_out": _left_out(config)}
    view |= {"rule": config.filter.rule, "reasons": reason_words(config.filter.rule)}
    write_text(page, pages.render("preview", **view))
    media.remove_outdated()
    return page
