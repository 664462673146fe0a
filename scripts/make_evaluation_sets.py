"""Real clips that pre-training never heard, as tables for recipes: instruments (TimGM6mb), percussion and effects.

    python scripts/make_evaluation_sets.py work/pretrain work/evaluation

The first folder is what `synthio pretrain recordings` made, and the corpus if there is one; with
recipes/pretrain/timgm6mb.yaml (6 MB instead of 1.1 GB) it has the instruments only, with
recipes/pretrain/soundfonts.yaml those of other SoundFonts only.
Neither the GPL SoundFont's notes nor the GPL and CC-BY-SA recordings may be shipped or train what ships: they stay in
the ignored folder. Writes:

    instruments.csv   11 families from TimGM6mb; a group is a program
    generaluser.csv, sonivox.csv, opl3.csv
                      the same from three other SoundFonts; a group is a program, or those that share samples
    percussion.csv    13 classes, the rows with permissive=0; a group is a drum kit or its maker
    effects.csv       19 classes of everyday sounds, the rows with permissive=0; a group is a package (only when
                      `synthio pretrain recordings` was asked for them: 'sets=[pretraining,percussion,effects]')
    generator.csv     the first two together, with as "train" split the clips that pre-training did hear (FluidR3,
                      permissive kits): `synthio evaluate t2a` then judges the generator with a judge of other groups;
                      only when the corpus is there

All but the last have no splits: `data.group_column` keeps groups whole, `data.sample` draws n clips (recipes/bench).
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import typer
from scipy import signal
from scipy.sparse import csgraph

from synthio import audio
from synthio.pretrain import general_midi as gm
from synthio.pretrain.corpus import read_corpus
from synthio.pretrain.packages import read_rows
from synthio.seeds import numpy_generator

RATE_HZ = 16_000
NOTES_PER_PROGRAM = 24
#: Tables and the file of their SoundFont.
FURTHER_SOUNDFONTS = {"generaluser": "GeneralUser.sf2", "sonivox": "sonivox.sf2", "opl3": "OPL-3_FM_128M.sf2"}
#: Correlation of two programs' notes above which they are the same samples.
SAME_SAMPLES = 0.95


@dataclass(frozen=True)
class Row:
    """One clip."""

    path: str
    label: str
    group: str


def main(made: Path, folder: Path) -> None:
    """Render, list and split what MADE, the output of `synthio pretrain recordings`, holds, into FOLDER."""
    soundfont, clips_csv, corpus = made / "TimGM6mb.sf2", made / "clips" / "clips.csv", made / "corpus"
    further = {name: made / file for name, file in FURTHER_SOUNDFONTS.items() if (made / file).is_file()}
    for needed in (clips_csv,) if further else (soundfont, clips_csv):
        if not needed.is_file():
            raise SystemExit(f"{needed}: no such file; synthio pretrain recordings recipes/pretrain/recordings.yaml")
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in further.items():
        write(folder / f"{name}.csv", [(row, "") for row in further_instruments(name, file, folder)])
    if not soundfont.is_file():
        return
    sets = {
        "instruments": instruments("timgm6mb", gm.SoundFont(soundfont, RATE_HZ), folder / "notes"),
        "percussion": recordings(clips_csv, "percussion"),
    }
    for name, rows in {**sets, "effects": recordings(clips_csv, "effects")}.items():
        if rows:
            write(folder / f"{name}.csv", [(row, "") for row in rows])
    if not (corpus / "metadata.jsonl").is_file():
        print(f"no corpus in {corpus}: generator.csv was not made")
        return
    heard = heard_clips(corpus, {row.label for rows in sets.values() for row in rows})
    # A judge learns from both; a table needs both splits.
    unheard = [
        (row, "valid" if i % 5 == 0 else "test") for i, row in enumerate(r for rows in sets.values() for r in rows)
    ]
    write(folder / "generator.csv", [(row, "train") for row in heard] + unheard)


def instruments(name: str, font: gm.SoundFont, notes: Path) -> list[Row]:
    """Notes of every program of the 11 families, rendered into ``notes``."""
    rows = []
    notes.mkdir(exist_ok=True)
    for family, programs in gm.FAMILIES.items():
        for program in programs:
            generator = numpy_generator(0, "evaluation", program)
            low, high = gm.pitch_range(program)
            for pitch in sorted(map(int, generator.permutation(np.arange(low, high + 1))[:NOTES_PER_PROGRAM])):
                velocity, share = int(generator.choice([45, 70, 95, 120])), float(generator.choice([0.4, 0.7, 1.0]))
                path = notes / f"{program:03d}_{pitch:03d}_{velocity:03d}.flac"
                samples = font.note(program, pitch, velocity, 1.5 * share, 1.5)
                if np.abs(samples).max() < 1e-3:
                    continue
                audio.write_flac(path, audio.peak_normalise(samples), RATE_HZ)
                rows.append(Row(str(path.relative_to(notes.parent)), family.replace(" ", "_"), f"{name}_{program:03d}"))
    return rows


def further_instruments(name: str, soundfont: Path, folder: Path) -> list[Row]:
    """The same of another SoundFont; programs that share samples are one group, the lowest one's."""
    font = gm.SoundFont(soundfont, RATE_HZ)
    rows = instruments(name, font, folder / f"notes-{name}")
    groups = sorted({row.group for row in rows})
    first = dict(zip(groups, (groups[i] for i in sharing([_middle_c(font, group) for group in groups])), strict=True))
    return [replace(row, group=first[row.group]) for row in rows]


def sharing(notes: Sequence[audio.Waveform]) -> list[int]:
    """Of each note the first one that it is the same as, directly or through others, at any delay and level."""
    scaled = [note / np.linalg.norm(note) for note in notes]
    same = [[np.abs(signal.correlate(a, b)).max() > SAME_SAMPLES for b in scaled] for a in scaled]
    _, component = csgraph.connected_components(np.array(same), directed=False)
    return [list(component).index(number) for number in component]


def _middle_c(font: gm.SoundFont, group: str) -> audio.Waveform:
    return font.note(int(group[-3:]), 60, 95, 0.7, 1.5)


def recordings(clips_csv: Path, dataset: str) -> list[Row]:
    """The recordings of a dataset whose licence keeps them out of pre-training."""
    return [
        Row(str((clips_csv.parent / row["file"]).resolve()), row["cls"], row["group"])
        for _, row in read_rows(clips_csv, ("file", "dataset", "cls", "group", "permissive"))
        if row["dataset"] == dataset and row["permissive"] == "0" and row["cls"]
    ]


def heard_clips(corpus: Path, labels: set[str]) -> list[Row]:
    """Up to 20 clips per class of the pre-training corpus, mixtures left out."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    seen: set[bytes] = set()
    for clip in read_corpus(corpus):
        label = clip.captions[0].removeprefix("Sound of a ").replace(" ", "_")
        if label in labels and not clip.file_name.startswith("clips/mix_"):
            # FluidR3's kits share samples: the same hit must not count twice.
            content = hashlib.sha256(audio.load(corpus / clip.file_name, RATE_HZ).tobytes()).digest()
            if content not in seen:
                by_label[label].append(Row(str((corpus / clip.file_name).resolve()), label, clip.group))
            seen.add(content)
    drawn = []
    for label, rows in sorted(by_label.items()):
        order = numpy_generator(0, "heard", label).permutation(len(rows))[:20]
        drawn += [rows[i] for i in sorted(order)]
    return drawn


def write(path: Path, rows: Sequence[tuple[Row, str]]) -> None:
    """A table that the `table` reader reads; an empty split column is left out."""
    with path.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        splits = any(split for _, split in rows)
        writer.writerow(["path", "label", "group", *(["split"] if splits else [])])
        writer.writerows([row.path, row.label, row.group, *([split] if splits else [])] for row, split in rows)


if __name__ == "__main__":
    typer.run(main)
