"""A stage that is an experiment of the host: checked, trained, resumed."""

from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.stages.training import check_saves_models, check_scores
from tests.pipeline_runs import (
    RESUME,
    SCHEMES,
    undo,
)


def test_a_stage_that_saves_no_models_is_refused(bench: Any) -> None:
    flags = "--config_loss slade --hook_container~APPLY~2 {save_models: False}"
    for stage, args in bench.stages(flags).items():
        with pytest.raises(ConfigError, match=rf"{stage}: .*save_models is False"):
            check_saves_models(stage, args)


@pytest.mark.parametrize(
    ("tester", "message"),
    [
        (
            "accuracy_calculator: {AccuracyCalculator: {exclude: [r_precision]}}",
            "accuracy_calculator leaves out r_precision; expected the metrics of the table",
        ),
        (
            "accuracy_calculator: {AccuracyCalculator: {include: [precision_at_1, AMI]}}",
            "accuracy_calculator leaves out mean_average_precision_at_r, r_precision;",
        ),
        ("label_hierarchy_level: 1", "label_hierarchy_level is 1; expected 0"),
        ("label_hierarchy_level: [1, 2]", r"label_hierarchy_level is \[1, 2\]; expected 0"),
    ],
)
def test_a_stage_without_the_scores_of_the_table_is_refused(
    tester: str, message: str, bench: Any
) -> None:
    """Found only by the table, it would cost a whole training."""
    flags = f"--config_loss slade --every.tester~APPLY~2 {{{tester}}}"
    for stage, args in bench.stages(*flags.split()).items():
        with pytest.raises(ConfigError, match=rf"{stage}: tester\.\w+\.{message}"):
            check_scores(stage, args)


@pytest.mark.parametrize(
    "tester",
    [
        "accuracy_calculator: {AccuracyCalculator: {exclude: [AMI, NMI]}}",
        "label_hierarchy_level: all",
        "label_hierarchy_level: [0, 1]",
    ],
)
def test_other_choices_of_scores_are_taken(tester: str, bench: Any) -> None:
    flags = f"--config_loss slade --every.tester~APPLY~2 {{{tester}}}"
    for stage, args in bench.stages(*flags.split()).items():
        check_scores(stage, args)


def test_scores_are_checked_before_training(bench: Any, tmp_path: Path) -> None:
    exclude = "{accuracy_calculator: {AccuracyCalculator: {exclude: [r_precision]}}}"
    outcome = bench(f"{bench.tiny_student()} --tester~APPLY~2 {exclude}", root=tmp_path)
    assert outcome.code == 2
    assert "accuracy_calculator leaves out r_precision" in outcome.err
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("damage", [b"", b"a: b: c", b"[]"])
def test_a_damaged_config_of_a_stage_is_named(
    damage: bytes, bench: Any, copied: Path, command: str
) -> None:
    undo(copied, "student")
    (copied / "student" / "configs" / "config_loss.yaml").write_bytes(damage)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "the saved config " in outcome.err
    assert "student/configs/config_loss.yaml" in outcome.err


def test_a_damaged_checkpoint_is_named(bench: Any, copied: Path, command: str) -> None:
    undo(copied, "student", "baseline")
    path = copied / "student" / SCHEMES[1] / "saved_models" / "embedder_2.pth"
    path.write_bytes(path.read_bytes()[:-7])
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"CheckpointError: {path} is damaged" in outcome.err


def test_an_experiment_with_only_the_untrained_model_starts_anew(
    bench: Any, copied: Path, command: str, trained: list[Any]
) -> None:
    undo(copied, "baseline")
    for path in (copied / "baseline").rglob("*.pth"):
        if "best0" not in path.name:
            path.unlink()
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert trained == [("baseline", "train"), ("baseline", "evaluate")]
