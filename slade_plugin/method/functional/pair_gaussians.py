"""Mean and variance of the similarities of positive and negative pairs.

SLADE (arXiv 2011.10269), Sec. 3.3: two Gaussians describe the similarities of the pairs of D^u, one
for equal and one for different pseudo labels. They are global: exponential moving averages over
the batches (Eq. 6).

Differs from the paper: taken literally, Eq. 6 scales the batch's gradient by 1 - beta (0.01 with
the paper's beta). By default the value is the moving average and the gradient is the batch's at
full strength; gradient mode "running" is the literal reading.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional.precision import at_least_float32


class Moments(NamedTuple):
    """Mean and population variance, scalar tensors with gradient."""

    mean: Tensor
    variance: Tensor


class PairMoments(NamedTuple):
    """Moments of the positive and the negative pairs; None for a sign without pairs."""

    positive: Moments | None
    negative: Moments | None


def pair_moments(similarity: Tensor, labels: Tensor) -> PairMoments:
    """Compute mean and variance of the similarities of positive and of negative pairs i < j.

    Gradients flow to ``similarity``. The diagonal and the lower triangle are not read.

    Args:
        similarity: (N, N), larger = closer; half precision is converted to float32.
        labels: (N,), a pair is positive if they are equal.

    Returns:
        Means and population variances (divided by the number of pairs, so 0 for a single pair).

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).

    Source: SLADE, Sec. 3.3, the two Gaussians of Eq. 5.
    """
    return PairMoments(*(_moments(values) for values in similarities_by_label(similarity, labels)))


def similarities_by_label(similarity: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split the similarities of the unordered pairs i < j: equal labels, then the others.

    Args:
        similarity: (N, N), larger = closer. Gradients flow; the diagonal and the lower triangle
            are not read.
        labels: (N,).

    Returns:
        Two 1-dimensional tensors, float32 or wider, N (N - 1) / 2 values in total.

    Raises:
        ShapeError: if the shapes are not (N, N) and (N,).
    """
    size = labels.shape[0] if labels.dim() == 1 else -1
    if similarity.shape != (size, size):
        raise ShapeError(
            f"similarity has shape {tuple(similarity.shape)} and labels {tuple(labels.shape)}; "
            "expected (N, N) and (N,)."
        )
    first, second = torch.triu_indices(size, size, offset=1, device=similarity.device)
    values = at_least_float32(similarity)[first, second]
    is_positive = labels[first] == labels[second]
    return values[is_positive], values[~is_positive]


def _moments(values: Tensor) -> Moments | None:
    if len(values) == 0:
        return None
    mean = values.mean()
    return Moments(mean, (values - mean).square().mean())


def running_update(running: Tensor, batch: Tensor, momentum: float, is_first: bool) -> Tensor:
    """Update a running statistic: ``(1 - beta) * batch + beta * running``.

    Args:
        running: the statistic so far; not read if ``is_first``. Gradients flow.
        batch: the statistic of this batch, of the same shape. Gradients flow.
        momentum: beta in [0, 1); 0 ignores the past.
        is_first: whether this is the first observation, which is then the result: starting from
            zero would bias about 1 / (1 - beta) batches.

    Source: SLADE, Eq. 6; the start is ours.
    """
    if is_first:
        return batch
    return (1.0 - momentum) * batch + momentum * running


def corrected_momentum(momentum: float, updates: int) -> float:
    """Compute the momentum that makes the next update bias-corrected, as in Adam.

    Adam divides an average that starts from zero by ``1 - beta ** t``. The corrected average
    follows ``running_update`` with ``beta_t = beta * (1 - beta ** (t - 1)) / (1 - beta ** t)``: 0
    for the first observation, then nearly a plain mean of the observations while ``t`` is far below
    ``1 / (1 - beta)``, and beta in the limit.

    Args:
        momentum: beta in [0, 1).
        updates: t - 1, number of observations so far.

    Returns:
        beta_t in [0, beta).

    Source: Kingma and Ba, "Adam" (arXiv 1412.6980), Sec. 3; the use for Eq. 6 of SLADE is ours.

    >>> [round(corrected_momentum(0.5, updates), 4) for updates in range(4)]
    [0.0, 0.3333, 0.4286, 0.4667]
    """
    before: float = momentum**updates
    return momentum * (1.0 - before) / (1.0 - momentum * before)


def running_with_gradient(
    running: Tensor, batch: Tensor, momentum: float, is_first: bool, gradient_mode: str
) -> Tensor:
    """Update a running statistic, with the gradient of ``gradient_mode``.

    Both modes have the value of ``running_update``; no gradient flows to ``running``.

    Args:
        running: the statistic so far; not read if ``is_first``.
        batch: the statistic of this batch.
        momentum: beta in [0, 1).
        is_first: whether this is the first observation.
        gradient_mode: "batch": the batch statistic's gradient at full strength; "running": that of
            the literal Eq. 6, scaled by 1 - beta (by 1 if ``is_first``).

    Source: SLADE, Eq. 6.
    """
    updated = running_update(running.detach(), batch, momentum, is_first)
    if gradient_mode == "running":
        return updated
    return updated.detach() + (batch - batch.detach())
