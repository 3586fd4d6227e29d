"""Words of run.py's command line as one types them."""

import shlex
from collections.abc import Iterable


def typed(words: Iterable[str]) -> str:
    """The words for a shell, with a value in braces as one word again.

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
