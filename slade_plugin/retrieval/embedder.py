"""A trained model as one module that turns images into vectors."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from sklearn.preprocessing import normalize
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from slade_plugin.base.errors import ConfigError, DataError, RetrievalError
from slade_plugin.base.provenance import describe_environment
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.data.files.image_cache import shrink, target_side
from slade_plugin.data.files.image_decoding import read_rgb, to_rgb
from slade_plugin.data.files.value_ranges import has_gray_levels
from slade_plugin.retrieval.saved_model import (
    SavedModel,
    find_experiment,
    load_best,
    split_schemes,
)

Vectors = npt.NDArray[np.float32]

_GRAY, _COLOR = "L", "RGB"
_UNSIZED = [(64, 48), (300, 210)]  # sizes that only a transform of a fixed size makes equal


class Batch(NamedTuple):
    """The result of some consecutive images.

    Attributes:
        size: B, their number.
        vectors: (B - number of unreadable ones, D) float32.
        unreadable: Place of each unreadable image, counted from the first of all, with the reason.
    """

    size: int
    vectors: Vectors
    unreadable: dict[int, str]


class Embedder(nn.Module):
    """The best model of a trained experiment, with the transform it was evaluated with.

    Load one with `load_embedder`. It stays in eval mode, and `embed` computes no gradients.

    Attributes:
        trunk: The trunk.
        embedder: The embedder.
        transform: The evaluation transform: a PIL image of `mode` to (C, H, W) float32.
        mode: "RGB", or "L" for a trunk of one channel.
        unit_length: Whether vectors have length 1, as in the experiment's tester.
        uses_trunk_output: Whether vectors are the trunk's output, as in the tester.
        batch_size: The tester's.
        short_side: What images are shrunk to before the transform, as the data set's cache does;
            None to leave their size.
        value_range: Black and white in gray images of more than 8 bits; None = as the format fixes
            them.
        record: The origin of the model, ready for JSON; `sha256` covers weights, transform and
            split schemes.
    """

    def __init__(
        self, trunk: nn.Module, embedder: nn.Module, saved: SavedModel, sources: Mapping[str, Any]
    ) -> None:
        super().__init__()
        args = saved.parser.args
        (tester,) = args.tester.values()
        if tester.get("pca"):
            raise ConfigError(
                f"tester: pca is {tester['pca']}; expected null, since PCA is fitted again to "
                "each set of images (config_eval)."
            )
        self.trunk, self.embedder = trunk, embedder
        self.unit_length = bool(tester.get("normalize_embeddings", True))
        self.uses_trunk_output = bool(tester.get("use_trunk_output", False))
        self.batch_size = int(tester.get("batch_size", 32))
        # A copy, since the factory changes its arguments.
        specs = {"eval": copy.deepcopy(args.transforms["eval"])}
        factory = saved.parser.factories["transform"]
        self.transform = factory.create(named_specs=specs, kwargs={"trunk_model": trunk})["eval"]
        first = next((m for m in trunk.modules() if isinstance(m, nn.Conv2d)), None)
        self.mode = _GRAY if first is not None and first.in_channels == 1 else _COLOR
        (options,) = args.dataset.values()
        self.short_side = ((options or {}).get("cache") or {}).get("short_side")
        self.value_range = (options or {}).get("value_range")
        made = {
            "models": args.models,
            "transform": args.transforms["eval"],
            "short_side": self.short_side,
            "value_range": self.value_range,
            "unit_length": self.unit_length,
            "use_trunk_output": self.uses_trunk_output,
            **sources,
        }
        environment = describe_environment()
        self.record: dict[str, Any] = {
            "experiment": str(saved.weights.experiment),
            "data_set": next(iter(args.dataset)),
            **made,
            "sha256": hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest(),
            "slade_plugin": environment["slade_plugin"],
            "git_commit": environment["git_commit"],
            "packages": environment["packages"],
        }
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever `mode` is, since vectors must not depend on their batch."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Device of the model; `.to(device)` moves it."""
        return next(self.parameters()).device

    @property
    def sha256(self) -> str:
        """Hash of weights, transform and split schemes; vectors are comparable if it is equal."""
        return str(self.record["sha256"])

    @property
    def metric(self) -> str:
        """Comparison of vectors: "cosine" (larger = closer) or "euclidean" (smaller = closer)."""
        return "cosine" if self.unit_length else "euclidean"

    @cached_property
    def input_shape(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) of the trunk's input; None if images keep their own height and width."""
        named = (getattr(module, "input_shape", None) for module in self.trunk.modules())
        own: tuple[int, int, int] | None = next(filter(None, named), None)
        shapes = {self._transformed(Image.new(_COLOR, size)).shape for size in _UNSIZED}
        if own is not None or len(shapes) > 1:
            return own
        channels, height, width = shapes.pop()
        return channels, height, width

    @cached_property
    def embedding_size(self) -> int:
        """D, the size of a vector."""
        shape = self.input_shape or (len(self.mode), 224, 224)
        with torch.no_grad():
            return int(self(torch.zeros(1, *shape, device=self.device)).shape[1])

    def preprocess(self, image: Image.Image) -> Tensor:
        """Turn an image into the trunk's input.

        Args:
            image: Of any mode of 8 bits and any size; its EXIF orientation is applied.

        Returns:
            (C, H, W) float32.

        Raises:
            RetrievalError: If the image is damaged or has more than 8 bits, or the experiment's
                transform does not resize and it does not have the size of the trunk's input.
        """
        if not has_gray_levels(image):
            raise RetrievalError(
                f"it has more than 8 bits per channel (mode {image.mode}), whose black and white "
                "depend on the file. Give its path, or convert it to 8 bits."
            )
        try:
            image.load()
        except Exception as error:  # Pillow has a dozen kinds for damaged images
            raise RetrievalError(
                f"it cannot be decoded ({error}); expected a whole image. Replace its file."
            ) from error
        with suppress(Exception):  # broken EXIF data around a whole image
            image = ImageOps.exif_transpose(image)
        tensor = self._transformed(image)
        self._check_shape(tensor, f"an image of {image.width} x {image.height} pixels")
        return tensor

    def _transformed(self, image: Image.Image) -> Tensor:
        if image.mode != self.mode or image.has_transparency_data:
            image = to_rgb(image)
        if self.short_side is not None:
            image = shrink(image, self.short_side)
        return self.transform(image.convert(self.mode))

    def _check_shape(self, tensor: Tensor, what: str) -> None:
        if self.input_shape is not None and tuple(tensor.shape) != self.input_shape:
            raise RetrievalError(
                f"{what} has the shape {tuple(tensor.shape)} after the experiment's transform; "
                f"expected {self.input_shape}. Resize it first."
            )

    def raw(self, images: Tensor) -> Tensor:
        """Compute the output before it is scaled to unit length.

        Args:
            images: (B, C, H, W) float32, as `preprocess` makes them, on the model's device.

        Returns:
            (B, D).
        """
        features = self.trunk(images)
        return features if self.uses_trunk_output else self.embedder(features)

    def forward(self, images: Tensor) -> Tensor:
        """Turn prepared images into vectors; gradients flow.

        Args:
            images: (B, C, H, W) float32, as `preprocess` makes them, on the model's device.

        Returns:
            (B, D), of unit length if `unit_length`.
        """
        output = self.raw(images)
        return F.normalize(output, dim=1) if self.unit_length else output

    def embed(
        self,
        images: Any,
        batch_size: int | None = None,
        num_workers: int = 0,
        progress: str | None = None,
    ) -> Vectors:
        """Turn images into vectors, exactly as the experiment's tester does.

        Args:
            images: A sequence of paths, PIL images or arrays ((H, W) or (H, W, 3) uint8), in any
                mixture, or a torch `Dataset`. Items of a `Dataset` may be dicts with an entry
                "data", and tensors, which count as prepared images.
            batch_size: Images per forward pass; the tester's if None. Another batch size or device
                may change the last bits of a vector.
            num_workers: Processes that read images; 0 for this one.
            progress: Text of the progress bar on a terminal; None for no bar.

        Returns:
            (N, D) float32, in the order of the images.

        Raises:
            RetrievalError: If there are no images, or one is unreadable or does not fit the model.
        """
        found = []
        for batch in self.batches(images, batch_size, num_workers, progress=progress):
            for problem in batch.unreadable.values():
                raise RetrievalError(problem)
            found.append(batch.vectors)
        return np.concatenate(found)

    def batches(
        self,
        images: Any,
        batch_size: int | None = None,
        num_workers: int = 0,
        start: int = 0,
        progress: str | None = None,
    ) -> Iterator[Batch]:
        """Embed batch by batch, with memory for one batch; unreadable images are left out.

        Args:
            images: See `embed`.
            batch_size: See `embed`.
            num_workers: See `embed`.
            start: How many images to skip; a multiple of the batch size gives the same vectors as
                starting from the first.
            progress: See `embed`.

        Yields:
            Each batch.

        Raises:
            RetrievalError: See `embed`; also if a process of `num_workers` dies.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or not hasattr(images, "__len__"):
            raise RetrievalError(
                f"got one {type(images).__name__}; expected a list of paths, PIL images or arrays, "
                "or a Dataset. For one image pass [image]."
            )
        if not len(images):
            raise RetrievalError("there are no images to embed; expected at least one.")
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise RetrievalError(f"batch_size is {size}; expected 1 or more.")
        prepared: Dataset[Any] = _Prepared(images, self)
        if start:
            prepared = Subset(prepared, range(start, len(images)))
        loader = DataLoader(prepared, batch_size=size, num_workers=num_workers, collate_fn=list)
        with tqdm(
            total=len(images),
            initial=start,
            desc=progress,
            unit="image",
            disable=True if progress is None else None,
        ) as bar:
            try:
                for items in loader:
                    yield self._embed_batch(items)
                    bar.update(len(items))
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise RetrievalError(
                    f"a process that reads images ended: {error} The memory may be full. "
                    "--workers 0 (num_workers) uses this process only."
                ) from error

    def _embed_batch(self, items: Sequence[tuple[int, Tensor | str]]) -> Batch:
        unreadable = {place: found for place, found in items if isinstance(found, str)}
        tensors = [found for _, found in items if not isinstance(found, str)]
        if not tensors:
            return Batch(len(items), np.empty((0, self.embedding_size), np.float32), unreadable)
        if len({tensor.shape for tensor in tensors}) > 1:
            raise RetrievalError(
                f"the images of a batch have the sizes {sorted({tuple(t.shape) for t in tensors})} "
                "after the experiment's transform, which does not resize; expected images of one "
                "size. Resize them first."
            )
        with torch.no_grad():
            output = self.raw(torch.stack(tensors).to(self.device)).float().cpu().numpy()
        if not np.isfinite(output).all():  # first, since normalize raises ValueError for NaN
            raise RetrievalError(
                f"the vectors of images {items[0][0]} to {items[-1][0]} are not finite; expected "
                "finite numbers. The model may have diverged in training."
            )
        return Batch(len(items), normalize(output) if self.unit_length else output, unreadable)


class _Prepared(Dataset[tuple[int, "Tensor | str"]]):
    """The place of each image with the trunk's input, or with the reason why there is none."""

    def __init__(self, images: Any, embedder: Embedder) -> None:
        self.images, self.embedder = images, embedder

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> "tuple[int, Tensor | str]":
        item = self.images[index]
        name = str(item) if isinstance(item, str | os.PathLike) else f"image {index}"
        item = item[IMAGE] if isinstance(item, Mapping) else item
        try:
            if isinstance(item, Tensor):
                self.embedder._check_shape(item, "the tensor")
                return index, item
            return index, self.embedder.preprocess(self._picture(item))
        except RetrievalError as error:  # as text: a worker would hide it in a traceback
            return index, f"{name}: {error}"

    def _picture(self, item: Any) -> Image.Image:
        """Convert an item to a PIL image.

        Raises:
            RetrievalError: If it is not an image.
        """
        if isinstance(item, str | os.PathLike):
            side = self.embedder.short_side or target_side(self.embedder.transform)
            try:
                return read_rgb(item, value_range=self.embedder.value_range, short_side=side)
            except DataError as error:
                raise RetrievalError(
                    f"it cannot be read as an image ({error.__cause__ or error}); expected an "
                    "image file, such as a JPEG or PNG."
                ) from error
        if isinstance(item, Image.Image):
            return item
        found = f"a {type(item).__name__}"
        if isinstance(item, np.ndarray):
            found = f"an array of shape {item.shape} and type {item.dtype}"
            if item.dtype == np.uint8 and item.shape[2:] in ((), (3,)) and item.ndim > 1:
                return Image.fromarray(item)
        raise RetrievalError(
            f"it is {found}; expected a path, a PIL image, or an array of shape (H, W) or "
            "(H, W, 3) and type uint8."
        )


def load_embedder(
    experiment: str | os.PathLike[str],
    split_scheme: str | None = None,
    ensemble: bool = False,
    device: str | torch.device | None = None,
) -> Embedder:
    """Load the best model of a trained experiment from its folder alone.

    Args:
        experiment: The folder of an experiment, such as experiments/slade_seed0/student. A folder
            of self-training stands for its last student.
        split_scheme: Split scheme of the model; the first if None.
        ensemble: Whether to concatenate the vectors of all split schemes, as the host's ensemble
            does.
        device: Device of the model; by default a GPU if there is one.

    Raises:
        SladeError: If the folder is not a finished experiment, has no such split scheme, or was
            not trained on images.
    """
    folder = find_experiment(Path(experiment))
    if ensemble and split_scheme is not None:
        raise RetrievalError(
            f"split_scheme is {split_scheme!r} and ensemble is true; expected one or the other."
        )
    names = split_schemes(folder) if ensemble else [split_scheme]
    saved = [load_best(folder, name) for name in names]
    trunk, embedder = saved[0].models["trunk"], saved[0].models["embedder"]
    sources: dict[str, Any] = {
        "split_schemes": [model.split_scheme for model in saved],
        "epochs": [int(model.weights.suffix.removeprefix("best")) for model in saved],
        "weights_sha256": [model.weights.sha256() for model in saved],
    }
    if ensemble:
        parser = saved[0].parser
        ensembler = parser.get_ensemble()
        size = parser.factories["model"].base_model_output_size
        ensembler.embedder_input_sizes = [size] * len(saved)
        trunk, embedder = (
            model.module  # without DataParallel
            for model in ensembler.create_ensemble_model(
                [model.models["trunk"] for model in saved],
                [model.models["embedder"] for model in saved],
            )
        )
        sources["ensemble"] = parser.args.ensemble
    found = Embedder(trunk, embedder, saved[0], sources)
    return found if device is None else found.to(device)
