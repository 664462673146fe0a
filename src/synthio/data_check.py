"""Read the dataset, open every file, place it in a split, and say everything that is wrong with it: for `synthio data
check`, and for the first stage of a run."""

from __future__ import annotations

import hashlib
import os
import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from synthio import audio
from synthio.backends.located import longest_learnt_s
from synthio.config import DataConfig, RunConfig, SampleConfig
from synthio.datasets import Row, checks, reader_name
from synthio.datasets.advice import recipe_warnings
from synthio.datasets.annotations import annotation_problems, annotation_warnings
from synthio.datasets.checks import LEAST_RATE_HZ
from synthio.datasets.keys import read_run
from synthio.datasets.rows import normalised_text
from synthio.datasets.sampling import sample, unfilled
from synthio.datasets.splits import Item, assign_splits, draw_splits, fold_splits
from synthio.datasets.table import ELSEWHERE
from synthio.errors import DataError
from synthio.formats import some
from synthio.progress import Reporter
from synthio.records import Clip, RejectedClip, Split, is_multi_label, of_split

_SILENT = Reporter()
_SAME_AUDIO = "holds the same audio"


@dataclass(frozen=True)
class DataCheck:
    """What `synthio data check` tells: everything about the data that matters before a run."""

    counts: dict[str, dict[Split, int]] = field(default_factory=dict)
    """Clips per class and split."""
    splits: dict[Split, int] = field(default_factory=dict)
    """Clips per split; a clip with several labels counts once."""
    groups: dict[Split, int] = field(default_factory=dict)
    """Groups per split; all 0 where no clip has one."""
    duration_min_s: float = 0.0
    duration_median_s: float = 0.0
    duration_max_s: float = 0.0
    sample_rates_hz: dict[int, int] = field(default_factory=dict)
    """Clips per sample rate."""
    rejected: tuple[RejectedClip, ...] = ()
    warnings: tuple[str, ...] = ()
    """Worth a look; a run goes on."""
    problems: tuple[str, ...] = ()
    """Each of these stops a run."""
    imagined: int = 0
    """Training clips that get synthetic clips, where an arm adds them."""


def check_data(config: RunConfig, reporter: Reporter = _SILENT) -> DataCheck:
    """Everything that `examine` finds, and what the recipe asks of it, as a value: bad data never raises here."""
    return check_draw([config], reporter)[0]


def check_draw(configs: Sequence[RunConfig], reporter: Reporter = _SILENT) -> list[DataCheck]:
    """`check_data` for each of several runs on one draw of data, whose files are opened once."""
    try:
        found = examine(configs[0], reporter)
    except DataError as error:
        return [DataCheck(problems=(str(error),)) for _ in configs]
    return [_checked(config, found) for config in configs]


def _checked(config: RunConfig, found: Found) -> DataCheck:
    durations = [opened.duration_s for opened in found.opened]
    return DataCheck(
        counts=checks.class_counts(found.clips),
        splits=checks.split_counts(found.clips),
        groups=checks.group_counts(found.clips),
        duration_min_s=min(durations, default=0.0),
        duration_median_s=statistics.median(durations or [0.0]),
        duration_max_s=max(durations, default=0.0),
        sample_rates_hz=dict(sorted(Counter(opened.sample_rate_hz for opened in found.opened).items())),
        rejected=tuple(found.rejected),
        warnings=(*found.warnings, *recipe_warnings(config, found.clips)),
        problems=(*found.problems, *_arm_problems(config, found.clips)),
        imagined=sum(config.imagine.asks_for(clip.labels) for clip in of_split(found.clips, "train")),
    )


def check_wanted(config: RunConfig, clips: Sequence[Clip]) -> None:
    """Raises: `DataError` when the generator would refuse clips as long as the training clips, or where a class that is
    to get synthetic clips has no training clip."""
    if problems := _wanted_problems(config, clips):
        raise DataError(f"{config.data.path}: {problems[0]}")


def _arm_problems(config: RunConfig, clips: Sequence[Clip]) -> list[str]:
    return _wanted_problems(config, clips) if config.train.adds_synthetic else []


def _wanted_problems(config: RunConfig, clips: Sequence[Clip]) -> list[str]:
    return [*_class_problems(config, clips), *_length_problems(config, clips)]


def _class_problems(config: RunConfig, clips: Sequence[Clip]) -> list[str]:
    there = {label for clip in of_split(clips, "train") for label in clip.labels}
    missing = [name for name in config.imagine.classes or () if name not in there]
    if not missing:
        return []
    return [
        f"imagine.classes names {some(map(repr, missing))}, of which there is no training clip; expected labels of the "
        f"training clips: {some(map(repr, sorted(there)))}"
    ]


def _length_problems(config: RunConfig, clips: Sequence[Clip]) -> list[str]:
    """Of generators whose longest clip is known before they load."""
    if config.t2a.kind != "diffusers":
        return []
    longest_s = longest_learnt_s(config.t2a.model)
    longer = sum(clip.duration_s > longest_s for clip in of_split(clips, "train"))
    if not longer:
        return []
    return [
        f"{longer} training clip(s) are longer than {longest_s:g} s, the most that t2a.model={config.t2a.model} makes: "
        f"set data.max_duration_s={longest_s:g}, to use only the start of each clip, cut each into several (`synthio "
        "data cut`, docs/datasets.md), or set t2a.model to another (`synthio recipe full-size`)"
    ]


def clip_id(name: str) -> str:
    """``dog/Bark 01.wav`` -> ``bark-01-`` and 8 hex digits of its hash: stable, safe as a file name and in HTML."""
    ascii_name = unicodedata.normalize("NFKD", PurePosixPath(name).stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:40].strip("-") or "clip"
    return f"{slug}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class _Opened:
    """A file that was decoded."""

    row: Row
    duration_s: float
    sample_rate_hz: int
    peak: float
    """Largest absolute sample of what is heard; 1 is full scale."""
    swing: float
    """The same without its mean: an offset makes a quiet clip no louder."""
    audible: float
    """Share of its energy that is left at `LEAST_RATE_HZ`."""
    sha256: str


@dataclass(frozen=True)
class Found:
    """What examining the dataset finds."""

    opened: Sequence[_Opened] = ()
    clips: Sequence[Clip] = ()
    rejected: Sequence[RejectedClip] = ()
    warnings: Sequence[str] = ()
    problems: Sequence[str] = ()


def examine(config: RunConfig, reporter: Reporter) -> Found:
    """Open and place the clips of the dataset.

    Raises: `DataError` only when the folder or the table cannot be read, or holds less than `data.sample` asks.
    """
    rows = read_run(config)
    if reader_name(config.data) == "table" and (problems := annotation_problems(config.data)):
        return Found(problems=problems)
    if config.data.sample == SampleConfig():
        opened, rejected = _open_all(rows, config.data.max_duration_s, reporter)
        splits = _place([(o.row, o.sha256) for o in opened if o.row.labels], config)
    else:
        opened, rejected, splits = _open_drawn(rows, config, reporter)
    if reader_name(config.data) == "table" and config.data.audio_folder is None:
        rejected = [_with_advice(clip) for clip in rejected]
    if not opened:
        why = checks.count_reasons([clip.reason for clip in rejected]) if rejected else "no files but papers"
        return Found(rejected=rejected, problems=[f"no usable audio in {config.data.path!r}: {why}"])
    if isinstance(splits, str):
        why = f"; {checks.count_reasons([clip.reason for clip in rejected])}" if rejected else ""
        return Found(opened, rejected=rejected, problems=[f"{splits}{why}"])
    clips = [_clip(o, splits[o.row.name], config) for o in opened if o.row.name in splits]
    reasons = _reasons_per_class(rows, rejected)
    several = is_multi_label(config.data.label_separator, clips)
    problems = [*_label_problems(opened, several), *_row_split_problems(opened), *_id_problems(rows)]
    if config.data.duplicates == "drop":
        copies = _copy_rejections(clips)
        clips = [clip for clip in clips if clip.id not in copies]
        rejected += copies.values()
    dropped = sum(clip.reason.startswith(_SAME_AUDIO) for clip in rejected)
    warnings = [f"{dropped} training clip(s) dropped: valid or test holds the same audio"] if dropped else []
    named = Counter(label for row in rows for label in row.labels)
    usable = {label: count - len(reasons.get(label, ())) for label, count in named.items()}
    problems += [*checks.copy_problems(clips), *checks.class_problems(clips, reasons, usable)]
    problems += _split_problems(clips, config.data)
    warnings += _draw_warnings(rows, splits, rejected, clips, config)
    warnings += [*checks.class_warnings(clips), *checks.copy_warnings(clips), *checks.group_warnings(clips)]
    warnings += [*checks.few_test_group_warnings(clips), *checks.rate_warnings(clips)]
    warnings += _file_warnings(opened, config.data)
    return Found(opened, clips, rejected, warnings, problems)


def _file_warnings(opened: Sequence[_Opened], data: DataConfig) -> list[str]:
    """Of what the files hold, used or not."""
    durations_s, rates_hz = {o.row.name: o.duration_s for o in opened}, [o.sample_rate_hz for o in opened]
    return [
        *(annotation_warnings(data, durations_s) if reader_name(data) == "table" else ()),
        *checks.audio_warnings(durations_s, rates_hz, data.max_duration_s),
        *checks.level_warnings([o.peak for o in opened], [o.swing for o in opened], [o.row.labels for o in opened]),
        *checks.ultrasound_warnings([o.audible for o in opened], rates_hz),
    ]


def _with_advice(clip: RejectedClip) -> RejectedClip:
    missing = clip.reason == "no such file"
    return clip.model_copy(update={"reason": f"no such file; {ELSEWHERE}"}) if missing else clip


def _split_problems(clips: Sequence[Clip], data: DataConfig) -> list[str]:
    train = 1 - data.valid_fraction - data.test_fraction
    return checks.split_problems(clips, {"train": train, "valid": data.valid_fraction, "test": data.test_fraction})


def _open_drawn(
    rows: Sequence[Row], config: RunConfig, reporter: Reporter
) -> tuple[list[_Opened], list[RejectedClip], dict[str, Split] | str]:
    """Open only what `data.sample` draws, so that fifty clips of a large collection take seconds; a drawn file that
    cannot be used, or that is a training copy to drop, is replaced by the next of its class.

    Without splits and groups all files are opened first, as copies of one recording must not straddle splits.
    """
    usable = [row for row in rows if row.rejected is None and row.labels]
    has_split = {row.split is not None for row in usable}
    placed = has_split == {True} or (has_split == {False} and all(row.group is not None for row in usable))
    first = [row for row in rows if row.rejected is not None or not row.labels or not placed]
    opened, rejected = _open_all(first, config.data.max_duration_s, reporter)
    known = {o.row.name: o for o in opened}
    candidates = usable if placed else [o.row for o in opened if o.row.labels]
    digests = {row.name: known[row.name].sha256 if row.name in known else row.name for row in candidates}
    splits = _place([(row, digests[row.name]) for row in candidates], config)
    if isinstance(splits, str) or not candidates:
        return opened, rejected, splits
    while True:
        drawn = _draw(candidates, splits, config)
        unopened = [row for row in drawn if row.name not in known]
        more, failed = _open_all(unopened, config.data.max_duration_s, reporter)
        known |= {o.row.name: o for o in more}
        rejected += failed
        clips = [_clip(known[row.name], splits[row.name], config) for row in drawn if row.name in known]
        copies = _copy_rejections(clips) if config.data.duplicates == "drop" else {}
        rejected += copies.values()
        unusable = {clip.id for clip in failed} | set(copies)
        if not unusable:
            # Those without a label or a place stop the run; they must be seen.
            stray = [o for o in opened if o.row.name not in splits]
            return [*stray, *(known[row.name] for row in drawn)], rejected, splits
        candidates = [row for row in candidates if clip_id(row.name) not in unusable]


def _draw(candidates: Sequence[Row], splits: Mapping[str, Split], config: RunConfig) -> list[Row]:
    """The rows that `data.sample` keeps, in order. Raises: `DataError` when it asks for more than there is."""
    items: dict[Split, list[Item]] = {"train": [], "valid": [], "test": []}
    for row in candidates:
        if row.name in splits:
            items[splits[row.name]].append(Item(clip_id(row.name), row.labels, row.group or row.name))
    kept = {id_ for ids in sample(items, config.data.sample, config.seed).values() for id_ in ids}
    return [row for row in candidates if row.name in splits and clip_id(row.name) in kept]


def _draw_warnings(
    rows: Sequence[Row],
    splits: Mapping[str, Split],
    rejected: Sequence[RejectedClip],
    clips: Sequence[Clip],
    config: RunConfig,
) -> list[str]:
    unusable = {clip.id for clip in rejected}
    training = [
        Item(clip_id(row.name), row.labels, row.name)
        for row in rows
        if splits.get(row.name) == "train" and clip_id(row.name) not in unusable
    ]
    wanted = config.data.sample
    return checks.draw_warnings(clips, wanted.shape, unfilled(training, wanted, config.seed))


def _open_all(rows: Sequence[Row], heard_s: float, reporter: Reporter) -> tuple[list[_Opened], list[RejectedClip]]:
    """Decode in threads; results come in the order of the rows, so the number of workers changes nothing."""
    opened, rejected = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, reporter.task("clips", len(rows)) as advance:
        for row, result in zip(rows, pool.map(partial(_open, heard_s), rows), strict=True):
            if isinstance(result, _Opened):
                opened.append(result)
            else:
                rejected.append(RejectedClip(id=clip_id(row.name), path=normalised_text(str(row.path)), reason=result))
            advance(1)
    return opened, rejected


def _open(heard_s: float, row: Row) -> _Opened | str:
    """The decoded file's measures, or why it cannot be used. ``heard_s``: a run hears no more of it."""
    if row.rejected is not None:
        return row.rejected
    if not _is_utf8(str(row.path)):
        return "its name is not valid UTF-8; rename it"
    try:
        found = audio.measure(row.path, heard_s)
    except DataError as error:
        return str(error).removeprefix(f"{row.path}: ")
    rate_hz = found.sample_rate_hz
    if found.samples * LEAST_RATE_HZ < rate_hz:
        return f"is shorter than one sample at {LEAST_RATE_HZ} Hz ({found.samples} samples at {rate_hz} Hz)"
    if audio.is_silent(found.start):
        silent = f"is silent in its first {heard_s:g} s, and no more is used (data.max_duration_s)"
        return audio.why_silent(row.path, 0.0, heard_s, silent)
    heard = found.start if rate_hz <= LEAST_RATE_HZ else audio.resample(found.start, rate_hz, LEAST_RATE_HZ)
    if audio.is_silent(heard):
        return f"is silent at {LEAST_RATE_HZ} Hz: all its sound is above 8 kHz ({checks.TIME_EXPANSION})"
    peak, swing = (float(np.abs(found.start - middle).max()) for middle in (0.0, found.start.mean()))
    audible = float(heard.var() / found.start.var())
    return _Opened(row, found.samples / rate_hz, rate_hz, peak, swing, audible, found.sha256)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


_ASSIGN: Mapping[str, Callable[[Sequence[Item], Mapping[Split, float], int], dict[str, Split]]] = {
    "stratified": assign_splits,
    "random": draw_splits,
    "folds": fold_splits,
}


def _place(rows: Sequence[tuple[Row, str]], config: RunConfig) -> dict[str, Split] | str:
    """The split of each file, by row name: its own, or drawn when the data has none (valid also out of train); or why
    none can be drawn.

    Rows come with a digest of their audio: without a group of its own a clip's audio is its group, so that copies never
    straddle splits.
    """
    given = {row.name: row.split for row, _ in rows if row.split is not None}
    valid, test = config.data.valid_fraction, config.data.test_fraction
    assign = _ASSIGN[config.data.split_method]
    try:
        if not given:
            return assign(_items(rows), {"train": 1 - valid - test, "valid": valid, "test": test}, config.seed)
        if set(given.values()) == {"train", "test"}:
            training = [(row, digest) for row, digest in rows if row.split == "train"]
            return given | assign(_items(training), {"train": 1 - valid, "valid": valid}, config.seed)
    except DataError as error:
        return str(error)
    return given


def _items(rows: Iterable[tuple[Row, str]]) -> list[Item]:
    return [Item(row.name, row.labels, f"group {row.group}" if row.group else digest) for row, digest in rows]


def _clip(opened: _Opened, split: Split, config: RunConfig) -> Clip:
    return Clip(
        id=clip_id(opened.row.name),
        path=str(opened.row.path),
        labels=opened.row.labels,
        split=split,
        duration_s=min(opened.duration_s, config.data.max_duration_s),
        sample_rate_hz=opened.sample_rate_hz,
        sha256=opened.sha256,
        group=opened.row.group,
    )


def _reasons_per_class(rows: Sequence[Row], rejected: Sequence[RejectedClip]) -> dict[str, list[str]]:
    """Every class that the data names, and why files of it were rejected."""
    reason = {clip.id: clip.reason for clip in rejected}
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for label in row.labels:
            reasons[label] += [reason[clip_id(row.name)]] if clip_id(row.name) in reason else []
    return reasons


def _copy_rejections(clips: Sequence[Clip]) -> dict[str, RejectedClip]:
    """Training copies of valid and test audio, by clip id."""
    return {
        clip.id: RejectedClip(
            id=clip.id, path=clip.path, reason=f"{_SAME_AUDIO} as the {twin.split} clip {twin.path!r}"
        )
        for clip, twin in checks.training_copies(clips)
    }


def _label_problems(opened: Sequence[_Opened], several: bool) -> list[str]:
    """``several``: a clip may have more than one."""
    bare = [repr(o.row.name) for o in opened if not o.row.labels]
    if not bare:
        return []
    none = "where none of the sounds is to be heard, that is a label of its own, such as 'normal'; " if several else ""
    return [
        f"{len(bare)} clip(s) without a label: {some(bare)}; {none}label or remove them (NA and NaN are no label; "
        "where they are one, give it a name in data.label_names)"
    ]


def _row_split_problems(opened: Sequence[_Opened]) -> list[str]:
    homeless = [repr(o.row.name) for o in opened if o.row.split is None]
    if len(homeless) in (0, len(opened)):
        return []
    return [f"{len(homeless)} clip(s) have no split while others do: {some(homeless)}; give all of them one, or none"]


def _id_problems(rows: Sequence[Row]) -> list[str]:
    names = defaultdict(list)
    for row in rows:
        names[clip_id(row.name)].append(repr(row.name))
    return [
        f"names with the same id {id_}: {', '.join(same)}; rename one" for id_, same in names.items() if len(same) > 1
    ]
