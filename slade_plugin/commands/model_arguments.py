"""The flags of every command that uses a trained model."""

import argparse
from pathlib import Path
from typing import Any

import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.arguments import check_at_least
from slade_plugin.retrieval.embedder import Embedder, load_embedder

EXPERIMENT_HELP = (
    "a trained experiment, such as experiments/slade_seed0/student; a folder of self-training "
    "stands for its last student"
)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the model and the device.

    Args:
        parser: The command's.
    """
    add: Any = parser.add_argument
    add("--split_scheme", help="split scheme of the model (default: the first)")
    add("--ensemble", action="store_true", help="concatenate the vectors of all split schemes")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set how images are read.

    Args:
        parser: The command's.
    """
    add: Any = parser.add_argument
    add("--batch_size", type=int, help="images per forward pass (default: the experiment's)")
    add("--workers", type=int, default=0, help="processes that read images (default: 0)")


def read_embedder(args: argparse.Namespace, experiment: Path | None = None) -> Embedder:
    """Check the flags and load the model.

    Args:
        args: The parsed command line.
        experiment: Replaces the one of the command line.

    Raises:
        SladeError: If a flag is wrong or the model is missing.
    """
    if getattr(args, "batch_size", None) is not None:
        check_at_least("--batch_size", args.batch_size, 1)
    check_at_least("--workers", getattr(args, "workers", 0), 0)
    try:
        device = None if args.device is None else torch.zeros(0, device=args.device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device is {args.device!r}: {str(error).splitlines()[0]}; expected a device that "
            "torch has here, such as cpu."
        ) from error
    return load_embedder(experiment or args.experiment, args.split_scheme, args.ensemble, device)
