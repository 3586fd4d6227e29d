"""A run of stages: finished, stopped at any moment, resumed."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.stages.table import METRICS, read_experiment
from tests.pipeline_runs import (
    CLUSTER,
    FILES,
    PIPELINE,
    PSEUDO_LABELS,
    RECORDS,
    RESUME,
    SCHEMES,
    STATE,
    STEP,
    STUDENT_PARSER,
    TESTER,
    assert_equal_experiments,
    assert_equal_rounds,
    raise_at,
    state,
    table,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_table_holds_what_the_experiments_recorded(finished: Path) -> None:
    rows = table(finished)
    for stage in ("teacher", "student", "baseline"):
        recorded = read_experiment(finished / stage, ["val", "test"])
        for split in ("val", "test"):
            for metric in METRICS:
                found = {
                    row["split_scheme"]: row[metric]
                    for row in rows
                    if (row["experiment"], row["split"]) == (stage, split)
                }
                mean = found.pop("mean")
                assert found == recorded[split][metric]
                assert sorted(found) == SCHEMES
                assert mean == pytest.approx(sum(found.values()) / 2)


def test_two_runs_of_one_seed_are_the_same_and_another_seed_is_not(
    bench: Any, finished: Path, command: str, tmp_path: Path
) -> None:
    for seed, equal in ((0, True), (1, False)):
        assert bench(f"{command} --seed {seed}", root=tmp_path).code == 0
        again = tmp_path / f"slade_seed{seed}"
        assert (bench.records(again) == bench.records(finished)) is equal
        assert (bench.tensors(again) == bench.tensors(finished)) is equal
        assert (table(again) == table(finished)) is equal
    ids = [(f / "pseudo_labels" / f"{SCHEMES[0]}.npy").read_bytes() for f in (again, finished)]
    assert ids[0] != ids[1]


def test_a_finished_pipeline_is_not_run_again(
    bench: Any, copied: Path, command: str, trained: list[Any]
) -> None:
    before = bench.snapshot(copied)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert trained == []
    assert outcome.out.count("already done") == 4
    after = bench.snapshot(copied)
    changed = {name for name in before if before[name] != after.get(name)}
    assert {name.split("/")[0] for name in changed} == {"pipeline.json", "results"}
    assert len(state(copied)["environment"]) == 2


def test_a_taken_folder_is_refused(bench: Any, copied: Path, command: str) -> None:
    before = bench.snapshot(copied)
    outcome = bench(command, root=copied.parent)
    assert outcome.code == 2
    assert "slade_seed0 is taken" in outcome.err
    assert bench.snapshot(copied) == before


# What is called the n-th time when Control-C comes, and what is done by then. Teacher and student
# train two split schemes for two epochs of two steps each: 8 steps and 4 evaluations a stage.
MOMENTS = [
    ("slade_plugin.stages.student.Student.check", 1, []),
    (f"{STATE}.RunState.save", 1, []),
    ("powerful_benchmarker.utils.common_functions.write_yaml", 3, []),
    (STEP, 1, []),
    (STEP, 4, []),  # epoch 2 of the first scheme
    (STEP, 5, []),  # epoch 1 of the second scheme
    (RECORDS, 2, []),
    (f"{FILES}.save_state", 2, []),  # of best0
    (f"{FILES}.save_state", 8, []),  # of epoch 1
    (f"{FILES}.delete", 1, []),
    (TESTER, 5, []),  # the first evaluation on test, after training
    (f"{STATE}.RunState.save", 2, []),
    (CLUSTER, 2, ["teacher"]),
    ("slade_plugin.host.testers.SladeTester.embed_pool", 1, ["teacher"]),
    (f"{STUDENT_PARSER}.atomic_write", 2, ["teacher", "pseudo_labels"]),
    ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 3, ["teacher", "pseudo_labels"]),
    ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 8, ["teacher", "pseudo_labels"]),
    (f"{PIPELINE}.write_tables", 1, ["teacher", "pseudo_labels", "student"]),
]


@pytest.mark.parametrize(("target", "call", "done"), MOMENTS)
def test_stopped_at_any_moment_it_goes_on_to_the_same_end(
    target: str,
    call: int,
    done: list[str],
    bench: Any,
    finished: Path,
    short: str,
    trained: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, KeyboardInterrupt)
        outcome = bench(short, root=tmp_path)
    assert came()
    assert outcome.code == 130
    assert "Rerun the same command with --resume_training latest to resume." in outcome.err
    assert "Traceback" not in outcome.err
    folder = tmp_path / "slade_seed0"
    assert not (folder / "results").exists()
    if is_pipeline_folder(folder):
        assert [s for s, e in state(folder)["stages"].items() if e.get("done")] == done
    before = {n: f for n, f in bench.snapshot(folder).items() if n.split("/")[0] in done}
    trained.clear()

    outcome = bench(short, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    rest = [s for s in ("teacher", "student") if s not in done]
    assert trained == [(s, what) for s in rest for what in ("train", "evaluate")]
    after = bench.snapshot(folder)
    assert {name: after[name] for name in before} == before
    assert sorted(state(folder)["stages"]) == ["pseudo_labels", "student", "teacher"]

    assert table(folder) == [row for row in table(finished) if row["experiment"] != "baseline"]
    for stage in ("teacher", "student"):
        assert_equal_experiments(bench, folder / stage, finished / stage)
    left = [n for n in after if n.endswith((".part", ".tmp")) or ".embeddings." in n]
    assert left == []


def test_killed_for_good_it_goes_on(bench: Any, tmp_path: Path) -> None:
    """SIGKILL to a process of its own, once the teacher has saved its first epoch."""
    command = bench.tiny_student(schemes=1, epochs=6, iterations=1)
    command += " --pipeline {baseline: false}"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    flags = [*command.split(), "--root_experiment_folder", str(killed),
             "--dataset_root", str(bench.dataset_root)]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "run.py", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = killed / "slade_seed0"
    models = folder / "teacher" / SCHEMES[0] / "saved_models"
    try:
        while process.poll() is None and not any(models.glob("trunk_[0-9]*.pth")):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert state(folder)["stages"] == {}  # nor what it took: nothing of ours could run
    folder = folder.rename(killed / "renamed")
    outcome = bench(command, RESUME, "--experiment_name renamed", root=killed)
    assert outcome.code == 0, outcome.err
    assert bench(command, root=whole).code == 0
    for stage in ("teacher", "student"):
        assert_equal_experiments(bench, folder / stage, whole / "slade_seed0" / stage)
    assert table(folder) == table(whole / "slade_seed0")
    name = f"{SCHEMES[0]}/saved_csvs/logs.db: loss_histories"
    rows = bench.records(folder / "teacher")[name]
    assert len(rows) == 6  # no step is missing or counts twice
    assert {row["experiment"] for row in table(folder)} == {"teacher", "student"}


@pytest.mark.parametrize(
    ("target", "call", "error", "message"),
    [
        ("slade_plugin.base.files.os.replace", 3, OSError(errno.ENOSPC, "No space left on device"),
         "No space left on device"),
        (f"{FILES}.save_state", 4, OSError(errno.ENOSPC, "No space left on device"),
         ".pth: No space left on device. Expected free space"),
        ("powerful_benchmarker.utils.common_functions.write_yaml", 2,
         OSError(errno.ENOSPC, "No space left on device", "x.yaml"),
         "configs: No space left on device"),
        ("record_keeper.db_utils.DBManager.execute", 9,
         sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
    ],
    ids=["atomic write", "checkpoint", "config", "database"],
)  # fmt: skip
def test_a_full_disk_is_one_message_and_nothing_is_lost(
    target: str, call: int, error: Exception, message: str, bench: Any, tmp_path: Path
) -> None:
    command = bench.tiny_student()
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, error)
        outcome = bench(command, root=tmp_path)
    assert came()
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    outcome = bench(command, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert table(tmp_path / "slade_seed0")


def test_the_first_round_is_a_run_of_one_round(
    bench: Any, two_rounds: Path, rounds: str, tmp_path: Path
) -> None:
    flags = rounds.replace("--rounds 2", "--pipeline {baseline: false}")
    assert bench(flags, root=tmp_path).code == 0
    one = tmp_path / "slade_seed0"
    for stage in ("teacher", "student"):
        assert bench.tensors(two_rounds / stage) == bench.tensors(one / stage)
        assert bench.records(two_rounds / stage) == bench.records(one / stage)
    assert sorted(p.name for p in two_rounds.iterdir()) == [
        "baseline", "pipeline.json", "pseudo_labels", "results", "round2", "student", "teacher",
    ]  # fmt: skip
    assert sorted(p.name for p in (two_rounds / "round2").iterdir()) == ["pseudo_labels", "student"]


def test_the_table_has_a_row_a_round(two_rounds: Path) -> None:
    rows = table(two_rounds)
    order = list(dict.fromkeys(row["experiment"] for row in rows))
    assert order == ["baseline", "teacher", "student_round1", "student"]
    for row, folder in (("student_round1", "student"), ("student", "round2/student")):
        recorded = read_experiment(two_rounds / folder, ["val", "test"])
        for found in (r for r in rows if r["experiment"] == row and r["split_scheme"] != "mean"):
            for metric in METRICS:
                assert found[metric] == recorded[found["split"]][metric][found["split_scheme"]]
    assert "| student, round 1 " in (two_rounds / "results" / "table.md").read_text()


# Teacher and students take four steps each, the baseline twelve.
@pytest.mark.parametrize(
    ("target", "call", "done"),
    [
        (f"{STATE}.RunState.save", 4, ["teacher", "pseudo_labels"]),
        (CLUSTER, 2, ["teacher", "pseudo_labels", "student"]),
        (f"{PSEUDO_LABELS}.compare_with_last_round", 1, ["teacher", "pseudo_labels", "student"]),
        (f"{STUDENT_PARSER}.atomic_write", 3,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 6,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 8,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        (STEP, 20,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels", "round2/student"]),
    ],
)  # fmt: skip
def test_stopped_in_any_round_it_goes_on_to_the_same_end(
    target: str,
    call: int,
    done: list[str],
    bench: Any,
    two_rounds: Path,
    rounds: str,
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, KeyboardInterrupt)
        assert bench(rounds, root=tmp_path).code == 130
    assert came()
    folder = tmp_path / "slade_seed0"
    assert [s for s, e in state(folder)["stages"].items() if e.get("done")] == done
    outcome = bench(rounds, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert_equal_rounds(bench, folder, two_rounds)


def test_a_round_can_be_evaluated_by_name(bench: Any, two_rounds: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_rounds, tmp_path / two_rounds.name)
    evaluate = "--evaluate --splits_to_eval [train]"
    outcome = bench(f"--experiment_name slade_seed0 {evaluate}", root=tmp_path)
    assert outcome.code == 2
    for name in ("baseline", "round2/student", "student", "teacher"):
        assert f"--experiment_name slade_seed0/{name}" in outcome.err
    outcome = bench(f"--experiment_name slade_seed0/round2/student {evaluate}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert any(name.endswith("_TRAIN") for name in bench.records(folder / "round2" / "student"))


def test_unwritable_folder(bench: Any, command: str, tmp_path: Path) -> None:
    """As root everything can be written, so a file stands where a folder should be."""
    (tmp_path / "experiments").touch()
    outcome = bench(command, root=tmp_path / "experiments")
    assert outcome.code == 2
    assert "experiments is not a writable folder" in outcome.err
    assert os.listdir(tmp_path) == ["experiments"]
