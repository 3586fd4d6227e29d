"""Check that a loss can train what it is used for."""

import copy
from typing import Any

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin

from slade_plugin.base.errors import ConfigError


def check_margins(name: str, loss: Any) -> None:
    """Check that the negative margin of a contrastive loss can be reached.

    Embeddings of unit length are at most 2 apart, and unrelated ones near sqrt(2) = 1.41: a pair
    never satisfies a negative margin above 2, and one of 0 never fires.

    Args:
        name: Key of the loss in `loss_funcs`.
        loss: Any loss; only a `ContrastiveLoss` on normalised distances is looked at.

    Raises:
        ConfigError: If no pair of unit vectors could satisfy the margin or none could violate it.
    """
    distance = getattr(loss, "distance", None)
    on_unit_length = (
        isinstance(loss, ContrastiveLoss)
        and isinstance(distance, LpDistance)
        and distance.normalize_embeddings
        and (distance.p, distance.power) == (2, 1)
    )
    if on_unit_length and not 0 < loss.neg_margin <= 2:
        raise ConfigError(
            f"{name}: neg_margin is {loss.neg_margin}; expected above 0 and at most 2, the largest "
            "distance of unit vectors. Change it in config_loss."
        )


def check_takes_embeddings(loss: Any, embedding_size: int) -> None:
    """Check that a loss with class weights or proxies knows the size of the embeddings.

    Args:
        loss: A loss of the host on D^l; only one with such weights is looked at.
        embedding_size: D of the embedder.

    Raises:
        ConfigError: If it cannot take embeddings of this size.
    """
    if not isinstance(loss, WeightRegularizerMixin):
        return
    try:
        with torch.no_grad():
            copy.deepcopy(loss)(torch.ones(2, embedding_size), torch.tensor([0, 1]))
    except Exception as error:
        raise ConfigError(
            f"metric_loss: {type(loss).__name__} cannot take the {embedding_size} numbers that the "
            f"embedder gives: {error or type(error).__name__}; expected embedding_size: "
            f"{embedding_size}. Change loss_funcs in config_loss or config_models."
        ) from error


def check_takes_pairs(loss: Any, embedding_size: int, num_labels: int = 10**6) -> None:
    """Check that a loss depends on the mined pairs alone, not on labels of its own.

    Proxy and classification losses compare labels with weights of known classes, and pseudo labels
    are not among them. A pair or triplet loss gives the same value whatever the labels, once pairs
    are given.

    Args:
        loss: A loss of the host.
        embedding_size: D of the embedder.
        num_labels: c + k; the pseudo labels reach c + k - 1, above the classes that a loss knows.

    Raises:
        ConfigError: If the loss cannot take mined pairs.
    """
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(6, embedding_size, generator=generator)
    a1, p = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 0, 3, 2])
    a2, n = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 4, 5])
    values = []
    try:
        with torch.no_grad():
            largest = max(num_labels, len(embeddings)) - 1
            for labels in (torch.tensor([0, 0, 1, 1, 2, 2]), largest - torch.arange(6)):
                values.append(float(loss(embeddings, labels, (a1, p, a2, n))))
            swapped = float(loss(embeddings, labels, (a2, n, a1, p)))
    except Exception as error:  # noqa: BLE001 - whichever way it refuses, it cannot take pairs
        values, reason = [], f"it fails: {error or type(error).__name__}"
    else:
        reason = "its value depends on labels or not on the pairs"
    if len(values) != 2 or values[0] != values[1] or swapped == values[0]:
        raise ConfigError(
            f"unlabeled_metric_loss is {type(loss).__name__}, which cannot take mined pairs "
            f"({reason}); expected a pair or triplet loss such as ContrastiveLoss, "
            "MultiSimilarityLoss or TripletMarginLoss (config_loss)."
        )
