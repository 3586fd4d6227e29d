"""Miners are the host's where the host can build them, and are built where it cannot."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from powerful_benchmarker.factories import MinerFactory
from pytorch_metric_learning import distances, losses, miners

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.factories import SladeMinerFactory

pytestmark = pytest.mark.host

MAXIMUM_LOSS = {
    "MaximumLossMiner": {
        "loss": {"ContrastiveLoss": {"neg_margin": 0.5}},
        "miner": {"MultiSimilarityMiner": {"epsilon": 0.3}},
        "output_batch_size": 4,
    }
}


def build(getter: Any, spec: object, factory: type = SladeMinerFactory) -> Any:
    return factory(getter=getter).create(named_specs={"tuple_miner": spec})["tuple_miner"]


@pytest.mark.parametrize(
    "spec",
    [
        {"MultiSimilarityMiner": None},
        {"MultiSimilarityMiner": {"epsilon": 0.3}},
        {"TripletMarginMiner": {"margin": 0.1, "type_of_triplets": "semihard"}},
        {"DistanceWeightedMiner": {"cutoff": 0.4}},
    ],
)
def test_same_miner_as_the_host(getter: Any, spec: dict[str, Any]) -> None:
    ours, hosts = (
        build(getter, copy.deepcopy(spec), factory) for factory in (SladeMinerFactory, MinerFactory)
    )
    assert type(ours) is type(hosts)
    plain = [
        {k: v for k, v in vars(miner).items() if isinstance(v, int | float | str | list)}
        for miner in (ours, hosts)
    ]
    assert plain[0] == plain[1]
    assert type(ours.distance) is type(hosts.distance)


def test_no_miners_means_none(getter: Any) -> None:
    assert SladeMinerFactory(getter=getter).create(named_specs={}) == {}


def test_the_host_cannot_build_a_miner_with_a_loss(getter: Any) -> None:
    with pytest.raises(AssertionError, match="Either specs or named_specs"):
        build(getter, copy.deepcopy(MAXIMUM_LOSS), MinerFactory)


def test_miner_with_a_loss_mines(getter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    miner = build(getter, MAXIMUM_LOSS)
    assert isinstance(miner.loss, losses.ContrastiveLoss)
    assert isinstance(miner.miner, miners.MultiSimilarityMiner)
    monkeypatch.setattr(
        "pytorch_metric_learning.utils.common_functions.NUMPY_RANDOM", np.random.RandomState(0)
    )
    chosen = miner(torch.randn(8, 2), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    assert len(set(chosen.tolist())) == 4


def test_config_is_left_whole(getter: Any) -> None:
    spec = copy.deepcopy(MAXIMUM_LOSS)
    build(getter, spec)
    assert spec == MAXIMUM_LOSS


def test_distance_by_name(getter: Any) -> None:
    miner = build(getter, {"TripletMarginMiner": {"distance": {"CosineSimilarity": {}}}})
    assert isinstance(miner.distance, distances.CosineSimilarity)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"MultiSimilarityMinr": {}},
            r"^mining_funcs\.tuple_miner: there is no miner named 'MultiSimilarityMinr' "
            r"\(did you mean 'MultiSimilarityMiner'\?\)",
        ),
        (
            {"MultiSimilarityMiner": {"epsilom": 0.1}},
            r"MultiSimilarityMiner takes no argument 'epsilom' \(did you mean 'epsilon'\?\)",
        ),
        (
            {"MaximumLossMiner": {"loss": {"NCALos": {}}, "output_batch_size": 2}},
            r"^mining_funcs\.tuple_miner\.loss: there is no loss named 'NCALos'",
        ),
        (
            {
                "MaximumLossMiner": {
                    "loss": {"ProxyNCALoss": {"embedding_size": 2}},
                    "output_batch_size": 2,
                }
            },
            r"ProxyNCALoss needs num_classes, which is not known here; add num_classes",
        ),
        ({"MaximumLossMiner": {"output_batch_size": 2}}, r"cannot be built: TypeError:.*'loss'"),
        ({"PairMarginMiner": {"pos_margin": "1e-2"}}, r"pos_margin is the text '1e-2'"),
    ],
)
def test_wrong_entry_is_explained(getter: Any, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(getter, spec)
