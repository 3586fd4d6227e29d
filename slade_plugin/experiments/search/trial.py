"""One trial of a search: its command line, with one value for each searched parameter.

A trial is the experiment or pipeline of the command without the search, so everything that works on
those works on trials. The baseline stage is skipped: a baseline is tuned by its own search.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.experiment_folder import has_checkpoint, is_pipeline_folder, saved_areas
from slade_plugin.config.keys import HOST_KEYS, OUR_KEYS, STUDENT_KEYS, plain_key
from slade_plugin.experiments.search.space import Parameter, fill, find_space
from slade_plugin.host.validation import check_args
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import BASELINE, TEACHER, students_of
from slade_plugin.stages.pipeline import Pipeline
from slade_plugin.stages.table import METRICS, read_experiment

TEACHER_PREFIX = f"{TEACHER}/"
_EVALUATED_SPLITS = ["test"]


class TrialRunner(SladeRunner):
    """Run the command of a search as one of its trials.

    Args:
        name: The trial's folder in `root_experiment_folder`, the search's folder.
        values: Value of each searched parameter by name.
        seed: A seed that replaces the command's.
        teacher: Experiment folder of a trained teacher that replaces the command's.
        **kwargs: Arguments of our runner.
    """

    def __init__(
        self,
        name: str,
        values: Mapping[str, float],
        seed: int | None = None,
        teacher: Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = Path(self.root_experiment_folder) / name
        self.values = values
        self.seed = seed
        self.teacher = teacher

    @property
    def measured(self) -> Path:
        """The scored experiment: the trial itself, or the last student of a pipeline."""
        if not self.is_pipeline:
            return self.folder
        return students_of(self.folder)[-1]

    @property
    def is_pipeline(self) -> bool:
        """Whether the trial has stages."""
        return is_pipeline_folder(self.folder)

    # ---- running ------------------------------------------------------------------------------

    def run_trial(self) -> float | tuple[float, float]:
        """Run the trial, or resume it.

        Returns:
            Validation accuracy, 0 to 1: the mean over split schemes and its standard error, or the
            accuracy alone if there is one split scheme.

        Raises:
            SladeError: If the experiment fails.
        """
        if self.folder.exists() and not self._can_resume():
            shutil.rmtree(self.folder)  # ours, interrupted before its first checkpoint
        score = self.run()
        if not self.is_pipeline:
            return score
        accuracies = read_experiment(self.measured, ["val"])["val"]
        metric = primary_metric(self.read(self.reader_for(self.YR, fresh=True)))
        scores = [percent / 100 for percent in accuracies[metric].values()]
        mean = float(np.mean(scores))
        return mean if len(scores) == 1 else (mean, float(stats.sem(scores)))

    def evaluate(self, **flags: Any) -> None:
        """Evaluate the measured experiment on the test split, as the host does.

        Args:
            **flags: `evaluate` or `evaluate_ensemble`, and values of the config.
        """
        reader = self.saved_reader(splits_to_eval=_EVALUATED_SPLITS, **flags)
        self.start_experiment(self.read(reader))

    def saved_reader(self, **flags: Any) -> Any:
        """Create a reader of the measured experiment's saved configs, with flags of the host.

        Args:
            **flags: Must include a flag that makes the host read saved configs.
        """
        self.set_YR()
        return self.reader_of_saved(
            self.YR,
            config_foldernames=saved_areas(self.measured),
            experiment_name=str(self.measured.relative_to(self.root_experiment_folder)),
            experiment_folder=str(self.measured),
            place_to_save_configs=str(self.measured / "configs"),
            **flags,
        )

    def _can_resume(self) -> bool:
        return self.is_pipeline or has_checkpoint(self.folder)

    # ---- the trial's config -------------------------------------------------------------------

    def setup_yaml_reader(self) -> Any:
        """Read the command line for the trial."""
        reader = super().setup_yaml_reader()
        args = reader.args
        vars(args).update(self.compose(args.config_foldernames, self.requested))
        args.experiment_name = self.folder.name
        args.experiment_folder = str(self.folder)
        args.place_to_save_configs = str(self.folder / "configs")
        args.resume_training = "latest" if self._can_resume() else None
        if self.seed is not None:
            args.seed = self.seed
        if self.teacher is not None:
            args.teacher_experiment = str(self.teacher)
            for key in [key for key in vars(args) if key.startswith("teacher.")]:
                delattr(args, key)
        return reader

    def read(self, reader: Any) -> Any:
        """Merge the config with the trial's values."""
        args = super().read(reader)
        self.fill(args)
        return args

    def start_experiment(self, args: Any, built_before: bool = False) -> Any:
        """Start an experiment with the trial's values."""
        self.fill(args)
        return super().start_experiment(args, built_before)

    def fill(self, args: Any) -> None:
        """Set the values in a merged config and in its areas, which are saved.

        Args:
            args: The merged config of a plain experiment or of a stage.
        """
        values = values_of_stage(self.values, self._stage(args))
        for config in (vars(args), *args.dict_of_yamls.values()):
            fill(config, values)
            if config.get("pipeline"):
                config["pipeline"] = {**config["pipeline"], BASELINE: False}

    def _stage(self, args: Any) -> str:
        """Return the name of a config's stage; "." for a plain experiment."""
        return Path(args.experiment_folder).relative_to(self.folder).as_posix()


class SpaceRunner(TrialRunner):
    """Read the command of a search with every parameter at one of its bounds.

    Args:
        bound: "lower" or "upper".
        **kwargs: Arguments of our runner.

    Attributes:
        space: The searched parameters by name.
        plan: The areas of each stage's config as written, with bounds.
    """

    def __init__(self, bound: str, **kwargs: Any) -> None:
        super().__init__("space", {}, **kwargs)
        self.bound = bound
        self.space: dict[str, Parameter] = {}
        self.plan: dict[str, Any] = {}

    def read_stages(self) -> dict[str, Any]:
        """Read the merged configs of all stages by name; a plain experiment is named ".".

        Raises:
            ConfigError: If a config is wrong, nothing is searched, or a name has two bounds.
        """
        self.set_YR()
        flags = ("evaluate", "evaluate_ensemble", "reproduce_results")
        refused = [flag for flag in flags if getattr(self.YR.args, flag)]
        if refused:
            raise ConfigError(
                f"--{refused[0]} is given together with --bayes_opt_iters; expected one or the "
                "other. The search itself evaluates its best trial."
            )
        requested = self.reader_for(self.YR)
        config = self.read(requested)
        stages = {".": config}
        if vars(config).get("pipeline"):
            stages = Pipeline(self, requested).args
            self.plan.pop(".")
            metric = primary_metric(config)
            if metric not in METRICS and not metric.startswith("recall_at_"):
                raise ConfigError(
                    f"hook_container: primary_metric is {metric!r}, which is not in the tables of "
                    f"self-training; expected {', '.join(METRICS)} or recall_at_<k> (config_eval)."
                )
        for args in stages.values():
            check_args(args, self.pytorch_getter)
        if not self.space:
            raise ConfigError(
                "--bayes_opt_iters is given, but nothing is searched; expected bounds such as "
                "{neg_margin~BAYESIAN~: [0, 1]}, or a config with bounds such as --config_loss "
                "contrastive_search. run.py --list prints the configs."
            )
        return stages

    def fill(self, args: Any) -> None:
        """Record the searched entries and fill them with a bound."""
        stage = self._stage(args)
        self.plan.setdefault(stage, json.loads(json.dumps(args.dict_of_yamls, default=str)))
        # The rest comes from the command line; that of `pipeline` is read as the teacher's.
        keys = (HOST_KEYS | OUR_KEYS) - {"pipeline"}
        searched = find_space({k: v for k, v in vars(args).items() if plain_key(k) in keys})
        for path, parameter in searched.items():
            name = path
            if stage == TEACHER and path.split("/")[0] in STUDENT_KEYS:
                name = TEACHER_PREFIX + path
            if self.space.setdefault(name, parameter) != parameter:
                raise ConfigError(
                    f"{name} has the bounds {self.space[name][:2]} for one stage and "
                    f"{parameter[:2]} for another; expected one value for all stages, so the same "
                    "bounds."
                )
        self.values = {name: getattr(p, self.bound) for name, p in self.space.items()}
        super().fill(args)


def values_of_stage(values: Mapping[str, float], stage: str) -> dict[str, float]:
    """Select the values for one stage, by their paths in its config.

    Training settings are the student's; the teacher's own names begin with `TEACHER_PREFIX`. Shared
    settings (data, model, transforms) have one value for all stages.
    """
    own = {k.removeprefix(TEACHER_PREFIX): v for k, v in values.items() if _of_teacher(k)}
    others = {k: v for k, v in values.items() if not _of_teacher(k)}
    if stage not in (TEACHER, BASELINE):
        return others
    return own | {k: v for k, v in others.items() if k.split("/")[0] not in STUDENT_KEYS}


def touches_teacher(names: Mapping[str, Any]) -> bool:
    """Whether the teacher depends on any of these parameters."""
    return bool(values_of_stage(dict.fromkeys(names, 0.0), TEACHER))


def primary_metric(config: Any) -> str:
    """Return the metric that selects the best epoch and the best trial."""
    metric: str = next(iter(config.hook_container.values()))["primary_metric"]
    return metric


def _of_teacher(name: str) -> bool:
    return name.startswith(TEACHER_PREFIX)
