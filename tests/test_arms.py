"""What each arm trains on, how its batches are drawn, and what happens when memory runs out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from tone_project import RATE_HZ, Listener, Project, features

from synthio.arms import (
    AddedClip,
    added_share,
    draw_batches,
    draw_real,
    fit_arm,
    fit_in_memory,
    prepare,
    read_trainings,
    samples_of,
    smaller_divisor,
    unheard_warnings,
)
from synthio.audio import crop, load_start, resample
from synthio.augment import AUGMENTATIONS, MASKED_SHARE, mask_features
from synthio.errors import BackendError, DataError, StoreError
from synthio.seeds import numpy_generator

# --------------------------------------------------------------------------------------------------- what is trained on


@pytest.mark.parametrize("content", [b"none", None])
def test_a_damaged_synthetic_clip_is_the_runs_own_to_be_made_again(project: Project, content: bytes | None) -> None:
    """It was told as if it was one of the user's data."""
    broken = project.root / "stages" / "generate-0123456789ab" / "audio" / "broken.flac"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(content) if content else broken.unlink(missing_ok=True)
    pool = [AddedClip(str(broken), ("low",), "c")]
    with pytest.raises(StoreError, match=rf"{broken}: was made by this run .*delete {broken.parent.parent} and run"):
        prepare(project.config, project.clips, {"synthio": pool}, Listener())
    # What is retrieved is not.
    with pytest.raises(DataError, match=rf"{broken}: (no such file|cannot be decoded)"):
        prepare(project.config, project.clips, {"retrieval": pool}, Listener())


def test_classical_arms_add_the_augmentation_factor_times_the_real_clips(project: Project) -> None:
    pytest.importorskip("audiomentations")
    arms = ("gold", "noise", "pitch_shift", "specaugment", "audiomentations")
    data = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener(), arms)
    real, rounds = data.real.examples, project.config.imagine.captions_per_clip
    assert len(data.added["gold"].keys) == 0
    for arm in arms[1:]:
        added = data.added[arm].examples
        assert len(added.inputs) == rounds * len(real.inputs)
        assert torch.equal(added.targets, real.targets.repeat(rounds))
        assert data.added[arm].keys == data.real.keys * rounds
        assert not torch.allclose(features(added), features(real).repeat(rounds, 1, 1))
    again = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener(), arms)
    for arm in arms[1:]:
        assert torch.equal(features(again.added[arm].examples), features(data.added[arm].examples))


def test_every_copy_has_its_own_generator_and_the_copies_come_round_by_round(project: Project) -> None:
    """Second implementation: copy by copy, each decoded anew."""
    config, arms = project.config, ("noise", "specaugment")
    data = prepare(config, project.clips, {}, Listener(), arms)
    clips = [clip for clip in project.clips if clip.split == "train"]
    for arm in arms:
        expected = []
        for number in range(config.imagine.captions_per_clip):
            for clip in clips:
                generator = numpy_generator(config.seed, "train", arm, clip.id, number)
                samples = load_start(Path(clip.path), config.data.max_duration_s, RATE_HZ)
                if arm == "noise":
                    noisy = AUGMENTATIONS[arm](samples, RATE_HZ, generator)
                    expected.append(data.frontend.inputs(noisy)["input_values"].numpy())
                else:
                    own = data.frontend.inputs(samples)["input_values"][None, None]
                    expected.append(mask_features(own, MASKED_SHARE, generator)[0, 0].numpy())
        np.testing.assert_array_equal(features(data.added[arm].examples), np.stack(expected))


def test_trainings_share_the_features_of_a_clip(project: Project) -> None:
    """Every training and every fold of the gate had a copy of them all: gigabytes of thousands of clips."""
    twice = [*project.clips, *(clip.model_copy(update={"id": f"again/{clip.id}"}) for clip in project.clips)]
    data = prepare(project.config, twice, {"synthio": project.synthetic}, Listener())
    real, added = data.real, data.added["synthio"]
    half = len(real.keys) // 2
    assert all(a is b for a, b in zip(real.examples.inputs[:half], real.examples.inputs[half:], strict=True))
    fold = real.subset([number % 3 > 0 for number in range(len(real.keys))])
    assert fold.keys == tuple(key for number, key in enumerate(real.keys) if number % 3)
    kept = [number for number in range(len(real.keys)) if number % 3]
    assert torch.equal(fold.examples.targets, real.examples.targets[kept])
    assert all(inputs is real.examples.inputs[k] for inputs, k in zip(fold.examples.inputs, kept, strict=True))
    joined = fold.examples + added.examples
    assert joined[len(fold.keys) + 1]["input_values"] is added.examples.inputs[1]["input_values"]


@given(
    rate_hz=st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]),
    samples=st.integers(1, 20_000),
    limit_s=st.sampled_from([0.1, 0.25, 0.3333, 10.0]),
    wanted_hz=st.sampled_from([16_000, 48_000]),
)
@settings(max_examples=150, deadline=None)
def test_a_clips_length_is_known_without_decoding_it(
    rate_hz: int, samples: int, limit_s: float, wanted_hz: int
) -> None:
    made = make_clip(duration_s=min(samples / rate_hz, limit_s), sample_rate_hz=rate_hz)
    decoded = crop(resample(np.ones(samples, np.float32), rate_hz, wanted_hz), limit_s, wanted_hz)
    assert samples_of(made, wanted_hz, limit_s) == len(decoded)


def test_clips_longer_than_what_the_classifier_hears_are_told_of(project: Project) -> None:
    clips = [c.model_copy(update={"duration_s": 9.0 if k < 3 else 1.0}) for k, c in enumerate(project.clips)]
    (told,) = unheard_warnings(clips, 2.0)
    assert f"3 of {len(clips)} clips are longer than the 2.0 s that the classifier hears" in told
    assert unheard_warnings(clips, 9.0) == []
    (heard_s,) = {training.heard_s for training in read_trainings(project.folder()).values()}
    assert heard_s is not None and 0.4 < heard_s < 0.6


# -------------------------------------------------------------------------------------------------------------- batches


@given(
    real=st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    added=st.lists(st.sampled_from("abcd"), max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_batches(real: list[str], added: list[str], share: float, seed: int) -> None:
    draws = 400
    slots = draw_real(real, "natural", draws, 0, seed)
    gold = draw_batches(slots, real, [], share, 0, seed)
    mixed = draw_batches(slots, real, added, share, 0, seed)
    assert gold.shape == mixed.shape == (draws,)
    counts = np.bincount(gold, minlength=len(real))
    assert len(counts) == len(real)
    assert counts.max() - counts.min() <= 1
    made = mixed >= len(real)
    np.testing.assert_array_equal(mixed[~made], gold[~made])
    # Every class as often as in gold, whatever was added.
    keys = [*real, *added]
    assert [keys[i] for i in mixed] == [real[i] for i in gold]
    replaceable = np.array([real[i] in added for i in gold])
    assert not (made & ~replaceable).any()
    # Five standard deviations of a binomial share.
    if total := replaceable.sum():
        assert abs(made.sum() / total - share) <= 5 * np.sqrt(share * (1 - share) / total) + 1e-9
    for key in set(added):
        times = np.bincount(mixed[made], minlength=len(keys))[[k for k, own in enumerate(keys) if own == key]]
        times = times[-added.count(key) :]
        assert times.max() - times.min() <= 1


@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_class_balanced_batches_hold_rare_classes_as_often_as_others(share: float, seed: int) -> None:
    real, added, draws = ["normal"] * 95 + ["fault"] * 5, ["fault"] * 25, 2_000
    slots = draw_real(real, "class-balanced", draws, 0, seed)
    mixed = draw_batches(slots, real, added, share, 0, seed)
    keys = [*real, *added]
    assert [keys[i] for i in mixed] == [real[i] for i in slots]
    faults = np.array([real[i] == "fault" for i in slots])
    # Five standard deviations of a binomial share.
    assert abs(faults.mean() - 0.5) <= 5 * np.sqrt(0.25 / draws)
    for own in (slots[faults], slots[~faults]):
        times = np.unique(own, return_counts=True)[1]
        assert times.max() - times.min() <= 1
    assert not (mixed[~faults] >= len(real)).any()


def test_by_default_every_clip_is_drawn_equally_often(project: Project) -> None:
    data = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener())
    n = project.config.imagine.captions_per_clip
    assert added_share(project.config, data, "synthio") == n / (n + 1)
    train = project.config.train.model_copy(update={"synthetic_share": 0.4})
    assert added_share(project.config.model_copy(update={"train": train}), data, "synthio") == 0.4
    gated = dataclasses.replace(data, shares={"synthio": 0.1})
    assert added_share(project.config, gated, "synthio") == 0.1


def test_other_seeds_draw_other_batches() -> None:
    real = ["a"] * 20
    for n_added, share in ((0, 0.0), (20, 1.0)):
        first, second, other_run = (
            draw_batches(draw_real(real, "natural", 100, *key), real, ["a"] * n_added, share, *key)
            for key in ((0, 1), (0, 2), (1, 1))
        )
        assert (first != second).any()
        assert (first != other_run).any()


def test_other_seeds_draw_other_places_of_added_clips() -> None:
    slots = np.zeros(100, dtype=np.int64)
    added = [draw_batches(slots, ["a"], ["a"], 0.5, *key) == 1 for key in ((0, 1), (0, 2), (1, 1))]
    assert (added[0] != added[1]).any()
    assert (added[0] != added[2]).any()


@given(st.integers(2, 256))
def test_smaller_divisors_lead_to_one(batch_size: int) -> None:
    size = batch_size
    while size > 1:
        smaller = smaller_divisor(batch_size, size)
        assert batch_size % smaller == 0
        assert smaller <= size / 2
        size = smaller


# --------------------------------------------------------------------------------------------------------------- memory


def test_when_memory_runs_out_the_same_batches_come_in_smaller_passes(project: Project) -> None:
    """On a CPU, PyTorch has no error of its own for that: the run ended."""
    data = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener())
    listener, full = Listener(), [True]

    def advance(count: int) -> None:
        if full.pop() if full else False:
            torch.empty(2**50)

    _, whole = fit_arm(project.config, data, "gold", 0, 8, lambda count: None)
    _, parts = fit_in_memory(project.config, data, "gold", 0, advance, listener)
    assert listener.warnings == ["out of memory: starting again with 4 clips per forward pass, same batches"]
    assert parts.best.valid_loss == pytest.approx(whole.best.valid_loss, abs=1e-3)
    # Each later training ran out of memory too, began again and warned again.
    again: list[int] = []
    _, later = fit_in_memory(project.config, dataclasses.replace(data, shares={}), "gold", 0, again.append, listener)
    assert later.best == parts.best and len(listener.warnings) == 1 and sum(again) == project.config.train.steps
    with pytest.raises(BackendError, match="out of memory with one clip at a time"):
        fit_in_memory(project.config, data, "gold", 0, lambda count: torch.empty(2**50), listener)


def test_another_error_of_a_training_is_not_taken_for_memory(project: Project) -> None:
    data = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener())
    with pytest.raises(RuntimeError, match="must match"):
        fit_in_memory(project.config, data, "gold", 0, lambda count: torch.zeros(2) + torch.zeros(3), Listener())
