"""Search a gallery with images: `slade-bench search FILE.index QUERY... --top 10`.

    slade-bench search gallery.index holiday.jpg --top 10 --out found.html

A QUERY is an image or a folder of images. The model is the one that made the index. Prints a table;
--out also writes it as .json, or as .html with the pictures. A query in the gallery does not find
itself.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import write_text
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.model_arguments import read_embedder
from slade_plugin.commands.outputs import add_out, check_outputs
from slade_plugin.retrieval.gallery_index import GalleryIndex
from slade_plugin.retrieval.search_results import (
    query_paths,
    results_json,
    results_page,
    results_table,
    search_images,
)

_SUFFIXES = (".json", ".html")


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = argument_parser().parse_args(argv)
    check_outputs(args.out, _SUFFIXES)
    index = GalleryIndex.load(args.index)
    index.check_top(args.top)
    queries = query_paths(args.queries)
    model = index.manifest["model"]
    args.ensemble = "ensemble" in model
    args.split_scheme = None if args.ensemble else model["split_schemes"][0]
    experiment = args.experiment or Path(model["experiment"])
    if args.experiment is None and not experiment.exists():
        raise ConfigError(
            f"there is no {experiment}, whose model made {args.index}; expected it there. "
            "If it was moved, give its folder: --experiment."
        )
    embedder = read_embedder(args, experiment)
    results = search_images(index, embedder, queries, args.top)
    print(results_table(results), end="")
    for path in args.out:
        if path.suffix == ".json":
            write_text(path, results_json(results, index))
        else:
            write_text(path, results_page(results, index, f"Search in {args.index.name}"))
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("search", __doc__)
    add: Any = words.add_argument
    add("index", metavar="FILE.index", type=Path, help="the file that slade-bench index wrote")
    add("queries", metavar="QUERY", type=Path, nargs="+", help="an image, or a folder of images")
    add("--top", type=int, default=10, metavar="K", help="images per query (default: 10)")
    add("--experiment", type=Path, help="where the model is now, if it was moved")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add_out(words, _SUFFIXES)
    return words
