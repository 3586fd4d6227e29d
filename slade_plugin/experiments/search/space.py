"""The search space of a config: entries such as ``neg_margin~BAYESIAN~: [0, 1]``.

The keywords are the host's: ``~BAYESIAN~`` for a number, ``~LOG_BAYESIAN~`` for a number on a
logarithmic scale, ``~INT_BAYESIAN~`` for an integer. A parameter's name, also as in the host, is
the path to its entry, ``loss_funcs/metric_loss/ContrastiveLoss/neg_margin``.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from powerful_benchmarker.utils.constants import BAYESIAN_KEYWORDS

from slade_plugin.base.errors import ConfigError

_EXPECTED = "expected two numbers, the lower one first, such as [0, 1]"


class Parameter(NamedTuple):
    """One searched entry.

    Attributes:
        lower: Smallest value.
        upper: Largest value.
        log_scale: Whether it is searched on a logarithmic scale.
        integer: Whether its values are integers.
    """

    lower: float
    upper: float
    log_scale: bool
    integer: bool


def find_space(config: Mapping[str, Any], where: str = "") -> dict[str, Parameter]:
    """Find every searched entry of a merged config, by its path.

    Args:
        config: Keys and values, nested.
        where: The path of `config` itself.

    Raises:
        ConfigError: If bounds are not numbers, do not fit the keyword or are in the wrong order.
    """
    space: dict[str, Parameter] = {}
    for key, value in config.items():
        plain, keyword = _split(str(key))
        path = f"{where}/{plain}".lstrip("/")
        if keyword:
            space[path] = _parameter(path + keyword, keyword, value)
        elif isinstance(value, Mapping):
            space |= find_space(value, path)
    return space


def fill(config: dict[str, Any], values: Mapping[str, float]) -> None:
    """Replace searched entries by values; a path that the config lacks is ignored.

    Args:
        config: Keys and values, nested; modified in place.
        values: Values by path.
    """
    for path, value in values.items():
        *parents, last = path.split("/")
        inner: Any = config
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        present = [key for key in inner if _split(str(key))[0] == last]
        for key in present:
            del inner[key]
        if present:
            inner[last] = value


def _split(key: str) -> tuple[str, str]:
    """Split a key from its keyword, which is empty for most."""
    keyword = next((k for k in BAYESIAN_KEYWORDS if key.endswith(k)), "")
    return key.removesuffix(keyword), keyword


def _parameter(path: str, keyword: str, bounds: Any) -> Parameter:
    integer, log_scale = "~INT" in keyword, "~LOG" in keyword
    try:
        lower, upper = (float(bound) for bound in bounds)  # 1e-6 is text to YAML
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} is {bounds!r}; {_EXPECTED}.") from error
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ConfigError(f"{path} is {bounds!r}; {_EXPECTED}.")
    if log_scale and lower <= 0:
        raise ConfigError(f"{path} starts at {lower:g}; expected bounds above 0 on a log scale.")
    if integer and not (lower.is_integer() and upper.is_integer()):
        raise ConfigError(f"{path} is {bounds!r}; expected integers, such as [2, 250].")
    if integer:
        lower, upper = int(lower), int(upper)
    return Parameter(lower, upper, log_scale, integer)
