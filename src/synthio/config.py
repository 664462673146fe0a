"""The recipe of a run: every knob, its default, its range and its meaning. `docs/configuration.md` is made from this."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from synthio.recipes import SECRET, Section, UserPath

#: Part of every stage key. Raise it when a stage's results change for the same config.
FINGERPRINT_VERSION = 2
#: The same for trainings of the classifier alone, which are cheap to repeat.
TRAINING_VERSION = 2
#: The same for alignment, and for that of models other than the pocket one.
ALIGNMENT_VERSION, FULL_SIZE_ALIGNMENT_VERSION = 2, 2
#: The same for captions of the real clips by CLAP tagging.
CAPTION_VERSION = 2
#: The same for the gate's evidence, and for the judge of `synthio evaluate t2a`.
GATE_VERSION, JUDGE_VERSION = 3, 2
#: The same for reading the clips: what is rejected, and what is told of the data.
CLIPS_VERSION = 2
#: The same for classifiers other than the pocket one.
FULL_SIZE_TRAINING_VERSION = 2
#: The same for the comparison of the arms, which needs no training.
COMPARISON_VERSION = 4
#: The same for splits that are drawn (`data.split_method: stratified`), and for generators in half precision.
SPLIT_VERSION, HALF_PRECISION_VERSION = 2, 3

#: Seconds that a clip may have, read or generated.
LONGEST_S = 120

Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
ModelName = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
#: In Python the code ``0`` may be a number.
LabelNames = dict[Annotated[str, BeforeValidator(str)], Annotated[str, Field(pattern=r"\S")]]
Arm = Literal["gold", "noise", "pitch_shift", "specaugment", "audiomentations", "retrieval", "synthio"]


def _first_card(device: str) -> str:
    """As it was written. Raises: `ValueError` for another card than the first, which transformers' `Trainer` takes."""
    number = device.partition(":")[2]
    if number and int(number) > 0:
        raise ValueError(
            "is not the first card, on which training always runs; expected `cuda`, with CUDA_VISIBLE_DEVICES="
            f"{number} in the environment to make that card the first"
        )
    return device


def _regular_expression(pattern: str) -> str:
    """As it was written. Raises: `ValueError` for what is none, or has not one pair of parentheses."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"has {groups} pairs of parentheses; expected one, around the group, such as ^([^_]+)_")
    return pattern


class SampleConfig(Section):
    """Low-resource sampling: fewer clips than the data has, drawn by the run's seed after the splits are known."""

    train: int | None = Field(
        None, ge=2, description="Training clips in total, at least one per class; null keeps all."
    )
    valid: int | None = Field(
        None, ge=0, description="Validation clips at most; null means as many as `train` (all, when that is null too)."
    )
    test: int | None = Field(None, ge=1, description="Test clips at most; null keeps all.")
    shape: Literal["stratified", "balanced", "long_tail"] = Field(
        "stratified",
        description="Of the training clips: classes as frequent as in the data, equally many of each, or exponentially fewer.",
    )
    imbalance_factor: float = Field(
        10.0, ge=1, description="For `long_tail`: clips of the most frequent class over those of the rarest."
    )


class DataConfig(Section):
    """The labelled clips."""

    younger_keys: ClassVar[frozenset[str]] = frozenset({"subfolders", "audio_folder", "group_pattern"})

    path: str = Field(
        description="A folder (one sub-folder per class, optionally inside train/valid/test), a CSV or JSONL table, or `demo`."
    )
    reader: Literal[
        "auto",
        "folder",
        "table",
        "esc50",
        "urbansound8k",
        "gtzan",
        "medley_solos_db",
        "tut_urban_2018",
        "nsynth",
        "vocalsound",
        "musdb18",
        "dcase2017_task4",
        "fsd50k",
    ] = Field(
        "auto",
        description="How to read `path`; `auto` goes by what is there, the named ones read a dataset's official release (docs/datasets.md).",
    )
    subfolders: Literal["ignored", "groups", "classes"] = Field(
        "ignored",
        description="Of a folder per class, what the folders inside it are: of no meaning, groups (machines, recordings; one name in two classes is one group), or the classes, with the folders around them as groups.",
    )
    fold: int | None = Field(
        None,
        ge=1,
        description="The test fold, for readers of datasets with official folds (`esc50`, `urbansound8k`); null is the first. The other folds are training.",
    )
    audio_folder: str | None = Field(
        None,
        description="Where the files of a table are, in whatever folders: found by path, or by name and what the table says of the folders around it. null: their paths are relative to the table.",
    )
    path_column: str = Field("path", description="Table column with the file.")
    label_column: str = Field("label", description="Table column with the label.")
    split_column: str = Field(
        "split", description="Table column with train, valid or test (spellings: docs/datasets.md); drawn when absent."
    )
    group_column: str = Field(
        "group", description="Table column with a group (recorder, kit, patient) that must not straddle splits."
    )
    group_pattern: Annotated[str, AfterValidator(_regular_expression)] | None = Field(
        None,
        description="Groups from file names, for clips that have none: a regular expression, what its parentheses hold is the group (`^([^_]+)_` is all before the first underscore).",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="Splits several labels in one cell, for example `|`; null means one label per clip.",
    )
    label_names: LabelNames = Field(
        {},
        description="What a person would call the sound, by label of the data, for labels that are codes: `{amecro: American crow, 001: rain}`; the others stay as they are.",
    )
    valid_fraction: Fraction = Field(
        0.2,
        description="Share of clips for validation when the data has no splits; of the training clips where it has training and test only.",
    )
    test_fraction: Fraction = Field(0.3, description="Share of clips for the test when the data has no splits.")
    split_method: Literal["stratified", "random"] = Field(
        "stratified",
        description="Of splits made here: the most even one, or a random one (groups whole, every class in training and test), for benches whose seeds shall draw different groups.",
    )
    domain: str = Field(
        "sounds", min_length=1, description="What the clips are, in a few words; the language model reads it."
    )
    max_duration_s: float = Field(
        10.0,
        gt=0,
        le=LONGEST_S,
        description="Of longer clips only the first seconds are used; durations in manifests are capped at it.",
    )
    duplicates: Literal["error", "drop"] = Field(
        "error",
        description="Same audio in training and in validation or test: stop, or drop the training copy (recorded).",
    )
    sample: SampleConfig = SampleConfig()


class T2AConfig(Section):
    """The text-to-audio model."""

    model: ModelName = Field(
        "pocket", description="`pocket`, a local folder or a hub id of a StableAudio3Pipeline or StableAudioPipeline."
    )
    revision: str | None = Field(None, description="Hub revision, recorded and part of the stage keys.")
    num_inference_steps: int = Field(12, ge=1, le=1000, description="Sampler steps.")
    guidance_scale: float = Field(2.5, ge=1, le=30, description="Classifier-free guidance; 1 turns it off.")
    negative_prompt: str | None = Field(None, description="What to steer away from; needs guidance above 1.")
    batch_size: int = Field(16, ge=1, description="Clips per call; halved when memory runs out.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Weights and activations.")
    device: Device = Field("auto", description="`auto`, `cpu`, `cuda`, `mps`.")


class ClapConfig(Section):
    """The CLAP model that filters, retrieves and, by default, captions. The judge of `evaluate t2a` is another model."""

    model: ModelName = Field("pocket", description="`pocket`, a local folder or a hub id of a ClapModel.")
    revision: str | None = Field(
        None, description="Hub revision; `refs/pr/N` where a pull request alone has safetensors weights."
    )
    batch_size: int = Field(16, ge=1)
    device: Device = Field("auto", description="`auto`, `cpu`, `cuda`, `mps`.")


_MAY_HOLD_A_KEY = re.compile(r"\s*(?:[a-z]+:)?/*[^/]*@|.*[?#]", re.DOTALL | re.IGNORECASE)
_EXAMPLE = "expected one such as http://localhost:8000/v1"


def _no_key(url: str) -> str:
    """As it was written. Raises: `PydanticCustomError` for what may hold a key, which no error shows."""
    if _MAY_HOLD_A_KEY.match(url):
        # The client would put the path behind them, and an address is shown and kept.
        why = "has a user, a ? or a #; put a key into the variable that api_key_variable names; {example}"
        raise PydanticCustomError(SECRET, why, {"example": _EXAMPLE})
    return url


def _address(url: str) -> str:
    """As it was written. Raises: `ValueError` for what is no address."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"has a space or a line break in it; {_EXAMPLE}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{error}; {_EXAMPLE}") from error
    if not host:
        raise ValueError(f"has no host; {_EXAMPLE}")
    return url


Address = Annotated[str, AfterValidator(_no_key), Field(pattern=r"^https?://"), AfterValidator(_address)]


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint. The key is read from the environment and never written."""

    younger_keys: ClassVar[frozenset[str]] = frozenset({"max_tokens"})

    base_url: Address = Field("http://localhost:8000/v1", description="Root of the API.")
    model: str = Field("default", description="Model name sent to the endpoint.")
    api_key_variable: str = Field(
        "OPENAI_API_KEY", description="Environment variable that holds the key; may be unset for local servers."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Requests in flight.")
    max_tokens: int = Field(
        1024, ge=1, description="What an answer may have; for a model that thinks first, its thoughts too."
    )
    timeout_s: float = Field(60.0, gt=0, description="Per request.")
    max_retries: int = Field(5, ge=0, le=20, description="Retries with back-off on 429, 5xx and time-outs.")
    price_per_million_input_tokens: float = Field(0.0, ge=0, description="For the cost count.")
    price_per_million_output_tokens: float = Field(0.0, ge=0, description="For the cost count.")


class CaptionConfig(Section):
    """Captions of the real training clips (arXiv 2410.02056)."""

    younger_keys: ClassVar[frozenset[str]] = frozenset({"revision"})

    kind: Literal["clap", "endpoint", "transformers", "template"] = Field(
        "clap",
        description="CLAP tagging written as a sentence; an audio endpoint; a transformers audio language model; or the label template.",
    )
    model: ModelName = Field("pocket", description="For `transformers`: a local folder or hub id.")
    revision: str | None = Field(None, description="For `transformers`: its hub revision.")
    tags_per_clip: int = Field(2, ge=1, le=8, description="For `clap`: tags per sentence.")
    endpoint: EndpointConfig = EndpointConfig()
    batch_size: int = Field(16, ge=1)
    device: Device = "auto"


class AlignConfig(Section):
    """Alignment of the generator with the training clips (arXiv 2410.02056)."""

    method: Literal["dpo", "erm", "none"] = Field(
        "dpo", description="Diffusion-DPO, plain fine-tuning, or no alignment."
    )
    beta: float = Field(
        2000.0,
        gt=0,
        description="DPO's inverse temperature (published: 2000). Errors are means over the clip alone, also of Stable Audio Open, whose window is 47.5 s whatever the clip's length.",
    )
    anchor: float = Field(
        1.0,
        ge=0,
        le=10,
        description="For `dpo`: weight of the winner's own error beside the margin, in units of beta / 2; 0 is the published loss, which scores alike here, but on one draw of ten only made losers worse.",
    )
    learning_rate: float = Field(5e-4, gt=0, le=1, description="AdamW's (published: 5e-5, for far more steps).")
    steps: int = Field(100, ge=1, description="At most; held-out pairs stop earlier.")
    batch_size: int = Field(8, ge=1, description="Pairs per step.")
    lora_rank: int = Field(16, ge=1, le=1024, description="Rank (and alpha) of the adapters on all linear layers.")
    losers_per_clip: int = Field(2, ge=1, le=8, description="Generated clips per real clip (paper: 2).")
    held_out_fraction: float = Field(0.2, gt=0, lt=0.9, description="Share of clips whose pairs only measure.")
    evaluate_every: int = Field(10, ge=1, description="Steps between measurements on held-out pairs.")
    patience: int = Field(3, ge=1, description="Measurements without improvement before stopping.")


class ImagineConfig(Section):
    """New captions from a language model (arXiv 2410.02056)."""

    younger_keys: ClassVar[frozenset[str]] = frozenset({"revision", "labels"})

    mode: Literal["mixcap", "llm", "template"] = Field(
        "mixcap", description="Extract and mix; the language model without extraction; or the label template."
    )
    kind: Literal["local", "endpoint"] = Field(
        "local", description="A causal language model in process, or an OpenAI-compatible endpoint."
    )
    model: ModelName = Field("pocket", description="For `local`: `pocket` (Gemma-3-270m), a folder or a hub id.")
    revision: str | None = Field(None, description="For `local`: its hub revision.")
    endpoint: EndpointConfig = EndpointConfig()
    captions_per_clip: int = Field(
        5, ge=1, le=5, description="The augmentation factor N: generated clips per real clip."
    )
    labels: Literal["observed", "drawn"] = Field(
        "observed",
        description="Where clips have several labels, those of a synthetic clip: a set that a training clip has, with one of the real clip's own labels in it; or, as published, that label and up to three drawn from all, whether they occur together or not.",
    )
    pool_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of a label's pooled events and scenes shown per request, of each at most 40; a base model (the pocket one), whose prompts must stay short, sees three events and two scenes.",
    )
    max_words: int = Field(25, ge=5, le=60, description="Longest caption.")
    temperature: float = Field(0.7, ge=0, le=2)
    max_tries: int = Field(
        3, ge=1, le=10, description="Tries per request, the validation error fed back; then a template tops up."
    )
    batch_size: int = Field(16, ge=1, description="Requests per forward pass of a local model.")
    device: Device = "auto"


class FilterConfig(Section):
    """Which generated clips are good enough (arXiv 2410.02056)."""

    rule: Literal["nearest", "quantile", "cosine", "sigmoid", "none"] = Field(
        "nearest",
        description="`nearest` accepts a clip whose own label is, by CLAP, the nearest of the data's labels; `quantile` calibrates a cosine on real training clips; `cosine` and `sigmoid` (published: sigmoid(logit_scale*cos)) use `threshold`; `none` accepts all.",
    )
    threshold: float = Field(
        0.85,
        ge=-1,
        le=1,
        description="For `sigmoid` (published: 0.85; how much passes depends on the CLAP, with the pocket one all) and `cosine`, which must be given its own: CLAPs differ, and no cosine is as high as this default.",
    )
    quantile: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="For `quantile`: the one of real clips' own similarity that a synthetic clip must reach.",
    )
    min_clips_per_class: int = Field(
        8, ge=2, description="For `quantile`: classes with fewer clips use the pooled quantile."
    )
    copies: Literal["drop", "flag", "ignore"] = Field(
        "drop", description="Clips nearer to a training clip than real clips are to each other."
    )
    copy_quantile: float = Field(
        0.01,
        ge=0,
        lt=0.5,
        description="Quantile of the real clips' nearest-neighbour distance under which a clip is a copy.",
    )


class ReflectConfig(Section):
    """Rewriting of rejected captions (arXiv 2410.02056)."""

    rounds: int = Field(3, ge=0, le=10, description="At most this many rounds; 0 turns reflection off.")


class TrainConfig(Section):
    """The classifier and the comparison (arXiv 2410.02056)."""

    younger_keys: ClassVar[frozenset[str]] = frozenset({"metric"})

    model: ModelName = Field(
        "pocket", description="`pocket`, a local folder or a hub id of an audio-classification model."
    )
    revision: str | None = None
    arms: tuple[Arm, ...] = Field(
        ("gold", "synthio"),
        min_length=1,
        description="Real only; real plus `imagine.captions_per_clip` copies of each with noise, at other pitches, masked, or through audiomentations; real plus retrieved clips; real plus synthetic. Without the last no synthetic clips are made.",
    )
    seeds: int = Field(
        3,
        ge=1,
        le=50,
        description="Trainings per arm. With one nothing is claimed; with two or three their luck makes the interval wide.",
    )
    steps: int = Field(150, ge=1, description="Optimiser steps, the same for every arm.")
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Of the pre-trained network.")
    head_learning_rate: float = Field(2e-3, gt=0, le=1, description="Of the new head, which has everything to learn.")
    evaluate_every: int = Field(
        25, ge=1, description="Steps between validations; the best validation score picks the weights."
    )
    synthetic_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Expected share of added clips in a batch; null is N / (N + 1) for N captions per clip. Where all were accepted every clip is heard equally often, as in the published code; of a class with few accepted clips those few take the same share, and of one without any the real clips stay.",
    )
    use_synthetic: Literal["always", "auto"] = Field(
        "always",
        description="`auto` asks the gate: cross-validation on the training clips decides whether, and with which share of the batch, synthetic clips join.",
    )
    metric: Literal["accuracy", "balanced accuracy"] = Field(
        "accuracy",
        description="Of the validation clips, by which weights are picked, and of the test clips, by which arms are compared. `balanced accuracy` is the mean over classes of the share of their own clips that is recognised: for data in which most clips are of one class. With several labels per clip it is mean average precision.",
    )
    bootstrap_samples: int = Field(2000, ge=100, description="Resamples for intervals.")
    tail_fraction: float = Field(
        0.34, ge=0, le=1, description="Share of classes (the rarest in training) marked as long tail."
    )
    device: Annotated[Device, AfterValidator(_first_card)] = Field(
        "auto", description="`auto`, `cpu`, `cuda` (the first card), `mps`."
    )

    @property
    def adds_synthetic(self) -> bool:
        """Whether an arm learns from synthetic clips, so that a run makes them."""
        return "synthio" in self.arms

    @property
    def asks_gate(self) -> bool:
        """Whether cross-validation decides whether they join."""
        return self.use_synthetic == "auto" and self.adds_synthetic


class GateConfig(Section):
    """Whether synthetic clips join the training (`train.use_synthetic: auto`)."""

    folds: int = Field(3, ge=2, le=20, description="Of the cross-validation on the real training clips.")
    shares: tuple[Fraction, ...] = Field(
        (0.5, 0.8), min_length=1, description="Shares of the batch to try beside 0; real clips only is always tried."
    )
    level: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description="Synthetic clips join only when the p-value of the corrected paired test on held-out clips is below this; the test is of their average over the shares. 0.5 asks only that they do better there, and gives away least in simulations; a lower level is more cautious.",
    )


class RetrieveConfig(Section):
    """The retrieval arm: nearest clips of another corpus, by CLAP, under the real clip's labels."""

    corpus: str | None = Field(
        None,
        description="A folder, or `demo`; every audio file below it may be retrieved, but not the data's own clips, drawn or not, nor copies of them (of those not drawn: copies of the same name or size). `retrieval` cannot be an arm without it.",
    )
    cache: UserPath | None = Field(
        None,
        description="Where embeddings of the corpus, and captions from an endpoint, are kept for other runs; null means in the run folder.",
    )


class EvaluateConfig(Section):
    """`synthio evaluate t2a`: the generator alone, judged on template prompts."""

    clips_per_class: int = Field(10, ge=2, le=1000, description="Generated clips per class and model.")
    judge_steps: int = Field(
        1000, ge=1, description="Training steps of the judge, which learns from validation and test clips only."
    )


class ReportConfig(Section):
    """The page."""

    samples_per_verdict: int = Field(12, ge=0, le=200, description="Accepted and rejected clips to show, each.")


class RunConfig(Section):
    """A whole run."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("datasets", "sizes", "arms", "base", "output"), "belongs to a bench recipe: use `synthio bench`"
        ),
        "include": "belongs in a recipe's file, at its top",
    }

    version: Literal[1] = Field(1, description="Of the recipe format.")
    run_folder: UserPath = Field(Path("runs/default"), description="Everything the run writes goes here.")
    seed: int = Field(0, ge=0, lt=2**31, description="All randomness derives from it.")
    data: DataConfig
    t2a: T2AConfig = T2AConfig()
    clap: ClapConfig = ClapConfig()
    caption: CaptionConfig = CaptionConfig()
    align: AlignConfig = AlignConfig()
    imagine: ImagineConfig = ImagineConfig()
    filter: FilterConfig = FilterConfig()
    reflect: ReflectConfig = ReflectConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    train: TrainConfig = TrainConfig()
    gate: GateConfig = GateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        problems = []
        if self.data.valid_fraction + self.data.test_fraction >= 1:
            problems.append("data.valid_fraction + data.test_fraction leave no training clips")
        if self.t2a.negative_prompt and self.t2a.guidance_scale <= 1:
            problems.append("t2a.negative_prompt needs t2a.guidance_scale above 1")
        if self.filter.rule == "cosine" and "threshold" not in self.filter.model_fields_set:
            problems.append("filter.rule: cosine needs a filter.threshold: a cosine of your CLAP, such as 0.3")
        if "retrieval" in self.train.arms and self.retrieve.corpus is None:
            problems.append("train.arms has retrieval: set retrieve.corpus, the clips to retrieve from")
        if len(set(self.train.arms)) < len(self.train.arms):
            problems.append(f"train.arms has an arm twice: {', '.join(self.train.arms)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self
