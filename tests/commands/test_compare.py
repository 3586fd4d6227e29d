"""`slade-bench compare` from the words of the command to the exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    return lambda *words: bench("compare", *map(str, words), root=None)


def test_a_real_student_against_its_baseline(
    finished: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    outs = [tmp_path / name for name in ("c.md", "c.json", "c.txt")]
    flags = [word for out in outs for word in ("--out", out)]
    outcome = call(finished / "student", finished / "base*", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "c.txt").read_text() == outcome.out
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["comparable"]
    assert (content["a"], content["b"]) == ("slade", "contrastive (baseline)")
    assert len(content["tests"]) == 2 * 3
    assert content["verdict"] in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{0}/student", "nothing*"], "nothing* matches nothing; expected"),
        (["{0}", "{0}/student"], "holds 3 methods: contrastive (baseline) ("),
        (["{0}/student", "{0}/teacher", "--out", "x.csv"], "--out is x.csv; expected"),
    ],
)
def test_mistakes_give_exit_code_2(
    words: list[str], message: str, finished: Path, call: Callable[..., Any]
) -> None:
    outcome = call(*(word.format(finished) for word in words))
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
