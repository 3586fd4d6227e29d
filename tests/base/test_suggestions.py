"""A misspelled name comes with the nearest valid one."""

from slade_plugin.base.suggestions import nearest


def test_nearest_hints_at_the_closest_name() -> None:
    assert nearest("margn", ["margin", "reducer"]) == " (did you mean 'margin'?)"


def test_nearest_ignores_case() -> None:
    assert nearest("contrastiveloss", ["ContrastiveLoss"]) == " (did you mean 'ContrastiveLoss'?)"


def test_nearest_is_silent_without_a_close_name() -> None:
    assert nearest("zzz", ["margin"]) == ""
