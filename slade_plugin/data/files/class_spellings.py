"""Different spellings of one class name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from slade_plugin.base.suggestions import first_of

# Spreadsheets write 7 as 7.0, and 007 as 7.
_WHOLE_NUMBER = re.compile(r"(?:\+|(-))?0*(\d+)(?:\.0*)?")
_INVISIBLE = "Cf"  # category of zero-width spaces, byte-order marks and soft hyphens


def spelling_key(name: str) -> str:
    """Reduce a name to what its spellings have in common.

    Left out are case, Unicode's forms of one character, invisible characters, and whether words are
    joined by spaces, hyphens or underscores; of a whole number also leading zeros and ".0".
    """
    text = unicodedata.normalize("NFKC", name)
    text = "".join(c for c in text if unicodedata.category(c) != _INVISIBLE)
    text = unicodedata.normalize("NFKC", text.casefold()).replace("\u2019", "'")
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text).replace("_", " ").strip()
    number = _WHOLE_NUMBER.fullmatch(text)
    # A sign or a grade stays: -1 and A- are not 1 and A.
    return (number[1] or "") + number[2] if number else re.sub(r"(?<=\w)[\s-]+(?=\w)", " ", text)


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Group different names with one key, in the order of the names."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(spelling_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def merge_names(names: Sequence[str]) -> list[str]:
    """Replace all spellings of a name by the most common one, the first if tied.

    Args:
        names: N names, one an image.

    Returns:
        N names.
    """
    counts: dict[str, Counter[str]] = {}
    for name in names:
        counts.setdefault(spelling_key(name), Counter())[name] += 1
    chosen = {key: max(sorted(c), key=c.__getitem__) for key, c in counts.items()}
    return [chosen[spelling_key(name)] for name in names]


def describe_groups(groups: Sequence[Sequence[str]]) -> str:
    """Format the first groups, with quotes that show spaces at the ends."""
    return first_of([" = ".join(_quoted(group)) for group in groups], separator="; ")


def _quoted(names: Sequence[str]) -> list[str]:
    on_screen = {unicodedata.normalize("NFC", name) for name in names}
    quote = repr if len(on_screen) == len(names) else ascii
    return [quote(name) for name in names]
