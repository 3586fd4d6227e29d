"""Check of the options shared by all data sets of image files."""

from collections.abc import Sequence
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import quoting_hint

MATCH = "match"


def check_options(
    name: str,
    *,
    can_match: bool,
    crop_to_bounding_box: Any,
    min_images_per_class: Any,
    excluded_classes: Any,
    max_unreadable: Any,
    value_range: Any,
) -> None:
    """Check types and ranges; the arguments are those of `ImageFiles`.

    Args:
        name: Of the data set.
        can_match: Whether ``min_images_per_class: match`` has counts to match.
        crop_to_bounding_box: A bool.
        min_images_per_class: An integer >= 1, or "match".
        excluded_classes: A list of texts, a path, or None.
        max_unreadable: An integer >= 0.
        value_range: Two ascending numbers, or None.

    Raises:
        ConfigError: Naming everything that is wrong.
    """
    problems = []
    at_least_one = _is_integer(min_images_per_class) and min_images_per_class >= 1
    if not at_least_one and not (min_images_per_class == MATCH and can_match):
        expected = "an integer >= 1" + (f" or {MATCH}" if can_match else "")
        problems.append(f"min_images_per_class is {min_images_per_class!r}; expected {expected}")
    if not _is_integer(max_unreadable) or max_unreadable < 0:
        problems.append(f"max_unreadable is {max_unreadable!r}; expected an integer >= 0")
    if not isinstance(crop_to_bounding_box, bool):
        problems.append(f"crop_to_bounding_box is {crop_to_bounding_box!r}; expected true or false")
    problems += _problems_of_names(excluded_classes)
    if value_range is not None and not _is_range(value_range):
        problems.append(
            f"value_range is {value_range!r}; expected the values of black and white, such as "
            "[0, 4095], or null"
        )
    if problems:
        raise ConfigError(f"{name}: {'; '.join(problems)} (config_dataset).")


def _problems_of_names(names: Any) -> list[str]:
    if names is None or isinstance(names, str):
        return []
    if not isinstance(names, Sequence):
        return [
            f"excluded_classes is {names!r}; expected a list of names or a file"
            f"{quoting_hint(names)}"
        ]
    return [
        f"excluded_classes holds {name!r}; expected text{quoting_hint(name)}"
        for name in names
        if not isinstance(name, str)
    ]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_range(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    return numbers and value[0] < value[1] < float("inf")
