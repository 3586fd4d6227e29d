import json
import sys
from pathlib import Path
from typing import Any

import pytest

from slade_plugin import cli
from slade_plugin.base.errors import DivergenceError
from slade_plugin.experiments.studies.evaluated_run import train_and_evaluate
from slade_plugin.experiments.studies.plan import MARKERS


@pytest.fixture(autouse=True)
def own_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program sets sys.argv for run.py; here it is put back."""
    monkeypatch.setattr(sys, "argv", [])


def words(bench: Any, flags: str, root: Path) -> list[str]:
    """Words of run.py for a run that is evaluated on test."""
    (root / "run.json").write_text('{"evaluation": "test"}')
    places = f"--dataset_root {bench.dataset_root} --root_experiment_folder {root}"
    return f"{flags} {places} --experiment_name experiment --seed 0".split()


def test_a_plain_run_goes_on_and_ends_with_all_scores(bench: Any, tmp_path: Path) -> None:
    """Stopped before its first checkpoint it begins anew; done, nothing is trained again."""
    (tmp_path / "experiment" / "configs").mkdir(parents=True)
    argv = words(bench, f"--config_loss fast_ap {bench.tiny(schemes=2)}", tmp_path)
    assert train_and_evaluate(argv, cli.main) == 0
    marker = json.loads((tmp_path / MARKERS["test"]).read_text())
    assert marker == {"experiments": ["experiment"]}
    tables = [name.partition(": ")[2] for name in bench.records(tmp_path / "experiment")]
    for split in ("VAL", "TEST"):
        assert [n for n in tables if n.startswith("ConcatenateEmb") and n.endswith(f"_{split}")]
    before = {p: t for p, t in bench.snapshot(tmp_path).items() if p.endswith(".pth")}
    assert before
    assert train_and_evaluate(argv, cli.main) == 0
    after = {p: t for p, t in bench.snapshot(tmp_path).items() if p.endswith(".pth")}
    assert after == before


def test_a_student_of_a_given_teacher_is_evaluated_alone(
    bench: Any, finished: Path, tmp_path: Path
) -> None:
    """Its teacher's run evaluates the teacher."""
    flags = bench.tiny_student(schemes=2, epochs=2, iterations=2) + " --pipeline {baseline: false}"
    argv = words(bench, f"{flags} --teacher_experiment {finished / 'teacher'}", tmp_path)
    assert train_and_evaluate(argv, cli.main) == 0
    marker = json.loads((tmp_path / MARKERS["test"]).read_text())
    assert marker == {"experiments": ["experiment/student"]}


def test_of_several_rounds_the_teacher_and_the_last_student_are_evaluated(
    bench: Any, tmp_path: Path
) -> None:
    argv = words(bench, "", tmp_path)
    stages = ["teacher", "student", "round2/student"]
    for stage in stages:
        (tmp_path / "experiment" / stage).mkdir(parents=True)
    plan = json.dumps({"plan": {stage: {} for stage in stages}})
    (tmp_path / "experiment" / "pipeline.json").write_text(plan)
    calls = []

    def run_py() -> int:
        calls.append(" ".join(sys.argv))
        return 0

    assert train_and_evaluate(argv, run_py) == 0
    marker = json.loads((tmp_path / MARKERS["test"]).read_text())
    assert marker == {"experiments": ["experiment/teacher", "experiment/round2/student"]}
    assert [c.split("--experiment_name ")[1].split()[0] for c in calls[1:]] == [
        *["experiment/teacher"] * 2, *["experiment/round2/student"] * 2,
    ]  # fmt: skip


def test_a_failed_run_is_not_evaluated(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(bench, "--config_loss fast_ap --num_epochs_train 0", tmp_path)
    assert train_and_evaluate(argv, cli.main) == 2
    assert "num_epochs_train is 0" in capsys.readouterr().err
    assert not (tmp_path / MARKERS["test"]).exists()


@pytest.mark.parametrize(("evaluation", "code"), [("val", 0), ("test", 3)])
def test_a_diverged_trial_is_done_and_another_run_has_failed(
    bench: Any, tmp_path: Path, evaluation: str, code: int
) -> None:
    argv = words(bench, "--config_loss fast_ap", tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"evaluation": evaluation}))
    assert train_and_evaluate(argv, lambda: DivergenceError.exit_code) == code
    marker = tmp_path / MARKERS[evaluation]
    assert marker.is_file() is (code == 0)
    assert code or json.loads(marker.read_text()) == {"diverged": True}
