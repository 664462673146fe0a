"""Pools of events and scenes per label, and samples of them (arXiv 2410.02056)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from synthio.records import Components
from synthio.wording import key


@dataclass(frozen=True)
class Pool:
    """Events and scenes of some clips, each once and sorted, so that the clips' order does not matter."""

    events: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()

    def sample(self, share: float, generator: np.random.Generator) -> Pool:
        """``share`` of each list without replacement, in random order; at least one of a list that has any."""
        return Pool(_draw(self.events, share, generator), _draw(self.scenes, share, generator))


def merged(pools: Iterable[Pool]) -> Pool:
    """One pool of several; phrases that differ only in case or hyphens count once."""
    pools = list(pools)
    return Pool(_each_once(p.events for p in pools), _each_once(p.scenes for p in pools))


def pools_by_label(used: Iterable[tuple[str, tuple[str, ...]]], components: Sequence[Components]) -> dict[str, Pool]:
    """Per label, the pool over the clips that are used for it; ``used`` gives clip ids and labels."""
    by_clip = {record.id: Pool(record.events, record.scenes) for record in components}
    found: dict[str, list[Pool]] = defaultdict(list)
    for clip_id, labels in used:
        for label in labels:
            found[label].append(by_clip.get(clip_id, Pool()))
    return {label: merged(pools) for label, pools in found.items()}


def _each_once(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for phrase in sorted({phrase for phrases in lists for phrase in phrases}):
        found.setdefault(key(phrase), phrase)
    return tuple(found.values())


def _draw(items: Sequence[str], share: float, generator: np.random.Generator) -> tuple[str, ...]:
    count = max(1, int(share * len(items))) if items else 0
    return tuple(items[i] for i in generator.permutation(len(items))[:count])
