import hashlib
import urllib.request
from pathlib import Path
from typing import Any

import pretrainedmodels
import pytest
import torch
import torchvision
from torch import nn

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.method.models import TimmTrunk, TorchvisionTrunk, conv4
from slade_plugin.method.models.weight_files import (
    find_weight_file,
    load_weights,
    loaded_by_library,
    name_in_library,
    state_sha256,
    without_published_weights,
)


def trunk(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


@pytest.fixture
def source() -> nn.Module:
    model = trunk()
    model[1].running_mean += 1  # a buffer that differs from every fresh model's
    return model


def save(path: Path, content: Any) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefix_and_wrapper_are_taken_off(
    prefix: str, wrapper: str | None, source: nn.Module, tmp_path: Path
) -> None:
    state: dict[str, Any] = {prefix + k: v for k, v in source.state_dict().items()}
    path = save(tmp_path / "w.pth", {wrapper: state, "epoch": 3} if wrapper else state)
    model = trunk()
    report = load_weights(model, path)
    assert state_sha256(model) == state_sha256(source)
    assert report.as_dict() == {
        "source": path,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "tensors": 7,
        "left_over": {},
    }


def test_of_weights_that_a_library_has_loaded_the_tensors_are_known(source: nn.Module) -> None:
    assert loaded_by_library(source, "a library, its weights").as_dict() == {
        "source": "a library, its weights",
        "tensors": 7,
        "state_sha256": state_sha256(source),
    }


@pytest.mark.parametrize(
    ("build", "arguments", "name"),
    [
        (torchvision.models.resnet50, {"weights": "IMAGENET1K_V1"},
         "resnet50, weights IMAGENET1K_V1"),
        (torchvision.models.resnet50, {"pretrained": True}, "resnet50, pretrained True"),
        (torchvision.models.resnet50, {"pretrained": False}, None),
        (torchvision.models.resnet50, {}, None),
        (pretrainedmodels.bninception, {}, "bninception, pretrained imagenet"),
        (pretrainedmodels.bninception, {"pretrained": None}, None),
        (conv4, {"hidden_size": 8}, None),
    ],
)  # fmt: skip
def test_the_weights_of_a_library_are_named_as_it_names_them(
    build: Any, arguments: dict[str, Any], name: str | None
) -> None:
    """Also those that it takes where the config says nothing."""
    assert name_in_library(build, arguments) == name


def test_what_the_trunk_has_no_place_for_is_counted(source: nn.Module, tmp_path: Path) -> None:
    heads = {
        "projection_head.0.weight": torch.zeros(2, 4),
        "projection_head.0.bias": torch.zeros(2),
        "prototypes.weight": torch.zeros(5, 2),
    }
    path = save(tmp_path / "w.pth", source.state_dict() | heads)
    assert load_weights(trunk(), path).left_over == {"projection_head": 2, "prototypes": 1}


def test_the_counter_of_a_batch_norm_may_be_missing(source: nn.Module, tmp_path: Path) -> None:
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    model = trunk()
    assert load_weights(model, save(tmp_path / "w.pth", state)).tensors == 6
    assert torch.equal(model[1].running_mean, source[1].running_mean)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"projection_head.0.weight": torch.zeros(2)}, r"fits 0 of the trunk's 7 tensors"),
        ({}, "It has 0, such as none"),
        ([1, 2], "fits 0 of the trunk's 7"),
        ({"state_dict": {"epoch": 3}}, "It has 0"),
    ],
)
def test_a_file_that_loads_nothing_is_refused(content: Any, text: str, tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", content)
    model = trunk()
    before = state_sha256(model)
    with pytest.raises(CheckpointError, match=text):
        load_weights(model, path)
    assert state_sha256(model) == before


def test_a_file_that_loads_too_little_is_refused(source: nn.Module, tmp_path: Path) -> None:
    state = source.state_dict()
    del state["1.running_var"]
    with pytest.raises(CheckpointError, match=r"fits 6 of the trunk's 7.*lacks 1\.running_var"):
        load_weights(trunk(), save(tmp_path / "w.pth", state))


def test_another_width_is_named_by_its_shapes(source: nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", source.state_dict())
    with pytest.raises(CheckpointError, match=r"\(4, 3, 1, 1\) there and \(8, 3, 1, 1\) here"):
        load_weights(trunk(width=8), path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(trunk(), str(path))


def test_another_hash_is_refused(source: nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", source.state_dict())
    sha256 = load_weights(trunk(), path).sha256
    assert load_weights(trunk(), path, sha256[:8].upper()).sha256 == sha256
    for other in ("0" * 64, ""):
        with pytest.raises(ConfigError, match=f"has the SHA-256 {sha256}"):
            load_weights(trunk(), path, other)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no weight file .*nothing\.pth"):
        find_weight_file(str(tmp_path / "nothing.pth"))


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files https:// addresses lead to; downloads go to its folder `home`."""

    def open_file(request: urllib.request.Request) -> Any:
        return urllib.request.urlopen(request.full_url.replace("https:/", tmp_path.as_uri()))

    monkeypatch.setattr(torch.hub, "urlopen", open_file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path


def test_an_address_is_downloaded_once(source: nn.Module, web: Path) -> None:
    (web / "of").mkdir()
    path = Path(save(web / "of" / "w.pth.tar", source.state_dict()))
    model = trunk()
    load_weights(model, "https://of/w.pth.tar")
    assert state_sha256(model) == state_sha256(source)
    path.unlink()
    found = find_weight_file("https://of/w.pth.tar")
    assert found == web / "home" / "hub" / "checkpoints" / "w.pth.tar"


def test_a_file_named_by_its_address_is_read_in_place(web: Path) -> None:
    path = web / "two words.pth"
    path.touch()
    assert find_weight_file(path.as_uri()) == path


def test_an_address_that_cannot_be_reached_says_where_to_put_the_file(web: Path) -> None:
    with pytest.raises(ConfigError, match=rf"Put the file at {web}/home/hub/checkpoints/absent"):
        find_weight_file("https://of/absent.pth")


def test_the_hash_in_a_name_is_checked(web: Path) -> None:
    """As torchvision names its files; a truncated download is no weight file."""
    (web / "of").mkdir()
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()[:8]
    for name in (f"w-{digest}.pth", "w-01234567.pth"):
        (web / "of" / name).write_bytes(content)
    assert find_weight_file(f"https://of/w-{digest}.pth").name == f"w-{digest}.pth"
    with pytest.raises(ConfigError, match="invalid hash value"):
        find_weight_file("https://of/w-01234567.pth")


def test_the_hash_of_a_model_changes_with_any_tensor_and_its_name(source: nn.Module) -> None:
    before = state_sha256(source)
    source[1].running_var[0] += 1
    changed = state_sha256(source)
    assert changed != before
    assert state_sha256(nn.Sequential(nn.Identity(), *source)) != changed


def test_models_are_built_without_reading_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the name of the weights sets is kept."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a file was asked for")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    state = trunk().state_dict()
    with without_published_weights():
        googlenet = torchvision.models.googlenet(weights="IMAGENET1K_V1", init_weights=False)
        bninception = pretrainedmodels.bninception(pretrained="imagenet")
        own = TorchvisionTrunk("resnet18", weights="nowhere.pth", mean=[1, 2, 3])
        TorchvisionTrunk("resnet18", weights="IMAGENET1K_V1")
        timm = TimmTrunk("resnet18", weights="pretrained")
    assert googlenet.transform_input
    assert bninception.input_space == "BGR"
    assert bninception.input_range == [0, 255]
    assert own.mean == [1, 2, 3]
    assert timm.loaded_weights is None
    model = trunk()
    model.load_state_dict(state)  # weights are loaded again afterwards
    assert state_sha256(model) == state_sha256_of(state)
    with pytest.raises(ConfigError, match="there is no weight file"):
        TorchvisionTrunk("resnet18", weights="nowhere.pth")


def state_sha256_of(state: dict[str, Any]) -> str:
    model = trunk()
    for name, tensor in model.state_dict().items():
        tensor.copy_(state[name])
    return state_sha256(model)
