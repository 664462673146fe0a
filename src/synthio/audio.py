"""Functions on audio: find, load, resample, fit a duration, measure. Arrays are float32 mono, shape ``(samples,)``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from synthio.errors import DataError, StoreError

Waveform = npt.NDArray[np.float32]

#: What `load` opens; the decoder is libsndfile.
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".opus"})
#: What `write` makes, by the name's end.
CONTAINERS = {".flac": "FLAC", ".wav": "WAV"}
#: Peaks under this are digital silence (-80 dBFS).
SILENCE_PEAK = 1e-4

#: A piped WAV has a placeholder near 2 or 4 GiB as the size of its data.
_STREAMED_BYTES = 0x7F000000
#: W64 writes `riff` in lower case; WAV's `RIFF` size is often a few bytes wrong in good files, so it is not looked at.
_CHUNK_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_CUT = "Junk after the last page"


def is_hidden(name: str) -> bool:
    """Files and folders that nobody put there: of macOS archives (``._a.wav``, ``__MACOSX``), of Windows' Explorer."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def files_below(folder: Path) -> Iterator[Path]:
    """Every file under ``folder`` but hidden ones, links followed, each real folder once (links may form a circle)."""
    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(parent) / name for name in sorted(names) if not is_hidden(name))


def audio_files(folder: Path) -> list[Path]:
    """Those of `files_below` whose suffix `load` opens, sorted; also links to nothing, which must not go unseen."""
    return sorted(path for path in files_below(folder) if path.suffix.lower() in AUDIO_SUFFIXES)


def with_folders(paths: Iterable[Path]) -> list[Path]:
    """The paths in order; for a folder its `audio_files`. Raises: `DataError` for a folder without."""
    found: list[Path] = []
    for path in paths:
        inside = audio_files(path) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: no audio files there")
        found += inside
    return found


def load(path: Path, sample_rate_hz: int) -> Waveform:
    """Decode any libsndfile format, mix to mono, resample.

    Returns: shape ``(samples,)``, float32.
    Raises: `DataError` as `decode` does, and for a clip too short to hold one sample at the new rate.
    """
    mono, source_rate_hz = decode(path)
    samples = resample(mono, source_rate_hz, sample_rate_hz)
    if samples.size == 0:
        raise DataError(f"{path}: is too short ({mono.size} samples at {source_rate_hz} Hz)")
    return samples


def load_start(path: Path, duration_s: float, sample_rate_hz: int) -> Waveform:
    """The first ``duration_s`` of a file, or all of it, as `load` gives it."""
    return crop(load(path, sample_rate_hz), duration_s, sample_rate_hz)


def crop(samples: Waveform, duration_s: float, sample_rate_hz: int) -> Waveform:
    """The first ``duration_s`` of ``(samples,)``, or all; at least one sample."""
    return samples[: max(1, round(duration_s * sample_rate_hz))]


def sha256(samples: Waveform) -> str:
    """Hex digest of decoded samples, as 16-bit ones, so that a WAV and its FLAC copy are the same audio."""
    quantised = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2")
    return hashlib.sha256(quantised.tobytes()).hexdigest()


def load_generated(path: Path, sample_rate_hz: int) -> Waveform:
    """Like `load`, for files of our own: a generated clip may be silent, and that is no error here.

    Raises: `StoreError` for a file that is gone or damaged, which says nothing about the clip.
    """
    try:
        samples, rate_hz = sf.read(str(path), dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError) as error:
        stage = next((folder for folder in path.parents if folder.parent.name == "stages"), path.parent)
        raise StoreError(
            f"{path}: was made by this run and is gone or damaged ({error}); delete {stage} and run the same command "
            "again"
        ) from error
    return resample(samples.mean(axis=1), rate_hz, sample_rate_hz)


def decode(path: Path) -> tuple[Waveform, int]:
    """Decode any libsndfile format and mix to mono at the file's own rate.

    Returns: samples of shape ``(samples,)``, float32, and the sample rate in Hz.
    Raises: `DataError` saying why, for a file that is missing, empty, truncated, not audio, silent or not finite.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); expected audio")
        with sf.SoundFile(str(path)) as file:
            samples, rate_hz = file.read(dtype="float32", always_2d=True), int(file.samplerate)
            promised = file.frames if file.format != "MP3" or _mp3_says_its_length(path) else samples.shape[0]
            truncated = _is_truncated(promised, samples.shape[0], file.extra_info)
    except (MemoryError, OverflowError, ValueError) as error:
        raise DataError(f"{path}: promises more audio than memory holds, or no length; encode it again") from error
    except (OSError, RuntimeError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be decoded as audio ({error}); expected WAV, FLAC, OGG, MP3 or AIFF"
        ) from error
    if samples.shape[0] == 0:
        raise DataError(f"{path}: holds no samples")
    if truncated:
        raise DataError(f"{path}: is truncated: its header promises more audio than the file holds; copy it again")
    with np.errstate(invalid="ignore", over="ignore"):
        mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError(f"{path}: holds NaN or infinite samples")
    if is_silent(mono):
        raise DataError(f"{path}: is silent once mixed to mono (less than -80 dBFS around its mean)")
    return mono, rate_hz


def _is_truncated(promised_frames: int, decoded_frames: int, log: str) -> bool:
    """Whether a file holds less than its header says: libsndfile decodes what is there, and only its log tells."""
    if decoded_frames < 0.99 * promised_frames:
        return True
    sizes = [(int(size), int(held)) for size, held in _CHUNK_SIZE.findall(log)]
    return any(held < size < _STREAMED_BYTES for size, held in sizes) or _OGG_CUT in log


def _mp3_says_its_length(path: Path) -> bool:
    """Whether the first frame counts them all. If not, libmpg123 makes up the length from the file's size, with the
    pictures in its tags."""
    with path.open("rb") as file:
        while (head := file.read(10))[:3] == b"ID3":
            # A tag's size has seven bits a byte.
            size = sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
            file.seek(size, os.SEEK_CUR)
        first_frame = head + file.read(2048)
    xing = re.search(rb"(?:Xing|Info)...(.)", first_frame, re.DOTALL)
    return b"VBRI" in first_frame or (xing is not None and bool(xing[1][0] & 1))


def resample(samples: Waveform, source_rate_hz: int, target_rate_hz: int) -> Waveform:
    """Band-limited resampling (soxr, high quality). Shape ``(samples,)`` in and out."""
    if source_rate_hz == target_rate_hz:
        return samples.astype(np.float32, copy=False)
    return np.asarray(soxr.resample(samples, source_rate_hz, target_rate_hz), dtype=np.float32)


def fit(samples: Waveform, length: int) -> Waveform:
    """Cut or zero-pad at the end to exactly ``length`` samples."""
    if samples.shape[0] >= length:
        return samples[:length]
    return np.pad(samples, (0, length - samples.shape[0]))


def peak_normalise(samples: Waveform, peak: float = 0.9) -> Waveform:
    """Scale so that the largest absolute sample is ``peak``; silence stays silence."""
    largest = float(np.abs(samples).max(initial=0.0))
    return samples if largest < SILENCE_PEAK else (samples * (peak / largest)).astype(np.float32)


def is_silent(samples: Waveform) -> bool:
    """Whether no sample leaves the mean by `SILENCE_PEAK`, as of a converter that is stuck; no samples are silence."""
    return not samples.size or float(np.abs(samples - samples.mean()).max()) < SILENCE_PEAK


def rms_db(samples: Waveform) -> float:
    """Root mean square level in dBFS, floored at -120."""
    mean_square = float(np.square(samples, dtype=np.float64).sum()) / max(1, samples.size)
    return float(20 * np.log10(max(1e-6, np.sqrt(mean_square))))


@lru_cache(maxsize=8)
def _mel_filters(sample_rate_hz: int, n_fft: int, n_mels: int) -> npt.NDArray[np.float64]:
    from transformers.audio_utils import mel_filter_bank

    filters: npt.NDArray[np.float64] = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=n_mels,
        min_frequency=20.0,
        max_frequency=sample_rate_hz / 2,
        sampling_rate=sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return filters


def power_spectrogram(samples: Waveform, n_fft: int = 512, hop: int = 160) -> npt.NDArray[np.float64]:
    """Hann power spectrogram, shape ``(frames, n_fft // 2 + 1)``; clips under one window are padded."""
    padded = np.pad(samples, (n_fft // 2, n_fft // 2)) if samples.shape[0] >= n_fft else fit(samples, 2 * n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = np.fft.rfft(frames * np.hanning(n_fft), axis=-1)
    return np.asarray(np.abs(spectrum) ** 2, dtype=np.float64)


def log_mel_db(
    samples: Waveform, sample_rate_hz: int, n_mels: int = 64, range_db: float = 80.0, n_fft: int = 512, hop: int = 160
) -> npt.NDArray[np.float32]:
    """Log-mel spectrogram in dB under the clip's own peak, floored at ``-range_db``. Shape ``(frames, n_mels)``."""
    mel = power_spectrogram(samples, n_fft, hop) @ _mel_filters(sample_rate_hz, n_fft, n_mels)
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    return np.asarray(np.maximum(decibels - decibels.max(), -range_db), dtype=np.float32)


@dataclass(frozen=True)
class SpectralFeatures:
    """Energy-weighted means over frames of one clip."""

    centroid_hz: float
    bandwidth_hz: float
    flatness: float
    pitch_hz: float
    """Autocorrelation pitch of the loudest stretch; NaN where the clip has none."""


def spectral_features(samples: Waveform, sample_rate_hz: int) -> SpectralFeatures:
    """Centroid, bandwidth, flatness (geometric over arithmetic mean) and pitch of one clip."""
    power = power_spectrogram(samples) + 1e-12
    frequencies = np.linspace(0, sample_rate_hz / 2, power.shape[1])
    energy = power.sum(axis=1)
    centroid = (power @ frequencies) / energy
    spread = np.sqrt((power * (frequencies[None] - centroid[:, None]) ** 2).sum(axis=1) / energy)
    flatness = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    weights = energy / energy.sum()
    return SpectralFeatures(
        float(weights @ centroid), float(weights @ spread), float(weights @ flatness), pitch_hz(samples, sample_rate_hz)
    )


def pitch_hz(samples: Waveform, sample_rate_hz: int, low_hz: float = 40.0, high_hz: float = 2000.0) -> float:
    """Pitch by normalised autocorrelation of the loudest 100 ms; NaN when the peak is under 0.5 (unpitched)."""
    width = min(samples.shape[0], int(0.1 * sample_rate_hz))
    # Lags in quarters of a sample: whole ones are too coarse for high pitches at low rates (octave errors).
    finer = 4
    shortest, longest = int(finer * sample_rate_hz / high_hz), finer * min(int(sample_rate_hz / low_hz), width - 1)
    if longest <= shortest + 2:
        return float("nan")
    energy = np.cumsum(np.pad(np.square(samples, dtype=np.float64), (1, 0)))
    start = int((energy[width:] - energy[:-width]).argmax())
    window = samples[start : start + width].astype(np.float64)
    window = window - window.mean()
    spectrum = np.fft.rfft(window, 2 * width)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, 2 * width * finer)[: width * finer]
    if correlation[0] <= 1e-12:
        return float("nan")
    correlation = correlation / correlation[0] * width / (width - np.arange(width * finer) / finer)
    lags = correlation[shortest:longest]
    if lags.max() < 0.5:
        return float("nan")
    # The first peak near the best one: later peaks are its multiples (octave errors).
    peaks = np.flatnonzero((lags[1:-1] >= lags[:-2]) & (lags[1:-1] >= lags[2:]) & (lags[1:-1] >= 0.9 * lags.max()))
    if peaks.size == 0:
        return float("nan")
    return float(finer * sample_rate_hz / (shortest + 1 + int(peaks[0])))


def write_flac(path: Path, samples: Waveform, sample_rate_hz: int) -> None:
    """Write 16-bit FLAC, clipped to [-1, 1]. The caller makes it atomic (see `store`)."""
    write(path, samples, sample_rate_hz, "FLAC")


def write(path: Path, samples: Waveform, sample_rate_hz: int, container: str) -> None:
    """As `write_flac`, in a container of `CONTAINERS`, whatever the path ends in."""
    sf.write(str(path), np.clip(samples, -1.0, 1.0), sample_rate_hz, format=container, subtype="PCM_16")
