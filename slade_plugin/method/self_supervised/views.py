"""Views of an image for SwAV: lightly's multi-crop transform, then the trunk's own normalization.

lightly is an optional dependency: ``pip install slade-plugin[swav]``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from easy_module_attribute_getter.custom_transforms import Multiplier
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.lookup import check_arguments
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE


def check_lightly() -> None:
    """Check that lightly can be imported.

    Raises:
        ConfigError: With the command to install it.
    """
    try:
        import lightly.loss
        import lightly.models.modules
        import lightly.transforms  # noqa: F401 - all that the stage uses
    except ImportError as error:
        raise ConfigError(
            f"config_self_supervised needs lightly, which cannot be imported ({error}); expected "
            "`pip install slade-plugin[swav]`, or --config_self_supervised default."
        ) from error


class MultiCropViews:
    """Transform a PIL image to its views.

    Args:
        views: Arguments of lightly's SwaVTransform except `normalize`.
        trunk: Its `mean`, `std`, `input_space` and `input_range` define the input; those of
            ImageNet by default, as in the host.
        view_transforms: Applied to each view after lightly's, before normalization.

    Attributes:
        num_code_views: Views of the first kind, which give codes.

    Raises:
        ConfigError: If lightly is missing, or an argument is unknown or does not fit the others.
    """

    def __init__(
        self,
        views: Mapping[str, Any],
        trunk: Any,
        view_transforms: Sequence[Callable[[Tensor], Tensor]] = (),
    ) -> None:
        check_lightly()
        from lightly.transforms.swav_transform import SwaVTransform
        from lightly.transforms.utils import IMAGENET_NORMALIZE

        where = "self_supervised: views (config_self_supervised)"
        check_arguments(SwaVTransform, views, where, provided=["normalize"])
        counts = views.get("crop_counts", (2, 6))
        try:
            self.multi_crop = SwaVTransform(**views, normalize=None)
            self.num_code_views = int(counts[0])
        except (TypeError, ValueError, IndexError) as error:
            raise ConfigError(f"{where}: {dict(views)} cannot be used: {error}") from error
        if self.num_code_views < 1 or len(self.multi_crop.transforms) < 2:
            raise ConfigError(
                f"{where}: crop_counts is {counts}; expected at least one crop of the first kind "
                "and two in total"
            )
        largest = (getattr(trunk, "input_range", None) or [0, 1])[1]
        self.finish = transforms.Compose(
            [
                *view_transforms,
                *([_to_bgr] if getattr(trunk, "input_space", None) == "BGR" else []),
                *([Multiplier(largest)] if largest != 1 else []),
                transforms.Normalize(
                    getattr(trunk, "mean", None) or IMAGENET_NORMALIZE["mean"],
                    getattr(trunk, "std", None) or IMAGENET_NORMALIZE["std"],
                ),
            ]
        )

    def __call__(self, image: Any) -> list[Tensor]:
        """Return sum(crop_counts) tensors (C, size, size), those that give codes first."""
        return [self.finish(view) for view in self.multi_crop(image)]


class UnlabeledViews(Dataset[list[Tensor]]):
    """Labeled training images and pool as one data set, without labels.

    Args:
        labeled: The train split of one split scheme with a transform to views.
        pool: The pool with the same transform.
        labeled_getter: The split manager's function that splits an item into image and label.
    """

    def __init__(self, labeled: Any, pool: Any, labeled_getter: Callable[[Any], Any]) -> None:
        self.labeled = labeled
        self.pool = pool
        self.labeled_getter = labeled_getter

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labeled) + len(self.pool)

    def __getitem__(self, index: int) -> list[Tensor]:
        """Return the views of one image; labeled images come first."""
        if index < len(self.labeled):
            image, _ = self.labeled_getter(self.labeled[index])
            return list(image)
        return list(self.pool[index - len(self.labeled)][IMAGE])


def _to_bgr(image: Tensor) -> Tensor:
    return torch.flip(image, [0])
