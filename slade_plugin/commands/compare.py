"""Test whether two methods differ and are comparable: `slade-bench compare A B`.

    slade-bench compare experiments/slade_seed0/student experiments/slade_seed0/baseline
    slade-bench compare 'experiments/slade_seed*/student' 'experiments/slade_seed*/baseline'

A and B are experiments, or quoted patterns that match the runs of one method over several seeds.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from slade_plugin.base.files import write_json, write_text
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.experiments.results.comparison import compare, to_text
from slade_plugin.experiments.results.found import read_method

_SUFFIXES = (".md", ".json", ".txt")


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, _SUFFIXES)
    comparison = compare(read_method(args.a), read_method(args.b))
    print(to_text(comparison), end="")
    for path in args.out:
        if path.suffix == ".json":
            write_json(path, comparison)
        else:
            write_text(path, to_text(comparison, "github" if path.suffix == ".md" else "simple"))
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("compare", __doc__)
    add: Any = words.add_argument
    add("a", metavar="A", help="folder of an experiment, or a pattern in quotes")
    add("b", metavar="B", help="same, for the other method")
    add_out(words, _SUFFIXES)
    return words
