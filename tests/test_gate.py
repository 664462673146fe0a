"""The gate: folds keep groups, the paired test decides, and synthetic clips that help are let in, useless ones not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_ast
from builders import make_clip
from scipy import stats
from tone_project import Listener, make_clips, make_config, make_synthetic, tones

from synthio import audio
from synthio.arms import AddedClip
from synthio.context import StageContext
from synthio.datasets.checks import gate_warnings
from synthio.records import Clip, GatedClip
from synthio.stages.gate import (
    GateMeasures,
    GateOption,
    assign_folds,
    choose_share,
    class_weights,
    group_differences,
    mean_errors,
    measure_shares,
    p_value,
)
from synthio.store import StageFolder


def clip(number: int, label: str, group: str | None = None) -> Clip:
    name = f"c{number}"
    return make_clip(id=name, labels=(label,), sha256=name, group=group)


def test_folds_are_stratified_and_keep_groups_whole() -> None:
    clips = [clip(k, "ab"[k % 2], f"g{k // 4}") for k in range(48)]
    folds = assign_folds(clips, 3, seed=0)
    for group in {c.group for c in clips}:
        assert len({int(f) for c, f in zip(clips, folds, strict=True) if c.group == group}) == 1
    for fold in range(3):
        labels = [c.labels[0] for c, f in zip(clips, folds, strict=True) if f == fold]
        assert labels.count("a") == labels.count("b") == 8
    assert (folds == assign_folds(clips, 3, seed=0)).all()
    assert any((folds != assign_folds(clips, 3, seed=seed)).any() for seed in range(1, 5))


def test_copies_of_a_clip_are_in_one_fold() -> None:
    """A classifier heard in training what it was then tested on."""
    clips = [clip(k, "ab"[k % 2]).model_copy(update={"sha256": f"audio {k // 4}"}) for k in range(48)]
    folds = assign_folds(clips, 3, seed=0)
    for first in range(0, 48, 4):
        assert len(set(folds[first : first + 4])) == 1


def test_classes_with_fewer_clips_than_folds_are_folded_all_the_same() -> None:
    clips = [clip(k, "abcdefghijk"[k % 11]) for k in range(22)]
    assert set(assign_folds(clips, 3, 0)) == {0, 1, 2}


def test_a_rare_class_beside_a_frequent_one_is_folded_without_a_warning() -> None:
    clips = [clip(k, "rare" if k == 0 else "often") for k in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(assign_folds(clips, 3, 0)) == [0] * 4 + [1] * 4 + [2] * 4


def gated(share: float, losses: Sequence[float], group_size: int = 1) -> list[GatedClip]:
    return [
        GatedClip(id=f"{share}/c{k}", clip_id=f"c{k}", group=f"g{k // group_size}", share=share, fold=0, error=loss)
        for k, loss in enumerate(losses)
    ]


def test_the_test_is_paired_one_sided_corrected_and_of_the_average_share() -> None:
    generator = np.random.default_rng(0)
    gold = generator.gamma(2, size=40)
    better = (gold - generator.normal(0.6, 0.3, 40)).clip(0)
    same = (gold + generator.normal(0, 0.3, 40)).clip(0)
    records = [*gated(0.0, list(gold)), *gated(0.25, list(same)), *gated(0.5, list(better))]
    plain = stats.ttest_rel((same + better) / 2, gold, alternative="less")
    # Nadeau and Bengio: 1/3 becomes 1/3 + 1/2.
    assert p_value(group_differences(records), 3) == pytest.approx(
        stats.t.cdf(plain.statistic / np.sqrt(2.5), plain.df)
    )
    assert [option.error for option in mean_errors(records, (0.0, 0.25, 0.5))] == pytest.approx(
        [gold.mean(), same.mean(), better.mean()]
    )


def test_clips_of_a_group_count_once() -> None:
    generator = np.random.default_rng(1)
    gold, change = generator.gamma(2, size=12), generator.normal(-0.2, 0.3, 12)
    alone = [*gated(0.0, list(gold)), *gated(0.5, list((gold + change).clip(0)))]
    five_each = [
        *gated(0.0, list(gold.repeat(5)), group_size=5),
        *gated(0.5, list((gold + change).clip(0).repeat(5)), group_size=5),
    ]
    assert group_differences(alone) == pytest.approx(group_differences(five_each))


@pytest.mark.parametrize("groups", [4, 48])
@pytest.mark.parametrize("level", [0.1, 0.5])
@pytest.mark.parametrize("correlation", [0.0, 0.1])
def test_useless_clips_are_let_in_at_most_as_often_as_the_level_says(
    correlation: float, level: float, groups: int
) -> None:
    """Under no effect, also when the groups of a fold share the luck of their trained model."""
    generator = np.random.default_rng(0)
    trials, folds = 2000, 3
    fold_of = np.arange(groups) % folds
    let_in = 0
    for _ in range(trials):
        by_share = []
        for _ in range(2):
            shared = generator.normal(size=folds)[fold_of] * np.sqrt(correlation)
            by_share.append(shared + generator.normal(size=groups) * np.sqrt(1 - correlation))
        let_in += p_value(list(np.mean(by_share, axis=0)), folds) < level
    assert let_in / trials < level + 0.05


def measured(errors: dict[float, float], p: float | None) -> GateMeasures:
    options = tuple(GateOption(share=share, error=error) for share, error in errors.items())
    return GateMeasures(options=options, p_value=p)


def test_a_large_effect_is_let_in() -> None:
    generator = np.random.default_rng(2)
    gold = generator.gamma(2, size=50)
    records = [*gated(0.0, list(gold)), *gated(0.5, list(gold * generator.uniform(0.5, 0.9, 50)))]
    assert p_value(group_differences(records), 3) < 0.1


def test_without_evidence_the_choice_is_zero() -> None:
    same = [*gated(0.0, [1.0, 2.0]), *gated(0.5, [1.0, 2.0])]
    assert p_value(group_differences(same), 3) == 1
    assert choose_share(measured({0: 1, 0.5: 2}, 0.9), 0.5) == 0.0
    assert choose_share(measured({0: 2, 0.5: 1}, 0.2), 0.1) == 0.0
    assert choose_share(measured({0: 1}, None), 0.5) == 0.0


def test_of_the_shares_the_lowest_error_is_chosen() -> None:
    assert choose_share(measured({0: 3, 0.25: 2, 0.5: 1, 0.75: 4}, 0.01), 0.1) == 0.5
    # Groups of unlike size: their mean may be better where that of the clips is not.
    assert choose_share(measured({0: 1, 0.5: 2}, 0.01), 0.1) == 0.0


def test_a_rare_class_weighs_as_much_as_a_frequent_one() -> None:
    """Of 90 normal clips the error rises, of 10 faulty ones it falls by more: accuracy and its opposite disagree."""
    labels = ["normal"] * 90 + ["faulty"] * 10
    weights = class_weights(labels, labels)
    assert weights.mean() == pytest.approx(1.0)
    before, after = np.repeat([0.05, 0.9], [90, 10]), np.repeat([0.12, 0.5], [90, 10])
    assert after.mean() > before.mean()
    assert (weights * before).mean() == pytest.approx((0.05 + 0.9) / 2)
    assert (weights * after).mean() == pytest.approx((0.12 + 0.5) / 2)


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ast.build(tmp_path_factory.mktemp("model") / "ast")


class Gated:
    """Real clips of two tones, a config with two folds and one share, and a stage folder."""

    def __init__(self, ast: Path, root: Path, steps: int = 30) -> None:
        self.root = root
        self.clips = make_clips(root / "real", {"train": 6, "valid": 3, "test": 1})
        made = make_config(ast, root, steps=steps, evaluate_every=10)
        gate = made.gate.model_copy(update={"shares": (0.5,), "folds": 2})
        self.config = made.model_copy(update={"gate": gate})

    def folder(self, key: str = "k") -> StageFolder:
        return StageFolder(self.root / "run", "gate", key)

    def run(self, synthetic: Sequence[AddedClip], key: str = "k", reporter: Listener | None = None) -> GateMeasures:
        return measure_shares(
            StageContext(self.config, self.folder(key), reporter or Listener()), self.clips, synthetic
        )


def mislabelled(root: Path, clips: Sequence[Clip]) -> list[AddedClip]:
    made = []
    for number, real in enumerate(c for c in clips if c.split == "train"):
        path = root / "wrong" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write_flac(path, tones(["high" if real.labels[0] == "low" else "low"], number), 16000)
        made.append(AddedClip(str(path), real.labels, real.id))
    return made


def test_copies_are_counted_once_and_are_evidence_once(ast: Path, tmp_path: Path) -> None:
    made = Gated(ast, tmp_path, steps=1)
    training = [c for c in made.clips if c.split == "train"]
    pairs = {c.id: f"audio {number // 2}" for number, c in enumerate(training)}
    made.clips = [c.model_copy(update={"sha256": pairs.get(c.id, c.id)}) for c in made.clips]
    made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    different = len(set(pairs.values()))
    assert different == len(training) // 2 < 10
    training = [c for c in made.clips if c.split == "train"]
    assert f"the training clips are {different}, without groups" in gate_warnings(training)[0]
    assert len(group_differences(made.folder().manifest(GatedClip))) == different


def test_groups_stay_whole_where_they_are_fewer_than_the_folds(ast: Path, tmp_path: Path) -> None:
    """Clips of both groups once stood on both sides, where the classifier knows each group already."""
    made = Gated(ast, tmp_path, steps=1)
    gate = made.config.gate.model_copy(update={"folds": 3})
    made.config = made.config.model_copy(update={"gate": gate})
    made.clips = [c.model_copy(update={"group": f"g{number % 2}"}) for number, c in enumerate(made.clips)]
    made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    folds = {(record.group, record.fold) for record in made.folder().manifest(GatedClip)}
    assert len(folds) == 2 and {fold for _, fold in folds} == {0, 1}


def test_fewer_clips_than_folds_are_a_fold_each(ast: Path, tmp_path: Path) -> None:
    """It stopped the run, after all clips were generated."""
    made = Gated(ast, tmp_path, steps=1)
    gate = made.config.gate.model_copy(update={"folds": 20})
    made.config = made.config.model_copy(update={"gate": gate})
    made.clips = make_clips(tmp_path / "few", {"train": 2, "valid": 1, "test": 1})
    made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    training = [c for c in made.clips if c.split == "train"]
    assert sorted({record.fold for record in made.folder().manifest(GatedClip)}) == list(range(len(training)))


def test_one_group_says_nothing_of_others(ast: Path, tmp_path: Path) -> None:
    """It trained for nothing, and always said no."""
    made = Gated(ast, tmp_path, steps=1)
    made.clips = [c.model_copy(update={"group": "machine A"}) for c in made.clips]
    decision = made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    assert decision == GateMeasures(options=(), p_value=None) and choose_share(decision, 0.5) == 0
    assert "of 1 group, which says nothing of others" in gate_warnings(made.clips)[0]


def test_the_gates_errors_follow_the_metric(ast: Path, tmp_path: Path) -> None:
    made = Gated(ast, tmp_path, steps=1)
    rare = [c for c in made.clips if c.split == "train" and c.labels == ("low",)][2:]
    made.clips = [c for c in made.clips if c not in rare]
    synthetic, errors = make_synthetic(tmp_path / "synthetic", made.clips), []
    for metric in ("accuracy", "balanced accuracy"):
        train = made.config.train.model_copy(update={"metric": metric})
        made.config = made.config.model_copy(update={"train": train})
        made.run(synthetic, key=metric)
        errors.append([record.error for record in made.folder(metric).manifest(GatedClip)])
    labels = {c.id: c.labels[0] for c in made.clips}
    heard = [labels[record.clip_id] for record in made.folder("accuracy").manifest(GatedClip)]
    of_all = ["high"] * 6 + ["low"] * 2
    assert errors[1] == pytest.approx(np.array(errors[0]) * class_weights(heard, of_all))


def test_mislabelled_synthetic_clips_stay_out(ast: Path, tmp_path: Path) -> None:
    made = Gated(ast, tmp_path)
    decision = made.run(mislabelled(tmp_path, made.clips))
    assert choose_share(decision, 0.5) == 0.0
    by_share = {option.share: option.error for option in decision.options}
    assert by_share[0.5] > by_share[0.0]
    assert GateMeasures.model_validate(made.folder().summary()) == decision


def test_every_training_clip_is_held_out_once_per_share(ast: Path, tmp_path: Path) -> None:
    made = Gated(ast, tmp_path, steps=4)
    made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    training = {clip.id for clip in made.clips if clip.split == "train"}
    found = [(r.share, r.clip_id) for r in made.folder().manifest(GatedClip)]
    assert sorted(found) == sorted((share, name) for share in (0.0, 0.5) for name in training)


def test_the_shares_of_a_fold_have_the_same_dice(ast: Path, tmp_path: Path) -> None:
    """So a share that lets no synthetic clip in trains what share 0 does: the difference is the clips' alone."""
    made = Gated(ast, tmp_path, steps=4)
    gate = made.config.gate.model_copy(update={"shares": (1e-12,)})
    made.config = made.config.model_copy(update={"gate": gate})
    made.run(make_synthetic(tmp_path / "synthetic", made.clips))
    errors = {(r.share, r.clip_id): r.error for r in made.folder().manifest(GatedClip)}
    gold = {name: error for (share, name), error in errors.items() if share == 0}
    assert gold == {name: error for (share, name), error in errors.items() if share > 0}


def test_synthetic_clips_of_held_out_clips_are_not_trained_on(ast: Path, tmp_path: Path) -> None:
    """Ruining the audio of one clip's synthetic clip changes nothing for that clip's own score."""
    made = Gated(ast, tmp_path, steps=4)
    synthetic = make_synthetic(tmp_path / "synthetic", made.clips)
    made.run(synthetic, "first")
    audio.write_flac(Path(synthetic[0].path).with_suffix(".flac"), tones(["high", "low"], 99), 16000)
    ruined = [AddedClip(str(Path(synthetic[0].path).with_suffix(".flac")), synthetic[0].labels, synthetic[0].clip_id)]
    made.run([*ruined, *synthetic[1:]], "second")
    first, second = (
        {r.id: (r.fold, r.error) for r in made.folder(key).manifest(GatedClip)} for key in ("first", "second")
    )
    own_fold = first[f"0.5/{synthetic[0].clip_id}"][0]
    for id_, (fold, loss) in first.items():
        if fold == own_fold or id_.startswith("0.0/"):
            assert second[id_] == (fold, loss)
    assert any(second[id_] != value for id_, value in first.items())


def test_killed_and_resumed_gives_the_same_decision(ast: Path, tmp_path: Path) -> None:
    made = Gated(ast, tmp_path, steps=4)
    synthetic = make_synthetic(tmp_path / "synthetic", made.clips)
    undisturbed = made.run(synthetic, "first")
    records = made.folder("first").manifest(GatedClip)
    cut = made.folder("second")
    cut.append([record for record in records if record.fold == 0])
    resumed = made.run(synthetic, "second")
    assert (resumed.options, resumed.p_value) == (undisturbed.options, undisturbed.p_value)
    assert sorted(r.id for r in cut.manifest(GatedClip)) == sorted(r.id for r in records)


def test_without_synthetic_clips_nothing_is_trained(ast: Path, tmp_path: Path) -> None:
    listener = Listener()
    decision = Gated(ast, tmp_path).run([], reporter=listener)
    assert (decision.options, decision.p_value) == ((), None)
    assert listener.steps == 0
