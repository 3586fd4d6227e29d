"""The poster's tables as commands.

    slade-bench reproduce main-table --dataset cub200_nabirds --rows S2,T2 --dry-run
    slade-bench reproduce main-table --dataset glyphs --jobs 2

What is done is not done again, what was stopped goes on. Flags after -- go to every run.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from slade_plugin import compat
from slade_plugin.cli import EXIT_INTERRUPTED
from slade_plugin.commands import results
from slade_plugin.errors import ConfigError, ExperimentError
from slade_plugin.reproduction.estimate import Probe, run_hours
from slade_plugin.reproduction.main_table import RowRun, Table
from slade_plugin.studies import execution
from slade_plugin.studies.config_check import read_stages
from slade_plugin.studies.run_options import (
    EPILOG,
    add_run_options,
    jobs_and_gpus,
    names,
    split_at_dashes,
)

PROGRAM = (sys.executable, "-m", "slade_plugin.reproduction.evaluated_run")


def main(argv: Sequence[str]) -> int:
    """Prints the plan and, without --dry-run, runs it.

    Args:
        argv: The words behind ``reproduce``.

    Returns:
        0 if all went well, 130 if interrupted.

    Raises:
        SladeError: For a mistake, before anything is trained, and for runs that failed, at the end.
    """
    from slade_plugin.runner import config_root

    own, extra = split_at_dashes(argv)
    args = parser().parse_args(own)
    jobs, gpus = jobs_and_gpus(args)
    name = args.table.replace("-", "_")
    table = Table.load(config_root() / "tables" / f"{name}.yaml", args.dataset)
    table = table.selected(names([args.rows]))
    runs = table.runs(args.folder.resolve() / "runs", range(args.seeds), extra)
    print_plan(table, runs, args.probe)
    if args.dry_run:
        return 0
    try:
        failures = execution.execute(runs.values(), jobs, gpus, PROGRAM)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    done = {key: _experiment(table, key[0], run) for key, run in runs.items() if run.finished}
    for (row, seed), folder in done.items():
        print(f"{row}, seed {seed}: {folder}")
    if done:
        results.main([*map(str, done.values()), "--split", "test"])
    if failures:
        raise ExperimentError(
            "; ".join(f"{failure.run.title} {failure.reason}" for failure in failures)
            + ". Expected all runs to end well; the same command goes on with what is left."
        )
    return 0


def print_plan(
    table: Table, runs: Mapping[tuple[str, int], RowRun], probe: bool
) -> dict[RowRun, float]:
    """Prints each run with its rows, its command and its hours.

    Args:
        table: The rows.
        runs: What `Table.runs` gave.
        probe: Whether to estimate the hours.

    Returns:
        Estimated hours of each run; empty without probe.

    Raises:
        SladeError: If run.py would refuse one of them.
    """
    from slade_plugin.runner import SladeRunner

    compat.apply()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = torch.cuda.get_device_name() if device == "cuda" else "this machine's CPU"
    timed = Probe(SladeRunner().pytorch_getter, device)
    hours: dict[RowRun, float] = {}
    stages: dict[tuple[str, ...], Any] = {}
    for run in dict.fromkeys(runs.values()):
        if run.flags not in stages:
            try:
                stages[run.flags] = read_stages(run)
            except ConfigError as error:
                raise ConfigError(f"{run.setting} on {run.dataset}: {error}") from error
        rows = [row for (row, _), one in runs.items() if one is run]
        cost = "done" if run.finished else ""
        if probe and not run.finished:
            hours[run] = run_hours(stages[run.flags], table.images, timed)
            at_most = "at most " if _stops_early(stages[run.flags]) else "about "
            cost = f"{at_most}{hours[run]:.2g} hours"
        print(f"{', '.join(rows)}, seed {run.seed}{': ' if cost else ''}{cost}")
        print(f"    python run.py {shlex.join([*run.flags, *run.places])} --seed {run.seed}")
    for row in table.rows:
        if row.quoted:
            print(f"{row.name}: not run, {row.quoted}")
    if hours:
        print(
            f"All: {sum(hours.values()):.3g} hours of {machine}, one run at a time. Estimated from "
            "training steps on random images; decoding, k-means and the search of neighbours are "
            "not counted."
        )
    return hours


def _stops_early(stages: Mapping[str, Any]) -> bool:
    return any(getattr(args, "patience", None) is not None for args in stages.values())


def _experiment(table: Table, name: str, run: RowRun) -> Path:
    """The experiment that is a row."""
    row = next(row for row in table.rows if row.name == name)
    return run.experiment if row.stage == run.experiment.name else run.experiment / row.stage


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    words = argparse.ArgumentParser(
        prog="slade-bench reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{EPILOG}, such as --dataset_root",
        allow_abbrev=False,
    )
    add: Any = words.add_argument
    add("table", choices=["main-table"], help="which table")
    add("--dataset", required=True, help="which of the table's data sets")
    add("--rows", default="", help="which rows, as S2,T2 (default: all)")
    add("--dry-run", action="store_true", help="print the plan and run nothing")
    add("--no-probe", dest="probe", action="store_false", help="print no hours")
    add_run_options(words, seeds=1)
    add("--folder", type=Path, default=Path("studies"), help="for the runs, shared with studies")
    return words
