"""What an experiment is does not depend on which keys its config happens to hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.stages.kinds import (
    PLAIN,
    SavedStage,
    identify_experiment,
    parse_stage_name,
    planned_experiments,
    row_name,
    stage_name,
    students_of,
)

STUDENT: dict[str, Any] = {"api_parser": {"APISladeStudent": {}}, "trainer": {"SladeStudent": {}}}
TEACHER: dict[str, Any] = {"api_parser": {"BaseAPIParser": {}}, "trainer": {"MetricLossOnly": {}}}
OWN_IMAGES = {"pseudo_labels": {"num_clusters": None}, "teacher_experiment": None, "pipeline": {}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rounds."""
    names = ["teacher", "student", "round2/student", "baseline"]
    for name in [*names, "mine"]:
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "pipeline.json").write_text(
        json.dumps({"plan": {name: {} for name in names}})
    )
    return tmp_path / "run"


@pytest.mark.parametrize("extra", [{}, OWN_IMAGES], ids=["embedded data", "own images"])
def test_the_stages_of_a_run(run: Path, extra: dict[str, Any]) -> None:
    """Whatever their configs hold, and from a relative path, too."""
    for name, kind, number in (
        ("teacher", "teacher", 1),
        ("student", "student", 1),
        ("round2/student", "student", 2),
        ("baseline", "baseline", 1),
    ):
        config = (STUDENT if kind == "student" else TEACHER) | extra
        found = identify_experiment(run / name, config)
        assert found == SavedStage(kind, number, run)
        assert found.name == name
        assert found.is_student is (kind == "student")
    assert identify_experiment(run / "student" / ".." / "teacher", STUDENT).kind == "teacher"


@pytest.mark.parametrize("extra", [{}, OWN_IMAGES], ids=["embedded data", "own images"])
def test_experiments_outside_a_run(run: Path, tmp_path: Path, extra: dict[str, Any]) -> None:
    """Also beside the stages of a run, where its plan does not name them."""
    for folder in (tmp_path / "alone", run / "mine"):
        assert identify_experiment(folder, TEACHER | extra) == SavedStage(PLAIN)
        assert identify_experiment(folder, STUDENT | extra) == SavedStage("student")
        assert identify_experiment(folder, STUDENT | extra).name == ""


@pytest.mark.parametrize("parser", [None, {}, {"APIMine": {}}])
def test_the_trainer_names_the_students_api_parser(tmp_path: Path, parser: Any) -> None:
    assert identify_experiment(tmp_path, STUDENT | {"api_parser": parser}).is_student
    assert identify_experiment(tmp_path, TEACHER | {"api_parser": parser}).kind == PLAIN
    assert identify_experiment(tmp_path, {}).kind == PLAIN


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"plan": 3}'])
def test_a_damaged_plan_is_named(run: Path, damage: str) -> None:
    (run / "pipeline.json").write_text(damage)
    with pytest.raises(ExperimentError, match=r"pipeline\.json cannot be read"):
        identify_experiment(run / "student", STUDENT)


def test_the_plan_is_in_order(run: Path) -> None:
    assert planned_experiments(run) == ["teacher", "student", "round2/student", "baseline"]


def test_students_in_the_order_of_their_rounds(run: Path, tmp_path: Path) -> None:
    assert students_of(run) == [run / "student", run / "round2" / "student"]
    assert students_of(tmp_path / "none") == []


def test_names_of_stages() -> None:
    assert stage_name("student") == "student"
    assert stage_name("student", 2) == "round2/student"
    assert [row_name("student", number, 2) for number in (1, 2)] == ["student_round1", "student"]
    assert parse_stage_name("baseline") == ("baseline", 1)
    assert parse_stage_name("round12/pseudo_labels") == ("pseudo_labels", 12)
    for wrong in ("", "a/b", "round/student", "round2/"):
        with pytest.raises(ExperimentError, match="is not the name of a stage"):
            parse_stage_name(wrong)
