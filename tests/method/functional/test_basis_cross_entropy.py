import math

import pytest
import torch
from torch.autograd import gradcheck

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional import basis_cross_entropy, basis_responses


def test_value_by_hand() -> None:
    """Two rows, c = 2, scale 2: logits (2, 0) of class 0 and (1, 3) of class 0.

    log(1 + exp(-2)) = 0.126928 and log(1 + exp(2)) = 2.126928: their mean is 1.126928.
    """
    responses = torch.tensor([[1.0, 0.0], [0.5, 1.5]], dtype=torch.float64)
    loss = basis_cross_entropy(responses, torch.tensor([0, 0]), logit_scale=2.0)
    assert loss.item() == pytest.approx(1.126928, abs=1e-6)


def test_equals_equation_3_in_loops() -> None:
    """Softmax over the basis vectors w_k of the classes, with sums of products written out."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    basis = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1, 2, 0, 3])
    for scale in (1.0, 8.0):
        total = 0.0
        for i in range(7):
            length = math.sqrt(sum(float(x) ** 2 for x in f[i]))
            r = [sum(float(f[i, d]) / length * float(w[d]) for d in range(5)) for w in basis]
            denominator = sum(math.exp(scale * response) for response in r)
            total -= math.log(math.exp(scale * r[int(labels[i])]) / denominator)
        found = basis_cross_entropy(basis_responses(f, basis), labels, scale)
        assert found.item() == pytest.approx(total / 7, abs=1e-12)


def test_zero_at_the_ideal_and_log_c_without_knowledge() -> None:
    labels = torch.tensor([2, 0, 1])
    ideal = torch.nn.functional.one_hot(labels, 3).double()
    values = [basis_cross_entropy(ideal, labels, scale).item() for scale in (1, 8, 64, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    assert basis_cross_entropy(0 * ideal, labels).item() == pytest.approx(math.log(3))


def test_a_constant_added_to_the_responses_of_a_row_changes_nothing() -> None:
    responses = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    shifted = responses + torch.arange(6.0)[:, None]
    assert basis_cross_entropy(shifted, labels).item() == pytest.approx(
        basis_cross_entropy(responses, labels).item(), abs=1e-12
    )


def test_order_of_rows_and_names_of_classes_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(2)
    responses = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    rows, classes = torch.tensor([5, 0, 3, 1, 4, 2]), torch.tensor([2, 0, 3, 1])
    renamed = torch.argsort(classes)[labels]
    expected = pytest.approx(basis_cross_entropy(responses, labels).item(), abs=1e-12)
    assert basis_cross_entropy(responses[rows], labels[rows]).item() == expected
    assert basis_cross_entropy(responses[:, classes], renamed).item() == expected


def test_gradient_of_a_row_adds_up_to_zero() -> None:
    responses = torch.randn(5, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()
    basis_cross_entropy(responses, torch.tensor([0, 1, 2, 1, 0]), 8.0).backward()
    assert responses.grad is not None
    assert responses.grad.abs().max() > 0.1
    torch.testing.assert_close(responses.grad.sum(dim=1), torch.zeros(5), atol=1e-6, rtol=0)


def test_no_rows_give_zero_with_a_zero_gradient() -> None:
    responses = torch.zeros(0, 3, requires_grad=True)
    loss = basis_cross_entropy(responses, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert responses.grad is not None


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_gradcheck_through_the_responses(scale: float) -> None:
    generator = torch.Generator().manual_seed(4)
    f = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    basis = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    for normalize in (True, False):
        assert gradcheck(
            lambda x, w, n=normalize: basis_cross_entropy(basis_responses(x, w, n), labels, scale),
            (f, basis),
        )


@pytest.mark.parametrize(("shape", "labels"), [((3,), 3), ((3, 4), 2), ((2, 3, 4), 2)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...], labels: int) -> None:
    with pytest.raises(ShapeError, match=r"responses have shape .*expected \(N, c\) and \(N,\)"):
        basis_cross_entropy(torch.zeros(shape), torch.zeros(labels, dtype=torch.int64))
