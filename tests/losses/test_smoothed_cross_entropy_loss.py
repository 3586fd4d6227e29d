import math

import pytest
import torch

from slade_plugin.errors import ConfigError
from slade_plugin.losses import SmoothedCrossEntropyLoss


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
    with pytest.raises(ConfigError, match=f"label_smoothing is {value}; expected 0 to 1"):
        make_loss(label_smoothing=value)
