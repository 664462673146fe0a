"""What flows through the pipeline. Data goes one way:

Clip -> Caption -> Components -> Prompt -> Candidate -> Verdict -> training set -> predictions -> report.

Every record is frozen, has an ``id`` that is stable across runs, and is one JSON line in a stage's manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import ConfigDict

from synthio.frozen import Frozen

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT_SPLITS: tuple[Split, ...] = ("valid", "test")


class Record(Frozen):
    """Base: frozen, strict about unknown fields, identified."""

    model_config = ConfigDict(allow_inf_nan=False)

    id: str


class Clip(Record):
    """One real clip that was opened and found usable. ``id`` derives from its path inside the dataset."""

    path: str
    """Absolute path of the audio file."""
    labels: tuple[str, ...]
    """One label, or several for multi-label datasets; as the dataset spells them."""
    split: Split
    duration_s: float
    """Of what a run hears of it: at most ``data.max_duration_s``."""
    sample_rate_hz: int
    sha256: str
    """Of the decoded samples, so that the same audio in two containers is found."""
    group: str | None = None

    @property
    def unit(self) -> str:
        """What folds, held-out pairs and resampling keep whole: its group, or the clip itself where it has none."""
        return self.group or self.id


class RejectedClip(Record):
    """A file that cannot be used, and why. Stays in the manifest; nothing is dropped silently."""

    path: str
    reason: str


class Caption(Record):
    """A captioner's sentence for one training clip. ``id`` is the clip's."""

    text: str
    failed: str | None = None
    """Why the captioner failed; then ``text`` is the label template."""


class Components(Record):
    """Prompt 1's answer for one clip (arXiv 2410.02056). ``id`` is the clip's. Either list may be empty."""

    events: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    tries: int = 1
    failed: str | None = None


class Prompt(Record):
    """One caption to generate from, for one real clip."""

    clip_id: str
    labels: tuple[str, ...]
    text: str
    duration_s: float
    round: int = 0
    """0 = imagined; r = rewritten in reflection round r."""
    parent_id: str | None = None
    """The prompt that this one rewrites."""
    source: Literal["llm", "template", "top-up"] = "llm"
    failed: str | None = None
    """Why the language model's caption was not used (then ``text`` is a template top-up), or None."""


class Candidate(Record):
    """One generated clip. ``id`` is the prompt's."""

    prompt_id: str
    path: str | None
    """Audio file inside the stage folder; None when generation failed."""
    seed: int
    sample_rate_hz: int
    failed: str | None = None
    made_from: str | None = None
    """A hash of the generator and of all that it was asked: where it is the same, so is the clip; None where the
    generator is not known."""


Reason = Literal["accepted", "below-threshold", "copy", "generation-failed", "silent"]
"""Why the filter accepts a clip or does not."""


class Verdict(Record):
    """The filter's decision on one candidate. ``id`` is the candidate's."""

    similarity: float | None
    """Cosine of the CLAP embeddings of the audio and of `Sound of a {label}`; None when there is no audio."""
    score: float | None
    """What is compared with ``threshold``: the cosine, its lead over the data's other labels (`nearest`), or its
    logit-scaled sigmoid under the published rule."""
    threshold: float
    accepted: bool
    reason: Reason
    nearest_clip_id: str | None = None
    nearest_distance: float | None = None
    """Log-mel distance to the nearest training clip."""
    is_copy: bool = False


class RetrievedClip(Record):
    """A corpus clip near a real training clip. ``id`` is ``clip id/rank``."""

    clip_id: str
    """The real training clip."""
    labels: tuple[str, ...]
    """The real clip's."""
    path: str
    """Absolute path of the corpus clip."""
    similarity: float
    """Cosine of the CLAP embeddings of both clips."""


class PreferencePair(Record):
    """Real clip preferred over a generated one, for one template prompt (arXiv 2410.02056)."""

    clip_id: str
    prompt: str
    loser_path: str
    duration_s: float
    held_out: bool
    """Held-out pairs measure alignment and stop it; they are never trained on."""


class GatedClip(Record):
    """One real training clip, held out, under a classifier of the gate. ``id`` is ``share/clip id``."""

    clip_id: str
    group: str | None
    share: float
    """Expected share of synthetic clips in the batches of that training; 0 is real clips alone."""
    fold: int
    error: float
    """Mean squared error of its class probabilities (`metrics.brier_scores`)."""


GeneratorState = Literal["base", "aligned"]
"""The generator before and after alignment."""


class EvaluatedClip(Record):
    """A clip that was generated only to evaluate the generator. ``id`` is ``model/label/number``."""

    model: GeneratorState
    label: str
    path: str
    """Audio file inside the stage folder."""
    duration_s: float
    seed: int
    """The same for the base and the aligned model: the same dice, before and after."""
    failed: str | None = None
    """Why the model made no clip."""
    made_from: str | None = None
    """As of a `Candidate`."""


@dataclass(frozen=True)
class Samples:
    """The clips that one state of the generator made to be evaluated."""

    folder: Path
    """Where their paths are."""
    clips: tuple[EvaluatedClip, ...]


class Prediction(Record):
    """One test (or validation) clip under one trained classifier. ``id`` is ``arm/seed/clip id``."""

    arm: str
    seed: int
    clip_id: str
    split: Split
    labels: tuple[str, ...]
    scores: dict[str, float]
    """Probability per class: softmax for one label, sigmoid for several."""


# What a stage measures and the report shows; none of it goes on through the pipeline ---------------------------------


@dataclass(frozen=True)
class Measurement:
    """One row of the alignment curve; errors are the policy's minus the reference's, so 0 at the start."""

    step: int
    train_loss: float | None
    train_accuracy: float | None
    """Share of training pairs whose implicit reward prefers the real clip."""
    held_out_loss: float
    held_out_accuracy: float
    """Share of held-out draws whose implicit reward prefers the winner; 0.5 at the start by convention."""
    winner_error_change: float
    """On held-out real clips; above 0 = worse than before alignment."""
    loser_error_change: float
    """On held-out generated clips; above 0 is what alignment wants."""


def of_split(clips: Iterable[Clip], split: Split) -> list[Clip]:
    """The clips of one split, in order."""
    return [clip for clip in clips if clip.split == split]


def kept_together(training: Sequence[Clip]) -> list[str]:
    """The group of each training clip; of those without one, the first clip with the same audio: what the gate's
    cross-validation keeps in one fold."""
    same_audio: dict[str, str] = {}
    return [clip.group or same_audio.setdefault(clip.sha256, clip.id) for clip in training]


def have_several_labels(clips: Iterable[Clip]) -> bool:
    """Whether one of the training clips has more than one label."""
    return any(len(clip.labels) > 1 for clip in of_split(clips, "train"))


def is_multi_label(label_separator: str | None, clips: Iterable[Clip]) -> bool:
    """Whether a classifier may say several labels of a clip: where the recipe splits label cells, or a training clip
    has several."""
    return label_separator is not None or have_several_labels(clips)
