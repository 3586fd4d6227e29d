from pathlib import Path
from typing import Any

from slade_plugin.host.hooks.live_progress import describe_accuracy


def test_an_experiment_prints_a_line_an_epoch(bench: Any, tmp_path: Path) -> None:
    flags = bench.tiny(schemes=2, epochs=3, iterations=2).replace(
        "--save_interval 1", "--save_interval 3"
    )
    outcome = bench("--config_loss contrastive", flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    lines = [line.strip() for line in outcome.out.splitlines() if "epoch" in line]
    assert len(lines) == 6
    assert lines[0].startswith("training: split scheme 1/2, epoch 1/3, loss ")
    assert "MAP@R" not in lines[0]
    assert "val MAP@R " in lines[2]
    assert "(best " in lines[2]
    assert "MAP@R" not in lines[3]  # another split scheme
    assert lines[5].startswith("training: split scheme 2/2, epoch 3/3, loss ")
    assert outcome.err == ""


def test_hooks_of_another_kind_say_nothing_of_accuracy() -> None:
    assert describe_accuracy(None, None) == ""
