"""Paths in saved configs, so that a folder of experiments can be moved, renamed or mounted.

A path that leads to another folder of the same run is stored relative to the experiment whose
config it is: `../teacher`. What lies outside the run keeps its absolute path. Folders of earlier
versions hold absolute paths only, which are followed if the run was moved as a whole.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slade_plugin.config.experiment_folder import is_pipeline_folder

# Entries that name the folder of another stage: (key, None) or (key, entry of its mapping).
_FOLDERS = (
    ("teacher_experiment", None),
    ("pseudo_labels", "folder"),
    ("pseudo_labels", "last_folder"),
    ("self_supervised", "folder"),
)
# Entries that name data, and the arguments of a data set that say where it lies.
_DATA = ("dataset", "unlabeled_dataset")
_LOCATIONS = ("path", "root")

_DEEPEST = 4  # folders from an experiment up to what a moved path is looked for in


def run_of(experiment: Path) -> Path | None:
    """The folder of the run whose stage an experiment is, resolved; None for a plain one."""
    return next((p for p in experiment.resolve().parents[:2] if is_pipeline_folder(p)), None)


def path_in_run(path: Path, place: Path) -> str:
    """How a file of a run names a folder: relative to the run, absolute outside it.

    Args:
        path: The folder.
        place: The folder of the stage, or of the experiment, that the file belongs to.
    """
    run, absolute = run_of(place), path.resolve()
    inside = run is not None and absolute.is_relative_to(run)
    return os.path.relpath(absolute, run) if inside else str(absolute)


def resolve_folders(config: Mapping[str, Any], experiment: Path) -> dict[str, Any]:
    """Make the paths of other stages in a saved config absolute.

    Args:
        config: Keys and values of a config; it is left as it is.
        experiment: The folder of the experiment whose config it is.

    Returns:
        The entries that hold such paths, changed.
    """
    return _with_folders(config, lambda path: str(find_moved(path, experiment)))


def store_folders(args: Any, run: Path | None) -> dict[str, Any]:
    """The areas of a config to save: paths inside the run are relative to the experiment.

    Args:
        args: The merged config with absolute paths and `dict_of_yamls`; it is left as it is.
        run: The folder of the run, None outside a run.

    Returns:
        Area to keys and values.
    """
    start = Path(args.experiment_folder).resolve()

    def stored(path: str) -> str:
        absolute = Path(path).resolve()
        inside = run is not None and absolute.is_relative_to(run.resolve())
        return os.path.relpath(absolute, start) if inside else str(absolute)

    entries = _with_folders(vars(args), stored)
    areas = {}
    for area, config in args.dict_of_yamls.items():
        kept = {key: value for key, value in entries.items() if key in config}
        areas[area] = {**config, **kept}
    return areas


def take_given_locations(args: Any, flags: Any) -> bool:
    """Replace where the data of a saved config lie by what the command line says.

    Args:
        args: The saved config; changed in place.
        flags: The command line; entries of other data sets are left alone.

    Returns:
        Whether something changed.
    """
    changed = False
    for key in _DATA:
        saved, given = getattr(args, key, None), getattr(flags, key, None)
        if not isinstance(saved, Mapping) or not isinstance(given, Mapping):
            continue
        for name in saved.keys() & given.keys():
            own = saved[name] or {}
            places = {k: v for k, v in (given[name] or {}).items() if k in _LOCATIONS}
            changed = changed or any(own.get(k) != v for k, v in places.items())
            setattr(args, key, {**getattr(args, key), name: {**own, **places}})
    return changed


def take_locations(args: Any, planned: Any) -> None:
    """Replace the paths in a stage's saved config by those of today's command.

    Args:
        args: The saved config; changed in place.
        planned: The config of the same stage as the command has it, equal but for paths.
    """
    for key in (*dict.fromkeys(key for key, _ in _FOLDERS), *_DATA):
        if hasattr(args, key) and hasattr(planned, key):
            setattr(args, key, copy.deepcopy(getattr(planned, key)))


def without_locations(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values without the paths of other stages and of data, for comparing settings."""
    bare = {**config, **_with_folders(config, lambda _: "")}
    for key in _DATA:
        if isinstance(bare.get(key), Mapping):
            bare[key] = {
                name: {k: v for k, v in (arguments or {}).items() if k not in _LOCATIONS}
                for name, arguments in bare[key].items()
            }
    return bare


def find_moved(path: str, experiment: Path) -> Path:
    """Find the folder that a saved config names.

    Args:
        path: As stored. A relative path starts at the experiment, or as the user gave it at the
            working directory. An absolute one may be where the run was before it was moved.
        experiment: The folder of the experiment whose config it is.

    Returns:
        An absolute path, which may not exist.
    """
    given, home = Path(path), experiment.resolve()
    if not given.is_absolute():
        beside = Path(os.path.normpath(home / given))
        return beside if beside.exists() or not given.exists() else given.resolve()
    if given.exists():
        return given
    return next((p for p in _moved_to(given, home) if p.exists()), given)


def _moved_to(path: Path, home: Path) -> Iterator[Path]:
    """Where a folder may be that was moved together with an experiment, the closest match first."""
    for length in range(min(_DEEPEST, len(path.parts) - 1), 0, -1):
        for parent in home.parents[:_DEEPEST]:
            yield parent.joinpath(*path.parts[-length:])


def _with_folders(config: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The entries that hold paths of other stages, each path changed."""
    changed: dict[str, Any] = {}
    for key, entry in _FOLDERS:
        value = changed.get(key, config.get(key))
        if entry is None and value:
            changed[key] = change(value)
        elif isinstance(value, Mapping) and value.get(entry):
            changed[key] = {**value, entry: change(value[entry])}
    return changed
