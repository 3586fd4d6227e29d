"""Run a study: settings x seeds x data sets, ending in one page with figures.

    slade-bench study ladder --seeds 5 --jobs 2 -- --dataset_root datasets
    slade-bench study main_table --datasets cub200_nabirds --seeds 1 --dry-run

Each run is a `run.py` in a process of its own. Finished runs are not repeated, interrupted runs
resume, and studies share runs with the same flags. Flags after `--` go to every run. Exit codes: 0
success, 2 a mistake or a failed run.
"""

import argparse
import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.locks import locked
from slade_plugin.commands.arguments import command_parser
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.results.record import read_budget
from slade_plugin.experiments.studies.config_check import check_configs
from slade_plugin.experiments.studies.execution import Failure
from slade_plugin.experiments.studies.plan import PLACES, plan_runs
from slade_plugin.experiments.studies.printed_plan import print_plan
from slade_plugin.experiments.studies.records import write_records
from slade_plugin.experiments.studies.run_options import (
    EPILOG,
    add_run_options,
    names,
    read_executor,
    split_at_dashes,
)
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.experiments.studies.study_page import write_page
from slade_plugin.experiments.studies.tuning import best_values, plan_trials


def main(argv: Sequence[str]) -> int:
    """Run the command; an interruption first stops the running processes."""
    own, extra = split_at_dashes(argv)
    args = argument_parser().parse_args(own)
    executor = read_executor(args)
    budget = None if args.budget is None else read_budget(args.budget)
    study = read_study(_study_path(args.study)).selected(
        names([args.datasets]), names(args.only), names(args.without)
    )
    seeds = study.seeds(args.seeds)
    if study.trials and study.tuning_seed in seeds:
        raise ConfigError(
            f"study {study.name} is tuned with seed {study.tuning_seed} and reports the seeds "
            f"{seeds[0]} to {seeds[-1]}; expected a tuning seed that is not reported, since a "
            "split that chose a setting must not score it. Change tuning: seed or --seeds."
        )
    folder = args.folder.resolve() / "runs"
    trials = plan_trials(study, folder, extra)
    if trials and args.run and not args.dry_run:
        check_configs(trial.run for trial in trials)
        with locked(args.folder / "locks" / study.name, "study"):
            _raise(executor([trial.run for trial in trials]))
        trials = plan_trials(study, folder, extra)
    tuned = all(trial.score is not None for trial in trials)
    if tuned or not args.dry_run:
        values = best_values(trials)
    else:  # those of the first trials, so that every flag can be read
        values = {(trial.dataset, trial.setting): trial.values for trial in reversed(trials)}
        print("Note: tuned settings have the values of their first trial.", file=sys.stderr)
    runs = plan_runs(study, folder, seeds, extra, values)
    if args.dry_run:
        every = [*(trial.run for trial in trials), *runs.values()]
        titles = {run: f"{run.dataset}, {run.setting}, seed {run.seed}" for run in every}
        print_plan(titles, args.probe)
        return 0
    try:
        notes = check_configs(runs.values())
    except ConfigError as error:
        if args.run:
            raise
        notes = [f"today's config: {error}"]
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    failures = []
    if args.run:
        with locked(args.folder / "locks" / study.name, "study"):
            failures = executor(runs.values())
    try:
        print(write_page(study, runs, args.out, repeating_command(args, extra), notes, trials))
    except ExperimentError:
        if not failures:
            raise
    _raise(failures)
    if args.records:
        places = dict(itertools.pairwise(next(run.places for run in runs.values())))
        root = Path(places.get("--dataset_root", "datasets"))
        for path in write_records(study, runs, args.records, root, budget, trials):
            print(f"{path}: written")
    return 0


def _raise(failures: Sequence[Failure]) -> None:
    if failures:
        raise ExperimentError(
            "; ".join(f"{failure.run.title} {failure.reason}" for failure in failures)
            + ". Fix this, then rerun the same command to resume."
        )


def repeating_command(args: argparse.Namespace, extra: Sequence[str]) -> str:
    """Return the command that repeats the numbers, without paths and the number of jobs."""
    words = ["slade-bench", "study", args.study]
    words += ["--datasets", args.datasets] if args.datasets else []
    words += ["--seeds", str(args.seeds)]
    for flag, values in (("--only", args.only), ("--without", args.without)):
        words += [word for value in values for word in (flag, value)]
    kept, keep = [], True
    for word in extra:
        keep = word.partition("=")[0] not in PLACES if word.startswith("--") else keep
        kept += [word] if keep else []
    return shlex.join([*words, *(["--", *kept] if kept else [])])


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    words = command_parser("study", __doc__, EPILOG)
    add: Any = words.add_argument
    add("study", help="name of a file in bench_configs/studies, or the path of a YAML file")
    add("--datasets", default="", help="data sets of the study, as a,b (default: all)")
    add_run_options(words, seeds=5)
    add("--only", action="append", default=[], help="settings to run, as a,b (default: all)")
    add("--without", action="append", default=[], help="settings to leave out, as a,b")
    add("--folder", type=Path, default=Path("studies"), help="folder of the runs of all studies")
    add("--out", type=Path, default=Path("docs/results"), help="folder of the page")
    add("--records", type=Path, metavar="DIR", help="also write a leaderboard record of each row")
    add("--budget", metavar="TEXT", help="as of slade-bench record, for rows not tuned here")
    add("--no-run", dest="run", action="store_false", help="only write the page of finished runs")
    return words


def _study_path(name: str) -> Path:
    given = name.endswith((".yaml", ".yml")) or "/" in name
    return Path(name) if given else config_root() / "studies" / f"{name}.yaml"
