"""How the trunk computes: the entry `compute` of config_general, one for all stages of a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from slade_plugin.base.settings import Settings
from slade_plugin.base.suggestions import nearest


@dataclass(frozen=True)
class ComputeSettings(Settings):
    """Settings that change speed, memory and rounding, but no shape and no checkpoint.

    Attributes:
        precision: `bfloat16` runs the trunk under autocast. Its output is float32 again, so the
            embedder, losses, miners and metrics are not affected.
        channels_last: Whether weights and images of the trunk lie in memory with channels last.
        compile: Whether the trunk goes through `torch.compile`; or the name of a backend of it.
    """

    place: ClassVar[str] = "config_general"
    title: ClassVar[str] = "compute"
    hint: ClassVar[str] = ", such as --compute {precision: bfloat16}"

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool | str = False

    def _problems(self) -> Iterable[str]:
        if isinstance(self.compile, bool):
            return
        backends = torch.compiler.list_backends(exclude_tags=())
        if self.compile not in backends:
            yield (
                f"compile is {self.compile!r}{nearest(str(self.compile), backends)}; expected "
                "True, False or a backend of torch.compile, such as inductor."
            )
