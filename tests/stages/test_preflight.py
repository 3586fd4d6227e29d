"""Each part that does not fit another one is an error before anything is trained."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser
from pytorch_metric_learning import losses
from torch import nn

from slade_plugin.base.errors import CheckpointError, ConfigError, DataError, ExperimentError
from slade_plugin.base.warning import warn_once
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.stages.preflight import preflight

DIM = 8


@pytest.fixture
def check(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> Callable[..., Any]:
    """Runs the preflight of a student whose config has some other entries."""

    def run(teacher: Path | None = None, **changes: Any) -> Any:
        parser = make_parser(experiment_args(tmp_path / "student", **changes))
        preflight(parser, teacher)
        return parser

    return run


def losses_with(**changes: Any) -> dict[str, Any]:
    contrastive = {"ContrastiveLoss": {}}
    basis = {"FeatureBasisLoss": {"embedding_size": DIM}}
    return {
        "metric_loss": contrastive,
        "unlabeled_metric_loss": contrastive,
        "basis_loss": basis,
    } | changes


def test_what_fits_passes_and_leaves_nothing_behind(
    check: Callable[..., Any], tmp_path: Path, teacher_experiment: Path
) -> None:
    check(teacher_experiment)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_trained(check: Callable[..., Any]) -> None:
    """Batch-norm statistics and the running Gaussians are as they were made."""
    parser = check()
    assert parser.models["trunk"].norm.num_batches_tracked == 0
    assert parser.loss_funcs["basis_loss"].positive_updates == 0


def test_a_teacher_stage_needs_no_pool(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> None:
    args = experiment_args(tmp_path, student=False)
    parser = make_parser(args, BaseAPIParser)
    preflight(parser)
    assert not hasattr(parser.args, "unlabeled_dataset")
    assert set(parser.loss_funcs) == {"metric_loss"}


def test_more_clusters_than_images_are_refused(check: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"num_clusters is 97, but .* 96 images"):
        check(pseudo_labels={"clusterer": {"KMeans": {"num_clusters": 97}}})


def test_an_oracle_needs_the_classes_of_the_pool_and_no_k(
    check: Callable[..., Any], full_getter: Any, blobs: Any
) -> None:
    class SecretBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            del self.labels

        def __len__(self) -> int:
            return len(self.points)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": self.points[index]}

    oracle = {"folder": None, "clusterer": {"TrueLabels": {}}}
    check(pseudo_labels=oracle)
    full_getter.register("dataset", SecretBlobs)
    with pytest.raises(ConfigError, match="clusterer is TrueLabels, but the pool has no labels"):
        check(pseudo_labels=oracle, unlabeled_dataset={"SecretBlobs": {"subset": "unlabeled"}})


def test_a_missing_pool_is_refused(check: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="there is no unlabeled_dataset"):
        check(unlabeled_dataset=None)


def test_an_empty_pool_is_refused(check: Callable[..., Any]) -> None:
    pool = {"Blobs": {"subset": "unlabeled", "per_class": 0}}
    for clusterer in ("KMeans", "TrueLabels"):
        with pytest.raises(DataError, match="unlabeled pool is empty"):
            check(unlabeled_dataset=pool, pseudo_labels={"clusterer": {clusterer: {}}})


@pytest.mark.parametrize(("folds", "warned"), [(4, True), (2, False)])
def test_a_val_split_of_one_class_is_warned_of(
    folds: int, warned: bool, check: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 8 classes 4 are test; the others are split into folds, of which one is val."""
    warn_once.cache_clear()
    splits = {"test_size": 0.5, "test_start_idx": 0.5, "num_training_sets": 2}
    splits |= {"data_and_label_getter_keys": ["data", "label"], "num_training_partitions": folds}
    check(split_manager={"ClassDisjointSplitManager": splits})
    assert ("scheme Test50_50_Partitions4_0 has a single class" in caplog.text) == warned
    assert "test of" not in caplog.text


@pytest.mark.parametrize(
    ("epochs", "interval", "patience", "warned"),
    [
        (20, 8, None, True), (20, 4, None, False), (20, 20, None, False),
        (20, 8, 3, False),  # ends before, as a rule
    ],
)  # fmt: skip
def test_last_epochs_that_are_not_evaluated_are_warned_of(
    epochs: int,
    interval: int,
    patience: int | None,
    warned: bool,
    check: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_once.cache_clear()
    check(num_epochs_train=epochs, save_interval=interval, patience=patience)
    text = "num_epochs_train is 20 and save_interval 8: the last 4 epochs are neither"
    assert (text in caplog.text) == warned


def test_a_labeled_class_of_one_image_is_refused(check: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"training classes .* have one image"):
        check(dataset={"Blobs": {"per_class": 1}})


def test_images_of_another_shape_are_refused(
    check: Callable[..., Any], full_getter: Any, blobs: Any
) -> None:
    class WideBlobs(blobs):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": torch.zeros(3, DIM), "label": 0}

    full_getter.register("dataset", WideBlobs)
    with pytest.raises(DataError, match=r"shape \(8,\), images of the pool \(3, 8\)"):
        check(unlabeled_dataset={"WideBlobs": {"subset": "unlabeled"}})


def test_images_that_the_models_cannot_take_are_refused(
    check: Callable[..., Any], full_getter: Any, blobs: Any
) -> None:
    class LongBlobs(blobs):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": torch.zeros(DIM + 1), "label": 0}

    full_getter.register("dataset", LongBlobs)
    with pytest.raises(DataError, match=r"cannot take an image of shape \(9,\)"):
        check(dataset={"LongBlobs": {}})


def test_images_that_are_no_tensors_are_refused(
    check: Callable[..., Any], full_getter: Any, blobs: Any
) -> None:
    class TextBlobs(blobs):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"data": "a picture", "label": 0}

    full_getter.register("dataset", TextBlobs)
    with pytest.raises(DataError, match="an image is str after its transform"):
        check(dataset={"TextBlobs": {}})


def test_another_tester_is_refused(
    check: Callable[..., Any], experiment_args: Callable[..., Namespace], tmp_path: Path
) -> None:
    settings = experiment_args(tmp_path).tester["SladeTester"]
    with pytest.raises(ConfigError, match="tester is GlobalEmbeddingSpaceTester; expected Slade"):
        check(tester={"GlobalEmbeddingSpaceTester": settings})


@pytest.mark.parametrize("student", [True, False])
def test_query_and_gallery_images_need_their_tester(
    student: bool,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    full_getter: Any,
    blobs: Any,
    tmp_path: Path,
) -> None:
    """All against all would look like any other score, in a baseline as in a student."""

    class ShopBlobs(blobs):
        roles = np.array(["train"] * 48 + ["query", "gallery"] * 24)

    full_getter.register("dataset", ShopBlobs)
    split = {"num_training_partitions": 2, "num_training_sets": 2}
    getter_keys = {"data_and_label_getter_keys": ["data", "label"]}
    args = experiment_args(
        tmp_path,
        student=student,
        dataset={"ShopBlobs": {}},
        split_manager={"QueryGallerySplitManager": split | getter_keys},
        splits_to_eval=["val"],
    )
    cls = APISladeStudent if student else BaseAPIParser
    with pytest.raises(ConfigError, match="names query and gallery images; expected QueryGallery"):
        preflight(make_parser(args, cls))
    args.tester = {"QueryGalleryTester": next(iter(args.tester.values()))}
    preflight(make_parser(args, cls))


def test_a_basis_miner_without_basis_is_refused(check: Callable[..., Any]) -> None:
    contrastive = {"ContrastiveLoss": {}}
    without = {"metric_loss": contrastive, "unlabeled_metric_loss": contrastive}
    optimizers = {f"{k}_optimizer": {"Adam": {"lr": 0.1}} for k in ("trunk", "embedder")}
    with pytest.raises(ConfigError, match="BasisSimilarityMiner, but there is no basis_loss"):
        check(loss_funcs=without, optimizers=optimizers)


def test_a_pool_miner_under_another_name_is_refused(check: Callable[..., Any]) -> None:
    miner = {"tuple_miner": {"PseudoLabelPairMiner": {}}}
    with pytest.raises(ConfigError, match=r"tuple_miner is PseudoLabelPairMiner, which selects"):
        check(mining_funcs=miner)


def test_a_basis_of_another_size_is_refused(check: Callable[..., Any]) -> None:
    basis = {"FeatureBasisLoss": {"embedding_size": 5}}
    with pytest.raises(ConfigError, match="embedding_size is 5, but the embedder's output is 8"):
        check(loss_funcs=losses_with(basis_loss=basis))


def test_a_part_that_cannot_be_built_is_named(check: Callable[..., Any]) -> None:
    """The host's error is an assertion without text."""
    split_manager = {
        "ClassDisjointSplitManager": {
            "test_size": 0.5,
            "test_start_idx": 0.5,
            "num_training_partitions": 9,
            "num_training_sets": 2,
            "data_and_label_getter_keys": ["data", "label"],
        }
    }
    with pytest.raises(ConfigError, match=r"cannot split the labeled data: .*=9"):
        check(split_manager=split_manager)


def test_a_part_that_fails_without_text_is_named_by_its_error(
    check: Callable[..., Any], full_getter: Any
) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            assert False  # noqa: B011, PT015 - as the host does

    full_getter.register("model", Broken)
    models = {"trunk": {"Broken": {}}, "embedder": {"MLP": {"layer_sizes": [DIM]}}}
    with pytest.raises(ConfigError, match=r"cannot be built: (AssertionError|assert False)"):
        check(models=models)


def test_a_teacher_of_another_architecture_is_refused(
    check: Callable[..., Any], teacher_experiment: Path
) -> None:
    models = {"trunk": {"TinyTrunk": {"hidden": 5}}, "embedder": {"MLP": {"layer_sizes": [DIM]}}}
    with pytest.raises(CheckpointError, match=r"teacher's trunk .* does not fit TinyTrunk"):
        check(teacher_experiment, models=models)


def test_a_teacher_without_one_of_the_split_schemes_is_refused(
    check: Callable[..., Any], teacher_experiment: Path, experiment_args: Any, tmp_path: Path
) -> None:
    split_manager = experiment_args(tmp_path).split_manager
    split_manager["ClassDisjointSplitManager"]["num_training_partitions"] = 4
    with pytest.raises(ExperimentError, match="no split scheme Test50_50_Partitions4_0; it has"):
        check(teacher_experiment, split_manager=split_manager)


# ---- trap 8 -------------------------------------------------------------------------------------


def test_trap_08_the_student_is_checked(check: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="unlabeled_metric_loss is FastAPLoss"):
        check(loss_funcs=losses_with(unlabeled_metric_loss={"FastAPLoss": {}}))
    with pytest.raises(ConfigError, match="unlabeled_metric_loss is MarginLoss"):
        check(loss_funcs=losses_with(unlabeled_metric_loss={"MarginLoss": {}}))
    check(loss_funcs=losses_with(unlabeled_metric_loss={"MarginLoss": {"num_classes": None}}))


def test_trap_08_the_labeled_loss_may_be_any(check: Callable[..., Any]) -> None:
    parser = check(loss_funcs=losses_with(metric_loss={"FastAPLoss": {}}))
    assert isinstance(parser.loss_funcs["metric_loss"], losses.FastAPLoss)


@pytest.mark.parametrize("student", [False, True])
def test_class_weights_are_checked_for_teachers_and_students(
    student: bool,
    tmp_path: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> None:
    args = experiment_args(tmp_path, student=student)
    args.loss_funcs["metric_loss"] = {"ProxyAnchorLoss": {"embedding_size": 5}}
    args.optimizers["metric_loss_optimizer"] = {"Adam": {"lr": 0.01}}
    parser = make_parser(args) if student else make_parser(args, BaseAPIParser)
    with pytest.raises(ConfigError, match="ProxyAnchorLoss cannot take embeddings of size 8"):
        preflight(parser)


def test_trap_06_the_student_is_checked(check: Callable[..., Any]) -> None:
    far = {"ContrastiveLoss": {"neg_margin": 2.5}}
    with pytest.raises(ConfigError, match=r"unlabeled_metric_loss: neg_margin is 2\.5"):
        check(loss_funcs=losses_with(unlabeled_metric_loss=far))
