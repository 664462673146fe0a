"""The retrieval arm: nearest clips, each once, no copies of the data, embeddings kept."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from synthio.backends.clap import load_clap
from synthio.config import ClapConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import ConfigError, DataError
from synthio.progress import Reporter
from synthio.recipes import validate
from synthio.records import Clip, RetrievedClip
from synthio.stages.clips import collect_clips
from synthio.stages.retrieve import corpus_digest, corpus_files, corpus_root, nearest_once, retrieve_clips
from synthio.store import StageFolder


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10), st.integers(0, 99))
def test_each_column_once_and_the_best_pair_first(rows: int, wanted: int, spare: int, seed: int) -> None:
    similarities = np.random.default_rng(seed).random((rows, rows * wanted + spare))
    found = nearest_once(similarities, wanted)
    flat = [column for columns in found for column in columns]
    assert len(flat) == len(set(flat)) == rows * wanted
    for row, columns in enumerate(found):
        assert [similarities[row, c] for c in columns] == sorted((similarities[row, c] for c in columns), reverse=True)
    row, column = np.unravel_index(similarities.argmax(), similarities.shape)
    assert found[int(row)][0] == column


@given(st.integers(1, 5), st.integers(1, 90), st.integers(0, 200), st.integers(0, 2), st.integers(0, 99))
def test_pairs_are_taken_as_if_all_were_sorted(rows: int, wanted: int, spare: int, decimals: int, seed: int) -> None:
    """Also where many are equally similar, and where more are asked for than a row sorts at first."""
    similarities = np.random.default_rng(seed).random((rows, rows * wanted + spare)).round(decimals)
    expected: list[list[int]] = [[] for _ in similarities]
    for flat in np.argsort(-similarities, axis=None, kind="stable").tolist():
        row, column = divmod(flat, similarities.shape[1])
        if len(expected[row]) < wanted and not any(column in columns for columns in expected):
            expected[row].append(column)
    assert nearest_once(similarities, wanted) == expected


def test_a_large_corpus_is_not_sorted_as_a_whole() -> None:
    similarities = np.random.default_rng(0).random((200, 10_000)).astype(np.float32)
    tracemalloc.start()
    nearest_once(similarities, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < similarities.nbytes


@pytest.fixture
def config(small_data: Path, tmp_path: Path) -> RunConfig:
    corpus = tmp_path / "corpus" / "deep"
    corpus.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for index in range(10):
        sf.write(corpus / f"noise_{index}.wav", 0.3 * generator.normal(size=8_000), 16_000)
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    # At a rate that the CLAP does not take: copies must be found before resampling.
    sf.write(data / "test" / "hiss" / "high_rate.wav", 0.3 * generator.normal(size=22_050), 44_100)
    shutil.copy(data / "test" / "hiss" / "high_rate.wav", corpus / "a_copy_of_a_test_clip.wav")
    (corpus / "broken.wav").write_bytes(b"RIFF")
    (corpus / "notes.txt").write_text("not audio")
    content = {
        "run_folder": tmp_path / "run",
        "data": {"path": str(data)},
        "imagine": {"captions_per_clip": 1},
        "retrieve": {"corpus": str(tmp_path / "corpus")},
    }
    return RunConfig.model_validate(content)


def retrieve(
    config: RunConfig, clap_model: Path, key: str = "k"
) -> tuple[list[Clip], list[RetrievedClip], StageFolder]:
    clips = collect_clips(StageContext(config, StageFolder(config.run_folder, "clips", "k"), Reporter()))
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    folder = StageFolder(config.run_folder, "retrieve", key)
    return clips, retrieve_clips(StageContext(config, folder, Reporter()), clips, clap, "tiny"), folder


def test_clips_carry_the_real_clips_label_and_copies_are_left_out(config: RunConfig, clap_model: Path) -> None:
    clips, found, folder = retrieve(config, clap_model)
    training = [clip for clip in clips if clip.split == "train"]
    assert [(r.clip_id, r.labels) for r in found] == [(clip.id, clip.labels) for clip in training]
    assert len({r.path for r in found}) == len(found)
    assert not [r for r in found if "copy" in r.path or "broken" in r.path]
    assert all(-1.001 <= r.similarity <= 1.001 for r in found)
    summary = folder.summary()
    assert (summary["corpus"], summary["unreadable"], summary["copies"]) == (11, 1, 1)


def test_clips_of_the_data_that_were_not_drawn_are_left_out_too(config: RunConfig, clap_model: Path) -> None:
    """A bench's draws are small: its retrieval arm once trained on other test clips."""
    root = Path(config.data.path)
    copied = corpus_root(config) / "copied"
    copied.mkdir()
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        samples, rate_hz = sf.read(path)
        if number % 2:
            shutil.copy(path, copied / f"{number}.wav")
        else:
            # Another file, of the same samples.
            sf.write(copied / f"{path.stem}.flac", samples, rate_hz, subtype="PCM_16")
    sample = {"train": 2, "valid": 2, "test": 2}
    drawn = RunConfig.model_validate(config.model_dump() | {"data": {"path": str(root), "sample": sample}})
    clips, found, _ = retrieve(drawn, clap_model)
    assert len(clips) < len(list(root.rglob("*.wav")))
    assert all(Path(r.path).name.startswith("noise_") for r in found)
    inside = config.model_dump() | {"data": {"path": str(root), "sample": sample}, "retrieve": {"corpus": str(root)}}
    with pytest.raises(DataError, match="has 0 usable clips"):
        retrieve(RunConfig.model_validate(inside), clap_model, "own")


def test_each_clip_gets_what_sounds_like_it(config: RunConfig, clap_model: Path, small_data: Path) -> None:
    """Also behind files that were left out, as unreadable or as copies of the data."""
    near = corpus_root(config) / "near"
    near.mkdir()
    for path in (small_data / "train").rglob("*.wav"):
        samples, rate_hz = sf.read(path)
        sf.write(near / path.name, 0.999 * samples, rate_hz)
    clips, found, _ = retrieve(config, clap_model)
    names = {clip.id: Path(clip.path).name for clip in clips}
    assert [Path(r.path).name for r in found] == [names[r.clip_id] for r in found]
    assert all(r.similarity > 0.99 for r in found)


def test_long_recordings_are_not_held_as_a_whole(config: RunConfig, clap_model: Path) -> None:
    long = np.random.default_rng(2).normal(size=300 * 16_000).astype(np.float32)
    sf.write(corpus_root(config) / "long.wav", 0.3 * long, 16_000)
    config = config.model_copy(update={"data": config.data.model_copy(update={"max_duration_s": 0.5})})
    retrieve(config, clap_model, "warm")
    next((config.run_folder / "cache").glob("corpus-*.safetensors")).unlink()
    tracemalloc.start()
    _, found, folder = retrieve(config, clap_model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found and folder.summary()["corpus"] == 12
    assert peak < long.nbytes / 2


def test_embeddings_are_kept(config: RunConfig, clap_model: Path) -> None:
    _, first, _ = retrieve(config, clap_model)
    (cache,) = (config.run_folder / "cache").glob("corpus-*.safetensors")
    stamp = cache.stat().st_mtime_ns
    _, second, _ = retrieve(config, clap_model, "again")
    assert second == first
    assert cache.stat().st_mtime_ns == stamp


def test_embeddings_of_another_length_or_clap_are_no_others(config: RunConfig, clap_model: Path) -> None:
    clips, _, folder = retrieve(config, clap_model)
    shorter = config.model_copy(update={"data": config.data.model_copy(update={"max_duration_s": 0.1})})
    clap = load_clap(ClapConfig(model=str(clap_model)), Reporter())
    for settings, identity in ((config, "tiny"), (shorter, "tiny"), (config, "other")):
        retrieve_clips(StageContext(settings, folder, Reporter()), clips, clap, identity)
    assert len(list((config.run_folder / "cache").glob("corpus-*.safetensors"))) == 3


def test_a_corpus_that_was_written_anew_is_another(config: RunConfig) -> None:
    """Also where every file is as large as it was."""
    before, path = corpus_digest(config), corpus_files(config)[0]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
    assert corpus_digest(config) != before


def test_a_corpus_too_small_or_not_there_is_refused(config: RunConfig, clap_model: Path, tmp_path: Path) -> None:
    greedy = config.model_copy(update={"imagine": config.imagine.model_copy(update={"captions_per_clip": 5})})
    with pytest.raises(DataError, match=r"has 10 usable clips \(1 unreadable, 1 copies of the data\); expected 40"):
        retrieve(greedy, clap_model)
    for corpus, words in ((tmp_path / "gone", "expected a folder"), (tmp_path / "empty", "holds no audio")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        section = config.retrieve.model_copy(update={"corpus": str(corpus)})
        with pytest.raises(DataError, match=words):
            retrieve(config.model_copy(update={"retrieve": section}), clap_model)


def test_a_run_below_the_corpus_is_not_of_it(config: RunConfig, tmp_path: Path) -> None:
    before, digest = corpus_files(config), corpus_digest(config)
    inside = config.model_copy(update={"run_folder": corpus_root(config) / "runs" / "x"})
    made = inside.run_folder / "dataset" / "audio" / "made.wav"
    made.parent.mkdir(parents=True)
    sf.write(made, np.zeros(100), 16_000)
    assert (corpus_files(inside), corpus_digest(inside)) == (before, digest)
    assert made in corpus_files(config)
    (tmp_path / "linked").symlink_to(inside.run_folder)
    assert corpus_files(inside.model_copy(update={"run_folder": tmp_path / "linked"})) == before


def test_the_arm_without_a_corpus_is_refused_early() -> None:
    with pytest.raises(ConfigError, match=r"set retrieve\.corpus"):
        validate({"data": {"path": "demo"}, "train": {"arms": ["gold", "retrieval"]}}, RunConfig, "recipe")
