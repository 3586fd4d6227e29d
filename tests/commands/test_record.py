"""`slade-bench record`, and the run that its record describes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    return lambda *words: bench(*map(str, words), root=None)


def test_a_second_run_from_the_record_gives_the_same_numbers(
    finished: Path,
    call: Callable[..., Any],
    bench: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By nothing but the record's own commands, teacher and student."""
    folder = tmp_path / "record"
    outcome = call("record", finished / "student", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"slade-bench verify-record {folder}" in outcome.out
    monkeypatch.chdir(tmp_path)
    record = json.loads((folder / "record.json").read_text())
    for command in record["runs"][0]["reproduce"]:
        words = command.removeprefix("python run.py ").replace("<RECORD>", str(folder))
        outcome = bench(words.replace("<NAME>", "again"), root=Path("experiments"))
        assert outcome.code == 0, outcome.err
    again = tmp_path / "experiments" / "again_seed0" / "student"
    outcome = call("verify-record", folder, "--against", again)
    assert outcome.code == 0, outcome.out
    assert "seed 0 again, 12 scores" in outcome.out
    assert "All is well." in outcome.out
    # A plain experiment of ours notes what it was made with.
    (environment,) = json.loads((again / "environment.json").read_text())
    assert "--reproduce_results" in environment["command"]


def test_mistakes_give_exit_code_2(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = call("record", finished, tmp_path / "record")
    assert outcome.code == 2
    assert "holds 3 methods" in outcome.err
    assert not (tmp_path / "record").exists()
