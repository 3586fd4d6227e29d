"""Write a leaderboard record of a method: `slade-bench record EXPERIMENT FOLDER`.

    slade-bench record experiments/slade_seed0/student slade_record
    slade-bench record 'experiments/slade_seed*/student' slade_record

The folder holds the scores in the benchmark's columns and as JSON, the merged configs, pseudo
labels, hashes of data and weights, versions, machine and command lines. The host's
--reproduce_results reads it. Exit codes: 0 success, 2 a mistake.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.commands.arguments import command_parser
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.leaderboard import write_record


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: The words after ``record``.

    Returns:
        0.

    Raises:
        SladeError: For a mistake that its message explains.
    """
    args = argument_parser().parse_args(argv)
    record = write_record(read_method(args.experiment), args.folder, args.dataset_root)
    print(f"{args.folder}: {record['method']} on {record['dataset']}, {len(record['runs'])} runs.")
    if not all(run["environment"] for run in record["runs"]):
        print(
            "Note: the host recorded no versions and command lines; publish them with the record."
        )
    print(f"Check it with: slade-bench verify-record {args.folder}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("record", __doc__)
    add: Any = words.add_argument
    add("experiment", metavar="EXPERIMENT", help="its folder, or a pattern in quotes for its seeds")
    add("folder", metavar="FOLDER", type=Path, help="a new folder for the record")
    add(
        "--dataset_root", type=Path, default=Path("datasets"),
        help="root of the data, read only if its hash was not saved (default: datasets)",
    )  # fmt: skip
    return words
