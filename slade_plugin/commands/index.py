"""Make a gallery searchable: `slade-bench index EXPERIMENT GALLERY --out FILE.index`.

    slade-bench index experiments/slade_seed0/student photos --labeled --out gallery.index
    slade-bench index experiments/slade_seed0/student more_photos --add --out gallery.index

GALLERY is what `slade-bench embed` takes, or the vectors that it wrote (NAME.npy). The index is
exact unless --factory names an approximate one of faiss; then its recall against exact search is
measured and printed. Rerun the same command to resume.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.locks import locked
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.embed import add_image_flags, write_vectors
from slade_plugin.commands.model_arguments import (
    EXPERIMENT_HELP,
    add_model_flags,
    add_reading_flags,
    read_embedder,
)
from slade_plugin.commands.outputs import check_writable
from slade_plugin.retrieval.gallery_index import EXACT, GalleryIndex
from slade_plugin.retrieval.vectors import VectorFile, open_vectors, remove_vectors


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    if args.add and (args.factory or args.parameters):
        raise ConfigError(
            "--factory and --parameters are given with --add; expected them only when an index is "
            "built, since adding images does not change it."
        )
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out: there is no folder {args.out.parent}; expected one.")
    if args.out.is_dir():
        raise ConfigError(f"--out is the folder {args.out}; expected a file, such as my.index.")
    check_writable(args.out)
    # A folder of its own, since a lock on the parent would keep off everything else in it.
    with locked(args.out.with_name(f".{args.out.name}.lock"), "index"):
        _write_index(args)
    return 0


def _write_index(args: argparse.Namespace) -> None:
    if args.out.exists() and not args.add:
        raise ConfigError(f"{args.out} exists; expected a new file, or --add to add images to it.")
    index = GalleryIndex.load(args.out) if args.add else None
    gallery = read_gallery(args, index)
    if index is None:
        index = GalleryIndex.build(gallery, args.factory or EXACT, args.parameters or "")
        index.save(args.out)
        print(f"{args.out}: {len(index)} images, {index.manifest['factory']}, {recall(index)}")
    else:
        added = index.add(gallery)
        index.save(args.out)
        print(f"{args.out}: {added} images added, {len(index)} in all")
    if args.gallery.suffix != ".npy":
        remove_vectors(_working_name(args.out))


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("index", __doc__)
    add: Any = words.add_argument
    add("experiment", metavar="EXPERIMENT", type=Path, help=EXPERIMENT_HELP)
    add("gallery", metavar="GALLERY", type=Path, help="images, or the NAME.npy of embed")
    add("--out", metavar="FILE", type=Path, required=True, help="the index, one file")
    add("--add", action="store_true", help="add the images to an existing index")
    add("--factory", help="of faiss.index_factory: HNSW32, IVF4096,PQ64, ... (default: Flat)")
    add("--parameters", help="how an approximate index is searched: nprobe=16, efSearch=64, ...")
    add_image_flags(words)
    add_model_flags(words)
    add_reading_flags(words)
    return words


def read_gallery(args: argparse.Namespace, index: GalleryIndex | None) -> VectorFile:
    """Open the vectors of the gallery, or compute them next to the index.

    Args:
        args: The command line.
        index: The index that images are added to; None if there is none yet.

    Raises:
        SladeError: If the model, the images or the vectors cannot be used.
    """
    embedder = read_embedder(args)
    if index is not None:
        index.check_model(embedder.record, "the experiment")
    if args.gallery.suffix != ".npy":
        return write_vectors(args, embedder, args.gallery, _working_name(args.out))
    gallery = open_vectors(args.gallery)
    gallery.check_model(embedder.record)
    return gallery


def recall(index: GalleryIndex) -> str:
    """Describe the recall of the index."""
    found = index.manifest["recall"]
    if found is None:
        return "exact search"
    return (
        f"recall at {found['at']} against exact search: {found['recall']:.3f} "
        f"({found['queries']} queries)"
    )


def _working_name(out: Path) -> Path:
    """Path of the vectors until the index holds them."""
    return out.with_name(f".{out.name}.vectors")
