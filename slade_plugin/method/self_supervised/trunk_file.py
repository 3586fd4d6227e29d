"""Result of the SwAV stage for each split scheme: the trunk's weights and a manifest.

<folder>/<split scheme>/trunk.pth        the trunk's state dict
<folder>/<split scheme>/manifest.json    written last, with the hash of the weights and its own
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.base.files import (
    MANIFEST_HASH,
    atomic_write,
    manifest_hash,
    sha256_of_file,
    write_manifest,
)
from slade_plugin.method.pseudo_labels.record import pool_fingerprint

_FORMAT = 1
_ABOUT = {
    "labeled_sha256": "other labeled images or splits (config_dataset)",
    "pool_sha256": "another pool (unlabeled_dataset, leakage), possibly with val or test images",
}


@dataclass(frozen=True)
class TrunkFile:
    """Initial weights of a split scheme.

    Attributes:
        state: The trunk's state dict, on the CPU.
        manifest: Their origin: settings, hashes of data and initial weights, versions, losses.
    """

    state: Mapping[str, Tensor]
    manifest: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of the file with the weights."""
        return str(self.manifest["trunk_sha256"])

    def load_into(self, trunk: nn.Module) -> None:
        """Copy the weights into a trunk of the same architecture.

        Raises:
            CheckpointError: If the architecture differs.
        """
        try:
            trunk.load_state_dict(dict(self.state))
        except RuntimeError as error:
            raise CheckpointError(
                f"the trunk of the SwAV stage differs in architecture from this one: {error}; "
                "expected the same config_models for every stage."
            ) from error


def trunk_paths(folder: Path, split_scheme: str) -> tuple[Path, Path]:
    """Return the paths of one split scheme's weights and manifest."""
    return folder / split_scheme / "trunk.pth", folder / split_scheme / "manifest.json"


def save_trunk(
    trunk: nn.Module, manifest: Mapping[str, Any], folder: Path, split_scheme: str
) -> None:
    """Write weights and manifest; a reader finds both complete, or no manifest.

    Raises:
        ExperimentError: If the folder cannot be written.
    """
    trunk_path, manifest_path = trunk_paths(folder, split_scheme)
    with atomic_write(trunk_path) as file:
        torch.save({k: v.cpu() for k, v in trunk.state_dict().items()}, file)
    content = {
        **manifest,
        "format": _FORMAT,
        "split_scheme": split_scheme,
        "trunk_sha256": sha256_of_file(trunk_path),
    }
    write_manifest(manifest_path, content)


def load_trunk(folder: Path, split_scheme: str, expected: Mapping[str, Any]) -> TrunkFile:
    """Read and verify the files of `save_trunk`.

    Args:
        folder: Folder of the stage.
        split_scheme: Name of the split scheme.
        expected: Required entries of the manifest, such as the hashes of labeled images and pool: a
            trunk trained on others may have seen images that are test images here.

    Raises:
        ExperimentError: If it is missing or of another origin.
        CheckpointError: If a file is damaged.
    """
    trunk_path, manifest_path = trunk_paths(folder, split_scheme)
    remedy = f"Remove {manifest_path} and rerun the SwAV stage."
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        intact = (
            manifest["format"] == _FORMAT
            and manifest[MANIFEST_HASH] == manifest_hash(manifest)
            and manifest["trunk_sha256"] == sha256_of_file(trunk_path)
        )
    except FileNotFoundError as error:
        raise ExperimentError(
            f"the trunk of split scheme {split_scheme} is missing: {error.filename}; expected the "
            "folder of a SwAV stage (self_supervised: folder, config_self_supervised)."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{manifest_path} cannot be read: {error}. {remedy}") from error
    if not intact:
        raise CheckpointError(
            f"{trunk_path} or {manifest_path.name} is damaged: a hash does not match. {remedy}"
        )
    for key, value in {"split_scheme": split_scheme, **expected}.items():
        if manifest.get(key) != value:
            about = f": it was trained on {_ABOUT[key]}" if key in _ABOUT else ""
            raise ExperimentError(
                f"{manifest_path} was made for {key} {manifest.get(key)!r}; expected {value!r}"
                f"{about}. Give the folder of a stage with the same data, splits and settings. "
                f"{remedy}"
            )
    return TrunkFile(torch.load(trunk_path, map_location="cpu", weights_only=True), manifest)


def train_split_sha256(split_manager: Any, transform_type: str) -> str:
    """Hash the labeled data set and the indices of its train split."""
    train = split_manager.get_dataset(transform_type, "train")
    digest = hashlib.sha256(pool_fingerprint(getattr(train, "dataset", train)).encode())
    digest.update(np.asarray(getattr(train, "indices", range(len(train))), np.int64).tobytes())
    return digest.hexdigest()
