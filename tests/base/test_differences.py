"""The first place at which two nested configs differ."""

from typing import Any

import pytest

from slade_plugin.base.differences import first_difference


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ({"a": {"b": [1]}}, {"a": {"b": [1]}}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a/b", 1, 2)),
        ({"a": 1}, {}, ("a", 1, "<absent>")),
        ({}, {"a": {"b": 1}}, ("a", "<absent>", {"b": 1})),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ("a", 1, 2)),
        ({"a": None}, {"a": 0}, ("a", None, 0)),
        (3, 4, ("", 3, 4)),
    ],
)
def test_first_difference(old: Any, new: Any, difference: Any) -> None:
    assert first_difference(old, new) == difference
