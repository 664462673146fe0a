"""What the captions of each class have in common, and those of other classes have not: what a language model, or the
filter, has made of a class (arXiv 2410.02056 leaves the bias of captions open)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from synthio.wording import key, mentions, readable

#: A typical word is in at least this share of the class's captions, in two of them at least, ...
LEAST_SHARE = 0.1
#: ... and this many times as often as in those of other classes.
LEAST_RATIO = 2.0
MOST_WORDS = 5
#: What stands between spaces and punctuation. Shorter ones ("an", "of") say nothing.
_WORD = re.compile(r"""[^\s.,;:!?"()\[\]]{3,}""")

Texts = Sequence[tuple[Sequence[str], str]]
"""Labels and caption of each clip."""


@dataclass(frozen=True)
class TypicalWord:
    """The shares, from 0 to 1, of the captions that have a word."""

    word: str
    share: float
    """Of the class's accepted captions."""
    elsewhere: float
    """Of the accepted captions of other classes."""
    real: float | None
    """Of the captions of the class's real clips; None where those have none."""


@dataclass(frozen=True)
class ClassCaptions:
    """The captions of one class. A clip of several labels counts for each."""

    label: str
    written: int
    """By the language model or the template, in all rounds."""
    accepted: int
    distinct: int
    """Of those accepted."""
    words: float | None
    """Per accepted caption; None where there is none."""
    naming_others: int
    """Accepted captions that name another label of the data: such a clip may have that label's sound."""
    typical: Sequence[TypicalWord]
    """The largest difference to other classes first; never the label's own words. None where no other class has
    captions."""


@dataclass(frozen=True)
class _Read:
    labels: Sequence[str]
    text: str
    words: frozenset[str]


def class_captions(written: Texts, accepted: Texts, real: Texts) -> list[ClassCaptions]:
    """The captions of each label that occurs, by name."""

    def read(texts: Texts) -> list[_Read]:
        return [_Read(labels, text, frozenset(_words(text))) for labels, text in texts]

    labels = sorted({label for names, _ in (*written, *accepted) for label in names})
    accepted_read, real_read = read(accepted), read(real)
    found = []
    for label in labels:
        own = [caption for caption in accepted_read if label in caption.labels]
        others = [caption for caption in accepted_read if label not in caption.labels]
        found.append(
            ClassCaptions(
                label=label,
                written=sum(label in names for names, _ in written),
                accepted=len(own),
                distinct=len({key(caption.text) for caption in own}),
                words=fmean(len(caption.text.split()) for caption in own) if own else None,
                naming_others=sum(_names_another(caption, labels) for caption in own),
                typical=_typical(_words(readable(label)), own, others, [c for c in real_read if label in c.labels]),
            )
        )
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _names_another(caption: _Read, labels: Sequence[str]) -> bool:
    """Not where the other label is a part of one's own ("guitar" of "bass guitar")."""
    others = [label for label in labels if not any(mentions(label, own) for own in caption.labels)]
    return any(mentions(other, caption.text) for other in others)


def _typical(
    label_words: Sequence[str], own: Sequence[_Read], others: Sequence[_Read], real: Sequence[_Read]
) -> Sequence[TypicalWord]:
    shares, elsewhere, of_real = _shares(own), _shares(others), _shares(real)
    typical = [
        TypicalWord(word, share, elsewhere.get(word, 0.0), of_real.get(word, 0.0) if real else None)
        for word, share in shares.items()
        if others
        and share >= max(LEAST_SHARE, 2 / len(own))
        and share >= LEAST_RATIO * elsewhere.get(word, 0.0)
        and not any(mentions(part, word) for part in label_words)
    ]
    return sorted(typical, key=lambda use: (use.elsewhere - use.share, use.word))[:MOST_WORDS]


def _shares(captions: Sequence[_Read]) -> dict[str, float]:
    """The share of the captions that have each word."""
    counts = Counter(word for caption in captions for word in caption.words)
    return {word: count / len(captions) for word, count in counts.items()}
