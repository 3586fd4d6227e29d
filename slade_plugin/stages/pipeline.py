"""Trunk, teacher, pseudo labels, student and baseline: stages with files between them.

Each trained stage is a plain experiment of the host in a folder of its own, so the host's own flags
work on it. `pipeline.json` says which stages are done; a finished stage is never done again. Which
stages there are: `slade_plugin.stages.stages`.
"""

import copy
import json
import math
import resource
import shutil
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from easy_module_attribute_getter import utils as emag_utils
from powerful_benchmarker.utils.constants import META_LOGS_FOLDER_NAME as META_LOGS

from slade_plugin.base.differences import first_difference
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.base.provenance import describe_environment
from slade_plugin.config.composition import BRINGS
from slade_plugin.config.experiment_folder import (
    STATE_FILE,
    check_folder_is_free,
    is_pipeline_folder,
    saved_areas,
)
from slade_plugin.config.keys import OUR_KEYS, STAGE_PREFIXES, complete_config, plain_key
from slade_plugin.data.leakage import LeakageReport
from slade_plugin.host.validation import check_args
from slade_plugin.method.pseudo_labels.record import pool_fingerprint
from slade_plugin.method.pseudo_labels.true_labels import TRUE_LABELS, label_source
from slade_plugin.method.self_supervised.settings import PLACE, SwAVSettings
from slade_plugin.stages.stages import (
    BASELINE,
    PSEUDO_LABELS,
    SELF_SUPERVISED,
    STUDENT,
    TEACHER,
    Stage,
    list_stages,
)
from slade_plugin.stages.table import read_experiment, write_tables

LEAKAGE_FILE = "leakage.json"

# How something is trained belongs to the student; everything else is shared by all stages.
STUDENT_KEYS = frozenset(
    """loss_funcs mining_funcs sampler trainer optimizers num_epochs_train save_interval
    api_parser""".split()
) | (OUR_KEYS - {"leakage", "seed", "self_supervised", "unlabeled_dataset"})
_EVALUATED = ["val", "test"]
_NONE: Mapping[str, Any] = MappingProxyType({})
_STATE_TYPES = {"plan": dict, "data": dict, "environment": list, "stages": dict}


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
        config = runner.read(reader)
        check_args(config, runner.pytorch_getter)
        given = getattr(config, "teacher_experiment", None)
        self.given_teacher = _teacher_folder(given) if given else None
        self.teacher_folder = self.given_teacher or (self.folder / TEACHER).resolve()
        ignored = [f"--teacher.{key}" for key, _ in self._flags("teacher.")]
        if self.given_teacher and ignored:
            raise ConfigError(
                f"{', '.join(ignored)} is given together with teacher_experiment, with which no "
                "teacher is trained; expected one or the other. The given teacher's saved config "
                "says how it was trained; --baseline.KEY changes the baseline."
            )
        self.settings = config.pipeline
        self.rounds = self.settings.get("rounds", 1)
        self.self_supervised = self._self_supervised(config)
        self.stages = list_stages(
            self.rounds,
            teacher=self.given_teacher is None,
            baseline=self.settings.get(BASELINE) is not False,
            self_supervised=self.self_supervised.get(PLACE) == self._folder(SELF_SUPERVISED, 1),
        )
        self.args = self._plan()
        self.state: dict[str, Any] = {}
        self.leakage: LeakageReport | None = None
        self.num_clusters = 0  # known once the pool is

    # ---- plan ---------------------------------------------------------------------------------

    def _plan(self) -> dict[str, Any]:
        """The merged config of every stage that is an experiment, by its name."""
        plan = {}
        for stage in self.stages:
            if stage.kind == TEACHER:
                plan[stage.name] = self.runner.read(self._teacher_reader(stage))
            elif stage.kind == STUDENT:
                plan[stage.name] = self.runner.read(self._student_reader(stage))
            elif stage.kind == BASELINE:
                teacher = self._read_teacher(self._teacher_reader(stage))
                longer = self._baseline_epochs(teacher, plan[STUDENT])
                own = [("num_epochs_train", longer), *self._flags("baseline.")]
                plan[stage.name] = self._read_teacher(self._teacher_reader(stage, own))
        return plan

    def _self_supervised(self, config: Any) -> dict[str, Any]:
        """The entry of every stage, with the folder of the trunks; empty if there is none.

        The students of a given teacher start where it started.
        """
        entry = dict(getattr(config, "self_supervised", None) or {})
        aimed = [f for p in STAGE_PREFIXES for f, _ in self._flags(p) if "self_supervised" in f]
        if aimed:
            raise ConfigError(
                f"{aimed[0]} is aimed at some of the stages; expected it without the prefix, since "
                "all stages start from one trunk."
            )
        if self.given_teacher:
            saved = _saved_config(self.given_teacher).get("self_supervised") or {}
            difference = first_difference(saved, {**entry, PLACE: saved.get(PLACE)})
            if entry and difference is not None:
                where, theirs, ours = difference
                raise ConfigError(
                    f"self_supervised: {where} is {ours!r}, but {theirs!r} for the given teacher "
                    f"{self.given_teacher}; expected the same, since its students start where it "
                    "started. Leave out --config_self_supervised or train another teacher."
                )
            return dict(saved)
        if not entry:
            return {}
        given = entry.get(PLACE)
        place = str(Path(given).resolve()) if given else self._folder(SELF_SUPERVISED, 1)
        return {**entry, PLACE: place}

    def _read_teacher(self, reader: Any) -> Any:
        """Merges the teacher's config: ours, or the saved one of a teacher that was given."""
        if not self.given_teacher:
            return self.runner.read(reader)
        other = self.runner.reader_for(reader)
        for area in other.args.config_foldernames:
            delattr(other.args, area)
        other.args.config_foldernames = saved_areas(self.given_teacher)
        paths = self.runner.get_saved_config_paths(other.args, self.given_teacher / "configs")
        args, _, args.dict_of_yamls = other.load_yamls(
            paths, max_merge_depth=math.inf, max_argparse_merge_depth=math.inf
        )
        complete_config(args)
        return args

    def _baseline_epochs(self, teacher: Any, student: Any) -> int:
        """Epochs of the teacher's config for the steps of the teacher and all rounds' students."""
        steps = []
        for args in (teacher, student):
            per_epoch = next(iter(args.trainer.values())).get("iterations_per_epoch")
            if not isinstance(args.num_epochs_train, int) or not isinstance(per_epoch, int):
                raise ConfigError(
                    f"num_epochs_train is {args.num_epochs_train!r} and iterations_per_epoch is "
                    f"{per_epoch!r}; expected integers, since the baseline is trained for as many "
                    "steps as teacher and students (or set pipeline: {baseline: false})."
                )
            steps.append((args.num_epochs_train * per_epoch, per_epoch))
        return math.ceil((steps[0][0] + self.rounds * steps[1][0]) / steps[0][1])

    def _flags(self, prefix: str) -> list[tuple[str, Any]]:
        """Command-line values aimed at one stage, without the prefix."""
        flags = vars(self.reader.args)
        return [(k.removeprefix(prefix), v) for k, v in flags.items() if k.startswith(prefix)]

    def _stage_reader(
        self, stage: Stage, own: Iterable[tuple[str, Any]] = (), settings: Mapping[str, Any] = _NONE
    ) -> Any:
        """A reader with the values that are meant for one stage.

        Args:
            stage: The stage.
            own: Values for this stage alone; they win over those for every stage.
            settings: Values of the config files; any flag wins over them.
        """
        reader = self.runner.reader_for(self.reader)
        for key in list(vars(reader.args)):
            students = stage.kind != STUDENT and plain_key(key) in STUDENT_KEYS
            students = students or plain_key(key) == "self_supervised"  # set below
            if students or key.startswith(STAGE_PREFIXES):
                delattr(reader.args, key)
        requested = dict(self.runner.requested)
        areas = {k: v for k, v in settings.items() if k in requested}
        requested |= areas
        brings = settings.get(BRINGS) or {}
        for key in (k for k in settings if k not in areas and k != BRINGS):
            shared = getattr(reader.args, key, settings[key])
            setattr(reader.args, key, _merged(settings[key], shared))
        for key, value in [*self._flags("every."), *own]:
            if key in reader.args.config_foldernames:
                requested[key] = value
            else:
                setattr(reader.args, key, _merged(getattr(reader.args, key, None), value))
        if self.self_supervised:
            reader.args.self_supervised = dict(self.self_supervised)
        if brings or requested != self.runner.requested:
            composed = self.runner.compose(reader.args.config_foldernames, requested, brings)
            vars(reader.args).update(composed)
        vars(reader.args).update(self._places(stage))
        return reader

    def _places(self, stage: Stage) -> dict[str, str]:
        folder = self.folder / stage.name
        return {
            "experiment_name": f"{self.reader.args.experiment_name}/{stage.name}",
            "experiment_folder": str(folder),
            "place_to_save_configs": str(folder / "configs"),
        }

    def _student_reader(self, stage: Stage) -> Any:
        """A student learns from the teacher, and from the second round on from the last student."""
        reader = self._stage_reader(stage)
        folders = {"folder": self._folder(PSEUDO_LABELS, stage.round)}
        teacher = str(self.teacher_folder)
        if stage.round > 1:
            folders["last_folder"] = self._folder(PSEUDO_LABELS, stage.round - 1)
            teacher = self._folder(STUDENT, stage.round - 1)
        own = getattr(reader.args, "pseudo_labels", None) or {}
        reader.args.pseudo_labels = {**own, **folders}
        reader.args.teacher_experiment = teacher
        return reader

    def _folder(self, kind: str, number: int) -> str:
        return str((self.folder / Stage(kind, number).name).resolve())

    def _teacher_reader(self, stage: Stage, own: Iterable[tuple[str, Any]] = ()) -> Any:
        if self.given_teacher:  # its saved config says how it was trained
            return self._stage_reader(stage, own)
        settings = self.settings.get(TEACHER) or {}
        if settings.get("config_loss") in (None, self.runner.requested["config_loss"]):
            raise ConfigError(
                "pipeline: teacher names no config_loss of its own; expected a supervised one such "
                "as {config_loss: contrastive} (config_general)."
            )
        return self._stage_reader(stage, [*self._flags("teacher."), *own], settings)

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Runs what is not done yet and prints the table.

        Returns:
            The contents of results/table.json.

        Raises:
            SladeError: Before anything is trained, if something does not fit.
        """
        fresh = not is_pipeline_folder(self.folder)
        if fresh and self.resuming and any(self.folder.glob("*/configs")):
            raise ExperimentError(
                f"{self.folder} holds experiments but no {STATE_FILE}, so what is done is not "
                f"known; expected that file. Restore it or give another --experiment_name."
            )
        if fresh or not self.resuming:
            check_folder_is_free(self.folder)
        plan = {name: _plain(args.dict_of_yamls) for name, args in self.args.items()}
        if not fresh:
            self.state = self._read_state(plan)
        for name, args in self.args.items():
            check_args(args, self.runner.pytorch_getter)
            check_saves_models(name, args)
        if self.given_teacher:
            check_given_teacher(self.given_teacher, self.args[STUDENT])
        data = self._preflight()
        if self.given_teacher:
            read_experiment(self.given_teacher, _EVALUATED)  # the table needs its scores
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
        if self.leakage is not None:
            write_json(self.folder / LEAKAGE_FILE, self.leakage.content)
            print(f"{self.leakage}; see {self.folder / LEAKAGE_FILE}")

        for number, stage in enumerate(self.stages, 1):
            print(f"[{number}/{len(self.stages)}] {stage.title}: {self._describe(stage)}")
            with self._cost_noted(stage):
                self._do(stage)
        return self._finish()

    @contextmanager
    def _cost_noted(self, stage: Stage) -> Iterator[None]:
        """Adds what a stage takes to its entry and saves the state, also when it is stopped.

        A stage that was finished before takes nothing: it is only checked. What a process took that
        is killed for good is lost, since nothing of it runs any more.
        """
        finished_before = self._done(stage)
        started, cpu_started = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            entry = self._entry(stage)
            for key, taken in (
                ("seconds", time.perf_counter() - started),
                ("cpu_seconds", _cpu_seconds() - cpu_started),
            ):
                if not finished_before:
                    entry[key] = round(entry.get(key, 0) + taken, 1)
            self._save_state()

    def _do(self, stage: Stage) -> None:
        if stage.kind == SELF_SUPERVISED:
            self._train_trunks(stage)
        elif stage.kind == PSEUDO_LABELS:
            self._make_pseudo_labels(stage)
        elif not self._done(stage):
            self._train(stage)

    def _preflight(self) -> dict[str, str]:
        """Builds every experiment once, the student first; returns hashes of the data."""
        data = {}
        # The parts of a later round are those of the first one.
        experiments = [s for s in self.stages if s.is_experiment and s.round == 1]
        own_trunks = self.stages[0].kind == SELF_SUPERVISED
        for stage in sorted(experiments, key=lambda s: s.kind != STUDENT):
            given = self.given_teacher if stage.kind == STUDENT else None
            parser = self.runner.try_to_build(self.args[stage.name], given, not own_trunks)
            if stage.kind == STUDENT:
                self.leakage = parser.split_manager.leakage
                self.num_clusters = parser.stand_in_pseudo_labels().num_clusters
                labeled = parser.split_manager.get_dataset("eval", "train")
                data = {
                    "labeled": pool_fingerprint(getattr(labeled, "dataset", labeled)),
                    "pool": pool_fingerprint(parser.split_manager.get_unlabeled_dataset("eval")),
                }
        if own_trunks:
            self._self_supervised_parser().preflight()
        return data

    def _entry(self, stage: Stage) -> dict[str, Any]:
        """What pipeline.json says of a stage."""
        entry: dict[str, Any] = self.state["stages"].setdefault(stage.name, {})
        return entry

    def _done(self, stage: Stage) -> bool:
        return bool(self.state["stages"].get(stage.name, {}).get("done"))

    def _describe(self, stage: Stage) -> str:
        if self._done(stage):
            return "done before"
        if stage.kind == SELF_SUPERVISED:
            settings = SwAVSettings.from_config(self.self_supervised)
            return f"SwAV, {settings.num_epochs} epochs a split scheme"
        if stage.kind == PSEUDO_LABELS:
            config = self.args[STUDENT].pseudo_labels
            if label_source(config) == TRUE_LABELS:
                return "the true labels of the pool (oracle)"
            return f"{self.num_clusters} clusters"
        args = self.args[stage.name]
        return f"{next(iter(args.trainer))}, {args.num_epochs_train} epochs a split scheme"

    def _train(self, stage: Stage) -> None:
        folder = self.folder / stage.name
        if self._can_resume(folder):
            # The host adds rows at the end of each call; all of them are made again.
            shutil.rmtree(folder / META_LOGS, ignore_errors=True)
            args = self.runner.read(self._saved_reader(stage, resume_training="latest"))
        else:
            if folder.exists():
                shutil.rmtree(folder)  # ours, and stopped before its first checkpoint
            args = Namespace(**vars(self.args[stage.name]))
        self.runner.start_experiment(args, built_before=True)
        evaluation = self._saved_reader(stage, evaluate=True, splits_to_eval=_EVALUATED)
        self.runner.start_experiment(self.runner.read(evaluation))
        self._entry(stage)["done"] = True

    def _can_resume(self, folder: Path) -> bool:
        """Whether a stage was stopped after a checkpoint and can go on from there."""
        if not any(folder.glob("*/saved_models/trunk_[0-9]*.pth")):
            return False
        saved_areas(folder)
        return True

    def _saved_reader(self, stage: Stage, **flags: Any) -> Any:
        """A reader of a stage's saved configs, with flags of the host."""
        reader = self.runner.reader_for(self.reader)
        reader.args = Namespace(
            **{
                "resume_training": None,
                "evaluate": False,
                "evaluate_ensemble": False,
                "reproduce_results": None,
                "dataset_root": self.reader.args.dataset_root,
                "config_foldernames": self.args[stage.name].config_foldernames,
                **self._places(stage),
                **flags,
            }
        )
        return reader

    def _self_supervised_parser(self) -> Any:
        args = copy.deepcopy(self.args[STUDENT])
        args.api_parser = {"APISladeSelfSupervised": {}}
        return self.runner.get_api_parser(args)

    def _train_trunks(self, stage: Stage) -> None:
        """Trains the trunks that are missing and checks that those on record are still the same."""
        manifests = self._self_supervised_parser().run()
        trunks = {
            name: {key: manifest[key] for key in ("trunk_sha256", "start_sha256", "seconds")}
            | {"loss": [epoch["loss"] for epoch in manifest["epochs"]]}
            for name, manifest in manifests.items()
        }
        entry = self._entry(stage)
        difference = first_difference(entry.get("trunks", trunks), trunks)
        if difference is not None:
            where, old, new = difference
            raise ExperimentError(
                f"the trunks in {self.self_supervised[PLACE]} have changed: {where} was {old!r} "
                f"and is now {new!r}; expected those of this run. Restore them, or start anew "
                "under another --experiment_name."
            )
        entry |= {"done": True, "trunks": trunks}
        for name, trunk in trunks.items():
            print(f"      {name}: loss {trunk['loss'][0]:.3f} to {trunk['loss'][-1]:.3f}")

    def _make_pseudo_labels(self, stage: Stage) -> None:
        args = Namespace(**vars(self.args[Stage(STUDENT, stage.round).name]))
        args.api_parser = {"APISladePseudoLabels": {}}
        manifests = self.runner.get_api_parser(args).run()
        records = {
            name: {k: v for k, v in manifest.items() if k != "cluster_sizes"}
            for name, manifest in manifests.items()
        }
        self._entry(stage).update(done=True, manifests=records)
        for name, manifest in manifests.items():
            if "agreement" in manifest:
                a = manifest["agreement"]
                print(
                    f"      {name}: NMI {a['NMI']:.3f}, AMI {a['AMI']:.3f}, purity "
                    f"{a['purity']:.3f}, {manifest['empty_clusters']} empty clusters"
                )
            elif "empty_clusters" in manifest:  # without known classes, sizes are all there is
                sizes = sorted(manifest["cluster_sizes"])
                print(
                    f"      {name}: {sizes[0]} to {sizes[-1]} images in a cluster, "
                    f"{manifest['empty_clusters']} empty clusters"
                )
            if "last_round" in manifest:
                change = manifest["last_round"]
                print(
                    f"      {name}: against the last round NMI {change['NMI']:.3f}, "
                    f"{100 * change['moved']:.1f} % of the images moved"
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
            wrong = [k for k, kind in _STATE_TYPES.items() if not isinstance(state[k], kind)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        if wrong:
            raise _damaged(path, f"{', '.join(wrong)} cannot be read")
        if state["plan"].keys() != plan.keys():
            raise ExperimentError(
                f"{self.folder} was started with the stages {', '.join(state['plan'])}, but now "
                f"they are {', '.join(plan)}; expected the same. Resume with the same --rounds, "
                "--teacher_experiment and pipeline, or start anew under another --experiment_name."
            )
        difference = first_difference(state["plan"], plan)
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
        folders = {s.row: self.folder / s.name for s in self.stages if s.is_experiment}
        folders[TEACHER] = self.teacher_folder
        first = [row for row in (BASELINE, TEACHER) if row in folders]
        order = dict.fromkeys([*first, *folders])
        results = {row: read_experiment(folders[row], _EVALUATED) for row in order}
        text, table = write_tables(self.folder / "results", results)
        print(f"\n{text}\nSaved as {self.folder / 'results'}/table.md, .csv and .json")
        return table


def check_given_teacher(teacher: Path, student: Any) -> None:
    """Checks what a trained teacher has to be, besides its architecture.

    Args:
        teacher: Its experiment folder, which is only read.
        student: The student's merged config.

    Raises:
        ExperimentError: If its configs are missing or say that it was trained on other labeled
            data or splits.
    """
    saved = _saved_config(teacher)
    for key in ("dataset", "split_manager"):
        difference = first_difference(_no_null(saved.get(key)), _no_null(getattr(student, key)))
        if difference is not None:
            where, theirs, ours = difference
            raise ExperimentError(
                f"the teacher {teacher} was trained with another {key}: {where} is {theirs!r} "
                f"there and {ours!r} for the student; expected the same labeled data and splits. "
                "Change config_dataset or train another teacher."
            )


def _saved_config(experiment: Path) -> dict[str, Any]:
    """All areas of a saved experiment's config."""
    saved: dict[str, Any] = {}
    for area in saved_areas(experiment):
        path = experiment / "configs" / f"{area}.yaml"
        saved |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return saved


def check_saves_models(stage: str, args: Any) -> None:
    """Checks that a stage leaves the models that the next one and the table need.

    Raises:
        ConfigError: If `save_models` is off.
    """
    ((name, hooks),) = args.hook_container.items()
    if (hooks or {}).get("save_models") is False:
        raise ConfigError(
            f"{stage}: hook_container.{name}.save_models is False, but self-training needs the "
            "best models; expected True (config_eval)."
        )


def _teacher_folder(given: str) -> Path:
    folder = Path(given).resolve()
    if is_pipeline_folder(folder):
        raise ExperimentError(
            f"--teacher_experiment {given} holds several experiments; expected one of them, "
            f"{Path(given) / TEACHER}"
        )
    if not (folder / "configs").is_dir():
        raise ExperimentError(
            f"there is no teacher in {folder}; expected the folder of a trained experiment, with "
            "its configs (--teacher_experiment)."
        )
    return folder


def _cpu_seconds() -> float:
    """Of this process, all its threads, and of the worker processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _merged(old: Any, new: Any) -> Any:
    """A later value for the same key; two mappings are merged, unless keywords say how."""
    both = isinstance(old, Mapping) and isinstance(new, Mapping)
    if not both or "~" in str(new):
        return new
    return emag_utils.merge_two_dicts(old, new, max_merge_depth=math.inf)


def _no_null(config: Any) -> Any:
    """The host reads an empty entry and an empty mapping alike."""
    if isinstance(config, Mapping):
        return {k: _no_null(v) for k, v in config.items()}
    return {} if config is None else config


def _damaged(path: Path, reason: str) -> ExperimentError:
    return ExperimentError(
        f"{path} is damaged: {reason}; expected the state of a pipeline. Restore it or start anew "
        "under another --experiment_name."
    )


def _plain(config: Any) -> Any:
    """A config as JSON gives it back, so that a saved one can be compared."""
    return json.loads(json.dumps(config, default=str))
