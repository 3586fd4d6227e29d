"""Base class of the stages that are experiments of the host: check, train, evaluate."""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from powerful_benchmarker.utils.constants import META_LOGS_FOLDER_NAME as META_LOGS

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.experiment_folder import has_checkpoint, saved_areas
from slade_plugin.host.validation import check_args
from slade_plugin.stages.kinds import SELF_SUPERVISED
from slade_plugin.stages.stage import Findings, Stage
from slade_plugin.stages.table import METRICS

EVALUATED_SPLITS = ["val", "test"]


class TrainedStage(Stage):
    """A stage that is an experiment of the host."""

    def check(self) -> Findings:
        """Build its parts."""
        self.build()
        return Findings()

    def build(self, teacher: Path | None = None) -> Any:
        """Check its config and build its parts once.

        Args:
            teacher: A trained teacher whose weights must fit the stage.

        Returns:
            The API parser with its parts.

        Raises:
            SladeError: If any part does not fit.
        """
        command, args = self.command, self.config
        check_args(args, command.runner.pytorch_getter)
        check_saves_models(self.name, args)
        check_scores(self.name, args)
        place = command.self_supervised.get("folder")
        trained_later = place == str(command.stage_folder(SELF_SUPERVISED))
        return command.runner.try_to_build(args, teacher, not trained_later)

    def describe(self) -> str:
        """Return trainer and number of epochs."""
        args = self.config
        return f"{next(iter(args.trainer))}, {args.num_epochs_train} epochs per split scheme"

    def run(self, entry: dict[str, Any]) -> None:
        """Train or resume it, then evaluate its best models on val and test."""
        if entry.get("done"):
            return
        command, folder = self.command, self.command.folder / self.name
        if _can_resume(folder):
            # The host appends rows on each call; recompute all of them.
            shutil.rmtree(folder / META_LOGS, ignore_errors=True)
            args = command.read_saved(self.name, resume_training="latest")
        else:
            if folder.exists():
                shutil.rmtree(folder)  # ours, interrupted before its first checkpoint
            args = Namespace(**vars(self.config))
        command.runner.start_experiment(args, built_before=True)
        evaluation = command.read_saved(self.name, evaluate=True, splits_to_eval=EVALUATED_SPLITS)
        command.runner.start_experiment(evaluation)
        entry["done"] = True


def check_saves_models(stage: str, args: Any) -> None:
    """Check that a stage saves the models that the next stage and the table need.

    Raises:
        ConfigError: If `save_models` is off.
    """
    ((name, hooks),) = args.hook_container.items()
    if (hooks or {}).get("save_models") is False:
        raise ConfigError(
            f"{stage}: hook_container.{name}.save_models is False, but self-training needs the "
            "best models; expected True (config_eval)."
        )


def check_scores(stage: str, args: Any) -> None:
    """Check that a stage's tester computes every score of the table.

    Raises:
        ConfigError: If a metric is left out or labels of level 0 are not evaluated.
    """
    ((name, tester),) = args.tester.items()
    tester = tester or {}
    calculator = next(iter((tester.get("accuracy_calculator") or {}).values()), None) or {}
    included, excluded = calculator.get("include") or METRICS, calculator.get("exclude") or ()
    missing = [metric for metric in METRICS if metric in excluded or metric not in included]
    if missing:
        raise ConfigError(
            f"{stage}: tester.{name}.accuracy_calculator leaves out {', '.join(missing)}; expected "
            f"the metrics of the table: {', '.join(METRICS)}. Change include or exclude "
            "(config_eval)."
        )
    level = tester.get("label_hierarchy_level", 0)
    if not (level in (0, "all") or (isinstance(level, list | tuple) and 0 in level)):
        raise ConfigError(
            f"{stage}: tester.{name}.label_hierarchy_level is {level!r}; expected 0, the level of "
            "the table (config_eval)."
        )


def _can_resume(folder: Path) -> bool:
    """Whether a stage has a checkpoint to resume from."""
    if not has_checkpoint(folder):
        return False
    saved_areas(folder)
    return True
