"""Pairwise cross entropy as an alternative to L_SD: Local-CE and Global-CE of ablation 3.

The poster names both and no public source defines them. Interpreted here as a binary cross entropy
that predicts, from a pair's basis similarity, whether its two pseudo labels are equal:

    logit(i, j) = scale * (s(i, j) - midpoint),  midpoint = (mu_pos + mu_neg) / 2

Local-CE uses the midpoint of the batch's two means, Global-CE that of the two running Gaussians
(SLADE, arXiv 2011.10269, Eq. 6), so they differ in the property attributed to L_SD. Like L_SD, both
are invariant to a constant added to every similarity. The likelihood ratio of the two Gaussians is
not used: with unequal variances it is not monotonic in s.
"""

from torch import Tensor
from torch.nn import functional

from slade_plugin.method.functional.pair_gaussians import PairMoments, similarities_by_label


def pairwise_cross_entropy(
    similarity: Tensor, labels: Tensor, midpoint: Tensor, scale: float
) -> Tensor:
    """Compute the balanced binary cross entropy of the unordered pairs i < j, target "equal label".

    ``(mean of log(1 + exp(-logit)) over positive pairs + mean of log(1 + exp(logit)) over negative
    pairs) / 2`` with ``logit = scale * (s - midpoint)``. The means have equal weight: a batch has
    far more negative pairs than positive ones, which would dominate a plain mean.

    Gradients flow to ``similarity`` and ``midpoint``.

    Args:
        similarity: (N, N), larger = closer; half precision is converted to float32.
        labels: (N,), a pair is positive if they are equal.
        midpoint: scalar, the similarity at which a pair is equally likely positive and negative.
        scale: > 0, the steepness.

    Returns:
        A scalar >= 0: log 2 if every similarity is at the midpoint, toward 0 the further the pairs
        are on their correct sides. A mean over no pairs is 0.

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).

    Source: poster, ablation 3 (the names); the definition is ours.

    >>> import torch
    >>> similarity = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> pairwise_cross_entropy(similarity, torch.tensor([7, 9]), torch.tensor(0.5), 10.0)
    tensor(0.3466)
    """
    positive, negative = similarities_by_label(similarity, labels)
    terms = [
        functional.softplus(-scale * (positive - midpoint)),
        functional.softplus(scale * (negative - midpoint)),
    ]
    halves = [term.mean() if len(term) else term.sum() for term in terms]
    return (halves[0] + halves[1]) / 2


def cross_entropy_around_means(
    similarity: Tensor, labels: Tensor, moments: PairMoments, scale: float
) -> Tensor:
    """Compute ``pairwise_cross_entropy`` around the midpoint of two means.

    Args:
        similarity: (N, N), larger = closer.
        labels: (N,), a pair is positive if they are equal.
        moments: Moments of the positive and negative pairs; gradients flow to their means.
        scale: > 0, the steepness.

    Returns:
        A scalar >= 0; 0 with zero gradient if one of the means is unknown.

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).
    """
    positive, negative = moments
    if positive is None or negative is None:
        return similarity[:0].sum()
    midpoint = (positive.mean + negative.mean) / 2
    return pairwise_cross_entropy(similarity, labels, midpoint, scale)
