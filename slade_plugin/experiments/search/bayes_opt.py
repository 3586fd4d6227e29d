"""The host's Bayesian optimization (``--bayes_opt_iters``) of experiments and pipelines.

Folders, records and the form of reports are the host's. Ours: `TrialRunner` runs the trials,
everything is seeded, an interrupted search resumes, and each reproduction has its own seed (the
host's differ because nothing is seeded). If no parameter of the teacher is searched, only the first
trial trains a teacher, and all others use it.

Import it after ``compat.apply(compat.AX_SHIMS)``; it needs the extra ``search``.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from ax.service.ax_client import AxClient
from ax.service.utils.best_point import get_best_raw_objective_point_with_trial_index
from ax.service.utils.instantiation import ObjectiveProperties
from powerful_benchmarker.runners.bayes_opt_runner import BayesOptRunner
from powerful_benchmarker.utils import common_functions as c_f
from powerful_benchmarker.utils import constants as const

from slade_plugin.base.differences import differences
from slade_plugin.base.errors import ConfigError, DivergenceError, ExperimentError
from slade_plugin.base.files import write_json, write_text
from slade_plugin.base.locks import locked
from slade_plugin.base.provenance import describe_environment
from slade_plugin.base.seeding import derive_seed, seed_everything
from slade_plugin.config.experiment_folder import check_folder_is_free, is_pipeline_folder
from slade_plugin.experiments.results.searches import SEARCH_FILE
from slade_plugin.experiments.search.plots import progress_page
from slade_plugin.experiments.search.trial import SpaceRunner, TrialRunner, touches_teacher
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import TEACHER
from slade_plugin.stages.state import RunState, plan_settings
from slade_plugin.stages.table import mean_and_interval

# Split schemes use seed, seed + 1, ...; the next repetition starts after them.
SEED_STEP = 100
# Columns of the host's tables.
_NO_ACCURACY = ("SEM", "epoch", "id", "timestamp", const.TRAINED_STATUS_COL_NAME)

_logger = logging.getLogger(__name__)


class BayesOptSearch(BayesOptRunner, SladeRunner):
    """A search over the config entries that have bounds.

    Args:
        bayes_opt_iters: Total number of trials, at least 1, including those of an interrupted
            search.
        reproductions: Number of repetitions of the best trial, each with another seed.
        **kwargs: Arguments of our runner.
    """

    def __init__(self, bayes_opt_iters: int, reproductions: int, **kwargs: Any) -> None:
        if bayes_opt_iters < 1 or reproductions < 0:
            raise ConfigError(
                f"--bayes_opt_iters is {bayes_opt_iters} and --reproductions {reproductions}; "
                "expected at least 1 and at least 0."
            )
        given_database = kwargs.get("global_db_path")
        super().__init__(bayes_opt_iters=bayes_opt_iters, reproductions=reproductions, **kwargs)
        # The host's default rejects a trial that is restarted under its name.
        self.global_db_path = given_database

    # ---- what is searched ---------------------------------------------------------------------

    def read_yaml_and_find_bayes(
        self, find_bayes_params: bool = True, merge_argparse: bool = False
    ) -> Any:
        """Read the command's config, and the searched parameters in Ax's format."""
        reader = self.reader_for(self.setup_yaml_reader(), fresh=True)
        reader.args = self.read(reader)
        if not find_bayes_params:
            return reader
        self.seed: int = reader.args.seed
        self.probes = [self._make(SpaceRunner, bound=bound) for bound in ("lower", "upper")]
        self.stages = [probe.read_stages() for probe in self.probes]
        space = self.probes[0].space
        self.shares_teacher = TEACHER in self.stages[0] and not touches_teacher(space)
        return reader, [
            {
                "name": name,
                "type": "range",
                "bounds": [p.lower, p.upper],
                "log_scale": p.log_scale,
                "value_type": "int" if p.integer else "float",
            }
            for name, p in space.items()
        ]

    def _make(self, cls: type[TrialRunner], **kwargs: Any) -> Any:
        """Create a runner with the folders and classes of this one."""
        runner = cls(
            root_experiment_folder=str(self._folder),
            root_config_folder=self.root_config_folder,
            dataset_root=self.dataset_root,
            pytorch_home=self.pytorch_home,
            global_db_path=self.global_db_path,
            **kwargs,
        )
        runner.pytorch_getter = self.pytorch_getter
        return runner

    @property
    def _folder(self) -> Path:
        return Path(self.bayes_opt_root_experiment_folder)

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the remaining trials, repeat the best one and report.

        Raises:
            SladeError: Before any training, if something does not fit.
        """
        logging.getLogger("ax").setLevel(logging.WARNING)
        with locked(self._folder, "search"):
            self._begin()
            super().run()
        print(f"\nSaved as {self.best_parameters_filename} and {self._folder}/report_*.yaml")

    def _begin(self) -> None:
        """Start the record of a new search, or compare an existing one with the command.

        Raises:
            ExperimentError: If the folder is taken, or another config was searched in it.
        """
        path = self._folder / SEARCH_FILE
        plan = self.probes[0].plan
        state = {"plan": plan, "environment": []}
        if path.is_file():
            state = json.loads(path.read_text(encoding="utf-8"))
            self._compare(plan_settings(state["plan"]), plan_settings(plan))
            state["plan"] = plan
        else:
            check_folder_is_free(self._folder)
            for probe, stages in zip(self.probes, self.stages, strict=True):
                for args in stages.values():
                    probe.try_to_build(args, trunks=False)
            args = self.YR.args
            c_f.save_config_files(args.place_to_save_configs, args.dict_of_yamls, False, [])
        state["environment"].append(describe_environment())
        write_json(path, state)

    def _compare(self, old: Any, new: Any) -> None:
        for where, before, now in differences(old, new):
            bounds = where.endswith(const.BAYESIAN_KEYWORDS) and isinstance(before, list)
            if bounds and isinstance(now, list) and self.merge_argparse_when_resuming:
                continue  # as in the host
            raise ExperimentError(
                f"{self._folder} was started with another config: {where} was {before!r} and is "
                f"now {now!r}. Resume with the same command (bounds may change with "
                "--merge_argparse_when_resuming), or start a new one under another "
                "--experiment_name."
            )

    def get_all_log_paths(self) -> list[str]:
        """List the logs, newest first, in a folder whose name may contain brackets."""
        return sorted(map(str, Path(self.ax_log_folder).glob("log*.json")), reverse=True)

    def get_ax_client(self) -> Any:
        """Create the host's client, seeded, or load that of an interrupted search."""
        if self.get_all_log_paths():
            client = super().get_ax_client()
            # Trials keep their names if the folder of the search was renamed.
            self.experiment_name = client.experiment.name
            return client
        client = AxClient(random_seed=self.seed, verbose_logging=False)
        client.create_experiment(
            name=self.experiment_name,
            parameters=self.bayes_params,
            objectives={self.eval_primary_metric: ObjectiveProperties(minimize=False)},
        )
        return client

    def get_parameters_and_trial_index(self, ax_client: Any, name: str, index: int) -> Any:
        """Get the parameters as the host does, after seeding torch, whose generator Ax uses."""
        seed_everything(derive_seed(self.seed, index))
        return super().get_parameters_and_trial_index(ax_client, name, index)

    def save_new_log(self, ax_client: Any) -> None:
        """Save the host's log atomically."""
        folder = Path(self.ax_log_folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(ax_client.to_json_snapshot())
        write_text(folder / f"log{len(self.get_all_log_paths()):05d}.json", text)

    def run_new_experiment(self, parameters: dict[str, float], name: str) -> Any:
        """Run a trial, or resume it.

        Returns:
            The result of `TrialRunner.run_trial`; 0 and 0 if training diverged.
        """
        index = int(name.removeprefix(self.experiment_name))
        values = ", ".join(f"{key} = {value:.4g}" for key, value in parameters.items())
        print(f"trial {index + 1} of {self.bayes_opt_iters}: {values}")
        teacher = self._folder / self.get_sub_experiment_name(0) / TEACHER
        shared = teacher if self.shares_teacher and index else None
        runner = self._trial(name, parameters, teacher=shared)
        try:
            score = runner.run_trial()
        except DivergenceError as error:
            if self.shares_teacher and not _is_finished(teacher):
                raise  # no trial can succeed
            _logger.warning("trial %d scores 0: %s", index + 1, error)
            score = 0.0, 0.0
        c_f.write_yaml(
            self.get_sub_experiment_bayes_opt_filename(str(runner.folder)), parameters, "w"
        )
        print(f"trial {index + 1}: {self.eval_primary_metric} on val {np.ravel(score)[0]:.4f}")
        return score

    resume_training = run_new_experiment

    def _trial(self, name: str, parameters: dict[str, float], **kwargs: Any) -> TrialRunner:
        trial: TrialRunner = self._make(TrialRunner, name=name, values=parameters, **kwargs)
        return trial

    def plot_progress(self, ax_client: Any) -> None:
        """Draw our page; a failure, e.g. with equal scores, does not end the search."""
        try:
            page = progress_page(ax_client, self.eval_primary_metric)
        except Exception as error:  # noqa: BLE001 - any failure of Ax's models
            _logger.warning("no new optimization_plots.html after this trial: %s", error)
            return
        write_text(self._folder / "optimization_plots.html", page)

    # ---- the best trial -----------------------------------------------------------------------

    def save_best_parameters(self, record_keeper: Any, ax_client: Any) -> str:
        """Choose the best trial by Ax's own data, which survive an interruption.

        Returns:
            Name of the best trial.
        """
        best: Any = get_best_raw_objective_point_with_trial_index(ax_client.experiment)
        index, self.best_parameters, (means, covariances) = best
        metric = self.eval_primary_metric
        if means[metric] <= 0:
            raise ExperimentError(
                f"no trial in {self._folder} scored above 0; expected one that can be trained. "
                "Narrow the bounds; --merge_argparse_when_resuming resumes with new ones."
            )
        name = self.get_sub_experiment_name(index)
        sem = math.sqrt(covariances[metric][metric])
        content = {
            "best_sub_experiment_name": name,
            "best_parameters": self.best_parameters,
            "best_values": {metric: {"mean": float(means[metric]), "SEM": sem}},
        }
        c_f.write_yaml(self.best_parameters_filename, content, "w")
        print(f"\nbest trial: {name}, {metric} on val {means[metric]:.4f}")
        return name

    def test_model(self, sub_experiment_name: str) -> None:
        """Evaluate a trial on test: split schemes separately and as an ensemble."""
        runner = self._trial(sub_experiment_name, self.best_parameters)
        runner.evaluate(evaluate=True)
        ensemble: dict[str, Any] = {"evaluate_ensemble": True}
        if getattr(self.YR.args, "self_supervised", None):
            ensemble["check_untrained_accuracy"] = False  # each scheme starts from its own trunk
        runner.evaluate(**ensemble)

    def reproduce_results(self, best: str) -> None:
        """Repeat the best trial, including its teacher, with other seeds."""
        for name, seed in self._reproductions(best).items():
            print(f"{name}: seed {seed}")
            self._trial(name, self.best_parameters, seed=seed).run_trial()
            self.test_model(name)

    def _reproductions(self, best: str) -> dict[str, int]:
        """Return the names and seeds of the repetitions."""
        return {
            f"{best}_reproduction{i}": (self.seed + SEED_STEP * (i + 1)) % 2**32
            for i in range(self.reproductions)
        }

    def create_accuracy_report(self, best: str) -> None:
        """Create the host's report of the best trial and its reproductions on test.

        The host would use every folder that begins with the best trial's name, trials 1 and 10
        alike, and read all accuracies from one database.
        """
        for category in self.get_eval_types():
            detailed: dict[str, dict[str, Any]] = {}
            for name in (best, *self._reproductions(best)):
                title, detailed[name] = self._test_scores(name, category)
            summary: dict[str, dict[str, Any]] = {}
            for status in dict.fromkeys(s for rows in detailed.values() for s in rows):
                rows = [rows[status] for rows in detailed.values() if status in rows]
                for key in rows[0]:
                    if key.startswith(_NO_ACCURACY):
                        continue
                    mean, half = mean_and_interval([row[key] for row in rows])
                    entry: dict[str, Any] = {"mean": mean}
                    if not math.isnan(half):
                        entry["95%_confidence_interval"] = [mean - half, mean + half]
                        entry["95%_confidence_interval_width"] = half
                    summary.setdefault(status, {})[key] = entry
            for kind, content in {"detailed_report": detailed, "report": summary}.items():
                c_f.write_yaml(str(self._folder / f"{kind}_{title}.yaml"), content, "w")

    def _test_scores(self, name: str, category: str) -> tuple[str, dict[str, Any]]:
        """Return the host's report name, and the last test row of each trained status."""
        runner = self._trial(name, self.best_parameters)
        parser = runner.get_api_parser(runner.read(runner.saved_reader(evaluate=True)))
        names: dict[str, str] = parser.get_eval_record_name_dict(for_inner_obj=category)
        table = parser.get_eval_record_name_dict(split_names=["test"], for_inner_obj=category)
        rows = parser.get_meta_record_keeper().query(f"SELECT * FROM {table['test']} ORDER BY id")
        by_status = {row[const.TRAINED_STATUS_COL_NAME]: dict(row) for row in rows}
        return next(iter(names.values())), by_status


def _is_finished(teacher: Path) -> bool:
    """Whether the first trial's teacher is trained."""
    run = teacher.parent
    return is_pipeline_folder(run) and RunState.read(run).is_done(TEACHER)
