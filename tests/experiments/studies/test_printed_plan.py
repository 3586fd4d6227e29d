import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.printed_plan import print_plan
from slade_plugin.experiments.studies.study import Setting, Study

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


def test_the_commands_are_those_of_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With paths below the working directory as one types them, and values in braces."""
    monkeypatch.chdir(tmp_path)
    titles = planned(tmp_path / "runs", "--dataset_root", "/d")
    print_plan(titles, probe=False)
    whole, k_9 = (f"runs/dots/seed3/{run.folder.name}" for run in titles)
    end = "--experiment_name experiment"
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "whole, seed 3",
        "    python run.py --config_loss slade --pipeline '{baseline: false}' --dataset_root /d "
        f"--seed 3 --root_experiment_folder {whole} {end}",
        "k_9, seed 3",
        "    python run.py --config_loss slade --pipeline '{baseline: false}' --pseudo_labels "
        f"'{{num_clusters: 9}}' --dataset_root /d --seed 3 --root_experiment_folder {k_9} {end} "
        f"--teacher_experiment {whole}/experiment/teacher",
    ]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    print_plan(titles, probe=False)
    assert f"--root_experiment_folder {tmp_path}/{whole} {end}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_can_be_pasted(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other; then the study finds its runs done."""
    monkeypatch.chdir(tmp_path)
    places = ["--dataset_root", str(bench.dataset_root)]
    titles = planned(tmp_path / "runs", *bench.tiny_student().split(), *places)
    print_plan(titles, probe=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "python run.py" in line]
    for line in lines:
        outcome = bench.run_words(shlex.split(line)[2:])
        assert outcome.code == 0, outcome.err
    assert len(lines) == 2
    assert all(run.finished for run in titles)


def test_a_given_teacher_costs_nothing_and_what_is_done_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = planned(tmp_path)
    whole, _ = titles
    print_plan(titles, probe=True)
    text = capsys.readouterr().out
    found = dict(re.findall(r"^(\w+), seed 3: about ([\d.]+) ", text, re.MULTILINE))
    assert 0 < float(found["k_9"]) < float(found["whole"])
    assert ("core hours (of " in text) != ("GPU hours (of " in text)
    whole.table.parent.mkdir(parents=True)
    whole.table.touch()
    print_plan(titles, probe=True)
    text = capsys.readouterr().out
    assert "whole, seed 3: done" in text
    assert "k_9, seed 3: about " in text


def test_images_of_one_s_own_have_no_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study("s", {"mine": ("--config_dataset", "folders")}, "whole", STUDY.settings[:1])
    runs = plan_runs(study, tmp_path, [0]).values()
    print_plan(dict.fromkeys(runs, "whole"), probe=True)
    text = capsys.readouterr().out
    assert "whole: unknown hours, since the sizes of its data sets" in text
    assert "All: " not in text


def test_a_mistake_is_named_before_anything_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="whole on dots: unknown flag or config key: --sed"):
        print_plan(planned(tmp_path, "--sed", "3"), probe=False)
    assert capsys.readouterr().out == ""
