"""A self-training run: stages with files between them, each skipped once finished.

Each trained stage is a plain host experiment in its own folder, so the host's flags work on it. The
stages are listed in `slade_plugin.stages.stages`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.base.progress import Progress
from slade_plugin.config.experiment_folder import (
    STATE_FILE,
    check_folder_is_free,
    is_pipeline_folder,
)
from slade_plugin.config.saved_paths import store_folders
from slade_plugin.stages.kinds import TEACHER
from slade_plugin.stages.run_command import RunCommand
from slade_plugin.stages.stage import Findings
from slade_plugin.stages.stages import list_stages, title_of_row
from slade_plugin.stages.state import RunState, plain_config
from slade_plugin.stages.table import read_experiment, write_tables
from slade_plugin.stages.training import EVALUATED_SPLITS

LEAKAGE_FILE = "leakage.json"


class Pipeline:
    """All stages of one command.

    Args:
        runner: Our runner.
        reader: Its command-line reader, as for a new experiment.

    Attributes:
        args: The merged config of each stage that is an experiment, by name.
    """

    def __init__(self, runner: Any, reader: Any) -> None:
        self.command = RunCommand(runner, reader)
        self.folder = self.command.folder
        self.stages = list_stages(self.command)
        self.args: dict[str, Any] = self.command.configs
        for stage in self.stages:
            config = stage.read_config()
            if config is not None:
                self.args[stage.name] = config

    def run(self) -> dict[str, Any]:
        """Run the unfinished stages and print the table.

        Returns:
            The contents of results/table.json.

        Raises:
            SladeError: Before any training, if something does not fit.
        """
        state = self._begin()
        own = [stage for stage in self.stages if stage.given is None]
        progress = Progress([(stage.title, stage.images_drawn()) for stage in own])
        for number, stage in enumerate(own, 1):
            text = "already done" if state.is_done(stage.name) else stage.describe()
            print(f"[{number}/{len(own)}] {stage.title}: {text}")
            with state.timed(stage.name) as entry, progress.part(number - 1):
                stage.run(entry)
        return self._write_table()

    def _begin(self) -> RunState:
        """Check everything, then record the start or resumption of the run."""
        state = self._open_state()
        plan = {
            name: plain_config(store_folders(args, self.folder)) for name, args in self.args.items()
        }
        if state.resumed:
            state.check_plan(plan)
        findings = [stage.check() for stage in self.stages]
        data = collect_hashes(findings)
        if state.resumed:
            state.check_data(data, plan)
        given = self.command.given_teacher
        state.begin(plan, data, str(given) if given else TEACHER)
        self._report_leakage(findings)
        return state

    def _open_state(self) -> RunState:
        """Open the state of the run to resume, or create that of a new one.

        Raises:
            ExperimentError: If the folder is taken or the state is missing or damaged.
        """
        resuming, fresh = self.command.resuming, not is_pipeline_folder(self.folder)
        if fresh and resuming and any(self.folder.glob("*/configs")):
            raise ExperimentError(
                f"{self.folder} contains experiments but no {STATE_FILE}, which lists the finished "
                "stages; expected that file. Restore it or give another --experiment_name."
            )
        if fresh or not resuming:
            check_folder_is_free(self.folder)
        return RunState(self.folder) if fresh else RunState.read(self.folder)

    def _what_next(self) -> str:
        program = Path(sys.argv[0]).name
        program = program if program == "slade-bench" else "python run.py"
        return (
            f"See the results:  {program} report {self.folder}\n"
            f"Your own images:  {program} --config_loss slade "
            "--config_dataset folders_small --labeled FOLDER --unlabeled FOLDER"
        )

    def _report_leakage(self, findings: list[Findings]) -> None:
        for report in (found.leakage for found in findings):
            if report is not None:
                write_json(self.folder / LEAKAGE_FILE, report.content)
                print(f"{report}; see {self.folder / LEAKAGE_FILE}")

    def _write_table(self) -> dict[str, Any]:
        rows: dict[str, Path] = {
            stage.row: stage.folder
            for stage in sorted(self.stages, key=lambda stage: stage.row_order)
            if stage.has_scores
        }
        results = {row: read_experiment(folder, EVALUATED_SPLITS) for row, folder in rows.items()}
        titles = {row: title_of_row(row) for row in rows}
        text, table = write_tables(self.folder / "results", results, titles)
        print(
            f"\n{text}\nPercent. With split schemes and R-precision: "
            f"{self.folder / 'results'}/table.md, .csv and .json\n\n{self._what_next()}"
        )
        return table


def collect_hashes(findings: Iterable[Findings]) -> dict[str, str]:
    """Merge the hashes of a run's inputs, by name.

    Raises:
        ExperimentError: If a given teacher was trained on different labeled images.
    """
    data: dict[str, str] = {}
    for found in findings:
        for name, value in found.hashes.items():
            if data.setdefault(name, value) != value:
                raise ExperimentError(
                    f"the given teacher was trained on different {name} data: their hash is "
                    f"{data[name][:12]}, the student's is {value[:12]}; expected the same "
                    "content. Change config_dataset or train another teacher."
                )
    return data
