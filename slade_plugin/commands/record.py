"""Write a leaderboard record of a method: `slade-bench record EXPERIMENT FOLDER`.

    slade-bench record experiments/slade_seed0/student slade_record
    slade-bench record 'experiments/slade_seed*/student' slade_record --budget "12 trials on val"

The folder holds the scores in the benchmark's columns and as JSON, the merged configs, hashes of
data, splits, pseudo labels and weights, versions, machine and command lines. The host's
--reproduce_results reads it. Absolute paths are reduced to their last part. Exit codes: 0 success,
2 a mistake.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.commands.arguments import command_parser
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.record import read_budget, write_record


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
    group = read_method(*args.experiments)
    group.title = args.name or group.title
    budget = None if args.budget is None else read_budget(args.budget)
    record = write_record(group, args.folder, args.dataset_root, budget)
    print(f"{args.folder}: {record['method']} on {record['dataset']}, {len(record['runs'])} runs.")
    if not all(run["environment"] for run in record["runs"]):
        print(
            "Note: the host recorded no versions and command lines; publish them with the record."
        )
    if record["budget"] is None:
        print("Note: the effort of tuning is not stated; a leaderboard needs --budget.")
    print(f"Check it with: slade-bench verify-record {args.folder}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("record", __doc__)
    add: Any = words.add_argument
    add(
        "experiments", metavar="EXPERIMENT", nargs="+",
        help="its folder, or a pattern in quotes for its seeds; several are the runs of one method",
    )  # fmt: skip
    add("folder", metavar="FOLDER", type=Path, help="a new folder for the record")
    add(
        "--dataset_root", type=Path, default=Path("datasets"),
        help="root of the data, read for the classes of each split (default: datasets)",
    )  # fmt: skip
    add("--name", help="title of the method (default: its loss config and stage)")
    add(
        "--budget", metavar="TEXT",
        help='trials of tuning, such as "12 trials on val" or "0 trials: values of the paper" '
        "(default: those of the search that the runs belong to)",
    )  # fmt: skip
    return words
