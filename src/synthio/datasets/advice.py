"""What a recipe should be told of its data: warnings that are not kept with the clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthio.config import DataConfig, RunConfig
from synthio.datasets import checks, reader_name
from synthio.datasets.folder import unread_metadata, unread_subfolders, unread_tables
from synthio.datasets.rows import data_path
from synthio.datasets.table import unread_columns
from synthio.formats import some
from synthio.records import Clip, is_multi_label, of_split

_POCKET_RATE_HZ = 16_000


def recipe_warnings(config: RunConfig, clips: Sequence[Clip]) -> list[str]:
    """What the models would not hear, or not be told, and what of the data nobody reads. Not kept with the clips, which
    are the same in another recipe, and with another column."""
    warnings = [*_table_warnings(config.data), *_grouping_warnings(config.data, clips)]
    if config.data.path == "demo" and Path("demo").is_dir():
        warnings.append("data.path 'demo' is the bundled data; write ./demo for the folder here")
    above = sum(clip.sample_rate_hz > _POCKET_RATE_HZ for clip in clips)
    if above and config.t2a.is_pocket:
        warnings.append(
            f"{above} clip(s) have a rate above 16 kHz: the pocket models know notes, drums and some everyday sounds, "
            "and nothing above 8 kHz; for other sounds see `synthio recipe full-size`"
        )
    training = of_split(clips, "train")
    if config.train.adds_synthetic and training:
        warnings += checks.narrow_band_warnings([clip.sample_rate_hz for clip in training])
    tested, method = of_split(clips, "test"), config.data.split_method
    if config.train.metric == "balanced accuracy":
        by_class = checks.by_class(tested)
        warnings += [*checks.small_test_warnings(list(by_class.values()), method), *checks.rare_test_warnings(by_class)]
    else:
        warnings += checks.small_test_warnings([tested], method)
    if config.train.asks_gate:
        warnings += checks.gate_warnings(training)
    if config.train.metric == "accuracy" and not is_multi_label(config.data.label_separator, clips):
        warnings += checks.imbalance_warnings(clips)
    if config.data.domain == DataConfig.model_fields["domain"].default and config.imagine.mode != "template":
        warnings.append("data.domain is the default 'sounds'; say what the clips are: the language model reads it")
    return warnings


def _table_warnings(data: DataConfig) -> list[str]:
    tables = unread_tables(data) if reader_name(data) == "folder" else []
    if not tables:
        return []
    return [
        f"data.path is read as a folder per class, and the table(s) in it are not read: {some(map(repr, tables))}; if "
        "one says what the clips are, set data.path to it"
    ]


def _grouping_warnings(data: DataConfig, clips: Sequence[Clip]) -> list[str]:
    """Where no clip has a group: what nobody reads, though it may say which clips belong together."""
    reader = reader_name(data)
    if not clips or any(clip.group for clip in clips) or reader not in ("table", "folder"):
        return []
    if reader == "table":
        found = _column_warnings(unread_columns(data, data_path(data.path), data.path_column))
    else:
        found = [*_column_warnings(unread_metadata(data)), *_subfolder_warnings(data)]
    return found or checks.file_name_warnings(clips)


def _column_warnings(unread: Sequence[str]) -> list[str]:
    if not unread:
        return []
    return [
        f"no clip has a group, and these columns are not read: {some(map(repr, unread))}; if one says which "
        "recording, site, machine or patient a clip is of, name it in data.group_column: else the scores are too high"
    ]


def _subfolder_warnings(data: DataConfig) -> list[str]:
    homes = unread_subfolders(data)
    if not homes:
        return []
    shared = [repr(name) for name, own in homes.items() if len(own) > 1]
    named = some(shared or map(repr, homes))
    groups = (
        "if they are recordings, sites, machines or patients, set data.subfolders=groups: else the scores are too high"
    )
    if shared:
        return [f"class folders hold folders of the same names ({named}); {groups}; if they are the classes, =classes"]
    return [f"class folders hold folders ({named}), whose names are not read; {groups}"]
