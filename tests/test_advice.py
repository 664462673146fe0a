"""What a recipe is told of its data: what nobody reads though it may be a group, and what its models do not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_folders import clip, dataset, run_config, sound, table_of, write_noise
from pydantic import ValidationError

from synthio.config import DataConfig, RunConfig, TrainConfig
from synthio.data_check import check_data
from synthio.datasets import read_rows
from synthio.datasets.keys import data_fingerprint


def test_folders_inside_class_folders_are_told_of(tmp_path: Path) -> None:
    for label in ("normal", "abnormal"):
        for machine in range(6):
            for number in range(2):
                clip(tmp_path / "data" / label / f"id_{machine}" / f"{number}.wav")
    check = check_data(run_config(tmp_path / "data"))
    (told,) = [warning for warning in check.warnings if "subfolders" in warning]
    assert "hold folders of the same names ('id_0', 'id_1'" in told and "data.subfolders=groups" in told
    assert not check.problems and not any(check.groups.values())
    grouped = check_data(run_config(tmp_path / "data", subfolders="groups"))
    assert sum(grouped.groups.values()) == 6 and not grouped.problems
    assert not any("subfolders" in warning for warning in grouped.warnings)
    own = dataset(tmp_path / "own")
    clip(own / "train" / "dog" / "rex" / "a.wav")
    assert any(
        "hold folders ('rex'), whose names are not read" in warning for warning in check_data(run_config(own)).warnings
    )


def test_tables_beside_class_folders_are_told_not_to_be_read(tmp_path: Path) -> None:
    """The folders were sites, and the classes stood in the table."""
    for number in range(24):
        clip(tmp_path / "data" / ("north", "south")[number % 2] / f"{number}.wav")
    (tmp_path / "data" / "Export 2023.csv").write_bytes("DATEI;GERÄT\n".encode("cp1252"))
    (tmp_path / "data" / "._Export 2023.csv").write_bytes(b"\0")
    assert any(
        "the table(s) in it are not read: 'Export 2023.csv'; if one says what the clips are, set data.path" in warning
        for warning in check_data(run_config(tmp_path / "data")).warnings
    )
    splits = dataset(tmp_path / "splits")
    (splits / "notes.csv").write_text("a,b\n1,2\n")
    assert not any("not read" in warning for warning in check_data(run_config(splits)).warnings)


def test_a_small_test_split_and_unknown_sounds_are_warned_of(tmp_path: Path) -> None:
    """What an 80-clip user must hear before a run, not after."""
    check = check_data(run_config(dataset(tmp_path / "small", per_split=4)))
    # 1.96 sqrt(0.2 / 8)
    assert any("8 test clip(s): a difference under about 31 points cannot be shown" in w for w in check.warnings)
    assert any("data.domain is the default 'sounds'" in warning for warning in check.warnings)
    assert not any("above 16 kHz" in warning for warning in check.warnings)
    balanced = run_config(tmp_path / "small").model_copy(update={"train": TrainConfig(metric="balanced accuracy")})
    found = check_data(balanced).warnings
    # 1.96 sqrt(0.2 / 4 + 0.2 / 4) / 2
    assert any("8 test clip(s): a difference under about 31 points cannot be shown" in w for w in found)
    assert any("fewer than 5 test clips in 2 class(es): 'cat' (4), 'dog' (4); in balanced accuracy" in w for w in found)
    large = check_data(run_config(dataset(tmp_path / "large", per_split=40), domain="barks"))
    assert not any("cannot be shown" in w or "data.domain" in w for w in large.warnings)
    clip(tmp_path / "small" / "train" / "dog" / "studio.wav", rate_hz=48_000)
    found = check_data(run_config(tmp_path / "small")).warnings
    assert any(warning.startswith("1 clip(s) have a rate above 16 kHz") for warning in found)


def test_the_bundled_data_beside_a_folder_of_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(data=DataConfig(path="demo"))
    assert not any("./demo" in warning for warning in check_data(config).warnings)
    (tmp_path / "demo").mkdir()
    assert any("write ./demo for the folder here" in warning for warning in check_data(config).warnings)


def test_columns_that_may_be_groups_are_named_until_one_is(tmp_path: Path) -> None:
    """Clips of one machine in training and test once looked cleaner than the same table with its groups."""
    lines = ["path,label,machine_id"]
    for number in range(24):
        write_noise(tmp_path / f"{number}.wav", number)
        lines.append(f"{number}.wav,{'ab'[number % 2]},m{number // 4}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    data = {"path": str(tmp_path / "clips.csv"), "domain": "machines"}
    found = check_data(RunConfig.model_validate({"data": data}))
    assert set(found.groups.values()) == {0}
    assert any("not read: 'machine_id'" in warning for warning in found.warnings)
    found = check_data(RunConfig.model_validate({"data": {**data, "group_column": "machine_id"}}))
    assert sum(found.groups.values()) == 6 and all(found.groups.values())
    assert not any("not read" in warning for warning in found.warnings)


def test_columns_of_an_audiofolder_that_may_be_groups_are_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = ["file_name,label,patient"]
        for number in range(12):
            clip(tmp_path / split / f"{number}.wav", sound(f"{split} {number}"))
            lines.append(f"{number}.wav,{'ab'[number % 2]},{number // 3}")
        (tmp_path / split / "metadata.csv").write_text("\n".join(lines))
    warnings = check_data(run_config(tmp_path)).warnings
    assert any("these columns are not read: 'patient'; if one" in warning for warning in warnings)
    warnings = check_data(run_config(tmp_path, group_column="patient")).warnings
    assert not any("not read" in warning for warning in warnings)


class TestGroupsInFileNames:
    """As of ICBHI's patients: 101_1b1_Al_sc_Meditron.wav."""

    def folder(self, root: Path, name: str = "{patient}_{number}.wav") -> Path:
        for patient in range(101, 113):
            for number in range(4):
                label = "ab"[number % 2]
                path = root / label / name.format(patient=patient, number=number, label=label, sign="_-"[number // 2])
                clip(path, sound(f"{patient} {number}"))
        return root

    @pytest.mark.parametrize(
        "name", ["{patient}_{number}.wav", "{patient}{sign}x.{number}.wav", "{patient}.{number}.wav"]
    )
    def test_the_pattern_that_the_warning_says_makes_them_groups(self, tmp_path: Path, name: str) -> None:
        root = self.folder(tmp_path, name)
        (told,) = [w for w in check_data(run_config(root)).warnings if "file names begin alike" in w]
        assert "'101' (4), '102' (4), '103' (4);" in told
        pattern = told.partition("data.group_pattern='")[2].partition("'")[0]
        config = run_config(root, group_pattern=pattern)
        found = check_data(config)
        assert sum(found.groups.values()) == 12 and all(found.groups.values())
        assert not any("begin alike" in warning for warning in found.warnings)
        assert data_fingerprint(config) != data_fingerprint(run_config(root))

    @pytest.mark.parametrize(
        "name", ["{label}_{patient}_{number}.wav", "{patient}{number}.wav", "{patient}{number}_x.wav"]
    )
    def test_names_that_begin_with_the_class_or_each_in_its_own_way_are_none(self, tmp_path: Path, name: str) -> None:
        warnings = check_data(run_config(self.folder(tmp_path, name))).warnings
        assert not any("begin alike" in warning for warning in warnings)

    def test_clips_keep_a_group_of_their_own(self, tmp_path: Path) -> None:
        rows = [f"{'ab'[k % 2]},{'g' if k < 10 else ''}" for k in range(24)]
        table = table_of(tmp_path, "label,group", rows)
        found = read_rows(DataConfig(path=str(table), group_pattern=r"^(\d{2})\."))
        assert {row.path.stem: row.group for row in found} == {str(k): "g" if k < 10 else str(k) for k in range(24)}

    def test_a_pattern_that_names_a_group_otherwise_is_refused(self, tmp_path: Path) -> None:
        """Patients were in training and test, as `P3` and as `3`."""
        rows = [f"{'ab'[k % 2]},{f'P{k % 10}' if k < 20 else ''}" for k in range(24)]
        (problem,) = check_data(run_config(table_of(tmp_path, "label,group", rows), group_pattern=r"(\d)\.")).problems
        assert "finds '0' in '0.wav', whose group is 'P0'" in problem
        assert "write the groups of the 4 clip(s) without one into the data" in problem

    def test_a_pattern_of_no_use_is_refused(self, tmp_path: Path) -> None:
        root = self.folder(tmp_path)
        (problem,) = check_data(run_config(root, group_pattern="(x+)")).problems
        assert problem.startswith("data.group_pattern: '(x+)' finds a group in no file name; found '101_0.wav'")
        (problem,) = check_data(run_config(root, group_pattern="^([a-z]*)")).problems
        assert "finds a group in no file name" in problem
        (tmp_path / "empty").mkdir()
        (problem,) = check_data(run_config(tmp_path / "empty", group_pattern="(.)")).problems
        assert "no usable audio" in problem
        for pattern, words in (
            ("a{99999999999}(b)", "is no regular expression"),
            ("^[^_]+", "has 0 pairs of parentheses"),
            ("(", "is no regular expression"),
        ):
            with pytest.raises(ValidationError, match=words):
                DataConfig(path="x", group_pattern=pattern)
        table = table_of(tmp_path / "t", "label,group", [f"{'ab'[k % 2]},{k}" for k in range(6)])
        (problem,) = check_data(run_config(table, group_pattern="^(.)")).problems
        assert problem == "data.group_pattern is for clips without a group, and all have one; remove it"

    @pytest.mark.filterwarnings("error")
    def test_a_pattern_that_python_may_read_otherwise_one_day_is_no_warning(self) -> None:
        """It named a line of our code, of a pattern that works."""
        assert DataConfig(path="x", group_pattern="^([[({]+)").group_pattern == "^([[({]+)"
