"""Loading, fitting to a training split, fine-tuning and predicting, with tiny models of the real classes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_ast
import tiny_wav2vec2
import torch
from full_disk import no_file_above
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    BertConfig,
)

from synthio.backends import pocket
from synthio.backends.classifier import (
    Frontend,
    find_classifier,
    fit_frontend,
    fit_positions,
    load_classifier,
    load_trained,
    resize_positions,
    save_classifier,
)
from synthio.backends.fine_tuning import Examples, Optimisation, _optimiser, fine_tune, predict
from synthio.config import TrainConfig
from synthio.errors import BackendError, ModelError, StoreError

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ast_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ast.build(tmp_path_factory.mktemp("ast") / "ast")


@pytest.fixture(scope="module")
def wav2vec2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wav2vec2.build_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))


@pytest.fixture(scope="module", params=tiny_wav2vec2.MASKED)
def masked_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every kind of model that was trained with a mask of its padding."""
    folder: Path = tiny_wav2vec2.MASKED[request.param](tmp_path_factory.mktemp("masked"))
    return folder


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


# -------------------------------------------------------------------------------------------------------- positions


def positions(bands: int, steps: int, width: int = 3) -> torch.Tensor:
    """Random special tokens, then value ``100 * band + step`` (plus the channel's number / 10) in every patch."""
    grid = 100.0 * torch.arange(bands)[:, None] + torch.arange(steps)[None]
    patches = grid.reshape(-1, 1) + torch.arange(width) / 10
    return torch.cat([torch.randn(2, width, generator=torch.Generator().manual_seed(0)), patches])[None]


def test_positions_of_the_same_grid_stay() -> None:
    torch.testing.assert_close(resize_positions(positions(3, 5), 3, 5), positions(3, 5))


def test_fewer_steps_are_cut_from_the_middle() -> None:
    found = resize_positions(positions(3, 6), 3, 2)
    torch.testing.assert_close(found[:, :2], positions(3, 6)[:, :2])
    torch.testing.assert_close(found[0, 2:, 0], torch.tensor([2.0, 3, 102, 103, 202, 203]))


def test_more_steps_are_interpolated_linearly_in_time_and_not_across_bands() -> None:
    found = resize_positions(positions(2, 4), 2, 8)
    # Second implementation: pixel centres, as in AST's code (align_corners=False), clamped at the edges.
    expected = np.interp((np.arange(8) + 0.5) * 4 / 8 - 0.5, np.arange(4), np.arange(4.0))
    torch.testing.assert_close(found[:, :2], positions(2, 4)[:, :2])
    np.testing.assert_allclose(found[0, 2:10, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[0, 10:, 0], 100 + expected, rtol=1e-5)


@pytest.mark.parametrize("frames", [8, 16, 48, 80, 100])
def test_a_network_runs_and_reloads_at_another_clip_length(ast_folder: Path, tmp_path: Path, frames: int) -> None:
    model = AutoModelForAudioClassification.from_pretrained(ast_folder)
    fit_positions(model, frames)
    inputs = torch.randn(2, frames, tiny_ast.N_MELS, generator=torch.Generator().manual_seed(0))
    logits = model.eval()(inputs).logits
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again.eval()(inputs).logits, logits)


# --------------------------------------------------------------------------------------------------------- frontend


def main_input(frontend: Frontend, samples: np.ndarray) -> np.ndarray:
    return frontend.inputs(samples)[frontend.main_input].numpy()


def test_an_ast_hears_short_clips_as_in_its_pre_training(ast_folder: Path) -> None:
    source = find_classifier(str(ast_folder))
    frontend = fit_frontend(source, [3000, 2000])
    assert frontend.extractor.to_dict() == source.extractor.to_dict()
    heard = source.extractor(noise(3000, 1), sampling_rate=16_000, return_tensors="np")["input_values"][0]
    np.testing.assert_array_equal(main_input(frontend, noise(3000, 1)), heard)


def test_an_ast_becomes_as_long_as_three_quarters_of_longer_training_clips(ast_folder: Path) -> None:
    source = find_classifier(str(ast_folder))
    clips = [noise(12000, seed) for seed in range(4)] + [noise(80000, 4)]
    frontend = fit_frontend(source, [len(clip) for clip in clips])
    frames = 1 + (12000 - 400) // 160
    assert frames <= frontend.extractor.max_length < frames + 8
    assert (frontend.extractor.max_length - 8) % 8 == 0
    assert {main_input(frontend, clip).shape for clip in clips} == {(frontend.extractor.max_length, tiny_ast.N_MELS)}
    assert (frontend.extractor.mean, frontend.extractor.std) == (source.extractor.mean, source.extractor.std)
    assert source.extractor.max_length == tiny_ast.MAX_LENGTH


def test_clips_shorter_than_a_window_and_longer_than_the_longest_training_clip_fit(ast_folder: Path) -> None:
    frontend = fit_frontend(find_classifier(str(ast_folder)), [3000])
    assert (
        main_input(frontend, noise(100)).shape
        == main_input(frontend, noise(90000)).shape
        == main_input(frontend, noise(3000)).shape
    )
    assert fit_frontend(find_classifier(str(ast_folder)), [10]).extractor.max_length == tiny_ast.MAX_LENGTH


def test_another_family_keeps_its_own_features_at_one_length(wav2vec2_folder: Path) -> None:
    frontend = fit_frontend(find_classifier(str(wav2vec2_folder)), [3000, 5000])
    assert main_input(frontend, noise(2000)).shape == main_input(frontend, noise(9000)).shape == (5000,)


def test_a_waveform_is_normalised_before_it_is_padded(wav2vec2_folder: Path) -> None:
    """Its mean and variance counted the padding: a clip of a tenth of the longest sounded three times as loud."""
    source = find_classifier(str(wav2vec2_folder))
    frontend, clip = fit_frontend(source, [16_000]), noise(1600) + 0.05
    inputs = frontend.inputs(clip)
    assert inputs.keys() == {"input_values"}
    alone = source.extractor(clip, sampling_rate=16_000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(inputs["input_values"][:1600], alone, atol=1e-5)
    assert not inputs["input_values"][1600:].any()


def test_padding_changes_nothing_for_who_is_told_of_it(masked_folder: Path) -> None:
    source = find_classifier(str(masked_folder))
    clips = [noise(length, length, level) for length, level in ((16_000, 0.1), (3200, 0.2), (4100, 0.01))]
    frontend = fit_frontend(source, [len(clip) for clip in clips])
    model = load_classifier(source, frontend, ["a", "b"], SINGLE, 1)
    inputs = [frontend.inputs(clip) for clip in clips]
    assert [row["attention_mask"].all().item() for row in inputs] == [True, False, False]
    alone = [fit_frontend(source, [len(clip)]).inputs(clip) for clip in clips]
    expected = np.concatenate([predict(model, [row], 1, CPU) for row in alone])
    np.testing.assert_allclose(predict(model, inputs, 2, CPU), expected, atol=1e-6)
    unmasked = [{name: values for name, values in row.items() if name != "attention_mask"} for row in inputs]
    assert np.abs(predict(model, unmasked, 2, CPU) - expected).max() > 1e-5


def test_clips_of_a_few_samples_have_a_frame(masked_folder: Path) -> None:
    source = find_classifier(str(masked_folder))
    frontend = fit_frontend(source, [4000])
    model = load_classifier(source, frontend, ["a", "b"], SINGLE, 1)
    assert np.isfinite(predict(model, [frontend.inputs(noise(1)), frontend.inputs(noise(500))], 2, CPU)).all()
    assert fit_frontend(source, [7]).inputs(noise(7))["attention_mask"].any()


# ---------------------------------------------------------------------------------------------------------- loading


def test_only_the_head_is_new_and_it_depends_on_the_seed_alone(ast_folder: Path) -> None:
    source = find_classifier(str(ast_folder))
    frontend = fit_frontend(source, [16000])
    # Five classes, as many as the folder has: its head must not be kept all the same.
    models = []
    for seed in (1, 1, 2):
        torch.rand(3)
        models.append(load_classifier(source, frontend, list("abcde"), SINGLE, seed).state_dict())
    stored = AutoModelForAudioClassification.from_pretrained(ast_folder).state_dict()
    for name, values in models[0].items():
        torch.testing.assert_close(models[1][name], values, rtol=0, atol=0)
        if not name.startswith("classifier.dense") and "position" not in name:
            torch.testing.assert_close(stored[name], values, rtol=0, atol=0)
    assert not torch.equal(models[0]["classifier.dense.weight"], stored["classifier.dense.weight"])
    assert not torch.equal(models[0]["classifier.dense.weight"], models[2]["classifier.dense.weight"])


def test_loading_leaves_the_callers_random_state_alone(ast_folder: Path) -> None:
    source = find_classifier(str(ast_folder))
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    load_classifier(source, fit_frontend(source, [8000]), ["a", "b"], SINGLE, 1)
    torch.testing.assert_close(torch.rand(2), expected)


def test_half_precision_weights_load_as_float32(ast_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(ast_folder, tmp_path / "half")
    halved = {name: values.half() for name, values in load_file(folder / "model.safetensors").items()}
    save_file(halved, folder / "model.safetensors", {"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "dtype": "float16"}))
    source = find_classifier(str(folder))
    model = load_classifier(source, fit_frontend(source, [8000]), ["a", "b"], SINGLE, 1)
    assert {values.dtype for values in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("family", ["ast_folder", "wav2vec2_folder"])
def test_a_saved_classifier_is_an_ordinary_folder_without_pickles(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = find_classifier(str(request.getfixturevalue(family)))
    frontend = fit_frontend(source, [6000])
    model = load_classifier(source, frontend, ["cow bell", "Übung"], SINGLE, 1)
    with no_file_above(1000), pytest.raises(StoreError, match="cannot be written"):
        save_classifier(model, frontend, tmp_path / "full")
    save_classifier(model, frontend, tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"config.json", "frontend.json", "model.safetensors", "preprocessor_config.json"}
    trained = load_trained(str(tmp_path / "saved"))
    assert trained.classes == ("cow bell", "Übung")
    for length in (100, 6000, 50_000):
        np.testing.assert_array_equal(main_input(trained.frontend, noise(length)), main_input(frontend, noise(length)))
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "saved")
    assert again.config.id2label == {0: "cow bell", 1: "Übung"}
    features = torch.from_numpy(main_input(frontend, noise(6000)))[None]
    same = extractor(noise(6000), sampling_rate=16000, return_tensors="pt")["input_values"].float()
    torch.testing.assert_close(again.eval()(same).logits, model.eval()(features).logits)


def test_a_model_that_was_not_trained_here_cannot_predict(ast_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model-gold: no such folder; expected the `model`"):
        load_trained("model-gold")
    with pytest.raises(ModelError, match=r"holds no frontend.json; expected the `model` that `synthio run` names$"):
        load_trained(str(ast_folder))
    (tmp_path / "run" / "stages" / "train-1" / "model-gold").mkdir(parents=True)
    (tmp_path / "run" / "stages" / "train-1" / "model-gold" / "frontend.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds no frontend.json.*; found .*stages/train-1/model-gold"):
        load_trained(str(tmp_path / "run"))
    (tmp_path / "run" / "stages" / "clips-0123456789ab").mkdir()
    with pytest.raises(
        ModelError, match=r"run: this run has not finished; run the same .*; found .*train-1/model-gold"
    ):
        load_trained(str(tmp_path / "run"))
    shutil.copytree(ast_folder, tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "frontend.json").write_text('{"min_samples": 400, "max_samples": 8000}')
    assert load_trained(str(tmp_path / "run")).frontend.max_samples == 8000
    with pytest.raises(ModelError, match=r"`synthio run` names; found \S+/run$"):
        load_trained(str(tmp_path))
    shutil.copytree(ast_folder, tmp_path / "odd")
    (tmp_path / "odd" / "frontend.json").write_text('{"min_samples": 400}')
    with pytest.raises(
        ModelError, match="odd: cannot be loaded: max_samples: Field required; copy the folder again, or"
    ):
        load_trained(str(tmp_path / "odd"))
    (tmp_path / "odd" / "frontend.json").write_text('{"min_samples": 400, "max_samples": 8000}')
    (tmp_path / "odd" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="odd: cannot be loaded: .*not a valid JSON file") as caught:
        load_trained(str(tmp_path / "odd"))
    assert "train.model" not in str(caught.value)
    settings = json.loads((ast_folder / "config.json").read_text())
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**settings, "hidden_size": 64}))
    with pytest.raises(ModelError, match="odd: cannot be loaded: its weights do not fit config.json; copy the folder"):
        load_trained(str(tmp_path / "odd"))


@pytest.mark.parametrize(
    ("name", "edited", "reason"),
    [
        ("config.json", {"id2label": {}}, "config.json names no classes"),
        ("config.json", {"id2label": {"0": "a", "7": "b"}}, "KeyError: 1"),
        ("config.json", {"id2label": []}, "AttributeError: 'list' object"),
        ("config.json", {"num_attention_heads": 0}, "ZeroDivisionError: "),
        ("preprocessor_config.json", {"sampling_rate": None}, "TypeError: "),
        ("preprocessor_config.json", {"mean": None}, "TypeError: "),
        ("frontend.json", {"max_samples": 3}, "negative dimensions"),
    ],
)
def test_a_file_of_a_trained_classifier_that_was_edited_by_hand_is_no_traceback(
    name: str, edited: dict[str, object], reason: str, ast_folder: Path, tmp_path: Path
) -> None:
    source = find_classifier(str(ast_folder))
    frontend = fit_frontend(source, [8000])
    save_classifier(load_classifier(source, frontend, ["a", "b"], SINGLE, 1), frontend, tmp_path)
    settings = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**settings, **edited}))
    with pytest.raises(ModelError, match=f"cannot be loaded: {reason}.*; copy the folder again, or run the same"):
        load_trained(str(tmp_path))


def break_nothing_there(folder: Path) -> str:
    shutil.rmtree(folder)
    return "no such folder"


def break_no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "holds no config.json"


def break_config(folder: Path) -> str:
    (folder / "config.json").write_text("{")
    return "config.json' is not a valid JSON file.*; check its files, or use train.model=pocket"


def break_config_value(folder: Path) -> str:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "hidden_size": "wide"}))
    return "(?s)'hidden_size' expected int.*; check its files, or use train.model=pocket"


def break_heads(folder: Path) -> str:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_attention_heads": 0}))
    return "ZeroDivisionError: .*; check its files, or use train.model=pocket"


def break_family(folder: Path) -> str:
    BertConfig().save_pretrained(folder)
    return "'bert' model; expected an audio-classification family"


def break_extractor(folder: Path) -> str:
    (folder / "preprocessor_config.json").unlink()
    return "containing a preprocessor_config.json file.*; check its files, or use train.model=pocket"


def break_mel_bins(folder: Path) -> str:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "num_mel_bins": 64}))
    return "makes 64 mel bins; config.json expects 32"


def break_pickled(folder: Path) -> str:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return "no file named model.safetensors.*; save it again with save_pretrained, which writes safetensors"


def break_weights(folder: Path) -> str:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return "not fully covered.*; check its files, or use train.model=pocket"


def break_shapes(folder: Path) -> str:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "hidden_size": 64}))
    return "do not fit config.json"


def break_missing(folder: Path) -> str:
    kept = {k: v for k, v in load_file(folder / "model.safetensors").items() if "layer.1." not in k}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return "weights are missing"


@pytest.mark.parametrize(
    "damage",
    [
        break_nothing_there,
        break_no_config,
        break_config,
        break_config_value,
        break_heads,
        break_family,
        break_extractor,
        break_mel_bins,
        break_pickled,
        break_weights,
        break_shapes,
        break_missing,
    ],
)
def test_what_is_wrong_with_a_folder_is_said(damage: Callable[[Path], str], ast_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(ast_folder, tmp_path / "broken")
    message = damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        source = find_classifier(str(folder))
        load_classifier(source, fit_frontend(source, [8000]), ["a", "b"], SINGLE, 0)
    assert str(folder) in str(caught.value)


def test_a_hub_id_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match="(?s)cannot be loaded.*; check the name and the network, or use train.model=pocket"
    ):
        find_classifier("nobody/no-such-model")


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "a/b/c", ""])
def test_a_path_is_never_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=r"no such folder|no config\.json"):
        find_classifier(name)


def test_pocket_is_a_folder_like_any_other(ast_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pocket, "SHIPPED", tmp_path)
    with pytest.raises(ModelError, match="pocket classifier"):
        find_classifier("pocket")
    copy_of(ast_folder, tmp_path / "classifier")
    assert find_classifier("pocket").sample_rate_hz == 16000


# ------------------------------------------------------------------------------------------------------ fine-tuning


def settings(micro_batch: int = 8, **changes: Any) -> Optimisation:
    usual: dict[str, Any] = {
        "steps": 12,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "head_learning_rate": 3e-3,
        "evaluate_every": 4,
    }
    return Optimisation(TrainConfig(**{**usual, **changes}), micro_batch, CPU, seed=3)


def problem(folder: Path, kind: str, clips: int = 12) -> tuple[torch.nn.Module, Examples]:
    """A network and clips whose class is their loudness: class 0 is noise at a hundredth of class 1's level."""
    source = find_classifier(str(folder))
    waves = [noise(6000, i, level=0.001 if i % 2 == 0 else 0.1) + noise(6000, 99, 1e-5) for i in range(clips)]
    frontend = fit_frontend(source, [len(wave) for wave in waves])
    inputs = [frontend.inputs(wave) for wave in waves]
    classes = torch.arange(clips) % 2
    targets = torch.nn.functional.one_hot(classes).float() if kind == MULTI else classes
    return load_classifier(source, frontend, ["quiet", "loud"], kind, 1), Examples(inputs, targets)  # type: ignore[arg-type]


def no_progress(count: int) -> None:
    pass


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
def test_accumulated_small_passes_are_one_batch(ast_folder: Path, kind: str) -> None:
    order = np.random.default_rng(0).integers(12, size=4 * 8)
    trained, losses = [], []
    for micro_batch in (8, 2):
        model, examples = problem(ast_folder, kind)
        kept, _ = fine_tune(model, examples, order, None, settings(steps=4, micro_batch=micro_batch), no_progress)
        trained.append(predict(model, examples.inputs, 4, CPU))
        losses.append(kept.train_loss)
    # AdamW does not see the scale of a loss, so the loss itself is compared too: a wrong scale is four times off.
    np.testing.assert_allclose(trained[0], trained[1], atol=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_other_families_learn_several_labels_per_clip(wav2vec2_folder: Path) -> None:
    model, examples = problem(wav2vec2_folder, MULTI)
    order = np.random.default_rng(0).integers(12, size=3 * 8)
    kept, curve = fine_tune(model, examples, order, examples, settings(steps=3, evaluate_every=2), no_progress)
    assert [point.step for point in curve] == [2, 3]
    assert kept in curve
    assert predict(model, examples.inputs, 5, CPU).shape == (12, 2)


def test_clips_shorter_than_a_masked_span_are_trained_on(masked_folder: Path) -> None:
    """SpecAugment hides 0.2 s at once, and had no place for them: a traceback."""
    source = find_classifier(str(masked_folder))
    for longest in (800, 2400, 3199, 3200, 3700):
        clips = [noise(longest - 40 * number, number) for number in range(4)]
        frontend = fit_frontend(source, [len(clip) for clip in clips])
        model = load_classifier(source, frontend, ["a", "b"], SINGLE, 1)
        examples = Examples([frontend.inputs(clip) for clip in clips], torch.arange(4) % 2)
        kept, _ = fine_tune(model, examples, np.arange(8) % 4, None, settings(steps=1, evaluate_every=1), no_progress)
        assert kept.train_loss is not None


def test_masking_stays_where_a_span_has_its_place(wav2vec2_folder: Path) -> None:
    source = find_classifier(str(wav2vec2_folder))
    shares = [
        load_classifier(source, fit_frontend(source, [longest]), ["a", "b"], SINGLE, 1).config.mask_time_prob
        for longest in (10 * 320 - 1, 10 * 320)
    ]
    assert shares == [0.0, source.config.mask_time_prob] and shares[1] > 0


def test_padding_is_neither_trained_nor_validated_on(masked_folder: Path) -> None:
    source, classes = find_classifier(str(masked_folder)), torch.arange(8) % 2
    frontend = fit_frontend(source, [12_000])
    rows = [frontend.inputs(noise(3200 + 400 * number, number)) for number in range(8)]
    # What stands in the padding must not matter.
    name = frontend.main_input
    garbled = [
        {**row, name: torch.where(row["attention_mask"].reshape(-1, *[1] * (row[name].ndim - 1)), row[name], 3.0)}
        for row in rows
    ]
    found = []
    for inputs in (rows, garbled):
        model = load_classifier(source, frontend, ["a", "b"], SINGLE, 1)
        examples, order = Examples(inputs, classes), np.arange(4 * 8) % 8
        found.append(fine_tune(model, examples, order, examples, settings(steps=4, evaluate_every=2), no_progress))
    (_, first), (_, second) = found
    assert [(p.train_loss, p.valid_loss) for p in first] == [
        (pytest.approx(p.train_loss, abs=1e-6), pytest.approx(p.valid_loss, abs=1e-6)) for p in second
    ]


def test_the_best_validation_weights_are_kept_even_when_training_goes_on_to_worse_ones(ast_folder: Path) -> None:
    model, examples = problem(ast_folder, SINGLE)
    # Training on swapped labels: validation can only fall from its first value.
    swapped = Examples(examples.inputs, 1 - examples.targets)
    order = np.random.default_rng(0).integers(12, size=20 * 8)
    warm_up, _ = fine_tune(model, examples, order, examples, settings(steps=20, evaluate_every=10), no_progress)
    assert warm_up.valid_score == 1.0
    seen: list[int] = []
    kept, curve = fine_tune(
        model, swapped, order, examples, settings(steps=20, evaluate_every=1), lambda count: seen.append(count)
    )
    assert sum(seen) == 20
    assert kept.rank == max(point.rank for point in curve)
    assert curve[-1].valid_score == 0.0
    assert kept.valid_score == 1.0
    right = predict(model, examples.inputs, 12, CPU).argmax(axis=1) == examples.targets.numpy()
    assert right.mean() == kept.valid_score


def test_weights_are_picked_by_the_metric_that_is_asked_for(ast_folder: Path) -> None:
    scores = {}
    for metric in ("accuracy", "balanced accuracy"):
        model, examples = problem(ast_folder, SINGLE)
        first, second = (np.flatnonzero(examples.targets.numpy() == k) for k in (0, 1))
        mostly_one = examples.subset(np.concatenate([first, second[:1]]))
        # Who has heard of the first class only never says the second.
        only = Examples(examples.inputs, torch.zeros_like(examples.targets))
        order = np.arange(12 * 8) % 12
        scores[metric], _ = fine_tune(model, only, order, mostly_one, settings(metric=metric), no_progress)
    assert scores["accuracy"].valid_score == pytest.approx(len(first) / (len(first) + 1))
    assert scores["balanced accuracy"].valid_score == 0.5


def test_without_validation_clips_the_last_weights_are_kept(ast_folder: Path) -> None:
    model, examples = problem(ast_folder, SINGLE)
    before = predict(model, examples.inputs, 12, CPU)
    order = np.random.default_rng(0).integers(12, size=5 * 8)
    kept, curve = fine_tune(model, examples, order, None, settings(steps=5), no_progress)
    assert (kept.step, kept.valid_score, kept.valid_loss) == (5, None, None)
    assert [point.step for point in curve] == [4]
    assert not np.allclose(predict(model, examples.inputs, 12, CPU), before)


def test_training_is_repeatable_and_leaves_global_random_states_alone(ast_folder: Path) -> None:
    order = np.random.default_rng(0).integers(12, size=3 * 8)
    made = []
    for caller_seed in (1, 2):
        random.seed(caller_seed)
        np.random.seed(caller_seed)
        torch.manual_seed(caller_seed)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        model, examples = problem(ast_folder, SINGLE)
        fine_tune(model, examples, order, examples, settings(steps=3), no_progress)
        made.append(predict(model, examples.inputs, 12, CPU))
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    np.testing.assert_array_equal(made[0], made[1])


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
def test_predictions_are_probabilities_whatever_the_batch_size(ast_folder: Path, kind: str) -> None:
    model, examples = problem(ast_folder, kind)
    found = [predict(model, examples.inputs, size, CPU) for size in (1, 5, 12)]
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)
    logits = model(torch.stack([row["input_values"] for row in examples.inputs])).logits.detach().double()
    expected = logits.softmax(dim=1) if kind == SINGLE else 1 / (1 + (-logits).exp())
    np.testing.assert_allclose(found[2], expected.numpy(), atol=1e-6)
    assert predict(model, examples.inputs[:0], 4, CPU).shape == (0, 2)


def test_scores_that_are_not_finite_are_an_error(ast_folder: Path) -> None:
    model, examples = problem(ast_folder, SINGLE)
    with torch.no_grad():
        model.classifier.dense.bias.fill_(float("nan"))
    with pytest.raises(BackendError, match="diverged"):
        predict(model, examples.inputs, 4, CPU)
    # Validation notices too, and says that it has no figure rather than writing NaN into JSON.
    order = np.zeros(8, dtype=np.int64)
    kept, _ = fine_tune(model, examples, order, examples, settings(steps=1), no_progress)
    assert kept.valid_score is None
    assert kept.valid_loss is None


def test_the_head_learns_at_its_own_rate(ast_folder: Path) -> None:
    model, examples = problem(ast_folder, SINGLE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rates = settings(steps=4, learning_rate=1e-9, head_learning_rate=1e-2)
    fine_tune(model, examples, np.arange(4 * 8) % 12, None, rates, lambda count: None)
    moved = {name: float((value - before[name]).abs().max()) for name, value in model.state_dict().items()}
    assert moved["classifier.dense.weight"] > 1e-5
    assert max(change for name, change in moved.items() if not name.startswith("classifier.")) < 1e-6


def test_rates_warm_up_and_decay_and_biases_and_norms_do_not(ast_folder: Path) -> None:
    """AdamW's steps are about as long as the rate: none at first, the longest after a tenth, hardly any at the end."""
    model, examples = problem(ast_folder, SINGLE)
    seen = [model.classifier.dense.weight.detach().clone()]
    rates = settings(steps=40)
    order = np.arange(40 * 8) % 12
    fine_tune(
        model, examples, order, None, rates, lambda _: seen.append(model.classifier.dense.weight.detach().clone())
    )
    lengths = [float((after - before).abs().mean()) for before, after in pairwise(seen)]
    assert lengths[0] == 0 < lengths[1] < lengths[3]
    # A cosine of 36 steps has 0.002 of its peak left at its last, a straight line 0.03.
    assert lengths[-1] < 0.01 * max(lengths)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = _optimiser(model, rates).param_groups
    decayed = {names[parameter] for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert "classifier.dense.weight" in decayed
    assert not [name for name in decayed if name.endswith("bias") or "norm" in name]
