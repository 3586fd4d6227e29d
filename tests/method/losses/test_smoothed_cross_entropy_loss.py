import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.losses import SmoothedCrossEntropyLoss


def make_loss(**kwargs: float) -> SmoothedCrossEntropyLoss:
    """A classifier whose logits are the embeddings themselves."""
    loss = SmoothedCrossEntropyLoss(embedding_size=3, num_classes=3, **kwargs)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.eye(3))
        loss.classifier.bias.zero_()
    return loss


def test_value_worked_out_by_hand() -> None:
    """0.9 + 0.1 / 3 of the target on the class, 0.1 / 3 on each of the others."""
    embeddings = torch.tensor([[2.0, 0.0, 0.0]])
    normaliser = math.log(math.exp(2) + 2)
    expected = (0.9 + 0.1 / 3) * (normaliser - 2) + 2 * (0.1 / 3) * normaliser
    value = make_loss()(embeddings, torch.tensor([0]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_it_is_the_mean_over_a_batch_and_plain_without_smoothing() -> None:
    embeddings = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    value = make_loss(label_smoothing=0)(embeddings, torch.tensor([0, 1]))
    expected = (math.log(math.exp(2) + 2) - 2 + math.log(math.e + 2)) / 2
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.7, 1.0])
def test_equals_the_loop(label_smoothing: float) -> None:
    """The mean over images of - sum_k q_k log p_k, with q_k = (1 - s) [k = label] + s / c."""
    torch.manual_seed(0)
    loss = SmoothedCrossEntropyLoss(5, 4, label_smoothing=label_smoothing).double()
    embeddings, labels = torch.randn(6, 5, dtype=torch.float64), [0, 3, 1, 1, 2, 0]
    weight, bias = loss.classifier.weight.tolist(), loss.classifier.bias.tolist()
    terms = []
    for f, label in zip(embeddings.tolist(), labels, strict=True):
        logits = [sum(w * x for w, x in zip(weight[k], f, strict=True)) + bias[k] for k in range(4)]
        normaliser = sum(math.exp(logit) for logit in logits)
        for k in range(4):
            target = (1 - label_smoothing) * (k == label) + label_smoothing / 4
            terms.append(-target * math.log(math.exp(logits[k]) / normaliser))
    value = loss(embeddings, torch.tensor(labels)).item()
    assert value == pytest.approx(sum(terms) / 6, abs=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_gradcheck(label_smoothing: float) -> None:
    """Of embeddings, class weights and bias."""
    torch.manual_seed(0)
    loss = SmoothedCrossEntropyLoss(5, 4, label_smoothing=label_smoothing).double()
    labels = torch.tensor([0, 3, 1])

    def value(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"classifier.weight": weight, "classifier.bias": bias}
        return torch.func.functional_call(loss, parameters, (embeddings, labels))

    embeddings = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(value, (embeddings, *loss.classifier.parameters()))


def test_length_counts() -> None:
    """Embeddings are not normalised, unlike those of the host's classification losses."""
    loss, embeddings = make_loss(), torch.tensor([[1.0, 0.0, 0.0]])
    assert loss(3 * embeddings, torch.tensor([0])) < loss(embeddings, torch.tensor([0]))


def test_the_gradient_reaches_embeddings_and_classifier() -> None:
    loss = make_loss()
    embeddings = torch.randn(4, 3, requires_grad=True)
    loss(embeddings, torch.tensor([0, 1, 2, 0])).backward()
    for tensor in (embeddings, loss.classifier.weight, loss.classifier.bias):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_label_smoothing_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"label_smoothing is {value}; expected a number in \[0, 1\]"
    ):
        make_loss(label_smoothing=value)
