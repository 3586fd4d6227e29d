"""Flags of run.py as a study states them: read, merged and written as words again."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from slade_plugin.base.command_line import TEXT_FLAGS
from slade_plugin.base.errors import ConfigError

# Flags that the study itself passes to run.py.
RESERVED = (
    "--seed", "--experiment_name", "--root_experiment_folder", "--resume_training",
    "--teacher_experiment", "--evaluate", "--evaluate_ensemble", "--reproduce_results",
)  # fmt: skip


def flag_words(where: str, value: Any) -> tuple[str, ...]:
    """Read flags from one text, a list of words, or a list of texts that are merged."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ConfigError(f"{where} is {value!r}: {error}; expected paired quotes.") from error
    elif isinstance(value, list) and any(re.match(r"--\S+\s", str(item)) for item in value):
        merged: dict[str, Any] = {}
        for item in value:
            for flag, new in flag_values(flag_words(where, item)).items():
                merged[flag] = merged_values(merged.get(flag), new)
        words = [word for flag, new in merged.items() for word in (flag, *as_words(flag, new))]
    elif value is None or isinstance(value, list):
        words = [str(word) for word in value or ()]
        if any(isinstance(word, dict | list) for word in value or ()):
            raise ConfigError(
                f"{where} is {value!r}; expected words, so a value in braces in quotes: "
                '"{key: value}".'
            )
    else:
        raise ConfigError(f"{where} is {value!r}; expected flags of run.py, one text or a list.")
    try:
        flag_values(words)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return tuple(words)


def flag_values(words: Sequence[str]) -> dict[str, Any]:
    """Map each flag to its value: parsed YAML if in braces, otherwise plain text."""
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            if flag in RESERVED:
                raise ConfigError(f"{flag}: the study sets this flag itself; expected other flags.")
            if flag in texts:
                raise ConfigError(f"{flag} is given twice; expected it once.")
            current = texts[flag] = [value] if equals else []
        elif current is not None:
            current.append(word)
        else:
            raise ConfigError(f"{word!r} follows no flag; expected --FLAG before it.")
    return {flag: _value(flag, " ".join(parts)) for flag, parts in texts.items()}


def _value(flag: str, text: str) -> Any:
    if flag in TEXT_FLAGS or not text.startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{flag} is {text!r}: {error}; expected {{KEY: VALUE}} with a space after each colon."
        ) from error


def merged_values(old: Any, new: Any) -> Any:
    """Merge two values of a flag: mappings key by key, KEY~OVERRIDE~ whole; else the new one."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    whole = {key: value for key, value in new.items() if str(key).endswith("~OVERRIDE~")}
    return {**old, **{key: merged_values(old.get(key), v) for key, v in new.items()}, **whole}


def as_words(flag: str, value: Any) -> tuple[str, ...]:
    """Return the words of a flag's value: one for a path or a name, several if equivalent.

    The keys of the runs on disk are hashes of these words.
    """
    if isinstance(value, str):
        text = value
    else:
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    words = text.split()
    apart = flag not in TEXT_FLAGS and " ".join(words) == text.strip()
    return tuple(words) if apart else (text.strip("\n"),)


def to_shell(words: Iterable[str]) -> str:
    """Join words for a shell, with a value in braces as one word again.

    Args:
        words: Flags and their values; a value in braces may be split at its spaces.
    """
    shown: list[str] = []
    for word in words:
        if shown and shown[-1].startswith(("{", "[")) and not word.startswith("--"):
            shown[-1] += f" {word}"
        else:
            shown.append(word)
    return shlex.join(shown)
