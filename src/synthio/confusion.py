"""What one trained classifier says of the test clips of each class: how many it finds, false alarms, what it takes for
what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthio import metrics
from synthio.comparison import score_arrays
from synthio.records import Clip, Prediction, of_split


@dataclass(frozen=True)
class ClassFound:
    """One class on the test clips."""

    label: str
    clips: int
    """Of the class."""
    groups: int
    """That these are of; a clip without a group is one of its own."""
    found: int
    """Of these clips, those for which the classifier names the class."""
    share: metrics.Interval
    """Recall (sensitivity): found of clips, with the 95% interval of `metrics.grouped_share`."""
    others: int
    """Clips of other classes."""
    false_alarms: int
    """Of these, those for which it names the class."""


@dataclass(frozen=True)
class Confusion:
    """One classifier on the test clips."""

    classes: tuple[ClassFound, ...]
    named: Mapping[str, Mapping[str, int]]
    """Label -> what its clips are named -> how many. Empty where clips have several labels."""


def confusion(predictions: Sequence[Prediction], clips: Sequence[Clip], several: bool) -> Confusion:
    """Of the test clips, from the predictions of one training.

    ``several``: clips have several labels. A class is then named whose probability is at least 0.5, else the class of
    the highest score.
    """
    test = of_split(clips, "test")
    classes = sorted({x for own in predictions for x in own.scores} | {x for clip in test for x in clip.labels})
    targets = metrics.multi_hot([clip.labels for clip in test], classes)
    # Of one arm and one seed.
    ((scores,),) = score_arrays(predictions, test, classes).values()
    decided = metrics.above_half(scores) if several else metrics.top_class(scores)
    units = np.array([clip.unit for clip in test])
    found = []
    for number, label in enumerate(classes):
        own, named = targets[:, number], decided[:, number]
        found.append(
            ClassFound(
                label=label,
                clips=int(own.sum()),
                groups=len(set(units[own])),
                found=int(named[own].sum()),
                share=metrics.grouped_share(named[own], units[own].tolist()),
                others=int((~own).sum()),
                false_alarms=int(named[~own].sum()),
            )
        )
    pairs = Counter(zip(targets.argmax(axis=1), decided.argmax(axis=1), strict=True))
    named_as = {label: {other: pairs[i, j] for j, other in enumerate(classes)} for i, label in enumerate(classes)}
    return Confusion(tuple(found), {} if several else named_as)
