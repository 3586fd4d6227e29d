"""`pipeline.json`: a run's plan, the hashes of its inputs, and its finished stages.

Its paths are relative to the run, so the folder can be moved; see
`slade_plugin.config.saved_paths`.
"""

import json
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slade_plugin.base.differences import first_difference
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.base.provenance import describe_environment
from slade_plugin.config import former_keys
from slade_plugin.config.experiment_folder import STATE_FILE, read_state
from slade_plugin.config.saved_paths import without_locations

FORMAT = 2
WEIGHTS = "weights"
_FLAGS = {
    "labeled": "--labeled or --dataset_root",
    "pool": "--unlabeled or --dataset_root",
    "teacher": "--teacher_experiment",
    "self_supervised": "--self_supervised {folder: PATH}",
    WEIGHTS: "--models {trunk: {CLASS: {weights: PATH}}}",
}


class RunState:
    """State of a run. Format 1, of earlier versions, is read and saved as format 2.

    Args:
        folder: Folder of the run.
        content: Content of pipeline.json; None for a new run.
    """

    def __init__(self, folder: Path, content: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.resumed = content is not None
        self.content = content or {"environment": [], "stages": {}}

    @classmethod
    def read(cls, folder: Path) -> "RunState":
        """Read the state of a run to resume.

        Raises:
            ExperimentError: If it is damaged or of a later version.
        """
        content = read_state(folder, "plan", "data", "environment", "stages")
        if content.get("format", 1) not in range(1, FORMAT + 1):
            raise ExperimentError(
                f"{folder / STATE_FILE} has format {content['format']!r}; expected at most "
                f"{FORMAT}. Resume with the version of slade-plugin that started the run, or a "
                "later one."
            )
        return cls(folder, content)

    def check_plan(self, plan: Mapping[str, Any]) -> None:
        """Compare the plan of the run with that of the current command, except for paths.

        Raises:
            ExperimentError: If the stages or their settings differ.
        """
        planned = self.content["plan"]
        for area in (area for areas in planned.values() for area in areas.values()):
            former_keys.translate(area)
        if planned.keys() != plan.keys():
            raise ExperimentError(
                f"{self.folder} was started with the stages {', '.join(planned)}, now they are "
                f"{', '.join(plan)}; expected the same. Resume with the same --rounds, "
                "--teacher_experiment and pipeline, or start a new run under another "
                "--experiment_name."
            )
        difference = first_difference(plan_settings(planned), plan_settings(plan))
        if difference is not None:
            where, old, new = difference
            raise ExperimentError(
                f"{self.folder} was started with another config: {where} was {old!r} and is now "
                f"{new!r}. Resume with the same command, or start a new run under another "
                "--experiment_name."
            )

    def check_data(self, data: Mapping[str, str], plan: Mapping[str, Any]) -> None:
        """Compare the content of the run's inputs, wherever they are now.

        Args:
            data: Name to hash, such as "pool" and "teacher".
            plan: Plan of the current command. Earlier versions recorded no hash of a weight file,
                and format 1 none of a teacher or trunk from elsewhere, so their paths must be
                unchanged.

        Raises:
            ExperimentError: If some content differs.
        """
        old = self.content["data"]
        for name, found in data.items():
            known = old.get(name)
            if known is None and _folder_of(name, self.content["plan"]) == _folder_of(name, plan):
                continue
            if known != found:
                was = f"its hash was {known[:12]}" if known else "its hash was not recorded"
                raise ExperimentError(
                    f"the data of {self.folder} have changed: {name} differs from the start of the "
                    f"run ({was} and is now {found[:12]}); expected the same content. Give its "
                    f"current path ({_FLAGS.get(name, name)}), restore it, or start a new run."
                )

    def begin(self, plan: Mapping[str, Any], data: Mapping[str, str], teacher: str) -> None:
        """Record this process, which begins or resumes the run, and save.

        Args:
            plan: Config of each experiment.
            data: Hash of each input by name.
            teacher: Folder of the first student's teacher, relative to the run or absolute.
        """
        self.content.update(format=FORMAT, plan=plan, data=data, teacher_experiment=teacher)
        self.content["environment"].append(describe_environment())
        self.save()

    def entry(self, name: str) -> dict[str, Any]:
        """Return the record of a stage, to modify in place."""
        entry: dict[str, Any] = self.content["stages"].setdefault(name, {})
        return entry

    def is_done(self, name: str) -> bool:
        """Whether a stage is finished."""
        return bool(self.content["stages"].get(name, {}).get("done"))

    def save(self) -> None:
        """Write pipeline.json atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / STATE_FILE, self.content)

    @contextmanager
    def timed(self, name: str) -> Iterator[dict[str, Any]]:
        """Add a stage's time to its entry and save, even if it is interrupted.

        A finished stage adds nothing: it is only checked. The time of a killed process (SIGKILL) is
        lost.
        """
        finished_before = self.is_done(name)
        started, cpu_started = time.perf_counter(), _cpu_seconds()
        entry = self.entry(name)
        try:
            yield entry
        finally:
            for key, taken in (
                ("seconds", time.perf_counter() - started),
                ("cpu_seconds", _cpu_seconds() - cpu_started),
            ):
                if not finished_before:
                    entry[key] = round(entry.get(key, 0) + taken, 1)
            self.save()


def plain_config(config: Any) -> Any:
    """Convert a config as a JSON round trip does, to compare it with a saved one."""
    return json.loads(json.dumps(config, default=str))


def plan_settings(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the paths from a plan; the rest must not change between two processes of a run.

    Args:
        plan: Experiment to area to keys and values.
    """
    return {
        name: {area: without_locations(config) for area, config in areas.items()}
        for name, areas in plan.items()
    }


def _folder_of(name: str, plan: Mapping[str, Any]) -> Any:
    """Return the first student's path to an input by name; a new object for data."""
    config = {k: v for area in plan.get("student", {}).values() for k, v in area.items()}
    if name == "teacher":
        return config.get("teacher_experiment")
    if name == WEIGHTS:
        return config.get("models")
    return (config.get(name) or {}).get("folder") if name == "self_supervised" else object()


def _cpu_seconds() -> float:
    """Sum the CPU time of this process, its threads and its finished worker processes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
