"""Shared fixtures: tiny models, data on disk and a finished training, built once per session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile as sf
from hypothesis import settings

if TYPE_CHECKING:
    from tone_project import Project

# Before any hub library is imported: no test asks the network, and an unknown hub id fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
# One thread per worker of pytest-xdist: more would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A machine that is busy is no failure.
settings.register_profile("synthio", deadline=None)
settings.load_profile("synthio")


@pytest.fixture(scope="session")
def flow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import tiny_stable_audio_3

    return tiny_stable_audio_3(tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="session")
def v_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import tiny_stable_audio

    return tiny_stable_audio(tmp_path_factory.mktemp("v"))


@pytest.fixture(scope="session")
def ldm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_audioldm2 import tiny_audioldm2

    return tiny_audioldm2(tmp_path_factory.mktemp("ldm"))


@pytest.fixture(scope="session")
def clap_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import tiny_clap

    return tiny_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="session")
def ast_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_ast import build

    return build(tmp_path_factory.mktemp("ast"))


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_llm import tiny_gemma

    return tiny_gemma(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="session")
def project(ast_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run of both arms with two seeds."""
    from tone_project import Project, make_clips, make_config, make_synthetic

    root = tmp_path_factory.mktemp("run")
    clips = make_clips(root / "audio", {"train": 4, "valid": 3, "test": 10})
    made = Project(make_config(ast_model, root), clips, make_synthetic(root / "synthetic", clips), root)
    made.run()
    return made


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ plainly: low tones and hiss; 4 training, 2 validation and 4 test clips each."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    time = np.arange(8_000) / 16_000
    for split, count in (("train", 4), ("valid", 2), ("test", 4)):
        for label in ("low_tone", "hiss"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                tone = np.sin(2 * np.pi * generator.uniform(150, 400) * time)
                noise = generator.normal(size=time.shape[0]) * 0.3
                samples = tone if label == "low_tone" else noise
                sf.write(folder / f"{label}_{index}.wav", 0.5 * samples, 16_000)
    return root
