"""Paths in saved configs that survive moving, renaming or mounting the experiment folder.

A path to another folder of the same run is stored relative to the experiment: `../teacher`. Paths
outside the run stay absolute. Earlier versions stored absolute paths only; those are resolved if
the run was moved as a whole.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.config.keys import plain_key

# Entries that name the folder of another stage: (key, None) or (key, entry of its mapping).
_FOLDERS = (
    ("teacher_experiment", None),
    ("pseudo_labels", "folder"),
    ("pseudo_labels", "last_folder"),
    ("self_supervised", "folder"),
)
_MODELS = "models"
# Entries with paths of data and weights, whose content is compared by hash.
_OUTSIDE = {"dataset", "unlabeled_dataset", _MODELS}

_DEEPEST = 4  # levels above an experiment in which a moved path is searched


def run_of(experiment: Path) -> Path | None:
    """Find the run that an experiment is a stage of, resolved; None for a plain experiment."""
    return next((p for p in experiment.resolve().parents[:2] if is_pipeline_folder(p)), None)


def path_in_run(path: Path, place: Path) -> str:
    """Express a folder relative to its run; folders outside the run stay absolute.

    Args:
        path: The folder.
        place: The stage or experiment folder that the file with the path belongs to.
    """
    run, absolute = run_of(place), path.resolve()
    inside = run is not None and absolute.is_relative_to(run)
    return os.path.relpath(absolute, run) if inside else str(absolute)


def resolve_folders(config: Mapping[str, Any], experiment: Path) -> dict[str, Any]:
    """Make the paths of other stages in a saved config absolute.

    Args:
        config: Keys and values of a config; not modified.
        experiment: Folder of the config's experiment.

    Returns:
        The entries with such paths, updated.
    """
    return _with_folders(config, lambda path: str(find_moved(path, experiment)))


def store_folders(args: Any, run: Path | None) -> dict[str, Any]:
    """Return the config areas to save, with paths inside the run relative to the experiment.

    Args:
        args: The merged config with absolute paths and `dict_of_yamls`; not modified.
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
    """Replace the locations of data and weights in a saved config by those on the command line.

    Args:
        args: The saved config; modified in place.
        flags: The command line; entries of other data sets and models are ignored.

    Returns:
        Whether something changed.
    """
    changed = False
    for key in _OUTSIDE & vars(args).keys():
        setattr(args, key, _without_none(getattr(args, key)))
    for (*parents, last), value in _locations(vars(flags)):
        entry: Any = vars(args)
        for key in parents:
            entry = entry.get(plain_key(key)) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and entry.get(last) != value:
            entry[last], changed = value, True
    return changed


def take_locations(args: Any, planned: Any) -> None:
    """Replace the paths in a stage's saved config by those of the current command.

    Args:
        args: The saved config; modified in place.
        planned: The same stage's config from the command, equal except for paths.
    """
    for key in (*dict.fromkeys(key for key, _ in _FOLDERS), *_OUTSIDE):
        if hasattr(args, key) and hasattr(planned, key):
            setattr(args, key, copy.deepcopy(getattr(planned, key)))


def without_locations(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the paths of other stages, data and weights from a config, to compare settings."""
    bare = {**config, **_with_folders(config, lambda _: "")}
    bare |= {key: _without_none(bare[key]) for key in _OUTSIDE & bare.keys()}
    for (*parents, last), _ in list(_locations(bare)):
        entry: Any = bare
        for key in parents:
            entry = entry[key]
        del entry[last]
    return bare


def find_moved(path: str, experiment: Path) -> Path:
    """Find the folder that a saved config names.

    Args:
        path: As stored. A relative path starts at the experiment or, if the user gave it, at the
            working directory. An absolute path may predate a move of the run.
        experiment: Folder of the config's experiment.

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
    """List where a folder may be that moved with an experiment, closest match first."""
    for length in range(min(_DEEPEST, len(path.parts) - 1), 0, -1):
        for parent in home.parents[:_DEEPEST]:
            yield parent.joinpath(*path.parts[-length:])


def _locations(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the paths of data and weights in a config: the keys that lead to each, and its value."""
    for area in _OUTSIDE:
        for name, spec in _items(config.get(area)):
            if area != _MODELS:
                for key, value in _items(spec):
                    if key in ("path", "root") or (key, type(value)) == ("excluded_classes", str):
                        yield (area, name, key), value
                    if key == "cache" and isinstance(value, Mapping) and "folder" in value:
                        yield (area, name, key, "folder"), value["folder"]
                continue
            for model, arguments in _items(spec):
                weights = dict(_items(arguments)).get("weights")
                if _is_weight_path(weights):
                    yield (area, name, model, "weights"), weights


def _is_weight_path(weights: Any) -> bool:
    """Whether an entry `weights` is the path of a file, rather than a URL or a name."""
    named = isinstance(weights, str) and "://" not in weights
    return named and ("/" in weights or "." in weights)


def _without_none(area: Any) -> Any:
    """Copy a data set's or model's entry, whose arguments may be None instead of empty."""
    if not isinstance(area, Mapping):
        return area
    return {name: {} if entry is None else copy.deepcopy(entry) for name, entry in area.items()}


def _items(entry: Any) -> Any:
    return entry.items() if isinstance(entry, Mapping) else ()


def _with_folders(config: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Apply a change to every entry that is a path of another stage."""
    changed: dict[str, Any] = {}
    for key, entry in _FOLDERS:
        value = changed.get(key, config.get(key))
        if entry is None and value:
            changed[key] = change(value)
        elif isinstance(value, Mapping) and value.get(entry):
            changed[key] = {**value, entry: change(value[entry])}
    return changed
