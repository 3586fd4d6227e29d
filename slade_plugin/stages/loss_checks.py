"""Checks that a loss suits its use."""

import copy
from typing import Any

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin

from slade_plugin.base.errors import ConfigError


def check_margins(name: str, loss: Any) -> None:
    """Check that the negative margin of a contrastive loss can be reached.

    Unit embeddings are at most 2 apart, and unrelated ones about sqrt(2) = 1.41: no pair satisfies
    a negative margin above 2, and a margin of 0 is never violated.

    Args:
        name: Key of the loss in `loss_funcs`.
        loss: Any loss; only `ContrastiveLoss` on normalized distances is checked.

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
            "distance between unit vectors. Change it in config_loss."
        )


def check_takes_embeddings(loss: Any, embedding_size: int) -> None:
    """Check that a loss with class weights or proxies knows the size of the embeddings.

    Args:
        loss: A host loss on D^l; only one with such weights is checked.
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
            f"metric_loss: {type(loss).__name__} cannot take embeddings of size "
            f"{embedding_size}, the embedder's: {error or type(error).__name__}; expected "
            f"embedding_size: {embedding_size}. Change loss_funcs in config_loss or config_models."
        ) from error


def check_takes_pairs(loss: Any, embedding_size: int, num_labels: int) -> None:
    """Check that a loss depends only on the mined pairs, not on labels.

    Proxy and classification losses compare labels with weights of known classes, which do not
    include pseudo labels. Given pairs, a pair or triplet loss has the same value for any labels.

    Args:
        loss: A loss of the host.
        embedding_size: D of the embedder.
        num_labels: c + k; pseudo labels go up to c + k - 1, beyond the classes of the loss.

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
    except Exception as error:  # noqa: BLE001 - any failure means that it cannot take pairs
        values, reason = [], f"it fails: {error or type(error).__name__}"
    else:
        reason = "its value depends on the labels or ignores the pairs"
    if len(values) != 2 or values[0] != values[1] or swapped == values[0]:
        raise ConfigError(
            f"unlabeled_metric_loss is {type(loss).__name__}, which cannot take mined pairs "
            f"({reason}); expected a pair or triplet loss such as ContrastiveLoss, "
            "MultiSimilarityLoss or TripletMarginLoss (config_loss)."
        )
