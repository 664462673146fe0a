"""Render the bundled demo: 11 NSynth-style families from FluidR3; pre-training hears only the training programs.

    python scripts/make_demo_data.py work/pretrain/FluidR3_GM.sf2 src/synthio/demo

Writes ``instruments/``, the labelled clips, and ``corpus/``, unlabelled ones to retrieve from: a note of every program
that pre-training hears, and drum hits.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

from synthio import audio
from synthio.pretrain import general_midi as gm
from synthio.seeds import numpy_generator

CLIPS_PER_FAMILY = {"train": 5, "valid": 5, "test": 27}
SAMPLE_RATE_HZ = 16_000
DURATION_S = 1.5


def main(soundfont: Path, folder: Path) -> None:
    """Both."""
    font = gm.SoundFont(soundfont, SAMPLE_RATE_HZ)
    write_instruments(font, folder / "instruments")
    write_corpus(font, folder / "corpus")


def write_corpus(font: gm.SoundFont, folder: Path) -> None:
    """Write ``folder/*.ogg``."""
    notes = {
        f"program_{program:03d}": (program, int(np.mean(gm.pitch_range(program))), 0)
        for program in sorted(set(range(128)) - gm.HELD_OUT_PROGRAMS)
    }
    hits = {f"drum_{key:03d}": (0, key, 128) for key in sorted(gm.DRUM_KEYS)[::2]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (program, pitch, bank) in (notes | hits).items():
        samples = font.note(program, pitch, 90, 0.7 * DURATION_S, DURATION_S, bank)
        if np.abs(samples).max() >= 1e-3:
            write(folder / f"{name}.ogg", samples)


def write(path: Path, samples: audio.Waveform) -> None:
    """Vorbis at its best quality: 5 MB for the labelled clips, where FLAC takes 10."""
    sf.write(str(path), audio.peak_normalise(samples), SAMPLE_RATE_HZ, format="OGG", compression_level=0.0)


def write_instruments(font: gm.SoundFont, folder: Path) -> None:
    """Write ``folder/<split>/<family>/*.ogg`` and provenance.csv."""
    rows = []
    for family, splits in gm.DEMO_PROGRAMS.items():
        for split, programs in splits.items():
            generator = numpy_generator(1, "demo", family, split)
            notes = [(p, pitch) for p in programs for pitch in range(gm.pitch_range(p)[0], gm.pitch_range(p)[1] + 1)]
            order = generator.permutation(len(notes))
            # Programs in turn, so that each is heard about equally often.
            ranked = sorted(order, key=lambda i: sum(notes[j][0] == notes[i][0] for j in order[: list(order).index(i)]))
            for index in ranked[: CLIPS_PER_FAMILY[split]]:
                program, pitch = notes[index]
                velocity = int(generator.choice([45, 70, 95, 120]))
                hold_s = DURATION_S * float(generator.choice([0.4, 0.7, 1.0]))
                samples = font.note(program, pitch, velocity, hold_s, DURATION_S)
                if np.abs(samples).max() < 1e-3:
                    raise SystemExit(f"program {program} pitch {pitch} renders silence: choose another")
                path = folder / split / family.replace(" ", "_") / f"{program:03d}_{pitch:03d}_{velocity:03d}.ogg"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, samples)
                rows.append([path.relative_to(folder), family, split, program, gm.NAMES[program], pitch, velocity])
    with (folder / "provenance.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["file", "family", "split", "program", "instrument", "pitch", "velocity"])
        writer.writerows(rows)
    print(len(rows), "clips")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
