"""Annotations, recording by recording, with the groups that their clips will be of."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import soundfile as sf

from synthio import audio
from synthio.datasets.annotations import FOLDER, Annotation, ColumnNames
from synthio.datasets.rows import name_in
from synthio.formats import some


def one_spelling(found: Sequence[Annotation], audio_folder: Path | None) -> list[Annotation]:
    """With one path per recording, however tables spell it (``..``, links): else its sounds would be those of two. One
    below ``audio_folder`` is kept where there is one, as its folders may be the groups."""
    spelled = dict.fromkeys(annotation.recording for annotation in found if annotation.recording is not None)
    # `..` behind a link leads elsewhere than the text says.
    real = {path: Path(os.path.realpath(path)) for path in spelled}
    plain = {path: real[path] if ".." in path.parts else path for path in spelled}
    chosen: dict[Path, Path] = {}
    for path in sorted(spelled, key=lambda path: audio_folder is None or not plain[path].is_relative_to(audio_folder)):
        chosen.setdefault(real[path], plain[path])
    return [a if a.recording is None else replace(a, recording=chosen[real[a.recording]]) for a in found]


def by_recording(found: Sequence[Annotation], names: ColumnNames) -> dict[Path, list[Annotation]]:
    """Those that can be cut, with their groups; what two tables say alike is one sound. A line without a group is of
    its recording's only one."""
    lines: dict[Path, list[Annotation]] = defaultdict(list)
    for annotation in found:
        if annotation.wrong is None and annotation.recording is not None:
            lines[annotation.recording].append(annotation)
    folders = _folders(lines) if names.group == FOLDER else {}
    return {
        recording: _with_group(_sounds(recording, annotations), folders.get(recording, ""))
        for recording, annotations in lines.items()
    }


def _sounds(recording: Path, annotations: Sequence[Annotation]) -> list[Annotation]:
    channels = {annotation.channel for annotation in annotations}
    if None in channels and channels != {None} and _is_mono(recording):
        # Raven names the only channel, others do not.
        annotations = [replace(a, channel=None if a.channel == 0 else a.channel) for a in annotations]
    sounds: dict[tuple[object, ...], Annotation] = {}
    for annotation in annotations:
        same = (annotation.start_s, annotation.end_s, annotation.label, annotation.channel)
        sounds.setdefault(same, annotation)
    return list(sounds.values())


def _is_mono(recording: Path) -> bool:
    try:
        return bool(sf.info(str(recording)).channels == 1)
    except audio.UNREADABLE:
        # Told where it is cut.
        return False


def _with_group(annotations: Sequence[Annotation], folder: str) -> list[Annotation]:
    groups = {annotation.group for annotation in annotations} - {""}
    only = groups.pop() if len(groups) == 1 else folder
    return [replace(annotation, group=annotation.group or only) for annotation in annotations]


def own_groups(recordings: Mapping[Path, object]) -> dict[Path, str]:
    """Each recording's path below the folder that they have in common."""
    root = os.path.commonpath([path.parent for path in recordings]) if recordings else ""
    return {path: name_in(Path(root), path) for path in recordings}


def _folders(recordings: Mapping[Path, object]) -> dict[Path, str]:
    """The first folder of each recording below the folder that they have in common; those in that one have none."""
    return {path: name.partition("/")[0] for path, name in own_groups(recordings).items() if "/" in name}


def recording_warnings(recordings: Mapping[Path, Sequence[Annotation]]) -> list[str]:
    """Recordings of several groups, those without one where others have one, and folders that look like groups and are
    not taken for them."""
    groups = {path: {annotation.group for annotation in own} for path, own in recordings.items()}
    warnings = []
    several = [f"{path.name!r} ({some(sorted(map(repr, own)))})" for path, own in groups.items() if len(own) > 1]
    if several:
        warnings.append(
            f"{len(several)} recording(s) are of several groups, so that their clips may come to lie in training and "
            f"in test: {some(several)}; unless the recorder moved, give all lines of a recording one group"
        )
    if any(own - {""} for own in groups.values()):
        bare = [repr(path.name) for path, own in groups.items() if own == {""}]
        if bare:
            warnings.append(
                f"{len(bare)} of {len(groups)} recordings have no group, so each is a group of its own: {some(bare)}; "
                "name their groups in the table, else the scores may be too high"
            )
        return warnings
    return _folder_warnings(recordings)


def _folder_warnings(recordings: Mapping[Path, object]) -> list[str]:
    folders = _folders(recordings)
    names = sorted(set(folders.values()))
    if len(names) < 2 or len(names) == len(folders):
        return []
    return [
        f"the recordings lie in {len(names)} folders ({some(map(repr, names))}), and each is a group of its own; if "
        "the folders are sites, devices or animals, cut again with --group-column and the column that names them, or "
        f"with --group-column {FOLDER}: else the scores are too high"
    ]
