"""Mining of the pairs of D^u for the ranking loss, and their precision and recall.

Poster, Sample mining, and SLADE (arXiv 2011.10269), Eq. 7: ``P = {s >= T1}``, ``N = {s <= T2}``
over unordered pairs.

Differs from the paper: every pair is returned in both directions, since the benchmarker's pair
losses work row by row (anchor by anchor) and would otherwise miss half of the set; nothing is mined
while T1 <= T2, where a pair could be both positive and negative; and optionally the pseudo labels
must agree too, so that no pair can be both.
"""

import math

import torch
from torch import Tensor

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional.pair_gaussians import similarities_by_label

PairIndices = tuple[Tensor, Tensor, Tensor, Tensor]
"""Anchors and positives, then anchors and negatives: int64 row numbers of the batch, ordered."""


def pairs_by_label(labels: Tensor) -> PairIndices:
    """Return all ordered pairs of a batch: positive if the labels are equal, else negative.

    Args:
        labels: (N,).

    Returns:
        (a1, p, a2, n), both directions of each pair, no pair of a row with itself.

    Raises:
        ShapeError: if ``labels`` is not 1-dimensional.

    Source: poster, ablation 2, "Student (pseudo label)".

    >>> [index.tolist() for index in pairs_by_label(torch.tensor([7, 7, 9]))]
    [[0, 1], [1, 0], [0, 1, 2, 2], [2, 2, 0, 1]]
    """
    same = _same_label(labels)
    anchors, positives = torch.where(_without_diagonal(same))
    negative_anchors, negatives = torch.where(~same)
    return anchors, positives, negative_anchors, negatives


def mine_by_similarity(
    similarity: Tensor,
    positive_threshold: float,
    negative_threshold: float,
    labels: Tensor | None = None,
) -> PairIndices:
    """Mine pairs with ``s >= T1`` as positives and pairs with ``s <= T2`` as negatives.

    No gradient flows. A NaN similarity is neither.

    Args:
        similarity: (N, N), larger = closer; only i < j is read, so both directions agree even if
            rounding makes the matrix asymmetric.
        positive_threshold: T1.
        negative_threshold: T2. Nothing is mined if either is NaN, or without ``labels`` while
            T1 <= T2.
        labels: (N,) pseudo labels; if given, a positive pair must share its label and a negative
            pair must not, so T1 and T2 may be in any order.

    Returns:
        (a1, p, a2, n), both directions of each pair, no pair of a row with itself; empty tensors if
        nothing is mined.

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).

    Source: poster, Sample mining; SLADE, Eq. 7.

    >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]])
    >>> [index.tolist() for index in mine_by_similarity(similarity, 0.8, 0.2)]
    [[0, 1], [1, 0], [0, 2], [2, 0]]
    """
    if similarity.dim() != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ShapeError(f"similarity has shape {tuple(similarity.shape)}; expected (N, N).")
    if labels is not None and labels.shape != similarity.shape[:1]:
        raise ShapeError(
            f"labels have shape {tuple(labels.shape)}; expected ({similarity.shape[0]},), one "
            "for each row of the similarity."
        )
    values = similarity.detach()
    known = not math.isnan(positive_threshold) and not math.isnan(negative_threshold)
    if not known or (labels is None and positive_threshold <= negative_threshold):
        nothing = torch.empty(0, dtype=torch.int64, device=values.device)
        return nothing, nothing.clone(), nothing.clone(), nothing.clone()
    is_positive = (values >= positive_threshold).triu(diagonal=1)
    is_negative = (values <= negative_threshold).triu(diagonal=1)
    if labels is not None:
        same = _same_label(labels)
        is_positive, is_negative = is_positive & same, is_negative & ~same
    anchors, positives = torch.where(is_positive | is_positive.t())
    negative_anchors, negatives = torch.where(is_negative | is_negative.t())
    return anchors, positives, negative_anchors, negatives


def pair_quantile(
    similarity: Tensor, quantile: float, labels: Tensor | None = None, same_label: bool = True
) -> float:
    """Compute a quantile of the similarities of the unordered pairs i < j, as T1 or T2.

    As T1 it selects a share of ``1 - quantile`` of these pairs, as T2 a share of ``quantile``,
    independent of the scale of the similarities; linear interpolation. No gradient flows.

    Args:
        similarity: (N, N), larger = closer.
        quantile: in [0, 1].
        labels: (N,); if given, only pairs with equal labels count or, with ``same_label`` False,
            only those with different ones.
        same_label: which pairs count; unused without ``labels``.

    Returns:
        The quantile; NaN if there is no such pair or one of them is NaN.

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).

    Source: ours.

    >>> similarity = torch.tensor([[1.0, 0.75, 0.0], [0.75, 1.0, 0.5], [0.0, 0.5, 1.0]])
    >>> pair_quantile(similarity, 0.5)
    0.5
    """
    if labels is None:  # one label shared by all pairs
        labels, same_label = torch.zeros(len(similarity), device=similarity.device), True
    values = similarities_by_label(similarity.detach(), labels)[0 if same_label else 1]
    return float(values.quantile(quantile)) if len(values) else math.nan


def pair_precision(indices_tuple: PairIndices, true_labels: Tensor) -> tuple[float, float]:
    """Compute the shares of positive pairs of one class and of negative pairs of two classes.

    For records only. True labels are compared with each other, never with pseudo labels.

    Args:
        indices_tuple: (a1, p, a2, n).
        true_labels: (N,) classes of the batch.

    Returns:
        (positive precision, negative precision) in [0, 1]; NaN if there is no such pair.

    Raises:
        ShapeError: if ``indices_tuple`` does not have four index tensors, or ``true_labels`` is not
            1-dimensional.

    >>> pairs = mine_by_similarity(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.8, 0.2)
    >>> pair_precision(pairs, torch.tensor([4, 4]))
    (1.0, nan)
    """
    anchors, positives, negative_anchors, negatives = _four_indices(indices_tuple)
    same = _same_label(true_labels)
    return (
        _share(same[anchors, positives].sum(), len(anchors)),
        _share((~same[negative_anchors, negatives]).sum(), len(negative_anchors)),
    )


def pair_recall(indices_tuple: PairIndices, true_labels: Tensor) -> tuple[float, float]:
    """Compute the shares of same-class pairs mined as positive and of the others as negative.

    Shares of the unordered pairs of the batch; a pair counts once, in whichever direction mined.

    Args:
        indices_tuple: (a1, p, a2, n).
        true_labels: (N,) classes of the batch.

    Returns:
        (positive recall, negative recall) in [0, 1]; NaN if the batch has no such pair.

    Raises:
        ShapeError: as in ``pair_precision``.

    >>> pairs = mine_by_similarity(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.8, 0.2)
    >>> pair_recall(pairs, torch.tensor([4, 4]))
    (1.0, nan)
    """
    anchors, positives, negative_anchors, negatives = _four_indices(indices_tuple)
    same = _same_label(true_labels)
    return (
        _found(same, anchors, positives),
        _found(~same, negative_anchors, negatives),
    )


def _found(wanted: Tensor, first: Tensor, second: Tensor) -> float:
    """Compute the share of wanted unordered pairs, (N, N) symmetric, among (first, second)."""
    wanted = wanted.triu(diagonal=1)
    is_mined = torch.zeros_like(wanted)
    is_mined[torch.minimum(first, second), torch.maximum(first, second)] = True
    return _share((wanted & is_mined).sum(), int(wanted.sum()))


def _same_label(labels: Tensor) -> Tensor:
    if labels.dim() != 1:
        raise ShapeError(f"labels have shape {tuple(labels.shape)}; expected (N,).")
    return labels.unsqueeze(1) == labels.unsqueeze(0)  # (N, N)


def _without_diagonal(mask: Tensor) -> Tensor:
    return mask & ~torch.eye(len(mask), dtype=torch.bool, device=mask.device)


def _four_indices(indices_tuple: PairIndices) -> PairIndices:
    if len(indices_tuple) != 4:
        raise ShapeError(
            f"indices_tuple has {len(indices_tuple)} tensors; expected 4 (anchors, positives, "
            "anchors, negatives). A triplet miner cannot be used here."
        )
    return indices_tuple


def _share(part: Tensor, whole: int) -> float:
    return float(part) / whole if whole else math.nan
