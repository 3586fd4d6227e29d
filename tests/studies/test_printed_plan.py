from pathlib import Path

import pytest

from slade_plugin.errors import ConfigError
from slade_plugin.studies.plan import Run, Setting, Study, plan_runs
from slade_plugin.studies.printed_plan import print_plan

STUDY = Study(
    "s",
    {"dots": ()},
    "whole",
    (
        Setting("whole", ("--config_loss", "slade"), own_teacher=True),
        Setting("k_9", ("--config_loss", "slade", "--pseudo_labels", "{num_clusters:", "9}")),
    ),
)


def planned(folder: Path, *extra: str) -> dict[Run, str]:
    runs = plan_runs(STUDY, folder, [3], extra)
    return {run: f"{run.setting}, seed {run.seed}" for run in runs.values()}


def test_the_commands_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    titles = planned(tmp_path / "runs", "--dataset_root", "d")
    assert print_plan(titles, probe=False) == {}
    first = next(iter(titles)).folder.name
    places = "--dataset_root d --seed 3"
    assert capsys.readouterr().out.splitlines() == [
        "whole, seed 3",
        f"    python run.py --config_loss slade --pipeline '{{baseline: false}}' {places}",
        "k_9, seed 3",
        "    python run.py --config_loss slade --pipeline '{baseline: false}' --pseudo_labels "
        "'{num_clusters: 9}' --dataset_root d --teacher_experiment "
        f"runs/dots/seed3/{first}/experiment/teacher --seed 3",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_given_teacher_costs_nothing_and_what_is_done_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = planned(tmp_path)
    whole, student = titles
    hours = print_plan(titles, probe=True)
    assert 0 < hours[student] < hours[whole]
    text = capsys.readouterr().out
    assert "whole, seed 3: about " in text
    assert ("core hours (of " in text) != ("GPU hours (of " in text)
    whole.table.parent.mkdir(parents=True)
    whole.table.touch()
    assert list(print_plan(titles, probe=True)) == [student]
    assert "whole, seed 3: done" in capsys.readouterr().out


def test_images_of_one_s_own_have_no_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study("s", {"mine": ("--config_dataset", "folders")}, "whole", STUDY.settings[:1])
    runs = plan_runs(study, tmp_path, [0]).values()
    assert print_plan(dict.fromkeys(runs, "whole"), probe=True) == {}
    assert "whole: unknown hours, since it is not known how many" in capsys.readouterr().out


def test_a_mistake_is_named_before_anything_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="whole on dots: --sed is no flag"):
        print_plan(planned(tmp_path, "--sed", "3"), probe=False)
    assert capsys.readouterr().out == ""
