"""Load the best model of a saved experiment from its folder alone."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from powerful_benchmarker.api_parsers import APICascadedEmbeddings

from slade_plugin import compat
from slade_plugin.base.command_line import command_line
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.seeding import generator_states, set_generator_states
from slade_plugin.config.experiment_folder import (
    check_is_trained,
    read_saved_config,
    saved_areas,
    split_scheme_folders,
    why_unfinished,
)
from slade_plugin.config.saved_paths import run_of
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.models.weight_files import without_published_weights
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import students_of
from slade_plugin.stages.state import RunState


@dataclass(frozen=True)
class SavedModel:
    """The best model of one split scheme, and the parser that builds everything else.

    Attributes:
        parser: An API parser that was not run and has no split manager.
        models: "trunk" and "embedder" on the parser's device.
        split_scheme: Name of the split scheme.
        weights: The files the models were read from.
    """

    parser: Any
    models: dict[str, torch.nn.Module]
    split_scheme: str
    weights: Teacher


def load_best(
    experiment: Path,
    split_scheme: str | None = None,
    dataset_root: str = "datasets",
    with_pool: bool = False,
) -> SavedModel:
    """Load the best model of one split scheme. Nothing is written, no image is read.

    The states of all random number generators stay unchanged.

    Args:
        experiment: A trained experiment of the host.
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`, for data that the parser reads later.
        with_pool: Whether a student's parser reads its pool; otherwise it only evaluates.

    Raises:
        SladeError: If the experiment, its split scheme or its model is missing.
    """
    states = generator_states()
    try:
        names = split_schemes(experiment)
        scheme = split_scheme or names[0]
        if scheme not in names:
            raise ExperimentError(
                f"{experiment} has no split scheme {scheme}; expected one of {', '.join(names)} "
                "(--split_scheme)."
            )
        parser = _saved_parser(experiment, dataset_root, with_pool)
        if isinstance(parser, APICascadedEmbeddings):
            raise ExperimentError(
                f"{experiment} was trained by CascadedEmbeddings, whose model is built from a "
                "training image; expected an experiment of any other trainer."
            )
        with without_published_weights():
            models = {"trunk": parser.get_trunk(), "embedder": parser.get_embedder()}
        weights = Teacher(experiment, scheme)
        weights.load_into(models, parser.device)
    finally:
        set_generator_states(states)
    for model in models.values():
        model.to(parser.device)
    return SavedModel(parser, models, scheme, weights)


def split_schemes(experiment: Path) -> list[str]:
    """Return the names of the split schemes of a trained experiment, ordered by number.

    Raises:
        ExperimentError: If the folder is not a trained experiment.
    """
    saved_areas(experiment)
    check_is_trained(experiment)
    return sorted(
        (folder.name for folder in split_scheme_folders(experiment)),
        key=lambda name: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)],
    )


def find_experiment(path: Path) -> Path:
    """Return the experiment itself, or the last student of a folder of self-training.

    Raises:
        ExperimentError: If there is no such experiment, or it is not finished.
    """
    if students := students_of(path):
        _check_stage_is_done(path, students[-1])
        return students[-1]
    if not (path / "configs").is_dir():
        raise ExperimentError(
            f"{path} is not an experiment; expected a folder made by run.py that holds "
            "`configs`, such as experiments/slade_seed0/student."
        )
    config = read_saved_config(path)
    check_is_trained(path)
    run = run_of(path)
    if run is not None:
        _check_stage_is_done(run, path)
    elif reason := why_unfinished(path, config):
        raise ExperimentError(
            f"{path} is still being trained, or its run was stopped: {reason}; expected a finished "
            "run. Wait for it, or rerun its command with --resume_training latest."
        )
    return path


def _check_stage_is_done(run: Path, folder: Path) -> None:
    name = folder.resolve().relative_to(run.resolve()).as_posix()
    if not RunState.read(run).is_done(name):
        raise ExperimentError(
            f"{folder} is still being trained, or its run was stopped; expected a finished "
            "stage. Wait for it, or rerun its command with --resume_training latest."
        )


def _saved_parser(experiment: Path, dataset_root: str, with_pool: bool) -> Any:
    """Return the API parser that would evaluate a saved experiment, without running it."""
    folder = experiment.resolve()
    with command_line("--experiment_name", folder.name, "--evaluate"):
        compat.apply()
        runner = SladeRunner(dataset_root=dataset_root, root_experiment_folder=str(folder.parent))
        runner.set_YR()
        args = runner.read(runner.YR)
    if not with_pool and APISladeStudent.__name__ in (args.api_parser or {}):
        # A student is evaluated like any other model; its own parser would look for the pool.
        args.api_parser = {"BaseAPIParser": {}}
    return runner.get_api_parser(args)
