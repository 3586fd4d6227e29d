"""Inspect an experiment folder: empty, saved configs, trained models, or stages."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from powerful_benchmarker.utils.constants import CONFIG_DIFF_BASE_FOLDER_NAME as CHANGES
from powerful_benchmarker.utils.constants import META_LOGS_FOLDER_NAME as META_LOGS

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.locks import LOCK_FILE
from slade_plugin.config.composition import AREAS_FILE

STATE_FILE = "pipeline.json"  # of the stages of self-training
_TYPES = {"plan": dict, "data": dict, "environment": list, "stages": dict}  # in it


def is_pipeline_folder(folder: Path) -> bool:
    """Whether a folder contains the stages of a pipeline."""
    return (folder / STATE_FILE).is_file()


def read_state(run: Path, *needed: str) -> dict[str, Any]:
    """Read the pipeline.json of a run.

    Args:
        run: Folder of the run.
        needed: Entries that it must have: plan, data, environment, stages.

    Raises:
        ExperimentError: If it is missing or damaged.
    """
    path = run / STATE_FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        wrong = [key for key in needed if not isinstance(content.get(key), _TYPES[key])]
        reason = f"{', '.join(wrong)} missing or of another type" if wrong else ""
    except (OSError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        raise ExperimentError(
            f"{path} cannot be read: {reason}; expected the state of a self-training run. Restore "
            "it from a copy, or start a new run under another --experiment_name."
        )
    return dict(content)


def evaluate_command(experiment: Path, split: str) -> str:
    """Return the command that evaluates an experiment, which may be a stage of a run."""
    place = f"--root_experiment_folder {shlex.quote(str(experiment.parent))}"
    name = shlex.quote(experiment.name)
    return f"run.py {place} --experiment_name {name} --evaluate --splits_to_eval [{split}]"


def check_folder_is_free(folder: Path) -> None:
    """Check that the folder of a new experiment is unused.

    Raises:
        ExperimentError: If the folder contains files.
    """
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != LOCK_FILE)
    taken = next(files, None)
    if taken is not None:
        raise ExperimentError(
            f"the experiment folder {folder} is taken (it contains {taken.relative_to(folder)}); "
            "expected a new name. Give another --experiment_name, resume with "
            "--resume_training latest, or remove the folder."
        )


def split_scheme_folders(folder: Path, content: str = "saved_models") -> list[Path]:
    """List the folders of an experiment's split schemes by name.

    Args:
        folder: Folder of the experiment.
        content: A folder that each has.
    """
    return sorted(p.parent for p in folder.glob(f"*/{content}") if p.parent.name != META_LOGS)


def has_checkpoint(folder: Path) -> bool:
    """Whether an experiment has a checkpoint of any split scheme to resume from."""
    return any(folder.glob("*/saved_models/trunk_[0-9]*.pth"))


def check_is_trained(folder: Path) -> None:
    """Check that every split scheme of an experiment has a model to evaluate.

    Raises:
        ExperimentError: If one has only the untrained model.
    """
    for scheme in split_scheme_folders(folder) or [folder]:
        names = " ".join(sorted(p.name for p in scheme.glob("saved_models/trunk_*.pth")))
        best, trained = r"trunk_best\d+\.pth", r"trunk_(best)?[1-9]\d*\.pth"
        if not (re.search(best, names) and re.search(trained, names)):
            raise ExperimentError(
                f"{scheme} has no trained model; expected a finished experiment. Resume it "
                "first: --resume_training latest."
            )


def latest_epoch(models: Path, best: bool = False) -> int:
    """Find the epoch of the newest checkpoint, as the host does.

    Args:
        models: Checkpoint folder of one split scheme. Its path may contain brackets, which the host
            would read as a pattern.
        best: Count best models only.

    Returns:
        The epoch; 0 without a checkpoint.
    """
    names = (path.name for path in models.glob("trunk_*.pth"))
    found = (re.fullmatch(rf"trunk_(best){'' if best else '?'}(\d+)\.pth", name) for name in names)
    return max((int(match[2]) for match in found if match), default=0)


def why_unfinished(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return where an experiment's training stopped; None if it is finished.

    Args:
        folder: Folder of the experiment.
        config: What `read_saved_config` gave.
    """
    schemes = split_scheme_folders(folder)
    wanted, interval = (config.get(key) for key in ("num_epochs_train", "save_interval"))
    for scheme in schemes if config.get("patience") is None else ():
        epochs = wanted.get(scheme.name) if isinstance(wanted, Mapping) else wanted
        latest = latest_epoch(scheme / "saved_models")
        if epochs and latest < epochs - epochs % (interval or 1):
            return f"{scheme.name} is at epoch {latest} of {epochs}"
    options = next(iter((config.get("split_manager") or {}).values()), None) or {}
    number = options.get("num_training_sets") or 0
    if len(schemes) < number:
        return f"it has {len(schemes)} of {number} split schemes"
    return None


def saved_areas(folder: Path) -> list[str]:
    """Read the config areas of a saved experiment, which are the host's if its runner made it.

    Raises:
        ExperimentError: If a config is missing or damaged, or the areas are not listed.
    """
    return list(_read_areas(folder)[1])


def read_saved_config(experiment: Path) -> dict[str, Any]:
    """Read all areas of a saved experiment's config into one mapping, paths as stored.

    Values that training was resumed with replace those it began with. The names of the config files
    are under `AREAS_FILE`.

    Raises:
        ExperimentError: If a config is missing or damaged.
    """
    names, areas = _read_areas(experiment)
    changes = sorted(experiment.glob(f"configs/{CHANGES}*/*.yaml"), key=_epochs)
    contents = [*areas.values(), *map(_read_config, changes)]
    return {k: v for content in contents for k, v in content.items()} | {AREAS_FILE: names}


def check_saved_configs(folder: Path, areas: list[str]) -> None:
    """Check that a saved experiment has all its configs.

    Raises:
        ExperimentError: If a file is missing or not valid YAML.
    """
    for name in [*areas, AREAS_FILE]:
        _read_config(_config_path(folder, name))


def _epochs(change: Path) -> list[int]:
    """Return the epoch of each split scheme at which the host saved changed values."""
    return [int(epoch) for epoch in re.findall(r"\d+", change.parent.name)]


def _read_areas(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Read `AREAS_FILE`, and the config of each area that it lists."""
    names = _read_config(_config_path(folder, AREAS_FILE))
    areas = names.get(AREAS_FILE)
    if not isinstance(areas, list) or not all(isinstance(a, str) for a in areas):
        raise ExperimentError(
            f"{_config_path(folder, AREAS_FILE)} lists no areas ({areas!r}); expected a list. "
            "Restore it from a copy."
        )
    return names, {area: _read_config(_config_path(folder, area)) for area in areas}


def _config_path(folder: Path, name: str) -> Path:
    return folder / "configs" / f"{name}.yaml"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"the saved config {path} cannot be read: {error}; expected the config of an "
            "existing experiment. Check --experiment_name, or start a new experiment."
        ) from error
    if not isinstance(content, dict):
        raise ExperimentError(
            f"the saved config {path} is empty or damaged; expected keys and values. Restore "
            "it or restart the experiment."
        )
    return content
