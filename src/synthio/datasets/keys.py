"""What identifies a run's data, for the keys of stages and cells: its rows, and the sizes and times of its files."""

from __future__ import annotations

from synthio.config import STAGE_VERSIONS, RunConfig
from synthio.datasets import Row, read_rows, reader_name
from synthio.datasets.rows import changed_ns, data_path, file_stat, normalised_text
from synthio.errors import DataError
from synthio.store import fingerprint

RowContent = list[tuple[object, ...]]
"""Per row, all that says whether it is still the same; the last of it is of its file, as `file_stat`."""


def read_run(config: RunConfig) -> list[Row]:
    """The rows of a run's data. Raises: `DataError` as `read_rows`, and for a run folder among the class folders."""
    root, run = data_path(config.data.path), data_path(str(config.run_folder))
    # Either may lie behind a link.
    real_root, real_run = root.resolve(), run.resolve()
    inside = reader_name(config.data) == "folder" and real_run.is_relative_to(real_root)
    if inside and not any(part.startswith(".") for part in real_run.relative_to(real_root).parts):
        raise DataError(
            f"run_folder {config.run_folder} lies in data.path {config.data.path}, where every file counts as data; "
            f"set run_folder outside, such as {root.parent / 'runs' / run.name}, or put the clips in a sub-folder"
        )
    return read_rows(config.data)


def data_fingerprint(config: RunConfig) -> str:
    """The stage key: what the reader returns and every file's size and times of change; no audio is opened.

    Raises: `DataError` when the folder or the table cannot be read.
    """
    # Two clips of one size and time that change places show in the second time alone. It changes for less, too: that
    # costs a reading of the clips, and would cost a bench its cells.
    return drawn_fingerprint(config, [(*_content(row), changed_ns(row.path)) for row in read_run(config)])


def row_content(config: RunConfig) -> RowContent:
    """What the reader returns, and of the files: the same for every seed and `data.sample`. Raises: as
    `data_fingerprint`."""
    return [_content(row) for row in read_run(config)]


def _content(row: Row) -> tuple[object, ...]:
    return row.name, normalised_text(str(row.path)), row.labels, row.split, row.group, row.rejected, file_stat(row.path)


def drawn_fingerprint(config: RunConfig, rows: RowContent) -> str:
    """`data_fingerprint` of a draw. ``rows``: as `row_content`."""
    settings = config.data.model_dump(mode="json", exclude={"domain"})
    return fingerprint([STAGE_VERSIONS["splits"], config.seed, settings, rows])
