"""A warning is logged once in a process, however often a data set is built."""

import pytest

from slade_plugin.base.warning import warn_once


@pytest.fixture(autouse=True)
def forget() -> None:
    warn_once.cache_clear()


def test_a_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        warn_once("12 files left out")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "12 files left out")
    ]


def test_another_one_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    for message in ("of CUB200", "of NABirds", "of CUB200"):
        warn_once(message)
    assert [r.getMessage() for r in caplog.records] == ["of CUB200", "of NABirds"]


def test_a_percent_sign_is_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    warn_once("3 %s")
    assert caplog.records[0].getMessage() == "3 %s"
