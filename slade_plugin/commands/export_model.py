"""Export a trained model for other software: `slade-bench export-model EXPERIMENT --to onnx`.

    slade-bench export-model experiments/slade_seed0/student --to onnx --out model.onnx

The network includes normalization and takes batches of any size. FILE.onnx.json describes its
input, its output and its origin. The file is compared with the PyTorch model before it is put in
place.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.model_arguments import EXPERIMENT_HELP, add_model_flags, read_embedder
from slade_plugin.commands.outputs import check_outputs
from slade_plugin.retrieval.model_export import FORMATS, SUFFIXES, description_of, export_model


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    out = args.out or Path(f"{args.experiment.resolve().name}{SUFFIXES[args.to]}")
    check_outputs([out], [SUFFIXES[args.to]])
    difference = export_model(read_embedder(args), args.to, out)
    print(f"{out}: largest difference from the PyTorch model {difference:.1e}")
    print(f"{description_of(out)}: its input, its output and where it comes from")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("export-model", __doc__)
    add: Any = words.add_argument
    add("experiment", metavar="EXPERIMENT", type=Path, help=EXPERIMENT_HELP)
    add("--to", required=True, choices=list(FORMATS), help="the kind of file")
    add("--out", metavar="FILE", type=Path, help="default: named after the experiment, here")
    add_model_flags(words)
    return words
