"""Write the output files of a command, and check them before it starts."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import write_text
from slade_plugin.experiments.results.layouts import LAYOUTS, SUFFIXES, Rows


def add_out(parser: argparse.ArgumentParser, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Add --out, for files that `check_outputs` checks.

    Args:
        parser: The command's.
        suffixes: The known suffixes, by default those of `write_rows`.
    """
    add: Any = parser.add_argument
    add(
        "--out", type=Path, action="append", default=[], metavar="FILE",
        help=f"also write a file, in the format of its ending: {' '.join(suffixes)}; repeatable",
    )  # fmt: skip


def write_rows(rows: Rows, layout: str, paths: Iterable[Path]) -> None:
    """Print a summary and write it to files.

    Args:
        rows: The result of `summarize`.
        layout: The printed layout, one of LAYOUTS.
        paths: Files that passed `check_outputs` with SUFFIXES.
    """
    print(LAYOUTS[layout](rows), end="")
    for path in paths:
        write_text(path, LAYOUTS[SUFFIXES[path.suffix]](rows))


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
