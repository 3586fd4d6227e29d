import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slade_plugin.experiments.studies.lengths import row_lengths
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.stages.kinds import PLAIN


def run_in(folder: Path, teacher: Run | None = None) -> Run:
    return Run(folder, "dots", 0, "a", (), teacher=teacher)


def test_a_student_is_as_long_as_all_that_came_before_it(
    tmp_path: Path, write_plan: Callable[..., None]
) -> None:
    run = run_in(tmp_path)
    epochs = {"teacher": 20, "student": 10, "round2/student": 10, "baseline": 40}
    write_plan(run, epochs)
    assert row_lengths(run) == {
        "teacher": 2000,
        "student_round1": 3000,
        "student": 4000,
        "baseline": 4000,
    }


def test_a_given_teacher_counts_with_the_length_of_its_own_run(
    tmp_path: Path, write_plan: Callable[..., None]
) -> None:
    """Its run's other experiments do not."""
    first = run_in(tmp_path / "first")
    run = run_in(tmp_path / "run", first)
    write_plan(first, {"teacher": 60, "student": 20, "baseline": 80})
    write_plan(run, {"student": 40})
    assert row_lengths(run) == {"teacher": 6000, "student": 10000}


def test_epochs_of_other_steps_are_converted_as_for_the_baseline(
    tmp_path: Path, write_plan: Callable[..., None]
) -> None:
    """20 epochs of 100 and 3 of 50 steps are 22 epochs of 100, the last of them not full."""
    run = run_in(tmp_path)
    write_plan(run, {"teacher": 20, "student": 3, "baseline": 22}, {"student": 50})
    assert row_lengths(run) == {"teacher": 2000, "student": 2200, "baseline": 2200}


def test_a_plain_experiment_has_its_own_length(
    tmp_path: Path, make_experiment: Callable[..., Path]
) -> None:
    run = Run(tmp_path, "dots", 0, "a", (), plain=True)
    trainer = {"MetricLossOnly": {"iterations_per_epoch": 50}}
    make_experiment(run.experiment, {"val": (1, 2)}, num_epochs_train=60, trainer=trainer)
    assert row_lengths(run) == {PLAIN: 3000}


def test_a_plain_experiment_of_epochs_over_all_images_has_no_known_length(
    tmp_path: Path, make_experiment: Callable[..., Path]
) -> None:
    run = Run(tmp_path, "dots", 0, "a", (), plain=True)
    trainer = {"MetricLossOnly": {"iterations_per_epoch": None}}
    make_experiment(run.experiment, {"val": (1, 2)}, num_epochs_train=60, trainer=trainer)
    assert row_lengths(run) == {}


def test_the_lengths_of_a_real_run(finished: Path, tmp_path: Path) -> None:
    """Two epochs of two steps each, and a baseline that the pipeline made as long as both."""
    (tmp_path / "experiment").symlink_to(finished)
    assert row_lengths(run_in(tmp_path)) == {"teacher": 4, "student": 8, "baseline": 8}


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"student": {"config_general": {"num_epochs_train": 3}}},
        {"teacher": {"config_general": {"num_epochs_train": None, "trainer": {"A": {}}}}},
    ],
)
def test_where_a_plan_does_not_say_it_there_are_no_lengths(
    tmp_path: Path, plan: dict[str, object]
) -> None:
    run = run_in(tmp_path / "run", run_in(tmp_path / "gone"))
    for one in (run, run_in(tmp_path / "run")):
        one.experiment.mkdir(parents=True, exist_ok=True)
        (one.experiment / "pipeline.json").write_text(json.dumps({"plan": plan}))
        assert row_lengths(one) == {}
