"""A trained teacher on disk: the best model of one split scheme of a host experiment."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.host.checkpoints.checkpoint_files import committed_suffixes, load_state

_PARTS = ("trunk", "embedder")


class Teacher:
    """The best model of one split scheme.

    Args:
        experiment: Folder of a host experiment.
        split_scheme: Name of the split scheme, a subfolder.

    Raises:
        ExperimentError: If the experiment or split scheme is missing or has no best model.
    """

    def __init__(self, experiment: Path, split_scheme: str) -> None:
        self.experiment = experiment.resolve()
        self.split_scheme = split_scheme
        self.model_folder = self.experiment / split_scheme / "saved_models"
        if not self.experiment.is_dir():
            raise ExperimentError(
                f"there is no teacher experiment {self.experiment}; expected the folder of a "
                "trained host experiment (--teacher_experiment)."
            )
        if not self.model_folder.is_dir():
            # Only folders with a model: the host makes similar ones for logs over all schemes.
            trunks = self.experiment.glob("*/saved_models/trunk_*.pth")
            found = sorted({p.parents[1].name for p in trunks})
            raise ExperimentError(
                f"the teacher {self.experiment} has no split scheme {split_scheme}; it has "
                f"{', '.join(found) or 'none'}. Teacher and student need the same split_manager "
                "(config_dataset)."
            )
        suffixes = committed_suffixes(self.model_folder)
        epoch = max((int(s[4:]) for s in suffixes if s.startswith("best")), default=0)
        if epoch == 0:
            raise ExperimentError(
                f"{self.model_folder} has no trained best model; expected trunk_best<epoch>.pth. "
                "Train the teacher first, or resume it."
            )
        self.suffix = f"best{epoch}"
        self.paths = {part: self.model_folder / f"{part}_{self.suffix}.pth" for part in _PARTS}

    def sha256(self) -> str:
        """Compute one hash over the files of the best model.

        Raises:
            CheckpointError: If a file is missing.
        """
        digest = hashlib.sha256()
        for part in _PARTS:
            try:
                digest.update(sha256_of_file(self.paths[part]).encode())
            except OSError as error:
                raise CheckpointError(
                    f"the teacher's {part} cannot be read: {error}; expected {self.paths[part]}."
                ) from error
        return digest.hexdigest()

    def load_into(self, models: Mapping[str, torch.nn.Module], device: Any) -> None:
        """Copy the weights into models of the same architecture.

        Args:
            models: Entries "trunk" and "embedder", also inside ``DataParallel``.
            device: Device of the tensors.

        Raises:
            CheckpointError: If a file is missing, damaged or of another architecture.
        """
        for part in _PARTS:
            try:
                load_state(models[part], self.paths[part], device)
            except CheckpointError as error:
                raise CheckpointError(
                    f"the teacher's {part} cannot be loaded: {error}. Teacher and student need the "
                    "same config_models."
                ) from error
