import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.stage_seconds import seconds_to_markdown, stage_seconds


def finished_run(folder: Path, stages: dict[str, dict[str, Any]]) -> Run:
    run = Run(folder, "dots", 0, "whole", ())
    run.experiment.mkdir(parents=True)
    (run.experiment / "pipeline.json").write_text(json.dumps({"stages": stages}))
    return run


def test_mean_over_the_runs_in_the_order_of_the_stages(tmp_path: Path) -> None:
    runs = [
        finished_run(
            tmp_path / str(number),
            {
                "teacher": {"seconds": 99, "cpu_seconds": 10 + number},
                "pseudo_labels": {"cpu_seconds": 4},
                "round2/student": {"cpu_seconds": 20 + 3 * number},
            },
        )
        for number in range(3)
    ]
    found = stage_seconds(runs)
    assert found == pytest.approx({"teacher": 11, "pseudo_labels": 4, "round2/student": 23})
    assert list(found) == ["teacher", "pseudo_labels", "round2/student"]


def test_runs_of_an_earlier_version_noted_none(tmp_path: Path) -> None:
    assert stage_seconds([finished_run(tmp_path, {"teacher": {"seconds": 99}})]) == {}


def test_the_table_by_hand() -> None:
    text = seconds_to_markdown(
        {"rest": {"student": 100.4}, "whole": {"teacher": 60.0, "student": 140.0, "tail": 0.0}}
    )
    assert text.splitlines()[-4:] == [
        "| setting | teacher | student | tail | all |",
        "| --- | --- | --- | --- | --- |",
        "| rest |  | 100 (100%) |  | 100 |",
        "| whole | 60 (30%) | 140 (70%) |  | 200 |",
    ]


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path, {})
    (run.experiment / "pipeline.json").write_text("{")
    with pytest.raises(ExperimentError, match=r"pipeline\.json cannot be read: JSONDecodeError"):
        stage_seconds([run])
