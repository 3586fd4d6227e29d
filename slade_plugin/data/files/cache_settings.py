"""The option `cache` of a data set of image files."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from torchvision import transforms
from torchvision.transforms import v2

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range, Settings


@dataclass(frozen=True)
class CacheSettings(Settings):
    """The option `cache` of a data set of image files.

    Attributes:
        short_side: Images are shrunk to this short side, as torchvision's Resize does it; smaller
            ones are kept as they are. At least 16; required.
        folder: Destination folder; None = `.image_cache` in the data set's root.
    """

    place: ClassVar[str] = "config_dataset"
    title: ClassVar[str] = "cache"

    short_side: Annotated[int, Range(16)] = 0
    folder: str | None = None

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
