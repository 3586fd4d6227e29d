import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from slade_plugin.base.errors import ExperimentError
from slade_plugin.retrieval.saved_model import find_experiment, load_best, split_schemes

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The folder of self-training, to be damaged."""
    return shutil.copytree(finished, tmp_path / "run")


def test_weights_are_those_of_the_best_checkpoint(finished: Path, tmp_path: Path) -> None:
    """The data set root does not exist: no image is needed."""
    for scheme in SCHEMES:
        saved = load_best(finished / "student", scheme, str(tmp_path / "nowhere"))
        assert saved.split_scheme == scheme
        for part, model in saved.models.items():
            (path,) = (finished / "student" / scheme / "saved_models").glob(f"{part}_best[1-9].pth")
            expected = torch.load(path, weights_only=True)
            assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())


def test_split_schemes_are_in_the_order_of_their_numbers(finished: Path, tmp_path: Path) -> None:
    assert split_schemes(finished / "student") == SCHEMES
    folder = shutil.copytree(finished / "teacher", tmp_path / "teacher")
    shutil.copytree(folder / SCHEMES[1], folder / "Test50_50_Partitions2_10")
    assert split_schemes(folder) == [*SCHEMES, "Test50_50_Partitions2_10"]


def test_an_unknown_split_scheme_is_named(finished: Path) -> None:
    with pytest.raises(ExperimentError, match=rf"no split scheme Other.*{SCHEMES[0]}"):
        load_best(finished / "student", "Other")


def test_a_folder_of_self_training_stands_for_its_last_student(copied: Path) -> None:
    assert find_experiment(copied) == copied / "student"
    assert find_experiment(copied / "teacher") == copied / "teacher"
    state = json.loads((copied / "pipeline.json").read_text())
    state["plan"]["round2/student"] = state["plan"]["student"]
    (copied / "pipeline.json").write_text(json.dumps(state))
    with pytest.raises(ExperimentError, match="round2/student is still being trained"):
        find_experiment(copied)
    shutil.copytree(copied / "student", copied / "round2" / "student")
    state["stages"]["round2/student"] = {"done": True}
    (copied / "pipeline.json").write_text(json.dumps(state))
    assert find_experiment(copied) == copied / "round2" / "student"


def test_a_stage_that_is_not_done_is_refused(copied: Path) -> None:
    state = json.loads((copied / "pipeline.json").read_text())
    state["stages"]["student"]["done"] = False
    (copied / "pipeline.json").write_text(json.dumps(state))
    with pytest.raises(ExperimentError, match="student is still being trained, or its run was"):
        find_experiment(copied / "student")
    assert find_experiment(copied / "teacher")


def test_a_plain_experiment_that_is_not_finished_is_refused(copied: Path) -> None:
    alone = copied.parent / "alone"
    (copied / "teacher").rename(alone)
    assert find_experiment(alone) == alone
    models = alone / SCHEMES[1] / "saved_models"
    for path in models.glob("*2.*"):
        path.rename(path.with_name(path.name.replace("2.", "1.")))
    with pytest.raises(ExperimentError, match=rf"{SCHEMES[1]} is at epoch 1 of 2; expected a"):
        find_experiment(alone)
    shutil.rmtree(alone / SCHEMES[1])
    with pytest.raises(ExperimentError, match="it has 1 of 2 split schemes"):
        find_experiment(alone)


def test_a_split_manager_without_arguments_is_read(copied: Path) -> None:
    alone = copied.parent / "alone"
    (copied / "teacher").rename(alone)
    path = alone / "configs" / "config_dataset.yaml"
    config = yaml.safe_load(path.read_text())
    config["split_manager"] = {"PredefinedSplitManager": None}
    path.write_text(yaml.safe_dump(config))
    assert find_experiment(alone) == alone


def test_an_experiment_without_a_trained_model_is_refused(copied: Path) -> None:
    for path in copied.glob("student/*/saved_models/trunk_best*.pth"):
        path.unlink()
    with pytest.raises(ExperimentError, match="has no trained model"):
        find_experiment(copied / "student")
    with pytest.raises(ExperimentError, match="is not an experiment"):
        find_experiment(copied / "pseudo_labels")
