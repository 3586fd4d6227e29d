"""The command line: ``python run.py`` in a checkout, ``slade-bench`` once installed."""

import importlib
import logging
import os
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

from slade_plugin import compat
from slade_plugin.base.command_line import CommandLine
from slade_plugin.base.errors import ConfigError, SladeError
from slade_plugin.base.files import disk_error
from slade_plugin.base.machine import prepare_process

EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 128 + signal.SIGPIPE  # as for a program ended by the signal

# Flags that the constructor of the runner takes; its defaults are the host's.
_RUNNER_FLAGS = ("dataset_root", "root_experiment_folder", "root_config_folder", "pytorch_home",
                 "global_db_path", "merge_argparse_when_resuming")  # fmt: skip

# First word of the command line -> module whose `main` takes the other words. Any other first word
# is a flag of the host's run.py.
COMMANDS = {
    "build": "slade_plugin.commands.build",
    "data": "slade_plugin.commands.data",
    "report": "slade_plugin.commands.report",
    "compare": "slade_plugin.commands.compare",
    "pairs": "slade_plugin.commands.pairs",
    "record": "slade_plugin.commands.record",
    "embed": "slade_plugin.commands.embed",
    "index": "slade_plugin.commands.index",
    "search": "slade_plugin.commands.search",
    "evaluate": "slade_plugin.commands.evaluate",
    "export-model": "slade_plugin.commands.export_model",
    "results": "slade_plugin.commands.results",
    "show-config": "slade_plugin.commands.show_config",
    "study": "slade_plugin.commands.study",
    "leaderboard": "slade_plugin.commands.leaderboard",
    "verify-record": "slade_plugin.commands.verify_record",
}


def main() -> int:
    """Run the command line.

    Returns:
        0 if all went well, 2 for a mistake that a message explains, 3 if training diverged, 130 if
        interrupted, 141 if nothing reads the output any more; a command in COMMANDS may return
        other codes. Anything unexpected raises.
    """
    prepare_process()
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    flag = "" if command else " with --resume_training latest"
    failed_threads = _DiskErrorsOfThreads()
    try:
        with failed_threads:
            code = _run(command)
        sys.stdout.flush()  # at the end of the process it is too late to explain an error
        if failed_threads.reasons:
            print(
                f"WARNING: {failed_threads.reasons[0]}. What a background thread had to write "
                "(TensorBoard's events) is incomplete; everything else is saved.",
                file=sys.stderr,
            )
        return code
    except SystemExit:  # of argparse, after --help or a usage error
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _leave_broken_streams()
            return EXIT_CLOSED_PIPE
        raise
    except KeyboardInterrupt:
        return _end(f"\nInterrupted. Rerun the same command{flag} to resume.", EXIT_INTERRUPTED)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _leave_broken_streams():
            return EXIT_CLOSED_PIPE
        if isinstance(error, SladeError):
            return _end(f"{type(error).__name__}: {error}", error.exit_code)
        reason = disk_error(error)
        if reason is None:
            raise
        begun = "" if command else f" ({flag[1:]} if the experiment was already started)"
        return _end(
            f"ExperimentError: a file or the output cannot be written: {reason}. Expected free "
            f"space and permission to write. Fix this, then rerun the same command{begun}.",
            SladeError.exit_code,
        )


def _run(command: str | None) -> int:
    if command is None:
        _main()
        return 0
    logging.basicConfig(format="%(levelname)s: %(message)s")
    code: int = importlib.import_module(command).main(sys.argv[2:])
    return code


def _end(message: str, code: int) -> int:
    """Print why the program ends, below the traceback if that was asked for."""
    with suppress(OSError):
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(message, file=sys.stderr)
    _leave_broken_streams()
    return code


def _leave_broken_streams() -> bool:
    """Discard the rest of the output if it can no longer be written.

    Otherwise Python would try again at exit and print another error.

    Returns:
        Whether a pipe has no reader any more.
    """
    closed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue  # captured, or closed
        poll = select.poll()
        poll.register(descriptor, 0)
        broken = any(events & select.POLLERR for _, events in poll.poll(0))
        closed = closed or broken
        try:
            stream.flush()
        except OSError:
            broken = True
        if broken:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
    return closed


class _DiskErrorsOfThreads:
    """Recorder of disk errors in other threads, instead of their tracebacks.

    TensorBoard's writer raises them again in the main thread at the next write.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __enter__(self) -> None:
        self._before = threading.excepthook
        threading.excepthook = self._note

    def __exit__(self, *_: object) -> None:
        threading.excepthook = self._before

    def _note(self, args: Any) -> None:
        reason = disk_error(args.exc_value) if args.exc_value is not None else None
        if reason is None:
            self._before(args)
        else:
            self.reasons.append(reason)


def _main() -> None:
    if "" in sys.argv[1:]:
        raise ConfigError("the command line holds an empty value; expected a value or no flag.")
    flags = vars(CommandLine().parse_known_args()[0])
    if flags.get("help"):
        print(HELP)
        return
    debug = "--debug" in sys.argv
    logging.basicConfig(format="%(levelname)s: %(message)s")  # before the host's, with module names
    logging.getLogger().setLevel(logging.INFO if debug else logging.ERROR)
    logging.getLogger("slade_plugin").setLevel(logging.INFO if debug else logging.WARNING)
    compat.apply()
    if flags.get("list"):
        from slade_plugin.commands.listing import listing

        print(listing(flags.get("root_config_folder"), flags.get("plugins")))
        return
    kwargs = {key: flags[key] for key in _RUNNER_FLAGS if key in flags}
    trials, reproductions = flags.get("bayes_opt_iters", 0), flags.get("reproductions", 0)
    if trials or reproductions:
        _run_search(kwargs, trials, reproductions)
        return
    from slade_plugin.runner import SladeRunner

    SladeRunner(**kwargs).run()


def _run_search(kwargs: dict[str, Any], iterations: int, reproductions: int) -> None:
    """Run the host's Bayesian optimization, imported here since Ax takes seconds to import."""
    try:
        compat.apply(compat.AX_SHIMS)
    except ImportError as error:
        raise ConfigError(
            f"--bayes_opt_iters {iterations}: ax-platform is missing or another one is installed "
            f"({error}); expected ax-platform 1.3. Install it: pip install 'slade-plugin[search]'"
        ) from error
    from slade_plugin.experiments.search.bayes_opt import BayesOptSearch

    BayesOptSearch(iterations, reproductions, **kwargs).run()


HELP = """usage: python run.py [--config_loss NAME] [flags of the host] [config values]

  --config_loss NAME            what to run: slade, slade_basis, contrastive, ...
  --config_AREA NAME|[A, B]     any other config area; a bare name means [default, NAME]
  --labeled PATH, --unlabeled PATH      your own images, with --config_dataset folders or
                                folders_small: labeled is a folder with one folder per class, or a
                                CSV file of path,label; unlabeled is any folder of images, or a
                                text file with one path per line (docs/tutorial_own_data.md)
  --experiment_name NAME        default: configs of loss and data, and the seed: slade_icons_seed0
  --seed N                      seed of all random numbers (default 0)
  --teacher_experiment PATH     use a trained teacher instead of training one
  --plugins MODULE              your own classes, from a module with a REGISTRY (repeatable or
                                comma-separated; docs/extending.md)
  --rounds N                    rounds of pseudo labels and student; each student is the teacher of
                                the next round (default 1)
  --resume_training latest|best resume an interrupted run; add it to the same command
  --evaluate --splits_to_eval [test]    evaluate the best model of an experiment
  --evaluate_ensemble           evaluate the concatenated models of all split schemes
  --reproduce_results PATH      run a saved experiment again
  --KEY VALUE                   override one value of the config, in the host's syntax:
                                KEY~OVERRIDE~, KEY~APPLY~2, KEY~SWAP~1, KEY~DELETE~
  --teacher.KEY, --baseline.KEY, --every.KEY    the same, for these stages
  --dataset_root, --root_experiment_folder, --root_config_folder, --pytorch_home,
  --global_db_path, --merge_argparse_when_resuming
                                as in the host
  --bayes_opt_iters N           search the values with bounds in N trials (docs/search.md)
  --reproductions N             repeat the best trial with N other seeds
  --list                        print all registered classes and configs
  --debug                       print full logs and tracebacks

Other commands, each with its own --help:
  show-config [FLAGS]                        print the merged config and the source of each value
  data verify|describe|download NAME ROOT    check, describe or download a data set of image files
  build glyphs|icons|furniture               render a data set
  results DIR...                             print one table of all experiments in some folders
  compare A B                                test whether two methods differ and are comparable
  report EXPERIMENT [EXPERIMENT]             an HTML page of one experiment or a comparison of two
  pairs EXPERIMENT...                        count which pairs of a student's pool are right
  record EXPERIMENT FOLDER                   write a leaderboard record that others can verify
  verify-record FOLDER                       check a record; compare it with a second run
  leaderboard FOLDER                         check records and rank them, protocol by protocol
  study NAME                                 run settings x seeds x data sets, write a page
  embed EXPERIMENT IMAGES --out NAME         embed your own images with a trained model
  index EXPERIMENT GALLERY --out FILE        make a gallery searchable
  search FILE QUERY...                       find the nearest images of a gallery
  evaluate EXPERIMENT LABELED_IMAGES         score a model on other labeled images
  export-model EXPERIMENT --to onnx|torchscript|safetensors    export a model
"""
