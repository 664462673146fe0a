"""The train stage end to end on two tones, with a tiny AST: fairness, resume, and nothing from the test split."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import tiny_ast
import tiny_wav2vec2
import torch
from sklearn.metrics import average_precision_score
from tone_project import (
    RATE_HZ,
    TONES_HZ,
    Listener,
    Project,
    features,
    make_clips,
    make_config,
    make_synthetic,
    small,
    tones,
)

import synthio
from synthio.arms import fit_arm, prepare, read_trainings
from synthio.audio import load_start
from synthio.backends.classifier import load_trained
from synthio.backends.fine_tuning import predict
from synthio.records import Prediction
from synthio.verdict import verdict_text


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ast.build(tmp_path_factory.mktemp("model") / "ast")


# ----------------------------------------------------------------------------------------------------------- end to end


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


# --------------------------------------------------------------------------------------------------------------- resume


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


# ------------------------------------------------------------------------------------------------ what training may see


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


# -------------------------------------------------------------------------------------------------------- special cases


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
