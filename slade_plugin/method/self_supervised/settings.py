"""Settings of the SwAV stage, `self_supervised` in a config; readable without lightly."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest

# Entries of `self_supervised` that are not training settings.
PLACE = "folder"


@dataclass(frozen=True)
class SwAVSettings:
    """Training settings of the trunk; defaults are the paper's for one GPU, if stated there.

    Attributes:
        num_epochs: Epochs over labeled training images and pool, at least 1.
        batch_size: Images per step, at least 2; an incomplete last batch is dropped.
        num_prototypes: At least 2; about ten times the expected number of classes.
        projection_hidden_size: Width of the projection head's hidden layer.
        projection_size: Size of the vectors compared with the prototypes.
        temperature: Temperature of the softmax over prototypes, above 0.
        epsilon: Entropy weight of the Sinkhorn-Knopp codes, 0.02 to 1; smaller = harder codes.
            Small data need a small value, or all images share all prototypes. Below 0.02,
            exp(1 / epsilon) approaches the limit of float32.
        sinkhorn_iterations: At least 1.
        queue_length: Number of earlier embeddings used for the codes; 0 = none. Helps if the batch
            is small relative to the number of prototypes.
        queue_start_epoch: Epochs before the queue is used, at least 0; it must also be full.
        frozen_prototype_epochs: Epochs before the prototypes are trained, at least 0.
        optimizer: One class of torch.optim with its arguments, in the host's form.
        warmup_epochs: Epochs of linear warm-up to the optimizer's learning rate, followed by cosine
            decay.
        final_lr_fraction: Fraction of the learning rate at the end, 0 to 1.
        views: Arguments of lightly's SwaVTransform: crop_sizes, crop_counts, crop_min_scales,
            crop_max_scales (one entry per kind of crop; the first kind gives the codes), hf_prob,
            cj_prob, ... `normalize` is the trunk's own.
        view_transforms: Transforms of torchvision in the host's form, such as
            {RandomInvert: {p: 0.5}}; applied to each view, a tensor with values 0 to 1, in order.
        dataloader_num_workers: At least 0. Different numbers give different views.
        seed: None means the seed of the run.
    """

    num_epochs: int = 100
    batch_size: int = 256
    num_prototypes: int = 3000
    projection_hidden_size: int = 2048
    projection_size: int = 128
    temperature: float = 0.1
    epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    queue_length: int = 0
    queue_start_epoch: int = 15
    frozen_prototype_epochs: int = 1
    optimizer: Mapping[str, Any] = field(
        default_factory=lambda: {"SGD": {"lr": 0.6, "momentum": 0.9, "weight_decay": 0.000001}}
    )
    warmup_epochs: int = 0
    final_lr_fraction: float = 0.001
    views: Mapping[str, Any] = field(default_factory=dict)
    view_transforms: Mapping[str, Any] = field(default_factory=dict)
    dataloader_num_workers: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check types and ranges.

        Raises:
            ConfigError: Naming every wrong value at once.
        """
        problems = [
            f"{name} is {getattr(self, name)!r}; expected an integer >= {least}"
            for name, least in _LEAST.items()
            if not _is_integer(getattr(self, name), least)
        ]
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not (
                low <= value <= high
            ):  # fmt: skip
                problems.append(f"{name} is {value!r}; expected a number from {low} to {high}")
        if self.seed is not None and not _is_integer(self.seed, 0):
            problems.append(f"seed is {self.seed!r}; expected an integer >= 0 or null")
        if not (isinstance(self.optimizer, Mapping) and len(self.optimizer) == 1):
            problems.append(
                f"optimizer is {self.optimizer!r}; expected one class, as {{Adam: {{lr: 0.001}}}}"
            )
        for name in ("views", "view_transforms"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                problems.append(f"{name} is {value!r}; expected names with values")
        if not problems and self.warmup_epochs > self.num_epochs:
            problems.append(
                f"warmup_epochs is {self.warmup_epochs}, above num_epochs {self.num_epochs}"
            )
        if problems:
            raise ConfigError(
                "\n  ".join(f"self_supervised: {p} (config_self_supervised)" for p in problems)
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "SwAVSettings":
        """Read the `self_supervised` entry of a config.

        Raises:
            ConfigError: If an entry is unknown or a value out of range.
        """
        names = [f.name for f in fields(cls)]
        unknown = [k for k in config if k not in (*names, PLACE)]
        if unknown:
            raise ConfigError(
                f"self_supervised has no entry {unknown[0]!r}{nearest(str(unknown[0]), names)}; "
                f"expected {', '.join(names)} (config_self_supervised)"
            )
        return cls(**{k: v for k, v in config.items() if k != PLACE})

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dict, ready for JSON."""
        return asdict(self)


_LEAST = {
    "num_epochs": 1,
    "batch_size": 2,
    "num_prototypes": 2,
    "projection_hidden_size": 1,
    "projection_size": 1,
    "sinkhorn_iterations": 1,
    "queue_length": 0,
    "queue_start_epoch": 0,
    "frozen_prototype_epochs": 0,
    "warmup_epochs": 0,
    "dataloader_num_workers": 0,
}
_RANGES = {"temperature": (0.001, 10), "epsilon": (0.02, 1), "final_lr_fraction": (0, 1)}


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
