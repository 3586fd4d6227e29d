import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional import basis_responses, pairwise_cosine


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_equal(found: Tensor, expected: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=atol)


def test_responses_by_hand() -> None:
    """f = (3, 4) / 5 = (0.6, 0.8); rows (1, 0), (0, 2), (1, -1) give 0.6, 1.6, 0.6 - 0.8."""
    basis = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]], dtype=torch.float64)
    responses = basis_responses(torch.tensor([[3.0, 4.0]], dtype=torch.float64), basis)
    expected = torch.tensor([[0.6, 1.6, -0.2]], dtype=torch.float64)
    assert_equal(responses, expected)


def test_responses_of_any_length_by_hand() -> None:
    """f = (3, 4) as it is: 3, 8, 3 - 4."""
    basis = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]])
    responses = basis_responses(torch.tensor([[3.0, 4.0]]), basis, normalize=False)
    assert responses.tolist() == [[3.0, 8.0, -1.0]]


@pytest.mark.parametrize("normalize", [True, False])
def test_responses_equal_the_loop(normalize: bool) -> None:
    embeddings, basis = random(5, 4), random(3, 4, seed=1)
    responses = basis_responses(embeddings, basis, normalize)
    assert responses.shape == (5, 3)
    for i in range(5):
        length = math.sqrt(sum(float(x) ** 2 for x in embeddings[i])) if normalize else 1.0
        for row in range(3):
            expected = sum(
                float(basis[row, d]) * float(embeddings[i, d]) / length for d in range(4)
            )
            assert float(responses[i, row]) == pytest.approx(expected, abs=1e-12)


def test_responses_ignore_the_length_of_embeddings_but_not_of_the_basis() -> None:
    embeddings, basis = random(5, 4), random(3, 4, seed=1)
    responses = basis_responses(embeddings, basis)
    assert_equal(basis_responses(7 * embeddings, basis), responses)
    assert_equal(basis_responses(embeddings, 7 * basis), 7 * responses)
    raw = basis_responses(embeddings, basis, normalize=False)
    assert_equal(basis_responses(7 * embeddings, basis, normalize=False), 7 * raw)
    assert_equal(pairwise_cosine(raw), pairwise_cosine(responses))


def test_zero_embedding_has_zero_response() -> None:
    assert basis_responses(torch.zeros(1, 4), random(3, 4)).tolist() == [[0.0, 0.0, 0.0]]


def test_a_zero_row_gets_no_gradient_and_changes_no_other() -> None:
    """torch's normalize alone would give it g / 1e-12."""
    full = random(5, 4).requires_grad_()
    rows = torch.cat([full[:2], torch.zeros(1, 4, dtype=torch.float64), full[2:]])
    rows = rows.detach().requires_grad_()
    for function in (pairwise_cosine, lambda x: basis_responses(x, random(3, 4, seed=1))):
        (gradient,) = torch.autograd.grad(function(rows).sin().sum(), rows)
        assert not gradient[2].any()
        (expected,) = torch.autograd.grad(function(full).sin().sum(), full)
        assert_equal(gradient[[0, 1, 3, 4, 5]], expected, atol=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck_of_responses(normalize: bool) -> None:
    inputs = (random(4, 3).requires_grad_(), random(2, 3).requires_grad_())
    assert gradcheck(lambda f, basis: basis_responses(f, basis, normalize), inputs)


def test_cosine_by_hand() -> None:
    """(1, 0), (1, 1), (0, -2): angles 45, 90 and 135 degrees."""
    similarity = pairwise_cosine(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0]]))
    half = math.sqrt(0.5)
    expected = torch.tensor([[1.0, half, 0.0], [half, 1.0, -half], [0.0, -half, 1.0]])
    assert_equal(similarity, expected, atol=1e-6)


def test_centred_cosine_by_hand() -> None:
    """(2, 1) and (1, 2) have cosine 4 / 5; around (1, 1) they are (1, 0) and (0, 1)."""
    responses = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert float(pairwise_cosine(responses)[0, 1]) == pytest.approx(0.8, abs=1e-6)
    assert float(pairwise_cosine(responses, torch.ones(2))[0, 1]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_cosine_equals_the_loop(centred: bool) -> None:
    responses = random(6, 4)
    center = random(4, seed=2) if centred else None
    similarity = pairwise_cosine(responses, center)
    shift = [0.0] * 4 if center is None else center.tolist()
    rows = [[x - m for x, m in zip(row, shift, strict=True)] for row in responses.tolist()]
    for i in range(6):
        for j in range(6):
            dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            norms = math.hypot(*rows[i]) * math.hypot(*rows[j])
            assert float(similarity[i, j]) == pytest.approx(dot / norms, abs=1e-12)


def test_cosine_is_symmetric_bounded_and_blind_to_scale() -> None:
    responses = random(8, 5)
    similarity = pairwise_cosine(responses)
    assert_equal(similarity, similarity.t())
    assert_equal(similarity.diagonal(), torch.ones(8, dtype=torch.float64))
    assert similarity.abs().max() <= 1 + 1e-12
    scale = torch.arange(1, 9, dtype=torch.float64).unsqueeze(1)
    assert_equal(pairwise_cosine(scale * responses), similarity)


def test_cosine_follows_a_permutation() -> None:
    responses, order = random(6, 4), torch.tensor([3, 1, 5, 0, 2, 4])
    expected = pairwise_cosine(responses)[order][:, order]
    assert_equal(pairwise_cosine(responses[order]), expected)


def test_duplicates_have_cosine_one_and_opposites_minus_one() -> None:
    row = random(1, 4)
    similarity = pairwise_cosine(torch.cat([row, row, -row]))
    expected = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    assert_equal(similarity[0], expected)


def test_nan_stays_in_its_row_and_column() -> None:
    responses = random(4, 3)
    responses[1, 0] = math.nan
    unknown = pairwise_cosine(responses).isnan()
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1, :] = expected[:, 1] = True
    assert torch.equal(unknown, expected)


def test_no_rows_give_no_similarities() -> None:
    assert pairwise_cosine(torch.zeros(0, 4)).shape == (0, 0)


@pytest.mark.parametrize("centred", [False, True])
def test_gradcheck_of_cosine(centred: bool) -> None:
    center = random(3, seed=2) if centred else None
    responses = random(4, 3).requires_grad_()
    assert gradcheck(lambda r: pairwise_cosine(r, center), (responses,))


def test_no_gradient_to_the_center() -> None:
    responses, center = random(4, 3).requires_grad_(), random(3, seed=2).requires_grad_()
    pairwise_cosine(responses, center).sum().backward()
    assert responses.grad is not None
    assert center.grad is None


def test_trap_05_similarities_are_float32_outside_autocast() -> None:
    """A bfloat16 cosine has 8 bits: off by about 1e-2, where mu_pos - mu_neg may be smaller."""
    embeddings, basis = random(16, 32).float(), random(8, 32, seed=1).float()
    outside = pairwise_cosine(basis_responses(embeddings, basis))
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        assert (embeddings @ basis.t()).dtype == torch.bfloat16  # autocast is on
        inside = pairwise_cosine(basis_responses(embeddings, basis))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trap_05_half_precision_is_widened_first(dtype: torch.dtype) -> None:
    embeddings, basis = random(6, 4).to(dtype), random(3, 4, seed=1).to(dtype)
    responses = basis_responses(embeddings, basis)
    assert responses.dtype == torch.float32
    assert torch.equal(responses, basis_responses(embeddings.float(), basis.float()))
    center = responses.mean(dim=0).to(dtype)
    assert pairwise_cosine(responses.to(dtype), center).dtype == torch.float32


def test_float64_stays_float64() -> None:
    assert pairwise_cosine(basis_responses(random(4, 3), random(2, 3).float())).dtype == (
        torch.float64
    )


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 4\) and the basis \(3, 2\).*embedding_size"):
        basis_responses(random(5, 4), random(3, 2))
    with pytest.raises(ShapeError, match=r"\(4,\); expected \(N, c\)"):
        pairwise_cosine(random(4))
    with pytest.raises(ShapeError, match=r"center has shape \(2,\); expected \(3,\)"):
        pairwise_cosine(random(4, 3), random(2))
