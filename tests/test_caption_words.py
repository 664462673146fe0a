"""What the captions of a class have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthio.caption_words import LEAST_RATIO, MOST_WORDS, ClassCaptions, TypicalWord, class_captions

DOG, RAIN = ("dog",), ("rain",)
IN_PARKS = [(DOG, "a dog barks in a park"), (DOG, "a loud dog in a park"), (DOG, "two dogs at night, far away")]
RAINS = [(RAIN, "heavy rain at night, on a roof"), (RAIN, "rain at night on a tin roof"), (RAIN, "rain on a dog")]


def of(label: str, found: list[ClassCaptions]) -> ClassCaptions:
    return next(row for row in found if row.label == label)


def test_counts_and_typical_words() -> None:
    written = [*IN_PARKS, *RAINS, (DOG, "a dog")]
    dog, rain = class_captions(written, [*IN_PARKS, *RAINS], [(DOG, "a dog in a park"), (RAIN, "rain")])
    assert (dog.label, dog.written, dog.accepted, dog.distinct) == ("dog", 4, 3, 3)
    assert dog.words == pytest.approx((6 + 6 + 6) / 3)
    # "dogs" is the label itself, "loud" is in one caption only, and "night" is in two of three of the other class.
    assert dog.typical == [TypicalWord("park", pytest.approx(2 / 3), 0.0, 1.0)]
    assert [word.word for word in rain.typical] == ["roof", "night"]
    assert [(word.share, word.elsewhere, word.real) for word in rain.typical] == [
        (pytest.approx(2 / 3), 0.0, 0.0),
        (pytest.approx(2 / 3), pytest.approx(1 / 3), 0.0),
    ]


def test_a_labels_own_words_are_cut_as_the_captions_are() -> None:
    texts = [
        (("snare/rim",), "a dry snare/rim"),
        (("snare/rim",), "snare/rim, dry"),
        (("wood (door)",), "a door of wood"),
    ]
    snare, door = class_captions(texts, texts * 2, [])
    assert [word.word for word in snare.typical] == ["dry"] and not door.typical
    hindi = [(("guitar",), "गिटार की तेज़ आवाज़"), (("drum",), "ढोल")] * 2
    assert [word.word for word in class_captions(hindi, hindi, [])[1].typical] == ["आवाज़", "गिटार", "तेज़"]


def test_captions_that_name_another_class() -> None:
    found = class_captions([*IN_PARKS, *RAINS], [*IN_PARKS, *RAINS], [])
    assert (of("dog", found).naming_others, of("rain", found).naming_others) == (0, 1)
    # A guitar is a part of the bass guitar's name, but a bass guitar is none of the guitar's.
    guitars = [(("bass_guitar",), "a low bass guitar"), (("guitar",), "a guitar with a bass guitar behind it")]
    found = class_captions(guitars, guitars, [])
    assert (of("bass_guitar", found).naming_others, of("guitar", found).naming_others) == (0, 1)


def test_a_class_without_accepted_clips() -> None:
    dog, rain = class_captions([*IN_PARKS, *RAINS], IN_PARKS, [])
    assert (rain.written, rain.accepted, rain.distinct, rain.words, rain.typical) == (3, 0, 0, None, [])
    assert dog.typical == [] and class_captions([], [], []) == []


def test_real_clips_without_captions() -> None:
    dog, _ = class_captions([*IN_PARKS, *RAINS], [*IN_PARKS, *RAINS], [])
    assert [(word.word, word.real) for word in dog.typical] == [("park", None)]


def test_a_clip_of_two_labels_counts_for_both_and_names_none_but_its_own() -> None:
    both = [(("dog", "rain"), "a dog in the rain")] * 2
    dog, rain = class_captions(both, both, [])
    assert (dog.accepted, dog.distinct, dog.naming_others, rain.accepted) == (2, 1, 0, 2)
    # No caption is of another class, so nothing can be typical.
    assert (dog.typical, rain.typical) == ([], [])


words = st.lists(st.sampled_from("dog rain park night roof bark loud".split()), min_size=0, max_size=6).map(" ".join)
texts = st.lists(st.tuples(st.sampled_from([DOG, RAIN, ("dog", "rain")]), words), max_size=12)


@given(texts, texts, texts)
def test_any_captions(rejected: list, accepted: list, real: list) -> None:
    found = class_captions([*rejected, *accepted], accepted, real)
    # The order of the clips does not count.
    assert class_captions([*accepted, *rejected][::-1], accepted[::-1], real[::-1]) == found
    for row in found:
        assert row.naming_others <= row.accepted <= row.written and row.distinct <= row.accepted
        assert len(row.typical) <= MOST_WORDS
        for word in row.typical:
            assert LEAST_RATIO * word.elsewhere <= word.share <= 1 and word.word != row.label
