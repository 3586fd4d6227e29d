"""Similarity distribution loss L_SD.

SLADE (arXiv 2011.10269), Eq. 5. Margin and variance weight are arguments: no public source states
the values behind the paper's numbers.
"""

from torch import Tensor


def similarity_distribution_loss(
    positive_mean: Tensor,
    negative_mean: Tensor,
    positive_variance: Tensor,
    negative_variance: Tensor,
    margin: float,
    variance_weight: float,
) -> Tensor:
    """Push two Gaussians apart and make them narrow.

    ``max(mu_neg - mu_pos + m, 0) + lambda_v * (var_pos + var_neg)``; gradients flow to all four
    statistics, to the means only while their distance is below the margin.

    Args:
        positive_mean: scalar mu_pos, mean similarity (larger = closer) of the positive pairs.
        negative_mean: scalar mu_neg, of the negative pairs.
        positive_variance: scalar var_pos >= 0.
        negative_variance: scalar var_neg >= 0.
        margin: m, target distance of the means; cosines allow at most 2.
        variance_weight: lambda_v >= 0.

    Returns:
        A scalar >= 0; 0 if the means are at least the margin apart and the variances are 0.

    Source: SLADE, Eq. 5.

    >>> from torch import tensor
    >>> similarity_distribution_loss(
    ...     tensor(0.5), tensor(0.25), tensor(0.25), tensor(0.0), margin=0.5, variance_weight=1.0
    ... )
    tensor(0.5000)
    """
    gap = (negative_mean - positive_mean + margin).clamp(min=0.0)
    return gap + variance_weight * (positive_variance + negative_variance)
