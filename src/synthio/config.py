"""The recipe of a run: every setting, its default, range and meaning. `docs/configuration.md` is made from this."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from synthio.recipes import Section, UserPath
from synthio.registry import Choice

#: Part of every key, also of what pre-training keeps: who raises it makes everything again.
FINGERPRINT_VERSION = 2
#: How each stage works. Raise a number when the stage makes something else of the same recipe: it, and what follows from
#: it, is made again, and figures of a bench that depend on it leave the tables.
STAGE_VERSIONS: dict[str, int] = {
    # Which clips are drawn for which split.
    "splits": 1,
    # What is rejected, and what the warnings say of the data; published figures stay.
    "clips": 1,
    "caption": 1,
    # Which pairs are made; how their losers are generated is `generate`.
    "losers": 1,
    "align": 1,
    # Also extraction and reflection.
    "imagine": 1,
    # Also of losers and of samples.
    "generate": 1,
    "filter": 1,
    "retrieve": 1,
    "gate": 1,
    # Also of the gate and of the evaluation.
    "train": 1,
    # Of the arms, from their predictions; published figures stay.
    "compare": 2,
    "evaluate": 2,
}

#: Seconds that a clip may have, read or generated.
LONGEST_S = 120

Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
ModelName = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
#: In Python the code ``0`` may be a number.
LabelNames = dict[Annotated[str, BeforeValidator(str)], Annotated[str, Field(pattern=r"\S")]]
#: Readers that a recipe can name.
READERS = (
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
)
#: Settings of a plug-in's own.
Options = dict[str, JsonValue]
_OPTIONS = "Settings of a plug-in (docs/plugins.md)."
Arm = Literal["gold", "noise", "pitch_shift", "specaugment", "audiomentations", "retrieval", "synthio"]
Sampling = Literal["natural", "class-balanced"]
FilterRule = Literal["nearest", "quantile", "cosine", "sigmoid", "none"]


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
        # Python warns of what it may read otherwise one day (`[[`), and names a line of this file.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            groups = re.compile(pattern).groups
    except (re.error, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"has {groups} pairs of parentheses; expected one, around the group, such as ^([^_]+)_")
    return pattern


class SampleConfig(Section):
    """Low-resource sampling: use fewer clips than the data has. They are drawn from the run's seed, after the splits are known."""

    train: int | None = Field(
        None, ge=2, description="How many training clips to keep in total, at least one per class; null keeps all."
    )
    valid: int | None = Field(
        None,
        ge=1,
        description="Keep at most this many validation clips; null means as many as `train` (all, if `train` is null too).",
    )
    test: int | None = Field(None, ge=1, description="Keep at most this many test clips; null keeps all.")
    shape: Literal["stratified", "balanced", "long_tail"] = Field(
        "stratified",
        description="How many training clips each class gets. `stratified`: classes as frequent as in the data; `balanced`: equally many of each; `long_tail`: exponentially fewer from class to class.",
    )
    imbalance_factor: float = Field(
        10.0,
        ge=1,
        description="For `long_tail`: how many times as many clips the most frequent class has as the rarest.",
    )


class DataConfig(Section):
    """The labelled clips."""

    path: str = Field(
        description="A folder (one sub-folder per class, optionally inside train/valid/test), a CSV or JSONL table, or `demo`."
    )
    reader: Annotated[str, AfterValidator(Choice("data.reader", READERS))] = Field(
        "auto",
        description="How to read `path`. `auto` decides by what is there; `folder` and `table` read your own data; the others read a dataset's official release (docs/datasets.md), or are plug-ins (docs/plugins.md).",
    )
    options: Options = Field({}, description=_OPTIONS)
    subfolders: Literal["ignored", "groups", "classes"] = Field(
        "ignored",
        description="For a folder per class: what the folders inside the top folders mean. `ignored`: nothing. `groups`: they are groups, such as machines or recordings (the same name in two classes is one group). `classes`: they are the classes, and the folders around them are the groups.",
    )
    fold: int | None = Field(
        None,
        ge=1,
        description="For datasets with official folds (`esc50`, `urbansound8k`): the fold for the test; null is the first. The other folds are for training.",
    )
    audio_folder: str | None = Field(
        None,
        description="The folder below which the files of a table are, in whatever sub-folders. A file is found by its path, or by its name and what the table says of the folders around it. null: the paths are relative to the table.",
    )
    path_column: str = Field("path", description="Table column with the path of the file.")
    label_column: str = Field("label", description="Table column with the label.")
    split_column: str = Field(
        "split",
        description="Table column with the split: train, valid or test (spellings: docs/datasets.md). Without this column the splits are drawn.",
    )
    group_column: str = Field(
        "group",
        description="Table column with the group, such as recorder, kit or patient. All clips of a group are put into the same split.",
    )
    group_pattern: Annotated[str, AfterValidator(_regular_expression)] | None = Field(
        None,
        description="Takes groups from file names, for clips that have no group: a regular expression whose parentheses match the group (`^([^_]+)_` takes everything before the first underscore).",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="What separates several labels in one cell, for example `|`; null means one label per clip.",
    )
    label_names: LabelNames = Field(
        {},
        description="For labels that are codes: what a person would call the sound, as in `{amecro: American crow, 001: rain}`. Labels that are not named here stay as they are.",
    )
    valid_fraction: Fraction = Field(
        0.2,
        description="Share of clips for validation where the data has no splits. Where the data has training and test only: share of the training clips.",
    )
    test_fraction: Fraction = Field(0.3, description="Share of clips for the test where the data has no splits.")
    split_method: Literal["stratified", "random", "folds"] = Field(
        "stratified",
        description="How splits are drawn where the data has none. `stratified`: as evenly as possible. `random`: at random (groups stay whole, every class is in training and test), for a bench whose seeds should draw different groups. `folds`: cross-validation, the clips divided into 1 / `test_fraction` folds (rounded), and the one of number `seed` is the test, so that a bench with as many seeds tests on every group once.",
    )
    domain: str = Field(
        "sounds",
        min_length=1,
        description="What the clips are, in a few words, such as `bird calls`. The language model reads it.",
    )
    max_duration_s: float = Field(
        10.0,
        gt=0,
        le=LONGEST_S,
        description="Of a longer clip only the first `max_duration_s` seconds are used; durations in manifests are at most this.",
    )
    duplicates: Literal["error", "drop"] = Field(
        "error",
        description="What to do where the same audio is in training and in validation or test. `error`: stop. `drop`: drop the training copy and record this.",
    )
    sample: SampleConfig = SampleConfig()


class T2AConfig(Section):
    """The text-to-audio model."""

    kind: Annotated[str, AfterValidator(Choice("t2a.kind", ("diffusers",)))] = Field(
        "diffusers", description="What generates the clips. `diffusers`: a pipeline of diffusers, `model`."
    )
    options: Options = Field({}, description=_OPTIONS)
    model: ModelName = Field(
        "pocket",
        description="`pocket`, a local folder or a hub id of a StableAudio3Pipeline, StableAudioPipeline or AudioLDM2Pipeline (16 kHz, clips of at most 10.24 s). A generator of another kind is a plug-in's (docs/plugins.md).",
    )
    revision: str | None = Field(
        None,
        description="Hub revision: a commit, or a branch or tag; `null` is the main branch. Its name is part of the stage keys. The commit that it stands for is recorded and in the report, and a run warns where it has changed; set a commit where results must stay those of one.",
    )
    num_inference_steps: int = Field(12, ge=1, le=1000, description="Steps of the sampler.")
    guidance_scale: float = Field(
        2.5, ge=1, le=30, description="Scale of classifier-free guidance; 1 turns guidance off."
    )
    negative_prompt: str | None = Field(
        None, description="What the clips should not sound like; needs `guidance_scale` above 1."
    )
    batch_size: int = Field(16, ge=1, description="Clips per call. When memory runs out, the number is halved.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of weights and activations."
    )
    device: Device = Field("auto", description="`auto`, `cpu`, `cuda`, `mps`.")

    @property
    def is_pocket(self) -> bool:
        """Whether it is the model that ships."""
        return self.kind == "diffusers" and self.model == "pocket"


class ClapConfig(Section):
    """The CLAP model, for the filter, for retrieval and, by default, for captions. The judge of `evaluate t2a` is another model."""

    model: ModelName = Field("pocket", description="`pocket`, a local folder or a hub id of a ClapModel.")
    revision: str | None = Field(
        None, description="Hub revision; `refs/pr/N` where only a pull request has safetensors weights."
    )
    batch_size: int = Field(16, ge=1, description="Clips or texts per forward pass.")
    device: Device = Field("auto", description="`auto`, `cpu`, `cuda`, `mps`.")


def _address(url: str) -> str:
    """As it was written. Raises: `ValueError` for what is none."""
    if why := _why_no_address(url):
        raise ValueError(
            f"{why}; expected one such as http://localhost:8000/v1; a key goes into the variable that "
            "api_key_variable names"
        )
    return url


def _why_no_address(url: str) -> str | None:
    if any(character.isspace() or not character.isprintable() for character in url):
        return "has a space or a line break in it"
    if not url.startswith(("http://", "https://")):
        return "does not begin with http:// or https://"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # Its words would show a part of it.
        return "has a host or a port that cannot be one"
    # The client would put the path behind them, and an address is shown and kept.
    if "@" in parts.netloc or "?" in url or "#" in url:
        return "has a user, a ? or a #"
    return None if host else "has no host"


Address = Annotated[str, AfterValidator(_address)]


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint. The API key is read from the environment and never written to a file."""

    base_url: Address = Field("http://localhost:8000/v1", description="Root address of the API.")
    model: str = Field("default", description="Model name sent to the endpoint.")
    api_key_variable: str = Field(
        "OPENAI_API_KEY", description="Environment variable that holds the API key; for local servers it may be unset."
    )
    concurrency: int = Field(8, ge=1, le=256, description="How many requests are sent at the same time.")
    max_tokens: int = Field(
        1024, ge=1, description="Most tokens in one answer. For a model that thinks first, its thoughts count too."
    )
    timeout_s: float = Field(
        60.0,
        gt=0,
        description="Time limit per request. What got no answer is asked again with another limit. A server that works one request at a time needs `concurrency: 1`, or a limit for all that wait.",
    )
    max_retries: int = Field(
        5, ge=0, le=20, description="Retries after status 429 or 5xx or a time-out, with back-off."
    )
    extra_body: Options = Field(
        {},
        description="Further fields of each request, as the server knows them. A model that thinks before it answers thinks less with `{reasoning_effort: low}`, or not with vLLM's `{chat_template_kwargs: {enable_thinking: false}}`.",
    )
    price_per_million_input_tokens: float = Field(0.0, ge=0, description="Price, for the count of costs.")
    price_per_million_output_tokens: float = Field(0.0, ge=0, description="Price, for the count of costs.")

    @property
    def asked(self) -> list[str]:
        """Who is asked, and what besides each request, for caches of the answers."""
        extra = [json.dumps(self.extra_body, sort_keys=True)] if self.extra_body else []
        return [self.base_url, self.model, *extra]


class CaptionConfig(Section):
    """Captions of the real training clips (arXiv 2410.02056)."""

    kind: Annotated[str, AfterValidator(Choice("caption.kind", ("clap", "endpoint", "transformers", "template")))] = (
        Field(
            "clap",
            description="What writes the captions. `clap`: tags by CLAP, written as a sentence; `endpoint`: an endpoint that takes audio; `transformers`: an audio language model of transformers; `template`: the label template.",
        )
    )
    options: Options = Field({}, description=_OPTIONS)
    model: ModelName = Field("pocket", description="For `transformers` and plug-ins: a local folder or a hub id.")
    revision: str | None = Field(None, description="For `transformers` and plug-ins: its hub revision.")
    tags_per_clip: int = Field(2, ge=1, le=8, description="For `clap`: tags per sentence.")
    endpoint: EndpointConfig = EndpointConfig()
    batch_size: int = Field(16, ge=1, description="For `transformers` and plug-ins: clips per forward pass.")
    device: Device = Field("auto", description="For `transformers` and plug-ins: `auto`, `cpu`, `cuda`, `mps`.")


class AlignConfig(Section):
    """Alignment of the generator with the training clips (arXiv 2410.02056)."""

    method: Literal["dpo", "erm", "none"] = Field(
        "dpo", description="`dpo`: Diffusion-DPO; `erm`: plain fine-tuning; `none`: no alignment."
    )
    beta: float = Field(
        2000.0,
        gt=0,
        description="Inverse temperature of DPO (published: 2000). Errors are means over the clip alone, also for Stable Audio Open, whose window is 47.5 s whatever the length of the clip.",
    )
    anchor: float = Field(
        1.0,
        ge=0,
        le=10,
        description="For `dpo`: weight of the winner's own error beside the margin, in units of beta / 2. (The winner of a pair is the real clip, the loser a generated one.) 0 is the published loss; it scored alike in our benchmark, but on one draw of ten it only made the losers worse.",
    )
    learning_rate: float = Field(
        5e-4, gt=0, le=1, description="Learning rate of AdamW (published: 5e-5, for far more steps)."
    )
    steps: int = Field(
        100,
        ge=1,
        description="At most this many steps; the measurements on held-out pairs may stop the training earlier (`patience`).",
    )
    batch_size: int = Field(8, ge=1, description="Pairs per step.")
    lora_rank: int = Field(
        16, ge=1, le=1024, description="Rank (and alpha) of the LoRA adapters, which are on all linear layers."
    )
    losers_per_clip: int = Field(2, ge=1, le=8, description="Generated clips per real clip (paper: 2).")
    held_out_fraction: float = Field(
        0.2,
        gt=0,
        lt=0.9,
        description="Share of the clips that are held out: their pairs are not trained on, only measured.",
    )
    evaluate_every: int = Field(10, ge=1, description="Steps between measurements on held-out pairs.")
    patience: int = Field(3, ge=1, description="Stop after this many measurements without improvement.")


class ImagineConfig(Section):
    """New captions from a language model (arXiv 2410.02056)."""

    mode: Literal["mixcap", "llm", "template"] = Field(
        "mixcap",
        description="How captions are made. `mixcap`: the language model extracts events and scenes from the captions of the real clips and mixes them; `llm`: the language model without extraction; `template`: the label template.",
    )
    kind: Annotated[str, AfterValidator(Choice("imagine.kind", ("local", "endpoint")))] = Field(
        "local",
        description="`local`: a causal language model in the same process; `endpoint`: an OpenAI-compatible endpoint.",
    )
    options: Options = Field({}, description=_OPTIONS)
    model: ModelName = Field(
        "pocket", description="For `local`: `pocket` (Gemma-3-270m), a folder or a hub id; a plug-in may read it too."
    )
    revision: str | None = Field(None, description="For `local` and plug-ins: its hub revision.")
    endpoint: EndpointConfig = EndpointConfig()
    captions_per_clip: int = Field(
        5, ge=1, le=5, description="The augmentation factor N: how many clips are generated per real clip."
    )
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="The classes that get synthetic clips, such as the rare ones: `[bearing fault, belt slip]`; null means all. The training clips of the other classes are used as they are.",
    )
    labels: Literal["observed", "drawn"] = Field(
        "observed",
        description="Where clips have several labels: which labels a synthetic clip gets. `observed`: a set of labels that a training clip has, with one of the real clip's own labels in it. `drawn` (as published): that own label and up to three labels drawn from all, whether they occur together or not.",
    )
    pool_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of a label's pooled events and scenes that one request shows, at most 40 of each. The prompts of a base model (such as the pocket one) must stay short: they show three events and two scenes.",
    )
    max_words: int = Field(25, ge=5, le=60, description="Longest caption, in words.")
    temperature: float = Field(0.7, ge=0, le=2, description="Sampling temperature of the language model.")
    max_tries: int = Field(
        3,
        ge=1,
        le=10,
        description="Tries per request; each new try is given the validation error of the last one. A caption that fails every try is replaced by the label template.",
    )
    batch_size: int = Field(16, ge=1, description="Requests per forward pass of a local model.")
    device: Device = Field("auto", description="For `local` and plug-ins: `auto`, `cpu`, `cuda`, `mps`.")

    @property
    def is_pocket(self) -> bool:
        """Whether it is the model that ships."""
        return self.kind == "local" and self.model == "pocket"

    def asks_for(self, labels: Sequence[str]) -> bool:
        """Whether a real clip with these labels gets synthetic clips."""
        return self.classes is None or not set(self.classes).isdisjoint(labels)


class FilterConfig(Section):
    """Which generated clips are good enough (arXiv 2410.02056)."""

    rule: FilterRule = Field(
        "nearest",
        description="Which clips are accepted. `nearest`: those whose own label is, by CLAP, the nearest of the data's labels; `quantile`: those whose cosine with their own label reaches a quantile of the cosines of the real training clips; `cosine` and `sigmoid` (published: sigmoid(logit_scale*cos)): those that reach `threshold`; `none`: all.",
    )
    threshold: float = Field(
        0.85,
        ge=-1,
        le=1,
        description="For `sigmoid` and `cosine`. `sigmoid`: published is 0.85; how many clips pass depends on the CLAP (with the pocket CLAP, all). `cosine`: you must set your own threshold, because CLAPs differ and no cosine is as high as this default.",
    )
    quantile: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="For `quantile`: which quantile of the real clips' similarity to their own label a synthetic clip must reach.",
    )
    min_clips_per_class: int = Field(
        8,
        ge=2,
        description="For `quantile`: a class with fewer clips than this uses its own mean and the spread of all classes.",
    )
    copies: Literal["drop", "flag", "ignore"] = Field(
        "drop",
        description="What to do with copies: generated clips that are nearer to a training clip than real clips are to each other. `drop`: reject them; `flag`: only record them; `ignore`: do not check.",
    )
    copy_quantile: float = Field(
        0.01,
        ge=0,
        lt=0.5,
        description="A clip is a copy if its distance to the nearest training clip is below this quantile of the real clips' own nearest-neighbour distances.",
    )


class ReflectConfig(Section):
    """Rewriting of rejected captions (arXiv 2410.02056)."""

    rounds: int = Field(3, ge=0, le=10, description="At most this many rounds of rewriting; 0 turns reflection off.")


class TrainConfig(Section):
    """The classifier and the comparison (arXiv 2410.02056)."""

    model: ModelName = Field(
        "pocket", description="`pocket`, a local folder or a hub id of an audio-classification model."
    )
    revision: str | None = Field(None, description="Hub revision of `model`.")
    arms: tuple[Arm, ...] = Field(
        ("gold", "synthio"),
        min_length=1,
        description="The arms to compare: what each is trained on. `gold`: real clips only. `noise`, `pitch_shift`, `specaugment`, `audiomentations`: real clips plus `imagine.captions_per_clip` copies of each with noise, at other pitches, masked, or through the library audiomentations. `retrieval`: real plus retrieved clips. `synthio`: real plus synthetic clips. Without `synthio` no synthetic clips are made.",
    )
    seeds: int = Field(
        3,
        ge=1,
        le=50,
        description="Trainings per arm. With one training the verdict claims nothing; with two or three, chance differences between trainings make the interval wide.",
    )
    steps: int = Field(150, ge=1, description="Optimiser steps, the same for every arm.")
    batch_size: int = Field(16, ge=1, description="Clips per optimiser step.")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Learning rate of the pre-trained network.")
    head_learning_rate: float = Field(
        2e-3, gt=0, le=1, description="Learning rate of the new head, which is trained from scratch."
    )
    evaluate_every: int = Field(
        25, ge=1, description="Steps between validations; the weights with the best validation score are used."
    )
    synthetic_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Expected share of added clips in a batch; null is N / (N + 1) for N captions per clip. Then, where all synthetic clips were accepted, the training uses every clip equally often, as the published code does. In a class with few accepted clips, those few take the same share; a class without any keeps its real clips.",
    )
    use_synthetic: Literal["always", "auto"] = Field(
        "always",
        description="Whether the arm `synthio` uses its synthetic clips. `always`: yes. `auto`: the gate decides, by cross-validation on the training clips, whether synthetic clips join the training, and with which share of the batch.",
    )
    sampling: Sampling = Field(
        "natural",
        description="How the real clips of a batch are drawn, for every arm. `natural`: every clip as often as any other; `class-balanced`: every class as often as any other, for data in which some classes are rare. An added clip takes the place of a real clip of its class. Where clips have several labels, clips are drawn evenly either way.",
    )
    metric: Literal["accuracy", "balanced accuracy"] = Field(
        "accuracy",
        description="The score that selects weights (on validation clips) and compares arms (on test clips). `balanced accuracy` is for data in which most clips are of one class: the mean over classes of the share of a class's clips that is recognised. With several labels per clip the score is mean average precision.",
    )
    bootstrap_samples: int = Field(
        2000, ge=100, description="How many bootstrap resamples the intervals are computed from."
    )
    tail_fraction: float = Field(
        0.34, ge=0, le=1, description="Share of the classes, the rarest in training, that is marked as long tail."
    )
    device: Annotated[Device, AfterValidator(_first_card)] = Field(
        "auto", description="`auto`, `cpu`, `cuda` (the first card), `mps`."
    )

    @property
    def adds_synthetic(self) -> bool:
        """Whether an arm is trained on synthetic clips, so that a run makes them."""
        return "synthio" in self.arms

    @property
    def asks_gate(self) -> bool:
        """Whether cross-validation decides whether they join."""
        return self.use_synthetic == "auto" and self.adds_synthetic


class GateConfig(Section):
    """Whether synthetic clips join the training (`train.use_synthetic: auto`)."""

    folds: int = Field(
        3,
        ge=2,
        le=20,
        description="Folds of the cross-validation on the real training clips; no more than there are groups, or clips without one.",
    )
    shares: tuple[Fraction, ...] = Field(
        (0.5, 0.8),
        min_length=1,
        description="Shares of synthetic clips in a batch to try. Share 0 (real clips only) is always tried too.",
    )
    level: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description="Synthetic clips join only if the p-value of the corrected paired test on held-out clips is below this level. The test is of their average over the shares. 0.5 requires only that synthetic clips do better there, and gives away least in simulations; a lower level is more cautious.",
    )

    @property
    def tried_shares(self) -> tuple[float, ...]:
        """Each once, and share 0, real clips only, first."""
        return tuple(dict.fromkeys((0.0, *self.shares)))


class RetrieveConfig(Section):
    """The arm `retrieval`: the clips of another corpus that are nearest to each real clip, by CLAP, with the real clip's labels."""

    corpus: str | None = Field(
        None,
        description="A folder, or `demo`. Every audio file below it may be retrieved, except the data's own clips, drawn or not, and copies of them (of clips not drawn: copies with the same name or size). The arm `retrieval` needs it.",
    )
    cache: UserPath | None = Field(
        None,
        description="Folder in which embeddings of the corpus, and captions from an endpoint, are kept for other runs; null means the run folder.",
    )


class EvaluateConfig(Section):
    """`synthio evaluate t2a`: a judge evaluates the generator alone, on template prompts."""

    clips_per_class: int = Field(10, ge=2, le=1000, description="How many clips are generated per class and model.")
    judge_steps: int = Field(
        1000, ge=1, description="Training steps of the judge, which is trained on validation and test clips only."
    )


class ReportConfig(Section):
    """The report page."""

    samples_per_verdict: int = Field(
        12, ge=0, le=200, description="How many accepted and how many rejected clips the report shows, at most."
    )


class RunConfig(Section):
    """A whole run."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("datasets", "sizes", "arms", "base", "output"), "belongs to a bench recipe: use `synthio bench`"
        ),
        "include": "belongs in a recipe's file, at its top",
    }

    version: Literal[1] = Field(1, description="Version of the recipe format.")
    run_folder: UserPath = Field(Path("runs/default"), description="Folder for everything that the run writes.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of every random draw in the run.")
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
        if self.data.split_method == "folds" and not 0.05 <= self.data.test_fraction <= 0.5:
            problems.append("data.split_method: folds needs a data.test_fraction of 0.05 to 0.5, the share of one fold")
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
