"""Check a record of `slade-bench record`: `slade-bench verify-record FOLDER`.

    slade-bench verify-record slade_record
    slade-bench verify-record slade_record --against experiments/again/student

Checks its form, hashes, numbers and configs. With --against it also checks that a second run, made
by the record's own commands, has the same scores. Exit codes: 0 success, 1 a check failed, 2 a
mistake.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.arguments import EXIT_PROBLEM, command_parser
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.verification import compare_runs, read_record, verify_record


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: The words after ``verify-record``.

    Returns:
        0 if no check found a problem, otherwise 1.

    Raises:
        SladeError: For a mistake that its message explains.
    """
    args = argument_parser().parse_args(argv)
    if args.tolerance < 0:
        raise ConfigError(f"--tolerance is {args.tolerance}; expected percent points, 0 or more.")
    checks = verify_record(args.folder)
    wrong = sum(bool(problems) for _, problems in checks)
    if args.against and not wrong:
        again = read_method(args.against)
        checks += compare_runs(read_record(args.folder), again, args.tolerance)
        wrong = sum(bool(problems) for _, problems in checks)
    for name, problems in checks:
        print(f"{'problem' if problems else 'ok':8} {name}")
        for problem in problems:
            print(f"{'':8} {problem}")
    print("All is well." if not wrong else f"{wrong} of {len(checks)} checks found a problem.")
    return EXIT_PROBLEM if wrong else 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("verify-record", __doc__)
    add: Any = words.add_argument
    add("folder", metavar="FOLDER", type=Path, help="what slade-bench record wrote")
    add(
        "--against", metavar="EXPERIMENT",
        help="a second run, or a quoted pattern that matches one run per seed",
    )  # fmt: skip
    add(
        "--tolerance", type=float, default=0.0,
        help="percent points that a score may differ (default: 0; more on another machine)",
    )  # fmt: skip
    return words
