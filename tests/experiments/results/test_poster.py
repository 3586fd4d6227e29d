from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.results.found import Experiment
from slade_plugin.experiments.results.poster import (
    ablation_settings,
    find_row,
    poster_rows,
    published,
    published_ablation,
    published_scores,
)
from slade_plugin.stages.kinds import SavedStage

MAP_AT_R = "mean_average_precision_at_r"
RESNET50 = {"resnet50": {"weights": "IMAGENET1K_V1"}}
BNINCEPTION = {"bninception": {"pretrained": "imagenet"}}
SWAV = {"TorchvisionTrunk": {"architecture": "resnet50", "weights": "x/swav_800ep.pth.tar"}}
MAX_POOLED = {"TorchvisionTrunk": {
    "architecture": "resnet50", "weights": "IMAGENET1K_V1", "pooling": "max",
}}  # fmt: skip
MINED = {"unlabeled_tuple_miner": {"BasisSimilarityMiner": {}}}


def experiment(
    loss: str, trunk: Any, dataset: str = "CUB200", kind: str = "", number: int = 1, **config: Any
) -> Experiment:
    base = {
        "dataset": {dataset: {}},
        "models": {"trunk": trunk},
        "loss_funcs": {"metric_loss": {loss: {}}},
    }
    # Own images put `pseudo_labels` into every config.
    made = Experiment(Path("e"), {"pseudo_labels": {}} | base | config)
    if kind:
        made.__dict__["saved_as"] = SavedStage(kind, number)
    return made


def student(loss: str, trunk: Any, number: int = 1, **config: Any) -> Experiment:
    return experiment(
        loss, trunk, kind="student", number=number, **({"mining_funcs": MINED} | config)
    )


TUNED = {"self_supervised": {"num_epochs": 1}}


@pytest.mark.parametrize(
    ("one", "row"),
    [
        (experiment("ContrastiveLoss", BNINCEPTION), "Contrastive"),
        (experiment("TripletMarginLoss", BNINCEPTION), "Triplet"),
        (experiment("ProxyNCALoss", BNINCEPTION), "ProxyNCA"),
        (experiment("NormalizedSoftmaxLoss", BNINCEPTION), "N. Softmax"),
        (experiment("CosFaceLoss", BNINCEPTION), "CosFace"),
        (experiment("FastAPLoss", BNINCEPTION), "FastAP"),
        (
            experiment("MultiSimilarityLoss", BNINCEPTION, mining_funcs={"tuple_miner": 1}),
            "MS+Miner",
        ),
        (experiment("ProxyAnchorLoss", RESNET50), "Proxy-Anchor (2)"),
        (experiment("SmoothedCrossEntropyLoss", RESNET50), "Mutual-Info"),
        (experiment("ProxyNCALoss", MAX_POOLED), "ProxyNCA++"),
        (experiment("ProxyNCALoss", RESNET50), None),
        (experiment("ProxyNCALoss", {"resnet50": None}), None),
        (experiment("ContrastiveLoss", RESNET50), "Contrastive (T1)"),
        (experiment("ContrastiveLoss", SWAV, kind="teacher", **TUNED), "Contrastive (T2)"),
        (experiment("MultiSimilarityLoss", RESNET50), "MS (T3)"),
        (experiment("MultiSimilarityLoss", SWAV, **TUNED), "MS (T4)"),
        (student("ContrastiveLoss", RESNET50), "SLADE (S1)"),
        (student("ContrastiveLoss", SWAV, **TUNED), "SLADE (S2)"),
        (student("MultiSimilarityLoss", RESNET50), "SLADE (S3)"),
        (student("MultiSimilarityLoss", SWAV, **TUNED), "SLADE (S4)"),
        # not in the table
        (experiment("ContrastiveLoss", RESNET50, dataset="Glyphs"), None),
        (experiment("ContrastiveLoss", {"conv4": {}}), None),
        (experiment("ContrastiveLoss", {"resnet50": {}}), None),
        (experiment("ContrastiveLoss", SWAV), None),
        (experiment("CosFaceLoss", RESNET50), None),
        (experiment("MultiSimilarityLoss", BNINCEPTION), None),
        (experiment("ContrastiveLoss", RESNET50, kind="baseline"), None),
        (student("ContrastiveLoss", RESNET50, number=2), None),
        (student("ContrastiveLoss", RESNET50, mining_funcs={}), None),
        (student("ContrastiveLoss", BNINCEPTION), None),
    ],
)
def test_rows(one: Experiment, row: str | None) -> None:
    assert find_row(one) == row
    assert row is None or row in poster_rows()


def test_the_number_is_that_of_the_data_set_and_size() -> None:
    s2 = student("ContrastiveLoss", SWAV, dataset="CUB200Files", **TUNED)
    assert published(s2, MAP_AT_R, 512) == 33.59
    assert published(s2, "precision_at_1", 512) == 73.19
    assert published(s2, MAP_AT_R, 128) is None
    assert published(s2, "recall_at_1", 512) is None
    cars = student("MultiSimilarityLoss", SWAV, dataset="Cars196", **TUNED)
    assert published(cars, "r_precision", 512) == 46.92
    assert published(experiment("CosFaceLoss", RESNET50), MAP_AT_R, 512) is None
    proxies = experiment("ProxyNCALoss", MAX_POOLED)
    assert published(proxies, "precision_at_1", 2048) == 72.2
    assert published(proxies, MAP_AT_R, 2048) is None  # the poster has none


def test_the_table_is_whole() -> None:
    rows = poster_rows()
    assert len(rows) == 19
    assert all(len(row) == 11 for row in rows.values())


def test_the_ablations_are_whole() -> None:
    assert [len(ablation_settings(number)) for number in range(6)] == [0, 3, 4, 3, 5, 0]
    assert ablation_settings(3) == ["Local-CE", "Global-CE", "SD"]


@pytest.mark.parametrize(
    ("of", "number"),
    [
        ((1, "Pre-trained SwAV", "Cars196Files", MAP_AT_R, 512), 35.54),
        ((2, "Teacher (contrastive)", "CUB200", MAP_AT_R, 512), 29.29),
        ((3, "Local-CE", "CUB200Files", "precision_at_1", 512), 72.64),
        ((4, "k=100", "CUB200Files", "r_precision", 512), 42.25),  # the pool is NABirds
        # not in the poster
        ((4, "k=100", "Cars196Files", MAP_AT_R, 512), None),
        ((2, "+ Basis", "CUB200Files", "precision_at_1", 512), None),
        ((2, "+ Basis", "InShop", MAP_AT_R, 512), None),
        ((2, "+ Basis", "CUB200Files", MAP_AT_R, 128), None),
        ((2, "+ Basis", "CUB200Files", "recall_at_10", 512), None),
    ],
)
def test_numbers_of_the_ablations(of: Any, number: float | None) -> None:
    assert published_ablation(*of) == number


def test_ablations_and_main_table_agree() -> None:
    """What both give is one experiment: S1, S2 and T2."""
    for ablation, name, row in (
        (1, "ImageNet", "SLADE (S1)"),
        (1, "Fine-tuned SwAV", "SLADE (S2)"),
        (2, "Teacher (contrastive)", "Contrastive (T2)"),
        (2, "+ Basis + Mining", "SLADE (S2)"),
        (3, "SD", "SLADE (S2)"),
        (4, "k=400", "SLADE (S2)"),
    ):
        for dataset, column in (("CUB200", "cub_map_at_r"), ("Cars196", "cars_map_at_r")):
            number = published_ablation(ablation, name, dataset, MAP_AT_R, 512)
            assert number in (None, float(poster_rows()[row][column]))


def test_the_main_table_is_quoted_by_data_set() -> None:
    scores = published_scores()
    assert [*scores] == ["CUB200", "Cars196"]
    assert {len(rows) for rows in scores.values()} == {len(poster_rows())}
    assert scores["Cars196"]["SLADE (S4), ResNet-50, SwAV, 512-d"] == {
        "mean_average_precision_at_r": 37.98, "r_precision": 46.92, "precision_at_1": 91.53,
    }  # fmt: skip
    assert scores["CUB200"]["ProxyNCA++, ResNet-50, ImageNet, 2048-d"] == {"precision_at_1": 72.2}
