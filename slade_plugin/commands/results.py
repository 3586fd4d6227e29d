"""Summarize all experiments in some folders in one table: `slade-bench results DIR...`.

    slade-bench results experiments
    slade-bench results studies/runs --split test --out results.md --out results.json

Finds plain experiments, the stages of self-training runs and the runs of studies. Experiments with
the same config and different seeds form one row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_text
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.experiments.results.found import (
    SPLITS,
    find_experiments,
    find_searches,
    group_experiments,
)
from slade_plugin.experiments.results.layouts import LAYOUTS, SUFFIXES
from slade_plugin.experiments.results.searches import describe_search
from slade_plugin.experiments.results.summary import missing_splits, summarize


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, SUFFIXES)
    groups, notes = group_experiments(find_experiments(args.folders))
    notes += map(describe_search, find_searches(args.folders))
    splits = [args.split] if args.split else SPLITS
    rows = summarize(groups, splits)
    for note in [*notes, *missing_splits(groups, splits)]:
        print(f"Note: {note}.", file=sys.stderr)
    if not rows:
        raise ExperimentError(
            "no experiment has scores to show; expected a finished and evaluated one. The notes "
            "above say what is missing."
        )
    print(LAYOUTS[args.format](rows), end="")
    for path in args.out:
        write_text(path, LAYOUTS[SUFFIXES[path.suffix]](rows))
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("results", __doc__)
    add: Any = words.add_argument
    add("folders", metavar="DIR", nargs="+", type=Path, help="folder, searched with all below it")
    add("--split", choices=SPLITS, help="show this split only")
    add("--format", choices=LAYOUTS, default="terminal", help="of the printed table")
    add_out(words)
    return words
