"""Parse run.py's command line: flags whose values are plain text, and keys of the config.

Paths and names are taken literally. Every other flag is a config key with a YAML value in the
host's notation: a word, ``[a list]`` or ``{keys: and values}``, quoted or as several words.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from slade_plugin.base.errors import ConfigError

_SETUP = ("pytorch_home", "dataset_root", "root_experiment_folder", "root_config_folder",
          "global_db_path")  # fmt: skip
_EXPERIMENT = ("experiment_name", "reproduce_results", "teacher_experiment", "labeled", "unlabeled")
TEXT_FLAGS = tuple(f"--{name}" for name in (*_SETUP, *_EXPERIMENT))
"""Flags whose values are paths and names."""

_FLAG = re.compile("--[a-zA-Z]")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")
_PAIRS = (("{", "}"), ("[", "]"))


class CommandLine(argparse.ArgumentParser):
    """Command-line parser of run.py.

    Config keys become attributes too, so nothing is left for the host to parse. A flag that is not
    given has no attribute or, where the host expects one, None or False.

    Attributes:
        config_flags: The flags of the last command line that are read as config keys.
    """

    def __init__(self) -> None:
        super().__init__(prog="run.py", allow_abbrev=False, add_help=False, exit_on_error=False)
        self.config_flags: list[str] = []
        for name in _SETUP:
            self.add_argument(f"--{name}", default=argparse.SUPPRESS)
        for name in _EXPERIMENT:
            self.add_argument(f"--{name}")
        for name in ("bayes_opt_iters", "reproductions"):
            self.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
        for name in ("seed", "rounds"):
            self.add_argument(f"--{name}", type=int)
        self.add_argument("--plugins", nargs="+", action="extend")
        self.add_argument("--resume_training", choices=["latest", "best"])
        for name in ("evaluate", "evaluate_ensemble", "debug"):
            self.add_argument(f"--{name}", action="store_true")
        for names in (["--merge_argparse_when_resuming"], ["--list"], ["-h", "--help"]):
            self.add_argument(*names, action="store_true", default=argparse.SUPPRESS)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Read a command line.

        Args:
            args: Its words; those of this process by default.
            namespace: Where to set the values.

        Returns:
            The namespace and an empty list: nothing is left unparsed.

        Raises:
            ConfigError: If it cannot be parsed.
        """
        try:
            found, words = super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            hint = ""
            if "expected one argument" in str(error):
                hint = " A value that begins with a dash is written --FLAG=VALUE."
            raise _unreadable(f"{error}.{hint} run.py --help prints the flags.") from error
        for flag in TEXT_FLAGS:
            value = getattr(found, flag[2:], None)
            if value is not None and not value.strip():
                raise ConfigError(f"{flag} is empty; expected a path or a name, or no such flag.")
        values = list(_values(words))
        self.config_flags = [flag for flag, _ in values]
        for flag, value in values:
            setattr(found, flag[2:], value)
        return found, []


@contextmanager
def command_line(*words: str) -> Iterator[None]:
    """Replace the command line of this process, which the host's reader reads, by one of run.py."""
    before = sys.argv
    sys.argv = ["run.py", *words]
    try:
        yield
    finally:
        sys.argv = before


def _values(words: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """Yield each flag with the YAML value of the words after it."""
    texts: list[tuple[str, list[str]]] = []
    for word in words:
        if _FLAG.match(word):
            flag, equals, value = word.partition("=")
            texts.append((flag, [value] if equals else []))
        elif texts:
            texts[-1][1].append(word)
        else:
            raise _unreadable(f'{word} is missing its leading "--".')
    for flag, of_flag in texts:
        yield flag, _read_value(flag, of_flag)


def _read_value(flag: str, words: Sequence[str]) -> Any:
    """Parse the value of one config key.

    Args:
        flag: The key as given, such as ``--seed``. Names of config files stay text: ``no`` and
            ``007`` are names, not False and 7.
        words: The words after it.

    Returns:
        Their YAML value; True if there are none.

    Raises:
        ConfigError: If they are not valid YAML.
    """
    if not words:
        return True
    text = " ".join(words)
    opened = text.startswith(("[", "{"))
    if not opened and len(words) > 1:
        raise _unreadable(
            f'{words[1]}, after the value of {flag}, is missing its leading "--". Write a list as '
            "[a, b] and put a value with spaces in quotes."
        )
    is_name = flag[2:].rpartition(".")[2].startswith("config_")
    if is_name and not opened:
        return text
    if opened:
        bare = _QUOTED.sub("", text)
        if re.search(r":\S", bare):
            raise _unreadable(
                f"Put a space after the colon in {text!r}, or quotes around the text with the "
                "colon."
            )
        for left, right in _PAIRS:
            if bare.count(left) != bare.count(right):
                raise _unreadable(
                    f"bracket imbalance: {bare.count(left)} of {left} and {bare.count(right)} of "
                    f"{right} in {text!r}."
                )
    try:
        return yaml.load(text, yaml.BaseLoader if is_name else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _unreadable(f"{error} ({flag}).") from error


def _unreadable(reason: str) -> ConfigError:
    return ConfigError(
        f"cannot parse the command line: {reason} Values are words, [lists] or "
        "{keys: and values}, with a space after each colon."
    )
