"""The cards of ``dataset/`` and ``model/``: a README.md each, whose front matter the Hugging Face hub reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from synthio import pages
from synthio.backends.located import local_folder
from synthio.config import RunConfig
from synthio.report_data import ModelUsed, ReportData, models_used
from synthio.report_page import FITTING, recommended_result
from synthio.stages.dataset import Accepted
from synthio.versions import versions


def dataset_card(
    title: str,
    config: RunConfig,
    accepted: Sequence[Accepted],
    hub_commits: Mapping[str, Sequence[str]],
    is_aligned: bool,
) -> str:
    """What the clips in ``dataset/`` were made by, which were taken, and how many of each class there are.

    ``title``: the name of the run; ``hub_commits``: as of `results.FinishedRun`.
    """
    counts = Counter(label for item in accepted for label in item.prompt.labels)
    return pages.render_markdown(
        "dataset_card",
        title=title,
        config=config,
        synthio_version=versions()["synthio"],
        models={model.part: _told(model) for model in models_used(config, hub_commits)},
        is_aligned=is_aligned,
        fitting=FITTING[config.filter.rule],
        n_clips=len(accepted),
        counts=dict(sorted(counts.items())),
    )


def model_card(data: ReportData) -> str:
    """What the classifier in ``model/`` was trained on, what it scores on the test clips, and how to use it."""
    return pages.render_markdown(
        "model_card",
        data=data,
        synthio_version=versions()["synthio"],
        base=next(_told(model) for model in data.models if model.part == "classifier"),
        result=recommended_result(data.comparison),
    )


def _told(model: ModelUsed) -> str:
    # Not where it lies: cards are handed on.
    folder = local_folder(model.name)
    return f"{model.name if folder is None else folder.name} ({model.identity or 'identity not given'})"
