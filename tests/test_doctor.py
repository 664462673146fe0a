"""What `synthio doctor` says of the machine and of a recipe's models."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from synthio.config import CaptionConfig, ClapConfig, DataConfig, RunConfig
from synthio.doctor import examine


@pytest.mark.parametrize("setting", [{"HF_HUB_OFFLINE": "YES"}, {"TRANSFORMERS_OFFLINE": "1"}])
def test_doctor_says_offline_where_the_hub_is_not_asked(setting: dict[str, str]) -> None:
    """It knew of HF_HUB_OFFLINE=1 alone."""
    others = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    ask = "from synthio.doctor import examine; print(examine(None)['offline'])"
    ran = subprocess.run([sys.executable, "-c", ask], env=others | setting, capture_output=True, text=True, timeout=300)
    assert ran.stdout == "True\n", ran.stderr


def test_doctor_names_the_device_of_the_captioner() -> None:
    """It was that of an audio language model, which CLAP tagging does not load."""
    values = {"data": DataConfig(path="demo"), "clap": ClapConfig(device="cpu")}
    found = examine(RunConfig(**values, caption=CaptionConfig(kind="clap", device="cuda:9")))["models"]
    assert found["captioner"].startswith("clap: the model of clap; device cpu with ")
    found = examine(RunConfig(**values, caption=CaptionConfig(kind="template", device="cuda:9")))["models"]
    assert found["captioner"] == "template: no model"
    assert {"pooch", "debian"} <= examine(None)["optional"].keys()
