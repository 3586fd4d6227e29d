"""The option `cache` of a data set of image files."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torchvision import transforms
from torchvision.transforms import v2

from slade_plugin.base.errors import ConfigError


@dataclass(frozen=True)
class CacheSettings:
    """The option `cache` of a data set of image files.

    Attributes:
        short_side: Images are shrunk to this short side, as torchvision's Resize does it; smaller
            ones are kept as they are. At least 16.
        folder: Where to; None = `.image_cache` in the data set's root.
    """

    short_side: int
    folder: str | None = None

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Read and check the option.

        Raises:
            ConfigError: If an entry is missing, unknown or wrong.
        """
        with suppress(TypeError):  # no mapping, or not with these entries
            settings = cls(**config)
            side = settings.short_side
            is_side = isinstance(side, int) and not isinstance(side, bool) and side >= 16
            if is_side and isinstance(settings.folder, str | None):
                return settings
        raise ConfigError(
            f"cache is {config!r}; expected {{short_side: an integer >= 16}} and, if it is not to "
            "lie in the data set's folder, folder: a path (config_dataset)."
        )

    def check_fits(self, transform: Any) -> None:
        """Check that no transform enlarges cached images.

        Args:
            transform: One transform or a torchvision `Compose`.

        Raises:
            ConfigError: If a Resize asks for a larger short side.
        """
        for step in getattr(transform, "transforms", [transform]):
            if isinstance(step, transforms.Resize | v2.Resize):
                size = min(np.atleast_1d(step.size).tolist())
                if size > self.short_side:
                    raise ConfigError(
                        f"cache: short_side is {self.short_side}, but the transforms "
                        f"resize to {size}, which would enlarge what was shrunk before; expected "
                        f"at least {size}. Change cache in config_dataset or Resize in "
                        "config_transforms."
                    )
