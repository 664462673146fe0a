"""The order of the stages and the one loop (reflection).

Each stage's result lies in the folder that `stage_folders` names; a finished one is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeVar

from synthio.arms import AddedClip, check_arms
from synthio.backends.classifier import load_trained
from synthio.backends.modes import own_modes
from synthio.backends.parts import check_models
from synthio.backends.quiet import quiet
from synthio.cards import dataset_card, model_card
from synthio.comparison import read_comparison
from synthio.config import Arm, RunConfig
from synthio.context import StageContext
from synthio.data_check import check_wanted
from synthio.errors import MissingArtefact, ModelError, StoreError
from synthio.models import Models, hub_commits, model_warnings
from synthio.progress import Reporter
from synthio.recipes import to_yaml
from synthio.records import (
    Candidate,
    Caption,
    Clip,
    Components,
    GatedClip,
    Prediction,
    PreferencePair,
    Prompt,
    Record,
    RetrievedClip,
    Verdict,
)
from synthio.report_data import collect_report
from synthio.report_page import write_report
from synthio.results import FinishedRun, Round, accepted_clips, synthetic_clips
from synthio.stage_folders import StageFolders
from synthio.stages.align import align, make_pairs
from synthio.stages.caption import caption_clips
from synthio.stages.clips import collect_clips, tell_warnings
from synthio.stages.dataset import write_dataset
from synthio.stages.filter import Calibration, calibrate, filter_candidates
from synthio.stages.gate import GateMeasures, choose_share, measure_shares
from synthio.stages.generate import generate_candidates
from synthio.stages.imagine import extract_components, imagine_prompts, reflect_prompts
from synthio.stages.predictions import write_predictions
from synthio.stages.retrieve import corpus_files, retrieve_clips
from synthio.stages.train import train_arms
from synthio.store import RUN_RECIPE, StageFolder, check_run_folder, damage_error, how_to_run, working_in
from synthio.verdict import verdict_text
from synthio.work_log import WorkLog
from synthio.writing import publish, write_text

R = TypeVar("R", bound=Record)

#: In order. `synthio STAGE RECIPE` runs one of them (`synthio evaluate t2a RECIPE` the last but one), and the first,
#: which is no command, with each.
STAGES = ("clips", "caption", "imagine", "align", "generate", "filter", "retrieve", "train", "evaluate", "report")
#: Those that make clips, or what only these need.
_GENERATING = frozenset({"caption", "imagine", "align", "generate", "evaluate"})


def check_recipe(config: RunConfig) -> None:
    """Whether all that a run needs besides its data is here, before anything loads: models, devices, libraries, corpus,
    a folder of its own.

    Raises: as `check_run_folder`, `check_models`, `check_arms` and, where retrieval is an arm, `corpus_files`.
    """
    check_run_folder(config.run_folder)
    check_models(config)
    check_arms(config)
    if "retrieval" in config.train.arms:
        corpus_files(config)


class Pipeline:
    """One run of one recipe in one run folder."""

    def __init__(self, config: RunConfig, reporter: Reporter, may_run: Sequence[str] = STAGES) -> None:
        """``may_run``: stages that may do work; the others must be finished already.

        Raises: `StoreError` when the run folder is a file.
        """
        if config.run_folder.exists() and not config.run_folder.is_dir():
            raise StoreError(f"{config.run_folder}: is a file; expected a folder, or a path where none is yet")
        self.config, self.reporter = config, reporter
        self._may_run: frozenset[str] = frozenset(may_run)
        self.folders = StageFolders(config, self.clips)
        self.root = self.folders.root
        self._log = WorkLog(self.root)
        self._used: set[str] = set()

    def __repr__(self) -> str:
        return f"Pipeline(run_folder={str(self.config.run_folder)!r})"

    # Stages -------------------------------------------------------------------------------------------------------

    def clips(self) -> list[Clip]:
        """The usable real clips."""
        return self._clips

    def captions(self) -> list[Caption]:
        """One caption per training clip."""
        clips = self.clips()
        return self.once(
            self.folders.caption,
            "caption",
            Caption,
            lambda context: caption_clips(context, clips, self.models.captioner),
        )

    def alignment(self) -> StageFolder | None:
        """The folder of the alignment; None when ``align.method`` is `none`."""
        clips = self.clips()
        if self.config.align.method == "none":
            return None
        losers = self.folders.losers
        pairs = self.once(
            losers,
            "align",
            PreferencePair,
            lambda context: make_pairs(context, clips, self.models.alignable_generator),
        )
        self.once(
            self.folders.align,
            "align",
            PreferencePair,
            lambda context: align(context, clips, pairs, losers, self.models.alignable_generator),
        )
        return self.folders.align

    def prompts(self) -> tuple[list[Components], list[Prompt]]:
        """Components of the training clips, and the imagined captions."""
        clips, components = self.clips(), self.components()
        prompts = self.once(
            self.folders.imagine,
            "imagine",
            Prompt,
            lambda context: imagine_prompts(context, clips, components, self.models.language_model),
        )
        return components, prompts

    def components(self) -> list[Components]:
        """Events and scenes of the training clips' captions; none where captions are not mixed from those."""
        if self.config.imagine.mode != "mixcap":
            return []
        clips, captions = self.clips(), self.captions()
        return self.once(
            self.folders.extract,
            "imagine",
            Components,
            lambda context: extract_components(context, clips, captions, self.models.language_model),
        )

    def first_candidates(self) -> tuple[list[Candidate], StageFolder]:
        """Round 0's clips."""
        self.alignment()
        return self._generate(0, self.prompts()[1], self.folders.imagine, "generate")

    def rounds(self) -> list[Round]:
        """Round 0 and the reflection rounds: the bounded loop."""
        components, prompts = self.prompts()
        candidates, generated = self.first_candidates()
        rounds = [self._filtered(0, prompts, candidates, self.folders.imagine, generated)]
        for number in range(1, self.config.reflect.rounds + 1):
            refused = [prompt for prompt, _, verdict in rounds[-1].made if not verdict.accepted]
            if not refused:
                break
            rounds.append(self._reflected(number, rounds, refused, components))
        return rounds

    def wanted_rounds(self) -> list[Round]:
        """The same; none where no arm adds synthetic clips."""
        return self.rounds() if self.config.train.adds_synthetic else []

    def _reflected(
        self, number: int, rounds: Sequence[Round], refused: Sequence[Prompt], components: Sequence[Components]
    ) -> Round:
        """What became of the captions ``refused`` in the round before."""
        last = rounds[-1]
        accepted = [prompt for r in rounds for prompt, _, _ in r.accepted]
        imagined = self.folders.reflect(number, last.filtered)
        prompts = self.once(
            imagined,
            "filter",
            Prompt,
            lambda context: reflect_prompts(context, number, refused, accepted, components, self.models.language_model),
        )
        if not prompts:
            # The language model gave up on all of them: nothing to generate, but to be told.
            return Round(number, (), (), (), imagined, last.generated, last.filtered)
        candidates, generated = self._generate(number, prompts, imagined, "filter")
        return self._filtered(number, prompts, candidates, imagined, generated)

    def _filtered(
        self,
        number: int,
        prompts: Sequence[Prompt],
        candidates: Sequence[Candidate],
        imagined: StageFolder,
        generated: StageFolder,
    ) -> Round:
        def work(context: StageContext) -> None:
            clap = self.models.clap
            filter_candidates(context, self.calibration, prompts, candidates, generated, clap)

        filtered = self.folders.filter(number, generated)
        verdicts = self.once(filtered, "filter", Verdict, work)
        return Round(number, tuple(prompts), tuple(candidates), tuple(verdicts), imagined, generated, filtered)

    def dataset(self) -> Path:
        """The accepted clips as an audiofolder."""
        return self._write_dataset(self.rounds())

    def _write_dataset(self, rounds: Sequence[Round]) -> Path:
        accepted, folder = accepted_clips(rounds), self.root / "dataset"
        with working_in(self.root):
            write_dataset(accepted, folder)
            card = dataset_card(self.root.name, self.config, accepted, self.hub_commits(), self.models.is_aligned)
            write_text(folder / "README.md", card)
        return folder

    def retrieved(self) -> list[RetrievedClip]:
        """Corpus clips near the real training clips."""
        clips, identity = self.clips(), self.folders.clap_identity
        return self.once(
            self.folders.retrieve,
            "retrieve",
            RetrievedClip,
            lambda context: retrieve_clips(context, clips, self.models.clap, identity),
        )

    def gate(self) -> GateMeasures:
        """What cross-validation on the training clips says of each share of synthetic clips."""
        clips, rounds = self.clips(), self.rounds()
        synthetic = synthetic_clips(rounds)
        folder = self.folders.gate([r.filtered for r in rounds])
        self._once_alone(folder, lambda context: measure_shares(context, clips, synthetic), GatedClip)
        return folder.summary_as(GateMeasures)

    @cached_property
    def _gated_share(self) -> float:
        """The share of a batch that the gate leaves to synthetic clips; 0 is real clips alone."""
        share = choose_share(self.gate(), self.config.gate.level)
        self.reporter.note(
            f"gate: {f'synthetic clips, {100 * share:.0f}% of a batch' if share else 'real clips alone'}"
        )
        return share

    def predictions(self) -> StageFolder:
        """The folder of the validation and test predictions of every arm with every seed, and of their trainings."""
        clips, rounds = self.clips(), self.wanted_rounds()
        added_clips, shares = self._added_clips(rounds)
        filtered = {"synthio": [r.filtered for r in rounds]}
        units = {
            (arm, seed): self.folders.training(arm, seed, filtered.get(arm, ()), shares.get(arm))
            for arm in self.config.train.arms
            for seed in range(self.config.train.seeds)
        }
        self._used |= {unit.path.name for unit in units.values()}
        folder = self.folders.train(units.values())
        train_arms(self._context(folder), clips, added_clips, shares, units, self._once_alone)
        return folder

    def _trained(self) -> Path:
        """The folder of `predictions`, whose verdict is told: no page shows it yet."""
        folder = self.predictions()
        if len(self.config.train.arms) > 1:
            self.reporter.note(verdict_text(read_comparison(folder, self.clips(), self.config)))
        return folder.path

    def _added_clips(self, rounds: Sequence[Round]) -> tuple[dict[Arm, list[AddedClip]], dict[Arm, float]]:
        """Of the arms whose clips are files, and the share of a batch that the gate leaves them."""
        added_clips: dict[Arm, list[AddedClip]] = {}
        shares: dict[Arm, float] = {}
        if rounds:
            added_clips["synthio"] = synthetic_clips(rounds)
            if self.config.train.asks_gate and added_clips["synthio"]:
                shares["synthio"] = self._gated_share
                if not shares["synthio"]:
                    del added_clips["synthio"]
            elif self.config.train.asks_gate:
                # It then says that there was nothing to decide.
                self.gate()
        if "retrieval" in self.config.train.arms:
            found = self.retrieved()
            added_clips["retrieval"] = [AddedClip(path=r.path, labels=r.labels, clip_id=r.clip_id) for r in found]
        return added_clips, shares

    def _once_alone(
        self, folder: StageFolder, work: Callable[[StageContext], object], kind: type[Record] = Prediction
    ) -> None:
        """Trainings, with all the memory that there is."""

        def work_alone(context: StageContext) -> None:
            self.models.release()
            work(context)

        self.once(folder, "train", kind, work_alone)

    def report(self) -> Path:
        """Write the page, and put the accepted clips, the predictions and the classifier to use beside it. Always anew:
        all their inputs are on disk.

        Raises: as `finished`, and where nothing has run, `MissingArtefact` before the clips are read.
        """
        if not (self.root / "stages").is_dir():
            raise MissingArtefact(f"{self.root}: nothing has run there; {how_to_run('report')}")
        # Files that were moved or touched are the same clips, once they are read again.
        self.clips()
        finished = self.finished()
        with working_in(self.root):
            # What is damaged shows in these, and must not leave one recipe's page beside another's model.
            weights = finished.model_folder(finished.recommended_arm)
            _check_trained(weights)
            if self.config.train.adds_synthetic:
                self._write_dataset(finished.rounds)
            data = collect_report(finished)
            page = write_report(data, self.root / "report", self.reporter)
            predictions = finished.train_folder.manifest(Prediction)
            write_predictions(predictions, finished.clips, self.root / "predictions.csv")
            publish(weights, finished.model)
            write_text(finished.model / "README.md", model_card(data))
        return page

    def finished(self) -> FinishedRun:
        """Everything that the run made; nothing runs.

        Raises: `MissingArtefact` naming the stage that has not run, `DataError` when the data cannot be read.
        """
        with self.only_reading():
            rounds = self.wanted_rounds()
            return FinishedRun(
                config=self.config,
                root=self.root,
                clips=tuple(self.clips()),
                rounds=tuple(rounds),
                clips_folder=self.folders.clips,
                align_folder=self.alignment() if self.config.train.adds_synthetic else None,
                losers_folder=self.folders.losers,
                caption_folder=self.folders.caption,
                extract_folder=self.folders.extract,
                train_folder=self.predictions(),
                gate=self.gate() if self.config.train.asks_gate else None,
                seconds=self.timings(),
                hub_commits=self.hub_commits(),
            )

    @own_modes()
    @quiet("transformers", "diffusers")
    def run(self) -> Path:
        """Every stage in order, those of synthetic clips where an arm adds them; returns the report page.

        Raises: as `check_recipe`, before any model loads; what the stages raise.
        """
        check_recipe(self.config)
        for warning in model_warnings(self.config):
            self.reporter.warn(warning)
        # The data can be read, before anything is written.
        _ = self.folders.clips
        with working_in(self.root):
            self.write_recipe()
            if self.config.train.adds_synthetic:
                # Captions come before alignment: a model behind an endpoint that does not answer is seen at once.
                self.dataset()
            self.predictions()
            return self.report()

    @own_modes()
    @quiet("transformers", "diffusers")
    def run_stage(self, stage: str) -> Path:
        """One stage; what it needs must be finished. Returns what a person would open next: a page, the dataset, or the
        stage's folder, whose ``manifest.jsonl`` has its records; the run folder where nothing is aligned. The stage
        `evaluate` is that of `evaluation.evaluate`."""

        def after(work: Callable[[], object], name: str) -> Path:
            work()
            folder: StageFolder = getattr(self.folders, name)
            return folder.path

        actions: dict[str, Callable[[], Path]] = {
            "clips": lambda: after(self.clips, "clips"),
            "caption": lambda: after(self.captions, "caption"),
            "imagine": lambda: after(self.prompts, "imagine"),
            "align": lambda: self.root if (aligned := self.alignment()) is None else aligned.path,
            "generate": lambda: self.first_candidates()[1].path,
            "filter": self.dataset,
            "retrieve": lambda: after(self.retrieved, "retrieve"),
            "train": self._trained,
            "report": self.report,
        }
        check_run_folder(self.root)
        result = actions[stage]()
        # A stage that could not run leaves the record of the last one that did.
        self.write_recipe()
        return result

    def write_recipe(self) -> None:
        """Keep the resolved recipe in the run folder. Raises: `StoreError` when another process works there."""
        with working_in(self.root):
            write_text(self.root / RUN_RECIPE, to_yaml(self.config.model_dump(mode="json")))

    def timings(self, by: Literal["stage", "folder"] = "stage") -> dict[str, float]:
        """Seconds spent on every stage, or stage folder, that this object has used, over all sittings; not on those of
        other settings."""
        return self._log.seconds(self._used, by)

    def hub_commits(self) -> dict[str, list[str]]:
        """The commits of every hub model, by its identity, that the stage folders were made with that this object has
        used."""
        return self._log.hub_commits(self._used)

    @cached_property
    def _clips(self) -> list[Clip]:
        folder = self.folders.clips
        clips = self.once(folder, "clips", Clip, collect_clips)
        tell_warnings(self.config, clips, folder, self.reporter)
        return clips

    # Work ---------------------------------------------------------------------------------------------------------

    def once(self, folder: StageFolder, stage: str, kind: type[R], work: Callable[[StageContext], object]) -> list[R]:
        """The folder's records; does the work first when it is not finished and this run may do it.

        Raises: as `work_in`.
        """
        self.work_in(folder, stage, work)
        return folder.manifest(kind)

    def work_in(self, folder: StageFolder, stage: str, work: Callable[[StageContext], object]) -> None:
        """Do the work when the folder is not finished and this run may do it; the work need not finish it.

        Raises: `MissingArtefact`; as `check_wanted` before work that would be for nothing; what the work raises.
        """
        self._used.add(folder.path.name)
        if not folder.done:
            self._work_anew(folder, stage, work)
        self._warn_of_moved_models(folder)

    def _work_anew(self, folder: StageFolder, stage: str, work: Callable[[StageContext], object]) -> None:
        if stage not in self._may_run:
            raise MissingArtefact(
                f"stage `{stage}` is not finished for this recipe in {self.root}; {how_to_run(stage)}"
            )
        if stage in _GENERATING:
            check_wanted(self.config, self.clips())
        with working_in(self.root):
            # Another process may have finished it in between.
            if not folder.done:
                loaded = partial(hub_commits, self.config, folder.stage)
                with self._log.noted(folder.stage, folder.path.name, loaded):
                    work(self._context(folder))

    def _warn_of_moved_models(self, folder: StageFolder) -> None:
        """Where the hub has another commit of a model now than the run's results were made with."""
        now = hub_commits(self.config, folder.stage)
        made_with = self.hub_commits() if now else {}
        for model, commit in now.items():
            commits = list(dict.fromkeys([*made_with.get(model, ()), commit]))
            if len(commits) > 1:
                self.reporter.warn(
                    f"{model}: the hub's commit has changed during this run ({', '.join(commits)}), and what was made "
                    "with an earlier one is kept; to make all with one, set `revision` beside the name of the model to "
                    "its commit"
                )

    def _context(self, folder: StageFolder) -> StageContext:
        return StageContext(self.config, folder, self.reporter)

    @contextmanager
    def only_reading(self) -> Iterator[None]:
        """No stage may do work meanwhile."""
        allowed, self._may_run = self._may_run, frozenset()
        try:
            yield
        finally:
            self._may_run = allowed

    def is_finished(self, stage: str) -> bool:
        """Whether a run would only read what a stage between the clips and the report makes first; False also where
        that cannot be known before an earlier stage is finished. Of `filter`: with all rounds of reflection."""
        makers: dict[str, Callable[[], object]] = {
            "caption": self.captions,
            "imagine": self.prompts,
            "align": self.alignment,
            "generate": self.first_candidates,
            "filter": self.rounds,
            "train": self.predictions,
        }
        try:
            with self.only_reading():
                makers[stage]()
        except MissingArtefact:
            return False
        return True

    def _generate(
        self, number: int, prompts: Sequence[Prompt], imagined: StageFolder, stage: str
    ) -> tuple[list[Candidate], StageFolder]:
        def work(context: StageContext) -> None:
            # Whether the filter knows the classes is to be told before hours of generation. The generator loads
            # afterwards, as it may need the memory of the CLAP.
            _ = self.calibration
            generate_candidates(context, self.clips(), prompts, self.models.generator)

        folder = self.folders.generate(number, imagined)
        return self.once(folder, stage, Candidate, work), folder

    @cached_property
    def calibration(self) -> Calibration:
        """What the filter measures on the real clips; it tells of those that it would drop."""
        return calibrate(self.config, self.clips(), self.models.clap, self.reporter)

    @cached_property
    def models(self) -> Models:
        """Those of the run, each loaded when it is first needed."""
        return Models(self.config, self.root, lambda: self.folders.align, self.reporter)


def _check_trained(folder: Path) -> None:
    """Raises: `StoreError` for a trained classifier that is damaged, before it takes the place of a good one."""
    try:
        load_trained(str(folder))
    except ModelError as error:
        raise damage_error(folder, f"was made by this run and is damaged ({error})") from error
