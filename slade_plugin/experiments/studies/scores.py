"""Read the scores of a study and summarize them: means, paired differences, intervals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slade_plugin.experiments.results.found import SEPARATED, read_saved
from slade_plugin.experiments.studies.lengths import row_lengths
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.study import Study
from slade_plugin.stages.kinds import BASELINE, PLAIN, STUDENT, TEACHER
from slade_plugin.stages.table import METRICS, mean_and_interval

ORACLE = "_oracle"  # suffix of a student trained with the pool's true labels

# row of the table -> seed -> split -> metric -> mean over split schemes, percent
Scores = dict[str, dict[int, dict[str, dict[str, float]]]]


@dataclass
class DatasetScores:
    """The scores of one data set.

    Attributes:
        rungs: Rows in order: baselines, teachers, students.
        controls: Rows of the settings that are not rungs.
        lengths: Row to seed to steps (`lengths.row_lengths`), if known.
        baselines: Row to the baseline that it is compared with: for a student the plain experiment
            that it is tuned as, its setting's or that of `first`, the first that is equally long;
            for a teacher regardless of length.
        unfinished: Setting to its missing seeds; such a setting has no row.
    """

    rungs: Scores = field(default_factory=dict)
    controls: Scores = field(default_factory=dict)
    lengths: dict[str, dict[int, int]] = field(default_factory=dict)
    baselines: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, list[int]] = field(default_factory=dict)


def read_scores(
    study: Study, runs: Mapping[tuple[str, int, str], Run], dataset: str
) -> DatasetScores:
    """Read the tables of the finished runs.

    A teacher whose scores all equal those of one above is the same and has no row.

    Args:
        study: The study.
        runs: The result of `plan_runs`.
        dataset: Name of a data set.
    """
    found = DatasetScores()
    blocks: dict[str, Scores] = {BASELINE: {}, TEACHER: {}, STUDENT: {}}
    candidates: dict[str, list[str]] = {}
    for setting in study.settings:
        of_setting = {s: r for (d, s, n), r in runs.items() if (d, n) == (dataset, setting.name)}
        missing = [seed for seed, run in of_setting.items() if not run.finished]
        if missing:
            found.unfinished[setting.name] = missing
            continue
        for seed, run in of_setting.items():
            lengths = row_lengths(run)
            if run.plain:
                found.controls.setdefault(setting.name, {})[seed] = _plain_scores(run)
                if PLAIN in lengths:
                    found.lengths.setdefault(setting.name, {})[seed] = lengths[PLAIN]
                continue
            for row in json.loads(run.table.read_text(encoding="utf-8"))["rows"]:
                stage = row["experiment"]
                given = stage == TEACHER and not setting.own_teacher
                if given or row["split_scheme"] != "mean":
                    continue
                name = study.row(setting.name, stage)
                block = found.controls if setting.control else blocks.get(stage, blocks[STUDENT])
                by_split = block.setdefault(name, {}).setdefault(seed, {})
                by_split[row["split"]] = {metric: row[metric] for metric in METRICS}
                if stage in lengths:
                    found.lengths.setdefault(name, {})[seed] = lengths[stage]
                if stage != BASELINE:
                    own = study.row(setting.baseline_of or setting.name, BASELINE)
                    candidates[name] = [setting.tuned_as, own, BASELINE]
    found.rungs = {**blocks[BASELINE], **blocks[TEACHER], **blocks[STUDENT]}
    every = {**found.rungs, **found.controls}
    teachers = [name for name in every if _stage(name) == TEACHER]
    for i, name in enumerate(teachers):
        if any(every[name] == every[above] for above in teachers[:i]):
            (found.controls if name in found.controls else found.rungs).pop(name)
            candidates.pop(name)
    for name, names in candidates.items():
        for baseline in (row for row in names if row in found.rungs or row in found.controls):
            if _stage(name) == TEACHER or _equally_long(found, name, baseline):
                found.baselines.setdefault(name, baseline)
    return found


def _plain_scores(run: Run) -> dict[str, dict[str, float]]:
    """Return a plain experiment's scores by split and metric: percent, mean over split schemes."""
    scores = read_saved(run.experiment).scores
    return {
        split: {
            metric: float(np.mean([*of_kind[SEPARATED][metric].values()])) for metric in METRICS
        }
        for split, of_kind in scores.items()
    }


def _stage(name: str) -> str:
    """Return the stage of a row, `baseline` or `teacher`; students have other names."""
    return name.rpartition(": ")[2]


def _equally_long(scores: DatasetScores, *names: str) -> bool:
    """Return whether rows are known to be equally long for every seed."""
    first, *others = (scores.lengths.get(name) for name in names)
    return first is not None and all(other == first for other in others)


def summarize(
    scores: DatasetScores, reference: str, split: str, metric: str
) -> list[dict[str, Any]]:
    """Return mean and 95 % interval over seeds, and paired differences with theirs.

    Args:
        scores: The scores of one data set.
        reference: The setting that all others are compared with.
        split: "val" or "test".
        metric: Key of METRICS.

    Returns:
        One row per setting, in percent: `mean`; `to_baseline`, to that of `scores.baselines`;
        `gain`, the same relative to it; `to_previous`, a student that is a rung to the one above,
        the first to `teacher`; `to_reference`; `gap_closed`, the share of the way from the baseline
        to an oracle, where all three are equally long and the oracle is better for every seed. Each
        is a mean over seeds of a value of one seed, with the half width of its interval under
        `<name>_interval95` if there are two seeds.
    """
    values = {
        name: np.array([by_seed[seed][split][metric] for seed in sorted(by_seed)])
        for name, by_seed in {**scores.rungs, **scores.controls}.items()
    }
    rows: list[dict[str, Any]] = []
    previous = TEACHER if TEACHER in scores.rungs else None
    for name, x in values.items():
        control = name in scores.controls
        row: dict[str, Any] = {"setting": name, "control": control, "seeds": len(x)}
        row |= _with_interval("mean", x)
        baseline = scores.baselines.get(name)
        if baseline:
            gain = x - values[baseline]
            row |= _with_interval("to_baseline", gain)
            if values[baseline].all():
                row |= _with_interval("gain", 100 * gain / values[baseline])
            oracles = (
                o for o in values if o.endswith(ORACLE) and scores.baselines.get(o) == baseline
            )
            oracle = next((o for o in oracles if _equally_long(scores, name, baseline, o)), None)
            if oracle:
                gap = values[oracle] - values[baseline]
                if min(gap) > 0:
                    row |= _with_interval("gap_closed", 100 * gain / gap)
        if not control and _stage(name) not in (BASELINE, TEACHER):
            if previous:
                row |= _with_interval("to_previous", x - values[previous])
            previous = name
        if reference in values and name != reference:
            row |= _with_interval("to_reference", x - values[reference])
        rows.append(row)
    return rows


def _with_interval(key: str, values: Sequence[float] | np.ndarray) -> dict[str, float]:
    mean, half = mean_and_interval(list(values))
    return {key: mean} if np.isnan(half) else {key: mean, f"{key}_interval95": half}
