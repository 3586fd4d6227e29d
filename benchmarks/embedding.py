"""``slade-bench embed`` against the bare forward pass with decoding.

Goal: at most 1.1 times as long.

Plugin: ``embed_images``, which reads image files, embeds them and writes vectors, paths and record.
Bare: a ``DataLoader`` that opens each file with Pillow and applies the same transform, and forward
passes over its batches; the vectors stay in memory. Images are generated, 500 x 375 JPEGs; the
models have random weights.

    python -m benchmarks.embedding --trunk resnet50 --images 200 --json embedding.json
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from powerful_benchmarker.factories import TransformFactory
from sklearn.preprocessing import normalize
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.input_pipeline import draw_photographs
from benchmarks.paired_timing import check_at_least, comparison, report, time_in_turn
from benchmarks.synthetic import TRUNKS, make_models
from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.retrieval.embedder import Embedder
from slade_plugin.retrieval.vectors import embed_images, list_images, remove_vectors
from slade_plugin.runner import SladeRunner

GOAL = 1.1
SEED = 0


class DecodedImages(Dataset[Tensor]):
    """The minimum work per file: decode it and apply the transform."""

    def __init__(self, images: ImageList, mode: str, transform: Any) -> None:
        self.images, self.mode, self.transform = images, mode, transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        """Return one transformed image."""
        with Image.open(self.images.path(index)) as image:
            return self.transform(image.convert(self.mode))


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and report.

    Returns:
        The results, without settings and environment.

    Raises:
        ConfigError: If a number of the command line is too small.
    """
    args = _parser().parse_args(argv)
    least = {"images": 1, "repeat": 1, "workers": 0, "batch_size": 1}
    check_at_least(least, **{name: getattr(args, name) for name in least})
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    seed_everything(SEED)
    embedder = make_embedder(args.trunk, device)
    vectors: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_photographs(folder / "images", args.images, 500, 375)
        images = list_images(folder / "images", labeled=False)
        decoded = DecodedImages(images, embedder.mode, embedder.transform)

        def bare() -> None:
            loader = DataLoader(decoded, batch_size=args.batch_size, num_workers=args.workers)
            with torch.no_grad():
                found = [
                    embedder.embedder(embedder.trunk(batch.to(device))).cpu() for batch in loader
                ]
            vectors["bare"] = torch.cat(found).numpy()

        def plugin() -> None:
            made = embed_images(embedder, images, folder / "vectors", args.batch_size, args.workers)
            vectors["plugin"] = np.array(made.vectors)
            remove_vectors(folder / "vectors")

        bare()  # fills the system's file cache
        seconds = time_in_turn(bare, plugin, device, args.repeat)
    results = comparison(*seconds, goal=GOAL)
    # Both did the same work.
    results["largest_difference"] = float(
        np.abs(normalize(vectors["bare"]) - vectors["plugin"]).max()
    )
    chosen = {**vars(args), "json": None, "threads": torch.get_num_threads()}
    report("embedding", chosen, results, args.json)
    return results


def make_embedder(trunk: str, device: torch.device) -> Embedder:
    """Make an embedder with random weights, as of a trained experiment.

    Args:
        trunk: Its name in TRUNKS.
        device: Where to put it.
    """
    _, size = TRUNKS[trunk]
    models = make_models(trunk, size, device)
    args = SimpleNamespace(
        tester={"GlobalEmbeddingSpaceTester": {"normalize_embeddings": True}},
        transforms={"eval": {"Resize": {"size": size + size // 8}, "CenterCrop": {"size": size}}},
        dataset={"FolderImages": {}},
        models={},
    )
    factories = {"transform": TransformFactory(getter=SladeRunner().pytorch_getter)}
    saved: Any = SimpleNamespace(
        parser=SimpleNamespace(args=args, factories=factories),
        weights=SimpleNamespace(experiment="benchmark"),
    )
    return Embedder(models["trunk"], models["embedder"], saved, {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding")
    parser.add_argument("--images", type=int, default=200, help="number of files")
    parser.add_argument("--trunk", choices=list(TRUNKS), default="conv4")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="torch's; 0 leaves them")
    parser.add_argument("--json", type=Path, help="where to write the result")
    return parser


if __name__ == "__main__":
    main()
