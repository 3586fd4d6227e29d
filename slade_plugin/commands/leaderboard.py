"""Rank the records of a folder: `slade-bench leaderboard FOLDER --out leaderboard.html`.

    slade-bench leaderboard leaderboard --check
    slade-bench leaderboard leaderboard --out leaderboard.html --out leaderboard.md

FOLDER holds one folder per record, as slade-bench record writes it. First, all records are checked:
hashes, protocol, number of runs, effort of tuning, choices made on val alone, and whether every
table follows from the runs. --check stops there. Exit codes: 0 success, 2 a problem or a mistake.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import write_text
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.experiments.leaderboard.checks import read_records
from slade_plugin.experiments.leaderboard.page import WRITERS, to_markdown
from slade_plugin.experiments.leaderboard.ranking import rank_records


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: The words after ``leaderboard``.

    Returns:
        0.

    Raises:
        SladeError: For a mistake, or if a record has a problem; all problems are printed first.
    """
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, WRITERS)
    if args.check and args.out:
        raise ConfigError(
            f"--check writes no file, but --out is {args.out[0]}; expected one of the two flags."
        )
    records, problems = read_records(args.folder)
    for path, texts in problems.items():
        for text in texts:
            print(f"{path.name}: {text}", file=sys.stderr)
    if problems:
        raise ExperimentError(
            f"{len(problems)} of {len(problems.keys() | records.keys())} records in {args.folder} "
            "have problems; expected none. Write them again with slade-bench record, or remove "
            "them."
        )
    if args.check:
        print(f"{args.folder}: {len(records)} records, all checks passed.")
        return 0
    rankings = rank_records(records)
    for path in args.out:
        write_text(path, WRITERS[path.suffix](rankings, path))
    if not args.out:
        print(to_markdown(rankings, Path("leaderboard.md")), end="")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("leaderboard", __doc__)
    add: Any = words.add_argument
    add("folder", metavar="FOLDER", type=Path, help="holds one folder per record")
    add("--check", action="store_true", help="only check the records")
    add_out(words, WRITERS)
    return words
