"""What earlier versions wrote is read with one warning, and nothing else is touched."""

import copy
from typing import Any

import pytest

from slade_plugin.base.warning import warn_once
from slade_plugin.config.former_keys import translate

L_SD = {"SimilarityDistribution": {"margin": 0.5, "variance_weight": 1.0}}
K_MEANS = {"num_clusters": 400, "num_iterations": 50, "num_restarts": 1, "seed": None}


def basis(**arguments: Any) -> dict[str, Any]:
    return {"loss_funcs": {"basis_loss": {"FeatureBasisLoss": arguments}}}


def miner(**arguments: Any) -> dict[str, Any]:
    return {"mining_funcs": {"unlabeled_tuple_miner": {"BasisSimilarityMiner": arguments}}}


def labels(**entry: Any) -> dict[str, Any]:
    return {"pseudo_labels": {"folder": None, "min_cluster_size": 2, **entry}}


@pytest.mark.parametrize(
    ("former", "todays"),
    [
        # As the shipped configs of version 0.1.0 were saved.
        (basis(embedding_size=8, margin=0.5, variance_weight=1.0),
         basis(embedding_size=8, pairwise_loss=L_SD)),
        (basis(margin=0.5, variance_weight=1.0, pairwise_loss="local_ce", pairwise_scale=10.0),
         basis(pairwise_loss={"LocalCE": {"scale": 10.0}})),
        (basis(margin=0.5, pairwise_loss="global_ce"), basis(pairwise_loss={"GlobalCE": {}})),
        (basis(pairwise_loss="similarity_distribution", pairwise_scale=3),
         basis(pairwise_loss={"SimilarityDistribution": {}})),
        (miner(positive_threshold="running_mean", negative_threshold={"quantile": 1.0}, start=0),
         miner(positive_threshold={"RunningMean": {}}, negative_threshold={"Quantile": {"q": 1.0}},
               start=0)),
        (miner(positive_threshold=0.5), miner(positive_threshold={"Fixed": {"value": 0.5}})),
        (labels(source="clusters", **K_MEANS), labels(clusterer={"KMeans": K_MEANS})),
        (labels(source="true_labels", **K_MEANS), labels(clusterer={"TrueLabels": {}})),
        (labels(num_clusters=7), labels(clusterer={"KMeans": {"num_clusters": 7}})),
        # On the command line, merged into today's configs.
        (basis(margin=0.7, pairwise_loss=L_SD),
         basis(pairwise_loss={"SimilarityDistribution": {"margin": 0.7, "variance_weight": 1.0}})),
        (miner(positive_threshold={"RunningMean": {}, "quantile": 0.3}),
         miner(positive_threshold={"Quantile": {"q": 0.3}})),
        (labels(num_clusters=7, clusterer={"KMeans": K_MEANS}),
         labels(clusterer={"KMeans": {**K_MEANS, "num_clusters": 7}})),
        (labels(num_clusters=7, clusterer={"TrueLabels": {}}),
         labels(clusterer={"TrueLabels": {}})),
        (labels(source="true_labels", clusterer={"KMeans": K_MEANS}),
         labels(clusterer={"TrueLabels": {}})),
    ],
)  # fmt: skip
def test_former_spellings(
    former: dict[str, Any], todays: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    before, config = copy.deepcopy(former), dict(former)
    translate(config)
    assert config == todays
    assert former == before  # nested entries may be shared
    (record,) = caplog.records
    assert "uses a former spelling" in record.message
    translate(config)
    assert config == todays
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "config",
    [
        basis(embedding_size=8, pairwise_loss=L_SD),
        basis(embedding_size=8),
        basis(pairwise_loss={"Mine": {}}),
        basis(pairwise_loss="mine", margin=0.5),  # refused later, with the valid names
        basis(pairwise_loss={"LocalCE": {}}, margin=0.5),  # likewise
        miner(positive_threshold={"Fixed": {"value": 0.5}}),
        miner(positive_threshold=True),
        labels(clusterer={"HDBSCAN": {}}, num_clusters=3),
        labels(source="truth"),
        labels(clusterer={"KMeans": K_MEANS}),
        {"loss_funcs": {"metric_loss": {"ContrastiveLoss": {"margin": 0.5}}}},
        {"loss_funcs": None, "mining_funcs": {}, "pseudo_labels": 3},
        {},
    ],
)
def test_the_rest_is_left_as_it_is(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = copy.deepcopy(config)
    translate(config)
    assert config == before
    assert caplog.records == []
