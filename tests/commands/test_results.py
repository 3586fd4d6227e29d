"""`slade-bench results` from the words of the command to the exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    return lambda *words: bench("results", *map(str, words), root=None)


def test_a_real_pipeline_as_its_own_table_says(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    outs = [tmp_path / f"table.{suffix}" for suffix in ("md", "csv", "json", "tex", "txt")]
    flags = [word for out in outs for word in ("--out", out)]
    outcome = call(finished.parent, *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "table.txt").read_text() == outcome.out
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    table = json.loads((finished / "results" / "table.json").read_text())["rows"]
    expected = {
        (row["experiment"], row["split"]): row["precision_at_1"]
        for row in table
        if row["split_scheme"] == "mean"
    }
    names = {"contrastive (baseline)": "baseline", "contrastive (teacher)": "teacher"}
    found = {
        (names.get(row["method"], "student"), row["split"]): row["metrics"]["precision_at_1"][
            "mean"
        ]
        for row in rows
    }
    assert found == pytest.approx(expected)
    assert all(path.stat().st_size > 0 for path in outs)


def test_one_split_in_another_form(finished: Path, call: Callable[..., Any]) -> None:
    outcome = call(finished, "--split", "test", "--format", "markdown")
    lines = [line for line in outcome.out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert not any(" val " in line for line in lines)


def test_what_is_left_out_is_said(finished: Path, call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "configs").symlink_to(finished / "teacher" / "configs")
    outcome = call(finished, tmp_path)
    assert outcome.code == 0
    assert f"Note: {tmp_path / 'stopped'} is left out" in outcome.err
    alone = call(tmp_path)
    assert alone.code == 2
    assert "no experiment has scores" in alone.err


def test_a_search_is_said_to_be_one(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "search.json").write_text("{}")
    outcome = call(finished, tmp_path / "tuned")
    assert outcome.code == 2
    assert f"{tmp_path / 'tuned'} is an unfinished search" in outcome.err
    shutil.copytree(finished, tmp_path / "tuned" / "tuned0")
    (tmp_path / "tuned" / "best_parameters.yaml").write_text("best_sub_experiment_name: tuned0")
    outcome = call(tmp_path)
    assert outcome.code == 0
    assert f"Note: {tmp_path / 'tuned'} is a search; only its best trial tuned0" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "ExperimentError: there is no folder missing"),
        (["{finished}", "--out", "table.doc"], "ConfigError: --out is table.doc; expected"),
        (["{finished}", "--out", "no/where.md"], "cannot be written; expected"),
    ],
)
def test_mistakes_give_exit_code_2(
    words: list[str], message: str, finished: Path, call: Callable[..., Any]
) -> None:
    outcome = call(*(word.format(finished=finished) for word in words))
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
