"""Losses are the host's where the host can build them, and are built where it cannot."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from powerful_benchmarker.factories import LossFactory
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.utils import logging_presets

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.factories import SladeLossFactory

pytestmark = pytest.mark.host

NUM_CLASSES = 3
EMBEDDING_SIZE = 4

# What works with the host's factory.
WORKING_ENTRIES: dict[str, dict[str, Any]] = {
    "no arguments": {"ContrastiveLoss": None},
    "arguments": {"ContrastiveLoss": {"pos_margin": 0.1, "neg_margin": 0.7}},
    "number of classes passed on": {"NormalizedSoftmaxLoss": {"embedding_size": EMBEDDING_SIZE}},
    "number of classes given": {
        "NormalizedSoftmaxLoss": {"embedding_size": EMBEDDING_SIZE, "num_classes": 5}
    },
    "number of classes of a base class": {"CosFaceLoss": {"embedding_size": EMBEDDING_SIZE}},
    "learned beta": {"MarginLoss": {"learn_beta": True, "num_classes": NUM_CLASSES}},
    "distance and reducer": {
        "TripletMarginLoss": {
            "distance": {"CosineSimilarity": None},
            "reducer": {"ThresholdReducer": {"low": 0.2}},
        }
    },
    "regularizers": {
        "ProxyAnchorLoss": {
            "embedding_size": EMBEDDING_SIZE,
            "weight_init_func": {"uniform_": {"a": -1.0, "b": 1.0}},
            "weight_regularizer": {
                "RegularFaceRegularizer": {"distance": {"CosineSimilarity": {}}}
            },
            "embedding_regularizer": {"LpRegularizer": {"p": 2}},
        }
    },
    "loss of torch": {"MarginRankingLoss": {"margin": 0.3}},
}


def build(getter: Any, spec: object, factory: type = SladeLossFactory) -> Any:
    torch.manual_seed(5)
    return factory(getter=getter).create(
        named_specs={"metric_loss": spec}, kwargs={"num_classes": NUM_CLASSES}
    )["metric_loss"]


def describe(value: object) -> object:
    """Everything a module holds, down to its tensors, as plain values."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, value.tolist())
    if isinstance(value, torch.nn.Module):
        return (type(value), {k: describe(v) for k, v in sorted(vars(value).items())})
    if isinstance(value, dict):
        return {k: describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if callable(value):
        return (getattr(value, "__qualname__", type(value)), getattr(value, "kwargs", None))
    return value


@pytest.mark.parametrize("spec", WORKING_ENTRIES.values(), ids=WORKING_ENTRIES.keys())
def test_same_loss_as_the_host(getter: Any, spec: dict[str, Any]) -> None:
    ours, hosts = (
        build(getter, copy.deepcopy(spec), factory) for factory in (SladeLossFactory, LossFactory)
    )
    assert describe(ours) == describe(hosts)


def test_config_is_left_whole(getter: Any) -> None:
    spec = copy.deepcopy(WORKING_ENTRIES["regularizers"])
    build(getter, spec)
    assert spec == WORKING_ENTRIES["regularizers"]


def multiple(**more: object) -> dict[str, Any]:
    return {
        "MultipleLosses": {
            "losses": {
                "ContrastiveLoss": {"neg_margin": 0.5},
                "NormalizedSoftmaxLoss": {"embedding_size": EMBEDDING_SIZE},
            },
            **more,
        }
    }


def test_the_host_cannot_build_multiple_losses(getter: Any) -> None:
    with pytest.raises(TypeError, match="num_classes"):
        build(getter, multiple(), LossFactory)


def test_multiple_losses_add_up(getter: Any) -> None:
    """2 * contrastive + 3 * softmax; a list of losses would give 0."""
    weights = {"ContrastiveLoss": 2.0, "NormalizedSoftmaxLoss": 3.0}
    loss = build(getter, multiple(weights=weights))
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, EMBEDDING_SIZE), torch.tensor([0, 0, 1, 1, 2, 2])
    inner = [loss.losses[name](embeddings, labels) for name in weights]
    assert inner[0] > 0
    total = loss(embeddings, labels)
    assert torch.allclose(total, 2 * inner[0] + 3 * inner[1])
    assert loss.losses["NormalizedSoftmaxLoss"].W.shape == (EMBEDDING_SIZE, NUM_CLASSES)


def test_multiple_losses_can_be_recorded(getter: Any, tmp_path: Path) -> None:
    """The host's hook walks through the attributes of a loss."""
    loss = build(getter, multiple())
    keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path))
    keeper.update_records({"metric_loss": loss}, 0, recursive_types=[torch.nn.Module])
    keeper.save_records()
    tables = keeper.query("SELECT name FROM sqlite_master WHERE type='table'")
    assert any("ContrastiveLoss" in row["name"] for row in tables)


@pytest.mark.parametrize("wrong", [[{"ContrastiveLoss": {}}], {}, None, "ContrastiveLoss"])
def test_multiple_losses_need_a_mapping(getter: Any, wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"loss_funcs\.metric_loss: MultipleLosses\.losses is"):
        build(getter, {"MultipleLosses": {"losses": wrong}})


@pytest.mark.parametrize("wrong", [[1, 2], {"ContrastiveLoss": 1}])
def test_weights_must_name_every_loss(getter: Any, wrong: object) -> None:
    with pytest.raises(ConfigError, match="one number for each of ContrastiveLoss, Normalized"):
        build(getter, multiple(weights=wrong))


MEMORY = {
    "CrossBatchMemory": {
        "loss": {"ContrastiveLoss": {"neg_margin": 0.5}},
        "miner": {"MultiSimilarityMiner": {"epsilon": 0.2}},
        "embedding_size": EMBEDDING_SIZE,
        "memory_size": 8,
    }
}


def test_the_host_cannot_build_a_memory(getter: Any) -> None:
    with pytest.raises(TypeError, match="num_classes"):
        build(getter, MEMORY, LossFactory)


def test_memory_holds_loss_and_miner(getter: Any) -> None:
    memory = build(getter, MEMORY)
    assert isinstance(memory.loss, losses.ContrastiveLoss)
    assert memory.loss.neg_margin == 0.5
    assert isinstance(memory.miner, miners.MultiSimilarityMiner)
    assert memory.miner.epsilon == 0.2
    value = memory(torch.randn(4, EMBEDDING_SIZE), torch.tensor([0, 0, 1, 1]))
    assert value >= 0


def test_memory_without_miner(getter: Any) -> None:
    spec = copy.deepcopy(MEMORY)
    spec["CrossBatchMemory"]["miner"] = None
    assert build(getter, spec).miner is None


def test_loss_inside_a_memory_gets_the_number_of_classes(getter: Any) -> None:
    spec = copy.deepcopy(MEMORY)
    spec["CrossBatchMemory"]["loss"] = {"ProxyNCALoss": {"embedding_size": EMBEDDING_SIZE}}
    assert len(build(getter, spec).loss.proxies) == NUM_CLASSES


def test_number_of_classes_must_be_known(getter: Any) -> None:
    factory = SladeLossFactory(getter=getter)
    with pytest.raises(ConfigError, match="ProxyNCALoss needs num_classes, which is not known"):
        factory.create({"ProxyNCALoss": {"embedding_size": 2}}, kwargs={"where": "here"})


WRONG_ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "class": (
        {"ContrastivLoss": {}},
        r"^loss_funcs\.metric_loss: there is no loss named 'ContrastivLoss' \(did you mean 'Contr",
    ),
    "argument": (
        {"ContrastiveLoss": {"margin": 1}},
        r"^loss_funcs\.metric_loss: ContrastiveLoss takes no argument 'margin'"
        r" \(did you mean '(pos|neg)_margin'\?\); expected pos_margin, neg_margin, ",
    ),
    "number": (
        {"ContrastiveLoss": {"neg_margin": "1e-1"}},
        r"neg_margin is the text '1e-1', expected a number; write 0\.1 ",
    ),
    "nested class": (
        {"ContrastiveLoss": {"distance": {"CosineDistance": {}}}},
        r"^loss_funcs\.metric_loss\.distance: there is no distance named 'CosineDistance'",
    ),
    "argument of a regularizer": (
        {"ContrastiveLoss": {"embedding_regularizer": {"LpRegularizer": {"power": 3}}}},
        r"embedding_regularizer: LpRegularizer takes no argument 'power'",
    ),
    "weight init": (
        {
            "ProxyAnchorLoss": {
                "embedding_size": 2,
                "weight_init_func": {"uniform_": {"std": 1}},
            }
        },
        r"weight_init_func: uniform_ takes no argument 'std'",
    ),
    "missing argument": (
        {"ProxyAnchorLoss": {}},
        r"ProxyAnchorLoss cannot be built: TypeError:.*'embedding_size'",
    ),
    "value": (
        {"ContrastiveLoss": {"reducer": {"ThresholdReducer": {}}}},
        r"\.reducer: ThresholdReducer cannot be built: AssertionError: ",
    ),
    "value without text": (
        {
            "ProxyAnchorLoss": {
                "embedding_size": 2,
                "weight_regularizer": {"RegularFaceRegularizer": {"distance": {"LpDistance": {}}}},
            }
        },
        r"RegularFaceRegularizer cannot be built: AssertionError: assert self.distance.is_inverted",
    ),
    "two losses": ({"ContrastiveLoss": {}, "NCALoss": {}}, r"expected exactly one loss, got 2"),
    "loss inside a memory": (
        {"CrossBatchMemory": {"loss": {"NCALos": {}}, "embedding_size": 2}},
        r"^loss_funcs\.metric_loss\.loss: there is no loss named 'NCALos'",
    ),
}


@pytest.mark.parametrize(("spec", "message"), WRONG_ENTRIES.values(), ids=WRONG_ENTRIES.keys())
def test_wrong_entry_is_explained(getter: Any, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(getter, spec)
