"""What the host would swallow must not be an error of ours."""

import inspect

import pytest

from slade_plugin.base import errors

CLASSES = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and cls.__module__ == errors.__name__
]


def test_the_errors_are_found() -> None:
    assert {errors.SladeError, errors.ConfigError, errors.RetrievalError} <= set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_error_is_one_that_the_host_catches(cls: type[Exception]) -> None:
    """ValueError is raised again empty, AttributeError becomes another class's search."""
    assert issubclass(cls, errors.SladeError)
    assert not issubclass(cls, ValueError | AttributeError)
    assert str(cls("what, got, expected")) == "what, got, expected"
