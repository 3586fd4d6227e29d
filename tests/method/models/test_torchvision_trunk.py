from pathlib import Path

import pytest
import torch
import torchvision
from powerful_benchmarker.factories import ModelFactory
from torch import nn

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.method.models import TorchvisionTrunk
from slade_plugin.method.models.weight_files import state_sha256


@pytest.fixture(scope="module")
def swav_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the true names and shapes of the public SwAV ResNet-50, random numbers."""
    resnet = torchvision.models.resnet50(weights=None)
    heads = nn.ModuleDict(
        {
            "projection_head": nn.Sequential(
                nn.Linear(2048, 2048), nn.BatchNorm1d(2048), nn.ReLU(), nn.Linear(2048, 128)
            ),
            "prototypes": nn.Linear(128, 3000, bias=False),
        }
    )
    state = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    path = tmp_path_factory.mktemp("weights") / "swav_800ep_pretrain.pth.tar"
    torch.save({f"module.{k}": v for k, v in (state | heads.state_dict()).items()}, path)
    return path


def test_the_host_builds_it_from_the_swav_file(swav_file: Path, full_getter: object) -> None:
    factory = ModelFactory(getter=full_getter)
    config = {"architecture": "resnet50", "weights": str(swav_file)}
    trunk = factory.create_trunk({"TorchvisionTrunk": config})
    assert factory.base_model_output_size == 2048
    report = trunk.loaded_weights
    # ResNet-50: 53 convolutions, 53 batch norms of 5 tensors each.
    assert report.tensors == 53 + 53 * 5
    assert report.left_over == {"projection_head": 9, "prototypes": 1}
    saved = torch.load(swav_file, weights_only=True)
    assert torch.equal(trunk.body.layer4[2].conv3.weight, saved["module.layer4.2.conv3.weight"])
    assert trunk.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2048)


def test_another_architecture_than_the_file_s_is_refused(swav_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fits 97 of the trunk's 120 tensors"):
        TorchvisionTrunk("resnet18", str(swav_file))


def test_it_computes_what_torchvision_computes(tmp_path: Path) -> None:
    """The classifier of a supervised file is left over."""
    resnet = torchvision.models.resnet18(weights=None)
    torch.save(resnet.state_dict(), tmp_path / "w.pth")
    trunk = TorchvisionTrunk("resnet18", str(tmp_path / "w.pth"))
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.left_over == {"fc": 2}
    trunk.fc = resnet.fc = nn.Identity()
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(trunk.eval()(images), resnet.eval()(images))


def test_without_weights_it_starts_from_random_numbers() -> None:
    first, second = TorchvisionTrunk("resnet18"), TorchvisionTrunk("resnet18")
    assert first.loaded_weights is None
    assert state_sha256(first) != state_sha256(second)


def test_a_hash_without_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="sha256 is 'abc', but weights is None; expected a file"):
        TorchvisionTrunk("resnet18", sha256="abc")


def test_it_is_the_host_s_own_model_under_another_name(
    tmp_path: Path, full_getter: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file, the same outputs, and as many random numbers drawn."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet50().state_dict(), folder / "resnet50-0676ba61.pth")
    weights = {"weights": "IMAGENET1K_V1"}
    features, drawn = [], []
    for config in (
        {"resnet50": weights},
        {"TorchvisionTrunk": {"architecture": "resnet50", **weights}},
    ):
        torch.manual_seed(3)
        trunk = ModelFactory(getter=full_getter).create_trunk(config)
        drawn.append(torch.rand(4))
        torch.manual_seed(4)
        images = torch.randn(4, 3, 64, 64)
        features.append((trunk.train()(images), trunk.eval()(images)))
    assert torch.equal(*drawn)
    for host_s, ours in zip(*features, strict=True):
        assert torch.equal(host_s, ours)


def test_a_name_of_torchvision_s_weights_is_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torchvision itself would look for it, so that a file put there serves both."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18-f37072fd.pth")
    trunk = TorchvisionTrunk("resnet18", "IMAGENET1K_V1")
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.source.endswith("resnet18-f37072fd.pth")


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ("resnet5O", r"no architecture 'resnet5O' \(did you mean 'resnet50'\?\)"),
        ("fasterrcnn_resnet50_fpn", "no architecture 'fasterrcnn_resnet50_fpn'"),
    ],
)
def test_a_wrong_architecture_is_named(architecture: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        TorchvisionTrunk(architecture)


def test_wrong_weights_are_named() -> None:
    with pytest.raises(ConfigError, match="no weight file IMAGENET1K_V9"):
        TorchvisionTrunk("resnet18", "IMAGENET1K_V9")


def test_max_pooling_and_layer_norm_follow_the_feature_maps() -> None:
    trunk = TorchvisionTrunk("resnet18", pooling="max", layer_norm=True).eval()
    trunk.fc = nn.Identity()
    maps: list[torch.Tensor] = []
    trunk.body.layer4.register_forward_hook(lambda _, __, output: maps.append(output))
    features = trunk(torch.randn(2, 3, 64, 64))
    expected = maps[0].amax(dim=(2, 3))
    centred = expected - expected.mean(dim=1, keepdim=True)
    deviation = (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(features, centred / deviation, atol=1e-5)


# The others take the mean themselves or cut the maps in pieces: nothing can stand in that place.
@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("resnet18", "mean"), ("shufflenet_v2_x0_5", "max"), ("alexnet", "max")],
)
def test_a_pooling_that_cannot_be_is_refused(architecture: str, pooling: str) -> None:
    with pytest.raises(ConfigError, match=f"pooling is '{pooling}' for {architecture}"):
        TorchvisionTrunk(architecture, pooling=pooling)


# One of each family, as small as there is, and the number of features before its last layer.
FAMILIES = {
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "efficientnet_v2_s": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "maxvit_t": 512,
    "mnasnet0_5": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "regnet_y_400mf": 440,
    "resnet18": 512,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "swin_v2_t": 768,
    "vgg11": 4096,
    "vit_b_16": 768,
}
# Computes while it is built, which the device "meta" cannot.
BUILT_ON_CPU = "regnet"


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_family_gives_the_features_before_its_last_layer(architecture: str) -> None:
    device = "cpu" if architecture.startswith(BUILT_ON_CPU) else "meta"  # meta: shapes only
    with torch.device(device):
        trunk = TorchvisionTrunk(architecture)
        images = torch.zeros(2, 3, 224, 224)
    assert isinstance(trunk.fc, nn.Linear)
    assert trunk.fc.in_features == FAMILIES[architecture]
    trunk.fc = nn.Identity()
    assert trunk.train()(images).shape == trunk.eval()(images).shape == (2, FAMILIES[architecture])


@pytest.mark.long
def test_every_classification_network_of_torchvision_can_be_built() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) >= 80
    for name in names:
        if not name.startswith(BUILT_ON_CPU):
            with torch.device("meta"):
                trunk = TorchvisionTrunk(name)
            (fc,) = [m for m in trunk.modules() if getattr(m, "out_features", 0) == 1000]
            assert fc is trunk.fc, name


def test_squeezenet_loses_its_convolution_and_mobilenet_its_dropout() -> None:
    squeezenet = TorchvisionTrunk("squeezenet1_1").train()
    squeezenet.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    features = squeezenet.body.features(images).mean(dim=(2, 3))
    assert torch.allclose(squeezenet(images), features, atol=1e-6)
    for architecture in ("squeezenet1_1", "mobilenet_v3_small"):
        trunk = TorchvisionTrunk(architecture)
        assert not [m for m in trunk.body.classifier if isinstance(m, nn.Dropout)]
    # One in the middle stays, it is a part of the network.
    with torch.device("meta"):
        layers = [type(m).__name__ for m in TorchvisionTrunk("alexnet").body.classifier]
    assert layers == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Identity"]


def test_weights_of_a_network_that_ends_otherwise(tmp_path: Path) -> None:
    """The file is torchvision's own; the convolution that was the classifier is left over."""
    whole = torchvision.models.squeezenet1_1()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    trunk = TorchvisionTrunk("squeezenet1_1", str(tmp_path / "w.pth"))
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.left_over == {"classifier": 2}
    assert torch.equal(trunk.body.features[0].weight, whole.features[0].weight)


def test_max_pooling_of_squeezenet() -> None:
    trunk = TorchvisionTrunk("squeezenet1_1", pooling="max").eval()
    trunk.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(trunk(images), trunk.body.features(images).amax(dim=(2, 3)))


def test_channels_last_changes_the_layout_and_not_the_numbers() -> None:
    plain = TorchvisionTrunk("squeezenet1_1").eval()
    other = TorchvisionTrunk("squeezenet1_1", channels_last=True).eval()
    weight = other.body.features[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    other.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(plain(images), other(images), rtol=1e-4, atol=1e-5)


def test_options_reach_torchvision() -> None:
    with torch.device("meta"):
        trunk = TorchvisionTrunk("vit_b_16", options={"image_size": 96})
        trunk.fc = nn.Identity()
        assert trunk(torch.zeros(1, 3, 96, 96)).shape == (1, 768)
    with pytest.raises(ConfigError, match=r"cannot build resnet18 with the options.*image_sise"):
        TorchvisionTrunk("resnet18", options={"image_sise": 96})


@pytest.mark.parametrize(("weights", "expected"), [("IMAGENET1K_V1", True), (None, False)])
def test_googlenet_converts_images_for_torchvision_s_weights_only(
    weights: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "slade_plugin.method.models.torchvision_trunk.load_weights", lambda *_: None
    )
    with torch.device("meta"):
        assert TorchvisionTrunk("googlenet", weights).body.transform_input is expected
