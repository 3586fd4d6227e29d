"""Whether two methods differ, and whether they may be compared: `slade-bench compare A B`.

    slade-bench compare experiments/slade_seed0/student experiments/slade_seed0/baseline
    slade-bench compare 'experiments/slade_seed*/student' 'experiments/slade_seed*/baseline'

A and B are an experiment each, or a pattern in quotes for the runs of one method with several
seeds.
"""

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.commands.outputs import check_outputs
from slade_plugin.errors import ExperimentError
from slade_plugin.files import atomic_write, write_json
from slade_plugin.results.comparison import compare, to_text
from slade_plugin.results.experiments import Group, find_experiments, group_experiments


def main(argv: Sequence[str]) -> int:
    """Runs the command.

    Args:
        argv: The words behind ``compare``.

    Returns:
        0, whatever the comparison says.

    Raises:
        SladeError: For a mistake that its message explains.
    """
    args = parser().parse_args(argv)
    check_outputs(args.out, (".md", ".json", ".txt"))
    comparison = compare(_method(args.a), _method(args.b))
    print(to_text(comparison), end="")
    for path in args.out:
        if path.suffix == ".json":
            write_json(path, comparison)
            continue
        with atomic_write(path) as file:
            file.write(to_text(comparison, "github" if path.suffix == ".md" else "simple").encode())
    return 0


def _method(pattern: str) -> Group:
    folders = sorted(Path(path) for path in glob.glob(pattern))
    if not folders:
        raise ExperimentError(f"nothing is named {pattern}; expected an experiment or a pattern.")
    groups, notes = group_experiments(find_experiments(folders))
    for note in notes:
        print(f"Note: {note}.", file=sys.stderr)
    if len(groups) != 1:
        named = [f"{group.title} ({group.first.folder})" for group in groups]
        found = ", ".join(named) or "none that is finished"
        raise ExperimentError(
            f"{pattern} holds {len(groups)} methods: {found}; expected one. Name the folder of one "
            "experiment, or in quotes a pattern that only fits runs of one method."
        )
    return groups[0]


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    words = argparse.ArgumentParser(
        prog="slade-bench compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add: Any = words.add_argument
    add("a", metavar="A", help="folder of an experiment, or a pattern in quotes")
    add("b", metavar="B", help="the same, of what it is compared with")
    add(
        "--out", type=Path, action="append", default=[], metavar="FILE",
        help="also write it: FILE.md, FILE.json or FILE.txt; may be repeated",
    )  # fmt: skip
    return words
