"""Read versions, commits, threads and machines of the runs of a study."""

import json
from collections.abc import Mapping, Sequence

from slade_plugin.base.provenance import ENVIRONMENT_FILE
from slade_plugin.config.experiment_folder import read_state
from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.experiments.studies.plan import Run

COMMIT, THREADS = "commit", "threads a run"
_DIGITS = 10  # shown of a commit

# name -> its distinct values
Environment = dict[str, list[str]]


def describe_runs(runs: Sequence[Run]) -> Environment:
    """Collect versions, commits, threads and machines of runs.

    Args:
        runs: Started runs; entries missing in older ones are left out.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        if run.plain:
            path = run.experiment / ENVIRONMENT_FILE
            entries = json.loads(path.read_text(encoding="utf-8"))
        else:
            entries = read_state(run.experiment, "environment")["environment"]
        for entry in entries:
            machine = entry["machine"]
            cpu = f" ({machine['cpu']})" if machine.get("cpu") else ""
            for name, value in {
                "slade-plugin": entry["slade_plugin"],
                COMMIT: entry["git_commit"],
                "Python": entry["python"],
                **entry["packages"],
                THREADS: machine["torch_threads"],
                "machine": f"{machine['cores']} cores {machine['processor']}{cpu}, "
                f"GPU {machine['gpu']}",
            }.items():
                if value is not None:  # such as a package that is not installed
                    found.setdefault(name, set()).add(str(value))
    return {name: sorted(values) for name, values in found.items()}


def settings_to_markdown(flags: Mapping[str, str], found: Mapping[str, Environment]) -> str:
    """Return a table of the settings: flags, commits, and the number of threads if it varies.

    Args:
        flags: Setting to its flags of run.py.
        found: Setting to the result of `describe_runs` for its finished runs.
    """
    threads = {value for of_setting in found.values() for value in of_setting.get(THREADS, [])}
    noted = [COMMIT, THREADS] if len(threads) > 1 else [COMMIT]
    rows = []
    for name, words in flags.items():
        cells = [[_short(value) for value in found[name].get(key, [])] for key in noted]
        rows.append([name, f"`{words}`", *(", ".join(values) for values in cells)])
    return markdown_table(["setting", "flags of run.py", *noted], rows)


def _short(value: str) -> str:
    """Shorten a commit; leave shorter values unchanged."""
    commit, plus, changes = value.partition("+")
    return f"{commit[:_DIGITS]}{plus}{changes}"
