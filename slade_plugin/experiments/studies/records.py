"""Write a leaderboard record of every row of a study."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slade_plugin.experiments.results.found import Group, as_one_method, read_saved
from slade_plugin.experiments.results.record import write_record
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.scores import read_scores
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.experiments.studies.tuning import Trial
from slade_plugin.stages.kinds import BASELINE, PLAIN, STUDENT, TEACHER, students_of


def write_records(
    study: Study,
    runs: Mapping[tuple[str, int, str], Run],
    folder: Path,
    dataset_root: Path,
    budget: Mapping[str, Any] | None = None,
    trials: Sequence[Trial] = (),
) -> list[Path]:
    """Write the records that do not exist yet, one for each row of the page.

    Args:
        study: The study.
        runs: The result of `plan_runs`.
        folder: The leaderboard.
        dataset_root: Root of the data.
        budget: The effort of tuning (`read_budget`) of the settings that the study does not tune.
        trials: The finished trials of those it tunes.

    Returns:
        Their folders, `DATASET_SETTING` or `DATASET_SETTING_STAGE`.

    Raises:
        ExperimentError: If a record cannot be written.
    """
    written = []
    for dataset in study.datasets:
        scores = read_scores(study, runs, dataset)
        for setting in study.settings:
            of = [run for (d, _, name), run in runs.items() if (d, name) == (dataset, setting.name)]
            for stage in _stages(setting):
                main = stage in (PLAIN, STUDENT)
                row = study.row(setting.name, STUDENT if main else stage)
                if row not in scores.rungs and row not in scores.controls:
                    continue  # unfinished, or the same teacher as of another row
                path = folder / re.sub(
                    r"\W+", "_", f"{dataset}_{setting.name}{'' if main else f'_{stage}'}"
                )
                if path.exists():
                    continue
                title = setting.name if main else f"{setting.name} ({stage})"
                group = Group(title, as_one_method([read_saved(_place(run, stage)) for run in of]))
                effort = _tuning(study, dataset, setting, trials) or budget
                write_record(group, path, dataset_root, effort)
                written.append(path)
    return written


def _tuning(
    study: Study, dataset: str, setting: Setting, trials: Sequence[Trial]
) -> dict[str, Any] | None:
    """Return the effort of a setting that the study tunes; None of another one."""
    if not (setting.tune or setting.tuned_as):
        return None
    tuned = (dataset, setting.tuned_as or setting.name)
    trials = [trial for trial in trials if (trial.dataset, trial.setting) == tuned]
    tried = [{"values": dict(t.values), "seed": t.run.seed, "score": t.score} for t in trials]
    return {"trials": len(tried), "split": "val", "note": f"study {study.name}", "tried": tried}


def _stages(setting: Setting) -> Iterator[str]:
    yield PLAIN if setting.plain else STUDENT
    if setting.own_teacher and not setting.plain:
        yield TEACHER
    if setting.own_baseline:
        yield BASELINE


def _place(run: Run, stage: str) -> Path:
    if stage == STUDENT:
        return students_of(run.experiment)[-1]
    return run.experiment if stage == PLAIN else run.experiment / stage
