import copy
import json
import math
import os
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from easy_module_attribute_getter.custom_transforms import ConvertToBGR, Multiplier
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms

from slade_plugin.base.errors import ConfigError, ExperimentError, RetrievalError
from slade_plugin.retrieval import model_export
from slade_plugin.retrieval.embedder import load_embedder
from slade_plugin.retrieval.model_export import PixelNetwork, description_of, export_model


def pixels(paths: list[str]) -> np.ndarray:
    """(N, 1, 32, 32), without this package and without torch."""
    images = [np.asarray(Image.open(path), np.float32) / 255 for path in paths]
    return np.stack(images)[:, None]


@pytest.mark.slow
def test_onnx_runs_without_this_package(trained, embedder, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    difference = export_model(embedder, "onnx", path)
    assert 0 <= difference < 1e-5
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    assert [node.name for node in session.get_inputs()] == ["images"]
    for number in (1, 7):  # any batch
        (vectors,) = session.run(None, {"images": pixels(trained.paths[:number])})
        assert np.allclose(vectors, embedder.embed(trained.paths[:number]), atol=1e-5)
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "model.onnx.json"]
    described = json.loads(description_of(path).read_text())
    assert described["input"]["shape"] == ["batch", 1, 32, 32]
    assert described["output"]["shape"] == ["batch", 16]
    assert described["output"]["metric"] == "cosine"
    assert described["check"]["largest_difference"] == difference
    assert described["provenance"]["weights_sha256"] == embedder.record["weights_sha256"]
    assert described["normalization_inside"]["mean"] == [0.5]


def test_torchscript_takes_any_batch(trained, embedder, tmp_path) -> None:
    path = tmp_path / "model.pt"
    export_model(embedder, "torchscript", path)
    with pytest.warns(FutureWarning):  # torch's own, on reading
        model = torch.jit.load(path)
    vectors = model(torch.from_numpy(pixels(trained.paths[:9]))).detach().numpy()
    assert np.allclose(vectors, embedder.embed(trained.paths[:9]), atol=1e-5)


def test_safetensors_hold_every_weight_and_the_normalization(embedder, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    export_model(embedder, "safetensors", path)
    found = load_file(path)
    expected = PixelNetwork(embedder).state_dict()
    assert {"mean", "std", "scale"} < set(found) <= set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    # The host's MLP names its last layer twice; a file holds each tensor once.
    storages = {tensor.data_ptr() for tensor in expected.values()}
    assert len(found) == len(storages)


@pytest.mark.long
def test_an_ensemble_is_exported_too(trained, tmp_path) -> None:
    together = load_embedder(trained.experiment, ensemble=True)
    for kind, suffix in model_export.SUFFIXES.items():
        export_model(together, kind, tmp_path / f"model{suffix}")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (vectors,) = session.run(None, {"images": pixels(trained.paths[:3])})
    assert np.allclose(vectors, together.embed(trained.paths[:3]), atol=1e-5)


def test_pixels_are_normalized_in_the_network(embedder) -> None:
    """As the host composes the transform of BN-Inception: BGR, 0 to 255."""
    steps = [
        ConvertToBGR(),
        transforms.ToTensor(),
        Multiplier(255),
        transforms.Normalize([104, 117, 128], [1, 2, 3]),
    ]
    whole = copy.deepcopy(embedder)
    whole.transform = transforms.Compose(steps)
    whole.trunk, whole.embedder, whole.unit_length = nn.Flatten(), nn.Identity(), False
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8))
    raw = transforms.functional.to_tensor(image)[None]
    expected = whole.transform(image).flatten()
    assert torch.allclose(PixelNetwork(whole)(raw)[0], expected, atol=1e-4)
    whole.transform.transforms.append(transforms.RandomErasing())
    with pytest.raises(RetrievalError, match="has RandomErasing after ToTensor"):
        PixelNetwork(whole)


@pytest.mark.parametrize(
    ("kind", "error"), [("torchscript", 0.01), ("safetensors", 0.01), ("safetensors", math.nan)]
)
def test_a_file_that_gives_other_vectors_is_removed(
    embedder, tmp_path, monkeypatch, kind, error
) -> None:
    original = model_export.FORMATS[kind]

    def wrong(network, example, path):
        read = original(network, example, path)
        return lambda images: read(images) + error

    monkeypatch.setitem(model_export.FORMATS, kind, wrong)
    path = tmp_path / f"model{model_export.SUFFIXES[kind]}"
    with pytest.raises(RetrievalError, match=rf"differs from the PyTorch model by {error}; exp"):
        export_model(embedder, kind, path)
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_written_leaves_nothing(embedder, tmp_path, monkeypatch) -> None:
    def full(network, example, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(model_export.FORMATS, "onnx", full)
    with pytest.raises(ExperimentError, match=r"model.onnx cannot be written: No space left"):
        export_model(embedder, "onnx", tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []

    def unknown_layer(network, example, path):
        raise RuntimeError("no such operator")

    monkeypatch.setitem(model_export.FORMATS, "onnx", unknown_layer)
    with pytest.raises(RetrievalError, match="cannot be exported as onnx: no such operator"):
        export_model(embedder, "onnx", tmp_path / "model.onnx")

    def no_json(*_):
        raise ExperimentError("full")

    monkeypatch.setattr(model_export, "write_json", no_json)
    with pytest.raises(ExperimentError):
        export_model(embedder, "safetensors", tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == []


def test_what_does_not_fit_is_named(embedder, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(ConfigError, match="exists; expected a new file"):
        export_model(embedder, "onnx", path)
    free = SimpleNamespace(input_shape=None)
    with pytest.raises(RetrievalError, match="does not resize images to one size"):
        export_model(free, "onnx", tmp_path / "other.onnx")
