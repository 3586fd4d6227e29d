"""The command line: ``python run.py`` in a checkout, ``slade-bench`` once installed."""

import argparse
import errno
import importlib
import logging
import sqlite3
import sys
import traceback
from typing import Any

from slade_plugin import compat
from slade_plugin.base.errors import ConfigError, SladeError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

# What the disk may refuse to the host, whose own files are written without our checks.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

# First word of the command line -> module whose `main` takes the words behind it. Any other first
# word is a flag of the host's run.py.
COMMANDS = {
    "data": "slade_plugin.commands.data",
    "report": "slade_plugin.commands.report",
    "compare": "slade_plugin.commands.compare",
    "pairs": "slade_plugin.commands.pairs",
    "reproduce": "slade_plugin.commands.reproduce",
    "export": "slade_plugin.commands.export",
    "results": "slade_plugin.commands.results",
    "verify-export": "slade_plugin.commands.verify_export",
}


def main() -> int:
    """Runs the command line.

    Returns:
        0 if all went well, 2 for a mistake that a message explains, 130 if interrupted; the `main`
        of a command in COMMANDS says what else it returns. Anything unexpected raises.
    """
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    again = "The same command" if command else "The same command with --resume_training latest"
    try:
        if command:
            logging.basicConfig(format="%(levelname)s: %(message)s")
            code: int = importlib.import_module(command).main(sys.argv[2:])
            return code
        _main()
    except SladeError as error:
        return _end(f"{type(error).__name__}: {error}", EXIT_USER_ERROR)
    except argparse.ArgumentError as error:
        return _end(
            f"ConfigError: the command line cannot be read: {error}. run.py --help prints the "
            "flags.",
            EXIT_USER_ERROR,
        )
    except (OSError, sqlite3.OperationalError) as error:
        if not _is_disk_error(error):
            raise
        name = getattr(error, "filename", None) or "a file of the experiment"
        return _end(
            f"ExperimentError: {name} could not be written: {error}; expected free space and "
            f"permission to write. Mend that. {again} goes on.",
            EXIT_USER_ERROR,
        )
    except KeyboardInterrupt:
        return _end(f"\nInterrupted. {again} goes on.", EXIT_INTERRUPTED)
    return 0


def _end(message: str, code: int) -> int:
    """Prints why the program ends, below the traceback if that was asked for."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(message, file=sys.stderr)
    return code


def _is_disk_error(error: OSError | sqlite3.OperationalError) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_ERRORS
    return "full" in str(error) or "readonly" in str(error)


def split_quoted_values(argv: list[str]) -> list[str]:
    """Splits quoted lists and dicts at their spaces, since the host reads them as loose words.

    ``"{iterations_per_epoch: 10}"`` and ``{iterations_per_epoch: 10}`` then mean the same.
    """
    return [w for arg in argv for w in (arg.split() if arg.startswith(("[", "{")) else [arg])]


def _main() -> None:
    sys.argv[1:] = split_quoted_values(sys.argv[1:])
    if "" in sys.argv[1:]:
        raise ConfigError("the command line holds an empty value; expected a value or no flag.")
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, exit_on_error=False)
    add = parser.add_argument
    add("--pytorch_home", type=str, default=None)
    add("--dataset_root", type=str, default="datasets")
    add("--root_experiment_folder", type=str, default="experiments")
    add("--root_config_folder", type=str, default=None)
    add("--global_db_path", type=str, default=None)
    add("--merge_argparse_when_resuming", action="store_true")
    add("--bayes_opt_iters", type=int, default=0)
    add("--reproductions", type=int, default=0)
    add("--list", action="store_true")
    add("-h", "--help", action="store_true")
    flags, _ = parser.parse_known_args()
    if flags.help:
        print(HELP)
        return
    debug = "--debug" in sys.argv
    logging.basicConfig(format="%(levelname)s: %(message)s")  # before the host's, with module names
    logging.getLogger().setLevel(logging.INFO if debug else logging.ERROR)
    logging.getLogger("slade_plugin").setLevel(logging.INFO if debug else logging.WARNING)
    compat.apply()
    if flags.list:
        from slade_plugin.commands.listing import listing

        print(listing(flags.root_config_folder))
        return
    kwargs: dict[str, Any] = {
        "dataset_root": flags.dataset_root,
        "root_experiment_folder": flags.root_experiment_folder,
        "root_config_folder": flags.root_config_folder,
        "pytorch_home": flags.pytorch_home,
        "global_db_path": flags.global_db_path,
        "merge_argparse_when_resuming": flags.merge_argparse_when_resuming,
    }
    if flags.bayes_opt_iters or flags.reproductions:
        _run_search(kwargs, flags.bayes_opt_iters, flags.reproductions)
        return
    from slade_plugin.runner import SladeRunner

    SladeRunner(**kwargs).run()


def _run_search(kwargs: dict[str, Any], iterations: int, reproductions: int) -> None:
    """The host's Bayesian optimisation. Ax takes seconds to import, so nothing else imports it."""
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
                                folders_small: labeled is a folder with one folder a class, or a
                                CSV file of path,label; unlabeled is any tree of images, or a text
                                file with one path a line (docs/tutorial_own_data.md)
  --experiment_name NAME        default: the loss config and the seed, such as slade_seed0
  --seed N                      seeds everything (default 0)
  --teacher_experiment PATH     use a trained teacher instead of training one
  --rounds N                    the student is the next teacher, N - 1 times (default 1)
  --resume_training latest|best go on with an interrupted run, the same command otherwise
  --evaluate --splits_to_eval [test]    evaluate the best model of an experiment
  --evaluate_ensemble           evaluate the concatenated models of all split schemes
  --reproduce_results PATH      run a saved experiment again
  --KEY VALUE                   override one value of the config, in the host's syntax:
                                KEY~OVERRIDE~, KEY~APPLY~2, KEY~SWAP~1, KEY~DELETE~
  --teacher.KEY, --baseline.KEY, --every.KEY    the same, for these stages of a pipeline
  --dataset_root, --root_experiment_folder, --root_config_folder, --pytorch_home,
  --global_db_path, --merge_argparse_when_resuming
                                as in the host
  --bayes_opt_iters N           search the values that have bounds, in N trials (docs/search.md)
  --reproductions N             repeat the best trial under N other seeds
  --list                        print what is registered and which configs exist
  --debug                       full logs and tracebacks

Other commands, each with its own --help:
  data verify|describe|download NAME ROOT    data sets of image files
  report EXPERIMENT [EXPERIMENT]             pictures of one, or of two compared, as an HTML file
  compare A B                                whether two methods differ, and may be compared
  pairs EXPERIMENT [...]                     which pairs of a student's pool are right
  reproduce main-table --dataset NAME        the rows of the poster's main table
  results DIR...                             one table of all experiments in these folders
  export EXPERIMENT FOLDER                   a record of it that others can check and repeat
  verify-export FOLDER                       checks one, and compares it with a second run
"""
