"""Files that a command is asked to write, checked before it does anything."""

import os
from collections.abc import Iterable
from pathlib import Path

from slade_plugin.errors import ConfigError


def check_outputs(paths: Iterable[Path], suffixes: Iterable[str]) -> None:
    """Checks that files can be written and that their endings say how.

    Args:
        paths: The files.
        suffixes: The endings that are known.

    Raises:
        ConfigError: If one of them cannot be written.
    """
    for path in paths:
        if path.suffix not in suffixes:
            raise ConfigError(
                f"--out is {path}; expected a file that ends in {', '.join(suffixes)}."
            )
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(
                f"--out {path} cannot be written; expected a writable folder {path.parent}."
            )
