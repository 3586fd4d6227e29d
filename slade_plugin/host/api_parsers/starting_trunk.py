"""Initial weights of trunks: the file of the SwAV stage, or published weights.

Every trunk that the host makes for a split scheme starts from that scheme's file: for training, for
evaluating the untrained trunk, and for a student initialized as `pretrained`. Evaluating a trained
trunk does not need the file. Without `self_supervised: folder` in the config, no file is used. Each
experiment records the file and the published weights.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.base.warning import warn_once
from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.config.lookup import resolve
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
from slade_plugin.method.models.weight_files import (
    LoadedWeights,
    loaded_by_library,
    name_in_library,
)
from slade_plugin.method.pseudo_labels.record import pool_fingerprint
from slade_plugin.method.self_supervised.settings import PLACE
from slade_plugin.method.self_supervised.trunk_file import TrunkFile, load_trunk, train_split_sha256

RECORD = "trunk_start.json"


def trunk_folder(args: Any) -> str | None:
    """Return the SwAV stage's folder in a config, or None."""
    return (getattr(args, "self_supervised", None) or {}).get(PLACE)


def find_trunk(parser: Any) -> TrunkFile | None:
    """Find the file of the parser's current split scheme; None if the config names no folder.

    Raises:
        SladeError: If the file is missing, damaged, of other labeled images or, if the experiment
            has a pool, of another pool.
    """
    folder = trunk_folder(parser.args)
    if not folder:
        return None
    split_manager = parser.split_manager
    expected = {"labeled_sha256": train_split_sha256(split_manager, "train")}
    if isinstance(split_manager, UnlabeledPoolSplitManager):
        pool = split_manager.get_unlabeled_dataset("train")
        expected["pool_sha256"] = pool_fingerprint(pool)
    return load_trunk(Path(folder), split_manager.curr_split_scheme_name, expected)


def check_trunks(parser: Any) -> None:
    """Load the files of all split schemes into the parser's trunk, to check that they fit.

    Args:
        parser: API parser with split manager and models.

    Raises:
        SladeError: If a file is missing, damaged, of other images or another trunk.
    """
    # The first scheme last, since later checks use its trunk.
    for name in reversed(parser.split_manager.split_scheme_names):
        parser.split_manager.set_curr_split_scheme(name)
        trunk_file = find_trunk(parser)
        if trunk_file is not None:
            trunk_file.load_into(parser.models["trunk"])


def start_trunks(parser: Any) -> TrunkFile | None:
    """Make the parser's model factory start each trunk from the current split scheme's file.

    The random numbers of a fresh trunk are still drawn, so later draws do not depend on the stage.
    Weights loaded by a library are recorded first.

    Args:
        parser: An API parser of the host or ours; its factory object is patched, not the class.

    Returns:
        The file, or None if the config names no folder or no trunk will be trained.

    Raises:
        SladeError: If the file is missing, damaged or of other images.
    """
    training, trunk_file = parser.is_training(), None
    if trunk_folder(parser.args) and (training or parser.args.check_untrained_accuracy):
        trunk_file = find_trunk(parser)
        warn_of_unseen_pool(parser)
    name = name_of_weights(parser) if training else None
    if trunk_file is not None or name is not None:
        factory = parser.factories["model"]
        create = functools.partial(type(factory).create_trunk, factory)
        factory.create_trunk = functools.partial(_create_trunk, create, trunk_file, name)
    return trunk_file


def warn_of_unseen_pool(parser: Any) -> None:
    """Warn of a SwAV stage whose pool cannot be compared, since the experiment has none.

    Args:
        parser: API parser of an experiment that starts from a stage. In a pipeline the student has
            compared the pools.
    """
    has_pool = isinstance(parser.split_manager, UnlabeledPoolSplitManager)
    if not has_pool and not is_pipeline_folder(Path(parser.experiment_folder).parent):
        warn_once(
            f"the trunk starts from {trunk_folder(parser.args)}, which was also trained on a pool; "
            "this experiment has no pool to compare with, so images of its val and test splits may "
            "have been in it. Expected a stage whose pool was compared with the same data set "
            "(self_supervised: folder, config_self_supervised)."
        )


def name_of_weights(parser: Any) -> str | None:
    """Return the name of the weights that a library loads for a config's trunk, or None."""
    where = "models: trunk (config_models)"
    return name_in_library(
        *resolve(parser.pytorch_getter, "model", parser.args.models["trunk"], where)
    )


def trunk_weights(trunk: Any, name: str | None) -> LoadedWeights | None:
    """Return a fresh trunk's published weights: recorded by itself, or a library's.

    Args:
        trunk: The trunk as made by the model factory.
        name: Output of `name_of_weights`.
    """
    own: LoadedWeights | None = getattr(trunk, "loaded_weights", None)
    return own or (loaded_by_library(trunk, name) if name else None)


def record_start(parser: Any, trunk_file: TrunkFile | None) -> None:
    """Record the initial weights of a split scheme's trunk, or compare them on resume.

    Args:
        parser: API parser with its models.
        trunk_file: Output of `start_trunks`.

    Raises:
        ExperimentError: If the scheme was trained from other weights.
    """
    if not parser.is_training():
        return
    weights = getattr(parser.models["trunk"].module, "loaded_weights", None)
    if trunk_file is None and weights is None:
        return
    start = {
        "self_supervised_sha256": trunk_file and trunk_file.sha256,
        "weights": weights and weights.as_dict(),
    }
    scheme = parser.split_manager.curr_split_scheme_name
    path = Path(parser.experiment_folder) / scheme / RECORD
    if not path.is_file():
        write_json(path, start)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"{path} cannot be read: {error}; expected the trunk's initial weights. Restore it."
        ) from error
    if _content(before) != _content(start):
        raise ExperimentError(
            f"{path} says that this experiment's trunk started from {before}; now it would start "
            f"from {start}. Restore those files, or give their new paths (--models {{trunk: "
            "{CLASS: {weights: PATH}}}, --self_supervised {folder: PATH})."
        )


def _content(start: dict[str, Any]) -> dict[str, Any]:
    """Drop the path of a weight file that is known by its hash, since it may have been moved."""
    weights = start.get("weights") or {}
    known = {k: v for k, v in weights.items() if k != "source" or not weights.get("sha256")}
    return {**start, "weights": known}


def _create_trunk(
    create: Callable[..., Any],
    trunk_file: TrunkFile | None,
    name: str | None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    trunk = create(*args, **kwargs)
    trunk.loaded_weights = trunk_weights(trunk, name)  # before other weights are loaded
    if trunk_file is not None:
        trunk_file.load_into(trunk)
    return trunk
