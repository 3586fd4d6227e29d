"""Teacher, pseudo labels, student and baseline: four stages with files between them.

Each trained stage is a plain experiment of the host in a folder of its own, so the host's own flags
work on it. `pipeline.json` says which stages are done; a finished stage is never done again.
"""

import json
import math
import shutil
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slade_plugin.config.lookup import find_class
from slade_plugin.config.validation import OUR_KEYS, STAGE_PREFIXES, check_args, plain_key
from slade_plugin.errors import ConfigError, ExperimentError
from slade_plugin.files import write_json
from slade_plugin.pseudo_labels.record import pool_fingerprint
from slade_plugin.results.table import STAGE_TITLES, read_experiment, write_tables
from slade_plugin.self_training.preflight import preflight
from slade_plugin.self_training.provenance import describe_environment

STATE_FILE = "pipeline.json"
TEACHER, PSEUDO_LABELS, STUDENT, BASELINE = "teacher", "pseudo_labels", "student", "baseline"

# How something is trained belongs to the student; everything else is shared by all stages.
STUDENT_KEYS = frozenset(
    "loss_funcs mining_funcs sampler trainer optimizers num_epochs_train api_parser".split()
) | (OUR_KEYS - {"seed", "unlabeled_dataset"})
_EVALUATED = ["val", "test"]


def is_pipeline_folder(folder: Path) -> bool:
    """Whether a folder holds the stages of a pipeline."""
    return (folder / STATE_FILE).is_file()


class Pipeline:
    """All stages of one command.

    Args:
        runner: Our runner.
        reader: Its reader of the command line, as for a new experiment; `resume_training` is read
            from the runner's own reader.
    """

    def __init__(self, runner: Any, reader: Any) -> None:
        self.runner = runner
        self.reader = reader
        self.folder = Path(reader.args.experiment_folder)
        self.resuming = bool(runner.YR.args.resume_training)
        given = getattr(reader.args, "teacher_experiment", None)
        self.given_teacher = Path(given).resolve() if given else None
        self.teacher_folder = self.given_teacher or (self.folder / TEACHER).resolve()
        self.settings = runner.read(reader).pipeline
        self.trained = [
            name
            for name in (TEACHER, STUDENT, BASELINE)
            if not (name == TEACHER and self.given_teacher)
            and not (name == BASELINE and self.settings.get(BASELINE) is False)
        ]
        self.args = self._plan()
        self.state: dict[str, Any] = {}

    # ---- plan ---------------------------------------------------------------------------------

    def _plan(self) -> dict[str, Any]:
        """The merged config of every trained stage, checked."""
        student = self.runner.read(self._student_reader())
        plan = {STUDENT: student}
        if TEACHER in self.trained:
            plan[TEACHER] = self.runner.read(self._teacher_reader(TEACHER))
        if BASELINE in self.trained:
            reader = self._teacher_reader(BASELINE)
            longer = self._baseline_epochs(self._read_teacher(reader), student)
            reader.args.num_epochs_train = longer
            for key, value in self._flags("baseline."):
                setattr(reader.args, key, value)
            plan[BASELINE] = self._read_teacher(reader)
        return plan

    def _read_teacher(self, reader: Any) -> Any:
        """Merges the teacher's config: ours, or the saved one of a teacher that was given."""
        if not self.given_teacher:
            return self.runner.read(reader)
        other = self.runner.reader_for(reader)
        paths = self.runner.get_saved_config_paths(other.args, self.given_teacher / "configs")
        args, _, args.dict_of_yamls = other.load_yamls(
            paths, max_merge_depth=math.inf, max_argparse_merge_depth=math.inf
        )
        return args

    def _baseline_epochs(self, teacher: Any, student: Any) -> int:
        """Epochs of the teacher's config that take as many steps as teacher and student did."""
        steps = []
        for args in (teacher, student):
            per_epoch = next(iter(args.trainer.values())).get("iterations_per_epoch")
            if not isinstance(args.num_epochs_train, int) or not isinstance(per_epoch, int):
                raise ConfigError(
                    f"num_epochs_train is {args.num_epochs_train!r} and iterations_per_epoch is "
                    f"{per_epoch!r}; expected integers, since the baseline is trained for as many "
                    "steps as teacher and student (or set pipeline: {baseline: false})."
                )
            steps.append((args.num_epochs_train * per_epoch, per_epoch))
        return math.ceil((steps[0][0] + steps[1][0]) / steps[0][1])

    def _flags(self, prefix: str) -> list[tuple[str, Any]]:
        """Command-line values aimed at one stage, without the prefix."""
        flags = vars(self.reader.args)
        return [(k.removeprefix(prefix), v) for k, v in flags.items() if k.startswith(prefix)]

    def _stage_reader(self, stage: str) -> Any:
        reader = self.runner.reader_for(self.reader)
        for key in [k for k in vars(reader.args) if k.startswith(STAGE_PREFIXES)]:
            delattr(reader.args, key)
        for key, value in self._flags("every."):
            setattr(reader.args, key, value)
        vars(reader.args).update(self._places(stage))
        return reader

    def _places(self, stage: str) -> dict[str, str]:
        folder = self.folder / stage
        return {
            "experiment_name": f"{self.reader.args.experiment_name}/{stage}",
            "experiment_folder": str(folder),
            "place_to_save_configs": str(folder / "configs"),
        }

    def _student_reader(self) -> Any:
        reader = self._stage_reader(STUDENT)
        own = getattr(reader.args, "pseudo_labels", {})
        if not isinstance(own, Mapping):
            raise ConfigError(
                f"--pseudo_labels is {own!r}; expected keys and values such as "
                "{num_clusters: 400}."
            )
        folder = str((self.folder / PSEUDO_LABELS).resolve())
        reader.args.pseudo_labels = {**own, "folder": folder}
        reader.args.teacher_experiment = str(self.teacher_folder)
        return reader

    def _teacher_reader(self, stage: str) -> Any:
        reader = self._stage_reader(stage)
        aimed_at_all = {k for k, _ in self._flags("every.")}
        for key in [k for k in vars(reader.args) if plain_key(k) in STUDENT_KEYS]:
            if key not in aimed_at_all:
                delattr(reader.args, key)
        settings = self.settings.get(TEACHER) or {}
        requested = dict(self.runner.requested)
        for key, value in [*settings.items(), *self._flags("teacher.")]:
            if key in reader.args.config_foldernames:
                requested[key] = value
            else:
                setattr(reader.args, key, value)
        if requested["config_loss"] == self.runner.requested["config_loss"]:
            raise ConfigError(
                "pipeline: teacher names no config_loss of its own; expected a supervised one such "
                "as {config_loss: contrastive} (config_general)."
            )
        composed = self.runner.compose(reader.args.config_foldernames, requested)
        for area, names in composed.items():
            setattr(reader.args, area, names)
        return reader

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Runs what is not done yet and prints the table.

        Returns:
            The contents of results/table.json.

        Raises:
            SladeError: Before anything is trained, if something does not fit.
        """
        from slade_plugin.runner import check_folder_is_free

        fresh = not is_pipeline_folder(self.folder)
        if fresh or not self.resuming:
            check_folder_is_free(self.folder)
        plan = {name: _plain(args.dict_of_yamls) for name, args in self.args.items()}
        if not fresh:
            self.state = self._read_state(plan)
        for args in self.args.values():
            check_args(args, self.runner.pytorch_getter)
        data = self._preflight()
        if fresh:
            self.state = {
                "format": 1,
                "plan": plan,
                "teacher_experiment": str(self.teacher_folder),
                "data": data,
                "environment": [],
                "stages": {},
            }
        elif self.state["data"] != data:
            raise ExperimentError(
                f"the data of {self.folder} have changed: {self.state['data']} then, {data} now; "
                "expected the same files. Restore them or start a new experiment."
            )
        self.state["environment"].append(describe_environment())
        self._save_state()

        stages = [s for s in (TEACHER, PSEUDO_LABELS, STUDENT, BASELINE) if s in
                  (*self.trained, PSEUDO_LABELS)]  # fmt: skip
        for number, stage in enumerate(stages, 1):
            print(f"[{number}/{len(stages)}] {STAGE_TITLES[stage]}: {self._describe(stage)}")
            started = time.perf_counter()
            if stage == PSEUDO_LABELS:
                self._make_pseudo_labels()
            else:
                self._train(stage)
            seconds = time.perf_counter() - started
            entry = self.state["stages"].setdefault(stage, {})
            entry["seconds"] = round(entry.get("seconds", 0) + seconds, 1)
            self._save_state()
        return self._finish()

    def _preflight(self) -> dict[str, str]:
        """Builds every stage once; returns hashes of the data."""
        data = {}
        for name, args in self.args.items():
            parser = self.runner.get_api_parser(Namespace(**vars(args)))
            preflight(parser, self.given_teacher if name == STUDENT else None)
            if name == STUDENT:
                labeled = parser.split_manager.get_dataset("eval", "train")
                data = {
                    "labeled": pool_fingerprint(getattr(labeled, "dataset", labeled)),
                    "pool": pool_fingerprint(parser.split_manager.get_unlabeled_dataset("eval")),
                }
        return data

    def _done(self, stage: str) -> bool:
        return bool(self.state["stages"].get(stage, {}).get("done"))

    def _describe(self, stage: str) -> str:
        if self._done(stage):
            return "done before"
        if stage == PSEUDO_LABELS:
            return f"{self.args[STUDENT].pseudo_labels['num_clusters']} clusters"
        args = self.args[stage]
        return f"{next(iter(args.trainer))}, {args.num_epochs_train} epochs a split scheme"

    def _train(self, stage: str) -> None:
        if self._done(stage):
            return
        folder = self.folder / stage
        if self._can_resume(folder):
            args = self.runner.read(self._saved_reader(stage, resume_training="latest"))
        else:
            if folder.exists():
                shutil.rmtree(folder)  # ours, and stopped before its first checkpoint
            args = Namespace(**vars(self.args[stage]))
        self.runner.start_experiment(args)
        evaluation = self._saved_reader(stage, evaluate=True, splits_to_eval=_EVALUATED)
        self.runner.start_experiment(self.runner.read(evaluation))
        self.state["stages"].setdefault(stage, {})["done"] = True

    def _can_resume(self, folder: Path) -> bool:
        """Whether a stage was stopped after a checkpoint and can go on from there."""
        from slade_plugin.runner import check_saved_configs

        if not any(folder.glob("*/saved_models/trunk_[0-9]*.pth")):
            return False
        check_saved_configs(folder, self.reader.args.config_foldernames)
        return True

    def _saved_reader(self, stage: str, **flags: Any) -> Any:
        """A reader of a stage's saved configs, with flags of the host."""
        reader = self.runner.reader_for(self.reader)
        reader.args = Namespace(
            **{
                "resume_training": None,
                "evaluate": False,
                "evaluate_ensemble": False,
                "reproduce_results": None,
                "dataset_root": self.reader.args.dataset_root,
                "config_foldernames": self.reader.args.config_foldernames,
                **self._places(stage),
                **flags,
            }
        )
        return reader

    def _make_pseudo_labels(self) -> None:
        args = Namespace(**vars(self.args[STUDENT]))
        args.api_parser = {"APISladePseudoLabels": {}}
        find_class(self.runner.pytorch_getter, "api_parser", "APISladePseudoLabels")
        manifests = self.runner.get_api_parser(args).run()
        entry = self.state["stages"].setdefault(PSEUDO_LABELS, {})
        entry["done"] = True
        entry["manifests"] = {
            name: {k: v for k, v in manifest.items() if k != "cluster_sizes"}
            for name, manifest in manifests.items()
        }
        for name, manifest in manifests.items():
            if "agreement" in manifest:
                a = manifest["agreement"]
                print(
                    f"      {name}: NMI {a['NMI']:.3f}, AMI {a['AMI']:.3f}, purity "
                    f"{a['purity']:.3f}, {manifest['empty_clusters']} empty clusters"
                )

    # ---- state and results --------------------------------------------------------------------

    def _read_state(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the state of the run to go on with.

        Raises:
            ExperimentError: If it is damaged or another config was started here.
        """
        path = self.folder / STATE_FILE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            saved = state["plan"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExperimentError(
                f"{path} is damaged: {error}; expected the state of a pipeline. Restore it or "
                "start anew under another --experiment_name."
            ) from error
        difference = first_difference(saved, plan)
        if difference is not None:
            where, old, new = difference
            raise ExperimentError(
                f"{self.folder} was started with another config: {where} was {old!r} and is now "
                f"{new!r}. Resume with the same command, or start anew under another "
                "--experiment_name."
            )
        return state

    def _save_state(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / STATE_FILE, self.state)

    def _finish(self) -> dict[str, Any]:
        stages = {s: self.folder / s for s in self.trained}
        stages[TEACHER] = self.teacher_folder
        order = [s for s in (BASELINE, TEACHER, STUDENT) if s in stages]
        results = {s: read_experiment(stages[s], _EVALUATED) for s in order}
        text, table = write_tables(self.folder / "results", results)
        print(f"\n{text}\nSaved as {self.folder / 'results'}/table.md, .csv and .json")
        return table


def first_difference(old: Any, new: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The first place at which two nested configs differ, or None.

    Returns:
        Its path, the old and the new value.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}, key=str):
            found = first_difference(
                old.get(key, "<absent>"), new.get(key, "<absent>"), f"{where}/{key}".lstrip("/")
            )
            if found is not None:
                return found
        return None
    return None if old == new else (where, old, new)


def _plain(config: Any) -> Any:
    """A config as JSON gives it back, so that a saved one can be compared."""
    return json.loads(json.dumps(config, default=str))
