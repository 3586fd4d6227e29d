"""Arguments declared once, with type, range and default, and checked against that declaration.

A class that a config can name declares each argument as
``name: Annotated[float, Range(0, 1)] = 0.5``.
"""

import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest


@dataclass(frozen=True)
class Range:
    """Range of valid numbers.

    Attributes:
        low: Smallest value.
        high: Largest value.
        ends: Which ends are included, as in "[0, 1)".
    """

    low: float = -math.inf
    high: float = math.inf
    ends: Literal["[]", "[)", "(]", "()"] = "[]"

    def holds(self, value: float) -> bool:
        """Whether a finite number lies in the range."""
        above = value > self.low or (value == self.low and self.ends[0] == "[")
        below = value < self.high or (value == self.high and self.ends[1] == "]")
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        """Format it for an error message, such as ">= 2"."""
        if self.high < math.inf:
            return f"in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"
        return f">{'=' if self.ends[0] == '[' else ''} {self.low}" if self.low > -math.inf else ""


class Settings:
    """Base of a frozen dataclass that a config can name; it checks its own fields.

    Attributes:
        place: Its place in the config, for error messages.
        title: Its name in error messages; `from_config` needs one.
        hint: An addition to the list of expected entries in error messages.
    """

    place: ClassVar[str] = "the config"
    title: ClassVar[str] = ""
    hint: ClassVar[str] = ""

    @classmethod
    def from_config(cls, entry: Any) -> Self:
        """Read the entry of a config; None means the defaults.

        Raises:
            ConfigError: Naming every unknown entry and every wrong value.
        """
        known = cls._declared()
        expected = f"expected {', '.join(known)}{cls.hint} ({cls.place})"
        if not isinstance(entry, Mapping | None):
            raise ConfigError(f"{cls.title} is {entry!r}; {expected}")
        entry = entry or {}
        problems = [
            f"{cls.title} has no entry {key!r}{nearest(str(key), known)}; {expected}"
            for key in entry
            if key not in known
        ]
        try:
            settings = cls(**{key: value for key, value in entry.items() if key in known})
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n  ".join(problems))
        return settings

    def __post_init__(self) -> None:
        """Check every field against its annotation.

        Raises:
            ConfigError: Naming every wrong value.
        """
        title = self.title or type(self).__name__
        _check(title, self._declared(), vars(self), self.place, self._problems())

    @classmethod
    def _declared(cls) -> dict[str, Any]:
        hints = get_type_hints(cls, include_extras=True)
        return {k: h for k, h in hints.items() if get_origin(h) is not ClassVar}

    def _problems(self) -> Iterable[str]:
        """Report, one sentence each, what no annotation can express."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Return the arguments by name, ready for JSON."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def checked_arguments(
    name: str,
    constructor: Callable[..., Any],
    values: Mapping[str, Any],
    place: str,
    problems: Iterable[str] = (),
) -> dict[str, Any]:
    """Check the arguments of a constructor or function against its annotations.

    Args:
        name: Class under construction, for the message.
        constructor: Its ``__init__``, or the function; ``**kwargs`` are ignored.
        values: ``locals()`` of the constructor.
        place: The class's place in the config, for the message.
        problems: Other problems to report with these.

    Returns:
        The declared arguments, integers given for a ``float`` converted.

    Raises:
        ConfigError: Naming every wrong value.
    """
    hints = get_type_hints(constructor, include_extras=True)
    declared = {k: h for k, h in hints.items() if k not in ("return", "kwargs")}
    _check(name, declared, values, place, problems)
    return {k: float(values[k]) if _plain(h) is float else values[k] for k, h in declared.items()}


def _check(
    name: str,
    declared: Mapping[str, Any],
    values: Mapping[str, Any],
    place: str,
    others: Iterable[str] = (),
) -> None:
    problems = []
    for key, hint in declared.items():
        value = values[key]
        if not _fits(value, hint):
            number = isinstance(value, str) and _plain(hint) in (int, float)
            yaml = " (YAML reads 1e-3 as text: write 1.0e-3)" if number else ""
            names = get_args(_plain(hint)) if get_origin(_plain(hint)) is Literal else ()
            problems.append(
                f"{key} is {value!r}{nearest(str(value), names)}; expected {_expected(hint)}{yaml}."
            )
    problems += others
    if problems:
        raise ConfigError(f"{name}: {' '.join(problems)} Set it in {place}.")


def _plain(hint: Any) -> Any:
    """Return the type of an annotation, without range and without None; Any if several."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [one for one in get_args(hint) if one is not type(None)]
        hint = kinds[0] if len(kinds) == 1 else Any
    return hint


def _allows_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return type(None) in get_args(hint)


def _range(hint: Any) -> Range | None:
    found = [a for a in get_args(hint)[1:] if isinstance(a, Range)]
    return found[0] if get_origin(hint) is Annotated and found else None


def _fits(value: Any, hint: Any) -> bool:
    plain, limits = _plain(hint), _range(hint)
    if plain is Any:
        return True
    if value is None:
        return _allows_none(hint)
    if get_origin(plain) is Literal:
        return isinstance(value, str) and value in get_args(plain)
    if plain in (int, float):
        kind = Integral if plain is int else Real
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and (limits or Range()).holds(value)
    return isinstance(value, get_origin(plain) or plain)


def _expected(hint: Any) -> str:
    plain, limits = _plain(hint), _range(hint)
    if get_origin(plain) is Literal:
        text = f"one of {', '.join(get_args(plain))}"
    elif plain is bool:
        text = "True or False"
    elif plain in (int, float):
        text = f"{'an integer' if plain is int else 'a number'} {limits or ''}".strip()
    elif get_origin(plain) is Mapping:
        text = "a mapping such as {ClassName: {argument: value}}"
    else:
        text = f"a {plain.__name__}"
    return text + (" or null" if _allows_none(hint) else "")
