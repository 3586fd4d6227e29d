"""The rows of the poster's main table and the runs they take, read from YAML.

Rows that one command gives share a run: a teacher is a stage of its student's run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.experiments.reproduction.evaluated_run import EvaluatedRun
from slade_plugin.experiments.studies.config_check import PLAIN
from slade_plugin.experiments.studies.plan import (
    Run,
    Setting,
    Study,
    merge_flags,
    plan_runs,
    read_words,
)
from slade_plugin.stages.kinds import STUDENT, TEACHER


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: On the command line.
        method: In the poster.
        of: The row whose run gives it; its own name, a student's for a teacher.
        stage: Which experiment of that run it is.
        flags: Words of run.py's command line.
        quoted: Why it is not run; empty for the others.
    """

    name: str
    method: str
    of: str = ""
    stage: str = PLAIN
    flags: tuple[str, ...] = ()
    quoted: str = ""


@dataclass(frozen=True)
class Table:
    """The table on one data set.

    Attributes:
        dataset: Name.
        rows: In order.
    """

    dataset: str
    rows: tuple[Row, ...]

    @classmethod
    def load(cls, path: Path, dataset: str) -> "Table":
        """Reads a table.

        Args:
            path: Of the YAML file.
            dataset: One of its data sets.

        Raises:
            ConfigError: If it has no such data set, or a row cannot be read.
        """
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if dataset not in content["datasets"]:
            raise ConfigError(
                f"--dataset {dataset}{nearest(dataset, list(content['datasets']))}; expected one "
                f"of {', '.join(content['datasets'])}."
            )
        data = content["datasets"][dataset]
        rows = {name: _row(name, entry, dataset, data) for name, entry in content["rows"].items()}
        for name, entry in content["rows"].items():
            student = entry.get("teacher_of")
            if student:
                rows[name] = Row(name, entry["method"], student, TEACHER, rows[student].flags)
                rows[student] = Row(
                    student, rows[student].method, student, STUDENT, rows[student].flags
                )
        return cls(dataset, tuple(rows.values()))

    def selected(self, names: Sequence[str]) -> "Table":
        """The table with some of its rows.

        Args:
            names: On the command line; empty for all.

        Raises:
            ConfigError: If there is no such row, or only quoted ones are asked for.
        """
        known = [row.name for row in self.rows]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"--rows {', '.join(unknown)}{nearest(unknown[0], known)}; expected of "
                f"{', '.join(known)}."
            )
        rows = tuple(row for row in self.rows if row.name in (names or known))
        if all(row.quoted for row in rows):
            raise ConfigError(f"{rows[0].method} is {rows[0].quoted}; expected a row that is run.")
        return Table(self.dataset, rows)

    def runs(
        self, folder: Path, seeds: Sequence[int], extra: Sequence[str] = ()
    ) -> dict[tuple[str, int], Run]:
        """The runs that rows take.

        Args:
            folder: Where runs go, as for studies.
            seeds: Seeds of the runs.
            extra: Further flags for every run.

        Returns:
            (row, seed) to its run, seed by seed; several rows may share one.

        Raises:
            ConfigError: If a flag of `extra` cannot be read or is given by the table.
        """
        run = {row.of: row for row in self.rows if not row.quoted}
        settings = tuple(
            # plan_runs takes the baseline out of self-training; a plain run has none to take out
            Setting(name, row.flags, own_teacher=True, own_baseline=row.stage == PLAIN)
            for name, row in run.items()
        )
        study = Study("main_table", {self.dataset: ()}, settings[0].name, settings)
        made = plan_runs(study, folder, seeds, extra, EvaluatedRun)
        return {
            (row.name, seed): made[self.dataset, seed, row.of]
            for seed in seeds
            for row in self.rows
            if not row.quoted
        }


def _row(name: str, entry: Mapping[str, Any], dataset: str, data: Mapping[str, Any]) -> Row:
    if "quoted" in entry or "teacher_of" in entry:
        return Row(name, entry["method"], quoted=entry.get("quoted", ""))
    own = read_words(f"rows: {name}", entry["flags"])
    training = "self_training" if any(w.startswith("slade") for w in own) else "plain"
    sources = [
        read_words(f"datasets: {dataset}: flags", data.get("flags")),
        read_words(f"datasets: {dataset}: {training}", data.get(training)),
        own,
        *(read_words(f"rows: {name}: {k}", entry.get(k)) for k in (data["kind"], dataset)),
    ]
    return Row(name, entry["method"], name, flags=merge_flags(sources))
