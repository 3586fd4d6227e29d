"""Cross entropy L_CE of the basis responses.

SLADE (arXiv 2011.10269), Eq. 3: the softmax cross entropy of ``W_a f`` on D^l, a linear classifier
without bias whose weight is the basis. No public source states a logit scale, so it is an argument;
``basis_responses`` handles the normalization of f.
"""

from torch import Tensor
from torch.nn import functional

from slade_plugin.base.errors import ShapeError


def basis_cross_entropy(responses: Tensor, labels: Tensor, logit_scale: float = 1.0) -> Tensor:
    """Compute the mean of ``-log softmax(logit_scale * r)`` at the true class.

    Gradients flow to ``responses``; each row's sum to zero.

    Args:
        responses: (N, c), r = W_a f, float32 or wider.
        labels: (N,) integers from 0 to c - 1, the true classes.
        logit_scale: > 0; larger values sharpen the softmax.

    Returns:
        A scalar >= 0: log c if all responses are equal, toward 0 the more the true class stands
        out. Zero with zero gradient if there are no rows.

    Raises:
        ShapeError: if the shapes are not (N, c) and (N,).

    Source: SLADE, Eq. 3.

    >>> import torch
    >>> basis_cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 3]))  # log 4
    tensor(1.3863)
    """
    if responses.dim() != 2 or labels.shape != responses.shape[:1]:
        raise ShapeError(
            f"responses have shape {tuple(responses.shape)} and labels {tuple(labels.shape)}; "
            "expected (N, c) and (N,)."
        )
    if len(labels) == 0:
        return responses.sum()  # torch's mean over nothing is NaN
    return functional.cross_entropy(logit_scale * responses, labels.long())
