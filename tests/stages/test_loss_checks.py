"""Losses that cannot train what they are used for are refused."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor, nn

from slade_plugin.base.errors import ConfigError
from slade_plugin.stages.loss_checks import check_margins, check_takes_embeddings, check_takes_pairs

DIM = 8
LABELS = 10**6  # c + k

OF_CLASSES = {"num_classes": 6, "embedding_size": DIM}

TAKES_PAIRS: dict[str, Callable[[], nn.Module]] = {
    "ContrastiveLoss": losses.ContrastiveLoss,
    "tuned ContrastiveLoss": lambda: losses.ContrastiveLoss(pos_margin=0.2, neg_margin=0.4),
    "MultiSimilarityLoss": losses.MultiSimilarityLoss,
    "TripletMarginLoss": losses.TripletMarginLoss,
    "strict TripletMarginLoss": lambda: losses.TripletMarginLoss(margin=0.001),
    "NTXentLoss": losses.NTXentLoss,
    "SignalToNoiseRatioContrastiveLoss": losses.SignalToNoiseRatioContrastiveLoss,
    "GeneralizedLiftedStructureLoss": losses.GeneralizedLiftedStructureLoss,
    "LiftedStructureLoss": losses.LiftedStructureLoss,
    "CircleLoss": losses.CircleLoss,
    "MarginLoss": losses.MarginLoss,
    "TupletMarginLoss": losses.TupletMarginLoss,
    "IntraPairVarianceLoss": losses.IntraPairVarianceLoss,
}

TAKES_NONE: dict[str, Callable[[], nn.Module]] = {
    "ProxyNCALoss": lambda: losses.ProxyNCALoss(**OF_CLASSES),
    "NormalizedSoftmaxLoss": lambda: losses.NormalizedSoftmaxLoss(**OF_CLASSES),
    "CosFaceLoss": lambda: losses.CosFaceLoss(**OF_CLASSES),
    "ArcFaceLoss": lambda: losses.ArcFaceLoss(**OF_CLASSES),
    "ProxyAnchorLoss": lambda: losses.ProxyAnchorLoss(**OF_CLASSES),
    "SoftTripleLoss": lambda: losses.SoftTripleLoss(**OF_CLASSES),
    "LargeMarginSoftmaxLoss": lambda: losses.LargeMarginSoftmaxLoss(**OF_CLASSES),
    "SphereFaceLoss": lambda: losses.SphereFaceLoss(**OF_CLASSES),
    "FastAPLoss": losses.FastAPLoss,
    "NCALoss": losses.NCALoss,
    "NPairsLoss": losses.NPairsLoss,
    "AngularLoss": losses.AngularLoss,
}


def test_trap_08_every_loss_of_the_host_is_tried() -> None:
    shipped = {
        name
        for name, cls in vars(losses).items()
        if inspect.isclass(cls) and issubclass(cls, losses.BaseMetricLossFunction)
    }
    tried = {name for name in (*TAKES_PAIRS, *TAKES_NONE) if " " not in name}
    assert tried == shipped - {"BaseMetricLossFunction", "GenericPairLoss"}


@pytest.mark.parametrize("name", TAKES_PAIRS)
@pytest.mark.parametrize("found", ["nothing", "positive", "negative", "no anchor of both", "both"])
def test_trap_08_losses_of_pairs_take_whatever_a_miner_finds(name: str, found: str) -> None:
    """Two of the host's need a shim for it; a loss of nothing is 0."""
    none = torch.empty(0, dtype=torch.int64)
    a1, p = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 0, 3, 2])
    a2, n = torch.tensor([0, 4, 2, 5]), torch.tensor([4, 0, 5, 2])
    pairs = {
        "nothing": (none, none, none, none),
        "positive": (a1, p, none, none),
        "negative": (none, none, a2, n),
        "no anchor of both": (a1[:2], p[:2], a2[2:], n[2:]),
        "both": (a1, p, a2, n),
    }[found]
    embeddings = torch.randn(6, DIM, generator=torch.manual_seed(0)).requires_grad_()
    value = TAKES_PAIRS[name]()(embeddings, torch.arange(6) + 60, pairs)
    value.backward()
    assert value.isfinite()
    assert found != "nothing" or value == 0
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("name", TAKES_PAIRS)
def test_trap_08_losses_of_pairs_are_taken(name: str) -> None:
    check_takes_pairs(TAKES_PAIRS[name](), DIM, LABELS)


@pytest.mark.parametrize("classes", [4, 6, 1000])
@pytest.mark.parametrize("name", TAKES_NONE)
def test_trap_08_losses_of_classes_are_refused(
    name: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many classes they know."""
    monkeypatch.setitem(OF_CLASSES, "num_classes", classes)
    loss = TAKES_NONE[name]()
    with pytest.raises(ConfigError, match=rf"unlabeled_metric_loss is {type(loss).__name__}, "):
        check_takes_pairs(loss, DIM, LABELS)


def test_trap_08_a_loss_with_a_number_for_each_class_is_refused() -> None:
    """MarginLoss has one beta a class, and the loss factory tells it the labeled classes only."""
    with pytest.raises(ConfigError, match="unlabeled_metric_loss is MarginLoss"):
        check_takes_pairs(losses.MarginLoss(num_classes=60), DIM, LABELS)


def test_trap_08_a_loss_that_ignores_the_pairs_is_refused() -> None:
    class OfEmbeddings(nn.Module):
        def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple: Any = None) -> Tensor:
            return embeddings.square().mean()

    with pytest.raises(ConfigError, match="unlabeled_metric_loss is OfEmbeddings"):
        check_takes_pairs(OfEmbeddings(), DIM, LABELS)


@pytest.mark.parametrize(
    "name", ["ProxyAnchorLoss", "ProxyNCALoss", "SoftTripleLoss", "CosFaceLoss"]
)
def test_class_weights_of_another_size_are_refused(name: str) -> None:
    loss = TAKES_NONE[name]()
    before = copy.deepcopy(loss.state_dict())
    check_takes_embeddings(loss, DIM)
    with pytest.raises(ConfigError, match=rf"{name} cannot take embeddings .*embedding_size: 5"):
        check_takes_embeddings(loss, 5)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())
    check_takes_embeddings(losses.ContrastiveLoss(), 5)


def test_the_check_draws_nothing_from_the_runs_generator() -> None:
    state = torch.get_rng_state()
    check_takes_pairs(losses.ContrastiveLoss(), DIM, LABELS)
    assert torch.equal(torch.get_rng_state(), state)


def test_trap_06_margins_that_unit_vectors_cannot_reach_are_refused() -> None:
    """Unit vectors are 0 to 2 apart, unrelated ones near sqrt(2): 0.38 seldom fires, 2 always."""
    vectors = nn.functional.normalize(torch.randn(200, 64, generator=torch.manual_seed(0)))
    distances = torch.pdist(vectors)
    assert distances.mean().item() == pytest.approx(2**0.5, abs=0.02)
    assert (distances < 0.3841).float().mean() == 0  # the host's tuned margin for CUB-200
    assert (distances < 2).all()
    for margin in (0.3841, 1.0, 2):
        check_margins("metric_loss", losses.ContrastiveLoss(neg_margin=margin))
    for margin in (2.1, 0, -0.5):
        with pytest.raises(ConfigError, match=rf"metric_loss: neg_margin is {margin}; expected"):
            check_margins("metric_loss", losses.ContrastiveLoss(neg_margin=margin))


def test_trap_06_other_losses_and_distances_are_left_alone() -> None:
    for normalize, power in ((False, 1), (True, 2)):
        distance = LpDistance(normalize_embeddings=normalize, power=power)
        check_margins("metric_loss", losses.ContrastiveLoss(neg_margin=3, distance=distance))
    check_margins("metric_loss", losses.TripletMarginLoss(margin=3))
