import copy

import pytest
import torch
from powerful_benchmarker.factories import ModelFactory
from powerful_benchmarker.utils import common_functions as host_functions
from torch import nn

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.models import conv4


class OneModelGetter:
    """Stands in for the host's getter, which finds classes by name."""

    def get(self, kind: str, yaml_dict: dict[str, dict[str, int]]) -> nn.Module:
        assert kind == "model"
        return conv4(**yaml_dict["conv4"])


@pytest.mark.parametrize(
    ("image_size", "hidden_size", "features"),
    [(32, 64, 64 * 2 * 2), (84, 64, 64 * 5 * 5), (16, 8, 8), (28, 8, 8)],
)
def test_features_are_the_halved_image_times_channels(
    image_size: int, hidden_size: int, features: int
) -> None:
    """Four halvings, rounded down: 84 -> 42 -> 21 -> 10 -> 5."""
    trunk = conv4(image_size=image_size, hidden_size=hidden_size, num_classes=3)
    images = torch.randn(2, 1, image_size, image_size)
    assert trunk(images).shape == (2, 3)
    trunk.fc = nn.Identity()
    assert trunk(images).shape == (2, features)


def test_number_of_parameters_is_that_of_the_standard_conv4() -> None:
    """Weights 9 x 64 and 3 times 9 x 64 x 64; batch norms 4 x 2 x 64; fc 256 x 5 + 5."""
    count = sum(p.numel() for p in conv4(num_classes=5).parameters())
    assert count == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 128 + 256 * 5 + 5


def test_each_block_may_have_its_own_channels() -> None:
    trunk = conv4(hidden_size=[4, 6, 8, 16])
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (1, 4), (4, 6), (6, 8), (8, 16)
    ]  # fmt: skip
    assert trunk.fc.in_features == 16 * 2 * 2
    assert trunk(torch.randn(2, 1, 32, 32)).shape == (2, 64)


def test_pooling_before_relu_is_the_usual_order_bit_for_bit() -> None:
    """Output, gradients and state after a few steps; whole numbers make ties."""
    ours = conv4(hidden_size=8)
    usual = copy.deepcopy(ours)
    for block in usual.blocks:
        assert [type(layer) for layer in block[2:]] == [nn.MaxPool2d, nn.ReLU]
        block[2], block[3] = block[3], block[2]
    images = torch.randint(-2, 3, (8, 1, 32, 32)).float()
    for trunk in (ours, usual):
        optimizer = torch.optim.Adam(trunk.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            trunk(images).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.state_dict().values(), usual.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(ours.parameters(), usual.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_every_parameter_gets_a_gradient() -> None:
    trunk = conv4(hidden_size=8)
    trunk(torch.randn(4, 1, 32, 32)).square().mean().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_host_builds_it_and_takes_the_last_layer_off() -> None:
    factory = ModelFactory(getter=OneModelGetter())
    trunk = factory.create_trunk({"conv4": {"hidden_size": 16}})
    assert factory.base_model_output_size == 16 * 2 * 2
    assert host_functions.get_last_linear(trunk) is trunk.fc
    assert not any(isinstance(module, nn.Linear) for module in trunk.modules())
    assert trunk(torch.randn(3, 1, 32, 32)).shape == (3, 64)


@pytest.mark.parametrize("channels", [1, 3])
def test_transform_properties_fit_the_channels(channels: int) -> None:
    trunk = conv4(in_channels=channels)
    assert len(trunk.mean) == len(trunk.std) == channels
    assert trunk.input_space is None
    assert trunk.input_range[1] == 1  # the host would multiply by any other number


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28), (1, 32, 32)])
def test_wrong_images_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected \(N, 1, 32, 32\)") as caught:
        conv4()(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 15), ("in_channels", 0), ("hidden_size", 0), ("hidden_size", 2.5),
        ("num_classes", 2.5),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        conv4(**{name: value})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([64, 64, 128], r"is \[64, 64, 128\]; expected one integer >= 1, or 4 of them"),
        ([64, 64, 128, 0], r"is \[64, 64, 128, 0\]; expected one integer >= 1"),
        ([64, 64, 128, 1.5], r"is \[64, 64, 128, 1.5\]; expected one integer >= 1"),
    ],
)
def test_bad_channels_of_blocks_are_named(sizes: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        conv4(hidden_size=sizes)


def test_copies_and_reloads_give_the_same_output() -> None:
    trunk = conv4(hidden_size=8).eval()
    images = torch.randn(2, 1, 32, 32)
    other = conv4(hidden_size=8).eval()
    other.load_state_dict(trunk.state_dict())
    torch.testing.assert_close(copy.deepcopy(trunk)(images), trunk(images), rtol=0, atol=0)
    torch.testing.assert_close(other(images), trunk(images), rtol=0, atol=0)
