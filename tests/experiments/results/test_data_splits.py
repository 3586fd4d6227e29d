import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.data.datasets import Glyphs
from slade_plugin.experiments.results.data_splits import DataSplits
from slade_plugin.experiments.results.found import read_saved

Make = Callable[..., Path]
DATASET = {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}}
MANAGER = {
    "ClassDisjointSplitManager": {
        "test_size": 0.5, "test_start_idx": 0.5, "num_training_partitions": 2,
        "num_training_sets": 2,
    }
}  # fmt: skip


def shuffled(seed: int) -> dict[str, Any]:
    own = MANAGER["ClassDisjointSplitManager"] | {"shuffle": True, "random_seed": seed}
    return {"ClassDisjointSplitManager": own}


def test_classes_are_those_of_the_split_manager(
    make_experiment: Make, bench: Any, tmp_path: Path
) -> None:
    """The first half of the classes is train and val, one fold each; the second half is test."""
    folder = make_experiment(tmp_path / "e", {}, dataset=DATASET, split_manager=MANAGER)
    classes = DataSplits(bench.dataset_root).classes(read_saved(folder))
    letters = Glyphs(bench.dataset_root, letters_per_script=8, instances_per_face=1)
    sizes = np.bincount(letters.labels)
    assert [*classes] == ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]
    for by_split in classes.values():
        assert {split: part["classes"] for split, part in by_split.items()} == {
            "train": 2, "val": 2, "test": 4,
        }  # fmt: skip
        assert by_split["test"]["images"] == sizes[4:8].sum()
    first, second = classes.values()
    assert first["test"] == second["test"]
    assert first["train"] == second["val"] != second["train"]


def test_each_seed_has_its_own_classes_and_each_data_set_is_read_once(
    make_experiment: Make, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    init = Glyphs.__init__
    monkeypatch.setattr(
        Glyphs, "__init__", lambda self, *a, **k: (made.append(1), init(self, *a, **k))[1]
    )
    data = DataSplits(bench.dataset_root)
    found = []
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        config = {"dataset": DATASET, "split_manager": shuffled(seed), "seed": seed}
        experiment = read_saved(make_experiment(tmp_path / name, {}, **config))
        found.append(data.classes(experiment))
        assert len(data.hashes(experiment)["labeled"]) == 64
    assert found[0] == found[2] != found[1]
    assert len(made) == 1


def test_changed_data_are_refused(finished: Path, bench: Any, monkeypatch: Any) -> None:
    experiment = read_saved(finished / "student")
    data = DataSplits(bench.dataset_root)
    assert data.hashes(experiment) == experiment.state["data"]
    monkeypatch.setattr(Glyphs, "fingerprint", "other letters")
    with pytest.raises(ExperimentError, match=r"have changed.*; expected --dataset_root with"):
        DataSplits(bench.dataset_root).hashes(experiment)


def test_changed_data_of_a_plain_experiment_are_refused(
    finished: Path, bench: Any, tmp_path: Path
) -> None:
    """Its hash is in data.json, since it has no pipeline.json."""
    shutil.copytree(finished / "teacher" / "configs", tmp_path / "plain" / "configs")
    (tmp_path / "plain" / "data.json").write_text('{"labeled": "other letters"}')
    with pytest.raises(ExperimentError, match="the hash of the labeled images was other lette"):
        DataSplits(bench.dataset_root).hashes(read_saved(tmp_path / "plain"))
