"""Trunks that start from the file of the SwAV stage.

Every trunk that the host makes for a split scheme starts from that scheme's file: for training, for
the evaluation of the untrained trunk, and for a student whose start is `pretrained`. The evaluation
of a trained one does without the file. Where the config has no entry `self_supervised`, or that has
no `folder`, nothing is changed.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slade_plugin.errors import ExperimentError
from slade_plugin.files import write_json
from slade_plugin.self_supervised.settings import PLACE
from slade_plugin.self_supervised.trunk_file import TrunkFile, load_trunk, train_split_sha256

RECORD = "trunk_start.json"


def trunk_folder(args: Any) -> str | None:
    """Folder of the SwAV stage that a config names, if it does."""
    return (getattr(args, "self_supervised", None) or {}).get(PLACE)


def find_trunk(parser: Any) -> TrunkFile | None:
    """The file of the parser's current split scheme, or None if the config names no folder.

    Raises:
        SladeError: If the file is missing, damaged or of other labeled images.
    """
    folder = trunk_folder(parser.args)
    if not folder:
        return None
    labeled = train_split_sha256(parser.split_manager, "train")
    scheme = parser.split_manager.curr_split_scheme_name
    return load_trunk(Path(folder), scheme, {"labeled_sha256": labeled})


def check_trunks(parser: Any) -> None:
    """Tries the files of all split schemes on the parser's trunk, which is changed.

    Args:
        parser: With split manager and models made.

    Raises:
        SladeError: If a file is missing, damaged, of other labeled images or another trunk.
    """
    # The first one last: what is tried afterwards is tried on it.
    for name in reversed(parser.split_manager.split_scheme_names):
        parser.split_manager.set_curr_split_scheme(name)
        trunk_file = find_trunk(parser)
        if trunk_file is not None:
            trunk_file.load_into(parser.models["trunk"])


def start_trunks(parser: Any) -> TrunkFile | None:
    """Lets the parser's model factory start each trunk from the file of the current split scheme.

    The random numbers of a fresh trunk are drawn all the same, so what is drawn after it does not
    depend on the stage.

    Args:
        parser: An API parser of the host or ours; its factory object is changed, not the class.

    Returns:
        The file, or None if the config names no folder or no trunk will start.

    Raises:
        SladeError: If the file is missing, damaged or of other labeled images.
    """
    if not trunk_folder(parser.args):
        return None
    if not (parser.is_training() or parser.args.check_untrained_accuracy):
        return None
    trunk_file = find_trunk(parser)
    if trunk_file is None:
        return None
    factory = parser.factories["model"]
    create = functools.partial(type(factory).create_trunk, factory)
    factory.create_trunk = functools.partial(_create_trunk, create, trunk_file)
    return trunk_file


def record_start(parser: Any, trunk_file: TrunkFile | None) -> None:
    """Writes what a split scheme's trunk started from, and compares when training goes on.

    Args:
        parser: With its models made.
        trunk_file: What `start_trunks` gave.

    Raises:
        ExperimentError: If the scheme was trained from another file.
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
            f"{path} cannot be read: {error}; expected what the trunk started from. Restore it."
        ) from error
    if before != start:
        raise ExperimentError(
            f"{path} says that this experiment's trunk started from {before}; now it would start "
            f"from {start}. Restore those files (config_models, self_supervised: folder)."
        )


def _create_trunk(create: Callable[..., Any], trunk_file: TrunkFile, *args: Any, **kw: Any) -> Any:
    trunk = create(*args, **kw)
    trunk_file.load_into(trunk)
    return trunk
