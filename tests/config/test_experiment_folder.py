import shutil
from pathlib import Path

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.locks import LOCK_FILE
from slade_plugin.config.experiment_folder import (
    check_folder_is_free,
    check_is_trained,
    check_saved_configs,
    evaluate_command,
    has_checkpoint,
    is_pipeline_folder,
    latest_epoch,
    read_saved_config,
    read_state,
    saved_areas,
    split_scheme_folders,
    why_unfinished,
)


@pytest.fixture
def saved(finished: Path, tmp_path: Path) -> Path:
    """The configs of a finished experiment, to be changed."""
    shutil.copytree(finished / "teacher" / "configs", tmp_path / "teacher" / "configs")
    return tmp_path / "teacher"


def test_stages_are_told_from_one_experiment(finished: Path) -> None:
    assert is_pipeline_folder(finished)
    assert not is_pipeline_folder(finished / "teacher")


def test_the_state_of_a_run_is_read(finished: Path) -> None:
    state = read_state(finished, "plan", "data", "environment", "stages")
    assert list(state["plan"]) == ["teacher", "student", "baseline"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError: .*"),
        ("{", "JSONDecodeError: .*"),
        ("[]", "AttributeError: .*"),
        ("{}", "plan, stages missing or of another type"),
        ('{"plan": {}, "stages": 3}', "stages missing or of another type"),
    ],
)
def test_a_damaged_state_is_named(content: str | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "pipeline.json").write_text(content)
    with pytest.raises(ExperimentError, match=rf"pipeline\.json cannot be read: {reason}; expect"):
        read_state(tmp_path, "plan", "stages")


def test_the_command_that_evaluates_a_stage() -> None:
    """The host takes the last folder as the name of an experiment."""
    assert evaluate_command(Path("my runs/slade_seed0/round2/student"), "test") == (
        "run.py --root_experiment_folder 'my runs/slade_seed0/round2' --experiment_name student "
        "--evaluate --splits_to_eval [test]"
    )


def test_split_schemes_are_listed_without_the_common_logs(tmp_path: Path) -> None:
    for name in ("b_1", "a_0", "meta_logs"):
        (tmp_path / name / "saved_models").mkdir(parents=True)
    (tmp_path / "meta_logs" / "saved_csvs").mkdir()
    (tmp_path / "b_1" / "saved_csvs").mkdir()
    assert split_scheme_folders(tmp_path) == [tmp_path / "a_0", tmp_path / "b_1"]
    assert split_scheme_folders(tmp_path, "saved_csvs") == [tmp_path / "b_1"]


def test_a_best_model_is_no_checkpoint_to_resume_from(tmp_path: Path) -> None:
    models = tmp_path / "a_0" / "saved_models"
    models.mkdir(parents=True)
    (models / "trunk_best3.pth").touch()
    assert not has_checkpoint(tmp_path)
    (models / "trunk_3.pth").touch()
    assert has_checkpoint(tmp_path)


def test_a_free_folder_may_exist_and_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    check_folder_is_free(tmp_path / "a")
    check_folder_is_free(tmp_path / "new" / "deep")


def test_a_folder_with_a_file_anywhere_is_taken(tmp_path: Path) -> None:
    """The host overlooks files at the top of the folder."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ExperimentError, match=r"is taken \(it contains notes\.txt\)"):
        check_folder_is_free(tmp_path)


def test_a_missing_saved_config_is_named(saved: Path) -> None:
    areas = ["config_loss", "config_general"]
    check_saved_configs(saved, areas)
    (saved / "configs" / "config_loss.yaml").unlink()
    with pytest.raises(ExperimentError, match=r"config_loss\.yaml cannot be read"):
        check_saved_configs(saved, areas)


@pytest.mark.parametrize("content", [b"", b"a: b: c", b"\xff\xfe", b"[1]"])
def test_a_damaged_saved_config_is_named(saved: Path, content: bytes) -> None:
    (saved / "configs" / "config_loss.yaml").write_bytes(content)
    with pytest.raises(ExperimentError, match=r"saved config .*config_loss\.yaml"):
        check_saved_configs(saved, ["config_loss"])


@pytest.mark.parametrize(
    ("files", "trained"),
    [
        (["trunk_2.pth", "trunk_best1.pth"], True),
        (["trunk_2.pth", "trunk_best0.pth"], True),  # the host's untrained model that won
        (["trunk_best0.pth", "trunk_optimizer_best0.pth"], False),
        (["trunk_2.pth", "trunk_optimizer_2.pth"], False),
        ([], False),
    ],
)
def test_is_trained(tmp_path: Path, files: list[str], trained: bool) -> None:
    folder = tmp_path / "scheme" / "saved_models"
    (tmp_path / "meta_logs" / "saved_models").mkdir(parents=True)
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    if trained:
        check_is_trained(tmp_path)
    else:
        with pytest.raises(ExperimentError, match="scheme has no trained model"):
            check_is_trained(tmp_path)


@pytest.mark.parametrize("content", ["config_foldernames: config_loss", "a: 1"])
def test_saved_areas_must_be_a_list(tmp_path: Path, content: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config_foldernames.yaml").write_text(content)
    with pytest.raises(ExperimentError, match=r"config_foldernames\.yaml lists no areas"):
        saved_areas(tmp_path)


def test_the_last_change_of_a_resumed_training_counts(saved: Path) -> None:
    """The host names the folder of a change by the epoch of each split scheme."""
    before = read_saved_config(saved)
    for epochs in ("5_5", "20_5", "20_20", "7_7"):
        folder = saved / "configs" / f"resume_training_config_diffs_{epochs}"
        folder.mkdir()
        (folder / "config_general.yaml").write_text(f"patience: {epochs.replace('_', '')}\n")
    assert read_saved_config(saved) == {**before, "patience": 2020}
    assert before["config_foldernames"]["config_loss"] == ["default", "contrastive"]
    (folder / "config_general.yaml").write_text("a: b: c")
    with pytest.raises(ExperimentError, match=r"diffs_7_7/config_general\.yaml cannot be read"):
        read_saved_config(saved)


def test_the_latest_epoch_is_found_below_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "[try] *"
    folder.mkdir()
    assert (latest_epoch(folder), latest_epoch(folder, best=True)) == (0, 0)
    for suffix in ("best0", "best3", "2", "12", "optimizer_99"):
        (folder / f"trunk_{suffix}.pth").touch()
    assert (latest_epoch(folder), latest_epoch(folder, best=True)) == (12, 3)


def test_the_reason_why_a_training_is_not_finished(tmp_path: Path) -> None:
    config = {
        "num_epochs_train": {"a_0": 5, "b_1": 3},
        "save_interval": 2,
        "split_manager": {"ClassDisjointSplitManager": {"num_training_sets": 2}},
    }
    assert why_unfinished(tmp_path, config) == "it has 0 of 2 split schemes"
    for scheme, epoch in (("a_0", 2), ("b_1", 2)):
        models = tmp_path / scheme / "saved_models"
        models.mkdir(parents=True)
        (models / f"trunk_{epoch}.pth").touch()
    assert why_unfinished(tmp_path, config) == "a_0 is at epoch 2 of 5"
    assert why_unfinished(tmp_path, {**config, "patience": 1}) is None
    (tmp_path / "a_0" / "saved_models" / "trunk_4.pth").touch()
    assert why_unfinished(tmp_path, config) is None
    assert why_unfinished(tmp_path, {**config, "num_epochs_train": 3}) is None
    assert why_unfinished(tmp_path, {}) is None


def test_the_file_of_a_lock_does_not_take_a_folder(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    for folder in (tmp_path, tmp_path / "student"):
        (folder / LOCK_FILE).touch()
    check_folder_is_free(tmp_path)
