"""Which programs of one SoundFont sound as a program of another, at any delay and level: are its samples the other's?

    python benchmarks/shared_notes.py work/pretrain/FluidR3_GM.sf2 work/soundfonts/*.sf2

For each SoundFont after the first: of how many of the 74 programs of the 11 families the note correlates with a note of
any of the first's 128 programs by more than 0.95, at three pitches; and which. Tones that are nearly sines do so too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import fft

from synthio.pretrain import general_midi as gm

RATE_HZ, DURATION_S = 16_000, 1.5
PITCHES = (48, 60, 72)
#: As in scripts/make_evaluation_sets.py.
SAME_SAMPLES = 0.95
#: Room for two notes beside each other, so that the correlation does not wrap around.
LENGTH = 2 * int(RATE_HZ * DURATION_S)

Spectrum = npt.NDArray[np.complex64]


def main(first: Path, others: list[Path]) -> None:
    """Print a line per SoundFont and pitch."""
    known, fonts = gm.SoundFont(first, RATE_HZ), {path.stem: gm.SoundFont(path, RATE_HZ) for path in others}
    for pitch in PITCHES:
        notes = {program: spectrum(known, program, pitch) for program in range(len(gm.NAMES))}
        for name, font in fonts.items():
            nearest = {program: best(spectrum(font, program, pitch), notes) for program in sorted(gm.FAMILY_OF)}
            same = {program: own for program, own in nearest.items() if own[1] > SAME_SAMPLES}
            told = "".join(f"; {gm.NAMES[one]}: {gm.NAMES[other]} {by:.3f}" for one, (other, by) in same.items())
            middle = np.median([by for _, by in nearest.values()])
            print(f"{name}, pitch {pitch}: {len(same)} of {len(nearest)}, median {middle:.2f}{told}", flush=True)


def spectrum(font: gm.SoundFont, program: int, pitch: int) -> Spectrum:
    """Of a note with no mean and a norm of 1; zeros for silence."""
    note = font.note(program, pitch, 95, 0.7, DURATION_S)
    note = note - note.mean()
    found: Spectrum = fft.rfft(note / max(float(np.linalg.norm(note)), 1e-9), LENGTH)
    return found


def best(note: Spectrum, notes: Mapping[int, Spectrum]) -> tuple[int, float]:
    """The program whose note is nearest, and the largest correlation with it."""
    by = {program: float(np.abs(fft.irfft(note * other.conj(), LENGTH)).max()) for program, other in notes.items()}
    nearest = max(by, key=by.__getitem__)
    return nearest, by[nearest]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
