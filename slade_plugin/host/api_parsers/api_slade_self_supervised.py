"""Stage before the teacher: SwAV on labeled training images and pool, without labels."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate

import slade_plugin
from slade_plugin.base.errors import ConfigError, DataError, SladeError
from slade_plugin.base.seeding import seed_everything
from slade_plugin.config.lookup import build, constructor_errors, resolve
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool
from slade_plugin.host.api_parsers.starting_trunk import name_of_weights, trunk_weights
from slade_plugin.method.models.weight_files import state_sha256
from slade_plugin.method.pseudo_labels.record import pool_fingerprint
from slade_plugin.method.self_supervised.settings import PLACE, SwAVSettings
from slade_plugin.method.self_supervised.swav import SwAV, SwAVTraining
from slade_plugin.method.self_supervised.trunk_file import (
    load_trunk,
    save_trunk,
    train_split_sha256,
    trunk_paths,
)
from slade_plugin.method.self_supervised.views import MultiCropViews, UnlabeledViews

VIEWS = "views"  # the only transform type of this stage


class APISladeSelfSupervised(APIWithPool):
    """Train one trunk per split scheme; keep existing ones that fit.

    A scheme's val and test images are never used.
    """

    def run(self) -> dict[str, dict[str, Any]]:
        """Train or resume the missing trunks.

        Returns:
            The manifest of each split scheme.

        Raises:
            SladeError: If a part does not fit, or a file is damaged or of another origin.
        """
        self.set_up()
        return {
            name: self.run_split_scheme(number, name)
            for number, name in enumerate(self.split_manager.split_scheme_names)
        }

    def set_up(self) -> None:
        """Prepare settings, views and data sets."""
        self.settings = SwAVSettings.from_config(self.args.self_supervised)
        where = "self_supervised: view_transforms (config_self_supervised)"
        own = [
            build(self.pytorch_getter, "transform", {name: arguments}, where)
            for name, arguments in self.settings.view_transforms.items()
        ]
        self.views = MultiCropViews(self.settings.views, self.get_trunk(), own)
        self.transforms = {VIEWS: self.views}
        self.split_manager = self.get_split_manager()

    def preflight(self) -> None:
        """Try everything on two images, so that mistakes show before any training.

        Raises:
            SladeError: If any part does not fit.
        """
        self.set_up()
        self.split_manager.set_curr_split_scheme(self.split_manager.split_scheme_names[0])
        dataset = self.get_unlabeled_views()
        if len(dataset) < self.settings.batch_size:
            raise ConfigError(
                f"self_supervised: batch_size is {self.settings.batch_size}, but there are only "
                f"{len(dataset)} labeled and pool images; expected at most that many "
                "(config_self_supervised)"
            )
        swav = self.make_swav(self.get_trunk())
        self.make_optimizer(swav.trained_parameters())
        try:
            with torch.no_grad():
                swav(default_collate([dataset[0], dataset[len(dataset) - 1]]), epoch=1)
        except SladeError:
            raise
        except Exception as error:
            raise DataError(
                f"SwAV failed on a labeled image and one of the pool: {error}. Check "
                "self_supervised: views (config_self_supervised), the trunk (config_models) and "
                "that all images have the same channels."
            ) from error

    def run_split_scheme(self, number: int, split_scheme: str) -> dict[str, Any]:
        """Train one trunk unless a valid one exists.

        Args:
            number: Number of the split scheme, from 0; each has its own seed.
            split_scheme: Its name.
        """
        self.split_manager.set_curr_split_scheme(split_scheme)
        folder = Path(self.args.self_supervised[PLACE])
        seed = (self.args.seed if self.settings.seed is None else self.settings.seed) + number
        seed_everything(seed % 2**32)  # as in the host's stages, for the same initial trunk
        trunk = self.get_trunk()
        weights = trunk_weights(trunk, name_of_weights(self))
        origin = {
            "settings": self.settings.settings(),
            "seed": seed % 2**32,
            "start_sha256": state_sha256(trunk),
            "start_weights": weights and weights.as_dict(),
            "labeled_sha256": train_split_sha256(self.split_manager, VIEWS),
            "pool_sha256": pool_fingerprint(self.split_manager.get_unlabeled_dataset(VIEWS)),
        }
        trunk_path, manifest_path = trunk_paths(folder, split_scheme)
        checkpoint = trunk_path.parent / "checkpoint.pth"
        if manifest_path.exists():
            trunk_file = load_trunk(folder, split_scheme, origin)
            checkpoint.unlink(missing_ok=True)  # left if a run was stopped right before removal
            return dict(trunk_file.manifest)

        trunk_path.parent.mkdir(parents=True, exist_ok=True)
        dataset = self.get_unlabeled_views()
        swav = self.make_swav(trunk).to(self.device)
        training = SwAVTraining(
            swav, dataset, self.make_optimizer, seed % 2**32, checkpoint, origin, self.device
        )
        keeper = self.get_stage_record_keeper(trunk_path.parent)
        training.run(split_scheme, lambda history: record(keeper, history))
        seconds = sum(epoch["seconds"] for epoch in training.history)
        manifest = {
            **origin,
            "num_labeled": len(dataset.labeled),
            "num_pool": len(dataset.pool),
            "steps_per_epoch": training.steps_per_epoch,
            "epochs": training.history,
            "seconds": round(seconds, 1),
            "versions": {
                "slade-plugin": slade_plugin.__version__,
                **{name: metadata.version(name) for name in ("lightly", "torch", "torchvision")},
            },
        }
        save_trunk(swav.trunk.module, manifest, folder, split_scheme)
        checkpoint.unlink()
        return dict(load_trunk(folder, split_scheme, origin).manifest)

    def get_unlabeled_views(self) -> UnlabeledViews:
        """Combine the current scheme's train split and the pool, without labels."""
        return UnlabeledViews(
            self.split_manager.get_dataset(VIEWS, "train"),
            self.split_manager.get_unlabeled_dataset(VIEWS),
            self.split_manager.data_and_label_getter,
        )

    def make_swav(self, trunk: torch.nn.Module) -> SwAV:
        """Build SwAV around the trunk that the model factory made last."""
        size = self.factories["model"].base_model_output_size
        return SwAV(trunk, size, self.settings, self.views.num_code_views)

    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer of the settings, given in the host's form."""
        where = "self_supervised: optimizer (config_self_supervised)"
        cls, kwargs = resolve(self.pytorch_getter, "optimizer", self.settings.optimizer, where)
        with constructor_errors(cls.__name__, where):
            optimizer: torch.optim.Optimizer = cls(parameters, **kwargs)
        return optimizer

    def get_stage_record_keeper(self, folder: Path) -> Any:
        """Create the host's record keeper in the folder of a split scheme."""
        tensorboard = folder / "tensorboard_logs" if self.args.log_data_to_tensorboard else None
        kwargs = {"csv_folder": str(folder / "saved_csvs"), "tensorboard_folder": tensorboard}
        return self.factories["record_keeper"].create(kwargs)


def record(keeper: Any, history: Sequence[Mapping[str, float]]) -> None:
    """Write the epochs missing from the records; after an interruption, possibly the last one.

    Args:
        keeper: A record keeper of the host.
        history: One row per epoch.
    """
    known = len(keeper.query("SELECT epoch FROM swav")) if keeper.table_exists("swav") else 0
    for row in history[known:]:
        values = {k: v for k, v in row.items() if k != "seconds"}
        keeper.update_records(values, row["epoch"], input_group_name_for_non_objects="swav")
        keeper.save_records()
    if keeper.tensorboard_writer is not None:
        keeper.tensorboard_writer.flush()
