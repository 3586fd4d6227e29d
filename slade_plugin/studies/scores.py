"""What the runs of a study scored, and what that says: means, paired differences, intervals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slade_plugin.results.table import METRICS, mean_and_interval
from slade_plugin.self_training.stages import BASELINE, STUDENT, TEACHER
from slade_plugin.studies.plan import Run, Study

ORACLE = "_oracle"  # end of the name of a student whose pool has its true labels

# row of the table -> seed -> split -> metric -> mean over split schemes, percent
Scores = dict[str, dict[int, dict[str, dict[str, float]]]]


@dataclass
class DatasetScores:
    """The scores of one data set.

    Attributes:
        rungs: Rows in order: baselines, teachers, students.
        controls: Rows of the settings that are no rung.
        unfinished: Setting to the seeds that it lacks; such a setting has no row.
    """

    rungs: Scores = field(default_factory=dict)
    controls: Scores = field(default_factory=dict)
    unfinished: dict[str, list[int]] = field(default_factory=dict)


def read_scores(
    study: Study, runs: Mapping[tuple[str, int, str], Run], dataset: str
) -> DatasetScores:
    """Reads the tables of the finished runs.

    Args:
        study: The study.
        runs: What `plan_runs` gave.
        dataset: Name.
    """
    found = DatasetScores()
    blocks: dict[str, Scores] = {BASELINE: {}, TEACHER: {}, STUDENT: {}}
    for setting in study.settings:
        of_setting = {s: r for (d, s, n), r in runs.items() if (d, n) == (dataset, setting.name)}
        missing = [seed for seed, run in of_setting.items() if not run.finished]
        if missing:
            found.unfinished[setting.name] = missing
            continue
        for seed, run in of_setting.items():
            for row in json.loads(run.table.read_text(encoding="utf-8"))["rows"]:
                stage = row["experiment"]
                given = stage == TEACHER and not setting.own_teacher
                if given or row["split_scheme"] != "mean":
                    continue
                name = stage if setting.name == study.first else f"{setting.name}: {stage}"
                name = setting.name if stage == STUDENT else name
                block = found.controls if setting.control else blocks.get(stage, blocks[STUDENT])
                by_split = block.setdefault(name, {}).setdefault(seed, {})
                by_split[row["split"]] = {metric: row[metric] for metric in METRICS}
    found.rungs = {**blocks[BASELINE], **blocks[TEACHER], **blocks[STUDENT]}
    return found


def summarise(
    scores: DatasetScores, reference: str, split: str, metric: str
) -> list[dict[str, Any]]:
    """Mean and 95 % interval over seeds, and paired differences with theirs.

    Args:
        scores: Of one data set.
        reference: The setting that all others are compared with.
        split: "val" or "test".
        metric: Key of METRICS.

    Returns:
        A row a setting, all in percent: `mean`; `to_baseline`, to its own if it has one; `gain`,
        the same relative to it; `to_previous`, a rung to the row above; `to_reference`;
        `gap_closed`, the share of the way from the baseline to the oracle, where there is one. Each
        is a mean over seeds of a value of one seed, with the half width of its interval under
        `<name>_interval95` if there are two seeds.
    """
    values = {
        name: np.array([by_seed[seed][split][metric] for seed in sorted(by_seed)])
        for name, by_seed in {**scores.rungs, **scores.controls}.items()
    }
    baseline = values.get(BASELINE)
    oracle = next((x for name, x in values.items() if name.endswith(ORACLE)), None)
    rows: list[dict[str, Any]] = []
    previous: str | None = None
    for name, x in values.items():
        control = name in scores.controls
        row: dict[str, Any] = {"setting": name, "control": control, "seeds": len(x)}
        row |= _with_interval("mean", x)
        own = values.get(f"{name.partition(':')[0]}: {BASELINE}", baseline)
        if own is not None and not name.endswith(BASELINE):
            row |= _with_interval("to_baseline", x - own)
            if own.all():
                row |= _with_interval("gain", 100 * (x - own) / own)
            if baseline is not None and oracle is not None and (oracle - baseline).all():
                row |= _with_interval("gap_closed", 100 * (x - baseline) / (oracle - baseline))
        if previous is not None and not control:
            row |= _with_interval("to_previous", x - values[previous])
        if reference in values and name != reference:
            row |= _with_interval("to_reference", x - values[reference])
        rows.append(row)
        previous = name
    return rows


def _with_interval(key: str, values: Sequence[float] | np.ndarray) -> dict[str, float]:
    mean, half = mean_and_interval(list(values))
    return {key: mean} if np.isnan(half) else {key: mean, f"{key}_interval95": half}
