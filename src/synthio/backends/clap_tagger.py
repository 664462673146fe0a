"""Captions from CLAP: the likeliest tags of a fixed vocabulary, written as a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from synthio.audio import Waveform
from synthio.backends.clap import Clap
from synthio.backends.questions import lines
from synthio.calls import Answer, Count, forget
from synthio.wording import article, joined, label_template, mentions


class ClapTagger:
    """Tags a clip by CLAP similarity over a fixed vocabulary, and writes the tags as a sentence with the label.

    Every second tag may be a background, where one is heard: "a flute with a bright tone and rain in the background";
    "a flute with a bright tone and vibrato" where none is. Most small datasets are clean, and a context that is not
    there spoils all captions that are mixed from it.
    """

    clips_per_call = 64

    def __init__(self, clap: Clap, tags_per_clip: int) -> None:
        self.sample_rate_hz = clap.sample_rate_hz
        self._clap, self._tags_per_clip = clap, tags_per_clip
        self._qualities, self._backgrounds = _vocabulary()
        self._quality_rows = _centred(clap.embed_text([f"a sound with {tag}" for tag in self._qualities]))
        self._sentence_rows: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}

    def caption(
        self, waveforms: Sequence[Waveform], labels: Sequence[tuple[str, ...]], count: Count = forget
    ) -> list[Answer]:
        """One sentence per clip; never fails."""
        if not waveforms:
            return []
        clips = self._clap.embed_audio(waveforms)
        quality_scores = clips @ self._quality_rows.T
        sentences = []
        for row, own in enumerate(labels):
            scores = self._background_scores(clips[row], own)
            heard = [tag for tag, score in zip(self._backgrounds, scores, strict=True) if score > 0]
            backgrounds = _best(heard, scores[scores > 0], own, self._tags_per_clip // 2)
            left = self._tags_per_clip - len(backgrounds)
            qualities = _best(self._qualities, quality_scores[row], own, left)
            sentences.append(Answer(_sentence(own, qualities, backgrounds)))
        count(dict(enumerate(sentences)))
        return sentences

    def _background_scores(self, clip: npt.NDArray[np.float32], labels: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """Log odds of each background against none, ``(backgrounds,)``, when one clip in two has one and all are
        equally frequent: CLAP's scaled cosines are logits, so ``scale (cos(with) - cos(without)) - log(backgrounds)``.
        """
        if labels not in self._sentence_rows:
            sentences = [_sentence(labels, (), [tag]) for tag in self._backgrounds]
            self._sentence_rows[labels] = self._clap.embed_text([label_template(labels), *sentences])
        cosines = self._sentence_rows[labels] @ clip
        leads = self._clap.logit_scale * (cosines[1:] - cosines[0])
        return np.asarray(leads - np.log(len(self._backgrounds)), dtype=np.float32)


def _vocabulary() -> tuple[list[str], list[str]]:
    """Qualities and backgrounds of ``prompts/tags.txt``."""
    entries = list(lines("tags"))
    split = entries.index("[backgrounds]")
    return entries[1:split], entries[split + 1 :]


def _centred(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit rows less their mean: what all tags share would rank the same few tags first for every clip."""
    centred = rows - rows.mean(axis=0, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norms, 1e-6), dtype=np.float32)


def _best(tags: Sequence[str], scores: npt.NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[str]:
    """The highest ``count`` tags that do not name a label."""
    order = np.argsort(-scores, kind="stable")
    allowed = (tags[i] for i in order if not any(mentions(label, tags[i]) for label in labels))
    return [tag for tag, _ in zip(allowed, range(count), strict=False)]


def _sentence(labels: tuple[str, ...], qualities: Sequence[str], backgrounds: Sequence[str]) -> str:
    subject = joined(labels)
    tags = [*qualities, *(f"{tag} in the background" for tag in backgrounds)]
    return f"{article(subject)} {subject}" + (f" with {' and '.join(tags)}" if tags else "")
