"""The options of a study: seeds, executor, flags for every run."""

import argparse
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.execution import Failure

EPILOG = "-- FLAGS  further flags of run.py, for every run"

LOCAL, RAY = "local", "ray"
_ADDRESS = re.compile(r"(ray://)?[^\s/:]+:\d+")


def split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the command's own words from those after ``--``, which go to every run."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def add_run_options(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Add --seeds, --dry-run, --no-probe and the options of `read_executor`.

    Args:
        parser: The command's parser.
        seeds: Default number of seeds.
    """
    add: Any = parser.add_argument
    add(
        "--seeds",
        type=int,
        default=seeds,
        help=f"number of seeds, from 0 or first_seed (default: {seeds})",
    )
    add(
        "--jobs",
        type=int,
        help="runs at a time (default: 1, one for each of --gpus, or what Ray has room for); "
        "without --gpus and Ray, each has one thread unless OMP_NUM_THREADS is set",
    )
    add("--gpus", default="", help="GPU ids, such as 0,1, distributed over the jobs; not with Ray")
    add(
        "--executor",
        default=LOCAL,
        help="local (default); ray for the Ray cluster of this machine, started if there is none; "
        "or the address of one, ray://HOST:10001 or HOST:6379",
    )
    add("--cpus_per_run", type=float, help="CPUs and threads of each run on Ray (default: 1)")
    add(
        "--gpus_per_run",
        type=float,
        help="GPUs of each run on Ray, such as 0.5 (default: 1, or 0 if there are none)",
    )
    add("--dry-run", action="store_true", help="print the plan and run nothing")
    add("--no-probe", dest="probe", action="store_false", help="print the plan without hours")


def read_executor(args: argparse.Namespace) -> partial[list[Failure]]:
    """Return the executor that the options choose.

    Returns:
        A function of the runs; it returns the failures.

    Raises:
        ConfigError: If an option is out of range, belongs to another executor, or Ray is missing.
    """
    gpus = names([args.gpus])
    for flag, count in (("--seeds", args.seeds), ("--jobs", args.jobs)):
        if count is not None and count < 1:
            raise ConfigError(f"{flag} is {count}; expected 1 or more.")
    shares = {"cpus": args.cpus_per_run, "gpus": args.gpus_per_run}
    given = {name: share for name, share in shares.items() if share is not None}
    if args.executor == LOCAL:
        if given:
            raise ConfigError(
                f"--{min(given)}_per_run is for Ray; expected it with --executor ray, or --jobs "
                "and --gpus for this machine."
            )
        jobs = args.jobs if args.jobs is not None else max(1, len(gpus))
        return partial(execution.execute, jobs=jobs, gpus=gpus)
    if args.executor != RAY and not _ADDRESS.fullmatch(args.executor):
        raise ConfigError(
            f"--executor is {args.executor}; expected local, ray, ray://HOST:PORT or HOST:PORT."
        )
    if gpus:
        raise ConfigError(
            f"--gpus is {args.gpus}; expected --gpus_per_run, since Ray distributes the GPUs."
        )
    for name, share in given.items():
        if share < 0 or (share > 1 and share % 1) or (name == "cpus" and share == 0):
            raise ConfigError(
                f"--{name}_per_run is {share:g}; expected a share of one, such as 0.5, or a whole "
                "number."
            )
    try:
        from slade_plugin.experiments.studies import ray_execution
    except ImportError as error:
        raise ConfigError(
            f"--executor {args.executor} needs Ray ({error}); expected it on every machine. "
            "Install it: pip install 'slade-plugin[ray]'"
        ) from error
    address = None if args.executor == RAY else args.executor
    return partial(ray_execution.execute, address=address, jobs=args.jobs, **given)


def names(texts: Iterable[str]) -> list[str]:
    """Split texts such as "a,b" into names; leave out empty ones."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
