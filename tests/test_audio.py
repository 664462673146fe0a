"""Audio: every container and width loads, every broken file says why, and the measures agree with closed forms."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf
from full_disk import no_file_above
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from synthio import audio
from synthio.errors import DataError, StoreError
from synthio.writing import replacing

RATE_HZ = 16_000
Samples = npt.NDArray[np.float32]

#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
waveforms = st_numpy.arrays(np.float32, st.integers(0, 3000), elements=st.floats(-1, 1, width=32))


def tone(frequency_hz: float = 440.0, duration_s: float = 0.5, rate_hz: int = RATE_HZ, peak: float = 0.5) -> Samples:
    times_s = np.arange(int(duration_s * rate_hz)) / rate_hz
    return (peak * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


def noise(duration_s: float = 1.0, rate_hz: int = RATE_HZ) -> Samples:
    return (0.2 * np.random.default_rng(0).standard_normal(int(duration_s * rate_hz))).clip(-1, 1).astype(np.float32)


@given(waveforms, st.floats(0, 1))
def test_a_crop_is_the_beginning(samples: Samples, duration_s: float) -> None:
    cropped = audio.crop(samples, duration_s, 1000)
    assert len(cropped) == min(len(samples), max(1, round(duration_s * 1000)))
    assert (cropped == samples[: len(cropped)]).all()


@pytest.mark.parametrize(
    ("suffix", "container", "subtype", "tolerance"),
    [
        ("wav", "WAV", "PCM_U8", 0.01),
        ("wav", "WAV", "PCM_16", 1e-4),
        ("wav", "WAVEX", "PCM_24", 1e-6),
        ("wav", "WAV", "PCM_32", 1e-6),
        ("wav", "WAV", "FLOAT", 1e-6),
        ("wav", "WAV", "DOUBLE", 1e-6),
        ("wav", "WAV", "ULAW", 0.03),
        ("wav", "RF64", "PCM_16", 1e-4),
        ("flac", "FLAC", "PCM_16", 1e-4),
        ("flac", "FLAC", "PCM_24", 1e-6),
        ("aiff", "AIFF", "PCM_16", 1e-4),
        ("au", "AU", "PCM_16", 1e-4),
        ("caf", "CAF", "PCM_16", 1e-4),
        ("w64", "W64", "PCM_16", 1e-4),
        ("ogg", "OGG", "VORBIS", 0.05),
        ("opus", "OGG", "OPUS", 0.2),
        ("mp3", "MP3", "MPEG_LAYER_III", 0.2),
    ],
)
def test_every_container_and_width(tmp_path: Path, suffix: str, container: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / f"a b ü.{suffix}"
    sf.write(str(path), tone(), RATE_HZ, format=container, subtype=subtype)
    loaded = audio.load(path, RATE_HZ)
    assert loaded.dtype == np.float32
    assert abs(loaded.size - tone().size) <= 1200  # MP3 may pad by one frame
    middle = slice(2000, 6000)
    assert np.abs(loaded[middle] - tone()[middle]).max() < tolerance


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_is_resampled(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "x.wav"
    sf.write(str(path), tone(rate_hz=rate_hz), rate_hz, subtype="PCM_24")
    loaded = audio.load(path, RATE_HZ)
    middle = slice(1000, 7000)  # away from the filter's edges
    assert np.abs(loaded[middle] - tone()[middle]).max() < 1e-3


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "x.wav"
    gains = np.linspace(0.1, 1, channels, dtype=np.float32)
    sf.write(str(path), tone()[:, None] * gains, RATE_HZ, subtype="FLOAT")
    assert np.allclose(audio.load(path, RATE_HZ), tone() * gains.mean(), atol=1e-6)


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def wav(path: Path, samples: npt.ArrayLike, subtype: str = "FLOAT") -> Path:
    sf.write(str(path), np.asarray(samples), RATE_HZ, subtype=subtype)
    return path


def test_files_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    nan = tone()
    nan[100] = np.nan
    infinite = np.stack([tone(), tone()], axis=1)
    infinite[5] = [np.inf, -np.inf]
    os.mkfifo(tmp_path / "pipe.wav")
    page = b"<!DOCTYPE html><title>404 Not Found</title>\n" * 50
    bad = {
        tmp_path / "none.wav": "no such file",
        tmp_path: "is no ordinary file",
        tmp_path / "pipe.wav": "is no ordinary file",
        tmp_path / ("long" * 100 + ".wav"): "cannot be decoded",
        tmp_path / "nul\0.wav": "no such file|no length",
        write_bytes(tmp_path / "empty.wav", b""): "0 bytes",
        write_bytes(tmp_path / "text.wav", b"this is a text file\n" * 50): "cannot be decoded",
        write_bytes(tmp_path / "page.mp3", page): r"cannot be decoded as audio \(Format not recognised\)",
        write_bytes(tmp_path / "x.raw", b"abcdefgh"): "cannot be decoded",
        wav(tmp_path / "none_inside.wav", np.zeros(0, np.float32)): "no samples",
        wav(tmp_path / "silent.wav", np.zeros(8000)): "silent",
        wav(tmp_path / "hiss.wav", noise() * 1e-5): "silent",
        wav(tmp_path / "opposed.wav", np.stack([tone(), -tone()], axis=1)): "channels cancel out when they are mixed",
        wav(tmp_path / "two hisses.wav", 5e-4 * np.stack([noise(), -noise()], axis=1)): "silent once mixed to mono",
        wav(tmp_path / "nan.wav", nan): "NaN",
        wav(tmp_path / "inf.wav", infinite): "NaN or infinite",
        wav(tmp_path / "huge.wav", tone().astype(np.float64) * 1e300, "DOUBLE"): "infinite",
    }
    for path, reason in bad.items():
        with pytest.raises(DataError, match=reason) as caught:
            audio.load(path, RATE_HZ)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_never_taken_for_whole_ones(
    tmp_path: Path, container: str, subtype: str, share: float
) -> None:
    path = tmp_path / "x"
    sf.write(str(path), noise(4.0), RATE_HZ, format=container, subtype=subtype)
    audio.load(path, RATE_HZ)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"truncated|cannot be decoded|no samples"):
        audio.load(path, RATE_HZ)
    with pytest.raises(DataError, match=r"truncated|cannot be decoded|no samples"):
        list(audio.windows(path, 0.5, RATE_HZ))


def test_finite_samples_that_are_no_audio_are_told(tmp_path: Path) -> None:
    """One such file ended `synthio predict` with the advice to lower the learning rate."""
    path = tmp_path / "x.wav"
    sf.write(path, 1e37 * noise(1.0), RATE_HZ, subtype="FLOAT")
    with pytest.raises(DataError, match=r"holds samples of \d\.?\d?e\+3\d, which is no audio; expected -1 to 1"):
        audio.load(path, RATE_HZ)
    with pytest.raises(DataError, match="which is no audio"):
        list(audio.windows(path, 0.5, RATE_HZ))
    # Whole numbers that are written as floats are audio.
    sf.write(path, 2**31 * noise(1.0).clip(-1, 1), RATE_HZ, subtype="FLOAT")
    audio.load(path, RATE_HZ)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "GSM610"), ("WAV", "G721_32"), ("AU", "G723_24")])
def test_what_can_be_read_from_its_start_only_is_told_with_its_encoding(
    tmp_path: Path, container: str, subtype: str
) -> None:
    """It was said to promise more audio than memory holds."""
    path = tmp_path / "voicemail.wav"
    sf.write(path, noise(1.0), 8_000, format=container, subtype=subtype)
    with pytest.raises(DataError, match=r"voicemail.wav: is encoded as .*(GSM|G72).*; encode it again, as PCM"):
        audio.load(path, RATE_HZ)


def id3(size: int) -> bytes:
    """A tag of zeros."""
    return b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)


def mp3(path: Path) -> tuple[bytes, bytes]:
    """4 s of noise: the frame that counts the frames, and the others."""
    sf.write(str(path), noise(4.0), RATE_HZ, format="MP3", bitrate_mode="CONSTANT", compression_level=0.0)
    content = path.read_bytes()
    second = content.index(content[:2], 4)
    return content[:second], content[second:]


@pytest.mark.parametrize("tags", [b"", id3(3_000), id3(200_000), id3(3_000) + id3(100)])
@pytest.mark.parametrize("first", ["none", "counts nothing"])
def test_a_whole_mp3_of_unsaid_length_is_not_truncated(tmp_path: Path, tags: bytes, first: str) -> None:
    """Its length is then an estimate from the file's size, with the tags' pictures."""
    path = tmp_path / "x.mp3"
    info, others = mp3(path)
    flags = info.index(b"Info") + 4
    uncounted = info[:flags] + bytes(4) + info[flags + 4 :]
    path.write_bytes(tags + (b"" if first == "none" else uncounted) + others)
    assert audio.load(path, RATE_HZ).shape[0] == pytest.approx(4 * RATE_HZ, rel=0.05)


@pytest.mark.parametrize("tags", [b"", id3(3_000), id3(3_000) + id3(100)])
def test_an_mp3_that_counts_its_frames_is_missed_some(tmp_path: Path, tags: bytes) -> None:
    path = tmp_path / "x.mp3"
    info, others = mp3(path)
    path.write_bytes(tags + info + others[: len(others) // 2])
    with pytest.raises(DataError, match="truncated"):
        audio.load(path, RATE_HZ)


def test_odd_headers_of_whole_files_are_fine(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(), "PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    size = int.from_bytes(content[4:8], "little")
    variants = {
        "piped": content[:4] + b"\xff" * 4 + content[8:at] + b"\xff" * 4 + content[at + 4 :],
        "wrong RIFF size": content[:4] + (size + 8).to_bytes(4, "little") + content[8:],
        "trailing tag": content + b"LIST" + (4).to_bytes(4, "little") + b"INFO",
    }
    for variant in variants.values():
        assert np.abs(audio.load(write_bytes(path, variant), RATE_HZ) - tone()).max() < 1e-4


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_the_start_of_a_long_file_is_that_of_the_whole_to_the_last_bit(
    tmp_path: Path, container: str, subtype: str, rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also block by block: MP3 and Opus decode to something else after a seek."""
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 10_000)
    path = tmp_path / "x"
    stereo = np.stack([noise(9.0, rate_hz), tone(rate_hz=rate_hz, duration_s=9.0)], axis=1)
    sf.write(str(path), stereo, rate_hz, format=container, subtype=subtype)
    for duration_s in (0.7, 3.0, 20.0):
        expected = audio.crop(audio.load(path, 22_050), duration_s, 22_050)
        assert (audio.load_start(path, duration_s, 22_050) == expected).all()
        measured, (samples, own_hz) = audio.measure(path, duration_s), audio.decode(path)
        assert (measured.samples, measured.sample_rate_hz) == (samples.size, own_hz)
        in_16_bits = np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2")
        assert measured.sha256 == hashlib.sha256(in_16_bits.tobytes()).hexdigest()
        assert (measured.start == audio.crop(samples, duration_s, own_hz)).all()


def test_the_start_of_a_long_file_needs_no_more_memory_than_that_of_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of 48 kHz once was decoded as a whole, in every thread."""
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 10_000)
    path = wav(tmp_path / "x.wav", np.tile(noise(1.0), 120), "PCM_16")
    whole_bytes = 120 * RATE_HZ * 4
    for read in (lambda: audio.load_start(path, 1.0, 8_000), lambda: audio.measure(path, 1.0)):
        read()
        tracemalloc.start()
        read()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < whole_bytes / 5


def test_what_is_wrong_after_the_start_is_found_in_the_whole_only(tmp_path: Path) -> None:
    samples = np.concatenate([noise(5.0), tone()])
    samples[-100] = np.nan
    late = wav(tmp_path / "nan.wav", samples)
    assert audio.load_start(late, 1.0, RATE_HZ).shape == (RATE_HZ,)
    with pytest.raises(DataError, match="NaN"):
        audio.measure(late, 1.0)
    with pytest.raises(DataError, match="NaN"):
        audio.load_start(late, 10.0, RATE_HZ)
    quiet = wav(tmp_path / "quiet.wav", np.concatenate([np.zeros(5 * RATE_HZ, np.float32), tone()]))
    assert not audio.load_start(quiet, 1.0, RATE_HZ).any()
    assert audio.measure(quiet, 1.0).samples == 5 * RATE_HZ + tone().size
    with pytest.raises(DataError, match="silent"):
        audio.measure(wav(tmp_path / "silent.wav", np.full(5 * RATE_HZ, 0.5)), 1.0)


def test_equal_reasons_read_alike_whatever_the_path(tmp_path: Path) -> None:
    texts = [write_bytes(tmp_path / name, b"this is a text file\n" * 50) for name in ("a.wav", "b.wav")]
    reasons = set()
    for path in (*texts, tmp_path / ("long" * 100 + ".wav")):
        with pytest.raises(DataError) as caught:
            audio.load(path, RATE_HZ)
        reasons.add(str(caught.value).removeprefix(f"{path}: "))
    assert reasons == {
        "cannot be decoded as audio (Format not recognised); expected WAV, FLAC, OGG, MP3 or AIFF",
        "cannot be decoded as audio (File name too long); expected WAV, FLAC, OGG, MP3 or AIFF",
    }


@pytest.mark.parametrize("length", [b"\x0f\xff\xff\xff\xff", bytes(5)], ids=["terabytes", "unknown"])
def test_a_header_with_an_absurd_length_is_refused_at_no_cost(tmp_path: Path, length: bytes) -> None:
    path = tmp_path / "x.flac"
    sf.write(str(path), tone(), RATE_HZ)
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | length[0]  # FLAC's total samples: 36 bits
    content[22:26] = length[1:]
    with pytest.raises(DataError, match="promises more audio than memory holds, or no length"):
        audio.load(write_bytes(path, bytes(content)), RATE_HZ)


def test_a_header_with_an_absurd_rate_is_refused_at_no_cost(tmp_path: Path) -> None:
    """100 million frames were taken for 0.1 s."""
    path = wav(tmp_path / "x.wav", tone())
    content = path.read_bytes().replace(RATE_HZ.to_bytes(4, "little"), (10**9).to_bytes(4, "little"))
    for read in (lambda: audio.load(path, RATE_HZ), lambda: audio.measure(path, 1.0), lambda: audio.duration_s(path)):
        write_bytes(path, content)
        with pytest.raises(DataError, match="says 1000000000 Hz; expected at most 4000000; encode it again"):
            read()


def test_many_channels_need_little_more_memory_than_one(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    sf.write(str(path), np.broadcast_to(noise(60.0)[:, None], (60 * RATE_HZ, 16)), RATE_HZ, subtype="PCM_16")
    tracemalloc.start()
    mono, _ = audio.decode(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.allclose(mono, noise(60.0), atol=1e-4)
    assert peak_bytes < 4 * mono.nbytes


def test_a_clip_too_short_for_the_new_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    sf.write(str(path), np.array([0.5, -0.5], np.float32), 192_000)
    with pytest.raises(DataError, match="too short"):
        audio.load(path, 8_000)


def test_decoding_keeps_rate_and_samples(tmp_path: Path) -> None:
    samples, rate_hz = audio.decode(wav(tmp_path / "x.wav", tone()))
    assert rate_hz == RATE_HZ
    assert (samples == tone()).all()


@unhurried
@given(waveforms, st.integers(0, 4000))
def test_fit_keeps_the_start_and_pads_with_silence(samples: Samples, length: int) -> None:
    fitted = audio.fit(samples, length)
    kept = min(length, samples.size)
    assert fitted.shape == (length,)
    assert fitted.dtype == np.float32
    assert (fitted[:kept] == samples[:kept]).all()
    assert not fitted[kept:].any()


@unhurried
@given(waveforms, st.sampled_from([8_000, 16_000, 22_050, 44_100, 192_000]), st.sampled_from([8_000, 16_000, 48_000]))
def test_resampling_keeps_the_duration(samples: Samples, source_hz: int, target_hz: int) -> None:
    resampled = audio.resample(samples, source_hz, target_hz)
    assert resampled.dtype == np.float32
    assert resampled.ndim == 1
    assert abs(resampled.size - samples.size * target_hz / source_hz) <= 1
    assert np.isfinite(resampled).all()


@unhurried
@given(st.floats(100, 3000), st.sampled_from([11_025, 22_050, 44_100, 48_000]))
def test_resampling_there_and_back_keeps_a_tone(frequency_hz: float, rate_hz: int) -> None:
    there = audio.resample(tone(frequency_hz), RATE_HZ, rate_hz)
    back = audio.resample(there, rate_hz, RATE_HZ)
    middle = slice(1000, 7000)
    assert np.abs(back[middle] - tone(frequency_hz)[middle]).max() < 5e-3


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    assert np.abs(audio.resample(tone(6000, rate_hz=48_000), 48_000, 8_000)[500:-500]).max() < 1e-3


@unhurried
@given(waveforms, st.floats(0.1, 1.0))
def test_peak_normalising(samples: Samples, peak: float) -> None:
    scaled = audio.peak_normalise(samples, peak)
    largest = float(np.abs(samples).max(initial=0.0))
    assert scaled.dtype == np.float32
    if largest < audio.SILENCE_PEAK:
        assert (scaled == samples).all()
    else:
        assert float(np.abs(scaled).max()) == pytest.approx(peak, rel=1e-5)
        assert np.allclose(scaled * (largest / peak), samples, atol=1e-6)


@unhurried
@given(waveforms)
def test_the_power_spectrogram_is_the_squared_fourier_transform(samples: Samples) -> None:
    n_fft, hop = 512, 160
    power = audio.power_spectrogram(samples)
    padded = np.pad(samples, n_fft // 2) if samples.size >= n_fft else np.pad(samples, (0, 2 * n_fft - samples.size))
    assert power.shape == (1 + (padded.size - n_fft) // hop, n_fft // 2 + 1)
    frame = len(power) // 2
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / (n_fft - 1))
    excerpt = padded[frame * hop : frame * hop + n_fft] * window
    angles = -2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft
    assert np.allclose(power[frame], np.abs(np.exp(angles) @ excerpt) ** 2, rtol=1e-6, atol=1e-6)


@unhurried
@given(waveforms, st.sampled_from([8_000, 16_000, 44_100]))
def test_log_mels_lie_within_their_range(samples: Samples, rate_hz: int) -> None:
    mels = audio.log_mel_db(samples, rate_hz)
    assert mels.shape == (len(audio.power_spectrogram(samples)), 64)
    assert mels.max() == 0
    assert mels.min() >= -80


@pytest.mark.parametrize("frequency_hz", [200, 1000, 4000])
def test_log_mels_peak_at_the_tone_and_ignore_the_level(frequency_hz: int) -> None:
    mels = audio.log_mel_db(tone(frequency_hz), RATE_HZ)
    brightest = int(mels.mean(axis=0).argmax())
    filters = audio.mel_filters(RATE_HZ, 512, 64)
    centre_hz = float(np.linspace(0, RATE_HZ / 2, 257) @ filters[:, brightest] / filters[:, brightest].sum())
    assert centre_hz == pytest.approx(frequency_hz, rel=0.12)
    assert np.abs(audio.log_mel_db(tone(frequency_hz, peak=0.05), RATE_HZ) - mels).max() < 0.5


@unhurried
@given(st.floats(300, 7000))
def test_a_tone_has_its_frequency_as_centroid_and_no_flatness(frequency_hz: float) -> None:
    features = audio.spectral_features(tone(frequency_hz, 1.0), RATE_HZ)
    assert features.centroid_hz == pytest.approx(frequency_hz, abs=20)
    assert features.flatness < 0.01
    assert features.bandwidth_hz < 400


def test_white_noise_has_the_moments_of_a_flat_spectrum() -> None:
    features = audio.spectral_features(noise(4.0), RATE_HZ)
    assert features.centroid_hz == pytest.approx(RATE_HZ / 4, rel=0.03)
    assert features.bandwidth_hz == pytest.approx(RATE_HZ / 2 / np.sqrt(12), rel=0.03)
    # The periodogram of white noise is exponential: geometric over arithmetic mean is exp(-Euler's constant).
    assert features.flatness == pytest.approx(np.exp(-np.euler_gamma), rel=0.05)
    assert np.isnan(features.pitch_hz)


@unhurried
@given(waveforms)
def test_features_of_any_samples_are_in_bounds(samples: Samples) -> None:
    features = audio.spectral_features(samples, RATE_HZ)
    assert 0 <= features.centroid_hz <= RATE_HZ / 2
    assert 0 <= features.bandwidth_hz <= RATE_HZ / 4 + 1e-6  # the largest spread that two ends allow
    assert 0 <= features.flatness <= 1 + 1e-9
    assert np.isnan(features.pitch_hz) or 39 <= features.pitch_hz <= 2000


@unhurried
@given(st.floats(60, 1500), st.sampled_from(["sine", "saw"]), st.sampled_from([8_000, 16_000, 44_100]))
def test_pitch_is_right_to_a_part_of_a_sample(frequency_hz: float, shape: str, rate_hz: int) -> None:
    harmonics = range(1, 2 if shape == "sine" else max(2, min(8, int(rate_hz / 2 / frequency_hz))))
    samples = sum((tone(k * frequency_hz, rate_hz=rate_hz, peak=0.3 / k) for k in harmonics), np.zeros(1, np.float32))
    pitch_hz = audio.pitch_hz(samples, rate_hz)
    assert rate_hz / pitch_hz == pytest.approx(rate_hz / frequency_hz, abs=0.3, rel=0.015)


def test_pitch_is_taken_from_the_loudest_stretch() -> None:
    samples = np.concatenate([tone(200, peak=0.05), tone(800, peak=0.8), tone(300, peak=0.1)])
    assert audio.pitch_hz(samples, RATE_HZ) == pytest.approx(800, rel=0.03)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(10), np.zeros(8000), np.ones(8000)])
def test_what_has_no_pitch(samples: Samples) -> None:
    assert np.isnan(audio.pitch_hz(samples.astype(np.float32), RATE_HZ))


def test_pitch_of_a_long_clip_takes_linear_time() -> None:
    samples = tone(440, 20.0, 44_100)
    started = time.process_time()
    assert audio.pitch_hz(samples, 44_100) == pytest.approx(440, rel=0.02)
    assert time.process_time() - started < 0.5


def test_written_flac_reads_back_and_clips(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    audio.write_flac(path, np.array([0.5, -0.25, 3.0, -3.0], np.float32), RATE_HZ)
    assert np.abs(audio.load(path, RATE_HZ) - [0.5, -0.25, 1.0, -1.0]).max() < 1e-4
    assert sf.info(str(path)).format == "FLAC"


def test_audio_that_the_disk_does_not_take_is_told_as_such(tmp_path: Path) -> None:
    """It was an error of libsndfile, as of a format that it cannot write."""
    path = tmp_path / "x.flac"
    with no_file_above(100), pytest.raises(StoreError, match="cannot be written"), replacing(path) as partial:
        audio.write_flac(partial, np.random.default_rng(0).normal(size=16_000).astype(np.float32), 16_000)
    assert not list(tmp_path.iterdir())


def test_within_band_keeps_what_a_recording_of_that_rate_can_hold() -> None:
    times = np.arange(16_000) / 16_000
    low, high = (0.4 * np.sin(2 * np.pi * hz * times).astype(np.float32) for hz in (500, 3_000))
    middle = slice(500, -500)
    assert np.abs(audio.within_band(low + high, 16_000, 4_000) - low)[middle].max() < 1e-3
    assert audio.within_band(low[:9_999], 16_000, 4_000).shape == (9_999,)
    assert np.abs(audio.within_band(np.sign(low + 0.1), 16_000, 4_000)).max() == pytest.approx(1.0)
    for rate_hz in (16_000, 48_000):
        assert audio.within_band(high, 16_000, rate_hz) is high


def test_a_name_that_is_not_utf8_is_opened_as_any_other(tmp_path: Path) -> None:
    """It was said to promise more audio than memory holds."""
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    with path.open("wb") as file:
        sf.write(file, np.sin(np.arange(800) / 20), 16_000, format="WAV")
    assert audio.load(path, 16_000).shape == (800,)
    path.write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be decoded as audio"):
        audio.load(path, 16_000)
