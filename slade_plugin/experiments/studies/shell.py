"""Format command lines for a shell."""

import shlex
from collections.abc import Iterable


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
