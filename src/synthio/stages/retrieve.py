"""The retrieval arm: for every real training clip its nearest clips of another corpus, by CLAP, under its labels.

What a person could do without a generator (the paper's baseline retrieves from the pre-training corpus).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from synthio import audio
from synthio.backends.clap import Clap
from synthio.checkpoint import cached_tensors
from synthio.config import RunConfig
from synthio.datasets.demo import demo_folder
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.records import Clip, RetrievedClip
from synthio.store import StageFolder, fingerprint

_CHUNK = 64


def retrieve_clips(
    config: RunConfig,
    clips: Sequence[Clip],
    clap: Clap,
    clap_identity: str,
    folder: StageFolder,
    reporter: Reporter,
) -> list[RetrievedClip]:
    """``imagine.captions_per_clip`` corpus clips per real training clip, best first; a corpus clip is used once.

    Copies of the data's own clips, in whatever split, are left out and counted.
    Raises: `DataError` for a corpus without enough audio.
    """
    started = time.monotonic()
    training = [clip for clip in clips if clip.split == "train"]
    files = corpus_files(config)
    rows, digests, unreadable = _embed_corpus(config, files, clap, clap_identity, folder, reporter)
    own = {bytes.fromhex(clip.sha256) for clip in clips}
    usable = np.array([index for index, digest in enumerate(digests) if digest not in own], dtype=np.int64)
    wanted = config.imagine.captions_per_clip
    if len(usable) < wanted * len(training):
        raise DataError(
            f"{config.retrieve.corpus}: has {len(usable)} usable clips ({unreadable} unreadable, "
            f"{len(digests) - len(usable)} copies of the data); expected {wanted * len(training)} or more: "
            "choose a larger retrieve.corpus or a smaller imagine.captions_per_clip"
        )
    rate_hz, limit_s = clap.sample_rate_hz, config.data.max_duration_s
    waveforms = [audio.load_start(Path(clip.path), limit_s, rate_hz) for clip in training]
    similarities = clap.embed_audio(waveforms, rate_hz) @ rows[usable].T
    retrieved = []
    for clip, found, row in zip(training, nearest_once(similarities, wanted), similarities, strict=True):
        retrieved += [
            RetrievedClip(
                id=f"{clip.id}/{rank}",
                clip_id=clip.id,
                labels=clip.labels,
                path=str(files[int(usable[column])]),
                similarity=float(row[column]),
            )
            for rank, column in enumerate(found)
        ]
    summary = {"corpus": len(files), "unreadable": unreadable, "copies": len(digests) - len(usable)}
    folder.finish(retrieved, summary | {"seconds": time.monotonic() - started})
    return retrieved


def corpus_files(config: RunConfig) -> list[Path]:
    """Every audio file below the corpus folder, sorted; what the run itself makes is not of it.

    Raises: `DataError` when there are none.
    """
    root = corpus_root(config)
    if not root.is_dir():
        raise DataError(f"retrieve.corpus is {config.retrieve.corpus!r}; expected a folder with audio files, or `demo`")
    own = config.run_folder.absolute()
    files = [path for path in audio.audio_files(root) if path.is_file() and not path.is_relative_to(own)]
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
    return Path(config.retrieve.corpus).expanduser().absolute()


def nearest_once(similarities: npt.NDArray[np.floating], wanted: int) -> list[list[int]]:
    """Columns for each row of ``(clips, corpus)``, nearest first: the most similar pairs first, each column once."""
    taken: set[int] = set()
    found: list[list[int]] = [[] for _ in similarities]
    missing = Counter(dict.fromkeys(range(len(similarities)), wanted))
    for flat in np.argsort(-similarities, axis=None, kind="stable"):
        row, column = divmod(int(flat), similarities.shape[1])
        if missing[row] and column not in taken:
            found[row].append(column)
            taken.add(column)
            missing[row] -= 1
            if not any(missing.values()):
                break
    return found


def _embed_corpus(
    config: RunConfig,
    files: list[Path],
    clap: Clap,
    clap_identity: str,
    folder: StageFolder,
    reporter: Reporter,
) -> tuple[npt.NDArray[np.float32], list[bytes], int]:
    """Embeddings and digests of ``files``, in place (which drops what cannot be read), and how many those were."""

    def make() -> dict[str, torch.Tensor]:
        rows, digests, kept = [], [], []
        with reporter.task("retrieve: corpus", len(files)) as advance:
            for start in range(0, len(files), _CHUNK):
                heard = []
                for index in range(start, min(start + _CHUNK, len(files))):
                    try:
                        # The digest at the file's own rate, as the data's clips have it.
                        samples, rate_hz = audio.decode(files[index])
                    except DataError:
                        continue
                    resampled = audio.resample(samples, rate_hz, clap.sample_rate_hz)
                    heard.append(audio.crop(resampled, config.data.max_duration_s, clap.sample_rate_hz))
                    digests.append(list(bytes.fromhex(audio.sha256(samples))))
                    kept.append(index)
                rows.append(clap.embed_audio(heard, clap.sample_rate_hz))
                advance(min(_CHUNK, len(files) - start))
        return {
            "rows": torch.from_numpy(np.concatenate(rows)),
            "digests": torch.tensor(digests, dtype=torch.uint8).reshape(-1, 32),
            "kept": torch.tensor(kept, dtype=torch.int64),
        }

    cache = config.retrieve.cache or folder.path.parent.parent / "cache"
    key = fingerprint([corpus_digest(config), clap_identity, config.data.max_duration_s])
    found = cached_tensors(cache, f"corpus-{key}", make)
    kept = found["kept"].tolist()
    unreadable = len(files) - len(kept)
    files[:] = [files[index] for index in kept]
    return found["rows"].numpy(), [bytes(row.tolist()) for row in found["digests"]], unreadable
