"""The baseline is the teacher, trained as long as teacher and students."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from tests.pipeline_runs import (
    edit,
    steps,
)


def test_the_baseline_is_the_teacher_trained_as_long_as_both(bench: Any) -> None:
    """To the step, rounded up to the teacher's epochs."""
    flags = (
        "--config_loss slade --num_epochs_train 5 --save_interval 5 "
        "--trainer~APPLY~2 {iterations_per_epoch: 7}"
    )
    stages = bench.stages(f"{flags} --teacher.trainer~APPLY~2 {{iterations_per_epoch: 10}}")
    teacher, student, baseline = (stages[s] for s in ("teacher", "student", "baseline"))
    both = steps(teacher) + steps(student)
    assert both <= steps(baseline) < both + 10
    differing = {k for k in vars(teacher) if getattr(teacher, k) != getattr(baseline, k)}
    assert differing == {
        "num_epochs_train", "experiment_name", "experiment_folder", "place_to_save_configs",
        "dict_of_yamls",
    }  # fmt: skip


def test_the_shipped_lengths_are_the_teachers_and_the_students(bench: Any) -> None:
    stages = bench.stages("--config_loss slade")
    both = steps(stages["teacher"]) + steps(stages["student"])
    assert steps(stages["baseline"]) >= both


def test_the_baseline_follows_the_teacher_unless_told_otherwise(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --teacher.optimizers~APPLY~2 {Adam: {lr: 0.25}}")
    assert stages["baseline"].optimizers == stages["teacher"].optimizers
    stages = bench.stages("--config_loss slade --baseline.num_epochs_train 3")
    assert stages["baseline"].num_epochs_train == 3
    assert stages["teacher"].num_epochs_train != 3


def test_without_baseline(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --pipeline {baseline: false}")
    assert sorted(stages) == ["student", "teacher"]


def test_the_baseline_is_as_long_as_all_rounds(bench: Any) -> None:
    flags = "--config_loss slade --rounds 3 --num_epochs_train 7 --save_interval 7"
    stages = bench.stages(flags)
    together = steps(stages["teacher"]) + 3 * steps(stages["student"])
    assert steps(stages["baseline"]) == together
    assert sorted(bench.stages(flags, "--pipeline {baseline: false}")) == [
        "round2/student", "round3/student", "student", "teacher",
    ]  # fmt: skip


def test_an_endless_teacher_has_no_baseline(bench: Any) -> None:
    flags = "--config_loss slade --teacher.trainer~APPLY~2 {iterations_per_epoch: null}"
    with pytest.raises(ConfigError, match="iterations_per_epoch is None; expected integers"):
        bench.stages(flags)
    assert "teacher" in bench.stages(flags, "--pipeline {baseline: false}")


def test_the_baseline_of_a_given_teacher_is_trained_as_it_was(bench: Any, teacher: Path) -> None:
    """By its own saved config, not by the settings for a teacher of ours."""
    path = teacher / "configs" / "config_loss.yaml"
    saved = yaml.safe_load(path.read_text())
    saved["loss_funcs"] = {"metric_loss": {"TripletMarginLoss": {"margin": 0.3}}}
    path.write_text(yaml.safe_dump(saved))
    path.rename(path.with_name("config_loss_and_miners.yaml"))  # a teacher of the host's own
    edit(teacher / "configs" / "config_foldernames.yaml", "config_loss", "config_loss_and_miners")
    edit(teacher / "configs" / "config_general.yaml", "seed: 0\n", "")
    stages = bench.stages(f"--config_loss slade --teacher_experiment {teacher}")
    baseline = stages["baseline"]
    assert list(stages) == ["student", "baseline"]
    assert baseline.loss_funcs == {"metric_loss": {"TripletMarginLoss": {"margin": 0.3}}}
    assert steps(baseline) >= steps(stages["student"]) + 2 * 2  # its two epochs of two steps
    assert "config_loss_and_miners" in baseline.config_foldernames
    assert baseline.dict_of_yamls["config_general"]["num_epochs_train"] > 2
    command = bench.tiny_student(schemes=2, epochs=1)
    outcome = bench(command, f"--teacher_experiment {teacher}", root=teacher.parent)
    assert outcome.code == 0, outcome.err
    configs = teacher.parent / "slade_seed0" / "baseline" / "configs"
    assert "TripletMarginLoss" in (configs / "config_loss_and_miners.yaml").read_text()
    assert not (configs / "config_loss.yaml").exists()
