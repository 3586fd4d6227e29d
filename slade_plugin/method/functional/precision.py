"""Floating-point precision of the basis similarities.

The paper does not speak of precision. Means and variances of cosines that differ in the third
digit do not survive half precision, so everything in this package computes in float32 or wider.
"""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen a half precision (or integer) tensor to float32 and leave a wider one as it is.

    Args:
        tensor: any shape. Gradients flow.

    Returns:
        The same values as float32, or as float64 where they came as float64.

    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
