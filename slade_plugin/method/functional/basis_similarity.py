"""Responses of the feature basis, and the similarity of images in that basis.

SLADE (arXiv 2011.10269), Sec. 3.3 and Eq. 4: ``r = W_a f`` and ``s(i, j) = cos(r_i, r_j)``.

Differs from the paper: optionally, a common vector is subtracted from the responses before the
cosine. All responses share a large common direction, which makes every cosine large and hides the
difference between classes. Off by default.
"""

import torch
from torch import Tensor
from torch.nn import functional

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional.precision import at_least_float32


def basis_responses(embeddings: Tensor, basis: Tensor, normalize: bool = True) -> Tensor:
    """Project embeddings onto the basis vectors: ``r = W_a f / |f|``, or ``r = W_a f``.

    Computed in float32 or wider, outside autocast. Gradients flow to both arguments.

    Args:
        embeddings: (N, D), any length.
        basis: (c, D), the basis vectors W_a as rows, not normalized.
        normalize: whether to scale embeddings to unit length first; a zero row stays zero
            and gets no gradient.

    Returns:
        (N, c) responses; larger = closer to that basis vector. Also the bias-free class logits.

    Raises:
        ShapeError: if a tensor is not 2-dimensional or D differs.

    Source: SLADE, Sec. 3.3 (r = W_a f).
    """
    if embeddings.dim() != 2 or basis.dim() != 2 or embeddings.shape[1] != basis.shape[1]:
        raise ShapeError(
            f"embeddings have shape {tuple(embeddings.shape)} and the basis "
            f"{tuple(basis.shape)}; expected (N, D) and (c, D) with one D (embedding_size)."
        )
    with torch.autocast(device_type=embeddings.device.type, enabled=False):
        f = at_least_float32(embeddings)
        if normalize:
            f = _unit_rows(f)
        rows = at_least_float32(basis)
        dtype = torch.promote_types(f.dtype, rows.dtype)
        return f.to(dtype) @ rows.to(dtype).t()  # (N, c)


def pairwise_cosine(responses: Tensor, center: Tensor | None = None) -> Tensor:
    """Compute pairwise cosines of responses, ``s(i, j) = cos(r_i - center, r_j - center)``.

    Computed in float32 or wider, outside autocast. Gradients flow to ``responses`` only.

    Args:
        responses: (N, c).
        center: (c,) subtracted from each response first, detached; None subtracts nothing.

    Returns:
        (N, N) in [-1, 1] up to rounding; larger = closer. Zero where a (centered) response is
        the zero vector, which gets no gradient; NaN in the rows and columns of a NaN response.

    Raises:
        ShapeError: if ``responses`` is not 2-dimensional or ``center`` does not have c entries.

    Source: SLADE, Eq. 4; the centering is ours.
    """
    if responses.dim() != 2:
        raise ShapeError(f"responses have shape {tuple(responses.shape)}; expected (N, c).")
    with torch.autocast(device_type=responses.device.type, enabled=False):
        directions = at_least_float32(responses)
        if center is not None:
            if center.shape != directions.shape[1:]:
                raise ShapeError(
                    f"center has shape {tuple(center.shape)}; expected "
                    f"({directions.shape[1]},), one entry for each basis vector."
                )
            directions = directions - center.detach()
        directions = _unit_rows(directions)
        return directions @ directions.t()  # (N, N)


def _unit_rows(rows: Tensor) -> Tensor:
    """Scale rows to unit length; a zero row stays zero and gets no gradient, not one of 1e12."""
    is_zero = (rows == 0).all(dim=1, keepdim=True)
    return functional.normalize(rows.masked_fill(is_zero, 0), dim=1)
