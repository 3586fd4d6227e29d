"""How the trunk computes: the entry `compute` of config_general, one for all stages of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class ComputeSettings:
    """Settings that change speed, memory and rounding, but no shape and no checkpoint.

    Attributes:
        precision: `bfloat16` runs the trunk under autocast. Its output is float32 again, so the
            embedder, losses, miners and metrics are not affected.
        channels_last: Whether weights and images of the trunk lie in memory with channels last.
        compile: Whether the trunk goes through `torch.compile`; or the name of a backend of it.
    """

    precision: str = PRECISIONS[0]
    channels_last: bool = False
    compile: bool | str = False

    @classmethod
    def from_config(cls, config: Any) -> "ComputeSettings":
        """Read and check the entry; None means the defaults.

        Raises:
            ConfigError: Naming everything that is wrong.
        """
        known = [f.name for f in fields(cls)]
        if not isinstance(config, Mapping | None):
            raise ConfigError(
                f"compute is {config!r}; expected {', '.join(known)}, such as --compute "
                "{precision: bfloat16} (config_general)"
            )
        config = config or {}
        problems = [
            f"compute has no entry {key!r}{nearest(str(key), known)}; expected {', '.join(known)}"
            for key in config
            if key not in known
        ]
        settings = cls(**{key: config[key] for key in known if key in config})
        if settings.precision not in PRECISIONS:
            problems.append(
                f"compute: precision is {settings.precision!r}"
                f"{nearest(str(settings.precision), PRECISIONS)}; expected "
                f"{' or '.join(PRECISIONS)}"
            )
        if not isinstance(settings.channels_last, bool):
            problems.append(
                f"compute: channels_last is {settings.channels_last!r}; expected True or False"
            )
        if not isinstance(settings.compile, bool):
            backends = torch.compiler.list_backends(exclude_tags=())
            if settings.compile not in backends:
                problems.append(
                    f"compute: compile is {settings.compile!r}"
                    f"{nearest(str(settings.compile), backends)}; expected True, False or a "
                    "backend of torch.compile, such as inductor"
                )
        if problems:
            raise ConfigError("; ".join(problems) + " (config_general)")
        return settings
