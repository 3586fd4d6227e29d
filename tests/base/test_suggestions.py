"""A misspelled name comes with the nearest valid one."""

from slade_plugin.base.suggestions import first_of, nearest, quoting_hint


def test_nearest_hints_at_the_closest_name() -> None:
    assert nearest("margn", ["margin", "reducer"]) == " (did you mean 'margin'?)"


def test_nearest_ignores_case() -> None:
    assert nearest("contrastiveloss", ["ContrastiveLoss"]) == " (did you mean 'ContrastiveLoss'?)"


def test_nearest_is_silent_without_a_close_name() -> None:
    assert nearest("zzz", ["margin"]) == ""


def test_the_first_are_named_and_the_others_counted() -> None:
    assert first_of({"a": 1, "b": 2}, limit=2) == "a, b"
    assert first_of("abcd", separator="; ") == "a; b; c; and 1 more"
    assert first_of([]) == "none"


def test_what_yaml_did_not_read_as_text_needs_quotes() -> None:
    for value in (False, 7, 1.0, None):
        assert f"read it as {type(value).__name__}" in quoting_hint(value)
    assert quoting_hint("007") == quoting_hint({}) == ""
