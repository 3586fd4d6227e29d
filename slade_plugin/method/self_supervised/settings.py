"""Settings of the SwAV stage, `self_supervised` in a config; readable without lightly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from slade_plugin.base.settings import Range, Settings

# Entries of `self_supervised` that are not training settings.
PLACE = "folder"


@dataclass(frozen=True)
class SwAVSettings(Settings):
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

    place: ClassVar[str] = "config_self_supervised"
    title: ClassVar[str] = "self_supervised"

    num_epochs: Annotated[int, Range(1)] = 100
    batch_size: Annotated[int, Range(2)] = 256
    num_prototypes: Annotated[int, Range(2)] = 3000
    projection_hidden_size: Annotated[int, Range(1)] = 2048
    projection_size: Annotated[int, Range(1)] = 128
    temperature: Annotated[float, Range(0.001, 10)] = 0.1
    epsilon: Annotated[float, Range(0.02, 1)] = 0.05
    sinkhorn_iterations: Annotated[int, Range(1)] = 3
    queue_length: Annotated[int, Range(0)] = 0
    queue_start_epoch: Annotated[int, Range(0)] = 15
    frozen_prototype_epochs: Annotated[int, Range(0)] = 1
    optimizer: Mapping[str, Any] = field(
        default_factory=lambda: {"SGD": {"lr": 0.6, "momentum": 0.9, "weight_decay": 0.000001}}
    )
    warmup_epochs: Annotated[int, Range(0)] = 0
    final_lr_fraction: Annotated[float, Range(0, 1)] = 0.001
    views: dict[str, Any] = field(default_factory=dict)
    view_transforms: dict[str, Any] = field(default_factory=dict)
    dataloader_num_workers: Annotated[int, Range(0)] = 0
    seed: Annotated[int | None, Range(0)] = None

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> Self:
        """Read the `self_supervised` entry of a config.

        Raises:
            ConfigError: Naming every unknown entry and every wrong value.
        """
        return super().from_config({k: v for k, v in entry.items() if k != PLACE})

    def _problems(self) -> Iterable[str]:
        if isinstance(self.optimizer, Mapping) and len(self.optimizer) != 1:
            yield (
                f"optimizer is {self.optimizer!r}; expected one class, as {{Adam: {{lr: 0.001}}}}."
            )
        numbers = (self.warmup_epochs, self.num_epochs)
        if all(isinstance(n, int) for n in numbers) and numbers[0] > numbers[1]:
            yield f"warmup_epochs is {numbers[0]}, above num_epochs {numbers[1]}."
