import pytest
import torch

from slade_plugin.method.functional import at_least_float32


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float32),
    ],
)
def test_widens_only(given: torch.dtype, expected: torch.dtype) -> None:
    widened = at_least_float32(torch.tensor([1, 3]).to(given))
    assert widened.dtype == expected
    assert widened.tolist() == [1.0, 3.0]


def test_gradient_flows_back_in_the_given_dtype() -> None:
    tensor = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    (2 * at_least_float32(tensor)).sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.dtype == torch.bfloat16
    assert tensor.grad.tolist() == [2.0, 2.0, 2.0]
