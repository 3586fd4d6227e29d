"""`slade-bench verify-record` from the words of the command to the exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    return lambda *words: bench(*map(str, words), root=None)


def test_what_was_changed_gives_exit_code_1(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "record"
    assert call("record", finished / "baseline", folder).code == 0
    outcome = call("verify-record", folder, "--against", finished / "teacher")
    assert outcome.code == 1
    assert outcome.out.count("ok  ") == 6
    assert "problem  seed 0 again" in outcome.out
    (folder / "results.csv").write_text("Method\nbetter\n")
    outcome = call("verify-record", folder)
    assert outcome.code == 1
    assert "results.csv has changed" in outcome.out
    assert "2 of 6 checks found a problem." in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "record.json cannot be read"),
        (["missing", "--tolerance", "-1"], "--tolerance is -1.0; expected"),
    ],
)
def test_mistakes_give_exit_code_2(
    words: list[str], message: str, call: Callable[..., Any]
) -> None:
    outcome = call("verify-record", *words)
    assert outcome.code == 2
    assert message in outcome.err
