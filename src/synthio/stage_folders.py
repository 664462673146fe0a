"""Where the result of each stage lies: a folder whose key hashes what the result depends on.

So running again resumes, a changed knob reruns its stage and what follows, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from synthio.backends.choices import AnySection, backend_of, plugin_of
from synthio.backends.identity import model_identity, prompts_identity
from synthio.config import STAGE_VERSIONS, Arm, CaptionConfig, ImagineConfig, RunConfig
from synthio.datasets.keys import data_fingerprint, drawn_fingerprint, row_content
from synthio.errors import MissingArtefact
from synthio.recipes import Section
from synthio.records import Clip, GeneratorState, of_split
from synthio.stages.retrieve import corpus_digest, corpus_root
from synthio.store import StageFolder, fingerprint

#: Fields of the train section that no training depends on, but how the trained are compared.
COMPARISON_FIELDS = frozenset({"bootstrap_samples", "tail_fraction"})
#: Those that say which trainings there are, but not how one goes.
_OF_ALL_TRAININGS = COMPARISON_FIELDS | {"arms", "seeds", "synthetic_share", "use_synthetic"}

#: Fields that change how fast a stage runs but not what it makes; left out of the keys.
EXECUTION_FIELDS: dict[str, frozenset[str]] = {
    "t2a": frozenset({"batch_size", "device"}),
    "clap": frozenset({"batch_size", "device"}),
    "caption": frozenset({"batch_size", "device"}),
    "imagine": frozenset({"batch_size", "device"}),
    "train": frozenset({"device"}),
    "endpoint": frozenset(
        {
            "api_key_variable",
            "concurrency",
            "price_per_million_input_tokens",
            "price_per_million_output_tokens",
        }
    ),
}
_NAMES_OF_MODELS = frozenset({"model", "revision"})
#: Fields that no endpoint's captions depend on.
_UNREAD_BY_ENDPOINTS = frozenset({"tags_per_clip"})


class StageFolders:
    """The folders of one recipe's stages. Raises `DataError` where a key needs data that cannot be read."""

    def __init__(self, config: RunConfig, clips: Callable[[], Sequence[Clip]]) -> None:
        """``clips``: the usable real clips, asked for by keys that depend on them."""
        self._config, self._clips = config, clips
        #: The run folder, wherever the process goes afterwards.
        self.root = config.run_folder.absolute()

    @cached_property
    def clips(self) -> StageFolder:
        """The real clips."""
        return self._folder("clips", fingerprint([STAGE_VERSIONS["clips"], data_fingerprint(self._config)]))

    @cached_property
    def caption(self) -> StageFolder:
        """Their captions."""
        asked = [STAGE_VERSIONS["caption"], prompts_identity("caption")]
        parts = [self._section("caption"), self._captioner_identity, asked, self._training_clips, self._config.seed]
        return self._folder("caption", fingerprint(parts))

    @cached_property
    def losers(self) -> StageFolder:
        """The generated clips that lose against real ones."""
        align = self._config.align
        pairs = [STAGE_VERSIONS["losers"], align.losers_per_clip, align.held_out_fraction]
        parts = [pairs, self._t2a_identity, self._training_clips, self._config.data.max_duration_s, self._config.seed]
        return self._folder("losers", fingerprint(parts))

    @cached_property
    def align(self) -> StageFolder:
        """The adapter."""
        parts = [STAGE_VERSIONS["align"], self._section("align"), self.losers.key, self._config.seed]
        return self._folder("align", fingerprint(parts))

    @property
    def awaits_alignment(self) -> bool:
        """Whether the recipe aligns the generator, and that is not finished."""
        try:
            return self._config.align.method != "none" and not self.align.done
        except MissingArtefact:
            # Where it would lie depends on the clips, which are not collected yet.
            return True

    @cached_property
    def extract(self) -> StageFolder:
        """Events and scenes of the captions."""
        return self._folder("extract", self._imagine_key)

    @cached_property
    def imagine(self) -> StageFolder:
        """The imagined captions."""
        return self._folder("imagine", self._imagine_key)

    def reflect(self, number: int, filtered: StageFolder) -> StageFolder:
        """The captions that a round of reflection rewrote after ``filtered``."""
        return self._folder(f"reflect-{number}", fingerprint([self._imagine_key, filtered.key]))

    def generate(self, number: int, prompts: StageFolder) -> StageFolder:
        """A round's generated clips; round 0 is before any reflection."""
        made_by = [self._t2a_identity, self._align_identity]
        key = fingerprint([*made_by, prompts.key, self._config.seed])
        return self._folder("generate" if number == 0 else f"generate-{number}", key, fingerprint(made_by))

    def filter(self, number: int, generated: StageFolder) -> StageFolder:
        """Verdicts on a round's clips."""
        own = [STAGE_VERSIONS["filter"], self._section("filter")]
        parts = [own, self.clap_identity, self._training_clips, generated.key]
        return self._folder("filter" if number == 0 else f"filter-{number}", fingerprint(parts))

    @cached_property
    def retrieve(self) -> StageFolder:
        """The retrieved clips of the corpus."""
        corpus = [STAGE_VERSIONS["retrieve"], corpus_digest(self._config), str(corpus_root(self._config))]
        # All files of the data, drawn or not and wherever they lie: none is retrieved.
        rows = drawn_fingerprint(self._config, row_content(self._config))
        parts = [corpus, self.clap_identity, rows, self._clips_identity, self._config.imagine.captions_per_clip]
        return self._folder("retrieve", fingerprint([*parts, self._config.data.max_duration_s]))

    def gate(self, filtered: Sequence[StageFolder]) -> StageFolder:
        """The gate's evidence. How the arms are compared afterwards does not matter to it, nor does its level."""
        gate = self._config.gate
        settings = [STAGE_VERSIONS["gate"], gate.folds, gate.shares]
        return self._folder("gate", self._training_key(settings, filtered))

    def training(self, arm: Arm, seed: int, filtered: Sequence[StageFolder], share: float | None) -> StageFolder:
        """One arm's training with one seed, and its predictions.

        ``filtered``: stages whose accepted clips the arm adds; ``share``: of a batch, where the gate has chosen one.
        """
        train, added = self._config.train, None
        if arm != "gold":
            # Also of arms without language model: the number of copies, and the default share of a batch.
            added = [self._config.imagine.captions_per_clip, train.synthetic_share, share]
        retrieved = self.retrieve.key if arm == "retrieval" else None
        return self._folder("train", self._training_key([arm, seed, added, retrieved], filtered))

    def train(self, trainings: Iterable[StageFolder]) -> StageFolder:
        """All predictions together."""
        return self._folder("train", fingerprint(["trainings", [folder.key for folder in trainings]]))

    def samples(self, state: GeneratorState) -> StageFolder:
        """The clips by which `synthio evaluate t2a` judges the generator."""
        adapter = self._align_identity if state == "aligned" else None
        wanted = [self._config.evaluate.clips_per_class, self._config.data.max_duration_s, self._training_clips]
        made_by = [self._t2a_identity, adapter]
        return self._folder("samples", fingerprint([*made_by, wanted, self._config.seed]), fingerprint(made_by))

    @cached_property
    def evaluate(self) -> StageFolder:
        """The figures of `synthio evaluate t2a`."""
        samples = [self.samples("base").key, self.samples("aligned").key]
        inputs = [samples, self.clap_identity, self._clips_identity]
        limits = [self._config.filter.copy_quantile, self._config.data.max_duration_s]
        own = [STAGE_VERSIONS["evaluate"], self._section("evaluate")]
        parts = [own, inputs, limits, self._one_training, self._config.seed]
        return self._folder("evaluate", fingerprint(parts))

    @cached_property
    def clap_identity(self) -> str:
        """Of the CLAP that captions, filters and retrieves."""
        return model_identity("clap", self._config.clap.model, self._config.clap.revision)

    def _folder(self, name: str, key: str, made_by: str | None = None) -> StageFolder:
        return StageFolder(self.root, name, key, made_by)

    def _section(self, name: str) -> dict[str, Any]:
        return section_content(self._config, name)

    @cached_property
    def _clips_identity(self) -> str:
        """Of what the clips are; where the files lie and when they were written changes nothing further on. A label
        separator makes a problem of several labels per clip, also where no clip has several."""
        return self._identity_of(self._clips())

    @cached_property
    def _training_clips(self) -> str:
        """The same of the training clips: all that generation sees of the data."""
        return self._identity_of(of_split(self._clips(), "train"))

    def _identity_of(self, clips: Sequence[Clip]) -> str:
        content = [clip.model_dump(mode="json", exclude={"path"}) for clip in clips]
        return fingerprint([self._config.data.label_separator, content])

    @cached_property
    def _captioner_identity(self) -> list[str | None]:
        tags = self.clap_identity if self._config.caption.kind == "clap" else None
        return [*_backend_identity("captioner", self._config.caption), tags]

    @cached_property
    def _t2a_identity(self) -> list[Any]:
        own = [STAGE_VERSIONS["generate"], self._section("t2a")]
        return [own, _backend_identity("t2a", self._config.t2a)]

    @property
    def _align_identity(self) -> str | None:
        return None if self._config.align.method == "none" else self.align.key

    @cached_property
    def _one_training(self) -> list[Any]:
        """What a single training depends on besides its clips."""
        train = self._config.train
        content = {name: value for name, value in self._section("train").items() if name not in _OF_ALL_TRAININGS}
        return [STAGE_VERSIONS["train"], content, model_identity("classifier", train.model, train.revision)]

    @cached_property
    def _imagine_key(self) -> str:
        imagine = self._config.imagine
        own = [STAGE_VERSIONS["imagine"], self._section("imagine"), self._config.data.domain]
        asked = None
        if imagine.mode != "template":
            asked = [_backend_identity("llm", imagine), prompts_identity("imagine")]
        # Captions stand for the clips that they describe; where none is read, the clips stand for themselves.
        source = self.caption.key if imagine.mode == "mixcap" else self._training_clips
        return fingerprint([own, asked, source, self._config.seed])

    def _training_key(self, parts: Sequence[Any], filtered: Sequence[StageFolder]) -> str:
        # A round that was given up on has the one before filtered.
        keys = list(dict.fromkeys(folder.key for folder in filtered))
        inputs = [self._one_training, self._clips_identity, keys]
        return fingerprint([*parts, *inputs, self._config.data.max_duration_s, self._config.seed])


def section_content(config: RunConfig, name: str) -> dict[str, Any]:
    """A section of the recipe, for keys: without its model, whose identity says more than its name, without what only
    affects speed, and without fields that its kind does not read."""
    section: Section = getattr(config, name)
    left_out = _NAMES_OF_MODELS | EXECUTION_FIELDS.get(name, frozenset())
    if isinstance(section, CaptionConfig | ImagineConfig):
        left_out |= _UNREAD_BY_ENDPOINTS if backend_of(section).source == "endpoint" else {"endpoint"}
    content = section.model_dump(mode="json", exclude=set(left_out))
    if "endpoint" in content:
        for field in EXECUTION_FIELDS["endpoint"]:
            del content["endpoint"][field]
    return content


def _backend_identity(part: str, section: AnySection) -> list[str | None]:
    """Of a plug-in, None for what is built in, and of the model, None where there are no weights here."""
    has_weights = backend_of(section).source == "weights"
    return [plugin_of(section), model_identity(part, section.model, section.revision) if has_weights else None]
