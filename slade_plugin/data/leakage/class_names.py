"""Find classes of two data sets that have the same name, however it is spelled."""

import re
import unicodedata
from collections.abc import Iterable

_NUMBER = re.compile(r"^\d+[.\s_-]+")  # "001.Black_footed_Albatross"
_BRACKETS = re.compile(r"\([^)]*\)")  # "Mallard (Breeding male)"
_YEAR = re.compile(r"\s(?:19|20)\d\d$")  # "Audi A5 Coupe 2012"


def normalized(name: str) -> str:
    """Normalize a class name.

    Removed are case, accents, punctuation, a leading number, a year at the end and
    anything in brackets.

    Args:
        name: As the data set has it.

    Returns:
        Lower-case words with a space between them; may be empty.
    """
    text = _NUMBER.sub("", _BRACKETS.sub(" ", name))
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = text.casefold().replace("'", "").replace("\u2019", "")
    return _YEAR.sub("", " ".join(re.findall(r"\w+", text.replace("_", " "))))


def same_names(names: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Find pairs of names that are equal once normalized.

    Args:
        names: Of the one data set.
        others: Of the other.

    Returns:
        (name, other) as the data sets have them, in the order of `names` and then of `others`.
    """
    known: dict[str, list[str]] = {}
    for other in others:
        known.setdefault(normalized(other), []).append(other)
    known.pop("", None)
    return [(name, other) for name in names for other in known.get(normalized(name), [])]
