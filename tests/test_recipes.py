"""Recipes: YAML, includes, overrides, and every mistake told at once with what was meant."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthio.bench.recipe import BenchRecipe
from synthio.config import RunConfig
from synthio.errors import ConfigError
from synthio.recipes import apply_overrides, load_recipe, merge, read_yaml, validate


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problems(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(content, RunConfig, "recipe.yaml")
    return str(caught.value)


def test_data_given_as_a_recipe_is_told(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,label\na.wav,dog\n")
    (tmp_path / "clips.wav").write_bytes(b"RIFF\xff\xfe")
    for name in ("", "clips.csv", "clips.wav"):
        with pytest.raises(ConfigError, match="if it is your data, name it as data.path in a recipe"):
            read_yaml(tmp_path / name)
    (tmp_path / "quotes.yaml").write_text("data: {domain: bats: calls}")
    with pytest.raises(ConfigError, match="text that holds `: ` or ` #` stands in quotes"):
        read_yaml(tmp_path / "quotes.yaml")


def test_a_recipe_with_overrides(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "seed: 3\ndata:\n  path: clips\ntrain: {seeds: 2}\n")
    config = load_recipe(path, ["train.seeds=5", "align.method=erm", "train.arms=[gold]"], RunConfig)
    assert (config.seed, config.data.path, config.train.seeds) == (3, "clips", 5)
    assert (config.align.method, config.train.arms) == ("erm", ("gold",))


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ({"t2a": {"guidance_scal": 4}}, "t2a.guidance_scal: unknown key; did you mean 'guidance_scale'?"),
        ({"trian": {}}, "trian: unknown key; did you mean 'train'?"),
        ({"caption": {"endpoint": {"timeout": 1}}}, "caption.endpoint.timeout: unknown key; did you mean 'timeout_s'?"),
        ({"reflect": {"zzzz": 1}}, "reflect.zzzz: unknown key; known here: rounds"),
        ({"path": "x"}, "path: unknown key; did you mean 'data.path'? (indent it under the section)"),
        ({"run_folder": 7}, "run_folder: expected a path (found 7)"),
        ({"train": {"arms": ["gold", "gold"]}}, "(top level): train.arms has an arm twice: gold, gold"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(content: dict[str, Any], meant: str) -> None:
    assert meant in problems({"data": {"path": "x"}} | content)


def test_every_problem_is_told_at_once() -> None:
    text = problems({"seed": -1, "sed": 1, "t2a": {"batch_size": 0}, "filter": {"rule": "best"}})
    assert "5 problem(s)" in text
    for part in ("seed: ", "'seed'?", "t2a.batch_size: ", "filter.rule: ", "data: Field required"):
        assert part in text


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("seed=-1", "seed"),
        ("data.valid_fraction=1", "data.valid_fraction"),
        ("data.max_duration_s=0", "data.max_duration_s"),
        ("t2a.guidance_scale=0.5", "t2a.guidance_scale"),
        ("align.learning_rate=nan", "align.learning_rate"),
        ("align.steps=1.5", "align.steps"),
        ("imagine.captions_per_clip=6", "imagine.captions_per_clip"),
        ("filter.threshold=2", "filter.threshold"),
        ("reflect.rounds=-1", "reflect.rounds"),
        ("train.arms=[]", "train.arms"),
        ("version=2", "version"),
    ],
)
def test_a_value_out_of_range_says_where_and_what_was_found(tmp_path: Path, override: str, where: str) -> None:
    path = write(tmp_path / "run.yaml", "data: {path: clips}")
    with pytest.raises(ConfigError, match=rf"\n  {where}: .*\(found ") as caught:
        load_recipe(path, [override], RunConfig)
    assert "1 problem(s)" in str(caught.value)


def test_settings_that_contradict_each_other_are_told_without_printing_the_whole_recipe() -> None:
    text = problems({"data": {"path": "x", "valid_fraction": 0.6, "test_fraction": 0.5}})
    assert "leave no training clips" in text
    assert "found" not in text


@pytest.mark.parametrize("text", ["a: [1", "\t- x", "a: b: c", "- 1\n- 2", "just text", "\x00"])
def test_what_is_not_a_recipe(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        read_yaml(write(tmp_path / "run.yaml", text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "includes.yaml").write_text("include: recipes/gone.yaml")
    with pytest.raises(
        ConfigError, match=r"includes\.yaml: includes .*gone\.yaml, which is not there; an include is rel"
    ):
        load_recipe(tmp_path / "includes.yaml", [], RunConfig)
    with pytest.raises(ConfigError, match=r"none\.yaml: no such recipe"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder; expected a recipe"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: caf\xe9".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 text; save the recipe so"):
        read_yaml(tmp_path / "latin.yaml")


def test_an_empty_recipe_is_empty(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path / "run.yaml", "# nothing yet\n")) == {}


def test_yaml_never_runs_code(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", f"a: !!python/object/apply:os.mkdir ['{tmp_path}/owned']")
    with pytest.raises(ConfigError):
        read_yaml(path)
    assert not (tmp_path / "owned").exists()


def test_a_date_that_is_none_is_told_like_other_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not readable YAML: (day|month) .*quotes"):
        read_yaml(write(tmp_path / "run.yaml", "data: {path: 2026-02-31}\n"))


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool x", "!!int x"])
def test_a_tag_that_its_value_does_not_have_is_told_like_other_yaml(tmp_path: Path, value: str) -> None:
    """They ended in a traceback."""
    with pytest.raises(ConfigError, match="not readable YAML"):
        read_yaml(write(tmp_path / "run.yaml", f"seed: {value}\n"))
    with pytest.raises(ConfigError, match="the value is not readable YAML"):
        apply_overrides({}, [f"seed={value}"], RunConfig)


def test_includes_merge_under(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "seed: 1\ntrain: {seeds: 2, steps: 10}\n")
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "middle.yaml", "include: ../base.yaml\ntrain: {seeds: 4}\n")
    path = write(tmp_path / "run.yaml", "include: more/middle.yaml\ntrain: {batch_size: 8}\n")
    assert read_yaml(path) == {"seed": 1, "train": {"seeds": 4, "steps": 10, "batch_size": 8}}


def test_include_cycles_are_found(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "include: b.yaml")
    write(tmp_path / "b.yaml", "include: c.yaml")
    write(tmp_path / "c.yaml", "include: a.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml"):
        read_yaml(tmp_path / "a.yaml")
    write(tmp_path / "self.yaml", "include: ./self.yaml")
    with pytest.raises(ConfigError, match="includes itself"):
        read_yaml(tmp_path / "self.yaml")


@pytest.mark.parametrize("include", ["[a.yaml]", "3", "none.yaml"])
def test_a_wrong_include(tmp_path: Path, include: str) -> None:
    with pytest.raises(ConfigError):
        read_yaml(write(tmp_path / "run.yaml", f"include: {include}"))


def test_an_include_on_the_command_line_is_refused_not_ignored() -> None:
    with pytest.raises(ConfigError, match="include"):
        apply_overrides({}, ["include=base.yaml"], RunConfig)
    # After a blank it was taken, and did nothing.
    with pytest.raises(ConfigError, match="include belongs in the recipe file"):
        apply_overrides({}, ["include =base.yaml"], RunConfig)


def test_an_include_that_is_misspelt_is_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "inclde: base.yaml\ndata: {path: demo}\n")
    for schema in (RunConfig, BenchRecipe):
        with pytest.raises(ConfigError, match="inclde: unknown key; did you mean 'include'"):
            load_recipe(path, [], schema)


def test_an_include_of_a_cell_is_refused() -> None:
    """Of the recipe that a bench makes for a cell it was taken, and did nothing."""
    with pytest.raises(ConfigError, match="include: belongs in a recipe's file"):
        validate({"include": "base.yaml", "data": {"path": "demo"}}, RunConfig, "cell")


def test_overrides_that_are_no_overrides_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides({}, ["seed", "train.seeds=1", "oops"], RunConfig)
    assert "'seed'" in str(caught.value)
    assert "'oops'" in str(caught.value)
    with pytest.raises(ConfigError, match="not readable YAML"):
        apply_overrides({}, ["seed=[1"], RunConfig)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("null", None),
        ("a=b", "a=b"),
        ("|", "|"),
        (">", ">"),
        (";", ";"),
        (",", ","),
        ("&", "&"),
        ("~", None),
        ("'1'", "1"),
        ("", None),
    ],
)
def test_override_values(text: str, value: object) -> None:
    assert apply_overrides({}, [f"a.b={text}"], RunConfig) == {"a": {"b": value}}


#: The machine that runs the tests may be busy: a slow draw is no failure.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
keys = st.sampled_from(["a", "b", "c", "some_key"])
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
mappings = st.dictionaries(keys, leaves | st.dictionaries(keys, leaves, max_size=2), max_size=3)


@unhurried
@given(mappings, st.lists(keys, min_size=1, max_size=3), leaves)
def test_an_override_sets_its_key_and_no_other(content: dict[str, Any], path: list[str], value: object) -> None:
    # Escapes, since PyYAML does not read all line breaks of Unicode back as it wrote them.
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n")
    changed = apply_overrides(content, [f"{'.'.join(path)}={text}"], RunConfig)
    assert _get(changed, path) == value
    assert {k: v for k, v in changed.items() if k != path[0]} == {k: v for k, v in content.items() if k != path[0]}


def _get(tree: Any, path: list[str]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@unhurried
@given(mappings, mappings, mappings)
def test_merging(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert merge(a, {}) == merge({}, a) == merge(a, a) == a
    assert merge(a, b).keys() == a.keys() | b.keys()
    assert all(merge(a, b)[key] == value for key, value in b.items() if not isinstance(value, dict))
    assert merge(merge(a, b), b) == merge(a, b)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("data.path=site #3", "site #3"),
        ("data.path=2023-05-01", "2023-05-01"),
        ("data.path=20230501", "20230501"),
        ("data.domain=no", "no"),
        ("data.domain=dawn chorus: robins", "dawn chorus: robins"),
        ("data.domain='bird calls'", "bird calls"),
        ("run_folder=2023", Path("2023")),
        ("data.label_separator=|", "|"),
        ("data.label_separator=null", None),
        ("t2a.negative_prompt=null", None),
        ("train.model=007", "007"),
        ("t2a.negative_prompt='a' and 'b'", "'a' and 'b'"),
        ('data.path="C:\\Users\\x"', '"C:\\Users\\x"'),
    ],
)
def test_text_is_taken_as_it_is_typed(override: str, found: object) -> None:
    content: dict[str, Any] = {"data": {"path": "x"}}
    config: Any = validate(apply_overrides(content, [override], RunConfig), RunConfig, "recipe.yaml")
    for part in override.partition("=")[0].split("."):
        config = getattr(config, part)
    assert config == found


def test_options_go_with_the_kind_or_reader_that_they_are_of() -> None:
    """A bench could compare no arm of another kind with a plug-in that has options."""
    base = {"caption": {"kind": "slow", "options": {"words": 4}}, "data": {"reader": "mine", "options": {"a": 1}}}
    assert merge(base, {"caption": {"kind": "clap"}})["caption"] == {"kind": "clap"}
    assert merge(base, {"data": {"reader": "other", "options": {"b": 2}}})["data"]["options"] == {"b": 2}
    more = {"kind": "slow", "options": {"delay_s": 1}}
    assert merge(base, {"caption": more})["caption"]["options"] == {"words": 4, "delay_s": 1}
    for order in (1, -1):
        overrides = ["caption.options.words=9", "caption.kind=mine"][::order]
        assert apply_overrides(base, overrides, RunConfig)["caption"] == {"kind": "mine", "options": {"words": 9}}


def test_labels_called_kind_and_options_do_not_go_with_each_other() -> None:
    base = {"data": {"label_names": {"kind": "sort", "options": "choices"}}}
    found = apply_overrides(base, ["data.label_names.kind=type"], RunConfig)
    assert found["data"]["label_names"] == {"kind": "type", "options": "choices"}


def test_a_date_among_options_is_to_be_put_in_quotes() -> None:
    content = apply_overrides({"data": {"path": "x"}}, ["caption.options.since=2023-05-01"], RunConfig)
    with pytest.raises(ConfigError, match=r"caption.options.since: expected text: put it in quotes \(found datetime"):
        validate(content, RunConfig, "recipe.yaml")


def test_the_names_of_labels_are_taken_as_they_are_typed() -> None:
    content = apply_overrides({"data": {"path": "x"}}, ["data.label_names.a=site #3"], RunConfig)
    assert validate(content, RunConfig, "recipe.yaml").data.label_names == {"a": "site #3"}


@unhurried
@given(mappings, mappings)
def test_merging_changes_neither_side(a: dict[str, Any], b: dict[str, Any]) -> None:
    before = yaml.safe_dump([a, b])
    merge(a, b)
    assert yaml.safe_dump([a, b]) == before


def test_a_home_folder_is_no_folder_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = RunConfig.model_validate({"run_folder": "~/runs/x", "data": {"path": "x"}, "retrieve": {"cache": "~/c"}})
    assert (config.run_folder, config.retrieve.cache) == (tmp_path / "runs" / "x", tmp_path / "c")
    # A traceback once: nobody has that name.
    assert validate({"run_folder": "~nobody-here/x", "data": {"path": "x"}}, RunConfig, "recipe").run_folder == Path(
        "~nobody-here/x"
    )


def test_keys_are_text_as_it_was_written(tmp_path: Path) -> None:
    """As numbers 1, 1.0 and yes were one key, and the last of these won."""
    recipe = tmp_path / "recipe.yaml"
    names = "{1: a, 1.0: b, 001: c, yes: d, no: e, 0x1: f, 2023-05-01: g, null: h}"
    recipe.write_text(f"data: {{path: x, label_names: {names}}}\n")
    wanted = {"1": "a", "1.0": "b", "001": "c", "yes": "d", "no": "e", "0x1": "f", "2023-05-01": "g", "null": "h"}
    assert load_recipe(recipe, [], RunConfig).data.label_names == wanted
    recipe.write_text("data: {path: x}\n")
    assert load_recipe(recipe, [f"data.label_names={names}"], RunConfig).data.label_names == wanted
    recipe.write_text("a: &a {steps: 1}\nb: {<<: *a, seeds: 2}\nc: []\n")
    assert read_yaml(recipe)["b"] == {"steps": 1, "seeds": 2}
    recipe.write_text("a: &a 1\nb: {*a : 2}\n")
    assert read_yaml(recipe) == {"a": 1, "b": {"1": 2}}


@pytest.mark.parametrize(
    ("first", "more"),
    [("[x]", "[{0}]"), ("{x: 1}", "{{p: {0}, q: {0}}}"), ("{x: 1}", "{{<<: [{0}]}}")],
    ids=["lists", "mappings", "merges"],
)
def test_aliases_of_aliases_are_refused_at_once(first: str, more: str, tmp_path: Path) -> None:
    """A recipe of 446 bytes was read for hours."""
    lines = [f"a0: &a0 {first}"]
    lines += [
        f"a{i}: &a{i} " + more.format(f"*a{i - 1}, *a{i - 1}" if "[" in more else f"*a{i - 1}") for i in range(1, 60)
    ]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"holds \d+ values, with its aliases .*; expected at most"):
        read_yaml(tmp_path / "recipe.yaml")


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data: {path: x}\ntrain: {steps: 1}\nt2a:\n  dtype: float32\n  dtype: float16\ntrain: {seeds: 2}\n"
    )
    with pytest.raises(ConfigError, match=r"train stands twice \(line 6\), dtype stands twice \(line 5\)"):
        load_recipe(recipe, [], RunConfig)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": {"arms": "gold,noise"}}, "train.arms: expected a list; on the command line 'train.arms=[a,b]'"),
        ({"data": "bio"}, "data: is a section; expected one of its keys, such as data.path"),
        ({"datasets": {}}, "datasets: belongs to a bench recipe: use `synthio bench`"),
        ({"t2a": {"device": "gpu"}}, "t2a.device"),
        ({"data": {"path": date(2023, 5, 1)}}, "data.path: expected text: put it in quotes (found datetime.date(2023"),
    ],
)
def test_problems_are_told_in_words_of_recipes(content: dict[str, Any], words: str) -> None:
    assert words in problems({"data": {"path": "x"}, **content})


def test_a_run_recipe_is_no_bench_recipe() -> None:
    with pytest.raises(ConfigError, match="data: belongs to a run recipe: use `synthio run`"):
        validate({"data": {"path": "x"}}, BenchRecipe, "recipe.yaml")
