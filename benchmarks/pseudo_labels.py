"""Time the pseudo-label stage against the bare sum of its parts.

Goal: at most 1.1 times as long.

Plugin: ``SladeTester.embed_pool`` into a file, ``KMeans.cluster`` and ``save_pseudo_labels``,
which is what the pseudo-label stage does with a trained teacher. Bare: forward passes over the same
batches, collated beforehand, and ``faiss.Kmeans`` (train and search) over the unit embeddings with
the same seed and settings. The pool's images lie in memory.

Putting batches together is thus timed in the plugin's run only; ``loading`` says how long the same
``DataLoader`` takes by itself, and ``ratio_with_loading`` counts it as a part.

    python -m benchmarks.pseudo_labels --trunk conv4 --images 10000 --clusters 400 --json k.json
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from sklearn.preprocessing import normalize

from benchmarks.paired_timing import (
    check_at_least,
    comparison,
    report,
    seconds_of,
    spread,
    time_in_turn,
)
from benchmarks.synthetic import TRUNKS, ImagesInMemory, SyntheticImages, make_models
from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.host.testers import SladeTester
from slade_plugin.method.clusterers import KMeans, UnlabeledPool
from slade_plugin.method.pseudo_labels.record import PseudoLabels, save_pseudo_labels

GOAL = 1.1
BATCH_SIZE, SEED = 256, 0


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and report.

    Returns:
        The results, without settings and environment.

    Raises:
        ConfigError: If a number of the command line is too small.
    """
    args = _parser().parse_args(argv)
    check_at_least({"images": 2, "repeat": 1}, images=args.images, repeat=args.repeat)
    if args.threads:
        torch.set_num_threads(args.threads)
        faiss.omp_set_num_threads(args.threads)
    device = torch.device(args.device)
    seed_everything(SEED)
    channels, usual_size = TRUNKS[args.trunk]
    size = args.image_size or usual_size
    models = make_models(args.trunk, size, device)
    for model in models.values():
        model.eval()
    pool = ImagesInMemory(_images(args.images, args.clusters, channels, size))
    settings = KMeans(args.clusters, args.iterations)
    tester = SladeTester(batch_size=BATCH_SIZE, dataloader_num_workers=0, data_device=device)
    ids: dict[str, np.ndarray] = {}

    def bare() -> None:
        ids["bare"] = embed_and_cluster(pool.images, models, device, settings)

    def load() -> None:
        for _ in pml_cf.get_eval_dataloader(pool, BATCH_SIZE, 0, None):
            pass

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def plugin() -> None:
            path = folder / "embeddings.npy"
            embeddings = tester.embed_pool(pool, models["trunk"], models["embedder"], path)
            clustering = settings.cluster(UnlabeledPool(lambda: embeddings, None, SEED))
            path.unlink()
            manifest = clustering.manifest(settings, len(pool))
            save_pseudo_labels(PseudoLabels(clustering.cluster_ids, manifest), folder, "scheme")
            ids["plugin"] = clustering.cluster_ids

        time_in_turn(bare, plugin, device, pairs=1)  # warm-up
        seconds = time_in_turn(bare, plugin, device, args.repeat)
    loading = [seconds_of(load, device) for _ in range(args.repeat)]

    results = comparison(*seconds, goal=GOAL)
    results["seconds"]["loading"] = spread(loading)
    results["ratio_with_loading"] = median(seconds[1]) / (median(seconds[0]) + median(loading))
    # Both did the same work; on a GPU faiss adds up in another order each time.
    results["same_ids"] = float((ids["bare"] == ids["plugin"]).mean())
    chosen = {**vars(args), "json": None, "threads": torch.get_num_threads()}
    report("pseudo_labels", chosen, results, args.json)
    print(f"          with loading among the parts {results['ratio_with_loading']:.3f}")
    return results


def embed_and_cluster(
    images: torch.Tensor,
    models: dict[str, torch.nn.Module],
    device: torch.device,
    settings: KMeans,
) -> np.ndarray:
    """Run the bare parts.

    Args:
        images: (N, C, H, W); a slice of it is what a data loader collates.
        models: Entries "trunk" and "embedder", in eval mode.
        device: Of the models.
        settings: Of k-means.

    Returns:
        (N,) cluster ids.
    """
    with torch.no_grad():
        embeddings = [
            models["embedder"](models["trunk"](batch.to(device))).cpu()
            for batch in images.split(BATCH_SIZE)
        ]
    x = normalize(torch.cat(embeddings).numpy())
    kmeans = faiss.Kmeans(
        x.shape[1],
        settings.num_clusters,
        niter=settings.num_iterations,
        nredo=settings.num_restarts,
        seed=SEED,
        gpu=faiss.get_num_gpus() > 0,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )
    kmeans.train(x)
    index: Any = kmeans.index
    return index.search(x, 1)[1][:, 0]


def _images(number: int, classes: int, channels: int, size: int) -> torch.Tensor:
    source = SyntheticImages(np.arange(number) % classes, channels, size, seed=3)
    images = torch.empty(number, channels, size, size)
    for i in range(number):
        images[i] = source[i][IMAGE]
    return images


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pseudo_labels")
    parser.add_argument("--images", type=int, default=10000, help="size of the pool")
    parser.add_argument("--clusters", type=int, default=400, help="k")
    parser.add_argument("--iterations", type=int, default=50, help="of k-means")
    parser.add_argument("--trunk", choices=list(TRUNKS), default="conv4")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="torch's and faiss's; 0 leaves them")
    parser.add_argument("--image_size", type=int, default=0, help="0: 32 or 227, by trunk")
    parser.add_argument("--json", type=Path, help="where to write the result")
    return parser


if __name__ == "__main__":
    main()
