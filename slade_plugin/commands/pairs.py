"""Count which pairs of a student's pool its basis similarity gets right: `slade-bench pairs`.

    slade-bench pairs experiments/slade_basis_seed0
    slade-bench pairs experiments/slade_seed0 experiments/slade_seed1 --out pairs.md

Draws batches as training does and counts their pairs by pseudo label, similarity and true class.
This shows whether the similarity gives mining anything to select by. The folder of a self-training
run stands for its last student. Nothing is trained.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.files import write_text
from slade_plugin.commands.arguments import check_at_least, command_parser
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.experiments.report.pool_pairs import PoolPairs, describe_pairs, draw_pairs
from slade_plugin.experiments.studies.markdown import markdown_table
from slade_plugin.retrieval.saved_model import find_experiment

_HEAD = ["pairs of D^u", "a batch", "of one class", "with a loss above 0, a batch"]


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, [".md"])
    check_at_least("--batches", args.batches, 1)
    check_at_least("--seed", args.seed, 0)
    students = [find_experiment(path) for path in args.experiments]
    sections = []
    for path, student in zip(args.experiments, students, strict=True):
        pairs = draw_pairs(student, args.split_scheme, args.dataset_root, args.batches, args.seed)
        sections.append(section(path, pairs))
    text = "\n".join(sections)
    print(text, end="")
    for path in args.out:
        write_text(path, text)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    top = command_parser("pairs", __doc__)
    add: Any = top.add_argument
    add("experiments", nargs="+", type=Path, metavar="EXPERIMENT", help="a student's folder")
    add("--dataset_root", default="datasets", help="as in run.py (default: datasets)")
    add("--split_scheme", help="split scheme of the model (default: the first)")
    add("--batches", type=int, default=300, help="number of batches (default: 300)")
    add("--seed", type=int, default=0, help="seed of the batches (default: 0)")
    add_out(top, [".md"])
    return top


def section(path: Path, pairs: PoolPairs) -> str:
    """Return the section of one student.

    Args:
        path: Its folder, the heading of the section.
        pairs: The pairs of its pool.
    """
    rows = [
        [
            group.title,
            f"{group.pairs:.1f}",
            "" if math.isnan(group.one_class) else f"{100 * group.one_class:.1f} %",
            "" if math.isnan(group.with_loss) else f"{group.with_loss:.1f}",
        ]
        for group in describe_pairs(pairs)
    ]
    return (
        f"## {path}\n\n{pairs.split_scheme}, best epoch {pairs.epoch}; mean of "
        f"{len(pairs.similarity)} batches; mu+ = {pairs.mu_pos:.3f}, mu- = {pairs.mu_neg:.3f}.\n\n"
        f"{markdown_table(_HEAD, rows)}\n"
    )
