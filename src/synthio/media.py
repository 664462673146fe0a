"""Sounds and pictures beside a page: copies that every browser plays, and spectrograms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synthio import audio, charts
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.writing import inside, replacing

#: Spectrograms are drawn at this rate, so they show 20 Hz to 8 kHz whatever the clips' own rate.
_SPECTROGRAM_RATE_HZ = 16_000
#: Above it there are rates that FLAC cannot hold, and browsers that do not play.
_PLAYED_RATE_HZ = 48_000
#: Names of the files that are made here, and may be removed again.
_MADE_HERE = re.compile(r"[a-z]+-\d+(-[a-z]+)?-[0-9a-f]{12}\.(flac|png)|\.[0-9a-f]{16}\.partial")


@dataclass(frozen=True)
class Player:
    """One clip on a page; addresses are relative to it."""

    audio: str | None = None
    spectrogram: str | None = None
    duration_s: float | None = None
    problem: str | None = None


class Media:
    """Copies the first ``heard_s`` seconds of clips into a page's folder, each source once."""

    def __init__(self, folder: Path, heard_s: float, reporter: Reporter) -> None:
        self._folder, self._heard_s, self._reporter = folder, heard_s, reporter
        self._players: dict[Path, Player] = {}
        self._written: set[str] = set()

    def player(self, source: Path | None, name: str) -> Player:
        """The clip's player. ``name`` is ours (never a caller's text) and starts the names of its files."""
        if source is None:
            return Player(problem="no audio was made")
        if source not in self._players:
            self._players[source] = self._copy(source, name)
        return self._players[source]

    def _copy(self, source: Path, name: str) -> Player:
        """FLAC that is no longer than what is heard is copied as it is; anything else becomes mono 16-bit FLAC of at
        most 48 kHz, which every browser plays."""
        address = None
        try:
            if _is_flac(source) and audio.duration_s(source) <= self._heard_s:
                address = self._write("audio", name, source.read_bytes(), ".flac")
            samples, rate_hz = audio.decode(source, self._heard_s)
            if address is None and rate_hz > _PLAYED_RATE_HZ:
                samples, rate_hz = audio.resample(samples, rate_hz, _PLAYED_RATE_HZ), _PLAYED_RATE_HZ
        except OSError as error:
            return self._unplayable(source, address, f"the file cannot be read ({error.strerror or error})")
        except DataError as error:
            return self._unplayable(source, address, str(error).removeprefix(f"{source}: "))
        if address is None:
            address = f"audio/{name}-{_digest(samples.tobytes())}.flac"
            with self._writing(address) as partial:
                audio.write_flac(partial, samples, rate_hz)
        resampled = audio.resample(samples, rate_hz, _SPECTROGRAM_RATE_HZ)
        picture = charts.spectrogram_png(audio.log_mel_db(resampled, _SPECTROGRAM_RATE_HZ))
        return Player(address, self._write("spectrograms", name, picture, ".png"), samples.shape[0] / rate_hz)

    @contextmanager
    def _writing(self, address: str) -> Iterator[Path]:
        with replacing(inside(self._folder, address)) as partial:
            yield partial
        self._written.add(address)

    def _write(self, sub_folder: str, name: str, content: bytes, suffix: str) -> str:
        address = f"{sub_folder}/{name}-{_digest(content)}{suffix}"
        with self._writing(address) as partial:
            partial.write_bytes(content)
        return address

    def _unplayable(self, source: Path, address: str | None, problem: str) -> Player:
        if address is None:
            self._reporter.warn(f"{source} is shown without sound: {problem}")
        return Player(audio=address, problem=problem)

    def remove_outdated(self) -> None:
        """Remove what an earlier page left in the media folders."""
        for sub_folder in ("audio", "spectrograms"):
            for path in inside(self._folder, sub_folder).glob("*"):
                if _MADE_HERE.fullmatch(path.name) and f"{sub_folder}/{path.name}" not in self._written:
                    path.unlink(missing_ok=True)


def _is_flac(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"fLaC"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
