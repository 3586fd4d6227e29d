"""The list of stages: order, folders, rows."""

from pathlib import Path

import pytest

from slade_plugin.stages.stages import Stage, later_students, list_stages, title_of_row


def names(
    rounds: int, teacher: bool = True, baseline: bool = True, self_supervised: bool = False
) -> list[str]:
    return [stage.name for stage in list_stages(rounds, teacher, baseline, self_supervised)]


def test_one_round_has_the_four_stages() -> None:
    assert names(1) == ["teacher", "pseudo_labels", "student", "baseline"]
    stages = list_stages(1, True, True)
    assert [stage.row for stage in stages] == names(1)
    assert [stage.is_experiment for stage in stages] == [True, False, True, True]
    assert [stage.title for stage in stages] == [
        "teacher", "pseudo labels", "student", "baseline (teacher's config, equally long)",
    ]  # fmt: skip


def test_later_rounds_have_folders_of_their_own() -> None:
    assert names(3) == [
        "teacher", "pseudo_labels", "student", "round2/pseudo_labels", "round2/student",
        "round3/pseudo_labels", "round3/student", "baseline",
    ]  # fmt: skip


@pytest.mark.parametrize("rounds", [1, 2])
def test_teacher_and_baseline_can_be_left_out(rounds: int) -> None:
    assert names(rounds, teacher=False) == names(rounds)[1:]
    assert names(rounds, baseline=False) == names(rounds)[:-1]


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_trunk_of_all_others_comes_first(rounds: int) -> None:
    assert names(rounds, self_supervised=True) == ["self_supervised", *names(rounds)]
    first = list_stages(rounds, True, True, self_supervised=True)[0]
    assert not first.is_experiment
    assert first.title == "self-supervised trunk"


def test_the_last_student_is_the_student() -> None:
    rows = [stage.row for stage in list_stages(3, True, True) if stage.kind == "student"]
    assert rows == ["student_round1", "student_round2", "student"]
    assert [title_of_row(row) for row in rows] == [
        "student, round 1",
        "student, round 2",
        "student",
    ]


def test_a_round_is_printed_where_there_are_several() -> None:
    titles = [stage.title for stage in list_stages(2, True, True)]
    assert titles == [
        "teacher", "pseudo labels, round 1", "student, round 1", "pseudo labels, round 2",
        "student, round 2", "baseline (teacher's config, equally long)",
    ]  # fmt: skip


def test_names_of_others_stay() -> None:
    assert title_of_row("mine") == "mine"
    assert title_of_row("baseline") == Stage("baseline").title


def test_later_students_by_round(tmp_path: Path) -> None:
    assert later_students(tmp_path) == {}
    for name in ("student", "round2/student", "round10/student", "round3/pseudo_labels"):
        (tmp_path / name).mkdir(parents=True)
    assert later_students(tmp_path) == {
        2: tmp_path / "round2" / "student",
        10: tmp_path / "round10" / "student",
    }
