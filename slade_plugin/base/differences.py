"""Differences between two nested configs."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Compare two nested configs.

    Yields:
        The path of each difference, the old and the new value.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}, key=str):
            yield from differences(
                old.get(key, "<absent>"), new.get(key, "<absent>"), f"{where}/{key}".lstrip("/")
            )
    elif old != new:
        yield where, old, new


def first_difference(old: Any, new: Any) -> tuple[str, Any, Any] | None:
    """Return the first of `differences`, or None."""
    return next(differences(old, new), None)
