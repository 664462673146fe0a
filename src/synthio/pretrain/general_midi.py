"""General MIDI through a SoundFont: families, readable names, captions, and what pre-training must not hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthio import audio
from synthio.optional import need

NAMES: tuple[str, ...] = tuple(
    (
        "acoustic grand piano,bright acoustic piano,electric grand piano,honky-tonk piano,electric piano,"
        "FM electric piano,harpsichord,clavinet,celesta,glockenspiel,music box,vibraphone,marimba,xylophone,"
        "tubular bells,dulcimer,drawbar organ,percussive organ,rock organ,church organ,reed organ,accordion,harmonica,"
        "tango accordion,nylon-string acoustic guitar,steel-string acoustic guitar,jazz electric guitar,"
        "clean electric guitar,muted electric guitar,overdriven guitar,distortion guitar,guitar harmonics,"
        "acoustic bass,fingered electric bass,picked electric bass,fretless bass,slap bass,popped slap bass,synth bass,"
        "analog synth bass,violin,viola,cello,contrabass,tremolo strings,pizzicato strings,harp,timpani,"
        "string ensemble,slow string ensemble,synth strings,warm synth strings,choir aahs,voice oohs,synth voice,"
        "orchestra hit,trumpet,trombone,tuba,muted trumpet,french horn,brass section,synth brass,soft synth brass,"
        "soprano saxophone,alto saxophone,tenor saxophone,baritone saxophone,oboe,english horn,bassoon,clarinet,"
        "piccolo,flute,recorder,pan flute,bottle blow,shakuhachi,whistle,ocarina,square wave lead,sawtooth lead,"
        "calliope lead,chiff lead,charang lead,voice lead,fifths lead,bass and lead,new age pad,warm pad,polysynth pad,"
        "choir pad,bowed glass pad,metallic pad,halo pad,sweep pad,rain effect,soundtrack effect,crystal effect,"
        "atmosphere effect,brightness effect,goblin effect,echo effect,sci-fi effect,sitar,banjo,shamisen,koto,kalimba,"
        "bagpipe,fiddle,shanai,tinkle bell,agogo,steel drum,woodblock,taiko drum,melodic tom,synth drum,"
        "reverse cymbal,guitar fret noise,breath noise,seashore waves,bird tweet,telephone ring,helicopter,applause,"
        "gunshot"
    ).split(",")
)

#: The 11 NSynth instrument families (Engel et al. 2017) and their programs.
FAMILIES: dict[str, tuple[int, ...]] = {
    "bass": tuple(range(32, 40)),
    "brass": tuple(range(56, 62)),
    "flute": (72, 73, 74, 75, 77, 78, 79),
    "guitar": tuple(range(24, 31)),
    "keyboard": tuple(range(8)),
    "mallet": tuple(range(8, 15)),
    "organ": tuple(range(16, 21)),
    "reed": tuple(range(64, 72)),
    "string": (40, 41, 42, 43, 44, 45, 48, 49),
    "synth lead": (80, 81, 82, 83, 87),
    "vocal": (52, 53, 54, 85, 91),
}
FAMILY_OF = {program: family for family, programs in FAMILIES.items() for program in programs}

#: The bundled demo: programs of its training, validation and test clips, by family.
DEMO_PROGRAMS: dict[str, dict[str, tuple[int, ...]]] = {
    "bass": {"train": (32, 36), "valid": (35,), "test": (33, 38)},
    "brass": {"train": (56, 58), "valid": (59,), "test": (57, 60)},
    "flute": {"train": (73, 78), "valid": (74,), "test": (72, 77)},
    "guitar": {"train": (24, 29), "valid": (26,), "test": (25, 30)},
    "keyboard": {"train": (0, 6), "valid": (3,), "test": (1, 4)},
    "mallet": {"train": (9, 12), "valid": (10,), "test": (11, 13)},
    "organ": {"train": (16,), "valid": (20,), "test": (18, 19)},
    "reed": {"train": (65, 71), "valid": (67,), "test": (66, 68)},
    "string": {"train": (40, 48), "valid": (43,), "test": (41, 42)},
    "synth lead": {"train": (80,), "valid": (83,), "test": (81, 87)},
    "vocal": {"train": (52,), "valid": (54,), "test": (53,)},
}
#: Pre-training never hears the demo's validation and test instruments. It does hear those of its training clips: with
#: them held out too, some families would be left with one program, too few for a generator to learn the family.
HELD_OUT_PROGRAMS = frozenset(
    program for splits in DEMO_PROGRAMS.values() for split in ("valid", "test") for program in splits[split]
)

_FAMILY_RANGES = {
    "bass": (28, 52),
    "flute": (60, 91),
    "guitar": (40, 76),
    "mallet": (60, 84),
    "synth lead": (48, 84),
    "vocal": (48, 76),
}
_PROGRAM_RANGES = {
    40: (55, 91), 41: (48, 79), 42: (36, 72), 43: (28, 55), 45: (40, 79), 47: (36, 60),
    56: (54, 82), 57: (40, 70), 58: (28, 55), 59: (54, 82), 60: (41, 74), 61: (40, 79),
    64: (56, 86), 65: (49, 80), 66: (44, 75), 67: (36, 68), 68: (58, 88), 69: (52, 80), 70: (34, 70), 71: (50, 88),
}  # fmt: skip
_NOTES = "C,C sharp,D,D sharp,E,F,F sharp,G,G sharp,A,A sharp,B".split(",")

#: Bank-128 presets of FluidR3 that differ from one another.
DRUM_KITS = (0, 8, 16, 24, 25, 32, 40, 48)
#: General MIDI percussion keys and their labels.
DRUM_KEYS: dict[int, str] = {
    35: "kick", 36: "kick", 37: "sidestick", 38: "snare", 39: "clap", 40: "snare", 41: "tom", 42: "closed hihat",
    43: "tom", 44: "pedal hihat", 45: "tom", 46: "open hihat", 47: "tom", 48: "tom", 49: "crash", 50: "tom",
    51: "ride", 52: "china", 53: "ride bell", 54: "tambourine", 55: "splash", 56: "cowbell", 57: "crash",
    58: "vibraslap", 59: "ride", 60: "bongo", 61: "bongo", 62: "conga", 63: "conga", 64: "conga", 65: "timbale",
    66: "timbale", 67: "agogo", 68: "agogo", 69: "shaker", 70: "shaker", 71: "whistle", 72: "whistle", 73: "guiro",
    74: "guiro", 75: "clave", 76: "woodblock", 77: "woodblock", 78: "cuica", 79: "cuica", 80: "triangle",
    81: "triangle",
}  # fmt: skip

#: The 13 percussion classes that kits are sorted by, for labels that are finer than their class.
DRUM_CLASSES: dict[str, str] = {
    "pedal hihat": "closed hihat", "splash": "crash", "bongo": "hand drum", "conga": "hand drum", "djembe": "hand drum",
}  # fmt: skip


class SoundFont:
    """Render single notes with tinysoundfont at 48 kHz, then decimate, which avoids aliasing at low rates."""

    def __init__(self, path: Path, sample_rate_hz: int) -> None:
        need("tinysoundfont")
        import tinysoundfont

        self._sample_rate_hz = sample_rate_hz
        self._synth = tinysoundfont.Synth(samplerate=48_000, gain=0)
        self._id = self._synth.sfload(str(path))

    def note(
        self, program: int, pitch: int, velocity: int, hold_s: float, duration_s: float, bank: int = 0
    ) -> audio.Waveform:
        """One note held for ``hold_s`` inside ``duration_s`` seconds. Shape ``(samples,)``; silent if there is none."""
        synth = self._synth
        synth.program_select(0, self._id, bank, program, bank == 128)
        synth.noteon(0, pitch, velocity)
        held = np.frombuffer(bytes(synth.generate(int(48_000 * hold_s))), dtype=np.float32)
        synth.noteoff(0, pitch)
        tail = np.frombuffer(bytes(synth.generate(int(48_000 * (duration_s - hold_s)))), dtype=np.float32)
        synth.notes_off(0)
        synth.sounds_off(0)
        synth.generate(4_800)
        mono = np.concatenate([held, tail]).reshape(-1, 2).mean(axis=1)
        return audio.fit(audio.resample(mono, 48_000, self._sample_rate_hz), int(duration_s * self._sample_rate_hz))


def pitch_range(program: int) -> tuple[int, int]:
    """Lowest and highest MIDI pitch that sounds natural for a program."""
    return _PROGRAM_RANGES.get(program) or _FAMILY_RANGES.get(FAMILY_OF.get(program, ""), (36, 84))


def tags(program: int) -> tuple[str, ...]:
    """The instrument's own name and, for the 11 families, the family."""
    family = FAMILY_OF.get(program)
    return (NAMES[program], family) if family else (NAMES[program],)


def loudness(velocity: int) -> str:
    """A word for a MIDI velocity."""
    return "soft" if velocity < 60 else "moderate" if velocity < 85 else "loud" if velocity < 110 else "very loud"


def register(pitch: int) -> str:
    """A word for a MIDI pitch."""
    return "low" if pitch < 48 else "mid-range" if pitch < 67 else "high"


def note_captions(program: int, pitch: int, velocity: int, hold_s: float) -> tuple[str, ...]:
    """Weak captions in several styles; the first is the label template of the paper."""
    name, family = NAMES[program], FAMILY_OF.get(program)
    label = family or name
    length = "short" if hold_s < 0.8 else "sustained"
    note = f"{_NOTES[pitch % 12]} {pitch // 12 - 1}"
    styles = [
        f"Sound of a {label}",
        f"a single {note} note played on {name}",
        f"a {register(pitch)}, {loudness(velocity)} {label} note",
        f"a {length} {register(pitch)} note of a {name}",
        f"{loudness(velocity)} {name} playing one {length} note",
    ]
    if family:
        styles += [f"a {family} instrument: {name}", f"Sound of a {family}, {register(pitch)} and {loudness(velocity)}"]
    return tuple(styles)
