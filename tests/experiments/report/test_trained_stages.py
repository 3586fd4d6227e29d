import json
import shutil
from pathlib import Path

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.report.trained_stages import select_experiments


def test_a_folder_of_self_training_is_its_stages(finished: Path) -> None:
    shown, compared = select_experiments([finished])
    assert [e.folder.name for e in shown] == ["teacher", "student", "baseline"]
    assert [e.title for e in compared] == ["teacher", "student"]


def test_a_plain_experiment_stands_alone(finished: Path) -> None:
    shown, compared = select_experiments([finished / "baseline"])
    assert shown == compared
    assert [e.title for e in shown] == ["baseline"]


def test_two_folders_are_compared_by_their_last_students(finished: Path) -> None:
    shown, compared = select_experiments([finished / "baseline", finished])
    assert [e.folder for e in shown] == [finished / "baseline", finished / "student"]
    assert shown == compared
    assert [e.title for e in shown] == [f"{finished.name}/baseline", finished.name]


def test_two_folders_are_called_by_what_tells_them_apart(finished: Path, tmp_path: Path) -> None:
    names = ["contrastive_seed0/student", "slade_seed0/student"]
    for name in names:
        shutil.copytree(finished / "student", tmp_path / name)
    shown, _ = select_experiments([tmp_path / name for name in names])
    assert [e.title for e in shown] == names
    shown, _ = select_experiments([finished / "baseline", finished / "student"])
    assert [e.title for e in shown] == ["baseline", "student"]


def test_the_student_of_the_last_round_is_compared(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rounds"
    ignore = shutil.ignore_patterns("*.npy", "tensorboard_logs")
    shutil.copytree(finished, folder, ignore=ignore)
    state = json.loads((folder / "pipeline.json").read_text())
    for number in (2, 10):
        shutil.copytree(folder / "student", folder / f"round{number}" / "student")
        state["plan"][f"round{number}/student"] = {}
    (folder / "pipeline.json").write_text(json.dumps(state))
    shown, compared = select_experiments([folder])
    titles = ["teacher", "student, round 1", "student, round 2", "student, round 3"]
    assert [e.title for e in shown][:4] == titles
    assert compared[1].folder == folder / "round10" / "student"


def test_a_teacher_that_was_given_is_found(finished: Path, tmp_path: Path) -> None:
    """The student's config says where it lay; without it there is nothing to compare with."""
    folder = tmp_path / "given"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("teacher"))
    general = folder / "student" / "configs" / "config_general.yaml"
    given = f"teacher_experiment: {finished / 'teacher'}"
    general.write_text(general.read_text().replace("teacher_experiment: ../teacher", given))
    shown, _ = select_experiments([folder])
    assert shown[0].folder == finished / "teacher"
    general.write_text(general.read_text().replace(str(finished / "teacher"), "gone"))
    _, compared = select_experiments([folder])
    assert [e.title for e in compared] == ["student"]


def test_a_teacher_is_found_in_a_config_of_any_area(finished: Path, tmp_path: Path) -> None:
    """A config root may have other areas than ours."""
    folder = tmp_path / "other"
    shutil.copytree(finished, folder)
    configs = folder / "student" / "configs"
    (configs / "config_general.yaml").rename(configs / "config_other.yaml")
    names = configs / "config_foldernames.yaml"
    names.write_text(names.read_text().replace("config_general", "config_other"))
    shown, _ = select_experiments([folder])
    assert [e.folder.name for e in shown] == ["teacher", "student", "baseline"]


def test_what_cannot_be_shown_is_named(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(ExperimentError, match="is not an experiment"):
        select_experiments([tmp_path / "new"])
    with pytest.raises(ExperimentError, match="3 experiments are given"):
        select_experiments([finished] * 3)
    with pytest.raises(ExperimentError, match="given twice"):
        select_experiments([finished, finished])
    untrained = tmp_path / "untrained"
    shutil.copytree(finished / "teacher" / "configs", untrained / "configs")
    with pytest.raises(ExperimentError, match="no trained model"):
        select_experiments([untrained])
