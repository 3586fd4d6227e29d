"""A study: settings x seeds x data sets, resumable, ending in one report.

    python -m slade_plugin.commands.study ladder --seeds 5 --jobs 2 -- --dataset_root datasets

Each run is a `run.py` of its own process; what is done is not done again, what was stopped goes on,
and studies share the runs that are equal. Flags after `--` go to every run.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ConfigError, SladeError
from slade_plugin.base.locks import locked
from slade_plugin.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.reproduction.evaluated_run import PROGRAM, EvaluatedRun
from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.config_check import check_configs
from slade_plugin.experiments.studies.plan import PLACES, Run, Study, plan_runs
from slade_plugin.experiments.studies.printed_plan import print_plan
from slade_plugin.experiments.studies.run_options import (
    EPILOG,
    add_run_options,
    names,
    read_executor,
    split_at_dashes,
)
from slade_plugin.experiments.studies.study_page import write_report


def main() -> int:
    """Runs a study from the command line.

    Returns:
        0 if all went well, 2 for a mistake or failed runs, 130 if interrupted.
    """
    try:
        return _main(sys.argv[1:])
    except SladeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _main(argv: list[str]) -> int:
    own, extra = split_at_dashes(argv)
    args = parser().parse_args(own)
    executor = read_executor(args)
    study = Study.load(_study_path(args.study)).selected(
        names([args.datasets]), names(args.only), names(args.without)
    )
    # The poster's numbers are of concatenated models.
    kind, program = (EvaluatedRun, PROGRAM) if study.poster else (Run, execution.RUN_PY)
    runs = plan_runs(study, args.folder.resolve() / "runs", range(args.seeds), extra, kind)
    if args.dry_run:
        titles = {run: f"{run.dataset}, {run.setting}, seed {run.seed}" for run in runs.values()}
        print_plan(titles, args.probe)
        return 0
    try:
        notes = check_configs(runs.values())
    except ConfigError as error:
        if not args.report:
            raise
        notes = [f"today's config: {error}"]
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    failures = []
    if not args.report:
        with locked(args.folder / "locks" / study.name, "study"):
            failures = executor(runs.values(), program=program)
    if not failures or any(run.finished for run in runs.values()):
        print(write_report(study, runs, args.out, reported_command(args, extra), notes))
    for failure in failures:
        print(f"ExperimentError: {failure.run.title} {failure.reason}.", file=sys.stderr)
    return EXIT_USER_ERROR if failures else 0


def reported_command(args: argparse.Namespace, extra: list[str]) -> str:
    """The command that remakes the numbers, without where things lie and how many at a time."""
    words = ["python", "-m", "slade_plugin.commands.study", args.study]
    words += ["--datasets", args.datasets] if args.datasets else []
    words += ["--seeds", str(args.seeds)]
    for flag, values in (("--only", args.only), ("--without", args.without)):
        words += [word for value in values for word in (flag, value)]
    kept, keep = [], True
    for word in extra:
        keep = word.partition("=")[0] not in PLACES if word.startswith("--") else keep
        kept += [word] if keep else []
    return shlex.join([*words, *(["--", *kept] if kept else [])])


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    words = argparse.ArgumentParser(
        prog="python -m slade_plugin.commands.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add: Any = words.add_argument
    add("study", help="name of a file in bench_configs/studies, or the path of a YAML file")
    add("--datasets", default="", help="which of the study's, as a,b (default: all)")
    add_run_options(words, seeds=5)
    add("--only", action="append", default=[], help="settings to run, as a,b; `first` always is")
    add("--without", action="append", default=[], help="settings to leave out, as a,b")
    add("--folder", type=Path, default=Path("studies"), help="for the runs of all studies")
    add("--out", type=Path, default=Path("docs/results"), help="for the report")
    add("--report", action="store_true", help="run nothing; report what is finished")
    return words


def _study_path(name: str) -> Path:
    given = name.endswith((".yaml", ".yml")) or "/" in name
    return Path(name) if given else config_root() / "studies" / f"{name}.yaml"


if __name__ == "__main__":
    sys.exit(main())
