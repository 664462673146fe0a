"""`synthio bench` as a user runs it, on tiny models of the real classes: every arm, kills, shards, failures."""

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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from builders import tiny_recipe
from command_line import ENVIRONMENT, synthio, synthio_process
from pydantic import ValidationError

from synthio.bench.arms import PAPER_ARMS, built_in_arms
from synthio.bench.dry_run import plan_bench
from synthio.bench.keys import content_key, settings_key
from synthio.bench.recipe import BenchRecipe, Cell, all_cells, plan, run_config
from synthio.bench.results import Result, read_results, write_results
from synthio.bench.runner import (
    Shard,
    cell_result,
    drawn_test,
    fitting_results,
    of_shard,
    parse_shard,
)
from synthio.bench.show import show
from synthio.bench.statistics import estimate, redraw_correction
from synthio.config import STAGE_VERSIONS, GateConfig, RunConfig
from synthio.context import StageContext
from synthio.errors import ConfigError, DataError
from synthio.progress import Reporter
from synthio.recipes import load_recipe, merge
from synthio.stages.clips import collect_clips
from synthio.stages.gate import GateMeasures, choose_share
from synthio.store import StageFolder
from synthio.verdict import ArmResult, Comparison

ROOT = Path(__file__).parent.parent
TIMES = ("train_s", "shared_s")


@pytest.fixture(scope="module")
def recipe(
    tmp_path_factory: pytest.TempPathFactory, small_data: Path, flow_model: Path, clap_model: Path, ast_model: Path
) -> Path:
    from tiny_llm import tiny_llama

    root = tmp_path_factory.mktemp("bench")
    base = tiny_recipe(flow_model, clap_model, tiny_llama(root / "llm"), ast_model, steps=2, captions_per_clip=1)
    content = {
        "output": str(root / "out"),
        "datasets": {"tones": {"data": {"path": str(small_data), "domain": "test tones"}}},
        "sizes": [6],
        "seeds": 1,
        "base": {**base, "retrieve": {"corpus": "demo"}, "gate": {"folds": 2, "shares": [0.5]}},
    }
    path = root / "bench.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8", newline="") as table:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(table)]


@pytest.fixture(scope="module")
def finished(recipe: Path) -> Path:
    result = synthio_process("bench", recipe, "--quiet")
    assert result.returncode == 0, result.stderr
    assert "14 of 14 cells finished" in result.stdout
    return recipe.parent / "out"


def test_a_full_table_of_fourteen_arms(finished: Path) -> None:
    made = rows(finished)
    assert {row["arm"] for row in made} == set(PAPER_ARMS)
    assert {row["n_train"] for row in made} == {"6"}
    added = {row["arm"]: int(row["n_added"]) for row in made}
    assert added["gold"] == 0
    for arm in ("noise", "pitch_shift", "specaugment", "audiomentations", "retrieval", "vanilla", "vanilla_llm"):
        assert added[arm] == 6, arm
    page = (finished / "tables.html").read_text()
    assert all(arm.title.split("(")[0].strip() in page for name, arm in built_in_arms().items() if name in PAPER_ARMS)


def test_arms_share_what_they_can(finished: Path) -> None:
    """One caption, extraction and loser stage; two alignments; and generation once per prompts and adapter."""
    (draw,) = (finished / "runs").iterdir()
    stages = [path.name.rsplit("-", 1)[0] for path in (draw / "stages").iterdir()]
    counts = {stage: stages.count(stage) for stage in ("clips", "caption", "losers", "align", "extract")}
    assert counts == {"clips": 1, "caption": 1, "losers": 1, "align": 2, "extract": 1}
    # Without refused clips there is nothing to reflect on: then these two arms are one.
    # Each has the folder of its one training, and that of all.
    assert stages.count("train") in (26, 28)
    # mixcap; llm; template.
    assert stages.count("imagine") == 3
    # synthio (and without reflection), template captions, erm, no mixcap, no dpo, vanilla, vanilla with captions.
    assert stages.count("generate") == 7


def test_running_again_trains_nothing(recipe: Path, finished: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in finished.rglob("done.json")}
    result = synthio("bench", "run", recipe, "--quiet", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["finished"] == 14
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("done.json")} == stamps


def test_killed_and_resumed_gives_the_same_table(recipe: Path, finished: Path) -> None:
    other = recipe.parent / "killed"
    # Of every stage that a bench has.
    arms = ("gold", "noise", "retrieval", "vanilla_llm", "erm", "synthio")
    options = [str(recipe), f"output={other}", f"arms=[{', '.join(arms)}]"]
    command = [sys.executable, "-m", "synthio", "bench", *options, "--quiet"]
    for cells in (1, 4):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(other.glob("cells/*.json"))) < cells:
            time.sleep(0.05)
        assert process.poll() is None, "it finished before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    shown = synthio("bench", "show", *options)
    assert shown.returncode == 0, shown.stderr
    assert re.search("[45] of 6 cells finished", shown.stdout)
    result = synthio("bench", *options, "--quiet")
    assert result.returncode == 0, result.stderr
    assert rows(other) == [row for row in rows(finished) if row["arm"] in arms]


def test_two_shards_give_the_table_of_one_run(recipe: Path, tmp_path: Path) -> None:
    options = ["seeds=2", "arms=[gold, noise, vanilla]", "--quiet"]
    one = synthio("bench", recipe, f"output={tmp_path / 'one'}", *options)
    assert one.returncode == 0, one.stderr
    for index in range(2):
        part = synthio("bench", recipe, f"output={tmp_path / str(index)}", *options, "--shard", f"{index}/2")
        assert part.returncode == 0, part.stderr
        assert "3 of 6 cells finished" in part.stdout
    files = [option for index in range(2) for option in ("--results", tmp_path / str(index) / "results.csv")]
    joined = synthio("bench", "show", recipe, f"output={tmp_path / 'joined'}", *options[:2], *files)
    assert joined.returncode == 0, joined.stderr
    assert rows(tmp_path / "joined") == rows(tmp_path / "one")
    # Cells of the files that are none of the recipe's are no part of its table.
    fewer = [f"output={tmp_path / 'fewer'}", "seeds=1", "arms=[gold, vanilla]"]
    shown = synthio("bench", "show", recipe, *fewer, *files)
    assert "2 of 2 cells finished" in shown.stdout


def test_results_of_an_earlier_run_are_not_run_again(recipe: Path, finished: Path, tmp_path: Path) -> None:
    options = [f"output={tmp_path}", "arms=[gold, noise]", "--results", finished / "results.csv"]
    result = synthio("bench", recipe, *options)
    assert result.returncode == 0, result.stderr
    assert "2 of 14 cells of --results fit this recipe" in result.stderr + result.stdout
    assert "2 of 2 cells finished" in result.stdout
    assert not (tmp_path / "runs").exists()
    assert rows(tmp_path) == [row for row in rows(finished) if row["arm"] in ("gold", "noise")]
    # Other settings: what no longer fits is made.
    changed = synthio("bench", recipe, *options, "base.imagine.captions_per_clip=2", "--quiet")
    assert changed.returncode == 0, changed.stderr
    assert [path.stem for path in (tmp_path / "cells").iterdir()] == ["tones-n6-s0-noise"]
    assert {row["arm"]: row["n_added"] for row in rows(tmp_path)} == {"gold": "0", "noise": "12"}


def test_given_results_stay_in_the_table(recipe: Path, finished: Path, tmp_path: Path) -> None:
    """A plain run or show once wrote results.csv anew without them, also when it was the file that had them."""
    (tmp_path / "out").mkdir()
    given = shutil.copy(finished / "results.csv", tmp_path / "out" / "results.csv")
    options = [recipe, f"output={tmp_path / 'out'}"]
    first = synthio("bench", *options, "arms=[gold]", "--results", given, "--quiet")
    assert first.returncode == 0, first.stderr
    assert "1 of 1 cells finished" in first.stdout
    for command in (["show"], ["run", "--quiet"]):
        shown = synthio("bench", *command, *options, "arms=[gold, noise]")
        assert shown.returncode == 0, shown.stderr
        assert "2 of 2 cells finished" in shown.stdout
        # The other arms, which are not asked for, stay in the file, each once.
        assert sorted(row["arm"] for row in rows(tmp_path / "out")) == sorted(row["arm"] for row in rows(finished))
    assert not (tmp_path / "out" / "runs").exists()
    # Those of the folder's own are no given ones: they are checked against the data.
    own = synthio("bench", recipe, "--results", finished / "results.csv", "--quiet")
    assert own.returncode == 0 and not (finished / "given.csv").exists()
    changed = synthio("bench", "show", *options, "arms=[gold, noise]", "base.train.steps=3")
    assert "0 of 2 cells finished" in changed.stdout
    assert "2 finished cell(s) of other settings" in changed.stderr


def test_when_every_cell_fails_the_reasons_are_told(recipe: Path, tmp_path: Path) -> None:
    options = [f"output={tmp_path / 'out'}", "arms=[gold, noise]", f"datasets.tones.data.path={tmp_path / 'nothing'}"]
    result = synthio("bench", recipe, *options, "--quiet")
    assert result.returncode == 8
    assert "0 of 2 cells finished" in result.stdout
    # One line for both.
    for words in ("2 cell(s) failed", "\ntones-n6-s0-gold, tones-n6-s0-noise: DataError: "):
        assert words in result.stderr
    told = synthio("bench", recipe, *options, "--quiet", "--json")
    assert told.returncode == 8
    assert json.loads(told.stdout)["failed"].keys() == {"tones-n6-s0-gold", "tones-n6-s0-noise"}


def test_shards_have_draws_of_every_dataset_and_keep_them(tmp_path: Path) -> None:
    """Of two datasets each of two machines had one, and a sixth seed moved half of the draws to another machine."""
    recipe = two_arms(tmp_path, a={}, b={})

    def dealt(of: BenchRecipe) -> dict[str, int]:
        parts = [of_shard(of, Shard(index, 3)) for index in range(3)]
        assert sum(map(len, parts)) == len(plan(of))
        return {name: index for index, part in enumerate(parts) for name in part}

    before = dealt(recipe)
    for index in range(3):
        assert {name[0] for name, own in before.items() if own == index} == {"a", "b"}
    more = {"seeds": 7, "sizes": (5, 9), "datasets": {name: {"data": {"path": "demo"}} for name in "abc"}}
    after = dealt(BenchRecipe.model_validate({**recipe.model_dump(), **more}))
    assert len(after) == 3 * 2 * 7 and all(after[name] == index for name, index in before.items())


def test_a_shard_without_draws_has_nothing_to_do(recipe: Path, tmp_path: Path) -> None:
    result = synthio("bench", recipe, f"output={tmp_path / 'out'}", "arms=[gold]", "--shard", "3/4")
    assert result.returncode == 0, result.stderr
    assert "shard 3/4 has none of the 1 draws" in result.stderr + result.stdout
    assert "0 of 1 cells finished" in result.stdout


def test_settings_of_what_an_arm_does_not_use_leave_its_results(recipe: Path) -> None:
    def changed_arms(*overrides: str, of: Sequence[str] = ()) -> set[str]:
        names = ("gold", "noise", "retrieval", "synthio", "synthio_auto")
        keys = []
        for changes in (list(of), [*of, *overrides]):
            bench = load_recipe(recipe, [f"arms=[{', '.join(names)}]", *changes], BenchRecipe)
            keys.append({name: settings_key(run_config(bench, Cell("tones", 6, 0, name))) for name in names})
        return {name for name in names if keys[0][name] != keys[1][name]}

    assert changed_arms() == changed_arms("base.t2a.batch_size=2") == set()
    # A cell is one arm: nothing is compared in it.
    assert changed_arms("base.train.bootstrap_samples=200", "base.train.tail_fraction=0.1") == set()
    assert changed_arms("base.t2a.num_inference_steps=3") == {"synthio", "synthio_auto"}
    # No endpoint reads what is of other captioners.
    assert changed_arms("base.caption.tags_per_clip=4", of=["base.caption.kind=clap"]) == {"synthio", "synthio_auto"}
    assert changed_arms("base.caption.tags_per_clip=4", of=["base.caption.kind=endpoint"]) == set()
    assert changed_arms("base.clap.model=pocket") == {"retrieval", "synthio", "synthio_auto"}
    assert changed_arms("base.imagine.captions_per_clip=2") == {"noise", "retrieval", "synthio", "synthio_auto"}
    assert changed_arms("base.gate.level=0.2") == {"synthio_auto"}
    assert len(changed_arms("base.train.steps=3")) == len(changed_arms("base.data.sample.test=3")) == 5


@pytest.mark.parametrize("stage", ["clips", "compare"])
def test_cells_are_made_again_when_clips_or_comparisons_are_read_otherwise(
    stage: str, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.model_validate({"data": {"path": str(small_data)}, "train": {"arms": ["gold"]}})
    before = content_key(config), settings_key(config)
    monkeypatch.setitem(STAGE_VERSIONS, stage, 99)
    assert content_key(config) != before[0]
    # Published figures stay in the tables.
    assert settings_key(config) == before[1]


IMAGINED = {"vanilla", "no_mixcap", "no_dpo", "synthio", "synthio_auto"}
#: The arms whose figures leave the tables when one of the stages works otherwise.
LEAVING = {
    "caption": IMAGINED - {"vanilla", "no_mixcap"},
    "retrieve": {"retrieval"},
    "gate": {"synthio_auto"},
    "losers": IMAGINED - {"vanilla", "no_dpo"},
    "align": IMAGINED - {"vanilla", "no_dpo"},
    "imagine": IMAGINED,
    "generate": IMAGINED,
    "filter": IMAGINED,
    "splits": {"gold", "noise", "retrieval", *IMAGINED},
    "train": {"gold", "noise", "retrieval", *IMAGINED},
    "clips": set(),
    "compare": set(),
    "evaluate": set(),
}


@pytest.mark.parametrize("stage", STAGE_VERSIONS)
def test_figures_leave_the_tables_when_a_stage_of_their_arm_works_otherwise(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions by a model of transformers were made anew, and results with the old ones stayed in the table."""
    arms = ("gold", "noise", "retrieval", *IMAGINED)
    bench = content(datasets={"a": {"data": {"path": "demo"}}}, base={"retrieve": {"corpus": "demo"}}, arms=arms)
    configs = {arm: run_config(bench, Cell("a", 5, 0, arm)) for arm in arms}
    before = {arm: settings_key(config) for arm, config in configs.items()}
    monkeypatch.setitem(STAGE_VERSIONS, stage, 99)
    assert {arm for arm, config in configs.items() if settings_key(config) != before[arm]} == LEAVING[stage]


@pytest.mark.parametrize(
    "same",
    [
        {"data": {"path": "elsewhere", "domain": "other sounds"}, "seed": 3},
        {"data": {"path": "demo", "sample": {"train": 7}}, "t2a": {"device": "cpu"}, "imagine": {"batch_size": 2}},
        {"data": {"path": "demo"}, "imagine": {"endpoint": {"base_url": "http://there/v1", "max_retries": 2}}},
    ],
)
def test_settings_are_the_same_on_every_machine_and_for_every_cell(same: dict[str, Any]) -> None:
    asked = {"train": {"arms": ["synthio"]}, "imagine": {"kind": "endpoint"}}
    one, other = (RunConfig.model_validate(merge(asked, content)) for content in ({"data": {"path": "demo"}}, same))
    assert settings_key(one) == settings_key(other)


def test_cells_are_made_again_for_another_domain_or_corpus(small_data: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(next(small_data.rglob("*.wav")), tmp_path / name / f"{name}.wav")

    def key(arm: str, corpus: str = "one", domain: str = "tones") -> str:
        content = {"data": {"path": str(small_data), "domain": domain}, "train": {"arms": [arm]}}
        return content_key(RunConfig.model_validate({**content, "retrieve": {"corpus": str(tmp_path / corpus)}}))

    assert key("retrieval") != key("retrieval", "other") and key("gold") == key("gold", "other")
    assert key("synthio") != key("synthio", domain="bells")


def test_long_tailed_draws_have_head_and_tail_apart(recipe: Path, tmp_path: Path) -> None:
    tail = ["base.data.sample.shape=long_tail", "base.data.sample.imbalance_factor=4", "sizes=[5]", "arms=[gold]"]
    result = synthio("bench", recipe, f"output={tmp_path}", *tail, "--quiet")
    assert result.returncode == 0, result.stderr
    (row,) = rows(tmp_path)
    # Two classes: the rarer one is the tail, and none is between.
    assert (row["n_train"], row["medium"]) == ("5", "")
    assert float(row["value"]) == pytest.approx((float(row["head"]) + float(row["tail"])) / 2)
    assert "by frequency of the class in training" in result.stdout


def test_cells_of_other_settings_leave_the_table(recipe: Path, tmp_path: Path) -> None:
    options = [f"output={tmp_path / 'out'}", "arms=[gold, retrieval]", "--quiet"]
    assert synthio("bench", *options[2:], recipe, *options[:2]).returncode == 0
    changed = synthio("bench", "show", recipe, *options[:2], "base.train.steps=3")
    assert "0 of 2 cells finished" in changed.stdout
    assert "2 finished cell(s) of other settings" in changed.stderr
    # A damaged cell is made again.
    (tmp_path / "out" / "cells" / "tones-n6-s0-gold.json").write_text("{")
    again = synthio("bench", recipe, *options)
    assert "2 of 2 cells finished" in again.stdout, again.stderr


def test_a_dry_run_counts_and_tells_of_data_that_cannot_be_drawn(recipe: Path, tmp_path: Path) -> None:
    options = [recipe, f"output={tmp_path / 'out'}", "arms=[gold, noise]", "seeds=2", "--dry-run", "--quiet"]
    result = synthio("bench", *options, "--json")
    assert result.returncode == 0, result.stderr
    planned = json.loads(result.stdout)
    assert list(planned.pop("warnings")) == ["tones"]
    assert planned == {"draws": 2, "cells": 4, "finished": 0, "problems": {}}
    assert json.loads(synthio("bench", *options, "--json", "--shard", "1/2").stdout)["cells"] == 2
    assert not (tmp_path / "out").exists()
    told = synthio("bench", *options, "sizes=[6, 900]")
    assert told.returncode == 8
    assert told.stdout.startswith("4 draws of data, 8 cells; finished are 0\nwarning: tones: ")
    # One line for both.
    assert "2 problem(s), with which cells would fail\ntones-n900-s0, tones-n900-s1: " in told.stderr


def test_a_dry_run_tells_once_of_each_dataset_what_a_run_would_tell_of_it(recipe: Path, tmp_path: Path) -> None:
    """A bench of own data heard of labels that are codes, and of groups that it had not named, when it ran."""
    table, lines = tmp_path / "clips.csv", ["path,label,machine"]
    for number, samples in enumerate(np.random.default_rng(0).normal(size=(48, 4_000)) * 0.1):
        sf.write(tmp_path / f"{number}.wav", samples, 16_000)
        lines.append(f"{number}.wav,{('MVP', 'AS')[number % 2]},{number // 8}")
    table.write_text("\n".join(lines))
    options = [f"datasets.{name}.data.path={table}" for name in ("own", "grouped")]
    options.append("datasets.grouped.data.group_column=machine")
    options += ["sizes=[4, 8]", "seeds=2", "arms=[gold, synthio, synthio_auto]", f"output={tmp_path / 'out'}"]
    result = synthio("bench", recipe, *options, "--dry-run")
    assert result.returncode == 0, result.stderr
    told = result.stdout.splitlines()[1:]
    for part, datasets in {
        "labels that look like codes: 'AS', 'MVP'": ["own", "grouped"],
        "no clip has a group, and these columns are not read: 'machine'": ["own"],
        "gate: the training clips are": ["tones", "own", "grouped"],
        "the default, which suits the pocket model": ["tones", "own", "grouped"],
    }.items():
        assert [line.split(": ")[1] for line in told if part in line] == datasets


@pytest.mark.parametrize("arms", [("gold", "synthio"), ("synthio", "gold")])
def test_a_dry_run_tells_which_arms_cannot_use_a_draw(arms: tuple[str, ...], tmp_path: Path) -> None:
    """It looked at the first cell alone: either none or all were told to fail."""
    noise = np.random.default_rng(0).normal(size=(2, 3, 2, 88_000)) * 0.1
    for label, of_label in zip("ab", noise, strict=True):
        for split, clips in zip(("train", "valid", "test"), of_label, strict=True):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number, samples in enumerate(clips):
                sf.write(tmp_path / "data" / split / label / f"{number}.wav", samples, 16_000)
    recipe = BenchRecipe(
        output=tmp_path / "out",
        datasets={"long": {"data": {"path": str(tmp_path / "data")}}},
        sizes=(4,),
        seeds=1,
        arms=arms,
    )
    problems = plan_bench(recipe, Shard(0, 1), (), Reporter()).problems
    assert list(problems) == ["long-n4-s0-synthio"]
    assert "longer than 5 s" in problems["long-n4-s0-synthio"]


def test_a_failing_cell_is_told_and_the_others_finish(recipe: Path, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    shutil.copy(next(small_data.rglob("*.wav")), tmp_path / "corpus")
    small = ["base.imagine.captions_per_clip=5", f"base.retrieve.corpus={tmp_path / 'corpus'}", "--quiet"]
    result = synthio("bench", recipe, f"output={tmp_path / 'out'}", "arms=[gold, retrieval]", *small)
    assert result.returncode == 8
    assert "tones-n6-s0-retrieval" in result.stderr
    assert "choose a larger retrieve.corpus" in result.stderr
    assert [row["arm"] for row in rows(tmp_path / "out")] == ["gold"]


def test_data_that_cannot_be_read_now_costs_no_finished_cell(recipe: Path, small_data: Path, tmp_path: Path) -> None:
    """A disk that was not mounted once emptied the table."""
    shutil.copytree(small_data, tmp_path / "data")
    options = [recipe, f"output={tmp_path / 'out'}", "arms=[gold]", f"datasets.tones.data.path={tmp_path / 'data'}"]
    assert synthio("bench", *options, "--quiet").returncode == 0
    before = rows(tmp_path / "out")
    (tmp_path / "data").rename(tmp_path / "unmounted")
    assert synthio("bench", *options, "--quiet").returncode == 8
    # What is left of a mount.
    (tmp_path / "data").mkdir()
    assert synthio("bench", *options, "--quiet").returncode == 8
    shown = synthio("bench", "show", *options, "--json")
    assert json.loads(shown.stdout)["stale"] == 0 and rows(tmp_path / "out") == before
    (tmp_path / "data").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "data")
    again = synthio("bench", "show", *options)
    assert again.returncode == 0 and rows(tmp_path / "out") == before


def test_cells_of_other_data_leave_the_table(recipe: Path, small_data: Path, tmp_path: Path) -> None:
    """Corrected labels: gold on the new ones once stood beside noise on the old ones, as if they were comparable."""
    shutil.copytree(small_data, tmp_path / "data")
    shutil.copytree(tmp_path / "data" / "train", tmp_path / "corpus")
    for number, path in enumerate(sorted((tmp_path / "corpus").rglob("*.wav"))):
        samples, rate_hz = sf.read(path)
        sf.write(path, 0.5 * samples + 0.001 * number, rate_hz)
    options = [f"output={tmp_path / 'out'}", f"datasets.tones.data.path={tmp_path / 'data'}", "sizes=[4]"]
    options += [f"base.retrieve.corpus={tmp_path / 'corpus'}"]
    assert synthio("bench", recipe, *options, "arms=[gold, retrieval]", "--quiet").returncode == 0

    def shown() -> tuple[int, set[str]]:
        found = synthio("bench", "show", recipe, *options, "arms=[gold, retrieval]", "--json")
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)["stale"], {row["arm"] for row in rows(tmp_path / "out")}

    assert shown() == (0, {"gold", "retrieval"})
    next((tmp_path / "corpus").rglob("*.wav")).unlink()
    assert shown() == (1, {"gold"})
    first = next((tmp_path / "data" / "train").rglob("*.wav"))
    other = next(folder for folder in (tmp_path / "data" / "train").iterdir() if folder != first.parent)
    first.rename(other / "moved.wav")
    assert shown() == (2, set())
    assert (
        "2 finished cell(s) of other settings, models or data are left out"
        in synthio("bench", "show", recipe, *options, "arms=[gold, retrieval]").stderr
    )
    assert synthio("bench", recipe, *options, "arms=[gold]", "--quiet").returncode == 0
    assert shown() == (1, {"gold"})
    plan = synthio("bench", recipe, *options, "arms=[gold, retrieval]", "--dry-run", "--json")
    assert json.loads(plan.stdout)["finished"] == 1


def test_a_model_that_cannot_be_one_stops_a_bench_before_its_first_cell(recipe: Path, tmp_path: Path) -> None:
    result = synthio("bench", recipe, f"output={tmp_path / 'out'}", "base.train.model=a model", "--quiet")
    assert result.returncode == 4
    assert "train.model" in result.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_a_corpus_that_is_not_there_stops_a_bench_before_its_first_cell(recipe: Path, tmp_path: Path) -> None:
    """The dry run said that all was well, and then every retrieval cell failed."""
    options = [recipe, f"output={tmp_path / 'out'}", f"base.retrieve.corpus={tmp_path / 'nothing'}", "--quiet"]
    planned = synthio("bench", *options, "arms=[gold, retrieval]", "--dry-run")
    assert planned.returncode == 8
    assert "expected a folder with audio files" in planned.stderr
    stopped = synthio("bench", *options, "arms=[gold, retrieval]")
    assert stopped.returncode == 3
    assert "expected a folder with audio files" in stopped.stderr
    assert not (tmp_path / "out" / "runs").exists()
    # What no arm retrieves from needs not be there.
    assert synthio("bench", *options, "arms=[gold, noise]", "--dry-run").returncode == 0


def test_a_bench_below_its_corpus_is_refused(recipe: Path, tmp_path: Path) -> None:
    """What one draw had made was another's corpus."""
    shutil.copytree(ROOT / "src/synthio/demo/corpus", tmp_path / "corpus")
    options = [f"output={tmp_path / 'corpus' / 'out'}", f"base.retrieve.corpus={tmp_path / 'corpus'}"]
    refused = synthio("bench", recipe, *options, "arms=[gold, retrieval]")
    assert refused.returncode == 2 and "set output to a folder outside" in refused.stderr
    assert not (tmp_path / "corpus" / "out").exists()
    assert synthio("bench", recipe, *options, "arms=[gold]", "--dry-run").returncode == 0


def test_the_gated_arm_equals_gold_or_takes_synthetic_clips(recipe: Path, finished: Path, tmp_path: Path) -> None:
    result = synthio("bench", recipe, "arms=[gold, synthio_auto]", "--quiet")
    assert result.returncode == 0, result.stderr
    made = {row["arm"]: row for row in rows(finished)}
    (gate,) = finished.glob("runs/*/stages/gate-*")
    measures = StageFolder(gate.parents[1], *gate.name.split("-")).summary_as(GateMeasures)
    assert [option.share for option in measures.options] == [0.0, 0.5]
    if choose_share(measures, GateConfig().level) == 0:
        assert made["synthio_auto"]["value"] == made["gold"]["value"]
        assert made["synthio_auto"]["n_added"] == "0"
    else:
        assert int(made["synthio_auto"]["n_added"]) > 0


# ------------------------------------------------------------------------------------------------- without running


def content(**changes: Any) -> BenchRecipe:
    return BenchRecipe.model_validate({"output": "out", "datasets": {"a": {}, "b": {}}, "sizes": [5, 9], **changes})


def test_a_bench_that_has_not_begun_says_so_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    shown = synthio("bench", "show", recipe, f"output={tmp_path / 'out'}")
    assert shown.returncode != 0 and "0 of 14 cells are finished; run `synthio bench`" in shown.stderr
    assert not (tmp_path / "out").exists()


def test_the_plan_is_every_combination_by_draw() -> None:
    draws = plan(content(seeds=3, arms=("gold", "erm")))
    assert len(draws) == 2 * 2 * 3
    assert all([cell.arm for cell in cells] == ["gold", "erm"] for cells in draws.values())
    assert len({cell.name for cells in draws.values() for cell in cells}) == 24


def test_a_dataset_with_more_classes_has_sizes_of_its_own() -> None:
    """As FSD50K, of whose 200 classes 50 clips cannot have one each."""
    own = content(datasets={"a": {}, "b": {"sizes": [9, 20], "data": {"path": "demo"}}}, seeds=1, arms=("gold",))
    assert list(plan(own)) == ["a-n5-s0", "a-n9-s0", "b-n9-s0", "b-n20-s0"]
    shared = content(datasets={"b": {"data": {"path": "demo"}}}, sizes=[9, 20], seeds=1, arms=("gold",))
    cells = plan(shared)["b-n9-s0"]
    assert [run_config(own, cell) for cell in cells] == [run_config(shared, cell) for cell in cells]
    parts = [of_shard(own, Shard(index, 2)) for index in range(2)]
    assert sorted(name for part in parts for name in part) == sorted(plan(own))


def test_the_papers_bench_draws_only_sizes_that_hold_every_class() -> None:
    paper = load_recipe(Path(__file__).parent.parent / "recipes" / "bench" / "paper.yaml", [], BenchRecipe)
    assert {cell.n for cells in plan(paper).values() for cell in cells if cell.dataset == "fsd50k"} == {200, 500}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": {"a": {"sizes": [7, 7]}}}, "datasets.a.sizes: .* has repetitions"),
        ({"arms": ["gold", "goldd"]}, "goldd"),
        ({"arms": ["noise"]}, "reference is 'gold'"),
        ({"datasets": {"../a": {}}}, "expected names of letters"),
        ({"own_arms": {"../../evil": {"like": "noise", "title": "x"}}}, "expected names of letters"),
        ({"sizes": [5, 5]}, "has repetitions"),
        ({"arms": ["gold", "gold"]}, "has repetitions"),
        ({"own_arms": {"gold": {"like": "noise", "title": "x"}}}, "built-in arm of this name"),
        ({"own_arms": {"mine": {"like": "nose", "title": "x"}}}, "own_arms.mine.like is 'nose'"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(content(**changes))


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0", "²/3", ""])
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected i/k"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("pocket", "pocket-n50"),
        ("pocket", "pocket-n100"),
        ("sweep-share", "sweep-share"),
        ("sweep-size", "sweep-size"),
    ],
)
def test_published_results_fit_the_recipe_that_made_them(name: str, results: str, tmp_path: Path) -> None:
    """A settings key that changes for no reason has everybody train again."""
    published = read_results([ROOT / "benchmarks" / "results" / f"{results}.csv"])
    # The command beside a table may name more arms than the recipe.
    arms = ",".join(dict.fromkeys(["gold", *(result.arm for result in published)]))
    options = [f"output={tmp_path}", f"arms=[{arms}]"]
    recipe = load_recipe(ROOT / "recipes" / "bench" / f"{name}.yaml", options, BenchRecipe)
    assert published and fitting_results(recipe, published) == published


@pytest.mark.parametrize("arm", built_in_arms())
def test_every_arm_is_a_valid_run_recipe(arm: str) -> None:
    recipe = content(
        datasets={"a": {"data": {"path": "demo"}}}, arms=(arm,), reference=arm, base={"retrieve": {"corpus": "demo"}}
    )
    config = run_config(recipe, all_cells(recipe)[0])
    assert config.data.sample.train == 5
    assert config.train.seeds == 1
    assert config.run_folder == Path("out/runs/a-n5-s0")


def test_what_makes_a_cell_cannot_be_set_elsewhere() -> None:
    base = {"seed": 7, "run_folder": "elsewhere", "data": {"path": "demo", "sample": {"train": 9, "test": 3}}}
    recipe = content(base=base, arms=("gold",), seeds=2)
    configs = [run_config(recipe, cell) for cell in all_cells(recipe)]
    assert {config.seed for config in configs} == {0, 1}
    assert {config.data.sample.train for config in configs} == {5, 9}
    assert {config.data.sample.test for config in configs} == {3}
    assert not any(config.run_folder == Path("elsewhere") for config in configs)


def made(dataset: str, arm: str, values: Sequence[float], **changes: Any) -> list[Result]:
    """A result per seed."""
    row: dict[str, Any] = {
        "dataset": dataset, "n": 5, "arm": arm, "metric": "accuracy", "n_train": 5, "n_added": 0, "n_valid": 2,
        "n_test": 9, "test_fraction": 0.0, "train_s": 1.0, "shared_s": 0.0, "recipe": "abc",
    }  # fmt: skip
    return [Result(**(row | changes), seed=seed, value=v, macro_f1=v) for seed, v in enumerate(values)]


def test_a_test_split_is_never_all_groups() -> None:
    """A file that said so, by hand, ended `bench show` in a division by zero."""
    with pytest.raises(ValidationError, match="test_fraction"):
        made("a", "gold", (0.5,), test_fraction=1.0)


def two_arms(output: Path, **datasets: dict[str, Any]) -> BenchRecipe:
    return content(
        output=output,
        datasets={name: {"data": {"path": "demo", **data}} for name, data in datasets.items()},
        arms=("gold", "noise"),
        sizes=(5,),
        seeds=3,
    )


def settings_of(recipe: BenchRecipe, dataset: str, arm: str) -> str:
    return settings_key(run_config(recipe, Cell(dataset, 5, 0, arm)))


def test_cells_of_other_settings_are_told_and_never_compared_with_the_recipes(tmp_path: Path) -> None:
    recipe = two_arms(tmp_path / "out", a={}, b={})
    fitting = {arm: settings_of(recipe, "a", arm) for arm in recipe.arms}
    b = [row for arm in recipe.arms for row in made("b", arm, (0.5, 0.6), recipe=fitting[arm])]
    today = [row for arm in recipe.arms for row in made("a", arm, (0.5, 0.6), recipe=fitting[arm])]
    older = [row.model_copy(update={"recipe": "older"}) for row in today]
    write_results(tmp_path / "today.csv", [*today, *b])
    shown = show(recipe, [tmp_path / "today.csv"])
    assert shown.tables.other_settings == {} and "other settings" not in shown.markdown
    write_results(tmp_path / "older.csv", [*older, *b])
    shown = show(recipe, [tmp_path / "older.csv"])
    assert shown.tables.other_settings == {"a": 4}
    assert "4 of 8 cells are of other settings or models than this recipe's: all of a." in shown.markdown
    assert "4 of 8 cells" in (tmp_path / "out" / "tables.html").read_text()
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    told = synthio("bench", "show", tmp_path / "bench.yaml", "--results", tmp_path / "older.csv")
    assert told.returncode == 0 and "4 of 8 cells are of other settings or models" in told.stderr
    mixed = [row for row in (*today, *older) if (row.recipe == "older") == (row.arm == "gold")]
    write_results(tmp_path / "mixed.csv", [*mixed, *b])
    with pytest.raises(DataError, match="results of gold on a are of other settings .* those of noise are not"):
        show(recipe, [tmp_path / "mixed.csv"])


def test_an_arms_seeds_must_come_from_one_recipe(tmp_path: Path) -> None:
    first, second = made("a", "noise", (0.5, 0.6))
    write_results(tmp_path / "a.csv", [first, second.model_copy(update={"recipe": "other"})])
    with pytest.raises(DataError, match="results of noise on a come from different settings"):
        show(two_arms(tmp_path / "out", a={}), [tmp_path / "a.csv"])


def test_rows_beside_the_recipes_are_kept_unless_their_settings_are_gone(tmp_path: Path) -> None:
    recipe = two_arms(tmp_path / "out", a={})
    fitting = {arm: settings_of(recipe, "a", arm) for arm in recipe.arms}
    today = [row for arm in recipe.arms for row in made("a", arm, (0.5, 0.6), recipe=fitting[arm])]
    larger = made("a", "gold", (0.7, 0.8), recipe=fitting["gold"], n=9)
    older = made("a", "noise", (0.7, 0.8), recipe="older", n=9)
    elsewhere = made("b", "noise", (0.7, 0.8), recipe="older", n=9)
    table = tmp_path / "out" / "results.csv"
    write_results(table, [*larger, *older, *elsewhere])
    write_results(tmp_path / "today.csv", today)
    show(recipe, [tmp_path / "today.csv"])
    assert read_results([table]) == sorted([*today, *larger, *elsewhere], key=lambda row: row.cell)
    # Of both sizes, by the bench's own file.
    both = recipe.model_copy(update={"sizes": (5, 9)})
    assert show(both, [table]).tables.finished == 6


def test_a_given_results_file_is_not_written_over(tmp_path: Path) -> None:
    recipe = two_arms(tmp_path, a={})
    every = [row for arm in ("gold", "noise", "erm") for row in made("a", arm, (0.5, 0.6))]
    write_results(tmp_path / "results.csv", every)
    before = (tmp_path / "results.csv").read_bytes()
    shown = show(recipe, [tmp_path / "results.csv"])
    assert shown.tables.finished == 4
    assert (tmp_path / "results.csv").read_bytes() == before
    assert [path.name for path in shown.files] == ["tables.md", "tables.tex", "tables.html"]


def test_what_a_seed_draws_for_the_test_is_told(small_data: Path) -> None:
    own = RunConfig.model_validate({"data": {"path": str(small_data), "test_fraction": 0.4}})
    drawn = RunConfig.model_validate({"data": {"path": str(small_data / "train"), "test_fraction": 0.4}})
    assert (drawn_test(own), drawn_test(drawn)) == (0.0, 0.4)


def test_seeds_that_split_groups_evenly_draw_no_test_of_their_own(tmp_path: Path) -> None:
    """Eight machines: all five seeds tested on the same three, and the table had arrows for it."""
    sizes = {"m1": 40, "m2": 33, "m3": 27, "m4": 21, "m5": 18, "m6": 12, "m7": 9, "m8": 7}
    rows = [f"{group}-{k}.wav,{'ab'[k % 2]},{group}" for group, size in sizes.items() for k in range(size)]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,group", *rows]))
    data = {"path": str(tmp_path / "clips.csv"), "split_method": "stratified"}
    assert drawn_test(RunConfig.model_validate({"data": data})) == 0.0
    assert drawn_test(RunConfig.model_validate({"data": data | {"split_method": "random"}})) == 0.3


def test_folds_have_as_many_seeds_as_there_are_folds(tmp_path: Path) -> None:
    """The recipe for one's own data, with groups: each seed tests on another, and all of them are tested on."""
    rows = [f"{group}-{k}.wav,{'ab'[k % 2]},{group}" for group in "pqrstu" for k in range(8)]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,group", *rows]))
    tone = 0.1 * np.sin(np.arange(4_000))
    for number, row in enumerate(rows):
        sf.write(tmp_path / row.split(",")[0], tone + 1e-3 * number, 16_000)
    overrides = [f"datasets.own.data.path={tmp_path / 'clips.csv'}", "arms=[gold]", "sizes=[12]", f"output={tmp_path}"]
    recipe = load_recipe(ROOT / "src" / "synthio" / "starters" / "bench.yaml", overrides, BenchRecipe)
    tested: Counter[str] = Counter()
    for cell in all_cells(recipe):
        config = run_config(recipe, cell)
        clips = collect_clips(StageContext(config, StageFolder(tmp_path / cell.name, "clips", "k"), Reporter()))
        tested += Counter({clip.group for clip in clips if clip.split == "test"})
        assert drawn_test(config) == 0.2
    assert tested == dict.fromkeys("pqrstu", 1)
    more = recipe.model_copy(update={"seeds": 6})
    with pytest.raises(ConfigError, match="seeds is 6, .*folds has 5 folds where .* set seeds to 5"):
        run_config(more, all_cells(more)[0])


def test_the_seeds_of_a_bench_draw_their_test_unless_it_says_otherwise() -> None:
    for base, expected in (({}, "random"), ({"data": {"split_method": "stratified"}}, "stratified")):
        recipe = content(datasets={"a": {"data": {"path": "demo"}}}, arms=("gold",), base=base)
        config = run_config(recipe, all_cells(recipe)[0])
        assert config.data.split_method == expected


def test_the_largest_share_that_a_seed_draws_decides(tmp_path: Path) -> None:
    told = [{"test_fraction": fraction} for fraction in (0.2, 0.4, 0.0)]
    gold = zip(made("a", "gold", (0.5, 0.6, 0.8)), told, strict=True)
    write_results(tmp_path / "a.csv", [row.model_copy(update=fraction) for row, fraction in gold])
    found = show(two_arms(tmp_path / "out", a={}), [tmp_path / "a.csv"]).tables.tables[0].rows[0].cells[0]
    assert found is not None
    assert found.score == estimate((0.5, 0.6, 0.8), redraw_correction(0.4))


def test_seeds_that_draw_their_own_test_groups_are_told_from_others(tmp_path: Path) -> None:
    values = {"gold": (0.5, 0.6), "noise": (0.5, 0.7)}
    shares = {"fixed": 0.0, "drawn": 0.4}
    rows = [
        row
        for name, share in shares.items()
        for arm, own in values.items()
        for row in made(name, arm, own, test_fraction=share)
    ]
    write_results(tmp_path / "made.csv", rows)
    tables = show(two_arms(tmp_path / "out", fixed={}, drawn={}), [tmp_path / "made.csv"]).tables
    assert tables.redrawn == ("drawn",)
    widths = {c.datasets[0]: c.difference.half_width for c in tables.tables[0].comparisons}
    assert widths["drawn"] == pytest.approx((widths["fixed"] or 0) * math.sqrt(1 + 2 * 0.4 / 0.6))


def test_sections_of_a_run_recipe_are_sent_to_their_place(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("output: out\ndatasets: {a: {}}\nsizes: [5]\ntrain: {steps: 3}\n")
    with pytest.raises(ConfigError, match="train: belongs to a run recipe: use `synthio run`, or put it under base"):
        load_recipe(tmp_path / "r.yaml", [], BenchRecipe)


def test_an_arm_of_several_is_refused() -> None:
    own = {"two": {"like": "gold", "title": "x", "run": {"train": {"arms": ["gold", "noise"]}}}}
    recipe = content(datasets={"a": {"data": {"path": "demo"}}}, arms=("gold", "two"), own_arms=own)
    with pytest.raises(ConfigError, match="expected exactly one"):
        run_config(recipe, all_cells(recipe)[1])


def test_an_own_arm_is_a_built_in_one_with_changes() -> None:
    own = {"n5": {"like": "no_dpo", "title": "N = 5", "run": {"imagine": {"captions_per_clip": 5}}}}
    recipe = content(datasets={"a": {"data": {"path": "demo"}}}, arms=("gold", "n5"), own_arms=own)
    config = run_config(recipe, all_cells(recipe)[1])
    assert (config.align.method, config.imagine.captions_per_clip, config.train.arms) == ("none", 5, ("synthio",))


@pytest.mark.parametrize(
    ("reader", "metric", "value"), [("fsd50k", "mAP", 0.3), ("dcase2017_task4", "macro-F1", 0.2), ("table", "mAP", 0.3)]
)
def test_a_dataset_is_scored_by_the_papers_metric(reader: str, metric: str, value: float) -> None:
    arm = ArmResult(
        arm="gold", per_seed=(0.3,), mean=0.3, std=0, macro_f1=0.2, n_train=5, n_added=0, steps=9, seconds=1.0
    )
    comparison = Comparison(metric="mAP", n_valid=1, n_test=1, arms=(arm,), difference=None, classes=())
    config = RunConfig.model_validate({"data": {"path": "x", "reader": reader}, "train": {"arms": ["gold"]}})
    found = cell_result(Cell("d", 5, 0, "gold"), config, comparison, 1.0, 2.0, 0.3)
    assert (found.metric, found.value, found.test_fraction) == (metric, value, 0.3)
