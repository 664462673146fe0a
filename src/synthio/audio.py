"""Functions on audio: load, resample, fit a duration, measure. Arrays are float32 mono, shape ``(samples,)``."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from synthio.errors import DataError

Waveform = npt.NDArray[np.float32]

#: What `write` makes, by the name's end.
CONTAINERS = {".flac": "FLAC", ".wav": "WAV"}
#: What `soundfile` raises for a file that it cannot open: headerless, no audio, gone, or without a name in UTF-8.
UNREADABLE = (sf.LibsndfileError, TypeError, ValueError, OSError)
#: Peaks under this are digital silence (-80 dBFS).
SILENCE_PEAK = 1e-4

#: Why a stretch cannot be used that is silent in mono, and not in stereo.
CANCELLED = (
    "its channels cancel out when they are mixed to mono: they hold the same sound with opposite signs; turn one of "
    "them around, or keep one alone"
)

#: A piped WAV has a placeholder near 2 or 4 GiB as the size of its data.
_STREAMED_BYTES = 0x7F000000
#: W64 writes `riff` in lower case; WAV's `RIFF` size is often a few bytes wrong in good files, so it is not looked at.
_CHUNK_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_CUT = "Junk after the last page"
#: What a WAV beyond 4 GiB is.
_RF64_CUT = "does not match value from 'ds64' chunk"
#: Whole numbers of 32 bits that are written as floats stay below.
_LOUDEST = 1e10
#: No codec packs more into a byte: FLAC's silence is about 6 000 frames.
_MOST_FRAMES_PER_BYTE = 10_000
#: Bat detectors and hydrophones stay below. A header that says more would make a few seconds of any length.
_MOST_RATE_HZ = 4_000_000
_BLOCK_FRAMES = 1 << 18
#: Resampling looks ahead: with this much more of a file, the result is that of the whole to the last bit.
_AHEAD_S = 2.0
_PITCH_RANGE_HZ = (40.0, 2000.0)


def load(path: Path, sample_rate_hz: int, most_s: float = math.inf) -> Waveform:
    """Decode any libsndfile format, mix to mono, resample. ``most_s`` is as of `decode`.

    Returns: shape ``(samples,)``, float32.
    Raises: `DataError` as `decode` does, and for a clip too short to hold one sample at the new rate.
    """
    mono, source_rate_hz = decode(path, most_s)
    samples = resample(mono, source_rate_hz, sample_rate_hz)
    if samples.size == 0:
        raise DataError(f"{path}: is too short ({mono.size} samples at {source_rate_hz} Hz)")
    return samples


def load_start(path: Path, duration_s: float, sample_rate_hz: int) -> Waveform:
    """The first ``duration_s`` of a file, or all of it, as `load` gives it; little more of it is read."""
    return crop(load(path, sample_rate_hz, duration_s + _AHEAD_S), duration_s, sample_rate_hz)


def windows(path: Path, window_s: float, sample_rate_hz: int) -> Iterator[tuple[float, float, Waveform]]:
    """A file in windows of ``window_s``, one after the other, each resampled for itself; hours need little memory.

    Yields: where a window starts and ends in the file, in seconds, and its mono samples. The last one ends with the
    file, and so overlaps the one before it; only a file that is shorter than a window has a shorter one.
    Raises: `DataError` for a file that cannot be decoded, or is not finite, and at the end for one that is truncated.
    """
    with _opened(path) as file:
        rate_hz, end, before = int(file.samplerate), 0, np.zeros(0, np.float32)
        wanted = max(1, round(window_s * rate_hz))
        while (block := _mono(file, wanted)).size:
            if not np.isfinite(block).all():
                raise DataError(f"{path}: holds NaN or infinite samples, from {end / rate_hz:.1f} s on")
            _check_peak(path, float(np.abs(block).max()))
            end += block.size
            before = np.concatenate([before, block])[-wanted:]
            yield (end - before.size) / rate_hz, end / rate_hz, resample(before, rate_hz, sample_rate_hz)
        _check_length(path, file, end, file.frames)


def duration_s(path: Path) -> float:
    """What a file's header says of its length. Raises: `DataError` as `decode` does."""
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


def crop(samples: Waveform, duration_s: float, sample_rate_hz: int) -> Waveform:
    """The first ``duration_s`` of ``(samples,)``, or all; at least one sample."""
    return samples[: max(1, round(duration_s * sample_rate_hz))]


def _in_16_bits(samples: Waveform) -> bytes:
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()


def decode(path: Path, most_s: float = math.inf) -> tuple[Waveform, int]:
    """Decode any libsndfile format and mix to mono at the file's own rate.

    ``most_s``: no more than so many seconds are read; whether the rest is sound is then not looked at.
    Returns: samples of shape ``(samples,)``, float32, and the sample rate in Hz.
    Raises: `DataError` saying why, for a file that is missing, empty, truncated, not audio, silent or not finite.
    """
    with _opened(path) as file:
        seen, wanted = _Seen(), int(min(file.frames, most_s * file.samplerate))
        mono = _mono(file, wanted)
        seen.add(mono)
        _check(path, file, seen, wanted)
        return mono, int(file.samplerate)


@dataclass(frozen=True)
class Measured:
    """A whole file, of which only the start is kept."""

    start: Waveform
    """Mono, shape ``(samples,)``, at the file's own rate."""
    samples: int
    """Of the whole file, per channel."""
    sample_rate_hz: int
    sha256: str
    """Hex digest of all samples, as 16-bit ones, so that a WAV and its FLAC copy are the same audio."""


def measure(path: Path, start_s: float) -> Measured:
    """Decode a whole file as `decode` does, block by block, so that hours of audio need little memory.

    ``start_s``: so much of it is kept, as `crop` does.
    Raises: `DataError` as `decode` does.
    """
    with _opened(path) as file:
        seen, digest, start = _Seen(), hashlib.sha256(), np.zeros(0, np.float32)
        for block in _blocks(file, max(1, round(start_s * file.samplerate))):
            start = start if seen.samples else block
            seen.add(block)
            if seen.finite:
                digest.update(_in_16_bits(block))
        _check(path, file, seen, file.frames)
        return Measured(start, seen.samples, int(file.samplerate), digest.hexdigest())


class _Forward(sf.SoundFile):  # type: ignore[misc]
    """Read from front to back. `SoundFile` seeks after every read where it can, which alters what MP3 and Opus decode
    to from there on."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[_Forward]:
    """The file, to be read. Raises: `DataError` for one that cannot be opened, or read within the block."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'is no ordinary file' if path.exists() else 'no such file'}")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); expected audio")
        # In bytes: a name need not be UTF-8.
        with _Forward(os.fsencode(path)) as file:
            if not sf.SoundFile.seekable(file):
                raise DataError(
                    f"{path}: is encoded as {file.subtype_info}, which can be read from its start only; encode it "
                    "again, as PCM"
                )
            if file.frames > _MOST_FRAMES_PER_BYTE * path.stat().st_size:
                raise OverflowError
            if file.samplerate > _MOST_RATE_HZ:
                raise DataError(f"{path}: says {file.samplerate} Hz; expected at most {_MOST_RATE_HZ}; encode it again")
            yield file
    except (MemoryError, OverflowError, ValueError) as error:
        raise DataError(f"{path}: promises more audio than memory holds, or no length; encode it again") from error
    except (OSError, RuntimeError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be decoded as audio ({_why(error)}); expected WAV, FLAC, OGG, MP3 or AIFF"
        ) from error


def _why(error: Exception) -> str:
    """Without the path that both put before it: equal reasons are counted as one."""
    said = str(getattr(error, "error_string", None) or getattr(error, "strerror", None) or error)
    # libsndfile says so of a file that is there, is named .mp3, and is none.
    return "Format not recognised" if "possibly a pipe" in said else said.rstrip(".")


def _mono(file: _Forward, frames: int) -> Waveform:
    """The next ``frames`` at most, ``(samples,)``; mixed piece by piece, whatever the number of channels."""
    wanted, pieces = max(1, _BLOCK_FRAMES // file.channels), [np.zeros(0, np.float32)]
    with np.errstate(invalid="ignore", over="ignore"):
        while frames and (len(pieces) == 1 or pieces[-1].size == wanted):
            wanted = min(wanted, frames)
            frames -= wanted
            pieces.append(file.read(wanted, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32))
    return np.concatenate(pieces)


def _blocks(file: _Forward, first: int) -> Iterator[Waveform]:
    """What one read of all would give: ``first`` frames, and then as many at a time as memory holds of any file."""
    wanted = min(first, file.frames)
    left = file.frames - wanted
    yield (block := _mono(file, wanted))
    while left and block.size == wanted:
        wanted = min(left, _BLOCK_FRAMES)
        left -= wanted
        yield (block := _mono(file, wanted))


@dataclass
class _Seen:
    """What is asked of the samples of a file, block by block."""

    samples: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, mono: Waveform) -> None:
        """The next block."""
        self.samples += mono.size
        with np.errstate(invalid="ignore"):
            self.total += float(mono.sum(dtype=np.float64))
        self.low = min(self.low, float(mono.min(initial=np.inf)))
        self.high = max(self.high, float(mono.max(initial=-np.inf)))

    @property
    def finite(self) -> bool:
        return math.isfinite(self.total)

    @property
    def silent(self) -> bool:
        """As `is_silent`."""
        mean = self.total / max(1, self.samples)
        return max(self.high - mean, mean - self.low) < SILENCE_PEAK


def _check(path: Path, file: _Forward, seen: _Seen, wanted: int) -> None:
    """Raises: `DataError` for samples that cannot be used. ``wanted``: the frames that were asked for."""
    _check_length(path, file, seen.samples, wanted)
    if not seen.finite:
        raise DataError(f"{path}: holds NaN or infinite samples")
    _check_peak(path, max(seen.high, -seen.low))
    if wanted == file.frames and seen.silent:
        why = why_silent(path, 0.0, math.inf, "is silent once mixed to mono (less than -80 dBFS around its mean)")
        raise DataError(f"{path}: {why}")


def _check_peak(path: Path, peak: float) -> None:
    """Raises: `DataError` for finite samples that overflow whatever is computed from them."""
    if peak > _LOUDEST:
        raise DataError(f"{path}: holds samples of {peak:.2g}, which is no audio; expected -1 to 1; encode it again")


def _check_length(path: Path, file: _Forward, decoded: int, wanted: int) -> None:
    """Raises: `DataError` where fewer frames were ``decoded`` than were ``wanted`` and promised, or none."""
    if decoded == 0:
        raise DataError(f"{path}: holds no samples")
    promised = wanted if file.format != "MP3" or _mp3_says_its_length(path) else decoded
    if _is_truncated(promised, decoded, file.extra_info):
        raise DataError(f"{path}: is truncated: its header promises more audio than the file holds; copy it again")


def _is_truncated(promised_frames: int, decoded_frames: int, log: str) -> bool:
    """Whether a file holds less than its header says: libsndfile decodes what is there, and only its log tells."""
    if decoded_frames < 0.99 * promised_frames:
        return True
    sizes = [(int(size), int(held)) for size, held in _CHUNK_SIZE.findall(log)]
    return any(held < size < _STREAMED_BYTES for size, held in sizes) or _OGG_CUT in log or _RF64_CUT in log


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


def within_band(samples: Waveform, rate_hz: int, recorded_rate_hz: int) -> Waveform:
    """Without what a recording at ``recorded_rate_hz`` cannot hold; as it is where that is no lower. Shape and rate
    stay."""
    if recorded_rate_hz >= rate_hz:
        return samples
    narrow = fit(resample(resample(samples, rate_hz, recorded_rate_hz), recorded_rate_hz, rate_hz), samples.shape[0])
    # What lacks its overtones may go beyond full scale, and a writer's clipping would make new ones.
    return narrow / np.float32(max(1.0, float(np.abs(narrow).max(initial=0.0))))


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


def cancels(channels: Waveform) -> bool:
    """Whether channels of shape ``(samples, channels)``, whose mean is silent, are not so by themselves."""
    # Noise of channels that are almost silent may well be so once mixed; it does not become a tenth.
    return bool((np.abs(channels - channels.mean(axis=0)).max(axis=0, initial=0.0) > 10 * SILENCE_PEAK).any())


def why_silent(path: Path, start_s: float, end_s: float, otherwise: str) -> str:
    """Of a stretch of a file that is silent in mono: `CANCELLED`, or ``otherwise``. Raises: `DataError` as `decode`."""
    with _opened(path) as file:
        if file.channels == 1:
            return otherwise
        file.seek(int(start_s * file.samplerate))
        left = int(min(file.frames, end_s * file.samplerate)) - file.tell()
        wanted = max(1, _BLOCK_FRAMES // file.channels)
        while left > 0:
            block = file.read(min(left, wanted), dtype="float32", always_2d=True)
            if not block.size:
                break
            if cancels(block):
                return CANCELLED
            left -= len(block)
    return otherwise


@lru_cache(maxsize=8)
def mel_filters(sample_rate_hz: int, n_fft: int, n_mels: int) -> npt.NDArray[np.float64]:
    """Triangular filters, ``(n_fft // 2 + 1, n_mels)``."""
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
    mel = power_spectrogram(samples, n_fft, hop) @ mel_filters(sample_rate_hz, n_fft, n_mels)
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


#: What tables call the fields of `SpectralFeatures`, and their units.
FEATURES: Mapping[str, tuple[str, str]] = {
    "centroid_hz": ("centroid", "Hz"),
    "bandwidth_hz": ("bandwidth", "Hz"),
    "flatness": ("flatness", ""),
    "pitch_hz": ("pitch", "Hz"),
}


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


def pitch_hz(samples: Waveform, sample_rate_hz: int) -> float:
    """Pitch by normalised autocorrelation of the loudest 100 ms; NaN when the peak is under 0.5 (unpitched)."""
    width = min(samples.shape[0], int(0.1 * sample_rate_hz))
    # Lags in quarters of a sample: whole ones are too coarse for high pitches at low rates (octave errors).
    finer = 4
    low_hz, high_hz = _PITCH_RANGE_HZ
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
    """Write 16-bit FLAC, clipped to [-1, 1]. The caller makes it atomic (`writing.replacing`)."""
    write(path, samples, sample_rate_hz, "FLAC")


def write(path: Path, samples: Waveform, sample_rate_hz: int, container: str) -> None:
    """As `write_flac`, in a container of `CONTAINERS`, whatever the path ends in."""
    # libsndfile does not tell a full disk from a format that it cannot write.
    path.write_bytes(encoded(samples, sample_rate_hz, container))


def encoded(samples: Waveform, sample_rate_hz: int, container: str) -> bytes:
    """The content of such a file."""
    content = io.BytesIO()
    sf.write(content, np.clip(samples, -1.0, 1.0), sample_rate_hz, format=container, subtype="PCM_16")
    return content.getvalue()
