"""Record of an experiment's data by content, since their location may change.

`data.json` in the experiment's folder has one hash of the labeled data set and one of the pool.
"""

import json
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
from slade_plugin.method.pseudo_labels.record import pool_fingerprint

RECORD = "data.json"
_FLAGS = {"labeled": "--labeled", "pool": "--unlabeled"}


def data_hashes(split_manager: Any) -> dict[str, str]:
    """Hash the data of a split manager: `labeled`, and `pool` if it has one."""
    scheme = next(iter(split_manager.split_scheme_holder.split_schemes.values()))
    labeled = next(iter(next(iter(scheme.values())).values()))
    hashes = {"labeled": pool_fingerprint(getattr(labeled, "dataset", labeled))}
    if isinstance(split_manager, UnlabeledPoolSplitManager):
        pool = split_manager.get_unlabeled_dataset(next(iter(split_manager.pools)))
        hashes["pool"] = pool_fingerprint(pool)
    return hashes


def read_data_record(experiment: Path) -> dict[str, str]:
    """Read the hashes of an experiment's data; empty for one of an earlier version.

    Raises:
        ExperimentError: If the record is damaged.
    """
    path = experiment / RECORD
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ExperimentError(
            f"{path} is damaged: {error}; expected hashes of the data. Restore it from a copy."
        ) from error


def check_data(parser: Any, split_manager: Any) -> None:
    """Compare an experiment's data with those it was trained on.

    Args:
        parser: The experiment's API parser. A reproduction is compared with its original.
        split_manager: Split manager with its data.

    Raises:
        ExperimentError: If the content differs.
    """
    original = getattr(parser.args, "reproduce_results", None) or parser.experiment_folder
    known = read_data_record(Path(original))
    found = data_hashes(split_manager) if known else {}
    for name in known.keys() & found.keys():
        if known[name] != found[name]:
            raise ExperimentError(
                f"the data of {original} have changed: the hash of {name} was {known[name][:12]} "
                f"and is now {found[name][:12]}; expected the same content, wherever it is. "
                f"Give its path ({_FLAGS[name]} PATH or --dataset_root PATH), or restore it."
            )


def record_data(parser: Any) -> None:
    """Write the hashes of a new experiment's data.

    Args:
        parser: API parser with its split manager, in training.
    """
    path = Path(parser.experiment_folder) / RECORD
    if not path.is_file():
        write_json(path, data_hashes(parser.split_manager))
