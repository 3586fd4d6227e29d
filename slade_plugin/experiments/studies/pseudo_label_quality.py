"""Measure how pseudo labels agree with true labels and with those of the last round."""

import json
from collections.abc import Mapping, Sequence

from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.stages.kinds import PSEUDO_LABELS

LabelQuality = dict[str, dict[str, float]]

_AGREEMENT = "agreement"  # with the true labels, if the pool has them
_LAST_ROUND = "last_round"
COLUMNS = {
    (_AGREEMENT, "NMI"): "NMI",
    (_AGREEMENT, "AMI"): "AMI",
    (_AGREEMENT, "purity"): "purity",
    (_AGREEMENT, "pair_precision"): "pairs right",
    (_LAST_ROUND, "NMI"): "NMI with the last round",
    (_LAST_ROUND, "moved"): "moved",
}


def label_quality(runs: Sequence[Run]) -> LabelQuality:
    """Return the measures of each stage, mean over the finished runs and their split schemes.

    Args:
        runs: Those of one setting.

    Returns:
        `pseudo_labels`, `round2/pseudo_labels`, ... to values of `COLUMNS`, in percent; NMI and AMI
        too. Empty if no run made pseudo labels, or nothing is known of them.
    """
    noted: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        rounds = run.experiment.glob(f"round*/{PSEUDO_LABELS}/*.json")
        for file in [*run.experiment.glob(f"{PSEUDO_LABELS}/*.json"), *sorted(rounds)]:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            stage = file.parent.relative_to(run.experiment).as_posix()
            for (part, measure), title in COLUMNS.items():
                if measure in (manifest.get(part) or {}):
                    of_stage = noted.setdefault(stage, {})
                    of_stage.setdefault(title, []).append(100 * manifest[part][measure])
    return {
        stage: {title: sum(values) / len(values) for title, values in of_stage.items()}
        for stage, of_stage in noted.items()
    }


def quality_to_markdown(quality: Mapping[str, LabelQuality]) -> str:
    """Return a table of `label_quality` with a row per setting and stage.

    Args:
        quality: Setting to its stages.
    """
    every = [measures for stages in quality.values() for measures in stages.values()]
    titles = [t for t in COLUMNS.values() if any(t in measures for measures in every)]
    rows = [
        [setting, stage, *(f"{measures[t]:.1f}" if t in measures else "" for t in titles)]
        for setting, stages in quality.items()
        for stage, measures in stages.items()
    ]
    table = markdown_table(["setting", "stage", *titles], rows)
    return (
        "Pseudo labels against the true labels of the pool, percent, mean over seeds and split "
        "schemes; pairs right: share of all pairs of one pseudo label that are of one class; "
        "moved: share of the images outside the best one-to-one matching with the last round's "
        f"clusters.\n\n{table}"
    )
