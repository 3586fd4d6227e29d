"""`slade-bench leaderboard` over real runs: ours, a student's, and the host's own."""

import csv
import io
import json
import logging
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner

from slade_plugin.config.composition import config_root
from slade_plugin.data.datasets import Glyphs
from slade_plugin.method.models import conv4
from tests.browser import look_at
from tests.host_parts import HOST_PARTS

pytestmark = pytest.mark.slow

MAP_AT_R = "mean_average_precision_at_r"


def run_host(flags: str, dataset_root: Path, root: Path) -> None:
    """Runs the host's own runner, which knows nothing of us but the data set and the trunk."""
    level = logging.getLogger().level
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()):
        patch.setattr(sys, "argv", ["run.py", *flags.split()])
        runner = SingleExperimentRunner(
            dataset_root=str(dataset_root),
            root_experiment_folder=str(root),
            root_config_folder=str(config_root()),
        )
        runner.register("dataset", Glyphs)
        runner.register("model", conv4)
        runner.run()
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="module")
def call(bench: Any) -> Callable[..., Any]:
    return lambda *words: bench.run_words([*map(str, words)])


@pytest.fixture(scope="module")
def board(bench: Any, call: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three records of two runs each; read only."""
    root = tmp_path_factory.mktemp("board")
    plain = f"--config_loss [default, contrastive] {bench.tiny()} {HOST_PARTS} --seed~DELETE~ {{}}"
    for seed in (0, 1):
        flags = f"{bench.tiny_student()} --pipeline {{baseline: false}} --seed {seed}"
        outcome = bench(flags, root=root)
        assert outcome.code == 0, outcome.err
        for flags in (plain, "--evaluate --splits_to_eval [test]"):
            run_host(f"{flags} --experiment_name host{seed}", bench.dataset_root, root)
    for name, pattern in (
        ("host", "host*"), ("teacher", "slade_seed*/teacher"), ("slade", "slade_seed*/student"),
    ):  # fmt: skip
        words = ["--budget", "0 trials: no tuning", "--dataset_root", bench.dataset_root]
        words += ["--name", name]
        outcome = call("record", root / pattern, root / "board" / name, *words)
        assert outcome.code == 0, outcome.err
    (root / "board" / "README.md").write_text("not a record")
    return root / "board"


def test_a_check_writes_no_file(call: Callable[..., Any], tmp_path: Path) -> None:
    outcome = call("leaderboard", tmp_path, "--check", "--out", tmp_path / "board.md")
    assert outcome.code == 2
    assert f"--check writes no file, but --out is {tmp_path / 'board.md'}" in outcome.err


def test_the_host_s_own_record_is_ranked_beside_ours(
    board: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = call("leaderboard", board, "--check")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{board}: 3 records, all checks passed.\n"
    outs = [tmp_path / f"board.{suffix}" for suffix in ("html", "md", "csv")]
    outcome = call("leaderboard", board, *(word for out in outs for word in ("--out", out)))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    host = json.loads((board / "host" / "record.json").read_text())
    assert [run["seed"] for run in host["runs"]] == [None, None]
    assert [run["environment"] for run in host["runs"]] == [[], []]
    rows = list(csv.DictReader((tmp_path / "board.csv").read_text().splitlines()))
    ranked = [row for row in rows if row["rank"]]
    assert len({row["list"] for row in ranked}) == 1
    assert {row["method"]: row["of"] for row in ranked} == {
        "host": "baseline", "teacher": "teacher", "slade": "student",
    }  # fmt: skip
    for row in ranked:
        record = json.loads((tmp_path / row["record"]).read_text())
        scores = [
            score
            for run in record["runs"]
            for score in run["scores"]["test"]["separated"][MAP_AT_R].values()
        ]
        assert float(row[MAP_AT_R]) == pytest.approx(sum(scores) / 2)
    printed = call("leaderboard", board)
    assert printed.code == 0
    assert "## Glyphs, conv4, 16-d, one test set" in printed.out


def test_a_browser_sorts_it_without_a_network(
    board: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    """A click sorts by a column, upwards and downwards; a link leads to its record."""
    out = tmp_path / "board.html"
    assert call("leaderboard", board, "--out", out).code == 0

    def look(tab: Any) -> dict[str, Any]:
        def column(number: int) -> list[str]:
            cells = tab.locator(f"table >> nth=0 >> tbody tr td:nth-child({number})")
            return [str(text) for text in cells.all_inner_texts()]

        found = {"before": column(2)}
        for name in ("up", "down"):
            tab.locator("table >> nth=0 >> th button", has_text="method").click()
            found[name] = column(2)
        tab.locator("table >> nth=0 >> th button", has_text="P@1").click()
        found["scores"] = [float(text.split()[0]) for text in column(8)]
        found["links"] = tab.evaluate("[...document.links].map(a => a.getAttribute('href'))")
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            found[scheme] = tab.evaluate(
                "[document.body, document.querySelector('svg text')].map((e, i) => "
                "getComputedStyle(e)[i ? 'fill' : 'backgroundColor'])"
            )
        return found

    seen = look_at(out, look, tmp_path / "profile")
    assert sorted(seen["before"]) == seen["up"] == ["host", "slade", "teacher"]
    assert seen["down"] == seen["up"][::-1]
    assert seen["scores"] == sorted(seen["scores"])
    assert len(seen["links"]) == 3
    assert all((tmp_path / link).is_file() for link in seen["links"])
    assert seen["light"][0] == seen["dark"][1] == "rgb(255, 255, 255)"
    assert seen["light"][1] == "rgb(0, 0, 0)"


def test_every_problem_is_printed_and_gives_exit_code_2(
    board: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(board, tmp_path / "damaged"))
    (damaged / "teacher" / "results.csv").unlink()
    (damaged / "empty").mkdir()
    for words in (["--check"], ["--out", tmp_path / "board.md"]):
        outcome = call("leaderboard", damaged, *words)
        assert (outcome.code, outcome.out) == (2, "")
        assert "teacher: files are whole: results.csv is missing\n" in outcome.err
        assert "empty: " in outcome.err
        assert "2 of 4 records in" in outcome.err
    assert not (tmp_path / "board.md").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "there is no folder missing"),
        (["missing", "--out", "board.json"], "--out is board.json; expected a file that ends in"),
    ],
)
def test_mistakes_give_exit_code_2(
    words: list[str], message: str, call: Callable[..., Any]
) -> None:
    outcome = call("leaderboard", *words)
    assert outcome.code == 2
    assert message in outcome.err
