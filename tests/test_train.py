"""The train stage end to end on two tones, with a tiny AST: fairness, resume, and nothing from the test split."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import tiny_ast
import tiny_wav2vec2
import torch
from builders import make_clip
from full_disk import no_file_above
from hypothesis import given, settings
from hypothesis import strategies as st
from reporters import RecordingReporter
from sklearn.metrics import average_precision_score

import synthio
from synthio import metrics
from synthio.arms import (
    AddedClip,
    Training,
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
from synthio.backends.classifier import load_trained
from synthio.backends.fine_tuning import CurvePoint, Examples, predict
from synthio.comparison import compare, read_comparison, tail_classes
from synthio.config import STAGE_VERSIONS, Arm, RunConfig
from synthio.context import StageContext
from synthio.errors import BackendError, DataError, StoreError
from synthio.progress import Advance, Reporter
from synthio.records import Clip, Prediction, Split
from synthio.seeds import numpy_generator
from synthio.stages.train import train_arms
from synthio.store import StageFolder, fingerprint
from synthio.verdict import Comparison, effect, recommended_arm, verdict_text

RATE_HZ = 16000
TONES_HZ = {"low": 400.0, "high": 2400.0}


class Listener(RecordingReporter):
    """Counts optimiser steps; stops the run, as Ctrl-C would, after ``stop_after`` optimiser steps."""

    def __init__(self, stop_after: float = float("inf")) -> None:
        super().__init__()
        self.steps = 0
        self._stop_after = stop_after

    @contextmanager
    def task(self, name: str, total: int, completed: int = 0) -> Iterator[Advance]:
        def advance(count: int) -> None:
            self.steps += count * (name == "train")
            if self.steps > self._stop_after:
                raise KeyboardInterrupt

        yield advance


def tones(labels: Sequence[str], seed: int, duration_s: float = 0.3) -> np.ndarray:
    """One tone per label, a little off its pitch, in noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    samples = 0.01 * generator.normal(size=time_s.shape)
    for label in labels:
        frequency_hz = TONES_HZ[label] * generator.uniform(0.9, 1.1)
        samples += 0.2 * np.sin(2 * np.pi * frequency_hz * time_s + generator.uniform(0, 6))
    return samples.astype(np.float32)


def features(examples: Examples) -> torch.Tensor:
    """The main input of every clip, ``(clips, frames, mels)``."""
    return torch.stack([inputs["input_values"] for inputs in examples.inputs])


def make_clips(
    folder: Path, counts: dict[Split, int], label_sets: Sequence[tuple[str, ...]] = (("low",), ("high",))
) -> list[Clip]:
    """``counts`` clips per split and label set."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for split, count in counts.items():
        for number, labels in enumerate(label_sets * count):
            name = f"{split}-{number}"
            path = folder / f"{name}.wav"
            sf.write(path, tones(labels, seed=sum(map(ord, name))), RATE_HZ)
            clips.append(make_clip(id=name, path=str(path), labels=labels, split=split, duration_s=0.3, sha256=name))
    return clips


def make_synthetic(folder: Path, clips: Sequence[Clip]) -> list[AddedClip]:
    """Another tone of the same kind for every training clip."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, clip in enumerate(clip for clip in clips if clip.split == "train"):
        path = folder / f"{number}.wav"
        sf.write(path, tones(clip.labels, seed=1000 + number), RATE_HZ)
        made.append(AddedClip(str(path), clip.labels, clip.id))
    return made


@dataclasses.dataclass(frozen=True)
class Project:
    config: RunConfig
    clips: list[Clip]
    synthetic: list[AddedClip]
    root: Path

    def folder(self, key: str = "key") -> StageFolder:
        return StageFolder(self.root, "train", key)

    def unit(self, arm: Arm, seed: int, key: str = "key") -> StageFolder:
        # As a run's: no order can be read from it.
        return self.folder(fingerprint([key, arm, seed]))

    def run(
        self, key: str = "key", reporter: Reporter | None = None, shares: dict[Arm, float] | None = None
    ) -> list[Prediction]:
        added_clips, train = {"synthio": self.synthetic}, self.config.train
        units = {(arm, seed): self.unit(arm, seed, key) for arm in train.arms for seed in range(train.seeds)}
        # Of other arms or seeds it is another folder, as in a run.
        folder = self.folder(key)

        context = StageContext(self.config, folder, reporter or Listener())

        def once(folder: StageFolder, work: Callable[[StageContext], None]) -> None:
            if not folder.done:
                work(dataclasses.replace(context, folder=folder))

        train_arms(context, self.clips, added_clips, shares or {}, units, once)
        return folder.manifest(Prediction)

    def comparison(self, key: str = "key") -> Comparison:
        return read_comparison(self.folder(key), self.clips, self.config)


def make_config(ast: Path, root: Path, **train: object) -> RunConfig:
    usual = {
        "model": str(ast),
        "seeds": 2,
        "steps": 24,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "evaluate_every": 10,
        "bootstrap_samples": 300,
        "device": "cpu",
    }
    return RunConfig.model_validate({"run_folder": root, "data": {"path": "x"}, "train": {**usual, **train}, "seed": 7})


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ast.build(tmp_path_factory.mktemp("model") / "ast")


@pytest.fixture(scope="module")
def project(ast: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run of both arms with two seeds."""
    root = tmp_path_factory.mktemp("run")
    clips = make_clips(root / "audio", {"train": 4, "valid": 3, "test": 10})
    made = Project(make_config(ast, root), clips, make_synthetic(root / "synthetic", clips), root)
    made.run()
    return made


def small(ast: Path, root: Path, **train: object) -> Project:
    """A project with one arm, one seed and few steps, not run yet."""
    clips = make_clips(root / "audio", {"train": 2, "valid": 2, "test": 2})
    usual = {"seeds": 1, "steps": 4, "evaluate_every": 2, "batch_size": 4, "arms": ["gold"]}
    return Project(make_config(ast, root, **{**usual, **train}), clips, [], root)


# -------------------------------------------------------------------------------------------------------- end to end


def test_it_learns_to_tell_the_tones_apart(project: Project) -> None:
    found = project.comparison()
    assert found.metric == "accuracy"
    assert [arm.arm for arm in found.arms] == ["gold", "synthio"]
    assert all(arm.mean >= 0.9 and arm.macro_f1 >= 0.9 for arm in found.arms)
    assert (found.n_valid, found.n_test) == (6, 20)


def test_predictions_are_complete_in_order_and_probabilities(project: Project) -> None:
    predictions = project.folder().manifest(Prediction)
    clips = [clip for split in ("valid", "test") for clip in project.clips if clip.split == split]
    expected = [f"{arm}/{seed}/{clip.id}" for arm in ("gold", "synthio") for seed in (0, 1) for clip in clips]
    assert [prediction.id for prediction in predictions] == expected
    for prediction in predictions:
        assert set(prediction.scores) == set(TONES_HZ)
        assert sum(prediction.scores.values()) == pytest.approx(1)


def test_the_arms_share_everything_but_the_synthetic_clips(project: Project) -> None:
    trainings = read_trainings(project.folder()).values()
    assert [t.name for t in trainings] == ["gold/0", "gold/1", "synthio/0", "synthio/1"]
    assert {(t.steps, t.n_train) for t in trainings} == {(24, 8)}
    assert {t.name: t.n_added for t in trainings} == {"gold/0": 0, "gold/1": 0, "synthio/0": 8, "synthio/1": 8}
    for training in trainings:
        assert [point.step for point in training.curve] == [10, 20, 24]
        assert training.best.rank == max(point.rank for point in training.curve)


def test_the_folder_holds_usable_weights_and_no_pickles(project: Project) -> None:
    def files(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    model = {"config.json", "frontend.json", "model.safetensors", "preprocessor_config.json"}
    project.comparison()
    (compared,) = project.folder().path.glob("comparison-*.json")
    assert files(project.folder().path) == {compared.name, "done.json", "manifest.jsonl"}
    for folder, training in read_trainings(project.folder()).items():
        assert folder == project.unit(training.arm, training.seed).path
        assert files(folder) == {"done.json", "manifest.jsonl"} | {f"model-{training.arm}/{name}" for name in model}


def test_the_saved_weights_predict_what_is_told(project: Project) -> None:
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    folder = project.unit("gold", 1).path / "model-gold"
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    scores = {p.id: p.scores for p in project.folder().manifest(Prediction)}
    for clip in [clip for clip in project.clips if clip.split == "test"][:4]:
        samples, _ = sf.read(clip.path, dtype="float32")
        inputs = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")["input_values"].float()
        with torch.no_grad():
            found = model(inputs).logits.softmax(dim=1)[0]
        expected = [scores[f"gold/1/{clip.id}"][model.config.id2label[k]] for k in range(2)]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_finished_stage_is_returned_as_it_is(project: Project) -> None:
    listener = Listener()
    assert project.run(reporter=listener) == project.folder().manifest(Prediction)
    assert listener.steps == 0


# ------------------------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("steps_before_the_kill", [5, 60])
def test_killed_and_resumed_equals_never_killed(project: Project, steps_before_the_kill: int) -> None:
    key = f"killed-{steps_before_the_kill}"
    with pytest.raises(KeyboardInterrupt):
        project.run(key, Listener(steps_before_the_kill))
    assert not project.folder(key).done
    listener = Listener()
    assert project.run(key, listener) == project.folder().manifest(Prediction)
    assert listener.steps == (4 - steps_before_the_kill // 24) * 24
    for arm, seed in (("gold", 0), ("synthio", 0), ("gold", 1), ("synthio", 1)):
        weights = f"model-{arm}/model.safetensors"
        found, expected = (project.unit(arm, seed, k).path / weights for k in (key, "key"))
        assert found.read_bytes() == expected.read_bytes()
    first, second = (project.comparison(k).model_dump(exclude={"arms"}) for k in ("key", key))
    assert first == second


def test_killed_before_the_done_marker_nothing_is_trained_again(project: Project) -> None:
    (project.folder().path / "done.json").rename(project.root / "away")
    listener, before = Listener(), project.comparison()
    assert project.run(reporter=listener) == project.folder().manifest(Prediction)
    assert listener.steps == 0
    assert (project.root / "away").read_text() == (project.folder().path / "done.json").read_text()
    assert before == project.comparison()


def test_more_seeds_and_another_arm_train_only_what_is_new(project: Project, tmp_path: Path) -> None:
    """Five seeds after three trained all five again, and noise beside gold trained gold again."""
    root = shutil.copytree(project.root, tmp_path / "run")
    more = {"arms": ("gold", "synthio", "noise"), "seeds": 3}
    config = project.config.model_copy(update={"train": project.config.train.model_copy(update=more)})
    larger = dataclasses.replace(project, config=config, root=root)
    (larger.folder().path / "done.json").unlink()
    listener = Listener()
    predictions = larger.run(reporter=listener)
    assert listener.steps == (9 - 4) * 24
    assert [prediction for prediction in predictions if prediction.seed < 2 and prediction.arm != "noise"] == (
        project.folder().manifest(Prediction)
    )
    # As if all had been trained at once.
    assert larger.run("afresh") == predictions


def test_a_comparison_is_kept_for_one_way_to_compare(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interval, once written when the trainings ended, was shown for good, also after a better one was built."""
    expected, folder = project.comparison(), project.folder("earlier").path
    shutil.copytree(project.folder().path, folder)
    (kept,) = folder.glob("comparison-*.json")
    marked = expected.model_dump(mode="json")
    marked["difference"] |= {"low": 99.0, "high": math.inf}
    kept.write_text(json.dumps(marked))
    with monkeypatch.context() as patch:
        patch.setitem(STAGE_VERSIONS, "compare", 99)
        assert project.comparison("earlier") == expected
    # Of this version it is not computed again.
    found = project.comparison("earlier").difference
    assert found is not None and (found.low, found.high) == (99.0, math.inf)
    # Damage in what can be made anew once stopped the report.
    for damage in ("{}", "", '{"arms'):
        kept.write_text(damage)
        assert project.comparison("earlier") == expected
        assert kept.read_text() != damage
    kept.unlink()
    # In a folder that takes no more, or of somebody else, it is computed each time.
    with no_file_above(10):
        assert project.comparison("earlier") == expected
    assert not kept.exists()
    for damaged in ("[]", "{}", '{"trainings": [["a", {}]], "gated_share": null}', '{"trainings": [1]}'):
        (folder / "done.json").write_text(damaged)
        with pytest.raises(StoreError, match=r"done.json: is damaged"):
            project.comparison("earlier")


# -------------------------------------------------------------------------------------------- what training may see


def test_test_clips_change_neither_the_model_nor_its_statistics(ast: Path, tmp_path: Path) -> None:
    made = small(ast, tmp_path, steps=6)
    made.run("before")
    for clip in made.clips:
        if clip.split == "test":
            # Louder, longer, of another class, and with a label that training never saw.
            sf.write(clip.path, 4 * tones(("high",), seed=5, duration_s=0.9), RATE_HZ)
    relabelled = [c.model_copy(update={"labels": ("new",)}) if c.split == "test" else c for c in made.clips]
    changed = dataclasses.replace(made, clips=relabelled)
    changed.run("after")
    files = [p.name for p in (made.unit("gold", 0, "before").path / "model-gold").iterdir()]
    for name in files:
        before, after = (made.unit("gold", 0, key).path / "model-gold" / name for key in ("before", "after"))
        assert before.read_bytes() == after.read_bytes()
    valid = [
        [(p.id, p.scores) for p in made.folder(key).manifest(Prediction) if p.split == "valid"]
        for key in ("before", "after")
    ]
    assert valid[0] == valid[1]
    found = changed.comparison("after")
    assert found.arms[0].mean == 0.0
    assert [(c.label, c.n_train, c.support) for c in found.classes] == [("high", 2, 0), ("low", 2, 0), ("new", 0, 4)]


@pytest.mark.parametrize("build", [tiny_wav2vec2.build_hubert, tiny_ast.build])
def test_predict_hears_as_the_test_clips_were_heard(build: Callable[[Path], Path], tmp_path: Path) -> None:
    made = small(build(tmp_path / "model"), tmp_path)
    sf.write(made.clips[0].path, tones(made.clips[0].labels, 1, duration_s=0.5), RATE_HZ)
    made.clips[0] = made.clips[0].model_copy(update={"duration_s": 0.5})
    scores = {p.id: p.scores for p in made.run()}
    clips = [clip for clip in made.clips if clip.split == "test"]
    rows = synthio.predict(made.unit("gold", 0).path / "model-gold", [c.path for c in clips], device="cpu")
    for clip, row in zip(clips, rows, strict=True):
        assert row.scores == pytest.approx(scores[f"gold/0/{clip.id}"], abs=1e-6)


def test_validation_clips_choose_the_step_and_enter_nothing_else(ast: Path, tmp_path: Path) -> None:
    made = small(ast, tmp_path)
    first = prepare(made.config, made.clips, {}, Listener())
    for clip in made.clips:
        if clip.split == "valid":
            sf.write(clip.path, 4 * tones(("high",), seed=5, duration_s=0.9), RATE_HZ)
    second = prepare(made.config, made.clips, {}, Listener())
    assert first.frontend.extractor.to_dict() == second.frontend.extractor.to_dict()
    assert torch.equal(features(first.real.examples), features(second.real.examples))
    assert not torch.equal(features(first.examples["valid"]), features(second.examples["valid"]))


def test_clips_are_cropped_to_the_recipes_length(ast: Path, tmp_path: Path) -> None:
    made = small(ast, tmp_path)
    config = made.config.model_copy(update={"data": made.config.data.model_copy(update={"max_duration_s": 0.1})})
    inputs = features(prepare(config, made.clips, {}, Listener()).real.examples)
    # 0.1 s are 8 frames of 25 ms every 10 ms; all else is padding.
    assert (inputs[:, 8:] == inputs[0, -1, 0]).all() and not (inputs[:, :8] == inputs[0, -1, 0]).any()


def test_a_classifier_hears_later_what_the_recipe_let_it_hear(ast: Path, tmp_path: Path) -> None:
    """Its window is longer than the training clips, but a longer file must be cut where those were."""
    made = small(ast, tmp_path)
    config = made.config.model_copy(update={"data": made.config.data.model_copy(update={"max_duration_s": 0.1})})
    dataclasses.replace(made, config=config).run()
    trained = load_trained(str(made.unit("gold", 0).path / "model-gold"))
    samples = load_start(Path(made.clips[0].path), 10.0, RATE_HZ)
    cut = trained.frontend.inputs(samples[: RATE_HZ // 10])["input_values"]
    assert torch.equal(trained.frontend.inputs(samples)["input_values"], cut)


def test_results_do_not_depend_on_how_many_clips_are_predicted_at_once(project: Project) -> None:
    data = prepare(project.config, project.clips, {"synthio": project.synthetic}, Listener())
    _, whole = fit_arm(project.config, data, "synthio", 0, 8, lambda count: None)
    _, parts = fit_arm(project.config, data, "synthio", 0, 2, lambda count: None)
    assert whole.best.valid_score == parts.best.valid_score
    assert whole.best.valid_loss == pytest.approx(parts.best.valid_loss, abs=1e-3)


def test_the_order_of_clips_and_seeds_does_not_matter_to_a_training(project: Project) -> None:
    reordered = [clip for split in ("test", "valid", "train") for clip in project.clips if clip.split == split]
    config = project.config.model_copy(
        update={"train": project.config.train.model_copy(update={"arms": ("synthio",), "seeds": 1})}
    )
    alone = dataclasses.replace(project, config=config, clips=reordered)
    found = alone.run("alone")
    scores = {p.id: p.scores for p in project.folder().manifest(Prediction)}
    assert all(prediction.scores == scores[prediction.id] for prediction in found)
    summary = alone.comparison("alone")
    assert summary.difference is None
    assert verdict_text(summary) == "No comparison: only synthio was trained."


# ----------------------------------------------------------------------------------------------------- special cases


def test_without_synthetic_clips_both_arms_are_the_same(ast: Path, tmp_path: Path) -> None:
    made, listener = small(ast, tmp_path, arms=["gold", "synthio"]), Listener()
    predictions = made.run(reporter=listener)
    by_arm = [{p.clip_id: p.scores for p in predictions if p.arm == arm} for arm in ("gold", "synthio")]
    assert by_arm[0] == by_arm[1]
    assert any("no synthetic clips" in warning for warning in listener.warnings)
    assert "no synthetic clip" in verdict_text(made.comparison())


def test_several_labels_per_clip(ast: Path, tmp_path: Path) -> None:
    sets = (("low",), ("high",), ("high", "low"))
    clips = make_clips(tmp_path / "audio", {"train": 4, "valid": 2, "test": 4}, sets)
    synthetic = make_synthetic(tmp_path / "synthetic", clips)
    config = make_config(ast, tmp_path, seeds=1, steps=40)
    made = Project(config, clips, synthetic, tmp_path)
    predictions = [p for p in made.run() if p.split == "test"]
    found = made.comparison()
    assert found.metric == "mAP"
    both = [p for p in predictions if len(p.labels) == 2]
    assert max(sum(p.scores.values()) for p in both) > 1.2
    gold = [p for p in predictions if p.arm == "gold"]
    expected = [
        average_precision_score([label in p.labels for p in gold], [p.scores[label] for p in gold])
        for label in TONES_HZ
    ]
    assert found.arms[0].mean == pytest.approx(np.mean(expected))
    assert found.arms[0].mean > 0.85
    assert {c.label: c.scores["gold"] for c in found.classes} == pytest.approx(
        dict(zip(TONES_HZ, expected, strict=True))
    )


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


# ---------------------------------------------------------------------------------------------------------- batches


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


# ------------------------------------------------------------------------------------------------------- comparison


def handmade(right: dict[str, list[list[bool]]], clips: Sequence[Clip]) -> tuple[list[Prediction], list[Training]]:
    """Predictions that are right where told: arm -> seed -> clip."""
    predictions, trainings = [], []
    point = CurvePoint(step=1, train_loss=1.0, valid_loss=1.0, valid_score=0.5)
    for arm, seeds in right.items():
        for seed, row in enumerate(seeds):
            trainings.append(
                Training.model_validate(
                    {
                        "arm": arm,
                        "seed": seed,
                        "n_train": 6,
                        "heard_s": 1.0,
                        "n_added": 4 * (arm == "synthio"),
                        "steps": 9,
                        "seconds": 2.0,
                        "best": point,
                        "curve": (point,),
                    }
                )
            )
            for clip, good in zip(clips, row, strict=True):
                other = {"a": "b", "b": "a", "c": "a"}[clip.labels[0]]
                scores = {"a": 0.0, "b": 0.0, "c": 0.0, (clip.labels[0] if good else other): 1.0}
                predictions.append(
                    Prediction(
                        id=f"{arm}/{seed}/{clip.id}",
                        arm=arm,
                        seed=seed,
                        clip_id=clip.id,
                        split="test",
                        labels=clip.labels,
                        scores=scores,
                    )
                )
    return predictions, trainings


def handmade_clip(name: str, label: str, split: Split) -> Clip:
    return make_clip(id=name, labels=(label,), split=split)


def test_the_comparison_by_hand(tmp_path: Path) -> None:
    train = [handmade_clip(f"t{i}", label, "train") for i, label in enumerate("aaabbc")]
    test = [handmade_clip(f"e{i}", label, "test") for i, label in enumerate("aabb")]
    right = {
        "gold": [[True, True, False, False], [True, False, False, False]],
        "synthio": [[True, True, True, False], [True, True, True, False]],
    }
    predictions, trainings = handmade(right, test)
    config = make_config(tmp_path, tmp_path, tail_fraction=0.34)
    found = compare(predictions, [*train, *test], config, trainings)
    gold, synthio = found.arms
    assert gold.per_seed == (0.5, 0.25)
    assert (gold.mean, synthio.mean) == (0.375, 0.75)
    assert gold.std == pytest.approx(0.25 / np.sqrt(2))
    # Seed 0 of synthio: a has F1 2*2/(2*2+1) = 0.8, b 2*1/(2*1+1) = 2/3; c is neither there nor named.
    assert synthio.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert (gold.n_train, gold.n_added, synthio.n_added, gold.steps, gold.seconds) == (6, 0, 4, 9, 4.0)
    assert found.difference is not None
    assert found.difference.points == pytest.approx(37.5)
    # Two trainings and four clips prove nothing.
    assert -100 < found.difference.low < 0 < 37.5 < found.difference.high == 100
    table = {c.label: (c.n_train, c.support, c.is_tail, c.scores) for c in found.classes}
    assert table == {
        "a": (3, 2, False, {"gold": 0.75, "synthio": 1.0}),
        "b": (2, 2, False, {"gold": 0.0, "synthio": 0.5}),
        "c": (1, 0, True, {"gold": None, "synthio": None}),
    }
    # b: no clip right, then one, or, with the other seed, both clips of the two.
    assert [c.difference and c.difference.points for c in found.classes] == pytest.approx([25, 50, None])
    assert compare(predictions, [*train, *test], config, trainings) == found
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_a_comparison_without_intervals_reads_its_own_json(tmp_path: Path) -> None:
    """Of one group no interval is defined; JSON has no NaN."""
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("ab")]
    test = [handmade_clip(f"e{k}", "ab"[k % 2], "test") for k in range(4)]
    test = [clip.model_copy(update={"group": "one"}) for clip in test]
    predictions, trainings = handmade({arm: [[True] * 4] for arm in ("gold", "synthio")}, test)
    found = compare(predictions, [*train, *test], make_config(tmp_path, tmp_path), trainings)
    again = Comparison.model_validate_json(found.model_dump_json())
    assert again.difference is not None and np.isnan([again.difference.low, again.difference.high]).all()
    assert repr(again) == repr(found)


@pytest.mark.parametrize("metric", ["accuracy", "balanced accuracy"])
def test_each_class_has_the_interval_of_its_own_clips(tmp_path: Path, metric: Any) -> None:
    """It is that of a test set without the other classes; a class of one group has no ends."""
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("ab")]
    test = [handmade_clip(f"e{k}", "a" if k < 30 else "b", "test") for k in range(40)]
    test = [clip.model_copy(update={"group": clip.labels[0] if clip.labels == ("b",) else None}) for clip in test]
    gold, synthio = [k % 3 == 0 for k in range(40)], [k % 3 < 2 for k in range(40)]
    predictions, trainings = handmade({"gold": [gold] * 2, "synthio": [synthio] * 2}, test)
    config = make_config(tmp_path, tmp_path, metric=metric)
    a, b = (c.difference for c in compare(predictions, [*train, *test], config, trainings).classes if c.support)
    alone = compare(predictions, [*train, *test[:30]], config, trainings).difference
    assert a is not None and b is not None and alone is not None
    assert (a.points, a.low, a.high) == (alone.points, alone.low, alone.high)
    assert a.points == pytest.approx(100 / 3) and 0 < a.low < a.points < a.high
    assert b.points == pytest.approx(30) and np.isnan([b.low, b.high]).all()


def test_with_several_labels_a_class_has_the_interval_of_its_average_precision(tmp_path: Path) -> None:
    """As in a dataset where it is the only label."""
    generator = np.random.default_rng(0)
    sets = [("a",), ("b",), ("a", "b"), ("c",)]
    clips = [
        handmade_clip(f"{split[0]}{k}", "a", split).model_copy(update={"labels": sets[k % 4]})
        for split, count in (("train", 8), ("test", 40))
        for k in range(count)
    ]
    test = [clip for clip in clips if clip.split == "test"]
    predictions, trainings = handmade({arm: [[True] * 40] * 2 for arm in ("gold", "synthio")}, test)
    predictions = [
        row.model_copy(update={"scores": dict(zip("abc", generator.random(3).tolist(), strict=True))})
        for row in predictions
    ]
    config = make_config(tmp_path, tmp_path)
    found = {c.label: c for c in compare(predictions, clips, config, trainings).classes}
    targets = np.array([["a" in clip.labels] for clip in test])
    scores = np.array([row.scores["a"] for row in predictions]).reshape(2, 2, 40, 1)

    def by_seed(weights: np.ndarray) -> np.ndarray:
        gold, synthio = (
            np.array([metrics.weighted_mean_average_precision(targets, s, weights) for s in arm]) for arm in scores
        )
        return synthio - gold

    expected = metrics.bootstrap_difference(
        by_seed,
        [clip.unit for clip in test],
        config.train.bootstrap_samples,
        numpy_generator(config.seed, "train", "bootstrap"),
    )
    difference = found["a"].difference
    assert difference is not None
    assert (difference.points, difference.low, difference.high) == pytest.approx(
        (100 * expected.mean, 100 * expected.low, 100 * expected.high)
    )
    by_arm = [found["a"].scores["gold"], found["a"].scores["synthio"]]
    assert by_arm == pytest.approx([np.mean([average_precision_score(targets, s) for s in arm]) for arm in scores])


def test_a_class_with_one_test_clip_has_no_interval_of_its_average_precision(tmp_path: Path) -> None:
    """That ranks the one clip among many others, which say nothing of other clips of the class."""
    sets = [("a",), ("b",), ("a", "b")]
    clips = [
        handmade_clip(f"{split[0]}{k}", "a", split).model_copy(update={"labels": sets[k % 3]})
        for split, count in (("train", 6), ("test", 30))
        for k in range(count)
    ]
    clips.append(handmade_clip("rare", "c", "test"))
    test = [clip for clip in clips if clip.split == "test"]
    predictions, trainings = handmade({arm: [[True] * 31] * 2 for arm in ("gold", "synthio")}, test)
    generator = np.random.default_rng(0)
    predictions = [
        row.model_copy(update={"scores": dict(zip("abc", generator.random(3).tolist(), strict=True))})
        for row in predictions
    ]
    found = compare(predictions, clips, make_config(tmp_path, tmp_path), trainings)
    assert found.metric == "mAP"
    a, _, c = (row.difference for row in found.classes)
    assert a is not None and a.low < a.points < a.high
    assert c is not None and np.isfinite(c.points) and np.isnan([c.low, c.high]).all()


def test_who_never_says_faulty_does_not_win_by_balanced_accuracy(tmp_path: Path) -> None:
    """Of 90 normal (a) and 10 faulty clips (b) gold calls all normal; synthio finds 9 faults, with 22 false alarms."""
    test = [handmade_clip(f"e{k}", "a" if k < 90 else "b", "test") for k in range(100)]
    train = [handmade_clip(f"t{k}", label, "train") for k, label in enumerate("aaab")]
    gold, synthio = [True] * 90 + [False] * 10, [False] * 22 + [True] * 77 + [False]
    predictions, trainings = handmade({"gold": [gold] * 2, "synthio": [synthio] * 2}, test)
    by_accuracy = compare(predictions, [*train, *test], make_config(tmp_path, tmp_path), trainings)
    assert verdict_text(by_accuracy).endswith(
        "Do not use synthetic clips. No arm is better than always saying 'a' (90.0%). If every class matters alike, "
        "set train.metric to balanced accuracy."
    )
    config = make_config(tmp_path, tmp_path, metric="balanced accuracy")
    found = compare(predictions, [*train, *test], config, trainings)
    assert [arm.mean for arm in found.arms] == pytest.approx([0.5, (68 / 90 + 9 / 10) / 2])
    assert found.constant is not None and found.constant.mean == 0.5
    assert effect(found) == "helped" and recommended_arm(found) == "synthio"
    assert "no arm" not in verdict_text(found)


@pytest.mark.parametrize(
    ("counts", "fraction", "tail"),
    [
        ({"a": 5, "b": 5, "c": 5}, 0.5, set()),
        ({"a": 1, "b": 5, "c": 9}, 0.34, {"a"}),
        ({"a": 1, "b": 1, "c": 9}, 0.34, {"a", "b"}),
        ({"a": 1, "b": 2, "c": 9}, 0.0, set()),
        ({"a": 1, "b": 2}, 0.34, {"a"}),
        ({"faulty": 3, "normal": 100}, 0.34, {"faulty"}),
        ({"a": 1, "b": 2}, 1.0, set()),
        # A third of five is one and a bit more.
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, 0.34, {"a"}),
    ],
)
def test_the_tail(counts: dict[str, int], fraction: float, tail: set[str]) -> None:
    assert tail_classes(counts, fraction) == tail


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


def test_a_model_that_is_told_of_its_padding_is_heard_through_as_it_was_tested(tmp_path: Path) -> None:
    made = small(tiny_wav2vec2.build_hubert(tmp_path / "hubert"), tmp_path, arms=["gold", "noise"])
    # The longest training clip; all others are padded.
    sf.write(made.clips[0].path, tones(made.clips[0].labels, 1, duration_s=0.5), RATE_HZ)
    made.clips[0] = made.clips[0].model_copy(update={"duration_s": 0.5})
    scores = {p.id: p.scores for p in made.run()}
    trained = load_trained(str(made.unit("noise", 0).path / "model-noise"))
    clips = [clip for clip in made.clips if clip.split == "test"]
    inputs = [trained.frontend.inputs(load_start(Path(clip.path), 10.0, RATE_HZ)) for clip in clips]
    assert not any(row["attention_mask"].all() for row in inputs)
    found = predict(trained.model, inputs, 1, torch.device("cpu"))
    expected = [[scores[f"noise/0/{clip.id}"][label] for label in trained.classes] for clip in clips]
    np.testing.assert_allclose(found, expected, atol=1e-6)


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


def test_who_always_says_the_most_frequent_label_is_scored_too(project: Project) -> None:
    clips = [c for c in project.clips if c.split != "test" or c.labels == ("high",)]
    clips += [c for c in project.clips if c.split == "test" and c.labels == ("low",)][:3]
    # One training clip fewer makes the other class the most frequent.
    clips.remove(next(c for c in clips if c.split == "train" and c.labels == ("low",)))
    predictions = project.folder().manifest(Prediction)
    trainings = list(read_trainings(project.folder()).values())
    found = compare(predictions, clips, project.config, trainings).constant
    high = sum(c.split == "test" and c.labels == ("high",) for c in clips)
    assert found is not None and found.label == "high"
    assert found.mean == pytest.approx(high / (high + 3))
    # F1 of the named class is 2 h / (2 h + 3), of the other 0.
    assert found.macro_f1 == pytest.approx(high / (2 * high + 3))


def test_clips_longer_than_what_the_classifier_hears_are_told_of(project: Project) -> None:
    clips = [c.model_copy(update={"duration_s": 9.0 if k < 3 else 1.0}) for k, c in enumerate(project.clips)]
    (told,) = unheard_warnings(clips, 2.0)
    assert f"3 of {len(clips)} clips are longer than the 2.0 s that the classifier hears" in told
    assert unheard_warnings(clips, 9.0) == []
    (heard_s,) = {training.heard_s for training in read_trainings(project.folder()).values()}
    assert heard_s is not None and 0.4 < heard_s < 0.6


def test_what_the_gate_keeps_out_is_not_trained_a_second_time(project: Project) -> None:
    """Both arms were trained, to the same weights."""
    bare, listener = dataclasses.replace(project, synthetic=[]), Listener()

    def scores(key: str) -> dict[tuple[str, str], Mapping[str, float]]:
        return {(p.id, p.arm): p.scores for p in bare.folder(key).manifest(Prediction)}

    bare.run("kept out", listener, shares={"synthio": 0.0})
    assert [note for note in listener.notes if "gold's, as the gate kept" in note and note.startswith("synthio")]
    weights = [
        (bare.unit(arm, 1, "kept out").path / f"model-{arm}" / "model.safetensors").read_bytes()
        for arm in ("gold", "synthio")
    ]
    assert weights[0] == weights[1]
    trained = [t for t in read_trainings(bare.folder("kept out")).values() if t.arm == "synthio"]
    assert [t.seed for t in trained] == [0, 1] and {t.n_added for t in trained} == {0}
    # As training it would have been.
    bare.run("without a gate")
    assert scores("kept out") == scores("without a gate")


def test_the_gates_word_is_kept_and_told(project: Project) -> None:
    dataclasses.replace(project, synthetic=[]).run("gated", shares={"synthio": 0.0})
    found = project.comparison("gated")
    assert found.gated_share == 0.0
    assert verdict_text(found).startswith("The gate kept synthetic clips out")
    assert project.comparison().gated_share is None
