"""Suggestions for misspelled names, for error messages."""

import difflib
from collections.abc import Collection, Iterable


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Suggest a correction, to append to a wrong name.

    Args:
        name: The name as given.
        candidates: The valid names.

    Returns:
        " (did you mean 'x'?)", or "" if nothing is close. Case is ignored.
    """
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(set(candidates))}
    close = difflib.get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" (did you mean {by_lower_case[close[0]]!r}?)" if close else ""


def first_of(texts: Collection[str], limit: int = 3, separator: str = ", ") -> str:
    """Join the first texts and count the rest, as in "a, b, c, and 2 more"; "none" without any."""
    more = [f"and {len(texts) - limit} more"] if len(texts) > limit else []
    return separator.join([*list(texts)[:limit], *more]) or "none"


def quoting_hint(value: object) -> str:
    """Explain a value that YAML did not read as text.

    Args:
        value: The value found where text was expected.

    Returns:
        A parenthesis to append to the expectation; "" for text and for a mapping.
    """
    if isinstance(value, str | dict | list):
        return ""
    return (
        f" (YAML read it as {type(value).__name__}, as it does with no, 007 and 2024-01-01: put "
        "quotes around it, as '007')"
    )
