"""The ten datasets of the paper: miniature copies in each official layout, read back; and the list of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
import yaml
from official_layouts import (
    BUILDERS,
    dcase2017_task4,
    esc50,
    fsd50k,
    gtzan,
    medley_solos_db,
    musdb18,
    nsynth,
    read,
    rejected,
    run,
    sound,
    table,
    tut_urban_2018,
    urbansound8k,
    vocalsound,
    write,
)

from synthio import config, load_config
from synthio.arms import problem_type
from synthio.bench.recipe import BenchRecipe
from synthio.config import DataConfig, RunConfig
from synthio.context import StageContext
from synthio.data_check import check_data
from synthio.datasets import FOLDED, OFFICIAL, READERS, Row
from synthio.errors import DataError
from synthio.progress import Reporter
from synthio.recipes import load_recipe
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder

REPO = Path(__file__).parent.parent
NAMES = sorted(BUILDERS)


def usable(rows: list[Row]) -> dict[str, tuple[tuple[str, ...], str | None, str | None]]:
    return {row.path.name: (row.labels, row.split, row.group) for row in rows if row.rejected is None}


def error_of(name: str, root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(name, root, **settings)
    return str(caught.value)


class TestReaders:
    def test_esc50_folds_and_recordings(self, tmp_path: Path) -> None:
        rows = read("esc50", esc50(tmp_path))
        found = usable(rows)
        assert found["1-114-B-14.wav"] == (("chirping_birds",), "test", "114")
        assert found["5-500-A-0.wav"] == (("dog",), "train", "500")
        assert rejected(rows) == {"stray.wav": "is not listed in esc50.csv"}
        third = usable(read("esc50", tmp_path, fold=3))
        assert {name[0] for name, (_, split, _) in third.items() if split == "test"} == {"3"}

    def test_urbansound8k_folds_and_missing_slices(self, tmp_path: Path) -> None:
        rows = read("urbansound8k", urbansound8k(tmp_path), fold=10)
        found = usable(rows)
        assert found["10003-3-0-1.wav"] == (("dog_bark",), "test", "10003")
        assert found["2009-9-0-0.wav"] == (("street_music",), "train", "2009")
        assert list(rejected(rows)) == ["77-3-0-0.wav"]
        assert "is listed in UrbanSound8K.csv but not in its folder" in rejected(rows)["77-3-0-0.wav"]
        first = usable(read("urbansound8k", tmp_path))
        assert {group for _, split, group in first.values() if split == "test"} == {"1003", "1009"}

    def test_gtzan_has_no_splits_and_one_known_fault(self, tmp_path: Path) -> None:
        rows = read("gtzan", gtzan(tmp_path))
        assert len(usable(rows)) == 12
        assert usable(rows)["blues.00003.wav"] == (("blues",), None, None)
        assert rejected(rows) == {"jazz.00054.wav": "is damaged in the official release: it cannot be decoded"}

    def test_gtzan_of_the_first_release(self, tmp_path: Path) -> None:
        sound(tmp_path / "genres_original" / "rock" / "rock.00000.au")
        assert usable(read("gtzan", tmp_path)) == {"rock.00000.au": (("rock",), None, None)}

    def test_gtzan_with_the_fault_filtered_lists(self, tmp_path: Path) -> None:
        gtzan(tmp_path)
        write(tmp_path / "train_filtered.txt", "blues/blues.00000.wav\njazz/jazz.00000.wav\n")
        assert "but not test_filtered.txt, valid_filtered.txt" in error_of("gtzan", tmp_path)
        write(tmp_path / "valid_filtered.txt", "blues/blues.00001.wav\njazz/jazz.00099.wav\n")
        write(tmp_path / "test_filtered.txt", "jazz/jazz.00001.wav")
        rows = read("gtzan", tmp_path)
        assert {name: split for name, (_, split, _) in usable(rows).items()} == {
            "blues.00000.wav": "train",
            "jazz.00000.wav": "train",
            "blues.00001.wav": "valid",
            "jazz.00001.wav": "test",
        }
        assert "left out" in rejected(rows)["blues.00005.wav"]
        assert "not in its folder" in rejected(rows)["jazz.00099.wav"]
        assert len(rows) == 14

    def test_medley_solos_db_subsets_and_suffixes(self, tmp_path: Path) -> None:
        rows = read("medley_solos_db", medley_solos_db(tmp_path))
        assert sorted(usable(rows).values()) == [
            (("clarinet",), "test", "20"),
            (("clarinet",), "train", "0"),
            (("clarinet",), "valid", "10"),
            (("distorted electric guitar",), "test", "21"),
            (("distorted electric guitar",), "train", "1"),
            (("distorted electric guitar",), "valid", "11"),
        ]
        assert list(rejected(rows)) == ["Medley-solos-DB_test-0_gone.wav"]

    def test_medley_solos_db_as_mirdata_lays_it_out(self, tmp_path: Path) -> None:
        medley_solos_db(tmp_path)
        (tmp_path / "annotation").mkdir()
        (tmp_path / "Medley-solos-DB_metadata.csv").rename(tmp_path / "annotation" / "Medley-solos-DB_metadata.csv")
        assert len(usable(read("medley_solos_db", tmp_path))) == 6

    def test_tut_urban_2018_fold_and_places(self, tmp_path: Path) -> None:
        rows = read("tut_urban_2018", tut_urban_2018(tmp_path))
        found = usable(rows)
        assert found["airport-barcelona-0-0-a.wav"] == (("airport",), "train", "barcelona-airport0")
        assert found["street_pedestrian-barcelona-2-2-a.wav"][1] == "test"
        assert len(found) == 6
        assert rejected(rows) == {"airport-paris-9-9-a.wav": "is in neither fold1_train.txt nor fold1_evaluate.txt"}

    def test_tut_urban_2018_without_a_header(self, tmp_path: Path) -> None:
        meta = tut_urban_2018(tmp_path) / "meta.csv"
        before = read("tut_urban_2018", tmp_path)
        write(meta, meta.read_text().partition("\n")[2])
        assert read("tut_urban_2018", tmp_path) == before
        write(meta, "audio/a.wav\tbus\n")
        assert "have under 3 cells" in error_of("tut_urban_2018", tmp_path)

    def test_nsynth_families_instruments_and_any_order(self, tmp_path: Path) -> None:
        rows = read("nsynth", nsynth(tmp_path))
        found = usable(rows)
        assert found["synth_lead_acoustic_001-060-100.wav"] == (("synth_lead",), "train", "synth_lead_acoustic_001")
        assert {row.split for row in rows if row.path.name == "bass_acoustic_002-040-100.wav"} == {"valid", "test"}
        assert len(rows) == 18
        examples = tmp_path / "nsynth-valid" / "examples.json"
        write(examples, json.dumps(dict(reversed(json.loads(examples.read_text()).items()))))
        assert read("nsynth", tmp_path) == rows
        write(examples, '{"bass_acoustic_002-040-100": {"pitch": 40}}')
        assert "instrument_family_str and instrument_str" in error_of("nsynth", tmp_path)
        write(examples, "{")
        assert "is not JSON" in error_of("nsynth", tmp_path)

    def test_vocalsound_speakers_and_readable_labels(self, tmp_path: Path) -> None:
        rows = read("vocalsound", vocalsound(tmp_path))
        found = usable(rows)
        assert found["f0003_1_throatclearing.wav"] == (("throat_clearing",), "train", "f0003")
        assert found["f0005_0_cough.wav"] == (("cough",), "valid", "f0005")
        assert found["m0006_0_cough.wav"][1] == "test"
        assert list(rejected(rows)) == ["f9999_0_cough.wav"]
        (tmp_path / "audio_16k" / "m0006_0_cough.wav").unlink()
        assert "is listed in datafiles" in rejected(read("vocalsound", tmp_path))["m0006_0_cough.wav"]

    def test_vocalsound_by_the_lists_of_speakers(self, tmp_path: Path) -> None:
        before = read("vocalsound", vocalsound(tmp_path))
        for part in ("tr", "val", "te"):
            (tmp_path / "datafiles" / f"{part}.json").unlink()
        assert read("vocalsound", tmp_path) == before

    def test_musdb18_excerpts_of_stems(self, tmp_path: Path) -> None:
        rows = read("musdb18", musdb18(tmp_path))
        assert {row.labels for row in rows} == {("bass",), ("drums",), ("other",), ("vocals",)}
        splits = {row.group: row.split for row in rows}
        assert splits == {
            "A Classic Education - NightOwl": "train",
            "Leaf & Co - Ünder": "train",
            "Meaxic - Take A Step": "valid",
            "Zeno - Signs": "test",
        }
        assert [row.name for row in rows if row.rejected] == ["test/Zeno - Signs/vocals.wav"]
        assert "is silent" in rejected(rows)["vocals.wav"]
        assert sf.info(str(next(row.path for row in rows if not row.rejected))).duration == 10

    def test_musdb18_by_its_folder_of_excerpts(self, tmp_path: Path) -> None:
        assert read("musdb18", musdb18(tmp_path) / "excerpts") == read("musdb18", tmp_path)

    def test_musdb18_without_excerpts_says_how_to_make_them(self, tmp_path: Path) -> None:
        sound(tmp_path / "train" / "a" / "bass.wav", tmp_path / "test" / "b" / "bass.wav")
        assert "synthio data prepare musdb18 --root" in error_of("musdb18", tmp_path)
        (tmp_path / "excerpts").mkdir()
        assert "run prepare again" in rejected(read("musdb18", tmp_path))["bass.wav"]

    def test_dcase2017_task4_labels_and_gone_videos(self, tmp_path: Path) -> None:
        rows = read("dcase2017_task4", dcase2017_task4(tmp_path))
        found = usable(rows)
        assert found["Y2ceUOv8A3FE_20.000_30.000.wav"] == (("Train", "Train horn"), "train", "2ceUOv8A3FE")
        assert found["Y-5QrBL6MzLg_0.000_10.000.wav"] == (("Car",), "train", "-5QrBL6MzLg")
        assert found["YYabc_def-gh_60.000_70.000.wav"] == (("Air horn, truck horn",), "test", "Yabc_def-gh")
        assert "gone from YouTube" in rejected(rows)["Ygoneeeeeeee_0.000_10.000.wav"]
        assert "the testing set is the test" in rejected(rows)["groundtruth_weak_label_evaluation_set.csv"]
        assert len(rows) == 17

    def test_dcase2017_task4_with_the_evaluation_set(self, tmp_path: Path) -> None:
        dcase2017_task4(tmp_path)
        sound(tmp_path / "evaluation" / "Yccccccccccc_0.000_10.000.wav", tmp_path / "evaluation" / "Yother_0_1.wav")
        rows = read("dcase2017_task4", tmp_path)
        assert usable(rows)["YYabc_def-gh_60.000_70.000.wav"][1] == "valid"
        assert usable(rows)["Yccccccccccc_0.000_10.000.wav"] == (("Car",), "test", "ccccccccccc")
        assert rejected(rows)["Yother_0_1.wav"] == "is in no ground-truth list, or a second copy"

    def test_fsd50k_labels_and_splits(self, tmp_path: Path) -> None:
        rows = read("fsd50k", fsd50k(tmp_path))
        assert usable(rows) == {
            "64760.wav": (("Electric_guitar", "Guitar", "Music"), "train", None),
            "16399.wav": (("Bark", "Dog"), "train", None),
            "11.wav": (("Guitar", "Music"), "valid", None),
            "12.wav": (("Dog",), "valid", None),
            "37199.wav": (("Electric_guitar", "Guitar", "Music"), "test", None),
            "37200.wav": (("Bark", "Dog"), "test", None),
        }
        sound(tmp_path / "FSD50K.eval_audio" / "1.wav")
        assert rejected(read("fsd50k", tmp_path)) == {"1.wav": "is listed neither in dev.csv nor in eval.csv"}

    def test_a_table_of_another_kind_lists_its_columns(self, tmp_path: Path) -> None:
        table(esc50(tmp_path) / "meta" / "esc50.csv", ("filename", "label"), ("a.wav", "dog"))
        assert "has no column 'fold', 'category', 'src_file'; found 'filename', 'label'" in error_of("esc50", tmp_path)

    def test_lists_that_are_damaged_are_named(self, tmp_path: Path) -> None:
        tut_urban_2018(tmp_path / "tut")
        (tmp_path / "tut" / "meta.csv").write_bytes(b"audio/caf\xe9.wav\tbus\tparis-9\n")
        assert "meta.csv: is not UTF-8" in error_of("tut_urban_2018", tmp_path / "tut")
        write(vocalsound(tmp_path / "vs") / "datafiles" / "val.json", '{"items": []}')
        assert "val.json: expected" in error_of("vocalsound", tmp_path / "vs")

    @pytest.mark.parametrize("name", NAMES)
    def test_rows_lie_in_the_root_and_names_are_unique(self, name: str, tmp_path: Path) -> None:
        rows = read(name, BUILDERS[name](tmp_path))
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.path == tmp_path / row.name for row in rows)
        assert all(row.path.is_file() and row.labels for row in rows if row.rejected is None)

    @pytest.mark.parametrize("name", NAMES)
    def test_one_audio_folder_that_is_not_there(self, name: str, tmp_path: Path) -> None:
        """NSynth without the audio of one split was told to check the permissions of a folder that was not there."""
        root = BUILDERS[name](tmp_path / "data")
        before = read(name, root)
        for folder in {row.path.parent for row in before if row.rejected is None} - {root}:
            gone = folder.rename(tmp_path / "gone")
            if OFFICIAL[name].is_root(root):
                rows = read(name, root)
                assert not [row for row in rows if row.rejected is None and row.path.is_relative_to(folder)]
            gone.rename(folder)
        assert read(name, root) == before

    def test_nsynth_without_the_audio_of_a_split(self, tmp_path: Path) -> None:
        shutil.rmtree(nsynth(tmp_path) / "nsynth-train" / "audio")
        found = set(rejected(read("nsynth", tmp_path)).values())
        assert found == {"is listed in examples.json but not in its folder; unpack or download the audio again"}


class TestWrongRoots:
    @pytest.mark.parametrize("name", NAMES)
    def test_an_empty_folder(self, name: str, tmp_path: Path) -> None:
        text = error_of(name, tmp_path)
        assert text.startswith(
            f"{tmp_path}: is not the root of {OFFICIAL[name].title}; found an empty folder; expected "
        )
        assert OFFICIAL[name].tree[0].partition("|")[0] in text
        assert OFFICIAL[name].homepage in text
        assert f"synthio data prepare {name} --root" in text

    @pytest.mark.parametrize("name", NAMES)
    def test_the_folder_above_and_the_folder_below(self, name: str, tmp_path: Path) -> None:
        root = BUILDERS[name](tmp_path / "data" / "Unpacked 1.0")
        assert "found Unpacked 1.0/; expected" in error_of(name, root.parent)
        assert error_of(name, root.parent).endswith(f"{root} is that root: set data.path to it")
        below = [child for child in sorted(root.iterdir()) if child.is_dir()][-1]
        assert error_of(name, below).endswith(f"{root} is that root: set data.path to it")

    def test_no_folder_at_all(self, tmp_path: Path) -> None:
        assert "found no such folder" in error_of("esc50", tmp_path / "none")

    def test_several_roots_are_all_named(self, tmp_path: Path) -> None:
        roots = [vocalsound(tmp_path / name) for name in ("16k", "44k")]
        assert f"{roots[0]} or {roots[1]} is that root" in error_of("vocalsound", tmp_path)

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        before = usable(read("medley_solos_db", medley_solos_db(tmp_path)))
        (tmp_path / "audio" / "round").symlink_to(tmp_path)
        assert usable(read("medley_solos_db", tmp_path)) == before

    def test_many_files_are_cut_short(self, tmp_path: Path) -> None:
        for number in range(20):
            (tmp_path / f"{number:02d}.wav").touch()
        assert "07.wav and 12 more; expected" in error_of("esc50", tmp_path)


class TestFolds:
    @pytest.mark.parametrize(("name", "folds"), [("esc50", "1, 2, 3, 4, 5"), ("urbansound8k", "1, 2, 3, 4, 5, 6")])
    def test_a_fold_that_is_not_there(self, name: str, folds: str, tmp_path: Path) -> None:
        assert f"data.fold is 11; {OFFICIAL[name].title} has the folds {folds}" in error_of(
            name, BUILDERS[name](tmp_path), fold=11
        )

    @pytest.mark.parametrize("name", sorted(set(NAMES) - FOLDED))
    def test_readers_without_folds_refuse_one(self, name: str, tmp_path: Path) -> None:
        assert f"the reader {name!r} has no folds; remove data.fold" in error_of(name, tmp_path, fold=1)


class TestThroughThePipeline:
    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_stops_a_run(self, name: str, tmp_path: Path) -> None:
        separator = OFFICIAL[name].label_separator
        root = BUILDERS[name](tmp_path)
        data = {"path": str(root), "reader": name, "label_separator": separator, "duplicates": "drop"}
        # The pocket generator makes no longer clips.
        found = check_data(RunConfig.model_validate({"data": {**data, "max_duration_s": 5}}))
        assert not found.problems
        assert all(found.splits.values())
        assert len(found.rejected) == len(rejected(read(name, root)))
        assert not any("group(s) in training and elsewhere" in warning for warning in found.warnings)

    def test_validation_comes_out_of_training_by_whole_recordings(self, tmp_path: Path) -> None:
        config = RunConfig.model_validate(
            {"data": {"path": str(esc50(tmp_path / "data")), "reader": "esc50", "fold": 2}}
        )
        clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "key"), Reporter()))
        homes = {clip.group: {other.split for other in clips if other.group == clip.group} for clip in clips}
        assert all(len(splits) == 1 for splits in homes.values())
        assert {clip.group for clip in clips if clip.split == "test"} == {"200", "214"}
        assert {clip.split for clip in clips} == {"train", "valid", "test"}

    def test_a_sample_of_one_label_each_stays_multi_label(self, tmp_path: Path) -> None:
        recipe = yaml.safe_load((REPO / "recipes" / "datasets" / "dcase2017_task4.yaml").read_text(encoding="utf-8"))
        recipe["data"]["path"] = str(dcase2017_task4(tmp_path / "data"))
        config = RunConfig.model_validate(recipe)
        clips = collect_clips(StageContext(config, StageFolder(tmp_path, "clips", "key"), Reporter()))
        assert problem_type(config, clips) == "multi_label_classification"
        single = [clip for clip in clips if len(clip.labels) == 1]
        assert problem_type(config, single) == "multi_label_classification"


class TestRegistry:
    def test_columns_are_those_of_table_1(self) -> None:
        columns = ["ESC-50", "USD8K", "GTZAN", "Medley", "TUT", "NSynth", "VS", "MSDB", "DCASE", "FSD50K"]
        assert [found.column for found in OFFICIAL.values()] == columns
        metrics = {found.column: found.metric for found in OFFICIAL.values() if found.metric != "accuracy"}
        assert metrics == {"DCASE": "F1", "FSD50K": "mAP"}

    def test_every_reader_can_be_named_in_a_recipe(self) -> None:
        assert set(config.READERS) == set(READERS) | {"auto"}
        assert set(BUILDERS) == set(OFFICIAL)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_recipe_says_what_the_registry_says(self, name: str) -> None:
        path = REPO / "recipes" / "datasets" / f"{name}.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line.startswith("data: {") for line in lines if not line.startswith("#")] == [True]
        data = load_config(path).data
        found = OFFICIAL[name]
        assert (data.reader, data.domain, data.label_separator) == (name, found.domain, found.label_separator)
        of_bench = (
            load_recipe(REPO / "recipes" / "bench" / "paper.yaml", [], BenchRecipe).datasets[name].model_extra["data"]
        )
        assert (of_bench["reader"], of_bench["domain"]) == (name, found.domain)

    def test_a_recipe_that_includes_one(self, tmp_path: Path) -> None:
        base = REPO / "recipes" / "datasets" / "esc50.yaml"
        data = load_config(write(tmp_path / "run.yaml", f"include: {base}\ndata: {{path: here, fold: 2}}\n")).data
        assert (data.reader, data.path, data.fold, data.domain) == ("esc50", "here", 2, "environmental sounds")

    def test_checksums_are_md5(self) -> None:
        sums = [archive.md5 for found in OFFICIAL.values() for archive in found.archives if archive.md5]
        assert len(set(sums)) == len(sums) == 31
        assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in sums)


def test_the_list_of_readers() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.output for name in ("folder", "table", "esc50"))
    value = json.loads(run("list", "--json").stdout)
    assert set(value["readers"]) == {*READERS, "auto"}
    for name in value["readers"]:
        assert DataConfig(path="x", reader=name).reader == name
    assert value["official"]["fsd50k"]["metric"] == "mAP"
    assert value["official"]["esc50"]["homepage"] == "https://github.com/karolpiczak/ESC-50"
