"""The host's experiment runner with our command line, classes and checks.

A config with a `pipeline` entry becomes the stages of self-training; any other config is a single
host experiment, run by the host's own code.
"""

import argparse
import copy
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from easy_module_attribute_getter import utils as emag_utils
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner

from slade_plugin.base.command_line import CommandLine
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.locks import locked
from slade_plugin.base.plugins import installed_plugins, plugin_names
from slade_plugin.base.provenance import environment_recorded
from slade_plugin.base.suggestions import nearest
from slade_plugin.base.warning import warn_once
from slade_plugin.config.composition import (
    AREAS_FILE,
    compose,
    config_root,
    read_areas,
)
from slade_plugin.config.experiment_folder import (
    check_folder_is_free,
    check_is_trained,
    check_saved_configs,
    is_pipeline_folder,
    saved_areas,
)
from slade_plugin.config.keys import DEFAULT_SEED, complete_config
from slade_plugin.config.lookup import constructor_errors, find_class
from slade_plugin.config.saved_paths import (
    resolve_folders,
    run_of,
    store_folders,
    take_given_locations,
)
from slade_plugin.data.datasets import FolderImages
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.api_parsers.data_record import read_data_record
from slade_plugin.host.api_parsers.seeded import seeded
from slade_plugin.host.api_parsers.starting_trunk import check_trunks
from slade_plugin.host.registry import register_all, register_plugins
from slade_plugin.host.validation import (
    check_args,
    check_command_line,
)
from slade_plugin.stages.kinds import planned_experiments
from slade_plugin.stages.pipeline import Pipeline
from slade_plugin.stages.preflight import preflight


class SladeRunner(SingleExperimentRunner):
    """Run one experiment, or the stages of self-training.

    Args:
        root_config_folder: Config root that replaces the host's; the shipped one by default.
        **kwargs: Arguments of the host's runner: dataset_root, root_experiment_folder,
            pytorch_home, global_db_path, merge_argparse_when_resuming.
    """

    def __init__(self, root_config_folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(root_config_folder=root_config_folder or str(config_root()), **kwargs)
        self.requested: dict[str, Any] = {}
        self.given = argparse.Namespace()

    def init_pytorch_getter(self) -> None:
        """Register the host's classes, then ours and those of installed plugins."""
        super().init_pytorch_getter()
        register_all(self)
        register_plugins(self, installed_plugins())

    # ---- command line -------------------------------------------------------------------------

    def setup_argparser(self) -> argparse.ArgumentParser:
        """Create the parser of the host's flags and ours."""
        parser = CommandLine()
        parser.set_defaults(experiment_name=default_experiment_name(sys.argv[1:]))
        return parser

    def setup_yaml_reader(self) -> Any:
        """Create the host's reader, with config names expanded to lists of files."""
        read_areas(Path(self.root_config_folder))
        reader = super().setup_yaml_reader()
        if not reader.args.experiment_name.strip("/. "):
            raise ConfigError(
                f"--experiment_name is {reader.args.experiment_name!r}; expected a folder name. "
                "Omit the flag to use the default name."
            )
        check_command_line(reader.argparser.config_flags, reader.args.config_foldernames)
        seed = reader.args.seed
        if seed is None:
            del reader.args.seed  # use the config's value
        elif not 0 <= seed < 2**32:
            raise ConfigError(f"--seed is {seed}; expected 0 to {2**32 - 1}.")
        if reader.args.teacher_experiment is None:
            del reader.args.teacher_experiment
        reader.args.plugins = plugin_names(reader.args.plugins)
        register_plugins(self, reader.args.plugins)
        if not reader.args.plugins:
            del reader.args.plugins  # use the config's value
        add_rounds(reader.args)
        add_own_images(reader.args)
        self.given = copy.deepcopy(reader.args)  # the host merges saved configs into its own
        areas = reader.args.config_foldernames
        self.requested = {a: getattr(reader.args, a) for a in areas}
        if self.starts_fresh(reader.args):
            for area, names in self.compose(areas, self.requested).items():
                setattr(reader.args, area, names)
        return reader

    def compose(self, areas: list[str], *requested: Mapping[str, Any]) -> dict[str, list[str]]:
        """Determine the config files by area; see `slade_plugin.config.composition`."""
        return compose(Path(self.root_config_folder), areas, *requested)

    @staticmethod
    def starts_fresh(args: Any) -> bool:
        """Whether configs come from the config root rather than from a saved experiment."""
        saved = args.resume_training or args.evaluate or args.evaluate_ensemble
        return not (saved or args.reproduce_results)

    # ---- running ------------------------------------------------------------------------------

    def run(self) -> Any:
        """Run the experiment or pipeline of the command line."""
        self.set_YR()
        with locked(self.YR.args.experiment_folder):
            return self._run()

    def _run(self) -> Any:
        args = self.YR.args
        folder = Path(args.experiment_folder)
        if is_pipeline_folder(folder) and (args.evaluate or args.evaluate_ensemble):
            stages = planned_experiments(folder)
            raise ExperimentError(
                f"{folder} contains several experiments; expected the name of one, such as "
                + ", ".join(f"--experiment_name {args.experiment_name}/{s}" for s in stages)
            )
        if self.starts_fresh(args) or (
            args.resume_training
            and (is_pipeline_folder(folder) or not (folder / "configs").is_dir())
        ):
            requested = self.reader_for(self.YR, fresh=True)
            if vars(self.read(requested)).get("pipeline"):
                return Pipeline(self, requested).run()
            if is_pipeline_folder(folder):
                raise ExperimentError(
                    f"{folder} contains the stages of self-training, but config_loss is "
                    f"{self.requested.get('config_loss')}; expected the command that started it "
                    f"(recorded in {folder / 'pipeline.json'}) with --resume_training."
                )
        if args.reproduce_results:
            return self.reproduce_results(self.YR)
        return self.run_new_experiment_or_resume(self.YR)

    def reader_for(self, reader: Any, fresh: bool = False) -> Any:
        """Copy a reader; with `fresh`, as for a new experiment rather than a resumed one."""
        other = copy.copy(reader)
        other.args = copy.deepcopy(reader.args)
        if fresh and other.args.resume_training:
            other.args.resume_training = None
            for area, names in self.compose(other.args.config_foldernames, self.requested).items():
                setattr(other.args, area, names)
        return other

    def reader_of_saved(self, reader: Any, **values: Any) -> Any:
        """Copy a reader as for a saved experiment, with these values alone.

        Args:
            reader: A reader; only its place of the data is kept.
            **values: Areas and places of the experiment, and flags of the host.
        """
        other = self.reader_for(reader)
        none = ("resume_training", "evaluate", "evaluate_ensemble", "reproduce_results")
        root = {"dataset_root": reader.args.dataset_root}
        other.args = argparse.Namespace(**(dict.fromkeys(none) | root | values))
        return other

    def read(self, reader: Any) -> SimpleNamespace:
        """Load and merge a reader's YAML files; the reader itself is not modified."""
        other = self.reader_for(reader)
        try:
            args, _, dict_of_yamls = other.load_yamls(
                self.determine_where_to_get_yamls(other.args),
                max_merge_depth=float("inf"),
                max_argparse_merge_depth=float("inf"),
                merge_argparse=not other.args.resume_training or self.merge_argparse_when_resuming,
            )
        except (KeyError, AssertionError) as error:
            # The host's keywords fail without a message on missing keys.
            raise ConfigError(
                f"a command-line value does not fit the config: {error or 'one class'}; "
                "~APPLY~2 and ~SWAP~1 need an existing key and a value {in: braces}, ~SWAP~1 an "
                "entry with one class. run.py --list prints the configs."
            ) from error
        args.dict_of_yamls = dict_of_yamls
        self.complete(args)
        return args

    def complete(self, args: Any) -> None:
        """Complete a merged config and register the plugins it names."""
        complete_config(args)
        register_plugins(self, plugin_names(getattr(args, "plugins", None)))
        self._resolve_folders(args)

    def run_new_experiment_or_resume(self, YR: Any) -> Any:
        """Check the folder and the whole config, then call the host's."""
        args = YR.args
        folder = Path(args.experiment_folder)
        if self.starts_fresh(args):
            check_folder_is_free(folder)
        else:
            check_saved_configs(folder, args.config_foldernames)
        if args.evaluate or args.evaluate_ensemble:
            check_is_trained(folder)
        self.read(YR)  # the host's own loading, below, fails without a message
        if args.evaluate or args.evaluate_ensemble:
            return super().run_new_experiment_or_resume(YR)
        with environment_recorded(folder):
            return super().run_new_experiment_or_resume(YR)

    def reproduce_results(self, YR: Any, *args: Any, **kwargs: Any) -> Any:
        """Reproduce with the saved experiment's own areas; a missing one is an error."""
        source = Path(YR.args.reproduce_results)
        areas_file = source / "configs" / f"{AREAS_FILE}.yaml"
        if not areas_file.is_file():
            raise ExperimentError(
                f"--reproduce_results {source}: there is no {areas_file}; expected an experiment "
                "folder of the benchmarker."
            )
        YR.args.config_foldernames = saved_areas(source)
        check_folder_is_free(Path(YR.args.experiment_folder))
        for area in YR.args.config_foldernames:
            setattr(YR.args, area, ["default"])  # the host needs names before it reads the saved
        with environment_recorded(Path(YR.args.experiment_folder)):
            return super().reproduce_results(YR, *args, **kwargs)

    def start_experiment(self, args: Any, built_before: bool = False) -> Any:
        """Run the cheap checks, build a new experiment's parts once, then start as the host does.

        Args:
            args: The merged config.
            built_before: Whether `try_to_build` was called already.
        """
        self.complete(args)
        self._take_given_locations(args)
        if self.starts_fresh(args) or args.reproduce_results:
            args.dict_of_yamls = store_folders(args, run_of(Path(args.experiment_folder)))
        check_args(args, self.pytorch_getter)
        if self.starts_fresh(args) and not built_before:
            self.try_to_build(args)
        return super().start_experiment(args)

    def _resolve_folders(self, args: Any) -> None:
        """Make folders absolute that a saved config names relative to its experiment."""
        if not self.starts_fresh(args):
            source = Path(args.reproduce_results or args.experiment_folder)
            vars(args).update(resolve_folders(vars(args), source))

    def _take_given_locations(self, args: Any) -> None:
        """Take the data locations of a saved experiment from the command line."""
        original = args.reproduce_results or (args.resume_training and args.experiment_folder)
        if original and take_given_locations(args, self.given):
            if not read_data_record(Path(original)):
                warn_once(
                    f"{original} has no record of its data hashes, so the given data cannot be "
                    "compared with the data it was trained on."
                )

    def try_to_build(
        self, args: Any, teacher_experiment: Path | None = None, trunks: bool = True
    ) -> Any:
        """Build every part of an experiment once, so that mistakes show before any training.

        Args:
            args: The merged config; not modified.
            teacher_experiment: An existing teacher to check against a student.
            trunks: Whether the trunks of the SwAV stage, if the config names any, exist already.

        Returns:
            The API parser that built the parts.

        Raises:
            SladeError: If any part does not fit.
        """
        parser = self.get_api_parser(copy.deepcopy(args))  # the host's factories empty configs
        if type(parser).get_transforms is not BaseAPIParser.get_transforms:
            return parser  # its trainer transforms the images, so none can be tried here
        preflight(parser, teacher_experiment)
        if trunks:
            check_trunks(parser)
        build_trainer(parser)
        build_evaluation(parser)
        return parser

    def get_api_parser(self, args: Any) -> Any:
        """Create the host's choice of API parser, seeded; a missing one is an error."""
        name = next(iter(args.api_parser or {}), f"API{next(iter(args.trainer))}")
        where = "api_parser in config_general (BaseAPIParser suits most trainers)"
        parser_class: Any = find_class(self.pytorch_getter, "api_parser", name, where)
        params = {
            "args": args,
            "pytorch_getter": self.pytorch_getter,
            "global_db_path": self.global_db_path,
        }
        own = (args.api_parser or {}).get(name) or {}
        return seeded(parser_class)(**emag_utils.merge_two_dicts(params, own))


def build_trainer(parser: Any) -> None:
    """Build the trainer of a run, with hooks that do nothing.

    Args:
        parser: An API parser with models, losses and miners.
    """
    if isinstance(parser, APISladeStudent):  # the clusters are not known yet
        parser.pseudo_labels = parser.stand_in_pseudo_labels()
    with constructor_errors(next(iter(parser.args.trainer)), "trainer (config_general)"):
        parser.sampler = parser.get_sampler()
        parser.optimizers, parser.lr_schedulers, parser.gradient_clippers = parser.get_optimizers()
        nothing = {"end_of_iteration_hook": _no_hook, "end_of_epoch_hook": _no_hook}
        parser.trainer = parser.get_trainer(**nothing)


def build_evaluation(parser: Any) -> None:
    """Build hooks and tester; check that the metric that chooses the best epoch is computed.

    Raises:
        ConfigError: If a part cannot be built or the metric is not computed.
    """
    with constructor_errors("the evaluation", "config_eval"):
        hooks, tester = parser.get_dummy_hook_and_tester()
        parser.get_aggregator()
        parser.get_ensemble()
        metrics = tester.accuracy_calculator.get_curr_metrics()
    if hooks.primary_metric not in metrics:
        raise ConfigError(
            f"hook_container: primary_metric is {hooks.primary_metric!r}"
            f"{nearest(str(hooks.primary_metric), metrics)}; expected one of the metrics that are "
            f"computed: {', '.join(metrics)} (config_eval)"
        )


def _no_hook() -> None:
    """Stand in for a hook in a trainer that never runs."""


def default_experiment_name(argv: list[str]) -> str:
    """Make a readable name of the configs of loss and data, and the seed: ``slade_icons_seed0``.

    Defaults are left out, so that the demo is ``slade_seed0``.
    """

    def value(flag: str, default: str) -> str:
        joined = [a for a in argv if a.startswith(f"{flag}=")]
        if joined:
            return joined[-1].removeprefix(f"{flag}=")
        if flag not in argv[:-1]:
            return default
        start = argv.index(flag) + 1
        end = next((i for i in range(start, len(argv)) if argv[i].startswith("--")), len(argv))
        return " ".join(argv[start:end])

    given = (value(flag, "").strip("[]") for flag in ("--config_loss", "--config_dataset"))
    names = [n for n in ",".join(given).replace(",", " ").split() if n != "default"]
    return f"{'_'.join(names or ['default'])}_seed{value('--seed', str(DEFAULT_SEED))}"


def add_rounds(args: Any) -> None:
    """Move the flag --rounds to its config key, `pipeline: {rounds: N}`, in place."""
    rounds = args.rounds
    del args.rounds
    key = "pipeline~OVERRIDE~" if hasattr(args, "pipeline~OVERRIDE~") else "pipeline"
    pipeline = getattr(args, key, None) or {}
    if rounds is not None and isinstance(pipeline, Mapping):  # else the config check rejects it
        setattr(args, key, {**pipeline, "rounds": rounds})


def add_own_images(args: Any) -> None:
    """Move the flags --labeled and --unlabeled to their config keys, as `FolderImages: {path}`.

    Paths become absolute, so the saved experiment can be evaluated from anywhere.

    Args:
        args: The command line; modified in place.

    Raises:
        ConfigError: If the config key is also given with a keyword.
    """
    for flag, key in (("labeled", "dataset"), ("unlabeled", "unlabeled_dataset")):
        path = getattr(args, flag)
        delattr(args, flag)
        if path is None:
            continue
        others = [name for name in vars(args) if name.startswith(f"{key}~")]
        entry = getattr(args, key, None) or {}
        if others or not isinstance(entry, Mapping):
            raise ConfigError(
                f"--{flag} is given together with --{(others or [key])[0]}; expected one or the "
                f"other. Only --{key} {{FolderImages: {{OPTION: VALUE}}}} combines with --{flag}."
            )
        name = FolderImages.__name__
        own = {"path": os.path.abspath(os.path.expanduser(path))}
        setattr(args, key, {**entry, name: {**(entry.get(name) or {}), **own}})
