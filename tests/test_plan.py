"""What a plan estimates: how long each stage takes, and how much there is to do at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from command_line import synthio

from synthio.plan import _slowdown


@pytest.mark.parametrize(("duration_s", "measured"), [(1.5, 1.0), (5, 2.6), (10, 5.1), (20, 12.2), (30, 24.4)])
def test_the_estimate_grows_with_the_clips_as_a_step_of_training_does(duration_s: float, measured: float) -> None:
    """For clips of 30 s it was 38% too low."""
    assert _slowdown(duration_s) == pytest.approx(measured, rel=0.1)


def test_the_plan_knows_how_long_the_clips_are(tmp_path: Path) -> None:
    pytest.importorskip("all_minilm_l6_v2")
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            noise = np.random.default_rng(number + 10 * (label == "b")).normal(size=5 * 16_000) / 9
            sf.write(tmp_path / "data" / label / f"{number}.wav", noise, 16_000)
    (tmp_path / "recipe.yaml").write_text(f"data: {{path: {tmp_path / 'data'}}}\nrun_folder: {tmp_path / 'run'}\n")

    def planned(*options: str) -> dict[str, Any]:
        result = synthio("run", tmp_path / "recipe.yaml", *options, "--dry-run", "--json")
        assert result.returncode == 0, result.stderr
        return {row["stage"]: row for row in json.loads(result.stdout)["stages"]}

    long, short = planned(), planned("data.max_duration_s=1.5")
    for stage in ("align", "generate", "train"):
        assert long[stage]["estimate_s"] > 2.5 * short[stage]["estimate_s"]
    assert long["imagine"]["estimate_s"] == short["imagine"]["estimate_s"]
    assert long["generate"]["most_s"] == pytest.approx(4 * long["generate"]["estimate_s"], rel=0.01)
    # 10 training clips x 5 captions, each of which may be asked for again in three rounds; and what the 10 hold.
    clips = long["generate"]["items"] // 5
    assert long["imagine"]["items"] == 6 * clips
    assert long["imagine"]["unit"].endswith(f", at most {clips + 4 * 5 * clips} with reflection")
    template = planned("imagine.mode=template", "reflect.rounds=0")
    assert (
        template["imagine"]["items"] == 0 and "at most" not in template["imagine"]["unit"] + template["filter"]["unit"]
    )
    paid, most = planned("imagine.kind=endpoint", "imagine.max_tries=2"), clips + 4 * 5 * clips
    assert paid["imagine"]["items"] == long["imagine"]["items"]
    assert paid["imagine"]["unit"].endswith(f", at most {2 * most} with reflection and answers asked for again")
    shown = synthio("run", tmp_path / "recipe.yaml", "--dry-run").stdout
    assert "together" in shown
