"""Check the output files of a command before it starts."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.results.layouts import SUFFIXES


def add_out(parser: argparse.ArgumentParser, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Add --out, for files that `check_outputs` checks.

    Args:
        parser: The command's.
        suffixes: The known suffixes, by default those of the layouts.
    """
    add: Any = parser.add_argument
    add(
        "--out", type=Path, action="append", default=[], metavar="FILE",
        help=f"also write a file, in the format of its ending: {' '.join(suffixes)}; repeatable",
    )  # fmt: skip


def check_outputs(paths: Iterable[Path], suffixes: Iterable[str]) -> None:
    """Check that files can be written and that their suffixes are known.

    Args:
        paths: The files.
        suffixes: The known suffixes.

    Raises:
        ConfigError: If a suffix is unknown or a file cannot be written.
    """
    for path in paths:
        if path.suffix not in suffixes:
            raise ConfigError(
                f"--out is {path}; expected a file that ends in {', '.join(suffixes)}."
            )
        check_writable(path)


def check_writable(path: Path) -> None:
    """Check that the folder of an output file can be written to.

    Raises:
        ConfigError: If it cannot, or does not exist.
    """
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written; expected a writable folder {path.parent}.")
