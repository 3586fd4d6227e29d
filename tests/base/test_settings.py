import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range, Settings, checked_arguments


@dataclass(frozen=True)
class Example(Settings):
    place: ClassVar[str] = "a file"
    title: ClassVar[str] = "example"
    hint: ClassVar[str] = ", as below"

    count: Annotated[int, Range(2)] = 3
    share: Annotated[float, Range(0, 1, "[)")] = 0.5
    size: Annotated[int | None, Range(1)] = None
    mode: Literal["a", "b"] = "a"
    switch: bool = False
    folder: str | None = None
    inner: Mapping[str, Any] | None = None
    either: bool | str = False

    def _problems(self) -> Iterable[str]:
        if not isinstance(self.either, bool | str):
            yield f"either is {self.either!r}; expected True, False or text."


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "text"),
    [
        (Range(), [-1e9, 0, 1e9], [math.inf, math.nan], ""),
        (Range(0), [0, 5], [-1e-9], ">= 0"),
        (Range(0, ends="(]"), [1e-9], [0], "> 0"),
        (Range(-1, 1), [-1, 0, 1], [-1.1, 1.1], "in [-1, 1]"),
        (Range(0, 1, "[)"), [0, 0.99], [1], "in [0, 1)"),
        (Range(0, 1, "()"), [0.5], [0, 1], "in (0, 1)"),
    ],
)
def test_ranges(limits: Range, inside: list[float], outside: list[float], text: str) -> None:
    assert all(map(limits.holds, inside))
    assert not any(map(limits.holds, outside))
    assert str(limits) == text


def test_right_values_are_taken_as_they_are() -> None:
    example = Example(2, 0, 1, "b", True, "x", {"y": 1})
    assert example.settings() == {
        "count": 2, "share": 0, "size": 1, "mode": "b", "switch": True, "folder": "x",
        "inner": {"y": 1}, "either": False,
    }  # fmt: skip
    assert Example().size is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 1, "an integer >= 2."),
        ("count", 2.0, "an integer >= 2."),
        ("count", True, "an integer >= 2."),
        ("count", None, "an integer >= 2."),
        ("share", 1, "a number in [0, 1)."),
        ("share", math.nan, "a number in [0, 1)."),
        ("share", "1e-3", "a number in [0, 1) (YAML reads 1e-3 as text: write 1.0e-3)."),
        ("size", 0, "an integer >= 1 or null."),
        ("mode", "c", "one of a, b."),
        ("mode", None, "one of a, b."),
        ("switch", 1, "True or False."),
        ("folder", 3, "a str or null."),
        ("inner", [], "a mapping such as {ClassName: {argument: value}} or null."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example(**{name: value})
    text = f"example: {name} is {value!r}; expected {expected} Set it in a file."
    assert str(caught.value) == text


def test_everything_wrong_is_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"count is 0; .* share is 2; .* mode is 3; "):
        Example(0, 2, None, 3)  # type: ignore[arg-type]


def test_an_entry_of_a_config() -> None:
    assert Example.from_config(None) == Example.from_config({}) == Example()
    assert Example.from_config({"count": 2, "either": "x"}) == Example(2, either="x")
    with pytest.raises(ConfigError, match=r"example is 3; expected count, .*, as below \(a file\)"):
        Example.from_config(3)


def test_everything_wrong_in_an_entry_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Example.from_config({"cuont": 3, "share": 2, "mode": "aa", "either": 3})
    for words in (
        "example has no entry 'cuont' (did you mean 'count'?); expected count, share",
        "share is 2; expected",
        "mode is 'aa' (did you mean 'a'?); expected one of a, b",
        "either is 3; expected True, False or text",
    ):
        assert words in str(caught.value)


class Plain:
    def __init__(self, rate: Annotated[float, Range(0)] = 1, name: str = "", **kwargs: Any) -> None:
        problems = [f"{key} is unknown." for key in kwargs]
        self.given = checked_arguments("Plain", Plain.__init__, locals(), "a file", problems)


def test_arguments_of_a_constructor() -> None:
    given = Plain(3, "x").given
    assert given == {"rate": 3.0, "name": "x"}
    assert type(given["rate"]) is float
    with pytest.raises(ConfigError, match=r"Plain: rate is -1; expected .* y is unknown\. Set"):
        Plain(-1, y=3)
