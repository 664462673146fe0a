"""The command line as a user runs it, on tiny models of the real classes."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from builders import write_tiny_run
from command_line import ENVIRONMENT, synthio, synthio_process
from endpoint_server import EndpointServer, Response, chat
from reporters import RecordingReporter

from synthio import Pipeline, audio, load_config, predict
from synthio.backends.identity import model_identity
from synthio.cli.common import print_data, print_result
from synthio.errors import BackendError, ConfigError, DataError, MissingArtefact
from synthio.formats import printable
from synthio.progress import Reporter


@pytest.fixture(scope="module")
def recipe(
    tmp_path_factory: pytest.TempPathFactory,
    small_data: Path,
    flow_model: Path,
    clap_model: Path,
    ast_model: Path,
) -> Path:
    root = tmp_path_factory.mktemp("recipe")
    return write_tiny_run(root, small_data, flow_model, clap_model, ast_model, steps=4, seeds=2)


@pytest.fixture(scope="module")
def finished(recipe: Path) -> tuple[Path, dict[str, Any]]:
    result = synthio_process("run", recipe, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    return recipe.parent / "run", json.loads(result.stdout)


def manifests(root: Path) -> dict[str, str]:
    return {p.parent.name: p.read_text() for p in root.glob("stages/*/manifest.jsonl")}


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("stage", ["caption", "imagine", "generate", "train"])
def test_a_stage_says_where_its_records_are(recipe: Path, stage: str) -> None:
    """It printed the run folder, in which a changed setting leaves several folders of a stage."""
    result = synthio(stage, recipe, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    folder = Path(json.loads(result.stdout)["result"])
    assert folder.name.startswith(f"{stage}-") and (folder / "manifest.jsonl").is_file()


def test_the_verdict_is_said_once(recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A run told it as a note, and again below its table."""
    trained, run = synthio("train", recipe), synthio("run", recipe, f"run_folder={tmp_path / 'again'}")
    assert (trained.returncode, run.returncode) == (0, 0)
    begins = finished[1]["verdict"][:24]
    assert [begins in text for text in (trained.stdout, trained.stderr)] == [False, True]
    assert [begins in text for text in (run.stdout, run.stderr)] == [True, False]


def test_a_command_says_here_what_it_says_in_a_process_of_its_own(recipe: Path) -> None:
    """The other tests rely on it; the fixture `finished` is a process, whose folder they read."""
    command = ("run", recipe, "train.sedes=3", "--json")
    here, alone = synthio(*command), synthio_process(*command)
    assert (here.returncode, here.stdout, here.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_run_makes_everything_it_promises(finished: tuple[Path, dict[str, Any]]) -> None:
    root, result = finished
    assert result["verdict"].startswith(("Synthetic data", "No comparison", "Not shown"))
    assert {arm["arm"] for arm in result["comparison"]["arms"]} == {"gold", "synthio"}
    assert result["funnel"][0]["captions"] == 16
    assert (root / "report" / "index.html").is_file()
    with (root / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 12 and {row["split"] for row in rows} == {"valid", "test"}
    tested = [row for row in rows if (row["arm"], row["seed"], row["split"]) == ("gold", "0", "test")]
    right = sum(row["highest"] == row["labels"] for row in tested) / len(tested)
    (gold,) = (arm for arm in result["comparison"]["arms"] if arm["arm"] == "gold")
    assert right == gold["per_seed"][0]
    assert ("gold", result["model_seed"]) in {(row["arm"], int(row["seed"])) for row in rows}
    assert all(float(row["score: hiss"]) + float(row["score: low_tone"]) == pytest.approx(1, abs=1e-5) for row in rows)
    assert yaml.safe_load((root / "recipe.yaml").read_text())["train"]["steps"] == 4
    assert not [p for p in root.rglob("*") if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".partial"}]


def test_the_random_language_model_is_topped_up_and_says_so(finished: tuple[Path, dict[str, Any]]) -> None:
    root, _ = finished
    (manifest,) = root.glob("stages/imagine-*/manifest.jsonl")
    prompts = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len(prompts) == 16
    assert all(p["source"] == "top-up" and p["failed"] and p["text"].startswith("Sound of a") for p in prompts)
    assert "template top-ups" in (root / "report" / "index.html").read_text()


def test_the_trained_classifier_is_used_as_it_was_tested(
    finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path
) -> None:
    root, result = finished
    model = Path(result["model"])
    assert (model, result["recommended_arm"], result["effect"]) == (root / "model", "gold", "unclear")
    trainings = [path.parent.parent for path in root.glob("stages/train-*/model-gold/config.json")]
    points = {path: json.loads((path / "done.json").read_text())["best"]["valid_score"] for path in trainings}
    weights = (model / "model.safetensors").read_bytes()
    (own,) = [path for path in trainings if (path / "model-gold" / "model.safetensors").read_bytes() == weights]
    assert len(points) == 2 and points[own] == max(points.values())
    rows = [json.loads(line) for line in (own / "manifest.jsonl").read_text().splitlines()]
    (tested,) = [row["scores"] for row in rows if row["split"] == "test" and "/low-tone-0-" in row["id"]]
    shutil.copytree(small_data / "test", tmp_path / "new")
    (tmp_path / "new" / "low_tone" / "broken.wav").write_bytes(b"nothing")
    answer = synthio("predict", model, tmp_path / "new", "--json", "--quiet")
    assert answer.returncode == DataError.exit_code
    found = {Path(row["path"]).name: row for row in json.loads(answer.stdout)}
    assert len(found) == len(list((small_data / "test").rglob("*.wav"))) + 1
    assert "cannot be decoded" in found["broken.wav"]["failed"] and not found["broken.wav"]["labels"]
    scores = found["low_tone_0.wav"]["scores"]
    assert scores == pytest.approx(tested, abs=1e-5)
    assert found["low_tone_0.wav"]["labels"] == [max(scores, key=scores.get)]
    two = [tmp_path / "new" / "low_tone" / f"{name}.wav" for name in ("low_tone_0", "broken")]
    table = synthio("predict", model, *two, "--csv")
    assert table.returncode == DataError.exit_code, table.stderr
    header, line, failed = csv.reader(table.stdout.splitlines())
    assert header == ["path", "start_s", "end_s", "labels", "failed", "hiss", "low_tone"]
    assert line[0].startswith(str(tmp_path)) and line[1:3] == ["0.000", "0.500"]
    assert line[4] == "" and float(line[6]) == pytest.approx(scores["low_tone"], abs=1e-6)
    assert "cannot be decoded" in failed[4] and failed[5:] == ["", ""]
    both = synthio("predict", model, tmp_path / "new", "--csv", "--json")
    assert both.returncode == ConfigError.exit_code and "one of --csv and --json" in both.stdout
    nothing = synthio("predict", model, tmp_path / "none.wav")
    assert nothing.returncode == DataError.exit_code and "no such file" in nothing.stdout


def test_a_long_recording_is_heard_window_by_window(
    finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path
) -> None:
    clips = sorted((small_data / "test").rglob("*.wav"))[2:6]
    heard = [sf.read(path, dtype="float32")[0] for path in clips]
    sf.write(tmp_path / "night.wav", np.concatenate([*heard, np.zeros(8_000), heard[0][:1_000]]), 16_000)
    model = Path(finished[1]["model"])
    found = list(predict(model, tmp_path / "night.wav", window_s=0.5, batch_size=3))
    # The last window ends with the file.
    assert [(row.start_s, row.end_s) for row in found] == [
        *((k / 2, (k + 1) / 2) for k in range(5)), (2 + 1 / 16, 2.5 + 1 / 16)
    ]  # fmt: skip
    assert (found[4].failed, found[4].scores) == ("is silent", {})
    for row, alone in zip(found[:4], predict(model, clips), strict=True):
        assert row.labels == alone.labels and row.scores == pytest.approx(alone.scores, abs=1e-5)
    told = synthio("predict", model, tmp_path / "night.wav", "--window-s", "0.5", "--quiet")
    assert told.returncode == 0 and "0.50 to 1.00 s: " in told.stdout and "2.00 to 2.50 s: is silent" in told.stdout
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    broken = synthio("predict", model, tmp_path / "broken.wav", "--window-s", "0.5", "--quiet")
    assert broken.returncode == DataError.exit_code and "cannot be decoded" in broken.stdout
    with pytest.raises(ConfigError, match=r"the window is 3 s; expected 0.1 to the"):
        predict(model, clips, window_s=3.0)


def test_the_version_and_numbers_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    told = synthio("--version")
    assert told.returncode == 0 and re.fullmatch(r"synthio \d+\.\d+\.\d+\S*\n", told.stdout)
    print_result({"a": [math.nan, 1.0], "b": (math.inf,)}, True, print)
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0], "b": [None]}


def test_new_files_are_classified_by_what_is_heard_of_them(
    finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path
) -> None:
    model = Path(finished[1]["model"])
    lengths = json.loads((model / "frontend.json").read_text())
    known, rate_hz = sf.read(small_data / "test" / "low_tone" / "low_tone_0.wav", dtype="float32")
    assert rate_hz == 16_000
    heard = np.resize(known, lengths["max_samples"])
    sf.write(tmp_path / "whole.wav", heard, rate_hz)
    sf.write(tmp_path / "long.wav", np.concatenate([heard, heard, heard]), rate_hz)
    sf.write(tmp_path / "late.wav", np.concatenate([0 * heard, heard]), rate_hz)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "whole.wav", tmp_path / "elsewhere" / "linked.wav")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "link").symlink_to(tmp_path / "elsewhere")
    (whole,) = predict(model, str(tmp_path / "whole.wav"))
    long, late, linked = predict(model, [tmp_path / "long.wav", tmp_path / "late.wav", tmp_path / "new"])
    assert whole.unheard_s == 0 and long.unheard_s == pytest.approx(2 * len(heard) / rate_hz)
    assert long.scores == pytest.approx(whole.scores) and linked.scores == pytest.approx(whole.scores)
    assert linked.path == tmp_path / "new" / "link" / "linked.wav"
    assert late.failed is not None and "is silent in its first" in late.failed and not late.scores
    sf.write(tmp_path / "opposed.wav", np.stack([heard, -heard], axis=1), rate_hz)
    sf.write(tmp_path / "opposed long.wav", np.tile(np.stack([heard, -heard], axis=1), (3, 1)), rate_hz)
    opposed = [*predict(model, [tmp_path / "opposed.wav", tmp_path / "opposed long.wav"]),
               *predict(model, tmp_path / "opposed long.wav", window_s=0.25)]  # fmt: skip
    assert len(opposed) > 3 and {row.failed for row in opposed} == {audio.CANCELLED}
    told = synthio("predict", model, tmp_path / "long.wav", "--quiet")
    assert told.returncode == 0 and "1 file(s) are longer than what the classifier hears" in told.stderr


def test_dataset_is_an_audiofolder(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Through datasets' own builder; `load_dataset` itself also wants torchcodec, which wants FFmpeg."""
    from datasets import load_dataset_builder
    from datasets.download import DownloadManager

    root, result = finished
    builder = load_dataset_builder("audiofolder", data_dir=str(root / "dataset"), cache_dir=str(tmp_path))
    (split,) = builder._split_generators(DownloadManager())
    rows = [row for _, row in builder._generate_examples(**split.gen_kwargs)]
    accepted = sum(row["accepted"] for row in result["funnel"])
    assert len(rows) == accepted > 0
    assert {"audio", "label", "caption", "similarity", "round", "seed", "source_clip"} <= set(rows[0])
    assert all(Path(row["audio"]).is_file() for row in rows)


def test_the_hub_reads_the_cards(finished: tuple[Path, dict[str, Any]]) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    root, result = finished
    clips, model = DatasetCard.load(root / "dataset" / "README.md"), ModelCard.load(root / "model" / "README.md")
    accepted = sum(row["accepted"] for row in result["funnel"])
    assert clips.data.task_categories == ["audio-classification"] and clips.data.tags == ["synthetic"]
    assert f"{accepted} clips made by" in clips.text
    assert (model.data.library_name, model.data.pipeline_tag) == ("transformers", "audio-classification")
    assert f"arm {result['recommended_arm']}, seed {result['model_seed']}," in model.text


def test_running_again_repeats_nothing(recipe: Path, finished: tuple[Path, dict[str, Any]]) -> None:
    root, first = finished
    model = model_identity("classifier", str(root / "model"))
    stamps = {p: p.stat().st_mtime_ns for p in root.glob("stages/*/done.json")}
    result = synthio("run", recipe, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == first
    assert {p: p.stat().st_mtime_ns for p in root.glob("stages/*/done.json")} == stamps
    # A recipe that names the folder as its model starts from the same one.
    assert model_identity("classifier", str(root / "model")) == model


def test_a_listening_test_is_made_and_its_answers_are_counted(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root = shutil.copytree(finished[0], tmp_path / "run")
    # The tiny filter takes what it takes; this one takes all.
    settings = (f"run_folder={root}", "filter.rule=none", "reflect.rounds=0")
    command = ("evaluate", "listening", recipe, *settings)
    early = synthio(*command)
    assert early.returncode == 6 and "stage `filter` is not finished" in early.stderr
    assert synthio("filter", recipe, *settings, "--quiet").returncode == 0
    unknown = synthio(*command, "--class", "siren")
    assert unknown.returncode == 3 and "no accepted synthetic clip has the label 'siren'" in unknown.stderr
    made = synthio(*command, "--clips", "8", "--json")
    assert made.returncode == 0, made.stderr
    table = Path(json.loads(made.stdout)["answers"])
    clips = json.loads((table.parent / "solution.json").read_text())["clips"]
    said = [f"{c['number']},{c['labels'][0] if c['kind'] == 'real' else '?'},yes" for c in clips]
    table.write_text("\n".join(["clip,heard,real", *said]))
    other = synthio(*command, "--answers", table, "--class", "siren")
    assert other.returncode == 2 and "--class is for a new test" in other.stderr
    told = synthio(*command, "--answers", table, "--json")
    assert told.returncode == 0, told.stderr
    (listener,) = json.loads(told.stdout)["listeners"]
    assert listener["recognised"]["real"]["mean"] == 1 and listener["recognised"]["synthetic"]["mean"] == 0
    assert len(listener["mistakes"]) == listener["recognised"]["clips"]["synthetic"] == 4
    shown = synthio(*command, "--answers", table).stdout
    assert "100.0% (51.0% to 100.0%)" in shown and "Synthetic clips are recognised less often" in shown
    assert "heard as none of the classes" in shown


def test_the_gates_word_is_told(recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, always = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    assert always["gate"] is None
    page = root / "report" / "index.html"
    assert "The gate" not in page.read_text()
    arguments = ("train.use_synthetic=auto", "gate.folds=2", "gate.shares=[0.5]", "filter.quantile=0", "--json")
    result = synthio("run", recipe, *arguments, f"run_folder={root}", "--quiet")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert [option["share"] for option in told["gate"]["options"]] == [0.0, 0.5]
    chosen = told["comparison"]["gated_share"]
    assert f"<td>{told['gate']['options'][0]['error']:.3g}</td>" in page.read_text()
    captions = page.read_text().partition('<section id="captions">')[2].partition("</section>")[0]
    rows = re.findall(r'<th scope="row"><bdi>(.*?)</bdi></th><td>(\d+)</td><td>(\d+)</td>', captions)
    assert [row[0] for row in rows] == ["hiss", "low_tone"]
    for column, count in ((1, "captions"), (2, "accepted")):
        assert sum(int(row[column]) for row in rows) == sum(r[count] for r in told["funnel"])
    words = "Synthetic clips joined the training" if chosen else "Synthetic clips were kept out of the training"
    assert words in page.read_text()


def test_captions_that_a_language_model_gives_up_on_are_counted_and_nothing_is_claimed(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The filter takes nothing, the language model has no better idea, and the gate has nothing to decide on."""
    root = shutil.copytree(finished[0], tmp_path / "run")
    with (root / "timings.jsonl").open("a", encoding="utf-8") as log:
        log.write('12\n{}\n{"stage": "clips", "seco')

    def answer(body: dict[str, Any], earlier: int) -> Response:
        wanted = body["response_format"]["json_schema"]["name"]
        label = next(name for name in ("low tone", "hiss") if f'"{name}"' in body["messages"][0]["content"])
        return chat(json.dumps({"caption": f"Sound of a {label} {earlier}" if wanted == "MixAnswer" else None}))

    with EndpointServer(answer) as server:
        result = synthio(
            "run", recipe, f"run_folder={root}", "imagine.mode=llm", "imagine.kind=endpoint",
            f"imagine.endpoint.base_url={server.base_url}", "filter.rule=sigmoid", "filter.threshold=1",
            "train.use_synthetic=auto", "gate.folds=20", "--json", "--quiet",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert [(row["captions"], row["accepted"], row["given_up"]) for row in told["funnel"]] == [(16, 0, 0), (0, 0, 16)]
    assert told["verdict"].startswith("No comparison: no synthetic clip was available")
    assert told["gate"]["options"] == [] and told["comparison"]["gated_share"] is None
    page = (root / "report" / "index.html").read_text()
    assert "There was nothing to decide: there were no synthetic clips" in page
    assert "The recipe gives no prices" in page
    rows = (root / "timings.jsonl").read_text().splitlines()
    damaged = '{"stage": "clips", "seco'
    assert damaged in rows
    # Before the trainings, also where it has nothing to decide.
    stages = [json.loads(row)["stage"] for row in rows[rows.index(damaged) + 1 :]]
    assert stages.index("gate") < stages.index("train")


def test_a_language_model_that_does_not_answer_is_told_before_the_generator_is_aligned(
    recipe: Path, tmp_path: Path
) -> None:
    """It was after alignment, which can take hours."""
    with EndpointServer(lambda body, earlier: Response(404, b'{"error": {"message": "no such model"}}')) as server:
        options = ["imagine.mode=llm", "imagine.kind=endpoint", f"imagine.endpoint.base_url={server.base_url}"]
        result = synthio("run", recipe, f"run_folder={tmp_path / 'run'}", *options, "--json", "--quiet")
    assert result.returncode == BackendError.exit_code and "no such model" in result.stdout
    stages = {path.name.rpartition("-")[0] for path in (tmp_path / "run" / "stages").iterdir()}
    assert stages == {"clips"}


def test_without_the_arm_that_adds_synthetic_clips_none_are_made(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """They were made all the same, by a language model that may cost money, and nothing learnt from them."""
    root = tmp_path / "run"
    options = [
        f"run_folder={root}", "train.arms=[gold,noise]", "train.use_synthetic=auto", "imagine.mode=mixcap",
        "imagine.kind=endpoint", "imagine.endpoint.base_url=https://example.org/v1", "imagine.endpoint.model=m",
        "imagine.endpoint.api_key_variable=NO_SUCH_KEY",
    ]  # fmt: skip
    plan = synthio("run", recipe, *options, "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr
    items = {row["stage"]: row["items"] for row in json.loads(plan.stdout)["stages"]}
    assert items.pop("train") == 2 * len(finished[1]["comparison"]["arms"][0]["per_seed"])
    assert set(items.values()) == {0}
    result = synthio("run", recipe, *options, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["funnel"] == [] and told["dataset"] is None and told["gate"] is None
    assert told["verdict"].startswith("No comparison: gold and noise were trained")
    assert {path.name.rsplit("-", 1)[0] for path in (root / "stages").iterdir()} == {"clips", "train"}
    assert (root / "model" / "config.json").is_file() and not (root / "dataset").exists()
    page = (root / "report" / "index.html").read_text()
    assert "No difference between the arms was computed" in page and "Funnel" not in page and "None" not in page


def test_a_separator_makes_another_problem_of_the_same_clips(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root = shutil.copytree(finished[0], tmp_path / "run")
    result = synthio("run", recipe, "data.label_separator=|", f"run_folder={root}", "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["comparison"]["metric"] == "mAP"


def test_a_changed_knob_reruns_what_depends_on_it(recipe: Path, finished: tuple[Path, dict[str, Any]]) -> None:
    root, _ = finished
    before = set(root.glob("stages/*"))
    result = synthio("run", recipe, "train.steps=5", "t2a.batch_size=3", "--quiet")
    assert result.returncode == 0, result.stderr
    new = {p.name.rsplit("-", 1)[0] for p in set(root.glob("stages/*")) - before}
    assert new == {"train"}


def test_more_seeds_train_only_what_is_new(recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, first = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    models = set(root.glob("stages/train-*/model-*"))
    result = synthio("run", recipe, "train.seeds=3", f"run_folder={root}", "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert sorted(path.name for path in set(root.glob("stages/train-*/model-*")) - models) == [
        "model-gold", "model-synthio",
    ]  # fmt: skip
    for before, after in zip(first["comparison"]["arms"], told["comparison"]["arms"], strict=True):
        assert after["per_seed"][:2] == before["per_seed"] and len(after["per_seed"]) == 3
    # Of all trainings that are compared, also those of the first run.
    assert told["seconds"]["train"] > first["seconds"]["train"]
    assert Path(told["model"]).is_dir()


def test_one_training_has_no_spread(recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The table had ± 0.0."""
    root = shutil.copytree(finished[0], tmp_path / "run")
    result = synthio("run", recipe, "train.seeds=1", f"run_folder={root}", "--quiet")
    assert result.returncode == 0, result.stderr
    assert "±" not in result.stdout and "gold" in result.stdout
    told = synthio("report", recipe, "train.seeds=1", f"run_folder={root}", "--quiet", "--json")
    assert [arm["std"] for arm in json.loads(told.stdout)["comparison"]["arms"]] == [None, None]


def test_a_branch_of_the_hub_that_moved_is_told_and_repeats_nothing(
    recipe: Path, clap_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is in the keys, so results of two models stood side by side without a word."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--owner--clap"

    def move_to(commit: str) -> None:
        shutil.copytree(clap_model, model / "snapshots" / commit)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / "main").write_text(commit)

    def caption(**settings: Any) -> list[str]:
        told = RecordingReporter()
        overrides = [f"run_folder={tmp_path / 'run'}", "clap.model=owner/clap"]
        overrides += [f"{name}={value}" for name, value in settings.items()]
        pipeline = Pipeline(load_config(recipe, overrides), told)
        pipeline.captions()
        made_with.append(pipeline.hub_commits())
        return [warning for warning in told.warnings if "commit" in warning]

    made_with: list[dict[str, list[str]]] = []
    move_to("a" * 40)
    assert caption() == caption() == []
    made = set((tmp_path / "run" / "stages").iterdir())
    move_to("b" * 40)
    (warning,) = caption()
    assert warning.startswith(f"owner/clap@main: the hub's commit has changed during this run ({'a' * 40}, {'b' * 40})")
    assert set((tmp_path / "run" / "stages").iterdir()) == made
    assert made_with == [{"owner/clap@main": ["a" * 40]}] * 3
    assert caption(**{"clap.revision": "b" * 40}) == []
    assert made_with[-1] == {f"owner/clap@{'b' * 40}": ["b" * 40]}


def test_a_knob_of_the_comparison_trains_nothing_again(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, first = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    with (root / "timings.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"stage": "train", "folder": "train-of-another-setting", "seconds": 1e6}\n')
    before, compared = set(root.glob("stages/*")), set(root.glob("stages/*/comparison-*.json"))
    result = synthio("run", recipe, "train.bootstrap_samples=200", f"run_folder={root}", "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(root.glob("stages/*")) == before
    assert told["comparison"]["arms"] == first["comparison"]["arms"]
    assert len(set(root.glob("stages/*/comparison-*.json")) - compared) == 1
    assert told["seconds"]["train"] < 1e6


def test_files_that_were_moved_and_touched_are_the_same_clips(
    recipe: Path, finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path
) -> None:
    """Hours of captions and generation do not hang on where a file lies and when it was written."""
    root, first = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    before = set(root.glob("stages/*"))
    shutil.copytree(small_data, tmp_path / "moved", copy_function=shutil.copyfile)
    options = [f"data.path={tmp_path / 'moved'}", f"run_folder={root}"]
    result = synthio("run", recipe, *options, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    assert {p.name.rsplit("-", 1)[0] for p in set(root.glob("stages/*")) - before} == {"clips"}
    assert json.loads(result.stdout)["comparison"] == first["comparison"]


def test_a_stage_that_cannot_run_leaves_the_record_of_the_run(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, _ = finished
    recorded = (root / "recipe.yaml").read_text()
    result = synthio("report", recipe, "train.seeds=7", "--quiet")
    assert result.returncode != 0
    assert "not finished for this recipe" in result.stderr
    assert (root / "recipe.yaml").read_text() == recorded
    synthio("report", recipe, f"run_folder={tmp_path / 'none'}", "--quiet")
    assert not (tmp_path / "none" / "recipe.yaml").exists()


def test_a_finished_run_is_read_and_nothing_runs_for_it(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """It generated and trained whatever was missing, without the checks of a run."""
    root, result = finished
    read = Pipeline(load_config(recipe), Reporter()).finished()
    assert (read.root, read.recommended_arm) == (root, result["recommended_arm"])
    told = [read.verdict, read.effect, str(read.page), str(read.model)]
    assert told == [result[name] for name in ("verdict", "effect", "report", "model")]
    fresh = Pipeline(load_config(recipe, [f"run_folder={tmp_path / 'none'}"]), Reporter())
    with pytest.raises(MissingArtefact, match="stage `clips` is not finished"):
        fresh.finished()
    assert not (tmp_path / "none").exists()
    fresh.clips()
    with pytest.raises(MissingArtefact, match="stage `caption` is not finished"):
        fresh.finished()
    assert [path.name.partition("-")[0] for path in (tmp_path / "none" / "stages").iterdir()] == ["clips"]


def test_results_are_found_from_another_folder(
    recipe: Path, finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A relative run folder was looked for wherever the process was, and not found or made again there."""
    root, result = finished
    monkeypatch.chdir(root.parent)
    pipeline = Pipeline(load_config(recipe, [f"run_folder={root.name}"]), Reporter())
    before = pipeline.finished()
    monkeypatch.chdir(tmp_path)
    (row,) = predict(before.model, small_data / "test" / "low_tone" / "low_tone_0.wav")
    assert row.labels and pipeline.finished().comparison == before.comparison
    assert not list(tmp_path.iterdir())
    # What is told stays as the recipe has it.
    told = synthio("report", recipe, f"run_folder={root.name}", "--json", "--quiet", cwd=root.parent)
    shown = {name: Path(json.loads(told.stdout)[name]) for name in ("report", "dataset", "model")}
    assert shown == {name: Path(result[name]).relative_to(root.parent) for name in shown}


def test_from_python_only_the_reporter_speaks(
    recipe: Path, finished: tuple[Path, dict[str, Any]], small_data: Path, tmp_path: Path
) -> None:
    """transformers and diffusers printed bars and warnings on standard error; and what they do is not ours to keep."""
    options = [f"run_folder={tmp_path / 'run'}", "imagine.mode=template", "train.arms=[synthio]", "train.seeds=1"]
    code = f"""
import diffusers.utils.logging as diffusers, transformers.utils.logging as transformers, warnings
from synthio import Reporter, generate_clip, load_config, predict, run
class Told(Reporter):
    def note(self, message):
        print(message)
def state():
    return [(own.get_verbosity(), own.is_progress_bar_enabled()) for own in (diffusers, transformers)], warnings.filters
before = state()
run(load_config({str(recipe)!r}, {options}), Told())
config = load_config({str(recipe)!r}, ["align.method=none"])
generate_clip("hiss", {str(tmp_path / "clip.wav")!r}, duration_s=0.5, config=config)
list(predict({str(finished[0])!r}, {str(small_data / "test")!r}))
print(before == state())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    assert "synthio, seed 0: " in result.stdout and result.stdout.endswith("True\n")


def test_killed_at_any_moment_and_resumed_equals_undisturbed(
    recipe: Path, finished: tuple[Path, dict[str, Any]]
) -> None:
    root, _ = finished
    other = recipe.parent / "killed"
    command = [sys.executable, "-m", "synthio", "run", str(recipe), f"run_folder={other}", "--quiet"]
    # What a shell starts in the background ignores Ctrl-C, and so does what that starts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    for lines, how in ((3, signal.SIGKILL), (12, signal.SIGINT), (20, signal.SIGKILL)):
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=heed
        )
        # Kill as soon as so many items are on disk: in a different stage each time, never after the end.
        while process.poll() is None and _items(other) < lines:
            time.sleep(0.02)
        assert process.poll() is None, "it finished before it could be killed"
        process.send_signal(how)
        _, told = process.communicate()
        if how == signal.SIGINT:
            assert process.returncode == 130, told.decode()
            assert told.decode().splitlines()[-1] == "interrupted: run the same command again, it resumes"
    result = synthio("run", recipe, f"run_folder={other}", "--quiet")
    assert result.returncode == 0, result.stderr
    assert {k: v for k, v in manifests(other).items() if not k.startswith("train")} == {
        k: v for k, v in manifests(root).items() if not k.startswith("train")
    }
    assert (other / "dataset" / "metadata.jsonl").read_text() == (root / "dataset" / "metadata.jsonl").read_text()


@pytest.mark.parametrize("place", ["a callback of C code", "a destructor"])
def test_ctrl_c_is_heeded_where_python_drops_it(place: str) -> None:
    code = f"""
import io, signal, sys
import numpy as np
import soundfile as sf
from synthio.cli import app, main

signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupted(io.BytesIO):
    def write(self, data):
        signal.raise_signal(signal.SIGINT)

class Leaving:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def encode():
    sf.write(Interrupted(), np.zeros(16000), 16000, format="FLAC")

def leave():
    Leaving()
    print("went on")

app.command("work")({"encode" if place.startswith("a callback") else "leave"})
sys.argv[1:] = ["work"]
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "interrupted: run the same command again, it resumes\n"


def _items(root: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in root.glob("stages/*/items.jsonl"))


def test_a_stage_alone_says_which_one_is_missing(recipe: Path, tmp_path: Path) -> None:
    result = synthio("generate", recipe, f"run_folder={tmp_path / 'fresh'}", "--quiet")
    assert result.returncode == 6
    assert "run `synthio align`" in result.stderr


def test_a_filter_that_drops_real_clips_is_told_before_clips_are_generated(recipe: Path, tmp_path: Path) -> None:
    """It was told after hours of generation."""
    quick = ["align.method=none", "imagine.mode=template", "reflect.rounds=0"]
    dropping = ["filter.rule=cosine", "filter.threshold=1"]
    config = load_config(recipe, [f"run_folder={tmp_path / 'run'}", *quick, *dropping])
    alone = RecordingReporter()
    Pipeline(config, alone).first_candidates()
    assert [task.name for task in alone.tasks[-2:]] == ["filter: real clips", "generate"]
    (told,) = [warning for warning in alone.warnings if "the filter itself would accept only 0 of 8" in warning]
    again = RecordingReporter()
    resumed = Pipeline(config, again)
    resumed.first_candidates()
    assert not again.tasks and told not in again.warnings
    resumed.rounds()
    assert [task.name for task in again.tasks] == ["filter: real clips", "filter"] and again.warnings.count(told) == 1
    whole = RecordingReporter()
    Pipeline(config.model_copy(update={"run_folder": tmp_path / "whole"}), whole).rounds()
    assert [task.name for task in whole.tasks].count("filter: real clips") == whole.warnings.count(told) == 1
    assert manifests(tmp_path / "whole") == manifests(tmp_path / "run")


def test_every_config_problem_at_once(recipe: Path) -> None:
    result = synthio("run", recipe, "train.sedes=3", "align.beta=-1", "t2a.guidance_scale=99")
    assert result.returncode == 2
    assert "did you mean 'seeds'" in result.stderr
    assert "align.beta" in result.stderr and "t2a.guidance_scale" in result.stderr


@pytest.mark.parametrize(("path", "words"), [("/no/such/folder", "no such file or folder"), (".", "problem")])
def test_bad_data_is_exit_code_3(recipe: Path, path: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = [f"data.path={path}", f"run_folder={tmp_path}/r", "--json", "--quiet"]
    result = synthio("run", recipe, *options, cwd=tmp_path / "data")
    assert result.returncode == 3
    assert words in json.loads(result.stdout)["message"]


def test_dry_run_plans_without_loading_models(recipe: Path, tmp_path: Path) -> None:
    missing = [f"{part}.model=no-such-owner/model" for part in ("t2a", "clap", "train")]
    result = synthio("run", recipe, *missing, f"run_folder={tmp_path / 'dry'}", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    stages = {row["stage"]: row["items"] for row in json.loads(result.stdout)["stages"]}
    assert stages["generate"] == 16 and stages["train"] == 4
    assert not (tmp_path / "dry").exists()


def test_dry_run_counts_the_gates_trainings(recipe: Path) -> None:
    """Share 0, which is always tried, was counted twice where the recipe named it too."""
    result = synthio(
        "run", recipe, "train.use_synthetic=auto", "gate.folds=2", "gate.shares=[0.0, 0.5, 0.5]", "--dry-run", "--json"
    )
    assert result.returncode == 0, result.stderr
    train = next(row for row in json.loads(result.stdout)["stages"] if row["stage"] == "train")
    assert train["items"] == 4 + 2 * 2
    assert train["unit"].endswith(", at most")


@pytest.mark.usefixtures("finished")
def test_dry_run_says_what_is_finished(recipe: Path) -> None:
    """It planned a finished run as one that has not begun."""

    def finished_stages(*options: str) -> list[str]:
        result = synthio("run", recipe, *options, "--dry-run", "--json")
        assert result.returncode == 0, result.stderr
        rows = json.loads(result.stdout)["stages"]
        assert all((row["estimate_s"], row["most_s"]) == (0, 0) for row in rows if row["finished"])
        return [row["stage"] for row in rows if row["finished"]]

    stages = ["caption", "imagine", "align", "generate", "filter", "train"]
    assert finished_stages() == stages
    assert finished_stages("train.steps=17") == stages[:-1]
    # What the filter will then reject, and reflection rewrite and generate, is not known.
    assert finished_stages("filter.threshold=0.9") == ["caption", "align"]
    assert finished_stages("filter.threshold=0.9", "reflect.rounds=0") == stages[:4]
    shown = synthio("run", recipe, "--dry-run").stdout
    assert shown.count("finished") == len(stages) and "unknown" not in shown


def test_weights_that_are_gone_are_told_with_what_makes_them_anew(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """It read as if the folder for the copy could not be written."""
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    for folder in root.glob("stages/*/model-*"):
        shutil.rmtree(folder)
    result = synthio("run", recipe, f"run_folder={root}", "--quiet")
    assert result.returncode == 6 and "the trained weights are gone; delete" in result.stderr
    shutil.rmtree(re.search(r"delete (\S+)", result.stderr)[1])  # type: ignore[index]
    result = synthio("run", recipe, f"run_folder={root}", "--quiet")
    assert result.returncode == 0, result.stderr


def test_damage_in_a_stage_does_not_take_the_place_of_what_is_whole(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    whole = (root / "model" / "model.safetensors").read_bytes()
    (root / "report" / "index.html").write_text("the page of another recipe")
    for weights in root.glob("stages/*/model-*/model.safetensors"):
        weights.write_bytes(whole[: len(whole) // 2])
    result = synthio("run", recipe, f"run_folder={root}", "--quiet")
    assert result.returncode == 6 and "was made by this run and is damaged" in result.stderr
    assert (root / "model" / "model.safetensors").read_bytes() == whole
    assert (root / "report" / "index.html").read_text() == "the page of another recipe"
    shutil.rmtree(re.search(r"delete (\S+)", result.stderr)[1])  # type: ignore[index]
    result = synthio("run", recipe, f"run_folder={root}", "--quiet")
    assert result.returncode == 0, result.stderr


def test_a_report_of_a_recipe_brings_its_own_clips(
    recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The page was of one recipe, the dataset beside it of another."""
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    metadata = root / "dataset" / "metadata.jsonl"
    own = metadata.read_text(encoding="utf-8")
    metadata.write_text("", encoding="utf-8")
    result = synthio("report", recipe, f"run_folder={root}", "--quiet")
    assert result.returncode == 0, result.stderr
    assert metadata.read_text(encoding="utf-8") == own


def test_a_report_of_what_never_ran_leaves_nothing(recipe: Path, tmp_path: Path) -> None:
    result = synthio("report", recipe, f"run_folder={tmp_path / 'run'}", "--quiet")
    assert result.returncode == 6 and "nothing has run there; run `synthio run` with the same" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_current_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    """A library of torch ended the process with a message of its own."""
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    program = ["sh", "-c", command, "sh", sys.executable, "-m", "synthio", "doctor", "--json"]
    result = subprocess.run(program, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, timeout=300)
    assert result.returncode == 6, result.stderr
    assert "the current folder was deleted" in json.loads(result.stdout)["message"]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_output_that_has_not_all_characters_shows_escapes(encoding: str, tmp_path: Path) -> None:
    name = "\u043d\u0435\u0442 \xfc \U0001f600.yaml"
    command = [sys.executable, "-m", "synthio", "run", str(tmp_path / name), "--json"]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": encoding}
    result = subprocess.run(command, capture_output=True, encoding=encoding, env=environment, timeout=300)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "\\u043d" in result.stderr
    assert name in json.loads(result.stdout)["message"]


def test_options_of_one_prompt_are_not_ignored_by_the_stage(recipe: Path, tmp_path: Path) -> None:
    result = synthio("generate", recipe, f"run_folder={tmp_path}", "--duration-s", "3")
    assert result.returncode == 2 and "belong to --prompt" in result.stderr


def test_a_run_folder_that_is_a_file_is_refused(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = synthio("run", recipe, f"run_folder={tmp_path / 'file'}", "--quiet")
    assert result.returncode == 6 and "is a file" in result.stderr


def test_one_prompt(recipe: Path, tmp_path: Path) -> None:
    """Also before any stage has run, and then none runs."""
    options = ("--prompt", "a low tone", "-o", tmp_path / "fresh.wav", "--duration-s", "0.5")
    for align in ("dpo", "none"):
        tried = synthio("generate", recipe, f"run_folder={tmp_path / 'fresh'}", f"align.method={align}", *options)
        assert tried.returncode == 0, tried.stderr
        assert not (tmp_path / "fresh").exists()
    result = synthio("generate", recipe, "--prompt", "a low tone", "-o", tmp_path / "clip.flac", "--duration-s", "0.5")
    assert result.returncode == 0, result.stderr
    assert sf.info(tmp_path / "clip.flac").frames == 8_000


def test_doctor_and_data_check(recipe: Path, tmp_path: Path) -> None:
    doctor = synthio("doctor", recipe, "--json")
    assert doctor.returncode == 0, doctor.stderr
    found = json.loads(doctor.stdout)
    assert {"versions", "devices", "pocket", "models"} <= set(found)
    assert "local folder, 0 MiB of weights; device cpu with " in found["models"]["t2a"]
    check = synthio("data", "check", recipe, "--json")
    assert check.returncode == 0, check.stderr
    assert json.loads(check.stdout)["counts"]["hiss"] == {"train": 4, "valid": 2, "test": 4}
    bad = synthio("data", "check", recipe, f"data.path={tmp_path}", "--json")
    assert bad.returncode == DataError.exit_code
    assert json.loads(bad.stdout)["problems"]


def test_no_key_is_ever_written(recipe: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    secret = "sk-not-to-be-written"
    root = shutil.copytree(finished[0], tmp_path / "run")

    def answer(body: dict[str, Any], earlier: int) -> Response:
        label = next(name for name in ("low tone", "hiss") if f'"{name}"' in body["messages"][0]["content"])
        return chat(json.dumps({"caption": f"Sound of a {label} {earlier}"}))

    with EndpointServer(answer) as server:
        options = ["imagine.mode=llm", "imagine.kind=endpoint", f"imagine.endpoint.base_url={server.base_url}"]
        result = synthio("imagine", recipe, f"run_folder={root}", *options, OPENAI_API_KEY=secret)
    assert result.returncode == 0, result.stderr
    assert server.seen and {request.authorization for request in server.seen} == {f"Bearer {secret}"}
    assert secret not in result.stdout + result.stderr
    written = [path for path in root.rglob("*") if path.is_file()]
    assert [path for path in written if path.is_relative_to(root / "cache" / "llm")]
    assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_the_generator_is_evaluated_base_and_aligned(finished: tuple[Path, dict[str, Any]], recipe: Path) -> None:
    root, _ = finished
    options = ["evaluate.clips_per_class=2", "evaluate.judge_steps=10"]
    result = synthio("evaluate", "t2a", recipe, *options, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["real"]["clips"] == 8 and value["judge_training_clips"] == 12
    assert set(value["generated"]) <= {"base", "aligned"} and value["generated"]["base"]["clips"] == 4
    assert value["generated"]["base"]["frechet_distance"] > 0
    page = Path(value["page"])
    assert ("Alignment kept the base generator" in value["alignment"]) == ("aligned" not in value["generated"])
    assert any("test clip(s)" in warning for warning in value["warnings"])
    assert page == root / "evaluation" / "index.html"
    sources = re.findall(r'src="([^"]+)"', page.read_text())
    assert sources and all((page.parent / source).is_file() for source in sources)
    made = {path: path.stat().st_mtime_ns for path in root.glob("stages/samples-*/audio/*.flac")}
    assert len(made) == sum(scores["clips"] for scores in value["generated"].values())
    judged_otherwise = [*options[:1], "evaluate.judge_steps=12"]
    shown = synthio("evaluate", "t2a", recipe, *judged_otherwise)
    assert {path: path.stat().st_mtime_ns for path in root.glob("stages/samples-*/audio/*.flac")} == made
    assert "judge accuracy" in shown.stdout and "relative diversity" in shown.stdout
    assert value["alignment"] in " ".join(shown.stdout.split())
    # Also of the alignment, which an earlier command did.
    assert all(f"warning: {warning}" in shown.stderr for warning in value["warnings"])


def test_the_pocket_generator_loads_in_a_fresh_process(tmp_path: Path) -> None:
    """Its autoencoder is a class of ours, which diffusers refuses to load unless the module is imported."""
    pytest.importorskip("all_minilm_l6_v2")
    clip = tmp_path / "clip.flac"
    result = synthio_process("generate", "--prompt", "Sound of a flute", "--output", clip, "--duration-s", "0.5")
    assert result.returncode == 0, result.stderr
    assert clip.stat().st_size > 1000
    wav = tmp_path / "clip.WAV"
    options = ("--prompt", "Sound of a flute", "--output", wav, "--duration-s", "0.5")
    result = synthio("generate", *options)
    assert result.returncode == 0, result.stderr
    assert sf.info(str(wav)).format == "WAV"
    assert "expected the recipe first" in synthio("generate", "t2a.num_inference_steps=2", *options).stderr
    refused = synthio("generate", "--prompt", "Sound of a flute", "--output", tmp_path / "clip.mp3")
    assert refused.returncode != 0
    assert "clip.mp3: expected a name that ends in .flac or .wav" in refused.stderr


def test_a_file_name_with_any_character_is_reported(tmp_path: Path, small_data: Path, recipe: Path) -> None:
    """`take\x85 1.wav` (an ellipsis of another code page) once ended a run in its report."""
    shutil.copytree(small_data, tmp_path / "data")
    label = next(path for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()).parent
    (label / "take\x85\u2028 1.wav").write_bytes(b"not audio")
    options = [f"data.path={tmp_path / 'data'}", f"run_folder={tmp_path / 'run'}", "train.arms=[gold]", "train.seeds=1"]
    result = synthio("run", recipe, *options, "--quiet")
    assert result.returncode == 0, result.stderr
    assert "take" in (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")


def test_names_of_files_and_labels_are_no_commands_to_a_terminal(tmp_path: Path, small_data: Path) -> None:
    shutil.copytree(small_data, tmp_path / "data")
    for split in ("train", "valid", "test"):
        (tmp_path / "data" / split / "hiss").rename(tmp_path / "data" / split / "hi\x1b[2Jss")
    (tmp_path / "data" / "train" / "low_tone" / "no\x9b2J.wav").write_bytes(b"not audio")
    (tmp_path / "recipe.yaml").write_text(f"data: {{path: {tmp_path / 'data'}}}\nrun_folder: {tmp_path / 'run'}\n")
    checked = synthio("data", "check", tmp_path / "recipe.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "hi\ufffd[2Jss" in checked.stdout and "no\ufffd2J.wav" in checked.stdout
    missing = synthio("data", "check", tmp_path / "no\x1b[2J.yaml")
    assert missing.returncode == ConfigError.exit_code and "no\ufffd[2J.yaml" in missing.stderr
    for told in (checked.stdout, checked.stderr, missing.stderr):
        assert printable(told) == told


def test_what_programs_read_is_cleaned_for_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_data("a\x9b2J.wav,hiss")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_data("a\x9b2J.wav,hiss")
    assert capsys.readouterr().out.splitlines() == ["a\x9b2J.wav,hiss", "a\ufffd2J.wav,hiss"]


def test_doctor_knows_what_is_no_model_and_what_is_an_endpoint(recipe: Path) -> None:
    """A name that is neither a folder nor a hub id once ended in a traceback, and so did an endpoint's."""
    endpoint = "imagine={kind: endpoint, endpoint: {model: org/my/model, base_url: 'http://localhost:1/v1'}}"
    result = synthio("doctor", recipe, "clap.model=./models/none", endpoint)
    assert result.returncode == 0, result.stderr
    assert "nowhere: model=./models/none: no such folder here, and no hub id" in result.stdout
    assert "org/my/model at http://localhost:1/v1; OPENAI_API_KEY is" in result.stdout


def test_what_cannot_load_is_told_before_anything_runs(recipe: Path, tmp_path: Path) -> None:
    options = [f"run_folder={tmp_path / 'run'}", "t2a.model=./models/none"]
    for command in (["run", recipe, *options, "--dry-run"], ["run", recipe, *options]):
        result = synthio(*command)
        assert result.returncode != 0 and "t2a.model=./models/none: no such folder here" in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_empty_prompt_is_refused() -> None:
    assert "the prompt is empty" in synthio("generate", "--prompt", " ").stderr
