"""The teacher: trained here, or given and checked."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from tests.pipeline_runs import (
    RESUME,
    SCHEMES,
    assert_equal_rounds,
    edit,
    raise_at,
    table,
    undo,
)


def test_the_teachers_loss_is_the_users_choice(bench: Any) -> None:
    flags = "--config_loss slade --teacher.config_loss triplet --teacher.loss_funcs~OVERRIDE~"
    stages = bench.stages(f"{flags} {{metric_loss: {{TripletMarginLoss: {{}}}}}}")
    for stage in ("teacher", "baseline"):
        assert list(stages[stage].loss_funcs["metric_loss"]) == ["TripletMarginLoss"]
    assert list(stages["student"].loss_funcs["metric_loss"]) == ["ContrastiveLoss"]


@pytest.mark.parametrize("value", ["null", "slade"])
def test_a_teacher_without_a_loss_of_its_own_is_refused(value: str, bench: Any) -> None:
    with pytest.raises(ConfigError, match="pipeline: teacher has no config_loss"):
        bench.stages(f"--config_loss slade --pipeline {{teacher: {{config_loss: {value}}}}}")


def test_a_given_teacher_is_used_and_never_written_to(
    bench: Any, finished: Path, command: str, trained: list[Any], tmp_path: Path
) -> None:
    given = finished / "teacher"
    before = bench.snapshot(given)
    outcome = bench(command, f"--teacher_experiment {given}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert [stage for stage, what in trained if what == "train"] == ["student", "baseline"]
    assert "[1/3] pseudo labels" in outcome.out
    assert bench.snapshot(given) == before
    folder = tmp_path / "slade_seed0"
    assert sorted(p.name for p in folder.iterdir()) == [
        "baseline", "pipeline.json", "pseudo_labels", "results", "student",
    ]  # fmt: skip
    # The same teacher gives the same student and baseline as when it was trained here.
    assert table(folder) == table(finished)
    assert bench.tensors(folder / "student") == bench.tensors(finished / "student")


def test_a_given_teacher_may_be_named_by_a_relative_path(
    bench: Any, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    command = bench.tiny_student("slade_basis", schemes=2)
    flags = "--pipeline {baseline: false}"
    outcome = bench(command, flags, "--teacher_experiment teacher", root=tmp_path)
    assert outcome.code == 0, outcome.err
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "slade_basis_seed0" / "student" / "configs" / "config_general.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["teacher_experiment"] == str(finished / "teacher")


def other_letters(teacher: Path) -> None:
    edit(teacher / "configs" / "config_dataset.yaml", "letters_per_script: 8",
         "letters_per_script: 9")  # fmt: skip


def other_split(teacher: Path) -> None:
    edit(teacher / "configs" / "config_dataset.yaml", "test_start_idx: 0.5", "test_start_idx: 0.25")


def no_best(teacher: Path) -> None:
    for path in (teacher / SCHEMES[1]).rglob("*_best[1-9].*"):
        path.unlink()


def half_a_model(teacher: Path) -> None:
    for path in (teacher / SCHEMES[1]).rglob("embedder_best[1-9].pth"):
        path.write_bytes(path.read_bytes()[:100])


def no_test_records(teacher: Path) -> None:
    for path in teacher.rglob("logs.db"):
        with closing(sqlite3.connect(path)) as database, database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%_TEST'")
            for (name,) in rows.fetchall():
                database.execute(f"DROP TABLE [{name}]")


def no_config(teacher: Path) -> None:
    (teacher / "configs" / "config_dataset.yaml").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_letters, "trained with another dataset: Glyphs/letters_per_script is 9 there and 8"),
        (other_split, "another split_manager: ClassDisjointSplitManager/test_start_idx is 0.25"),
        (no_best, "has no trained best model"),
        (half_a_model, "the teacher's embedder"),
        (no_test_records, "on test; expected one. Evaluate it: run.py"),
        (no_config, "configs/config_dataset.yaml cannot be read"),
        (shutil.rmtree, "there is no teacher in"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything(
    spoil: Callable[[Path], None],
    message: str,
    bench: Any,
    teacher: Path,
    command: str,
    trained: list[Any],
    tmp_path: Path,
) -> None:
    spoil(teacher)
    before = bench.snapshot(teacher)
    outcome = bench(command, f"--teacher_experiment {teacher}", root=tmp_path / "new")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert trained == []
    assert not (tmp_path / "new").exists()
    assert bench.snapshot(teacher) == before


def test_a_given_teacher_has_rounds_too(
    bench: Any, two_rounds: Path, rounds: str, tmp_path: Path
) -> None:
    """The same as when it was trained here, also after an interruption in the second round."""
    command = f"{rounds} --teacher_experiment {two_rounds / 'teacher'}"
    before = bench.snapshot(two_rounds / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        raise_at(
            patch, "slade_plugin.method.trainers.SladeStudent.calculate_loss", 7, KeyboardInterrupt
        )
        assert bench(command, root=tmp_path).code == 130
    outcome = bench(command, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "[4/5] student, round 2" in outcome.out
    assert_equal_rounds(bench, tmp_path / "slade_seed0", two_rounds)
    assert bench.snapshot(two_rounds / "teacher") == before


def test_a_damaged_teacher_is_named(bench: Any, copied: Path, command: str) -> None:
    undo(copied, "pseudo_labels", "student", "baseline")
    shutil.rmtree(copied / "pseudo_labels")
    (path,) = (copied / "teacher" / SCHEMES[0] / "saved_models").glob("trunk_best[1-9].pth")
    path.write_bytes(b"no model")
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"the teacher's trunk cannot be loaded: {path} cannot be read" in outcome.err
