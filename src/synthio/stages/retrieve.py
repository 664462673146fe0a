"""The retrieval arm: for every real training clip its nearest clips of another corpus, by CLAP, under its labels.

What a person could do without a generator (the paper's baseline retrieves from the pre-training corpus).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from synthio import audio
from synthio.backends.clap import Clap, Embeddings, embed_clips
from synthio.checkpoint import cached_tensors
from synthio.chunks import chunks
from synthio.config import RunConfig
from synthio.context import StageContext
from synthio.datasets import read_rows
from synthio.datasets.demo import demo_folder
from synthio.datasets.rows import NO_FILE, file_stat
from synthio.errors import DataError
from synthio.files import audio_files
from synthio.progress import Reporter
from synthio.recipes import user_path
from synthio.records import Clip, RetrievedClip, of_split
from synthio.store import fingerprint

#: Clips in memory.
_CHUNK = 64


def retrieve_clips(context: StageContext, clips: Sequence[Clip], clap: Clap, clap_identity: str) -> list[RetrievedClip]:
    """``imagine.captions_per_clip`` corpus clips per real training clip, best first; a corpus clip is used once.

    The data's own clips and copies of them, in whatever split and also where `data.sample` has not drawn them, are left
    out and counted.
    Raises: `DataError` for a corpus without enough audio.
    """
    config, training = context.config, of_split(clips, "train")
    corpus = _read_corpus(context, clap, clap_identity)
    own = _own_audio(config, clips, corpus, context.reporter)
    usable = [index for index in range(len(corpus.files)) if index not in own]
    wanted = config.imagine.captions_per_clip
    if len(usable) < wanted * len(training):
        raise DataError(
            f"{config.retrieve.corpus}: has {len(usable)} usable clips ({corpus.unreadable} unreadable, "
            f"{len(own)} copies of the data); expected {wanted * len(training)} or more: "
            "choose a larger retrieve.corpus or a smaller imagine.captions_per_clip"
        )
    similarities = embed_clips(clap, training, config.data.max_duration_s) @ corpus.rows[usable].T
    retrieved = [
        RetrievedClip(
            id=f"{clip.id}/{rank}",
            clip_id=clip.id,
            labels=clip.labels,
            path=str(corpus.files[usable[column]]),
            similarity=float(row[column]),
        )
        for clip, found, row in zip(training, nearest_once(similarities, wanted), similarities, strict=True)
        for rank, column in enumerate(found)
    ]
    context.folder.finish(retrieved, {"corpus": len(corpus.files), "unreadable": corpus.unreadable, "copies": len(own)})
    return retrieved


@dataclass(frozen=True)
class _Corpus:
    """What can be read of the corpus."""

    files: Sequence[Path]
    rows: Embeddings
    """``(files, width)``."""
    digests: Sequence[bytes]
    """Of each file's audio."""
    unreadable: int
    """Files that are left out."""


def _own_audio(config: RunConfig, clips: Sequence[Clip], corpus: _Corpus, reporter: Reporter) -> set[int]:
    """Which files of the corpus are audio of the data. Of clips that were not drawn, and so not opened, only those
    called or as large as a file of the corpus are opened now."""
    files = [path.resolve() for path in corpus.files]
    sizes, names = {path.stat().st_size for path in corpus.files}, {path.stem for path in corpus.files}
    opened = {Path(clip.path).resolve() for clip in clips}
    others = {row.path.resolve() for row in read_rows(config.data) if file_stat(row.path) != NO_FILE} - opened
    unheard = sorted(others.difference(files))
    alike = [path for path in unheard if path.stem in names or path.stat().st_size in sizes]
    known = {bytes.fromhex(clip.sha256) for clip in clips}
    with reporter.task("retrieve: the data's own", len(alike)) as advance:
        for path in alike:
            with suppress(DataError):
                known.add(bytes.fromhex(audio.measure(path, 0.0).sha256))
            advance(1)
    return {
        index
        for index, (path, digest) in enumerate(zip(files, corpus.digests, strict=True))
        if digest in known or path in opened or path in others
    }


def corpus_files(config: RunConfig) -> list[Path]:
    """Every audio file below the corpus folder, sorted; what the run itself makes is not of it.

    Raises: `DataError` when there are none.
    """
    root = corpus_root(config)
    if not root.is_dir():
        raise DataError(f"retrieve.corpus is {config.retrieve.corpus!r}; expected a folder with audio files, or `demo`")
    # Either may lie behind a link.
    own = config.run_folder.resolve()
    files = [path for path in audio_files(root) if path.is_file() and not path.resolve().is_relative_to(own)]
    if not files:
        raise DataError(f"{root}: holds no audio files; retrieve.corpus needs some")
    return files


def corpus_digest(config: RunConfig) -> str:
    """Of the names, sizes and times of change of the corpus' files, for the stage key."""
    root = corpus_root(config)
    stats = [(path.relative_to(root).as_posix(), path.stat()) for path in corpus_files(config)]
    return fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def corpus_root(config: RunConfig) -> Path:
    """The corpus folder. Raises: `DataError` when none is set."""
    if config.retrieve.corpus is None:
        raise DataError("retrieve.corpus is not set; expected a folder with audio files, or `demo`")
    if config.retrieve.corpus == "demo":
        return demo_folder("corpus")
    return user_path(config.retrieve.corpus).absolute()


def nearest_once(similarities: npt.NDArray[np.floating], wanted: int) -> list[list[int]]:
    """Up to ``wanted`` columns for each row of ``(clips, corpus)``, nearest first: the most similar pairs first, each
    column once.

    Of pairs that are equally similar, the first row's comes first, and in it the first column's.
    """
    # All rows together take no more columns.
    enough = wanted * len(similarities)
    best = [np.argsort(-row, kind="stable")[:enough].copy() for row in similarities]
    rows, columns = np.repeat(np.arange(len(best)), [own.size for own in best]), np.concatenate(best)
    taken: set[int] = set()
    found: list[list[int]] = [[] for _ in similarities]
    for place in np.argsort(-similarities[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if len(found[row]) < wanted and column not in taken:
            found[row].append(column)
            taken.add(column)
    return found


def _read_corpus(context: StageContext, clap: Clap, clap_identity: str) -> _Corpus:
    """The corpus, which is heard once with each CLAP and then kept."""
    config = context.config
    files = corpus_files(config)
    cache = config.retrieve.cache or context.folder.path.parent.parent / "cache"
    key = fingerprint([corpus_digest(config), clap_identity, config.data.max_duration_s])
    found = cached_tensors(cache, f"corpus-{key}", lambda: _embed_files(config, files, clap, context.reporter))
    kept = [files[index] for index in found["kept"].tolist()]
    digests = [bytes(row.tolist()) for row in found["digests"]]
    return _Corpus(kept, found["rows"].numpy(), digests, len(files) - len(kept))


def _embed_files(config: RunConfig, files: Sequence[Path], clap: Clap, reporter: Reporter) -> dict[str, torch.Tensor]:
    """Embeddings and digests of the files that can be read, and which those are."""
    rows, digests, kept = [], [], []
    with reporter.task("retrieve: corpus", len(files)) as advance:
        for part in chunks(range(len(files)), _CHUNK):
            heard = []
            for index in part:
                with suppress(DataError):
                    # The digest of the whole file at its own rate, as the data's clips have it.
                    digest = audio.measure(files[index], 0.0).sha256
                    heard.append(audio.load_start(files[index], config.data.max_duration_s, clap.sample_rate_hz))
                    digests.append(list(bytes.fromhex(digest)))
                    kept.append(index)
            rows.append(clap.embed_audio(heard))
            advance(len(part))
    return {
        "rows": torch.from_numpy(np.concatenate(rows)),
        "digests": torch.tensor(digests, dtype=torch.uint8).reshape(-1, 32),
        "kept": torch.tensor(kept, dtype=torch.int64),
    }
