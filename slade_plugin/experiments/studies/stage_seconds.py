"""Measure the CPU time of each stage of a setting, and its share of the total."""

from collections.abc import Mapping, Sequence

from slade_plugin.config.experiment_folder import read_state
from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.experiments.studies.plan import Run

StageSeconds = dict[str, float]


def stage_seconds(runs: Sequence[Run]) -> StageSeconds:
    """Return the CPU seconds of each stage, mean over the finished runs.

    CPU seconds of all threads and worker processes, since wall-clock time depends on what else
    runs. A stage that all runs were given, such as a teacher, is not among them.

    Args:
        runs: Those of one setting.

    Returns:
        Stages in the order in which they were run; empty if no run noted such seconds.
    """
    noted: dict[str, list[float]] = {}
    for run in (run for run in runs if not run.plain):
        for stage, entry in read_state(run.experiment).get("stages", {}).items():
            if "cpu_seconds" in entry:
                noted.setdefault(stage, []).append(entry["cpu_seconds"])
    return {stage: sum(values) / len(values) for stage, values in noted.items()}


def seconds_to_markdown(seconds: Mapping[str, StageSeconds]) -> str:
    """Return a table of `stage_seconds` with a row per setting and a column per stage.

    Args:
        seconds: Setting to its stages.
    """
    # Taken from the setting with most stages; others lack the stages given to them.
    longest_first = sorted(seconds.values(), key=len, reverse=True)
    stages = list(dict.fromkeys(stage for of_setting in longest_first for stage in of_setting))
    rows = []
    for setting, of_setting in seconds.items():
        total = sum(of_setting.values())
        cells = [
            f"{of_setting[s]:.0f} ({of_setting[s] / total:.0%})" if of_setting.get(s) else ""
            for s in stages
        ]
        rows.append([setting, *cells, f"{total:.0f}"])
    table = markdown_table(["setting", *stages, "all"], rows)
    return (
        "CPU seconds of each stage, and their share of the run; mean over seeds, all split schemes "
        f"together, evaluation on val included.\n\n{table}"
    )
