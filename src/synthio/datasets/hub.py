"""`synthio data export`: the clips of a Hugging Face dataset as files, and a table for `data.path`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthio.datasets.rows import SPLIT_SPELLINGS, split_of
from synthio.errors import DataError
from synthio.files import AUDIO_SUFFIXES
from synthio.formats import some
from synthio.optional import need
from synthio.progress import Reporter
from synthio.recipes import user_path
from synthio.records import Split
from synthio.writing import replacing, write_csv

if TYPE_CHECKING:
    from datasets import Dataset

_LABELS = ("label", "labels")
_NAME_LENGTH = 80


@dataclass(frozen=True)
class ExportConfig:
    """What is written, and where."""

    output: Path
    subset: str | None = None
    """The hub's configuration of a dataset that has several."""
    revision: str | None = None
    """Of a dataset on the hub; None is the newest."""
    splits: tuple[str, ...] = ()
    """As the dataset calls them; none means all."""
    audio_column: str | None = None
    """None means the only one."""
    label_column: str | None = None
    """None means ``label`` or ``labels``, else the only column of class labels."""
    label_separator: str = "|"
    """Between several labels of a clip."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    table: str
    """What `data.path` is to be."""
    counts: dict[str, int]
    """Clips per label."""
    splits: dict[str, int]
    """Clips per split; under ``drawn`` those of a dataset that has one part only."""
    label_column: str
    """Whose labels the table has."""
    label_separator: str | None
    """Of the table; None where the dataset has one label per clip."""
    columns: tuple[str, ...]
    """The other columns of the table, any of which may be `data.group_column`."""
    missing: int
    """Clips whose audio the dataset does not hold; their lines name files that are not there."""


@dataclass(frozen=True)
class _Columns:
    audio: str
    label: str
    others: tuple[str, ...]


def export_dataset(source: str, config: ExportConfig, reporter: Reporter) -> Exported:
    """Write the audio of ``source`` byte for byte, and then ``clips.csv``: path, label, the split where there are
    several, and the other columns that a table can hold.

    ``source``: a folder of `save_to_disk` or of data files, or an id of the hub. File names are made of the split, the
    clip's number and what is safe of its own name.
    Raises: `MissingDependency` without `datasets`; `DataError` for a source that cannot be loaded, an output that is
        finished already, columns that are not there or several, splits that are not ours, and where no clip has audio.
    """
    need("datasets")
    if not config.label_separator:
        raise DataError("--label-separator is empty; expected what stands between several labels, such as |")
    output = user_path(config.output).absolute()
    table = output / "clips.csv"
    if table.exists():
        raise DataError(f"{table} is there already; delete that folder, or choose another --output")
    parts = _load(source, config)
    splits = _our_splits(source, list(parts))
    columns = _columns(source, list(parts.values()), config)
    homed = [(splits[name], part) for name, part in parts.items()]
    lines, missing = _write_clips(homed, columns, output, config.label_separator, reporter)
    if missing == len(lines):
        raise DataError(
            f"{source}: none of its {missing} clips has audio: no bytes, and no audio file that is here; "
            "save it where the files are, or load it anew from the hub"
        )
    several = any(_is_list(part.features[columns.label]) for part in parts.values())
    header = ["path", "label", *(["split"] if len(parts) > 1 else []), *columns.others]
    write_csv(table, header, ([line[name] for name in header] for line in lines))
    return _exported(table, lines, columns, config.label_separator if several else None, missing)


def _write_clips(
    parts: Sequence[tuple[Split | None, Dataset]], columns: _Columns, output: Path, separator: str, reporter: Reporter
) -> tuple[list[dict[str, Any]], int]:
    """Write the audio of every clip. Returns: the lines of the table, and how many of the clips have none."""
    import datasets

    lines: list[dict[str, Any]] = []
    missing = 0
    with reporter.task("export", sum(len(part) for _, part in parts)) as advance:
        for split, part in parts:
            for row in part.cast_column(columns.audio, datasets.Audio(decode=False)):
                path = output / "clips" / _file_name(split, len(lines), row[columns.audio])
                missing += not _write_audio(path, row[columns.audio])
                line = _line(row, part.features, columns, separator)
                lines.append({"path": f"clips/{path.name}", "split": split, **line})
                advance(1)
    return lines, missing


def _exported(
    table: Path, lines: Sequence[Mapping[str, Any]], columns: _Columns, separator: str | None, missing: int
) -> Exported:
    counts = Counter(label for line in lines for label in _labels(line["label"], separator))
    return Exported(
        table=str(table),
        counts={label: counts[label] for label in sorted(counts)},
        splits=dict(Counter(line["split"] or "drawn" for line in lines)),
        label_column=columns.label,
        label_separator=separator,
        columns=columns.others,
        missing=missing,
    )


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it, with or without splits."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    )


def _load(source: str, config: ExportConfig) -> dict[str, Dataset]:
    """The parts by name; one without a name is of a dataset saved without splits."""
    import datasets

    # They go to standard error whatever the reporter is.
    datasets.disable_progress_bars()
    folder = user_path(source)
    try:
        if is_saved(folder):
            found = datasets.load_from_disk(str(folder))
        else:
            here = str(folder) if folder.is_dir() else source
            found = datasets.load_dataset(here, config.subset, revision=config.revision)
    except Exception as error:
        # A damaged folder, or a part without clips, ends in whatever `datasets` stumbles over.
        raise DataError(
            f"{source}: cannot be loaded by `datasets` ({_cause(error)}); expected a folder that `save_to_disk` wrote, "
            "whose parts all have clips, a folder of data files (loose audio files need no export: set data.path to "
            "their folder), or OWNER/NAME on the hub (a gated one: log in with `hf auth login`)"
        ) from error
    parts = dict(found) if isinstance(found, dict) else {"": found}
    if unknown := [name for name in config.splits if name not in parts]:
        raise DataError(f"{source}: has no split {some(map(repr, unknown))}; found {some(map(repr, parts), most=10)}")
    return {name: parts[name] for name in config.splits or parts}


def _cause(error: BaseException) -> str:
    """What the first error said; those after it may only say that something went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")


def _our_splits(source: str, names: Sequence[str]) -> dict[str, Split | None]:
    """What each part is to us; None for the only one, whose splits are drawn. Raises: `DataError` for other names."""
    if len(names) == 1:
        return {names[0]: None}
    found = {name: split_of(name) for name in names}
    if unknown := [name for name, split in found.items() if split is None]:
        raise DataError(
            f"{source}: {some(map(repr, unknown), most=5)} is no split of ours ({', '.join(SPLIT_SPELLINGS)}); found "
            f"{some(map(repr, names), most=10)}: name those to write, each with --split"
        )
    return found


def _columns(source: str, parts: Sequence[Dataset], config: ExportConfig) -> _Columns:
    """Which columns of all parts are which."""
    import datasets

    kinds = {name: kind for name, kind in parts[0].features.items() if all(name in part.features for part in parts)}
    sounds = [name for name, kind in kinds.items() if isinstance(kind, datasets.Audio)]
    audio = _chosen(source, "audio", config.audio_column, sounds, sounds)
    written = [name for name, kind in kinds.items() if _is_written(kind)]
    usual = [name for name in _LABELS if name in written]
    classes = [name for name in written if isinstance(_inner(kinds[name]), datasets.ClassLabel)]
    label = _chosen(source, "label", config.label_column, usual[:1] or classes, written)
    taken = {label, "path", "label", *(["split"] if len(parts) > 1 else [])}
    return _Columns(audio, label, tuple(name for name in written if name not in taken))


def _chosen(source: str, what: str, named: str | None, found: Sequence[str], possible: Sequence[str]) -> str:
    """The column that is named, else the only one found."""
    if named is not None and named not in possible:
        known = some(map(repr, possible), most=20) if possible else "none"
        raise DataError(f"{source}: --{what}-column is {named!r}; columns that can be it: {known}")
    if named is not None:
        return named
    if not possible:
        raise DataError(f"{source}: has no {what} column; expected one, as `datasets` describes it")
    if len(found) != 1:
        raise DataError(
            f"{source}: which column is the {what}? Name one with --{what}-column: "
            f"{some(map(repr, found or possible), most=20)}"
        )
    return found[0]


def _inner(kind: Any) -> Any:
    """What a list is of; anything else itself."""
    return getattr(kind, "feature", kind)


def _is_list(kind: Any) -> bool:
    return _inner(kind) is not kind


def _is_written(kind: Any) -> bool:
    """Whether a table can hold it: text, numbers, classes, and lists of them, but of no measured numbers."""
    import datasets

    inner = _inner(kind)
    if isinstance(inner, datasets.Value):
        return "binary" not in inner.dtype and not (_is_list(kind) and "float" in inner.dtype)
    return isinstance(inner, datasets.ClassLabel)


def _line(row: Mapping[str, Any], kinds: Mapping[str, Any], columns: _Columns, separator: str) -> dict[str, str]:
    cells = {name: _cell(row[name], kinds[name], separator) for name in (columns.label, *columns.others)}
    return {"label": cells[columns.label], **{name: cells[name] for name in columns.others}}


def _cell(value: Any, kind: Any, separator: str) -> str:
    """Raises: `DataError` for one of several values that holds the separator."""
    import datasets

    if isinstance(value, list):
        cells = [_cell(one, _inner(kind), separator) for one in value]
        if clash := [cell for cell in cells if separator in cell]:
            raise DataError(f"{clash[0]!r} is one of several values and holds {separator!r}: set --label-separator")
        return separator.join(cells)
    # Hidden labels are -1.
    if value is None or (isinstance(kind, datasets.ClassLabel) and value < 0):
        return ""
    return str(kind.int2str(value)) if isinstance(kind, datasets.ClassLabel) else str(value)


def _labels(cell: str, separator: str | None) -> list[str]:
    return [label for label in (cell.split(separator) if separator else [cell]) if label]


def _file_name(split: Split | None, number: int, audio: Mapping[str, Any] | None) -> str:
    """Safe anywhere, whatever the dataset calls the clip; `datasets` itself encodes samples as WAV, without a name."""
    own = Path(((audio or {}).get("path") or "").replace("\\", "/")).name or ".wav"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", own)[-_NAME_LENGTH:]
    return f"{split or 'clip'}-{number:06d}{'' if safe.startswith('.') else '-'}{safe}"


def _write_audio(path: Path, audio: Mapping[str, Any] | None) -> bool:
    """Whether there was any."""
    content = _content(audio or {})
    if content is None:
        return False
    with replacing(path) as partial:
        partial.write_bytes(content)
    return True


def _content(audio: Mapping[str, Any]) -> bytes | None:
    if audio.get("bytes"):
        return bytes(audio["bytes"])
    named = Path(audio.get("path") or "")
    # The dataset of another may name any file of this machine.
    if named.suffix.lower() not in AUDIO_SUFFIXES:
        return None
    try:
        return named.read_bytes()
    except OSError:
        return None
