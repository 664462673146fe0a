"""Pure functions on labels and captions: how a label is said, cleaning, whether a label is named, and the checks that a
caption must pass."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

#: Letters and digits of scripts that put spaces between words; there "bass" must not be found inside "bassoon".
_WORD = "0-9A-Za-z\u00c0-\u052f"
#: Longer "phrases" are whole captions.
MAX_PHRASE_WORDS = 10
_AROUND = " in the background"


#: Typographic apostrophes and hyphens, as chat models write them, that NFKC leaves as they are.
_PLAIN = str.maketrans({**dict.fromkeys("\u2018\u2019", "'"), **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")})


class AnswerError(ValueError):
    """An answer of a language model that does not do; the message tells the model what to change."""


def readable(label: str) -> str:
    """A label as a person would say it: underscores and hyphens become spaces (arXiv 2410.02056)."""
    return " ".join(label.replace("_", " ").replace("-", " ").split())


def clean(text: str) -> str:
    """One line: white space collapsed, control characters, lone surrogates and dangling commas at the end removed."""
    visible = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join(visible.split()).rstrip(",;:- ")


def key(text: str) -> str:
    """For comparing texts: compatibility form, case, hyphens, underscores and the form of apostrophes do not count."""
    return unicodedata.normalize("NFKC", clean(readable(text.translate(_PLAIN)))).casefold()


def article(noun: str) -> str:
    """``a`` or ``an``, by the first letter."""
    return "an" if noun[:1].casefold() in set("aeiou") else "a"


def joined(labels: Sequence[str]) -> str:
    """Labels as a person would say them, joined by ``and``."""
    return " and ".join(readable(label) for label in labels)


def label_template(labels: Sequence[str]) -> str:
    """The prompt template `Sound of a {label}` (arXiv 2410.02056)."""
    return f"Sound of a {joined(labels)}"


def mentions(label: str, text: str) -> bool:
    """Whether ``text`` names ``label`` as a phrase of its own (a plural counts)."""
    pattern = rf"(?<![{_WORD}]){re.escape(key(label))}(?:s|es)?(?![{_WORD}])"
    return bool(key(label)) and re.search(pattern, key(text)) is not None


def check_caption(text: str, labels: Sequence[str], max_words: int, taken: Iterable[str]) -> str:
    """The cleaned caption.

    Raises: `AnswerError` when it is empty, too long, leaves out a label or repeats one of ``taken``.
    """
    caption = clean(text)
    if not caption:
        raise AnswerError("the caption is empty")
    words = len(caption.split())
    if words > max_words:
        raise AnswerError(f"the caption has {words} words; at most {max_words} are allowed")
    missing = [readable(label) for label in labels if not mentions(label, caption)]
    if missing:
        raise AnswerError(f"the caption does not name the label {', '.join(map(repr, missing))}")
    if key(caption) in {key(other) for other in taken}:
        raise AnswerError("the caption repeats an earlier one")
    return caption


def phrases(texts: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Cleaned phrases, each once, without "in the background" and without those that mean a label itself.

    Raises: `AnswerError` for a phrase of more than `MAX_PHRASE_WORDS` words.
    """
    kept: dict[str, str] = {}
    for text in texts:
        phrase = clean(clean(text).removesuffix(_AROUND))
        if len(phrase.split()) > MAX_PHRASE_WORDS:
            raise AnswerError(f"expected phrases of at most {MAX_PHRASE_WORDS} words, found {phrase!r}")
        if phrase and not any(mentions(label, phrase) for label in labels):
            kept.setdefault(key(phrase), phrase)
    return tuple(kept.values())
