"""Plug-ins as their authors write and install them: packages on the path, found by their entry points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
import yaml
from builders import make_clip, tiny_recipe
from command_line import synthio
from plugin_packages import install, install_example
from pydantic import ValidationError

from synthio import doctor
from synthio.backends.checked import CheckedTextToAudio
from synthio.backends.choices import (
    CAPTIONERS,
    GENERATORS,
    LANGUAGE_MODELS,
    Resources,
    load_captioner,
    load_language_model,
    load_text_to_audio,
)
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.llm import Request
from synthio.backends.parts import check_models
from synthio.backends.text_to_audio import Alignable, generate_each
from synthio.config import CaptionConfig, DataConfig, ImagineConfig, RunConfig, T2AConfig
from synthio.datasets import READERS, Row, read_rows
from synthio.errors import BackendError, ConfigError, DataError, ModelError
from synthio.models import Models
from synthio.plugins import CaptionerBackend, LanguageModelBackend, TextToAudioBackend, check_backend
from synthio.progress import Reporter
from synthio.registry import Choice
from synthio.stage_folders import StageFolders

#: A module of plug-ins that are wrong, each in its way.
WRONG = """
import numpy as np
from pydantic import BaseModel
from synthio.plugins import *

class Captions:
    sample_rate_hz, clips_per_call = 16000, 4
    def __init__(self, make): self.make = make
    def caption(self, waveforms, labels, count): return self.make(len(labels))

class Clips:
    sample_rate_hz, longest_s = 8000, 5.0
    def __init__(self, make): self.make = make
    def generate(self, prompts, duration_s, seeds): return [self.make(round(duration_s * 8000), s) for s in seeds]

class Replies:
    name, requests_per_call = "m", 4
    def complete(self, requests, keep): return [Reply(f'{{"caption": "a dog of {r.seed}"}}') for r in requests]

def captions(make): return CaptionerBackend(load=lambda config, resources: Captions(make), source="none")
def clips(make, **more): return TextToAudioBackend(load=lambda config, resources: Clips(make), source="none", **more)

draw = lambda n, seed: np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)
calls = []
few, bare = captions(lambda n: [Answer("x")] * (n - 1)), captions(lambda n: ["x"] * n)
counting = captions(lambda n: calls.append(n) or [Answer(f"call {len(calls)}")] * n)
failing = captions(lambda n: [Answer(None, "too quiet")] * n)
mute = captions(lambda n: [Answer(None)] * n)
double, stereo = clips(lambda n, s: draw(n, s).astype(float)), clips(lambda n, s: draw(2 * n, s).reshape(2, n))
short, nan = clips(lambda n, s: draw(n - 1, s)), clips(lambda n, s: draw(n, s) * (np.nan if s else 1))
same, boastful = clips(lambda n, s: draw(n, 0)), clips(draw, alignable=True)
endless = clips(draw)
still = clips(lambda n, s: np.zeros(n, np.float32))
def fail(error): raise error
refusing, down = clips(lambda n, s: fail(BackendError("bad word"))), clips(lambda n, s: fail(OSError("server down")))
full = clips(lambda n, s: fail(MemoryError()))
class Lazy(Clips):
    def generate(self, *asked): print("working"); yield from super().generate(*asked)
lazy = TextToAudioBackend(load=lambda config, resources: Lazy(draw), source="none")
class Odd(Clips): sample_rate_hz = 8000.0
odd = TextToAudioBackend(load=lambda config, resources: Odd(draw), source="none")
number, crash = captions(lambda n: [Answer(5)] * n), captions(lambda n: fail(KeyError("rain")))
class NoCount(Captions):
    def caption(self, waveforms, labels): return []
no_count = CaptionerBackend(load=lambda config, resources: NoCount(None), source="none")
class Zero(Captions): clips_per_call = 0
zero = CaptionerBackend(load=lambda config, resources: Zero(None), source="none")
no_load = CaptionerBackend(load=lambda config, resources: fail(OSError("no licence")), source="none")
class Says(Replies):
    def __init__(self, word): self.word = word
    def complete(self, requests, keep): return [Reply(self.word) for r in requests]
read = lambda config, resources: Says(open(config.model + "/word.txt").read())
of_folder = LanguageModelBackend(load=read, source="weights")
of_server = LanguageModelBackend(load=lambda config, resources: Says(config.endpoint.model), source="endpoint")
class Thinks(Replies):
    def complete(self, requests, keep):
        replies = [Reply('<think>{"caption": "no"}</think>{"caption": "a dog"}') for r in requests]
        keep(dict(enumerate(replies)))
        return replies
thinks = LanguageModelBackend(load=lambda config, resources: Thinks(), source="none")
class Nameless(Replies): name = None
nameless = LanguageModelBackend(load=lambda config, resources: Nameless(), source="none")
class Dicts(Replies):
    def complete(self, requests, keep): keep({0: Reply({})})
dicts = LanguageModelBackend(load=lambda config, resources: Dicts(), source="none")
loud = clips(lambda n, s: 40 * draw(n, s))
heavy = TextToAudioBackend(load=lambda config, resources: Clips(draw), source="weights")
replies = LanguageModelBackend(load=lambda config, resources: Replies(), source="none")
def allowing(allowance): return LanguageModelBackend(load=replies.load, source="none", allowance=allowance)
unset, endless_replies = allowing(lambda config: config.options["tokens"]), allowing(lambda config: None)
no_reader, no_backend = 3, Clips
nothing_good = ReaderBackend(read=lambda data: ["a.wav"])
no_rows, none = ReaderBackend(read=lambda data: iter([])), ReaderBackend(read=lambda data: None)
missing = ReaderBackend(read=lambda data: [line for line in open(data.path + "/not there")])
def read_one(data):
    from pathlib import Path
    return [Row(**{"path": Path("/a.wav"), "name": "a.wav", "labels": ("a",), **data.options})]
class Anything(BaseModel): pass
one = ReaderBackend(read=read_one, options=Anything)
"""
NAMES = {
    "synthio.captioners": "few bare counting mute no_backend not_there number crash no_count zero no_load failing",
    "synthio.text_to_audio": "double stereo short nan same boastful endless heavy refusing down full lazy odd loud "
    "still",
    "synthio.language_models": "replies thinks nameless dicts of_folder of_server unset endless_replies",
    "synthio.readers": "no_reader nothing_good no_rows none missing one",
}
REQUEST = Request("i", "c", "", {"required": ["caption"]}, 0.7, 9, seed=3)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install_example(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {group: {name: f"wrong_plugins:{name}" for name in names.split()} for group, names in NAMES.items()}
    monkeypatch.syspath_prepend(str(install(tmp_path / "wrong", "wrong-plugins", "2.0", points, WRONG)))


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    return Resources(Reporter(), tmp_path / "cache", lambda: pytest.fail("no CLAP is needed"))


def recipe(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"data": {"path": "demo"}, **sections})


class TestTheExampleOfTheDocs:
    def test_it_is_what_a_run_relies_on(self, example: Path) -> None:
        check_backend(CaptionConfig(kind="loudness", options={"loud_dbfs": -30}))
        check_backend(ImagineConfig(kind="words"))
        check_backend(T2AConfig(kind="chirps"))

    def test_a_run_uses_all_of_it(
        self, example: Path, tmp_path: Path, clap_model: Path, flow_model: Path, ast_model: Path
    ) -> None:
        generator, data = np.random.default_rng(0), tmp_path / "recordings"
        data.mkdir()
        for number in range(24):
            name = f"{('dog', 'bird')[number % 2]}_{number:02d}.wav"
            sf.write(data / name, 0.1 * generator.standard_normal(8_000), 16_000)
        content = tiny_recipe(flow_model, clap_model, tmp_path, ast_model, 2, 1)
        content |= {
            "run_folder": str(tmp_path / "run"),
            "data": {"path": str(data), "reader": "by-prefix", "domain": "animals"},
            "caption": {"kind": "loudness", "options": {"loud_dbfs": -30}},
            "imagine": {"kind": "words", "captions_per_clip": 2},
            "t2a": {"kind": "chirps"},
            "align": {"method": "none"},
            "filter": {"rule": "none", "copies": "ignore"},
        }
        content["train"]["seeds"] = 1
        check_backend(DataConfig(path=str(data), reader="by-prefix"))
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        assert synthio("run", path, "--dry-run").returncode == 0
        result = synthio("run", path, "--json", "--quiet")
        assert result.returncode == 0, result.stderr
        (captions,) = (tmp_path / "run" / "stages").glob("caption-*/manifest.jsonl")
        texts = {json.loads(line)["text"] for line in captions.read_text().splitlines()}
        assert texts == {"a loud sound of dog", "a loud sound of bird"}
        (prompts,) = (tmp_path / "run" / "stages").glob("imagine-*/manifest.jsonl")
        assert {json.loads(line)["source"] for line in prompts.read_text().splitlines()} == {"llm"}
        clips = list((tmp_path / "run" / "dataset").rglob("*.flac"))
        assert clips and sf.info(str(clips[0])).samplerate == 16_000
        page = (tmp_path / "run" / "report" / "index.html").read_text()
        assert "loudness" in page and "chirps" in page and page.count("synthio-example 0.1") == 3
        found = doctor.examine(load := RunConfig.model_validate(content))
        assert found["plugins"]["t2a.kind=chirps"] == "synthio-example 0.1"
        assert found["models"]["t2a"] == "chirps: synthio-example 0.1" and load.t2a.kind == "chirps"

    def test_doctor_and_data_list_show_it(self, example: Path) -> None:
        assert "caption.kind=loudness: synthio-example 0.1" in synthio("doctor").stdout
        models = doctor.examine(recipe(caption={"kind": "loudness", "options": {"loud": 1}}))["models"]
        assert models["captioner"].startswith(
            "unusable: caption.options for caption.kind=loudness: 1 problem(s)\n  loud"
        )
        assert "by-prefix" in json.loads(synthio("data", "list", "--json").stdout)["readers"]
        assert "of plug-ins: by-prefix" in synthio("data", "list").stdout

    def test_another_version_or_other_options_are_made_again_and_nothing_else_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def keys(version: str, **options: float) -> tuple[str, str, str]:
            with monkeypatch.context() as patch:
                folder = tmp_path / version
                patch.syspath_prepend(str(folder if folder.exists() else install_example(folder, version)))
                captions = {"kind": "loudness", "options": options}
                folders = StageFolders(recipe(caption=captions, align={"method": "none"}), lambda: [make_clip()])
                return folders.clips.key, folders.caption.key, folders.imagine.key

        one, again, newer, other = keys("0.1"), keys("0.1"), keys("0.2"), keys("0.1", loud_dbfs=-30)
        assert one == again
        for changed in (newer, other):
            assert changed[0] == one[0] and changed[1] != one[1] and changed[2] != one[2]

    @pytest.mark.parametrize(
        ("sections", "said"),
        [
            ({"caption": {"kind": "loudness", "options": {"loud": 1}}}, r"loud: Extra inputs"),
            ({"caption": {"kind": "clap", "options": {"a": 1}}}, r"caption.options for caption.kind=clap: 1 problem"),
            ({"t2a": {"kind": "chirps"}}, r"align.method is dpo, but t2a.kind=chirps cannot be aligned; set align"),
        ],
    )
    def test_what_a_plugin_cannot_do_is_told_before_a_model_loads(
        self, example: Path, sections: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ConfigError, match=said):
            check_models(recipe(**sections))

    def test_nor_are_options_that_the_reader_does_not_have_passed_over(self, example: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"data.options for data.reader=by-prefix: 1 problem.s.\n  seperator: Extra"
        ):
            read_rows(DataConfig(path="x", reader="by-prefix", options={"seperator": "-"}))

    def test_nor_can_a_stage_alone(self, example: Path, resources: Resources) -> None:
        with pytest.raises(ConfigError, match="loud: Extra inputs"):
            load_captioner(CaptionConfig(kind="loudness", options={"loud": 1}), resources)
        with pytest.raises(ConfigError, match="t2a.options for t2a.kind=chirps: 1 problem"):
            load_text_to_audio(T2AConfig(kind="chirps", options={"bogus": 1}), resources)

    def test_alignment_matters_only_where_synthetic_clips_are_made(self, example: Path) -> None:
        check_models(recipe(t2a={"kind": "chirps"}, train={"arms": ["gold"]}))


class TestNames:
    def test_the_recipe_can_name_exactly_what_is_built_in(self) -> None:
        def named(section: type, field: str) -> set[str]:
            (choice,) = (m.func for m in section.model_fields[field].metadata if isinstance(m.func, Choice))
            return set(choice.built_in)

        assert named(CaptionConfig, "kind") == set(CAPTIONERS)
        assert named(ImagineConfig, "kind") == set(LANGUAGE_MODELS)
        assert named(T2AConfig, "kind") == set(GENERATORS)
        assert named(DataConfig, "reader") == set(READERS) | {"auto"}

    def test_an_unknown_name_says_what_there_is(self, example: Path) -> None:
        with pytest.raises(
            ValidationError, match="transformers, template, or the plug-ins loudness; if it is a plug-in"
        ):
            CaptionConfig(kind="loudnes")

    def test_an_unknown_name_without_plugins_says_what_to_install(self) -> None:
        with pytest.raises(
            ValidationError, match="local, endpoint, or a plug-in .none is installed .*; .*, install its"
        ):
            ImagineConfig(kind="gpt")

    def test_what_is_built_in_wins_over_a_plugin_of_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: Resources
    ) -> None:
        points = {
            "synthio.captioners": {"template": "wrong_plugins:few"},
            "synthio.readers": {"table": "wrong_plugins:one"},
        }
        monkeypatch.syspath_prepend(str(install(tmp_path / "site", "squatter", "1", points, WRONG)))
        config = CaptionConfig(kind="template")
        assert load_captioner(config, resources).caption([np.zeros(9)], [("a",)])[0].text == "Sound of a a"
        found = doctor.examine(None)["plugins"]
        assert found["caption.kind=template"] == "squatter 1 (not used: it is built in)"
        assert json.loads(synthio("data", "list", "--json").stdout)["readers"].count("table") == 1

    def test_a_reader_called_demo_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bundled data was read instead, whatever `data.path` said."""
        points = {"synthio.readers": {"demo": "demos:one"}}
        monkeypatch.syspath_prepend(str(install(tmp_path / "site", "demos", "1", points, WRONG)))
        for path in ("x", "demo"):
            assert [row.name for row in read_rows(DataConfig(path=path, reader="demo"))] == ["a.wav"]
        assert len(read_rows(DataConfig(path="demo"))) > 1
        assert "demo" in json.loads(synthio("data", "list", "--json").stdout)["readers"]

    def test_two_packages_of_one_name_are_no_choice(
        self, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        points = {"synthio.captioners": {"loudness": "other_captions:loudness"}}
        monkeypatch.syspath_prepend(str(install(tmp_path / "other", "other-captions", "3", points, "")))
        with pytest.raises(ConfigError, match="is of other-captions 3 and of synthio-example 0.1; uninstall one"):
            check_models(recipe(caption={"kind": "loudness"}))
        assert doctor.examine(None)["plugins"]["caption.kind=loudness"] == "other-captions 3 and synthio-example 0.1"


@pytest.mark.usefixtures("wrong")
class TestWrongOnes:
    @pytest.mark.parametrize(
        ("sections", "said"),
        [
            (
                {"caption": {"kind": "not_there"}},
                "cannot be imported from 'wrong_plugins:not_there' of wrong",
            ),
            (
                {"caption": {"kind": "no_backend"}},
                "of wrong-plugins 2.0 is a type; expected a synthio.plugins.Cap",
            ),
            ({"t2a": {"kind": "heavy"}}, "t2a.model is `pocket`, which wrong-plugins 2.0 cannot load: name a model"),
        ],
    )
    def test_they_stop_a_run_before_a_model_loads(self, sections: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            check_models(recipe(align={"method": "none"}, **sections))

    @pytest.mark.parametrize(
        ("module", "said"),
        [
            ("import not_here", "ModuleNotFoundError: No module named 'not_here'"),
            ("x = (", "SyntaxError: '.' was never closed"),
            ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
            ("open('/not/there')", "FileNotFoundError"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
        ],
    )
    def test_whatever_an_import_raises_is_told_as_that_of_the_plugin(
        self, module: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        points = {"synthio.captioners": {"broken": "broken:x"}}
        monkeypatch.syspath_prepend(str(install(tmp_path / "site", "broken", "1", points, f"print(1)\n{module}")))
        with pytest.raises(
            ConfigError, match=f"caption.kind=broken cannot be imported from 'broken:x' of broken 1 .{said}"
        ):
            check_models(recipe(caption={"kind": "broken"}))

    def test_doctor_tells_them_beside_what_can_be_used(self) -> None:
        """It raised the first of them, and said nothing of the other parts."""
        wrong = {"caption": {"kind": "not_there"}, "t2a": {"kind": "heavy"}}
        models = doctor.examine(recipe(align={"method": "none"}, **wrong))["models"]
        assert list(models) == ["classifier", "t2a", "clap", "llm", "captioner"]
        assert models["captioner"].startswith("unusable: caption.kind=not_there cannot be imported")
        assert models["t2a"].startswith("unusable: t2a.model is `pocket`, which wrong-plugins 2.0 cannot load")
        assert models["clap"].startswith("pocket: this installation")

    def test_neither_do_they_load_for_a_stage_alone(self, resources: Resources) -> None:
        with pytest.raises(ConfigError, match="t2a.model is `pocket`, which wrong-plugins 2.0 cannot load"):
            load_text_to_audio(T2AConfig(kind="heavy"), resources)
        assert "which wrong-plugins 2.0 cannot load" in doctor.examine(recipe(t2a={"kind": "heavy"}))["models"]["t2a"]

    @pytest.mark.parametrize(
        ("kind", "wrong", "said"),
        [
            (CaptionerBackend, {"load": 5}, "CaptionerBackend: load is 5; expected a function"),
            (CaptionerBackend, {"source": "weight"}, "source is 'weight'; expected weights or endpoint or none"),
            (LanguageModelBackend, {"options": {"a": 1}}, "options is {'a': 1}; expected a class of pydantic's"),
            (LanguageModelBackend, {"allowance": 7}, "allowance is 7; expected a function of the section"),
            (TextToAudioBackend, {"source": "endpoint"}, "source is 'endpoint'; expected weights or none"),
        ],
    )
    def test_a_backend_is_checked_as_it_is_made(self, kind: Any, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            kind(**{"load": print, "source": "none"} | wrong)

    @pytest.mark.parametrize(
        ("reader", "error", "said"),
        [
            ("no_reader", ConfigError, "is a int; expected a synthio.plugins.ReaderBackend"),
            ("nothing_good", DataError, "gave a str; expected a synthio.plugins.Row per file"),
            ("no_rows", DataError, "found no file; check data.path, 'x'"),
            ("none", DataError, "failed: TypeError: 'NoneType' object is not iterable"),
            ("missing", DataError, "failed: FileNotFoundError"),
        ],
    )
    def test_readers(self, reader: str, error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=f"data.reader={reader} of wrong-plugins 2.0 {said}"):
            read_rows(DataConfig(path="x", reader=reader))

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"path": "a.wav"}, "path: expected an absolute path"),
            ({"name": ""}, "name: String should have at least 1 character"),
            ({"labels": "dog"}, "labels: Input should be a valid tuple"),
            ({"labels": None}, "labels: Input should be a valid tuple"),
            ({"labels": ["a", ""]}, "labels.1: String should have at least 1 character"),
            ({"labels": [5]}, "labels.0: Input should be a valid string"),
            ({"group": 3}, "group: Input should be a valid string"),
            ({"split": "holdout"}, "split: Input should be 'train', 'valid' or 'test'"),
        ],
    )
    def test_rows(self, row: dict[str, Any], said: str) -> None:
        with pytest.raises(DataError, match=rf"data.reader=one of wrong-plugins 2.0 gave Row\(.*\): {said}"):
            read_rows(DataConfig(path="x", reader="one", options=row))

    def test_rows_are_spelled_as_in_tables(self) -> None:
        given = {"path": "/a.wav", "labels": ["a"], "split": "Validation", "group": "N/A"}
        (row,) = read_rows(DataConfig(path="x", reader="one", options=given))
        assert row == Row(Path("/a.wav"), "a.wav", ("a",), "valid", None)

    def test_options_of_a_built_in_reader(self) -> None:
        with pytest.raises(ConfigError, match="data.options for data.reader=demo: 1 problem"):
            read_rows(DataConfig(path="demo", options={"a": 1}))

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("few", "gave 2 answers to 3"),
            ("bare", "answered with 'x'; expected Answer whose text is a str or None"),
            ("number", "answered with Answer.text=5,"),
            ("crash", "failed: KeyError: 'rain'"),
            ("no_count", "failed: TypeError: .*takes 3 positional arguments but 4 were given"),
            ("zero", "loads a Zero with clips_per_call: Input should be greater than 0"),
            ("no_load", "failed: OSError: no licence"),
        ],
    )
    def test_captioners(self, kind: str, said: str, resources: Resources) -> None:
        with pytest.raises(BackendError, match=f"caption.kind={kind} of wrong-plugins 2.0 {said}"):
            load_captioner(CaptionConfig(kind=kind), resources).caption([np.zeros(9)] * 3, [("a",)] * 3)

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("nameless", "loads a Nameless with name: Input should be a valid string"),
            ("dicts", "answered with Reply.text={}, failed=None"),
        ],
    )
    def test_language_models(self, kind: str, said: str, resources: Resources) -> None:
        with pytest.raises(BackendError, match=f"imagine.kind={kind} of wrong-plugins 2.0 {said}"):
            load_language_model(ImagineConfig(kind=kind), resources).complete([REQUEST])

    @pytest.mark.parametrize(
        ("kind", "said"), [("unset", "KeyError: 'tokens'"), ("endless_replies", "TypeError: 'None")]
    )
    def test_an_allowance_that_is_no_number(self, kind: str, said: str, resources: Resources) -> None:
        config = ImagineConfig(kind=kind)
        with pytest.raises(BackendError, match=f"the allowance of imagine.kind={kind} failed: {said}"):
            load_language_model(config, resources)
        with pytest.raises(BackendError, match=f"the allowance of imagine.kind={kind} failed: {said}"):
            check_backend(config)

    def test_thoughts_are_no_answer_of_a_language_model(self, resources: Resources) -> None:
        for _ in range(2):
            (reply,) = load_language_model(ImagineConfig(kind="thinks"), resources).complete([REQUEST])
            assert reply.text == '{"caption": "a dog"}'

    def test_a_generator_may_yield_its_clips_and_print(
        self, resources: Resources, capsys: pytest.CaptureFixture[str]
    ) -> None:
        generator = load_text_to_audio(T2AConfig(kind="lazy"), resources)
        assert len(generate_each(generator, ["a", "b"], 1.0, [0, 1])) == 2
        assert capsys.readouterr() == ("", "working\n")

    def test_a_refusal_costs_a_clip_and_too_little_memory_a_smaller_batch(self, resources: Resources) -> None:
        assert generate_each(load_text_to_audio(T2AConfig(kind="refusing"), resources), ["a"], 1.0, [0]) == ["bad word"]
        with pytest.raises(MemoryError):
            generate_each(load_text_to_audio(T2AConfig(kind="full"), resources), ["a"], 1.0, [0])

    def test_what_no_clip_can_survive_stops_the_run(self, resources: Resources) -> None:
        generator = load_text_to_audio(T2AConfig(kind="down"), resources)
        with pytest.raises(ModelError, match="t2a.kind=down of wrong-plugins 2.0 failed: OSError: server down"):
            generate_each(generator, ["a", "b"], 1.0, [0, 1])

    def test_what_can_be_aligned_stays_so(self, flow_model: Path) -> None:
        checked = CheckedTextToAudio(load_pipeline(T2AConfig(model=str(flow_model), device="cpu")), "t2a.kind=mine")
        assert isinstance(checked, Alignable)
        assert checked.draw_time(3, torch.Generator()).shape == (3,)
        with pytest.raises(BackendError, match="t2a.kind=mine failed: TypeError"):
            checked.add_adapter("many", 0)

    @pytest.mark.parametrize(
        ("kind", "error", "said"),
        [
            (
                "odd",
                BackendError,
                "t2a.kind=odd of wrong-plugins 2.0 loads a Odd with sample_rate_hz: Input should be a",
            ),
            (
                "double",
                BackendError,
                r"t2a.kind=double of wrong-plugins 2.0 gave float64 \(8000,\); expected float32 arrays",
            ),
            ("stereo", BackendError, r"gave float32 \(2, 8000\); expected float32 arrays"),
            ("short", BackendError, "gave 7999 samples where 8000 were asked for"),
            ("nan", AssertionError, "it refused plain prompts: the model returned NaN"),
            (
                "loud",
                AssertionError,
                "it refused plain prompts: the model returned a peak of 40; a file",
            ),
            ("same", AssertionError, "two seeds gave the same clip"),
            ("still", AssertionError, "a clip is silent"),
            ("boastful", AssertionError, "it is no Alignable"),
            ("endless", AssertionError, "it made a clip longer than longest_s, 5 s"),
        ],
    )
    def test_generators(self, kind: str, error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            check_backend(T2AConfig(kind=kind))

    def test_the_check_finds_answers_that_depend_on_what_else_is_asked(self) -> None:
        with pytest.raises(AssertionError, match="question 0 is answered otherwise alone than in a batch of three"):
            check_backend(CaptionConfig(kind="counting"))
        with pytest.raises(AssertionError, match="an answer has neither text nor a reason"):
            check_backend(CaptionConfig(kind="mute"))
        with pytest.raises(AssertionError, match="it failed every clip: too quiet"):
            check_backend(CaptionConfig(kind="failing"))

    def test_the_check_finds_replies_without_an_answer(self) -> None:
        check_backend(ImagineConfig(kind="replies"))
        with pytest.raises(AssertionError, match="no reply is an answer: .*caption: Input should be a valid string"):
            check_backend(ImagineConfig(kind="of_server", endpoint={"model": '{"caption": 5}'}))
        with pytest.raises(AssertionError, match="expected one JSON object with the keys caption; found 'no json'"):
            check_backend(ImagineConfig(kind="of_server", endpoint={"model": "no json"}))

    def test_the_check_reads_rows(self, tmp_path: Path) -> None:
        (path := tmp_path / "a.wav").touch()
        check_backend(DataConfig(path="x", reader="one", options={"path": str(path)}))
        with pytest.raises(AssertionError, match="none of the files is there"):
            check_backend(DataConfig(path="x", reader="one"))
        with pytest.raises(TypeError, match="RunConfig: expected CaptionConfig, Imag"):
            check_backend(recipe())  # type: ignore[arg-type]

    def test_replies_are_kept_and_counted_though_the_plugin_tells_nothing(self, resources: Resources) -> None:
        config, told = ImagineConfig(kind="replies"), []
        for times in (1, 1):
            model = load_language_model(config, resources)
            assert model.complete([REQUEST], told.append)[0].text == '{"caption": "a dog of 3"}'
            assert len(told) == times
        other = load_language_model(ImagineConfig(kind="replies", options={}), resources)
        assert other.name == model.name and "wrong-plugins 2.0" in model.name

    def test_what_plugins_load_is_not_held_together(self, tmp_path: Path) -> None:
        content = {"run_folder": tmp_path, "data": {"path": "x"}, "align": {"method": "none"}}
        sections = {"t2a": {"kind": "same"}, "imagine": {"kind": "replies"}}
        models = Models(RunConfig.model_validate(content | sections), tmp_path, lambda: pytest.fail(), Reporter())
        _ = models.generator, models.language_model
        assert "language_model" in vars(models) and "generator" not in vars(models)

    def test_another_model_of_the_same_name_does_not_give_the_replies_of_the_one_before(
        self, tmp_path: Path, resources: Resources
    ) -> None:
        def reply(**config: Any) -> str | None:
            return load_language_model(ImagineConfig(**config), resources).complete([REQUEST])[0].text

        for word in ("metallic", "velvet"):
            (folder := tmp_path / word).mkdir()
            (folder / "word.txt").write_text(word)
            assert reply(kind="of_folder", model=str(folder)) == word
            assert reply(kind="of_server", endpoint={"model": word}) == word


class TestTheBuiltInOnesAreHeldToTheSame:
    def test_captioners(self) -> None:
        check_backend(CaptionConfig(kind="template"))
        check_backend(CaptionConfig(kind="clap"))

    def test_a_language_model(self, tmp_path: Path) -> None:
        from tiny_llm import tiny_llama

        check_backend(ImagineConfig(model=str(tiny_llama(tmp_path / "llm")), device="cpu"))

    @pytest.mark.parametrize("family", ["flow_model", "v_model", "ldm_model"])
    def test_generators(self, family: str, request: pytest.FixtureRequest) -> None:
        model = str(request.getfixturevalue(family))
        check_backend(T2AConfig(model=model, num_inference_steps=2, guidance_scale=1.5, device="cpu"))
