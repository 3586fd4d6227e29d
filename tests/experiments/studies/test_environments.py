import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.environments import describe_runs, settings_to_markdown
from slade_plugin.experiments.studies.execution import execute
from slade_plugin.experiments.studies.plan import Run
from tests.study_runs import runs_of


@pytest.fixture(autouse=True)
def _fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_POLL_S", 0.005)


def rewrite(run: Run, **machine: Any) -> None:
    """Changes what a run has noted of its machine, and of a package."""
    path = run.experiment / "pipeline.json"
    state = json.loads(path.read_text())
    state["environment"][0]["machine"].update(machine)
    state["environment"][0]["packages"] |= {"timm": None, "lightly": "1.5"}
    path.write_text(json.dumps(state))


def test_the_environment_is_the_runs_own(tmp_path: Path, stub_runs: Any) -> None:
    """Not that of the process that writes the report: the code may have changed in between.

    The stub notes no CPU, as older runs did not.
    """
    runs = runs_of(tmp_path, 0, 2)
    execute(runs, program=stub_runs.program)
    expected = {
        "slade-plugin": ["9.9"],
        "commit": ["commit0", "commit2"],
        "Python": ["3.1"],
        "torch": ["1.2.3"],
        "threads a run": ["1"],
        "machine": ["2 cores abacus, GPU None"],
    }
    assert describe_runs(runs) == expected
    rewrite(runs[0], cpu="Beads 7", torch_threads=4)
    assert describe_runs(runs) == expected | {
        "lightly": ["1.5"],  # timm is not installed
        "threads a run": ["1", "4"],
        "machine": ["2 cores abacus (Beads 7), GPU None", "2 cores abacus, GPU None"],
    }


def test_each_setting_has_its_flags_and_commits() -> None:
    """Of one that is not finished no commit is known; equal threads are no column."""
    found = {
        "whole": {
            "commit": ["0123456789abcdef", "fedcba9876543210+changes"],
            "threads a run": ["1"],
        },
        "installed": {"threads a run": ["1"]},
        "low": {},
    }
    flags = {"whole": "--a 'b c'", "installed": "--a", "low": "--b"}
    assert settings_to_markdown(flags, found).splitlines() == [
        "| setting | flags of run.py | commit |",
        "| --- | --- | --- |",
        "| whole | `--a 'b c'` | 0123456789, fedcba9876+changes |",
        "| installed | `--a` |  |",
        "| low | `--b` |  |",
    ]
    found["installed"]["threads a run"] = ["1", "2"]
    lines = settings_to_markdown(flags, found).splitlines()
    assert lines[0] == "| setting | flags of run.py | commit | threads a run |"
    assert lines[2].endswith("+changes | 1 |")
    assert lines[3] == "| installed | `--a` |  | 1, 2 |"
