import sys
from pathlib import Path

import pytest
import timm
import torch
from powerful_benchmarker.factories import ModelFactory

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.method.models import TimmTrunk
from slade_plugin.method.models.weight_files import state_sha256


def test_the_host_builds_it_and_takes_the_last_layer_off(full_getter: object) -> None:
    factory = ModelFactory(getter=full_getter)
    trunk = factory.create_trunk({"TimmTrunk": {"architecture": "test_resnet"}})
    images = torch.randn(2, 3, 32, 32)
    assert trunk.eval()(images).shape == (2, factory.base_model_output_size)
    assert torch.equal(trunk(images), trunk.body(images))


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_050", "test_vit", "test_efficientnet"])
def test_the_output_size_is_that_of_the_features(architecture: str) -> None:
    """Some of timm's models end in a layer wider than their `num_features`."""
    trunk = TimmTrunk(architecture).eval()
    size = trunk.body.pretrained_cfg["input_size"]
    assert trunk.body(torch.zeros(1, *size)).shape == (1, trunk.fc.in_features)


def test_normalisation_is_timm_s_own_unless_told_otherwise() -> None:
    assert TimmTrunk("test_vit").mean == [0.5, 0.5, 0.5]
    told = TimmTrunk("test_vit", mean=[0.4, 0.4, 0.4], std=[0.2, 0.2, 0.2])
    assert (told.mean, told.std) == ([0.4] * 3, [0.2] * 3)


def test_options_reach_timm() -> None:
    trunk = TimmTrunk("test_resnet", mean=[0.5], std=[0.32], options={"in_chans": 1})
    assert trunk.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 1)
    with pytest.raises(ConfigError, match="expected 1 numbers each"):
        TimmTrunk("test_resnet", options={"in_chans": 1})


def test_a_local_file_is_loaded(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    trunk = TimmTrunk("test_resnet", str(tmp_path / "w.pth"))
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.left_over == {"fc": 2}
    assert torch.equal(trunk.body.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    with pytest.raises(CheckpointError, match="fits 0 of"):
        TimmTrunk("test_vit", str(tmp_path / "w.pth"))


def test_timm_s_own_weights_are_named_and_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tag that timm chooses where the config names none."""

    def published(*args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        return source.state_dict()

    source = timm.create_model("test_resnet")
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", published)
    trunk = TimmTrunk("test_resnet", "pretrained")
    assert torch.equal(trunk.body.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    source.reset_classifier(0)
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.as_dict() == {
        "source": "timm, test_resnet.r160_in1k",
        "tensors": len(source.state_dict()),
        "state_sha256": state_sha256(source),
    }
    assert TimmTrunk("test_resnet").loaded_weights is None


def test_timm_s_own_weights_without_a_network_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    with pytest.raises(ConfigError, match=r"no network.*local file as weights"):
        TimmTrunk("test_resnet", "pretrained")


def test_a_wrong_name_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no model 'resnet5O' \(did you mean 'resnet50'\?\)"):
        TimmTrunk("resnet5O")


@pytest.mark.parametrize("weights", [None, "pretrained"])
def test_a_hash_without_a_file_is_refused(weights: str | None) -> None:
    with pytest.raises(ConfigError, match=f"sha256 is 'abc', but weights is {weights!r}; expected"):
        TimmTrunk("test_resnet", weights, sha256="abc")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install slade-plugin\[timm\]"):
        TimmTrunk("resnet18")
