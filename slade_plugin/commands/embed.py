"""Embed images with a trained model: `slade-bench embed EXPERIMENT IMAGES --out NAME`.

    slade-bench embed experiments/slade_seed0/student photos --labeled --out vectors

Writes NAME.npy (one float32 vector per image), NAME.csv (path and label of each row) and NAME.json
(the model). IMAGES is a folder, a CSV file of path,label or a text file with one path per line.
Rerun the same command to resume.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.arguments import check_at_least, command_parser
from slade_plugin.commands.model_arguments import (
    EXPERIMENT_HELP,
    add_model_flags,
    add_reading_flags,
    read_embedder,
)
from slade_plugin.retrieval.embedder import Embedder
from slade_plugin.retrieval.vectors import VectorFile, embed_images, list_images


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    if args.out.name in ("", ".."):
        raise ConfigError(f"--out is {args.out}; expected the name of files, such as vectors.")
    found = write_vectors(args, read_embedder(args), args.images, args.out)
    number, size = found.vectors.shape
    stem = args.out.with_suffix("") if args.out.suffix == ".npy" else args.out
    print(f"{stem}.npy: {number} vectors of {size} numbers; paths in {stem}.csv")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("embed", __doc__)
    add: Any = words.add_argument
    add("experiment", metavar="EXPERIMENT", type=Path, help=EXPERIMENT_HELP)
    add("images", metavar="IMAGES", type=Path, help="a folder, a CSV of path,label, or a list")
    add("--out", metavar="NAME", type=Path, required=True, help="the files NAME.npy, .csv, .json")
    add_image_flags(words)
    add_model_flags(words)
    add_reading_flags(words)
    return words


def add_image_flags(words: argparse.ArgumentParser) -> None:
    """Add the flags that describe the images.

    Args:
        words: The command's parser.
    """
    add: Any = words.add_argument
    add("--labeled", action="store_true", help="treat each folder as a class")
    add(
        "--max_unreadable", type=int, default=0, metavar="N",
        help="skip up to N images that cannot be read (default: 0)",
    )  # fmt: skip


def write_vectors(
    args: argparse.Namespace, embedder: Embedder, images: Path, out: Path
) -> VectorFile:
    """Embed images into files, and print those that cannot be read.

    Args:
        args: The command line.
        embedder: The model.
        images: A folder or a file.
        out: The name of the files.

    Raises:
        SladeError: If the model or the images cannot be used.
    """
    check_at_least("--max_unreadable", args.max_unreadable, 0)
    listed = list_images(images, args.labeled)
    found = embed_images(embedder, listed, out, args.batch_size, args.workers, args.max_unreadable)
    for problem in found.record["unreadable"].values():
        print(f"skipped: {problem}")
    return found
