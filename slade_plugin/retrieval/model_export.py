"""Export a trained model as ONNX, TorchScript or safetensors, with a JSON description.

The exported network takes pixels from 0 to 1 and includes normalization and the order of colors.
The JSON describes how an image becomes such pixels, and where the model comes from.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from easy_module_attribute_getter.custom_transforms import ConvertToBGR, Multiplier
from torch import Tensor, nn
from torchvision import transforms

from slade_plugin.base.errors import ConfigError, ExperimentError, RetrievalError
from slade_plugin.base.files import sha256_of_file, write_json
from slade_plugin.retrieval.embedder import Embedder

INPUT, OUTPUT = "images", "embeddings"
TOLERANCE = 1e-4
"""Largest allowed difference of a component, relative to the length of the vector."""

_CHECKED_BATCHES = (1, 2, 5)
_SEED = 0

Network = Callable[[Tensor], Tensor]


class PixelNetwork(nn.Module):
    """Map pixels to vectors: the numeric steps of the transform, then the model.

    Args:
        embedder: The model; it is copied.

    Raises:
        RetrievalError: If the transform has an unknown step on tensors.
    """

    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        steps = list(embedder.transform.transforms)
        is_tensor = [isinstance(step, transforms.ToTensor) for step in steps]
        before, self.after = steps[: is_tensor.index(True)], steps[is_tensor.index(True) + 1 :]
        self.to_bgr = any(isinstance(step, ConvertToBGR) for step in before)
        scale, mean, std = 1.0, [0.0], [1.0]
        for step in self.after:
            if isinstance(step, Multiplier):
                scale = float(step.multiple)
            elif isinstance(step, transforms.Normalize):
                mean, std = list(step.mean), list(step.std)
            else:
                raise RetrievalError(
                    f"the evaluation transform has {type(step).__name__} after ToTensor; only the "
                    "benchmark's own Multiplier and Normalize can be exported (config_transforms)."
                )
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.model = copy.deepcopy(embedder).cpu()
        self.eval()

    def prepare(self, images: Tensor) -> Tensor:
        """Apply the experiment's own transform to pixels; `forward` must equal it.

        Args:
            images: As for `forward`.

        Returns:
            The model's input.
        """
        found = []
        for image in images.flip(1) if self.to_bgr else images:
            for step in self.after:
                image = step(image)
            found.append(image)
        return torch.stack(found)

    def forward(self, images: Tensor) -> Tensor:
        """Turn pixels into vectors.

        Args:
            images: (B, C, H, W) float32, 0 to 1, RGB or gray.

        Returns:
            (B, D).
        """
        pixels = images.flip(1) if self.to_bgr else images
        return self.model((pixels * self.scale - self.mean) / self.std)


def _write_onnx(network: PixelNetwork, example: Tensor, path: Path) -> Network:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx.export needs it and reports it late
    except ImportError as error:
        raise _not_installed("onnx", error) from error
    batch = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _write_torchscript(network: PixelNetwork, example: Tensor, path: Path) -> Network:
    with warnings.catch_warnings():
        # torch deprecates TorchScript in favor of torch.export; programs that read it remain.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # A check of shapes is traced as its outcome, which holds for every batch.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.jit.save(torch.jit.trace(network, example), str(path))
        loaded: Network = torch.jit.load(str(path))
    return loaded


def _write_safetensors(network: PixelNetwork, example: Tensor, path: Path) -> Network:
    try:
        from safetensors.torch import load_model, save_model
    except ImportError as error:
        raise _not_installed("safetensors", error) from error
    save_model(network, str(path))
    path.chmod(0o644)  # safetensors makes it readable for its owner only
    read = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*read.parameters(), *read.buffers()):
            tensor.zero_()
    load_model(read, str(path))
    return read


FORMATS: Mapping[str, Callable[[PixelNetwork, Tensor, Path], Network]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "safetensors": _write_safetensors,
}
SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


def description_of(path: Path) -> Path:
    """Return the path of a model's description: ``model.onnx.json`` for ``model.onnx``."""
    return path.with_name(path.name + ".json")


def export_model(embedder: Embedder, kind: str, path: Path) -> float:
    """Write a model and its description; check the model before it is put in place.

    Args:
        embedder: The model.
        kind: One of FORMATS.
        path: The file to write; its folder must exist.

    Returns:
        The largest difference from the PyTorch model, over random images and several batch sizes.

    Raises:
        ConfigError: If a package is missing, or the file exists.
        RetrievalError: If the model cannot be exported, or the file gives different vectors. No
            file is left.
        ExperimentError: If a file cannot be written.
    """
    description = description_of(path)
    for taken in (path, description):
        if taken.exists():
            raise ConfigError(f"{taken} exists; expected a new file. Change --out.")
    if embedder.input_shape is None:
        raise RetrievalError(
            "the experiment's evaluation transform does not resize images to one size, so the "
            "network has no fixed input; expected Resize and CenterCrop in config_transforms."
        )
    network = PixelNetwork(embedder)
    generator = torch.Generator().manual_seed(_SEED)
    batches = [
        torch.rand(size, *embedder.input_shape, generator=generator) for size in _CHECKED_BATCHES
    ]
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        try:
            exported = FORMATS[kind](network, batches[1], temporary)
            difference = _largest_difference(exported, network, batches)
        except OSError as error:
            raise ExperimentError(
                f"{path} cannot be written: {error.strerror or error}; expected free space and "
                "permission to write. Fix this, or change --out."
            ) from error
        except (RuntimeError, ValueError, TypeError) as error:
            raise RetrievalError(
                f"the model cannot be exported as {kind}: {error}. Expected layers that it can "
                "represent; try another --to."
            ) from error
        if not difference <= TOLERANCE:
            raise RetrievalError(
                f"the exported {kind} model differs from the PyTorch model by {difference:.2g}; "
                f"expected {TOLERANCE:.0e} or less. Nothing was written; try another --to."
            )
        write_json(description, _describe(embedder, network, kind, path, temporary, difference))
        try:
            temporary.replace(path)
        except OSError:
            description.unlink()
            raise
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def _largest_difference(exported: Network, network: PixelNetwork, batches: list[Tensor]) -> float:
    """Return the largest difference over all batches, as a share of the vectors' length.

    It is NaN if any difference is.
    """
    largest = torch.tensor(0.0)
    with torch.no_grad():
        for batch in batches:
            expected = network.model(network.prepare(batch))
            share = (exported(batch) - expected).abs() / expected.norm(dim=1, keepdim=True)
            largest = torch.maximum(largest, share.max())
    return float(largest)


def _describe(
    embedder: Embedder,
    network: PixelNetwork,
    kind: str,
    path: Path,
    written: Path,
    difference: float,
) -> dict[str, Any]:
    """Return the description of a model."""
    channels, height, width = embedder.input_shape or (0, 0, 0)
    resizing = [{"shrink_short_side": embedder.short_side}] if embedder.short_side else []
    resizing += [{name: options or {}} for name, options in embedder.record["transform"].items()]
    return {
        "file": path.name,
        "format": kind,
        "sha256": sha256_of_file(written),
        "input": {
            "name": INPUT,
            "shape": ["batch", channels, height, width],
            "type": "float32",
            "range": [0, 1],
            "color": "gray" if channels == 1 else "RGB",
            "transform": resizing,
            "interpolation": "bilinear with antialiasing, as PIL and torchvision resize images",
        },
        "normalization_inside": {
            "to_bgr": network.to_bgr,
            "scale": float(network.scale),
            "mean": network.mean.flatten().tolist(),
            "std": network.std.flatten().tolist(),
        },
        "output": {
            "name": OUTPUT,
            "shape": ["batch", embedder.embedding_size],
            "unit_length": embedder.unit_length,
            "metric": embedder.metric,
        },
        "check": {"largest_difference": difference, "tolerance": TOLERANCE},
        "provenance": embedder.record,
    }


def _not_installed(extra: str, error: ImportError) -> ConfigError:
    return ConfigError(
        f"--to {extra} needs a package that is not installed ({error}). Install it: "
        f"pip install 'slade-plugin[{extra}]'"
    )
