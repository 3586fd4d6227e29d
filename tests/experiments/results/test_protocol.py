import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.results.found import Experiment
from slade_plugin.experiments.results.protocol import other_differences, protocol_differences

BASE: dict[str, Any] = {
    "dataset": {"Icons": {"subset": "labeled"}},
    "split_manager": {"ClassDisjointSplitManager": {"num_training_sets": 2}},
    "models": {"trunk": {"conv4": {"hidden_size": 32}}, "embedder": {"MLP": {"layer_sizes": [8]}}},
    "transforms": {"train": {}, "eval": {"ToTensor": {}}},
    "tester": {"GlobalEmbeddingSpaceTester": {"pca": None, "batch_size": 9}},
    "hook_container": {"CheckpointedHookContainer": {"untrained_model_can_be_best": False}},
    "ensemble": {"ConcatenateEmbeddings": {}},
    "loss_funcs": {"metric_loss": {"ContrastiveLoss": {}}},
    "num_epochs_train": 2,
    "seed": 0,
}


def experiment(**config: Any) -> Experiment:
    return Experiment(Path("nowhere"), BASE | config)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"dataset": {"Icons": {"subset": "other"}}}, "data set/Icons/subset"),
        (
            {"split_manager": {"ClassDisjointSplitManager": {"num_training_sets": 4}}},
            "splits/split_manager/ClassDisjointSplitManager/num_training_sets",
        ),
        (
            {"models": BASE["models"] | {"trunk": {"conv4": {"hidden_size": 64}}}},
            "trunk/conv4/hidden_size",
        ),
        (
            {"models": BASE["models"] | {"embedder": {"MLP": {"layer_sizes": [16]}}}},
            "embedding/MLP/layer_sizes",
        ),
        ({"transforms": {"train": {}, "eval": {}}}, "transforms/eval/ToTensor"),
        (
            {"tester": {"SladeTester": {"pca": 4}}},
            "evaluation/tester/GlobalEmbeddingSpaceTester/pca",
        ),
        ({"ensemble": {"Other": {}}}, "evaluation/ensemble/ConcatenateEmbeddings"),
        (
            {"hook_container": {"HookContainer": {}}},
            "evaluation/choice of the best epoch/untrained_model_can_be_best",
        ),
        ({"self_supervised": {"num_epochs": 3}}, "trunk's self-supervised start"),
        ({"compute": {"precision": "bfloat16"}}, "compute/precision"),
        ({"compute": {"compile": True}}, "compute/compile"),
    ],
)
def test_what_forbids_a_comparison(config: dict[str, Any], where: str) -> None:
    found = protocol_differences(experiment(), experiment(**config))
    assert found[0][0] == where
    assert not other_differences(experiment(), experiment(**config))


@pytest.mark.parametrize(
    "config",
    [
        {"tester": {"SladeTester": {"pca": None, "batch_size": 1, "dataloader_num_workers": 3}}},
        {"self_supervised": None, "seed": 4, "splits_to_eval": ["test"]},
        {"compute": {"precision": "float32", "channels_last": False}},
        {"dataset": {"Icons": {"subset": "labeled", "cache": "x"}}},
    ],
)
def test_what_changes_no_score_is_no_difference(config: dict[str, Any]) -> None:
    assert protocol_differences(experiment(), experiment(**config)) == []


def test_a_method_may_differ_and_is_named() -> None:
    other = experiment(num_epochs_train=3, loss_funcs={"metric_loss": {"TripletMarginLoss": {}}})
    assert protocol_differences(experiment(), other) == []
    assert other_differences(experiment(), other) == [
        ("loss_funcs/metric_loss/ContrastiveLoss", {}, "<absent>"),
        ("loss_funcs/metric_loss/TripletMarginLoss", "<absent>", {}),
        ("num_epochs_train", 2, 3),
    ]


def test_other_images_under_one_name_are_a_difference(tmp_path: Path) -> None:
    found = []
    for labeled in ("aa", "bb"):
        folder = tmp_path / labeled
        folder.mkdir()
        state = {"plan": {"teacher": {}}, "data": {"labeled": labeled}, "stages": {}}
        (folder / "pipeline.json").write_text(json.dumps(state))
        found.append(Experiment(folder / "teacher", BASE))
    assert protocol_differences(*found) == [("data set/hash of the images", "aa", "bb")]
    assert protocol_differences(found[0], experiment()) == []  # on record for one only


def test_the_data_of_plain_experiments_are_compared_too(tmp_path: Path) -> None:
    """They have no pipeline.json; data.json holds the hash."""
    found = []
    for name in ("aa", "bb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.json").write_text(json.dumps({"labeled": name}))
        found.append(Experiment(tmp_path / name, BASE))
    assert protocol_differences(*found) == [("data set/hash of the images", "aa", "bb")]


def test_the_default_computation_given_or_not_is_one_method() -> None:
    assert experiment(compute={"compile": False}).method == experiment().method
    assert experiment(compute={"compile": True}).method != experiment().method


def test_splits_drawn_by_the_seed_of_each_run_are_one_method_and_protocol() -> None:
    """Splits drawn by one and the same seed are another protocol."""

    def drawn(seed: int, random_seed: int) -> Experiment:
        settings = {"num_training_sets": 2, "shuffle": True, "random_seed": random_seed}
        return experiment(split_manager={"ClassDisjointSplitManager": settings}, seed=seed)

    assert protocol_differences(drawn(0, 0), drawn(3, 3)) == []
    assert drawn(0, 0).method == drawn(3, 3).method
    ((where, own, shared),) = protocol_differences(drawn(0, 0), drawn(3, 0))
    assert where == "splits/split_manager/ClassDisjointSplitManager/random_seed"
    assert (own, shared) == ("the seed of the run", 0)
    assert drawn(0, 0).config["split_manager"]["ClassDisjointSplitManager"]["random_seed"] == 0
