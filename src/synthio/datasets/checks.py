"""What can be wrong with a set of clips. Problems stop a run; warnings are worth a look. Every function lists all."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from synthio.formats import some
from synthio.records import HELD_OUT_SPLITS, SPLITS, Clip, RejectedClip, Split, kept_together, of_split
from synthio.verdict import MOSTLY_ONE_CLASS
from synthio.wording import readable

S = TypeVar("S", bound=str)

#: Classes with fewer training clips are called rare, and clips under this duration very short.
RARE_CLIPS, SHORT_S = 5, 0.1
#: Share of test clips on which two arms usually disagree, and the difference that a test split should be able to show.
_DISAGREEMENT, _SHOWABLE = 0.2, 0.1
_FEW_GROUPS = 8
#: The gate decided well on 22 to 26 groups, on 3 to 5 by luck (docs/benchmark.md).
_GATE_GROUPS = 10
#: -20 dB of full scale.
_QUIET = 0.1
#: Who records at a higher rate is after what people do not hear.
_HEARABLE_RATE_HZ = 48_000
TIME_EXPANSION = "ultrasound is made audible by writing the same samples with a tenth of the rate"
#: What may be a class and is more often an empty cell.
_NOTHING = frozenset({"null", "none", "nil", "<na>", "#n/a"})
#: Capitals that may be a code, as `MVP`; where most labels are, it is no word in capitals among others, as `TV`.
_CODE_LETTERS = 4
#: The lowest rate of a generator, and at which a stage hears a clip.
LEAST_RATE_HZ = 16_000
_ONE_RATE = "resample all clips to the lowest rate, new recordings too"
#: Decoders of lossy files overshoot.
_FULL_SCALE = 1.5


def class_counts(clips: Iterable[Clip]) -> dict[str, dict[Split, int]]:
    """Clips per class and split; classes sorted, every split present."""
    return counts_by_class(((clip.labels, clip.split) for clip in clips), SPLITS)


def counts_by_class(placed: Iterable[tuple[Sequence[str], S]], splits: Sequence[S]) -> dict[str, dict[S, int]]:
    """The same of whatever has labels and a split."""
    counts = Counter((label, split) for labels, split in placed for label in labels)
    return {label: {split: counts[label, split] for split in splits} for label in sorted({name for name, _ in counts})}


def imbalance_warnings(clips: Iterable[Clip]) -> list[str]:
    """When most training clips are of one class."""
    labels = [label for clip in of_split(clips, "train") for label in clip.labels]
    label, count = max(Counter(labels).items(), key=lambda item: item[1], default=("", 0))
    if count <= MOSTLY_ONE_CLASS * len(labels):
        return []
    return [
        f"{100 * count / len(labels):.0f}% of the training clips are {label!r}: who always says so is right as often; "
        "if every class matters alike, set train.metric to balanced accuracy, and train.sampling to class-balanced"
    ]


def split_counts(clips: Iterable[Clip]) -> dict[Split, int]:
    """Clips per split, every split present."""
    counts = Counter(clip.split for clip in clips)
    return {split: counts[split] for split in SPLITS}


def group_counts(clips: Iterable[Clip]) -> dict[Split, int]:
    """Groups per split, every split present."""
    homes = Counter(split for split, _ in {(clip.split, clip.group) for clip in clips if clip.group is not None})
    return {split: homes[split] for split in SPLITS}


def class_problems(
    clips: Sequence[Clip], rejected: Mapping[str, Sequence[str]], usable: Mapping[str, int]
) -> list[str]:
    """One class only, in the data or in its test; classes with no clip, one clip or no training clip.

    ``rejected``: per class that the data names, why files of it were rejected. ``usable``: the files of it that were
    not, drawn or not.
    """
    counts = class_counts(clips)
    problems = []
    if len(counts) == 1:
        problems.append(f"only one class, {next(iter(counts))!r}; a classifier needs at least two")
    for label in sorted(set(rejected) - set(counts)):
        why = count_reasons(rejected[label])
        problems.append(
            f"class {label!r} has no usable clip: {why}; repair its files, or take the class out of the data"
        )
    for label, splits in counts.items():
        total = sum(splits.values())
        if usable[label] == 1:
            problems.append(f"class {label!r} has only one clip; it needs at least two, to train and to test")
        elif not splits["train"]:
            problems.append(f"class {label!r} has no training clip ({total} in valid and test)")
    tested = {label for label, splits in counts.items() if splits["test"]}
    if len(tested) == 1 < len(counts):
        (label,) = tested
        problems.append(
            f"every test clip is {label!r}: a classifier that always says so scores 100%; "
            f"{_untested_cure(clips, sorted(counts.keys() - tested))}"
        )
    return problems


def _untested_cure(clips: Sequence[Clip], missing: Sequence[str]) -> str:
    homes = {label: {clip.group for clip in clips if label in clip.labels} for label in missing}
    whole = [
        f"{label!r} is all of group {own.pop()!r}" for label, own in homes.items() if len(own) == 1 and own != {None}
    ]
    if whole:
        return f"{some(whole, separator='; ')}: add clips of other groups, or give smaller ones"
    return f"put clips of {some(map(repr, missing))} into the test too"


def split_problems(clips: Sequence[Clip], fractions: Mapping[Split, float]) -> list[str]:
    """Splits without a clip. ``fractions``: of the splits that are drawn where the data has none."""
    present = {clip.split for clip in clips}
    groups = {clip.group for clip in clips}
    if clips and None not in groups and len(groups) < len(SPLITS) and len(present) < len(SPLITS):
        return [
            f"{len(groups)} group(s) cannot fill train, valid and test, as groups stay whole; "
            "expected 3 or more, each with several classes: give smaller groups, or a split column"
        ]
    return [f"no {split} clips; {_split_cure(clips, split, fractions)}" for split in SPLITS if split not in present]


def _split_cure(clips: Sequence[Clip], split: Split, fractions: Mapping[Split, float]) -> str:
    if split == "train":
        return "add training clips"
    if fractions[split] == 0:
        return f"add a {split} split, or leave all splits out and set data.{split}_fraction above 0"
    groups = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.unit)
    fewest = min(map(len, groups.values()), default=0)
    if any(clip.group for clip in clips) and fewest < len(SPLITS):
        return (
            f"groups stay whole, and a class has {fewest} group{'' if fewest == 1 else 's'}: {len(SPLITS)} or more are "
            f"needed; give smaller groups or a split column, or raise data.{split}_fraction"
        )
    if fewest < len(SPLITS):
        return (
            f"a class has {fewest} clip{'' if fewest == 1 else 's'}, and {len(SPLITS)} or more are needed where splits "
            f"are drawn: add clips, or a {split} split"
        )
    return f"add a {split} split, or leave all splits out: data.{split}_fraction then draws one"


def training_copies(clips: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Pairs of a training clip and a valid or test clip with the same audio."""
    measured = defaultdict(list)
    for clip in clips:
        if clip.split != "train":
            measured[clip.sha256].append(clip)
    return [(clip, twin) for clip in of_split(clips, "train") for twin in measured[clip.sha256]]


def copy_problems(clips: Sequence[Clip]) -> list[str]:
    """The same audio in training and in valid or test: the pairs."""
    pairs = training_copies(clips)
    if not pairs:
        return []
    named = dict.fromkeys(f"\n  {clip.path!r} = {twin.path!r} ({twin.split})" for clip, twin in pairs)
    listed = some(named, separator="")
    return [
        f"{len(pairs)} training clip(s) hold the same audio as a valid or test clip:{listed}\n"
        "  remove one of each pair, or set data.duplicates=drop to drop the training copies"
    ]


def draw_warnings(clips: Sequence[Clip], shape: str, unfilled: Mapping[str, tuple[int, int]]) -> list[str]:
    """When a draw is not of the shape that `data.sample` asks for. ``unfilled``: as of `sampling.unfilled`."""
    if not unfilled:
        return []
    counts = [own["train"] for own in class_counts(clips).values() if own["train"]]
    few = some(f"{label!r} ({there} of {asked})" for label, (there, asked) in unfilled.items())
    return [
        f"data.sample.shape={shape} cannot be drawn: {len(unfilled)} class(es) have fewer training clips than it asks "
        f"for: {few}; other classes fill their places: of the most frequent class {max(counts)} are drawn, of the "
        f"rarest {min(counts)}"
    ]


def copy_warnings(clips: Sequence[Clip]) -> list[str]:
    """Repeats that do not leak into training: inside one split, in valid and test, or under different labels."""
    copies = defaultdict(list)
    for clip in clips:
        copies[clip.sha256].append(clip)
    warnings = []
    if repeats := len(clips) - len({(clip.sha256, clip.split) for clip in clips}):
        warnings.append(f"{repeats} clip(s) repeat the audio of another clip in the same split")
    if shared := sum({"valid", "test"} <= {clip.split for clip in group} for group in copies.values()):
        warnings.append(f"{shared} clip(s) of the test are in valid too, which makes the test score too high")
    disputed = [group for group in copies.values() if len({frozenset(clip.labels) for clip in group}) > 1]
    if disputed:
        listed = some((" = ".join(dict.fromkeys(repr(c.path) for c in group)) for group in disputed), separator="; ")
        warnings.append(
            f"{len(disputed)} piece(s) of audio have different labels in different clips: {listed}; "
            "several labels of one clip belong in one cell (data.label_separator)"
        )
    return warnings


def class_warnings(clips: Sequence[Clip]) -> list[str]:
    """Rare classes, classes absent from valid or test, classes that read alike."""
    counts = class_counts(clips)
    warnings = []
    if rare := [f"{label!r} ({n})" for label, splits in counts.items() if 0 < (n := splits["train"]) < RARE_CLIPS]:
        warnings.append(f"fewer than {RARE_CLIPS} training clips in {len(rare)} class(es): {some(rare)}")
    unseen = {split: [repr(label) for label, own in counts.items() if not own[split]] for split in HELD_OUT_SPLITS}
    if unseen["test"]:
        named = some(unseen["test"])
        warnings.append(f"no test clip in {len(unseen['test'])} class(es), so nothing is measured there: {named}")
    if unseen["valid"] and len(unseen["valid"]) < len(counts):
        named = some(unseen["valid"])
        warnings.append(
            f"no valid clip in {len(unseen['valid'])} class(es), so weights are selected without these classes: {named}"
        )
    for alike in _alike(counts, lambda label: _as_read(readable(label))):
        warnings.append(f"classes that read alike: {', '.join(map(repr, alike))}; is this one class?")
    return [*warnings, *_label_warnings(list(counts))]


def _alike(names: Iterable[str], read: Callable[[str], str]) -> list[list[str]]:
    """Names, each there once, that ``read`` makes one."""
    spellings = defaultdict(list)
    for name in names:
        spellings[read(name)].append(name)
    return [own for own in spellings.values() if len(own) > 1]


def _as_read(name: str) -> str:
    """``Site  A`` as ``site a``, and a number as the shortest one of its value: pandas writes 4.0 for 4."""
    number = re.fullmatch(r"0*(\d+)(?:\.0*)?", name.strip())
    return number[1] if number else " ".join(name.casefold().split())


def _label_warnings(labels: Sequence[str]) -> list[str]:
    """Labels that hold several, and labels that say nothing to a generator."""
    warnings = []
    for separator in "|;,":
        parts = {label: [part.strip() for part in label.split(separator)] for label in labels if separator in label}
        known = Counter(part for own in parts.values() for part in own) + Counter(labels)
        several = [label for label, own in parts.items() if all(own) and any(known[part] > 1 for part in own)]
        if several:
            warnings.append(
                f"labels that look like several: {some(map(repr, several))}; if they are, set "
                f"data.label_separator={separator!r}"
            )
    if lists := [repr(label) for label in labels if label[0] + label[-1] == "[]"]:
        warnings.append(
            f"labels that look like lists: {some(lists)}; write the labels of a clip into one cell as a|b, and set "
            "data.label_separator='|' (in JSONL a list is several labels)"
        )
    if nothing := [repr(label) for label in labels if label.casefold() in _NOTHING]:
        warnings.append(
            f"labels that databases and programs write for no label: {', '.join(nothing)}; here they are a class"
        )
    if dumb := [repr(label) for label in labels if not any(character.isalpha() for character in label)]:
        warnings.append(
            f"labels without a letter: {some(dumb)}; the label is what the generator is asked for, so write what a "
            "person would call the sound, or give each its name in data.label_names"
        )
    codes = [repr(label) for label in labels if label.isupper() and len(label) <= _CODE_LETTERS]
    if 2 * len(codes) > len(labels):
        warnings.append(
            f"labels that look like codes: {some(codes)}; the label is what the generator is asked for, so if these "
            "are no words, give each its name in data.label_names"
        )
    return warnings


def group_warnings(clips: Sequence[Clip]) -> list[str]:
    """Groups that the data itself puts into several splits, groups that read alike, and clips without a group where
    others have one."""
    homes = defaultdict(set)
    for clip in clips:
        if clip.group is not None:
            homes[clip.group].add(clip.split)
    warnings = []
    if astride := sorted(repr(group) for group, splits in homes.items() if "train" in splits and len(splits) > 1):
        warnings.append(
            f"{len(astride)} group(s) in training and elsewhere, which makes the scores too high: {some(astride)}"
        )
    if measured := sorted(repr(group) for group, splits in homes.items() if splits == {"valid", "test"}):
        warnings.append(
            f"{len(measured)} group(s) in valid and test, which makes the test score too high: {some(measured)}"
        )
    alike = _alike(sorted(homes), _as_read)
    if alike:
        listed = some((" = ".join(map(repr, own)) for own in alike), separator="; ")
        warnings.append(
            f"groups that read alike and are kept apart: {listed}; if these are one, spell them alike, else the scores "
            "are too high"
        )
    bare = [repr(clip.path) for clip in clips if clip.group is None]
    if homes and bare:
        warnings.append(
            f"{len(bare)} of {len(clips)} clips have no group, so each is kept apart by itself, also from clips of the "
            f"same recording: {some(bare)}; name their groups, else the scores may be too high"
        )
    return warnings


def file_name_warnings(clips: Sequence[Clip]) -> list[str]:
    """File names that begin alike up to a sign, in more ways than there are classes, mostly with a number: as where
    several clips are cut from one recording, or taken of one patient."""
    found = [match for clip in clips if (match := re.match(r"(.+?)([_\-. ]).*\.", Path(clip.path).name))]
    begins = Counter(match[1] for match in found)
    numbered = sum(any(character.isdecimal() for character in begin) for begin in begins)
    classes = {label for clip in clips for label in clip.labels}
    several = sum(count for count in begins.values() if count > 1)
    if 2 * several < len(clips) or 2 * numbered < len(begins) or len(begins) <= len(classes):
        return []
    shown = some(f"{begin!r} ({count})" for begin, count in begins.most_common(3))
    # A hyphen stands last, else it would be a range.
    signs = "".join(sorted({match[2] for match in found}, key=lambda sign: (sign == "-", sign)))
    return [
        f"no clip has a group, and file names begin alike: {shown}; if that is the recording, site, machine or patient "
        f"that clips are of, set data.group_pattern='^(.+?)[{signs}]' (what the parentheses hold is the group): "
        "else the scores are too high"
    ]


def gate_warnings(training: Sequence[Clip]) -> list[str]:
    """When the training clips are of too few groups to tell the gate (`train.use_synthetic: auto`) much."""
    groups = len(set(kept_together(training)))
    anyway = "train.use_synthetic=always lets synthetic clips join anyway"
    if groups == 1:
        return [f"gate: the training clips are of 1 group, which says nothing of others: no synthetic clips ({anyway})"]
    if not 0 < groups < _GATE_GROUPS:
        return []
    counted = f"of {groups} groups" if any(clip.group for clip in training) else f"{groups}, without groups"
    luck = f"with fewer than {_GATE_GROUPS} its choice is mostly luck"
    return [f"gate: the training clips are {counted}; {luck} ({anyway})"]


def few_test_group_warnings(clips: Sequence[Clip]) -> list[str]:
    """When the test split is of few groups; a clip without one is one of its own."""
    test = of_split(clips, "test")
    groups = {clip.unit for clip in test}
    if len(groups) == 1:
        unit = "group" if test[0].group else "clip"
        return [
            f"1 {unit} in the test: no interval and no verdict can be given, as what holds for it may not hold for "
            f"others; put more {unit}s into the test (where splits are drawn: a larger data.test_fraction), "
            f"{_FEW_GROUPS} or more are better"
        ]
    if 0 < len(groups) < min(_FEW_GROUPS, len(test)):
        return [
            f"{len(groups)} group(s) in the test: what holds for them may not hold for others, and the interval is "
            f"rough; {_FEW_GROUPS} or more are better"
        ]
    return []


def small_test_warnings(counted: Sequence[Sequence[Clip]], split_method: str) -> list[str]:
    """When the test split can show large differences only. ``counted``: its clips, or parts of them that count alike.
    ``split_method``: of `DataConfig`; folds are tested on in turn already.

    Two classifiers that disagree on a share ``d`` of ``n`` clips have a difference with a standard error of about
    ``sqrt(d / n)`` (McNemar's setting); here ``d`` is a fifth, as is usual in our benches. Of parts that count alike,
    it is the root of the sum of their ``d / n``, over their number. Where the clips of a group are right or wrong
    together, ``n`` are the groups. Of one clip or group nothing can be shown at all: `few_test_group_warnings`.
    """
    if not counted or not all(counted):
        return []
    unit_of = {clip.id: clip.unit for own in counted for clip in own}
    if len(set(unit_of.values())) == 1:
        return []
    least = _least_difference([len(own) for own in counted])
    of_groups = _least_difference([len({clip.unit for clip in own}) for own in counted])
    if of_groups < _SHOWABLE:
        return []
    grouped = f" ({100 * of_groups:.0f} where a group's clips are right or wrong together)"
    points = f"{100 * least:.0f} points{grouped if of_groups > least else ''}"
    told = f"{len(unit_of)} test clip(s): a difference under about {points} cannot be shown"
    if split_method == "folds":
        return [f"{told} by this fold alone"]
    return [
        f"{told}; hold out more (data.test_fraction), or test on all clips in turn with `synthio bench` "
        "(`synthio recipe bench`)"
    ]


def rare_test_warnings(tested: Mapping[str, Sequence[Clip]]) -> list[str]:
    """Classes with few test clips, where all classes count alike. ``tested``: the test clips of each."""
    rare = [f"{label!r} ({len(own)})" for label, own in tested.items() if len(own) < RARE_CLIPS]
    if not rare:
        return []
    return [
        f"fewer than {RARE_CLIPS} test clips in {len(rare)} class(es): {some(rare)}; in balanced accuracy they count "
        "as much as others, and the interval is too narrow, as so few clips say little of a class"
    ]


def by_class(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """The clips of each label that there is, labels sorted."""
    own = defaultdict(list)
    for clip in clips:
        for label in clip.labels:
            own[label].append(clip)
    return dict(sorted(own.items()))


def _least_difference(counts: Sequence[int]) -> float:
    return 1.96 * math.sqrt(_DISAGREEMENT * sum(1 / count for count in counts)) / len(counts)


def audio_warnings(durations_s: Mapping[str, float], rates_hz: Iterable[int], max_duration_s: float) -> list[str]:
    """Mixed sample rates, very short clips, clips that are cropped. ``durations_s``: by file name."""
    warnings = []
    rates = Counter(rates_hz)
    if len(rates) > 1:
        listed = ", ".join(f"{rate} Hz ({n})" for rate, n in sorted(rates.items()))
        warnings.append(f"mixed sample rates: {listed}; {_ONE_RATE}")
    if short := [repr(name) for name, duration_s in durations_s.items() if duration_s < SHORT_S]:
        warnings.append(f"{len(short)} clip(s) under {SHORT_S} s: {some(short)}")
    if cropped := sum(duration_s > max_duration_s for duration_s in durations_s.values()):
        warnings.append(f"{cropped} clip(s) are cropped to data.max_duration_s = {max_duration_s:g} s")
    return warnings


def rate_warnings(clips: Iterable[Clip]) -> list[str]:
    """Classes that have no sample rate in common with another: their bandwidth, not their sound, tells them apart."""
    rates_hz = {label: {clip.sample_rate_hz for clip in own} for label, own in by_class(clips).items()}
    heard_hz = {label: {min(rate, LEAST_RATE_HZ) for rate in own} for label, own in rates_hz.items()}
    apart = [label for label, own in heard_hz.items() if any(own.isdisjoint(other) for other in heard_hz.values())]
    if not apart:
        return []
    listed = some(f"{label!r} ({', '.join(f'{rate} Hz' for rate in sorted(rates_hz[label]))})" for label in apart)
    return [f"the sample rate gives classes away, whatever their sound: {listed}; {_ONE_RATE}"]


def level_warnings(peaks: Sequence[float], swings: Sequence[float], labels: Sequence[Sequence[str]]) -> list[str]:
    """Clips in other units than full scale, or far below it: what hears them knows levels, and generated clips keep to
    full scale. ``swings``: the peaks without the clip's mean; ``labels``: of each clip."""
    warnings = []
    if beyond := [peak for peak in peaks if peak > _FULL_SCALE]:
        warnings.append(
            f"{len(beyond)} clip(s) go beyond full scale (peak {max(beyond):.3g}, where 1 is full scale), which "
            "generated clips never do; divide all clips by one number"
        )
    of_class = defaultdict(list)
    for swing, own in zip(swings, labels, strict=True):
        for label in own:
            of_class[label].append(swing)
    # Every class counts alike: where most clips are background, that may well be quiet.
    level = statistics.median(map(statistics.median, of_class.values())) if of_class else 1.0
    if level < _QUIET and not beyond:
        warnings.append(
            f"the clips are quiet (median peak of a class {level:.2g}, where 1 is full scale), and generated ones are "
            f"not, so that their level tells them apart; {_louder(level, max(peaks))}"
        )
    return warnings


def _louder(level: float, loudest: float) -> str:
    """What makes quiet clips louder, and clips none of them."""
    factor = math.floor(10 / loudest) / 10
    if level * factor < _QUIET:
        return (
            f"no one number mends that, as the loudest reach {loudest:.2g}; where loudness is no part of what a class "
            "is, bring every clip to the same peak, new ones too"
        )
    return f"multiply all clips, new ones too, by one number, at most {factor:g}"


def ultrasound_warnings(audible: Sequence[float], rates_hz: Sequence[int]) -> list[str]:
    """Clips of high rates whose sound is mostly above what is heard at 16 kHz. ``audible``: share of the energy left
    there."""
    lost = sum(share < 0.5 and rate > _HEARABLE_RATE_HZ for share, rate in zip(audible, rates_hz, strict=True))
    if not lost:
        return []
    return [
        f"{lost} clip(s) have most of their energy above 8 kHz, which is lost at 16 kHz, the rate of the pocket "
        f"models and of most classifiers ({TIME_EXPANSION})"
    ]


def narrow_band_warnings(rates_hz: Sequence[int]) -> list[str]:
    """Most training clips of lower rates than some: generated clips have sound as high as the latter."""
    top_hz = min(max(rates_hz), LEAST_RATE_HZ)
    narrow = [rate for rate in rates_hz if rate < top_hz]
    if 2 * len(narrow) <= len(rates_hz):
        return []
    return [
        f"{len(narrow)} of {len(rates_hz)} training clips, of rates of at most {max(narrow)} Hz, have no sound above "
        f"{max(narrow) // 2} Hz; generated clips and the other training clips have, so a classifier can tell the two "
        f"kinds apart; {_ONE_RATE}"
    ]


def redrawn_warnings(clips: Sequence[Clip], before: Sequence[Clip]) -> list[str]:
    """When other files than ``before`` put clips that stayed into other splits, as any file changes a draw."""
    old = {clip.id: clip.split for clip in before}
    stayed = [clip for clip in clips if clip.id in old]
    moved = sum(old[clip.id] != clip.split for clip in stayed)
    if not moved or len(stayed) == len(clips) == len(before):
        return []
    return [
        f"the clips are not those of the last run in this folder: {moved} of {len(stayed)} that both have are in "
        "another split, so the scores of the two runs do not compare; where the data has no splits, they are drawn "
        "anew with every file more or less: a split column keeps them (docs/datasets.md)"
    ]


def rejection_warnings(rejected: Sequence[RejectedClip]) -> list[str]:
    """When files cannot be used: why, and the first of them."""
    if not rejected:
        return []
    return [f"{len(rejected)} file(s) cannot be used: {some(rejection_lines(rejected), '; ', most=5)}"]


def rejection_lines(rejected: Iterable[RejectedClip]) -> list[str]:
    """Each reason, with the first files that it is of."""
    paths = defaultdict(list)
    for clip in rejected:
        paths[clip.reason].append(clip.path)
    return [f"{reason}: {some(own, most=5)}" for reason, own in paths.items()]


def count_reasons(reasons: Sequence[str]) -> str:
    """``3 file(s) rejected (is silent: 2; holds no samples: 1)``."""
    listed = some((f"{reason}: {n}" for reason, n in Counter(reasons).most_common()), separator="; ")
    return f"{len(reasons)} file(s) rejected ({listed})"
