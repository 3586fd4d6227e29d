"""Floating-point precision of the basis similarities.

The paper does not mention precision. Means and variances of cosines that differ in the third digit
do not survive half precision, so everything in this package computes in float32 or wider.
"""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert a half-precision (or integer) tensor to float32; keep a wider one.

    Args:
        tensor: any shape. Gradients flow.

    Returns:
        The same values as float32, or as float64 if given as float64.

    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
