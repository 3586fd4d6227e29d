"""The poster's tables as commands.

    slade-bench reproduce main-table --dataset cub200_nabirds --rows S2,T2 --dry-run
    slade-bench reproduce main-table --dataset glyphs --jobs 2

What is done is not done again, what was stopped goes on. Flags after -- go to every run.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.locks import locked
from slade_plugin.commands.arguments import command_parser
from slade_plugin.commands.outputs import add_out, check_outputs, write_rows
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.reproduction.evaluated_run import PROGRAM
from slade_plugin.experiments.reproduction.main_table import Table
from slade_plugin.experiments.results.found import Experiment, Group, find_experiments
from slade_plugin.experiments.results.layouts import SUFFIXES
from slade_plugin.experiments.results.summary import summarise
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.printed_plan import print_plan
from slade_plugin.experiments.studies.run_options import (
    EPILOG,
    add_run_options,
    names,
    read_executor,
    split_at_dashes,
)


def main(argv: Sequence[str]) -> int:
    """Prints the plan and, without --dry-run, runs it.

    Args:
        argv: The words behind ``reproduce``.

    Returns:
        0 if all went well.

    Raises:
        SladeError: For a mistake, before anything is trained, and for runs that failed, at the end.
        KeyboardInterrupt: When interrupted, after the running processes were stopped.
    """
    own, extra = split_at_dashes(argv)
    args = parser().parse_args(own)
    check_outputs(args.out, SUFFIXES)
    executor = read_executor(args)
    name = args.table.replace("-", "_")
    table = Table.load(config_root() / "tables" / f"{name}.yaml", args.dataset)
    table = table.selected(names([args.rows]))
    runs = table.runs(args.folder.resolve() / "runs", range(args.seeds), extra)
    titles = {
        run: f"{', '.join(name for (name, _), r in runs.items() if r is run)}, seed {run.seed}"
        for run in runs.values()
    }
    for quoted in (row for row in table.rows if row.quoted):
        print(f"{quoted.name}: not run, {quoted.quoted}")
    print_plan(titles, args.probe)
    if args.dry_run:
        return 0
    with locked(args.folder / "locks" / f"{name}-{args.dataset}", "table"):
        failures = executor(runs.values(), program=PROGRAM)
    done = {key: _experiment(table, key[0], run) for key, run in runs.items() if run.finished}
    for (row, seed), folder in done.items():
        print(f"{row}, seed {seed}: {folder}")
    if done:
        write_rows(summarise(_groups(table, done), ["test"]), "terminal", args.out)
    if failures:
        raise ExperimentError(
            "; ".join(f"{failure.run.title} {failure.reason}" for failure in failures)
            + ". Expected all runs to end well; the same command goes on with what is left."
        )
    return 0


def _groups(table: Table, done: Mapping[tuple[str, int], Path]) -> list[Group]:
    """The experiments of each row, by the row's name in the poster."""
    seeds: dict[str, list[Experiment]] = {}
    for (row, _), folder in done.items():
        seeds.setdefault(row, []).extend(find_experiments([folder]))
    return [Group(row.method, seeds[row.name]) for row in table.rows if row.name in seeds]


def _experiment(table: Table, name: str, run: Run) -> Path:
    """The experiment that is a row."""
    row = next(row for row in table.rows if row.name == name)
    return run.experiment if row.stage == run.experiment.name else run.experiment / row.stage


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    words = command_parser("reproduce", __doc__, f"{EPILOG}, such as --dataset_root")
    add: Any = words.add_argument
    add("table", choices=["main-table"], help="which table")
    add("--dataset", required=True, help="which of the table's data sets")
    add("--rows", default="", help="which rows, as S2,T2 (default: all)")
    add_run_options(words, seeds=1)
    add("--folder", type=Path, default=Path("studies"), help="for the runs, shared with studies")
    add_out(words)
    return words
