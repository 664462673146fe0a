"""Write the accepted clips as a Hugging Face audiofolder: ``audio/*.flac`` and ``metadata.jsonl``."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthio.errors import StoreError
from synthio.generation import load_generated
from synthio.records import Candidate, Prompt, Verdict
from synthio.writing import check_no_link, inside, replacing, write_lines


@dataclass(frozen=True)
class Accepted:
    """An accepted clip and where it came from."""

    prompt: Prompt
    candidate: Candidate
    verdict: Verdict
    audio: Path
    """The generated file in its stage folder."""


def write_dataset(accepted: Sequence[Accepted], folder: Path) -> None:
    """Make ``folder`` hold exactly the accepted clips; `load_dataset("audiofolder", data_dir=...)` reads it.

    Raises: `StoreError` when the folder cannot be written, or is a link, and for a clip that is gone or damaged, or
        whose id leads out of the folder.
    """
    wanted = {f"{item.candidate.id}.flac": item for item in accepted}
    clips = folder / "audio"
    for name in wanted:
        inside(clips, name)
    try:
        check_no_link(folder)
        check_no_link(clips)
        changed = [name for name, item in wanted.items() if not _is_there(clips / name, item.audio)]
        for name in changed:
            # Before a good copy of it is lost.
            load_generated(wanted[name].audio, wanted[name].candidate.sample_rate_hz)
        for path in clips.glob("*"):
            if path.name not in wanted:
                path.unlink()
        for name in changed:
            with replacing(clips / name) as partial:
                shutil.copyfile(wanted[name].audio, partial)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from error
    # A reader takes the column's type from the first row, so all rows have lists where any has several labels.
    several = any(len(item.prompt.labels) != 1 for item in accepted)
    rows = [
        _row(name, item, list(item.prompt.labels) if several else item.prompt.labels[0])
        for name, item in wanted.items()
    ]
    write_lines(folder / "metadata.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))


def _is_there(copy: Path, made: Path) -> bool:
    return copy.is_file() and made.is_file() and filecmp.cmp(copy, made, shallow=False)


def _row(name: str, item: Accepted, label: str | list[str]) -> dict[str, object]:
    return {
        "file_name": f"audio/{name}",
        "label": label,
        "caption": item.prompt.text,
        "similarity": item.verdict.similarity,
        "round": item.prompt.round,
        "seed": item.candidate.seed,
        "source_clip": item.prompt.clip_id,
        "nearest_clip": item.verdict.nearest_clip_id,
    }
