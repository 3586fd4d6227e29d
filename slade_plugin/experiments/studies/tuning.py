"""Tune the settings of a study with equal effort: as many trials for each, chosen on val.

A setting names its parameters, such as `$rate`, in its flags and their ranges under `tune`. Its
trials are points of a Halton sequence, the same number for every setting, all with one seed and
split that no reported run has. A trial is never evaluated on test.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.results.found import SEPARATED, read_saved
from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.experiments.studies.plan import MARKERS, Run, Values, plan_runs
from slade_plugin.experiments.studies.study import Space, Study
from slade_plugin.stages.table import MAIN_METRIC, METRICS


@dataclass(frozen=True)
class Trial:
    """A trial of a setting.

    Attributes:
        dataset: Name of the data set.
        setting: Name of the setting.
        values: Parameter to its value, as in the flags.
        run: The run.
        score: Best MAP@R on val, percent, 0 if training diverged; None while it is unfinished.
    """

    dataset: str
    setting: str
    values: Mapping[str, str]
    run: Run
    score: float | None


def points(spaces: Mapping[str, Space], number: int) -> list[dict[str, str]]:
    """Return the values of the trials of a setting: a Halton sequence, the same at each call.

    Args:
        spaces: Parameter to its range.
        number: Number of trials.
    """
    shares = qmc.Halton(len(spaces), rng=np.random.default_rng(0)).random(number)
    return [
        {name: space.at(share) for (name, space), share in zip(spaces.items(), row, strict=True)}
        for row in shares
    ]


def plan_trials(study: Study, folder: Path, extra: Sequence[str] = ()) -> list[Trial]:
    """Plan the trials of all settings that are tuned, and read the scores of finished ones.

    Args:
        study: The study.
        folder: The folder of runs.
        extra: Additional flags for every run.
    """
    tuned = [setting for setting in study.settings if setting.tune]
    settings = [
        replace(setting, name=_name(setting.name, number), tune={})
        for setting in tuned
        for number in range(max(study.trials.values(), default=0))
    ]
    if not settings:
        return []
    values = {
        (dataset, setting.name, number): chosen
        for dataset in study.datasets
        for setting in tuned
        for number, chosen in enumerate(points(setting.tune[dataset], study.trials[dataset]))
    }
    trials = replace(study, settings=tuple(settings), first=settings[0].name)
    of_trial = {(d, _name(setting, n)): chosen for (d, setting, n), chosen in values.items()}
    planned = plan_runs(trials, folder, [study.tuning_seed], extra, of_trial)
    runs = {key: replace(run, evaluation="val") for key, run in planned.items()}
    return [
        Trial(dataset, setting, chosen, run, _score(run) if run.finished else None)
        for (dataset, setting, number), chosen in values.items()
        for run in [runs[dataset, study.tuning_seed, _name(setting, number)]]
    ]


def _name(setting: str, number: int) -> str:
    return f"{setting}_trial{number}"


def best_values(trials: Sequence[Trial]) -> Values:
    """Map (data set, setting) to the values of its best trial.

    Raises:
        ExperimentError: If a trial is unfinished.
    """
    unfinished = [trial.run.title for trial in trials if trial.score is None]
    if unfinished:
        raise ExperimentError(
            f"{len(unfinished)} trials are unfinished, such as {unfinished[0]}; expected all, "
            "since each setting gets the same number. Run the study without --no-run."
        )
    return {key: best.values for key, best in _winners(trials)}


def tuning_to_markdown(trials: Sequence[Trial], dataset: str) -> str:
    """Return a table of the tuned settings of a data set: trials, best score, its values."""
    rows = []
    for (_, setting), best in _winners([t for t in trials if t.dataset == dataset]):
        scores = [t.score or 0.0 for t in trials if (t.dataset, t.setting) == (dataset, setting)]
        chosen = ", ".join(f"{name} {value}" for name, value in best.values.items())
        median, highest = f"{np.median(scores):.2f}", f"{max(scores):.2f}"
        rows.append([setting, str(len(scores)), median, highest, chosen])
    title = METRICS[MAIN_METRIC]
    return markdown_table(
        ["setting", "trials", f"median {title} on val", f"best {title} on val", "chosen"], rows
    )


def trials_to_csv(trials: Sequence[Trial]) -> str:
    """Return CSV with a line for each trial: its values and its score on val, percent."""
    rows = []
    for trial in trials:
        values = " ".join(f"{name}={value}" for name, value in trial.values.items())
        score = "" if trial.score is None else round(trial.score, 6)
        rows.append([trial.dataset, trial.setting, trial.run.seed, values, score])
    return csv_text(["dataset", "setting", "seed", "values", f"val {MAIN_METRIC}"], rows)


def _winners(trials: Sequence[Trial]) -> Iterator[tuple[tuple[str, str], Trial]]:
    for key in dict.fromkeys((trial.dataset, trial.setting) for trial in trials):
        of_key = [trial for trial in trials if (trial.dataset, trial.setting) == key]
        yield key, max(of_key, key=lambda trial: trial.score or 0.0)


def _score(run: Run) -> float:
    if "diverged" in (run.folder / MARKERS["val"]).read_text(encoding="utf-8"):
        return 0.0
    scores = read_saved(run.experiment).scores["val"][SEPARATED][MAIN_METRIC]
    return float(np.mean([*scores.values()]))
