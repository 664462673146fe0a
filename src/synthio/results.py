"""A finished run: what its stages made, read for people and for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from synthio.arms import AddedClip, Training, model_folder, read_trainings, unheard_warnings
from synthio.comparison import read_comparison
from synthio.config import RunConfig
from synthio.confusion import Confusion, confusion
from synthio.curves import curve_warnings
from synthio.errors import MissingArtefact
from synthio.formats import some
from synthio.records import Candidate, Clip, Prediction, Prompt, Verdict, is_multi_label
from synthio.stages.clips import all_warnings
from synthio.stages.dataset import Accepted
from synthio.stages.filter import FilterSummary, real_clip_warnings
from synthio.stages.gate import GateMeasures
from synthio.store import StageFolder
from synthio.verdict import Comparison, Effect, effect, recommended_arm, verdict_text

Made = tuple[Prompt, Candidate, Verdict]
"""A caption, the clip that was generated for it, and what the filter says of that."""


@dataclass(frozen=True)
class Round:
    """One turn of imagine (or rewrite), generate, filter."""

    number: int
    prompts: tuple[Prompt, ...]
    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]
    imagined: StageFolder
    generated: StageFolder
    filtered: StageFolder

    @property
    def made(self) -> list[Made]:
        """Of each caption, in order."""
        return list(zip(self.prompts, self.candidates, self.verdicts, strict=True))

    @property
    def accepted(self) -> list[Made]:
        """What the filter let in."""
        return [made for made in self.made if made[2].accepted]


def accepted_clips(rounds: Sequence[Round]) -> list[Accepted]:
    """The accepted clips of all rounds: what the dataset holds and the classifier trains on."""
    return [
        Accepted(prompt, candidate, verdict, r.generated.file(candidate.path))
        for r in rounds
        for prompt, candidate, verdict in r.accepted
        if candidate.path is not None
    ]


def synthetic_clips(rounds: Sequence[Round]) -> list[AddedClip]:
    """The accepted clips, for the classifier."""
    return [
        AddedClip(path=str(item.audio), labels=item.prompt.labels, clip_id=item.prompt.clip_id)
        for item in accepted_clips(rounds)
    ]


@dataclass(frozen=True, repr=False)
class FinishedRun:
    """What a run made, for those who read it."""

    config: RunConfig
    root: Path
    clips: tuple[Clip, ...]
    rounds: tuple[Round, ...]
    clips_folder: StageFolder
    align_folder: StageFolder | None
    losers_folder: StageFolder
    caption_folder: StageFolder
    extract_folder: StageFolder
    train_folder: StageFolder
    gate: GateMeasures | None
    """None when the recipe does not ask the gate."""
    seconds: Mapping[str, float]
    hub_commits: Mapping[str, Sequence[str]]
    """Of the hub models that it used, by identity."""

    def __repr__(self) -> str:
        return f"FinishedRun(root={str(self.root)!r})"

    def model_folder(self, arm: str) -> Path:
        """The arm's trained classifier, of the seed that was best on the validation clips.

        Raises: `MissingArtefact` for an arm that the run has not, or whose weights were deleted.
        """
        best, _ = self._best_training(arm)
        weights = model_folder(best, arm)
        if not weights.is_dir():
            raise MissingArtefact(
                f"{weights}: the trained weights are gone; delete {best} and run the same recipe: it trains them anew"
            )
        return weights

    def _best_training(self, arm: str) -> tuple[Path, Training]:
        of_arm = {folder: training for folder, training in self.trainings.items() if training.arm == arm}
        if not of_arm:
            arms = sorted({training.arm for training in self.trainings.values()})
            raise MissingArtefact(f"{self.root} has no arm {arm!r}, but {', '.join(arms)}; add it to train.arms")
        return max(of_arm.items(), key=lambda item: item[1].best.rank)

    @cached_property
    def trainings(self) -> dict[Path, Training]:
        """As `read_trainings`."""
        return read_trainings(self.train_folder)

    @property
    def recommended_arm(self) -> str:
        """The arm whose classifier to use (`verdict.recommended_arm`)."""
        return recommended_arm(self.comparison)

    @property
    def verdict(self) -> str:
        """What the comparison says of synthetic clips, in words."""
        return verdict_text(self.comparison)

    @property
    def effect(self) -> Effect:
        """The same in one word."""
        return effect(self.comparison)

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "report" / "index.html"

    @property
    def model(self) -> Path:
        """The classifier to use, a copy of the training of `recommended_arm` with `model_seed`."""
        return self.root / "model"

    @property
    def model_seed(self) -> int:
        """The seed of its training; with `recommended_arm`, which rows of ``predictions.csv`` are its own."""
        return self._best_training(self.recommended_arm)[1].seed

    @cached_property
    def confusion(self) -> Confusion:
        """What the classifier to use says of the test clips of each class."""
        arm, seed = self.recommended_arm, self.model_seed
        own = [row for row in self.train_folder.manifest(Prediction) if (row.arm, row.seed) == (arm, seed)]
        return confusion(own, self.clips, is_multi_label(self.config.data.label_separator, self.clips))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Of the data, the alignment, the synthetic clips and the trainings."""
        return (
            *_data_warnings(self),
            *_warnings(self.config, self.align_folder, self.rounds),
            *curve_warnings(list(self.trainings.values())),
        )

    @cached_property
    def comparison(self) -> Comparison:
        """The arms, their difference and its interval."""
        return read_comparison(self.train_folder, self.clips, self.config)


def _data_warnings(run: FinishedRun) -> list[str]:
    """What was told of the clips when they were read, and when the classifier was made."""
    heard_s = next(iter(run.trainings.values())).heard_s
    return [*all_warnings(run.config, run.clips, run.clips_folder), *unheard_warnings(run.clips, heard_s)]


def _warnings(config: RunConfig, align_folder: StageFolder | None, rounds: Sequence[Round]) -> list[str]:
    warnings = list(align_folder.summary()["warnings"]) if align_folder is not None else []
    topped_up = sum(prompt.source == "top-up" for r in rounds for prompt in r.prompts)
    prompts = sum(len(r.prompts) for r in rounds)
    if topped_up:
        warnings.append(
            f"{topped_up} of {prompts} captions are template top-ups: the language model's own failed "
            f"{config.imagine.max_tries} times; the manifest has each reason"
        )
    return [*warnings, *_acceptance_warnings(rounds)]


def _acceptance_warnings(rounds: Sequence[Round]) -> list[str]:
    """Of what the filter let in, in all and by label."""
    if not rounds:
        return []
    warnings = real_clip_warnings(rounds[0].filtered.summary_as(FilterSummary).real_clips)
    wanted = Counter(prompt.labels for prompt in rounds[0].prompts)
    accepted = Counter(prompt.labels for r in rounds for prompt, _, _ in r.accepted)
    if accepted.total() < wanted.total() // 4:
        warnings.append(
            f"only {accepted.total()} of {wanted.total()} wanted synthetic clips were accepted: "
            + ("the filter may not know these sounds" if warnings else "the generator may not know these sounds")
        )
    few = [
        f"{' and '.join(labels)!r} {accepted[labels]} of {count}"
        for labels, count in wanted.items()
        if accepted[labels] < count // 4
    ]
    if few and accepted:
        warnings.append(
            f"few synthetic clips were accepted of {some(few)}: the classifier is trained on those few as often as on "
            "many (train.synthetic_share), and for a label without any on real clips only"
        )
    return warnings
