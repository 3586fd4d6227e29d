import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.experiments.leaderboard import checks
from slade_plugin.experiments.leaderboard.checks import check_record, read_records
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.record import write_record

Change = Callable[[Path, Callable[[dict[str, Any]], None]], None]


@pytest.fixture(scope="module")
def written(write_made: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of two records. Read only."""
    folder = tmp_path_factory.mktemp("board")
    for name in ("a", "b"):
        write_made(folder / name)
    (folder / "README.md").write_text("beside them")
    return folder


@pytest.fixture
def board(written: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(written, tmp_path / "board"))


def test_records_without_problems_are_read(written: Path) -> None:
    records, problems = read_records(written)
    assert problems == {}
    assert [(p.name, r["method"]) for p, r in records.items()] == [("a", "a"), ("b", "b")]


def test_an_empty_folder_is_a_leaderboard_and_a_missing_one_is_not(tmp_path: Path) -> None:
    assert read_records(tmp_path) == ({}, {})
    with pytest.raises(ExperimentError, match=r"no folder .*; expected one with records"):
        read_records(tmp_path / "missing")


def first(record: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = record["runs"][0]
    return run


TRIAL = {"values": {"rate": "0.1"}, "seed": 100, "score": 30.0}
SCHEME = "Test50_50_Partitions4_0"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda r: r.update(budget=None), "effort of tuning is not stated"),
        (lambda r: r["budget"].update(split="test"), "was chosen on test; expected val"),
        (lambda r: r["budget"].update(tried=[TRIAL]), "lists 1 trials and states 12"),
        (
            lambda r: r["budget"].update(trials=1, tried=[TRIAL | {"seed": 1}]),
            r"trials and runs share the seeds \[1\]",
        ),
        (lambda r: r["runs"].pop(), "it has 1 run; expected 2 or more"),
        (lambda r: r["runs"][1].update(seed=0), r"seeds are \[0, 0\]; expected each once"),
        (lambda r: r["protocol"].update(trunk=None), "its protocol lacks trunk"),
        (lambda r: first(r)["data"].update(labeled="other"), "different labeled images"),
        (
            lambda r: first(r)["classes"][SCHEME]["test"].update(sha256=64 * "0"),
            "different test classes; expected new ones only for each seed",
        ),
        (
            lambda r: r["protocol"]["splits"].update(split_manager={"M": {"shuffle": True}}),
            "drawn without a random_seed",
        ),
        (
            lambda r: first(r)["validation"][SCHEME].update({"1": 99.0}),
            "seed0: Test50_50_Partitions4_0: its model is of epoch 2, but epoch 1 is better on val",
        ),
        (lambda r: first(r)["validation"].pop(SCHEME), "epoch 2, which was not validated"),
        (lambda r: first(r)["scores"].pop("val"), "no MAP@R on val"),
        (lambda r: first(r)["classes"].pop(SCHEME), f"no classes of {SCHEME}"),
        (
            lambda r: first(r)["scores"]["test"]["separated"]["r_precision"].update({SCHEME: 1.0}),
            "MAP@R is above R-precision",
        ),
    ],
)
def test_what_speaks_against_a_record(
    edit: Callable[[dict[str, Any]], None], message: str, written: Path
) -> None:
    record = checks.read_record(written / "a")
    assert list(check_record(written / "a", record)) == []
    edit(record)
    (text,) = check_record(written / "a", record)
    assert re.search(message, text)


def test_an_untrained_model_is_never_the_best(written: Path) -> None:
    """The host may keep epoch 0, whose score on val does not count."""
    record = checks.read_record(written / "a")
    weights = first(record)["weights"][SCHEME]
    weights["trunk_best0.pth"] = weights.pop("trunk_best2.pth")
    first(record)["validation"][SCHEME]["0"] = 99.0
    (text,) = check_record(written / "a", record)
    assert "its model is of epoch 0, which was not validated while training" in text


@pytest.mark.parametrize(
    "config",
    [
        {"hook_container": {"HookContainer": {"validation_split_name": "test"}}},
        {"aggregator": {"MeanAggregator": {"split_to_aggregate": "test"}}},
    ],
)
def test_a_choice_by_test_scores_is_found_in_the_configs(
    config: dict[str, Any], write_made: Callable[..., Path], tmp_path: Path
) -> None:
    write_made(tmp_path / "board" / "peeking", **config)
    _, problems = read_records(tmp_path / "board")
    texts = problems[tmp_path / "board" / "peeking"]
    assert len(texts) == 2  # one of each run
    assert "experiments/seed0: seed0/configs choose by test" in texts[0]


def test_a_teacher_chosen_by_test_scores_is_found(
    finished: Path, bench: Any, tmp_path: Path
) -> None:
    """Also if the student's own config is right."""
    write_record(read_method(str(finished / "student")), tmp_path / "r", bench.dataset_root)
    path = tmp_path / "r" / "experiments" / "seed0" / "teacher" / "configs" / "config_eval.yaml"
    text = path.read_text().replace("split_name: val", "split_name: test")
    path.write_text(text)
    texts = list(check_record(tmp_path / "r", checks.read_record(tmp_path / "r")))
    assert any("teacher/configs choose by test (hook_container" in text for text in texts)


def test_damage_is_reported_by_the_checks_of_a_record(board: Path, change: Change) -> None:
    (board / "a" / "results.csv").write_text("Method\nbetter\n")
    (board / "broken").mkdir()
    records, problems = read_records(board)
    assert [path.name for path in records] == ["b"]
    assert problems[board / "a"] == [
        "files are whole: results.csv has changed",
        "results.csv agrees with the record: it differs",
    ]
    assert "record.json cannot be read" in problems[board / "broken"][0]


def test_large_files_do_not_belong_into_a_record(board: Path, change: Change) -> None:
    (board / "a" / "trunk.pth").write_bytes(bytes(checks.LARGEST))
    digest = sha256_of_file(board / "a" / "trunk.pth")
    change(board / "a", lambda record: record["files"].update({"trunk.pth": digest}))
    ((path, (text,)),) = read_records(board)[1].items()
    assert path.name == "a"
    assert f"expected at most {checks.LARGEST}" in text


@pytest.mark.parametrize(("embedder", "number"), [("1", 1), ("2", 0)])
def test_methods_may_share_a_frozen_trunk(
    board: Path, change: Change, embedder: str, number: int
) -> None:
    trunk = first(checks.read_record(board / "a"))["weights"][SCHEME]["trunk_best2.pth"]
    for name, own in (("a", "1"), ("b", embedder)):
        files = {"embedder_best2.pth": own * 64, "trunk_best2.pth": trunk}
        change(board / name, lambda r, files=files: first(r)["weights"].update({SCHEME: files}))
    texts = read_records(board)[1].get(board / "b", [])
    assert len(texts) == number
    assert all("it has the models of a" in text for text in texts)


def test_a_record_counts_once(board: Path, change: Change) -> None:
    """The same runs under another name, or another method under the same name."""
    shutil.copytree(board / "a", board / "c")
    change(board / "b", lambda record: None)
    _, problems = read_records(board)
    assert problems == {
        board / "c": [
            "it has the models of a: the same runs, or settings without effect; expected models of "
            "its own",
            "a has the same title and protocol; expected another one (slade-bench record --name)",
        ]
    }
