"""The pre-training corpus: permissively licensed clips and SoundFont renders -> 16 kHz FLAC with captions.

The result is an audiofolder: ``clips/*.flac`` and ``metadata.jsonl`` with file_name, captions, tags, group, licence.
What is held out of pre-training is written to ``held_out.json`` beside it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from synthio import audio
from synthio.errors import DataError
from synthio.formats import some
from synthio.pretrain import general_midi as gm
from synthio.pretrain.drum_machine import DRUMS, drum_hit
from synthio.pretrain.packages import read_rows
from synthio.recipes import Section, UserPath
from synthio.seeds import numpy_generator
from synthio.variation import at_pitch, draw_resonances, draw_size, vary
from synthio.writing import json_lines, write_lines


class CorpusConfig(Section):
    """Where the corpus comes from and where it goes."""

    folder: UserPath = Path("work/pretrain/corpus")
    """Where the corpus is written (ignored by git)."""
    soundfont: UserPath | None = None
    """FluidR3_GM.sf2 (Debian package fluid-soundfont-gm, MIT)."""
    clips_csv: UserPath | None = None
    """A table with columns file, cls, label, caption, group, licence, permissive; only permissive=1 rows are used."""
    notes_per_program: int = Field(60, ge=1)
    """Of the 11 families; the others (pads, effects, ethnic instruments) get 40% of it."""
    note_duration_s: float = 1.5
    note_sizes: int = Field(1, ge=0)
    """Instruments of other sizes made from every note: the same pitch, other resonances."""
    drum_sizes: int = Field(2, ge=0)
    """Drums of other sizes made from every hit of the SoundFont's kits, which share most of their samples."""
    machine_hits: int = Field(60, ge=0)
    """Hits per class of `drum_machine`."""
    mixtures: int = 700
    """Clips that mix an event with a background recording, so that captions with a context mean something."""
    max_clip_duration_s: float = 5.0
    sample_rate_hz: int = 16_000
    seed: int = 0


_COLUMNS = frozenset({"file", "cls", "label", "caption", "group", "licence", "permissive"})
_VELOCITIES = (45, 70, 95, 120)


@dataclass(frozen=True)
class CorpusClip:
    """One captioned clip of the corpus. Caption 0 is the template of its class, where it has one."""

    file_name: str
    captions: tuple[str, ...]
    tags: tuple[str, ...]
    group: str
    licence: str

    @property
    def has_template(self) -> bool:
        """Whether caption 0 is the plain label template; not of mixtures, nor of recordings without a label."""
        return self.captions[0].startswith("Sound of") and not self.file_name.startswith("clips/mix_")


def build_corpus(config: CorpusConfig) -> Path:
    """Render and convert the corpus once; a finished one is left alone.

    Returns: the corpus folder.
    Raises: `DataError` when neither source is given, a source is missing or has rows that cannot be used, when there
        would be no clips, and for a folder with a corpus of other settings.
    """
    settings = config.folder / "settings.json"
    if (config.folder / "metadata.jsonl").is_file():
        if not settings.is_file() or settings.read_text(encoding="utf-8") != _settings(config):
            raise DataError(
                f"{config.folder}: holds a corpus of other settings (settings.json); choose another corpus.folder, or "
                "delete it"
            )
        return config.folder
    if config.soundfont is None and config.clips_csv is None:
        raise DataError(
            "the corpus has no source: set corpus.soundfont and/or corpus.clips_csv (see docs/pretraining.md)"
        )
    found = _settings(config)
    (config.folder / "clips").mkdir(parents=True, exist_ok=True)
    clips = [*_notes(config), *_drums(config), *_machine_hits(config), *_recordings(config)]
    if not clips:
        raise DataError(f"{config.clips_csv}: has no clips to train on; expected rows with permissive=1")
    clips += _mixtures(config, clips)
    held_out = {
        "general_midi_programs": sorted(gm.HELD_OUT_PROGRAMS),
        "clips_csv": "every row with permissive=0, so every GPL, CC-BY-SA and GFDL clip",
        "soundfonts": "every SoundFont but FluidR3 and MuseScore General, which is mostly FluidR3",
    }
    (config.folder / "held_out.json").write_text(json.dumps(held_out, indent=2), encoding="utf-8")
    settings.write_text(found, encoding="utf-8")
    write_lines(config.folder / "metadata.jsonl", (json.dumps(asdict(clip), ensure_ascii=False) for clip in clips))
    return config.folder


def _settings(config: CorpusConfig) -> str:
    """What the clips depend on; of the recordings what their table says."""
    settings = config.model_dump(mode="json", exclude={"folder", "soundfont", "clips_csv"})
    settings |= {"soundfont": _digest(config.soundfont), "clips_csv": _digest(config.clips_csv)}
    return json.dumps(settings, indent=2)


def _digest(source: Path | None) -> str | None:
    """Of the source's content. Raises: `DataError` when it is not there."""
    if source is None:
        return None
    try:
        with source.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{source}: cannot be read ({error.strerror}); docs/pretraining.md says what is expected"
        ) from error


def read_corpus(folder: Path) -> list[CorpusClip]:
    """The corpus' clips, in file order."""
    rows = map(json.loads, json_lines((folder / "metadata.jsonl").read_text(encoding="utf-8")))
    return [CorpusClip(r["file_name"], tuple(r["captions"]), tuple(r["tags"]), r["group"], r["licence"]) for r in rows]


def for_validation(clips: Sequence[CorpusClip], fraction: float) -> npt.NDArray[np.bool_]:
    """Which clips of a corpus are for validation, ``(clips,)``: a random share, the same for every model."""
    return numpy_generator(0, "validation").random(len(clips)) < fraction


def split_corpus(folder: Path, validation_fraction: float) -> tuple[list[CorpusClip], npt.NDArray[np.bool_]]:
    """The corpus' clips, and which of them are for validation, ``(clips,)``.

    Raises: `DataError` when none are, or all.
    """
    clips = read_corpus(folder)
    validation = for_validation(clips, validation_fraction)
    held_out = int(validation.sum())
    if not 0 < held_out < len(clips):
        raise DataError(
            f"{folder}: of {len(clips)} clips, validation_fraction={validation_fraction:g} holds out {held_out}; "
            "expected some, and some to train on: set another validation_fraction, or add clips"
        )
    return clips, validation


def _notes(config: CorpusConfig) -> Iterator[CorpusClip]:
    """Notes of the SoundFont's programs, and of instruments of other sizes made from each."""
    if config.soundfont is None:
        return
    font = gm.SoundFont(config.soundfont, config.sample_rate_hz)
    for program in sorted(set(range(128)) - gm.HELD_OUT_PROGRAMS):
        generator = numpy_generator(config.seed, "notes", program)
        low, high = gm.pitch_range(program)
        wanted = config.notes_per_program if program in gm.FAMILY_OF else max(1, 2 * config.notes_per_program // 5)
        drawn = generator.permutation((high - low + 1) * len(_VELOCITIES))[:wanted]
        for number in sorted(map(int, drawn)):
            pitch, velocity = low + number // len(_VELOCITIES), _VELOCITIES[number % len(_VELOCITIES)]
            held_share = float(generator.choice([0.4, 0.7, 0.7, 1.0]))
            yield from _note(config, font, program, pitch, velocity, held_share)


def _note(
    config: CorpusConfig, font: gm.SoundFont, program: int, pitch: int, velocity: int, held_share: float
) -> Iterator[CorpusClip]:
    """The note itself, then with other resonances."""

    def render(pitch: int, duration_s: float) -> audio.Waveform:
        return font.note(program, pitch, velocity, held_share * duration_s, duration_s)

    duration_s = config.note_duration_s
    name = f"clips/gm_{program:03d}_{pitch:03d}_{velocity:03d}"
    captions = gm.note_captions(program, pitch, velocity, held_share * duration_s)
    for number in range(1 + config.note_sizes):
        if number:
            resonances = draw_resonances(numpy_generator(config.seed, "resonances", name, number))
            samples = at_pitch(render, pitch, duration_s, config.sample_rate_hz, resonances)
        else:
            samples = render(pitch, duration_s)
        file = f"{name}_{number}.flac" if number else f"{name}.flac"
        if _write(config, file, samples):
            yield CorpusClip(file, captions, gm.tags(program), f"fluidr3_program_{program:03d}", "MIT")


def _drums(config: CorpusConfig) -> Iterator[CorpusClip]:
    """Hits of the SoundFont's kits, and of drums of other sizes made from each."""
    if config.soundfont is None:
        return
    font = gm.SoundFont(config.soundfont, config.sample_rate_hz)
    for kit in gm.DRUM_KITS:
        for key, label in gm.DRUM_KEYS.items():
            for velocity in (60, 90, 120):
                samples = font.note(kit, key, velocity, 0.3, 1.0, bank=128)
                name = f"clips/kit_{kit:03d}_{key:03d}_{velocity:03d}"
                for number, hit in enumerate([samples, *_sizes(config, samples, name)]):
                    file = f"{name}_{number}.flac" if number else f"{name}.flac"
                    loudness, group = gm.loudness(velocity), f"fluidr3_kit_{kit:03d}"
                    yield from _hit(config, file, hit, label, loudness, group, "MIT")


def _sizes(config: CorpusConfig, samples: audio.Waveform, name: str) -> Iterator[audio.Waveform]:
    longer = np.pad(samples, (0, samples.shape[0] // 2))
    for number in range(config.drum_sizes):
        size = draw_size(numpy_generator(config.seed, "size", name, number))
        yield vary(longer, config.sample_rate_hz, size)


def _machine_hits(config: CorpusConfig) -> Iterator[CorpusClip]:
    """Percussion from formulas."""
    for label in DRUMS:
        for number in range(config.machine_hits):
            samples = drum_hit(label, config.sample_rate_hz, numpy_generator(config.seed, "machine", label, number))
            name = f"clips/machine_{label.replace(' ', '_')}_{number:03d}.flac"
            yield from _hit(config, name, samples, label, "synthesised", "drum_machine", "Apache-2.0")


def _hit(
    config: CorpusConfig, name: str, samples: audio.Waveform, label: str, kind: str, group: str, licence: str
) -> Iterator[CorpusClip]:
    """The clip of one drum hit; none when it is silent."""
    if not _write(config, name, trim_silence(samples, config.sample_rate_hz)):
        return
    drum = gm.DRUM_CLASSES.get(label, label)
    described = f"a {kind}, {describe(samples, config.sample_rate_hz)} {label}"
    captions = _distinct(f"Sound of a {drum}", f"Sound of a {label}", f"a {label} hit", described)
    yield CorpusClip(name, captions, _distinct(label, drum, "percussion"), group, licence)


def trim_silence(samples: audio.Waveform, sample_rate_hz: int, floor_db: float = -50.0) -> audio.Waveform:
    """Cut the tail that stays under ``floor_db`` of the peak; at least 0.1 s is left."""
    loud = np.flatnonzero(np.abs(samples) > 10 ** (floor_db / 20) * np.abs(samples).max(initial=0.0))
    return samples[: max(sample_rate_hz // 10, int(loud[-1]) + 1 if loud.size else 0)]


def describe(samples: audio.Waveform, sample_rate_hz: int) -> str:
    """Words for length and brightness, measured: ``short, bright``."""
    centroid_hz = audio.spectral_features(samples, sample_rate_hz).centroid_hz
    brightness = "dark" if centroid_hz < 900 else "bright" if centroid_hz > 2800 else "warm"
    duration_s = trim_silence(samples, sample_rate_hz, -30.0).shape[0] / sample_rate_hz
    return f"{'short' if duration_s < 0.4 else 'long' if duration_s > 1.5 else 'medium-length'}, {brightness}"


def _distinct(*texts: str) -> tuple[str, ...]:
    """Without empty ones and repetitions, in order."""
    return tuple(dict.fromkeys(text for text in texts if text))


def _recordings(config: CorpusConfig) -> Iterator[CorpusClip]:
    """Raises: `DataError` for rows that cannot be used, all at once."""
    if config.clips_csv is None:
        return
    numbers, problems = itertools.count(), []
    for line, row in read_rows(config.clips_csv, _COLUMNS):
        if problem := _row_problem(row):
            problems.append(f"line {line}: {problem}")
        if problem or row["permissive"] == "0":
            continue
        try:
            samples = audio.load(config.clips_csv.parent / row["file"], config.sample_rate_hz)
        except DataError as error:
            problems.append(f"line {line}: {error}")
            continue
        name = f"clips/rec_{next(numbers):05d}.flac"
        if not _write(config, name, samples):
            problems.append(f"line {line}: {row['file']} is silent in its first {config.max_clip_duration_s:g} s")
            continue
        label, kind = row["label"].replace("_", " "), row["cls"].replace("_", " ")
        templates = [f"Sound of a {name}" for name in (kind, label) if name]
        described = f"a {describe(samples, config.sample_rate_hz)} {label}" if label else ""
        captions = _distinct(*templates, row["caption"], described)
        yield CorpusClip(name, captions, _distinct(label, kind), row["group"], row["licence"])
    if problems:
        listed = some(problems, separator="\n  ")
        raise DataError(f"{config.clips_csv}: {len(problems)} row(s) cannot be used; mend or delete them:\n  {listed}")


def _row_problem(row: Mapping[str, str]) -> str | None:
    """Why a row can be no clip, if so."""
    if row["permissive"] not in ("0", "1"):
        return f"permissive is {row['permissive']!r}; expected 1 for a clip to train on, else 0"
    if row["permissive"] == "1" and not (row["cls"] or row["label"] or row["caption"]):
        return "has neither cls, label nor caption; expected one of them at least"
    return None


def _mixtures(config: CorpusConfig, clips: list[CorpusClip]) -> list[CorpusClip]:
    """An event over a quieter background, captioned as both."""
    backgrounds = [clip for clip in clips if clip.file_name.startswith("clips/rec_")]
    mixed: list[CorpusClip] = []
    for index in range(config.mixtures if backgrounds else 0):
        generator = numpy_generator(config.seed, "mixture", index)
        event = clips[int(generator.integers(len(clips)))]
        background = backgrounds[int(generator.integers(len(backgrounds)))]
        level_db = float(generator.uniform(-24, -9))
        front = audio.load(config.folder / event.file_name, config.sample_rate_hz)
        back = audio.load(config.folder / background.file_name, config.sample_rate_hz)
        samples = front + 10 ** (level_db / 20) * np.resize(back, front.shape[0])
        if not _write(config, name := f"clips/mix_{index:05d}.flac", samples.astype(np.float32)):
            continue
        context = next((c for c in background.captions if not c.startswith("Sound of")), background.captions[0])
        captions = tuple(f"{caption} with {context} in the background" for caption in event.captions[:4])
        tags = _distinct(*event.tags, *background.tags)
        group, licence = f"{event.group}+{background.group}", f"{event.licence} and {background.licence}"
        mixed.append(CorpusClip(name, captions, tags, group, licence))
    return mixed


def _write(config: CorpusConfig, name: str, samples: audio.Waveform) -> bool:
    """Write one clip, cut and level-normalised; silent renders (a key without a sample) are left out."""
    used = samples[: int(config.max_clip_duration_s * config.sample_rate_hz)]
    if np.abs(used).max(initial=0.0) < 1e-3:
        return False
    audio.write_flac(config.folder / name, audio.peak_normalise(used), config.sample_rate_hz)
    return True
