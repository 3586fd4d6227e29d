"""Score a trained model on any labeled images: `slade-bench evaluate EXPERIMENT LABELED_IMAGES`.

    slade-bench evaluate experiments/slade_seed0/student other_photos

LABELED_IMAGES is a folder with one folder per class, or a CSV file of path,label. Each image is
searched among all others, and the benchmark's own accuracy calculator scores the results. Prints
MAP@R, RP, P@1 and R@k in percent.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import write_json
from slade_plugin.commands.arguments import check_at_least, command_parser
from slade_plugin.commands.model_arguments import (
    EXPERIMENT_HELP,
    add_model_flags,
    add_reading_flags,
    read_embedder,
)
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.retrieval.evaluation import evaluate_images

_KS = (2, 4, 8)  # R@1 is P@1
_SUFFIXES = (".json",)


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, _SUFFIXES)
    for k in args.ks:
        check_at_least("--ks", k, 1)
    if len(set(args.ks)) < len(args.ks):
        raise ConfigError(f"--ks is {args.ks}; expected different numbers.")
    embedder = read_embedder(args)
    scores = evaluate_images(embedder, args.images, args.ks, args.batch_size, args.workers)
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:{width}}  {value:6.2f}")
    for path in args.out:
        write_json(path, {"images": str(args.images), "scores": scores, "model": embedder.record})
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("evaluate", __doc__)
    add: Any = words.add_argument
    add("experiment", metavar="EXPERIMENT", type=Path, help=EXPERIMENT_HELP)
    add("images", metavar="LABELED_IMAGES", type=Path, help="a folder of classes, or a CSV")
    add("--ks", type=int, nargs="+", default=_KS, metavar="K", help="the k of R@k (default: 2 4 8)")
    add_model_flags(words)
    add_reading_flags(words)
    add_out(words, _SUFFIXES)
    return words
