"""A stage that is an experiment of the host: checked, trained, resumed."""

from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.stages.training import check_saves_models
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
