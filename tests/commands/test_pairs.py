"""`slade-bench pairs` from the words of the command to the exit code."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline_runs import undo


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    root = ["--dataset_root", str(bench.dataset_root), "--batches", "3"]
    return lambda *words: bench("pairs", *map(str, words), *root, root=None)


def test_the_table_of_a_pipelines_student(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "pairs.md"
    outcome = call(finished, "--out", out)
    assert outcome.code == 0
    assert out.read_text(encoding="utf-8") == outcome.out
    assert outcome.out.startswith(f"## {finished}\n")
    assert "mean of 3 batches" in outcome.out
    rows = [line.split(" | ") for line in outcome.out.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {4}
    by_title = {row[0].strip("| "): row for row in rows}
    assert float(by_title["one pseudo label"][1]) > 0
    assert by_title["two pseudo labels"][2].endswith("%")
    assert call(finished / "student").out == outcome.out.replace(
        str(finished), str(finished / "student")
    )


def test_two_students_have_two_tables(finished: Path, call: Callable[..., Any]) -> None:
    outcome = call(finished, finished / "student")
    assert outcome.out.count("## ") == 2
    first, second = outcome.out.split(f"## {finished / 'student'}\n")
    assert first == f"## {finished}\n{second}\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--batches", "0"], "--batches is 0; expected 1 or more"),
        (["--seed", "-1"], "--seed is -1; expected 0 or more"),
        (["--split_scheme", "Other"], "no split scheme Other"),
        (["--out", "pairs.csv"], "expected a file that ends in .md"),
    ],
)
def test_mistakes_are_explained(finished: Path, bench: Any, words: list[str], text: str) -> None:
    root = ["--dataset_root", str(bench.dataset_root)]
    outcome = bench("pairs", str(finished), *root, *words, root=None)
    assert outcome.code == 2
    assert text in outcome.err


def test_a_folder_that_is_no_experiment(call: Callable[..., Any], tmp_path: Path) -> None:
    outcome = call(tmp_path)
    assert outcome.code == 2
    assert "is not an experiment" in outcome.err


def test_a_student_in_training_is_refused(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    undo(copied, "student")
    outcome = call(copied)
    assert outcome.code == 2
    assert "student is still being trained, or its run was stopped" in outcome.err
