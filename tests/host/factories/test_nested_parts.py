"""Choices inside losses and miners are built from their registered class."""

from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.factories.nested_parts import build_loss, build_miner
from slade_plugin.method.pairwise_losses import LocalCE, SimilarityDistribution
from slade_plugin.method.thresholds import Fixed, Quantile

pytestmark = pytest.mark.host


def basis(**arguments: Any) -> dict[str, Any]:
    return {"FeatureBasisLoss": {"embedding_size": 4, **arguments}}


def test_a_pairwise_loss_is_built_with_its_settings(full_getter: Any) -> None:
    spec = basis(pairwise_loss={"LocalCE": {"scale": 3}})
    loss = build_loss(full_getter, spec, 5, "loss_funcs.basis_loss")
    assert loss.pairwise_loss == LocalCE(scale=3)
    assert spec == basis(pairwise_loss={"LocalCE": {"scale": 3}})  # the config is left as it is
    default = build_loss(full_getter, basis(), 5, "loss_funcs.basis_loss")
    assert default.pairwise_loss == SimilarityDistribution(margin=0.5, variance_weight=1.0)


def test_thresholds_are_built_with_their_settings(full_getter: Any) -> None:
    spec = {
        "BasisSimilarityMiner": {
            "positive_threshold": {"Quantile": {"q": 0.9}},
            "negative_threshold": {"Fixed": {"value": 0.1}},
        }
    }
    miner = build_miner(full_getter, spec, None, "mining_funcs.unlabeled_tuple_miner")
    assert (miner.positive_threshold, miner.negative_threshold) == (Quantile(0.9), Fixed(0.1))


def test_a_loss_with_a_miner_with_a_loss(full_getter: Any) -> None:
    """Losses and miners hold each other to any depth."""
    inner = {"loss": {"ContrastiveLoss": {}}, "miner": {"MultiSimilarityMiner": {"epsilon": 0.3}}}
    spec = {
        "CrossBatchMemory": {
            "loss": {"ContrastiveLoss": {"neg_margin": 0.5}},
            "embedding_size": 4,
            "miner": {"MaximumLossMiner": {**inner, "output_batch_size": 2}},
        }
    }
    memory = build_loss(full_getter, spec, 3, "loss_funcs.metric_loss")
    assert type(memory.miner.loss).__name__ == "ContrastiveLoss"
    assert memory.miner.miner.epsilon == 0.3


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("LocalCE", r"basis_loss.pairwise_loss: got 'LocalCE', .* as in \{LocalCE: \{\}\}"),
        ({"Local": {}}, "pairwise_loss: there is no pairwise_loss named 'Local'"),
        ({"LocalCE": {"scal": 1}}, "LocalCE takes no argument 'scal'.*did you mean 'scale'"),
        ({"LocalCE": {"scale": -1}}, "LocalCE: scale is -1; expected a number > 0. Set it in con"),
        ({"LocalCE": {}, "GlobalCE": {}}, "exactly one pairwise_loss, got 2.*'pairwise_loss~OVER"),
        ({"Fixed": {"value": 0}}, "there is no pairwise_loss named 'Fixed'"),
    ],
)
def test_a_wrong_choice_is_named_with_its_place(
    choice: Any, message: str, full_getter: Any
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_loss(full_getter, basis(pairwise_loss=choice), 5, "loss_funcs.basis_loss")
