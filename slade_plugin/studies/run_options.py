"""The options that commands of many runs share: seeds, jobs, GPUs, and flags for every run."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from slade_plugin.errors import ConfigError

EPILOG = "-- FLAGS  further flags of run.py, for every run"


def split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and those after ``--``, which go to every run."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def add_run_options(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Adds --seeds, --jobs, --gpus, --dry-run and --no-probe.

    Args:
        parser: The command's.
        seeds: How many there are by default.
    """
    add: Any = parser.add_argument
    add("--seeds", type=int, default=seeds, help=f"seeds 0 to N-1 (default: {seeds})")
    add("--jobs", type=int, help="runs at a time (default: 1, or one for each of --gpus)")
    add("--gpus", default="", help="ids as 0,1, dealt out to the jobs")
    add("--dry-run", action="store_true", help="print the plan and run nothing")
    add("--no-probe", dest="probe", action="store_false", help="print no hours with the plan")


def jobs_and_gpus(args: argparse.Namespace) -> tuple[int, list[str]]:
    """How many runs at a time, on which GPUs.

    Raises:
        ConfigError: If --seeds or --jobs is below 1.
    """
    gpus = names([args.gpus])
    jobs = args.jobs if args.jobs is not None else max(1, len(gpus))
    for flag, value in (("--seeds", args.seeds), ("--jobs", jobs)):
        if value < 1:
            raise ConfigError(f"{flag} is {value}; expected 1 or more.")
    return jobs, gpus


def names(texts: Iterable[str]) -> list[str]:
    """Names out of texts such as "a,b"; empty ones are left out."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
