import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from powerful_benchmarker.architectures.misc_models import MLP
from powerful_benchmarker.utils.constants import META_LOGS_FOLDER_NAME
from torch import nn

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.host.checkpoints.teacher import Teacher

SCHEME = "Test50_50_Partitions4_0"
PARTS = ("trunk", "embedder")


def models(width: int = 4, seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {"trunk": nn.BatchNorm1d(3), "embedder": nn.Linear(3, width)}


def save(folder: Path, suffix: str, parts: dict[str, nn.Module]) -> None:
    """As the host does, with the names that it takes for trunks as well."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in parts.items():
        torch.save(model.state_dict(), folder / f"{name}_{suffix}.pth")
    torch.save({}, folder / f"trunk_optimizer_{suffix}.pth")


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Best at epoch 3, stopped at 12; the untrained model and the host's empty folders are there.

    The host also makes a folder for logs over all split schemes, with the same folders in it.
    """
    folder = tmp_path / "teacher" / SCHEME / "saved_models"
    save(folder, "best0", models(seed=1))
    save(folder, "best3", models(seed=2))
    save(folder, "12", models(seed=3))
    (tmp_path / "teacher" / META_LOGS_FOLDER_NAME / "saved_models").mkdir(parents=True)
    return tmp_path / "teacher"


def test_the_best_model_is_loaded_not_the_latest(experiment: Path) -> None:
    teacher = Teacher(experiment, SCHEME)
    assert teacher.suffix == "best3"
    found, expected = models(seed=9), models(seed=2)
    teacher.load_into(found, "cpu")
    for name in PARTS:
        for key, value in expected[name].state_dict().items():
            assert torch.equal(found[name].state_dict()[key], value), key


def test_a_host_experiment_is_a_teacher(
    teacher_experiment: Path, tiny_trunk: Callable[[], nn.Module]
) -> None:
    """One that the host itself trained and saved."""
    scheme = min(p.parent.name for p in teacher_experiment.glob("Test*/saved_models"))
    found = {"trunk": tiny_trunk(), "embedder": MLP([16, 8])}
    teacher = Teacher(teacher_experiment, scheme)
    teacher.load_into(found, "cpu")
    for part in PARTS:
        saved = torch.load(teacher.paths[part])
        assert len(saved) >= 4
        assert all(torch.equal(found[part].state_dict()[key], saved[key]) for key in saved)


def test_the_hash_changes_with_each_file(experiment: Path) -> None:
    before = Teacher(experiment, SCHEME).sha256()
    assert Teacher(experiment, SCHEME).sha256() == before
    hashes = {before}
    for name in PARTS:
        path = experiment / SCHEME / "saved_models" / f"{name}_best3.pth"
        path.write_bytes(path.read_bytes() + b" ")
        hashes.add(Teacher(experiment, SCHEME).sha256())
    assert len(hashes) == 3


def test_a_later_best_model_has_another_hash(experiment: Path) -> None:
    before = Teacher(experiment, SCHEME).sha256()
    save(experiment / SCHEME / "saved_models", "best10", models(seed=4))
    assert Teacher(experiment, SCHEME).suffix == "best10"
    assert Teacher(experiment, SCHEME).sha256() != before


def test_a_missing_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"no teacher experiment .*nowhere"):
        Teacher(tmp_path / "nowhere", SCHEME)


def test_a_missing_split_scheme_is_named_with_those_there(experiment: Path) -> None:
    with pytest.raises(ExperimentError, match=rf"no split scheme other; it has {SCHEME}\. "):
        Teacher(experiment, "other")


def test_an_experiment_without_split_schemes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=rf"no split scheme {SCHEME}; it has none"):
        Teacher(tmp_path, SCHEME)


@pytest.mark.parametrize("suffixes", [[], ["best0"], ["7"], ["best0", "7"]])
def test_a_teacher_that_was_never_best_is_refused(tmp_path: Path, suffixes: list[str]) -> None:
    """best0 is the untrained model, a number alone is the latest."""
    folder = tmp_path / SCHEME / "saved_models"
    folder.mkdir(parents=True)
    for suffix in suffixes:
        save(folder, suffix, models())
    with pytest.raises(ExperimentError, match=r"no trained best model; expected trunk_best<epoch>"):
        Teacher(tmp_path, SCHEME)


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_file_is_named(experiment: Path, part: str) -> None:
    path = experiment / SCHEME / "saved_models" / f"{part}_best3.pth"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        CheckpointError, match=rf"teacher's {part} .*{part}_best3.pth cannot be read"
    ):
        Teacher(experiment, SCHEME).load_into(models(), "cpu")


def test_a_file_that_holds_no_weights_is_named(experiment: Path) -> None:
    torch.save(torch.zeros(3), experiment / SCHEME / "saved_models" / "trunk_best3.pth")
    with pytest.raises(CheckpointError, match=r"teacher's trunk .*trunk_best3.pth"):
        Teacher(experiment, SCHEME).load_into(models(), "cpu")


def test_a_missing_file_is_named(experiment: Path) -> None:
    (experiment / SCHEME / "saved_models" / "embedder_best3.pth").unlink()
    teacher = Teacher(experiment, SCHEME)
    with pytest.raises(CheckpointError, match=r"embedder cannot be read: .*embedder_best3.pth"):
        teacher.sha256()
    with pytest.raises(CheckpointError, match=r"teacher's embedder .*embedder_best3.pth"):
        teacher.load_into(models(), "cpu")


def test_another_architecture_is_named(experiment: Path) -> None:
    with pytest.raises(CheckpointError, match=r"teacher's embedder .* does not fit") as e:
        Teacher(experiment, SCHEME).load_into(models(width=5), "cpu")
    assert "weight" in str(e.value)
    assert "config_models" in str(e.value)


def test_code_in_a_file_is_not_run(experiment: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "was run"),)

    path = experiment / SCHEME / "saved_models" / "trunk_best3.pth"
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read"):
        Teacher(experiment, SCHEME).load_into(models(), "cpu")
    assert not (tmp_path / "was run").exists()
