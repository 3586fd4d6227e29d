from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.datasets.image_options import check_options

GOOD: dict[str, Any] = {
    "can_match": False,
    "crop_to_bounding_box": False,
    "min_images_per_class": 1,
    "excluded_classes": None,
    "max_unreadable": 0,
    "value_range": None,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_images_per_class": "match", "can_match": True},
        {"excluded_classes": ["no", "007"], "value_range": [-1, 1.5]},
        {"excluded_classes": "names.txt", "value_range": (0, 4095)},
    ],
)
def test_what_fits(changes: dict[str, Any]) -> None:
    check_options("Birds", **(GOOD | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_images_per_class": 0}, "min_images_per_class is 0; expected an integer >= 1 "),
        ({"min_images_per_class": "match"}, "is 'match'; expected an integer >= 1 "),
        ({"min_images_per_class": "many", "can_match": True}, "an integer >= 1 or match"),
        ({"max_unreadable": True}, "max_unreadable is True; expected an integer >= 0"),
        ({"crop_to_bounding_box": 1}, "crop_to_bounding_box is 1; expected true or false"),
        ({"value_range": [5, 5]}, r"value_range is \[5, 5\]; expected the values of black and"),
        ({"value_range": 4095}, r"value_range is 4095; .*such as \[0, 4095\]"),
        ({"value_range": [0, True]}, "value_range is"),
        ({"value_range": [0, float("inf")]}, "value_range is"),
        # How YAML reads [no], [007], 007, [1.0] and [2024-01-01].
        (
            {"excluded_classes": [False]},
            r"holds False; expected text \(YAML read it as bool, .*'007",
        ),
        ({"excluded_classes": ["a", 7]}, r"holds 7; expected text \(YAML read it as int.*quotes"),
        ({"excluded_classes": 7}, r"excluded_classes is 7; expected a list .*YAML read it as int"),
        ({"excluded_classes": [1.0]}, r"holds 1\.0; .*float"),
    ],
)
def test_what_does_not(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"Birds: .*{message}"):
        check_options("Birds", **(GOOD | changes))


def test_everything_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match=r"min_images_per_class is -1; .*; max_unreadable is -1"):
        check_options("Birds", **(GOOD | {"min_images_per_class": -1, "max_unreadable": -1}))
