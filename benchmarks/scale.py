"""Time and memory of everything that grows with the number of images.

Goals on 2 cores: a million vectors of 512 numbers are pseudo-labeled within 3 GB next to the file
that holds them, and a tree of a million images is listed within a minute.

Each case runs in its own process. Its memory is the largest anonymous part of the resident
set above that before the case, so pages of the embeddings' file, which the system may drop, are not
counted. Linux only.

    python -m benchmarks.scale --images 10000 100000 1000000 --json scale.json
"""

import argparse
import functools
import math
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import Dataset

from benchmarks.paired_timing import check_at_least
from slade_plugin import compat
from slade_plugin.base.files import write_json
from slade_plugin.base.provenance import describe_environment
from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.data.files.image_tree import read_class_folders
from slade_plugin.data.leakage.identical_files import identical_files
from slade_plugin.data.leakage.perceptual_hash import near_identical
from slade_plugin.data.samplers import ResumableSampler
from slade_plugin.host.testers import SladeTester
from slade_plugin.method.clusterers import KMeans, UnlabeledPool
from slade_plugin.method.clusterers.clusterer import usual_num_clusters
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels
from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round
from slade_plugin.method.pseudo_labels.record import PseudoLabels, save_pseudo_labels

MILLION, MOST_MB, MOST_SECONDS = 1_000_000, 3072, 60
PER_CLASS, PER_CLUSTER, BATCH_SIZE = 50, 40, 256

Seconds = dict[str, float]


class RandomVectors(Dataset[dict[str, Any]]):
    """A pool whose "images" are random unit vectors, drawn on access."""

    def __init__(self, number: int, dim: int) -> None:
        self.number, self.dim = number, dim

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self.number

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": (dim,) float32}, always the same."""
        draw = np.random.default_rng(index).standard_normal
        return {IMAGE: torch.from_numpy(draw(self.dim, dtype=np.float32))}


# ---- the cases: number of images, size of a vector, a folder -> seconds of the parts -------------


def pseudo_labels(number: int, dim: int, folder: Path, iterations: int) -> Seconds:
    """Run the pseudo-label stage with a teacher that computes nothing."""
    took = _Stopwatch()
    tester = SladeTester(
        batch_size=BATCH_SIZE, dataloader_num_workers=0, data_device=torch.device("cpu")
    )
    pool, path, same = RandomVectors(number, dim), folder / "embeddings.npy", nn.Identity()
    embeddings = tester.embed_pool(pool, same, same, path)
    took.note("embedding")
    clusterer = KMeans(num_clusters=None, num_iterations=iterations)
    clustering = clusterer.cluster(UnlabeledPool(lambda: embeddings, None, seed=0))
    took.note("k-means")
    manifest = clustering.manifest(clusterer, number)
    save_pseudo_labels(PseudoLabels(clustering.cluster_ids, manifest), folder, "scheme")
    took.note("record")
    return took.seconds


def evaluation(number: int, dim: int, folder: Path) -> Seconds:
    """Compute the host's metrics, all images against all others, in classes of 50."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((number, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.arange(number) % max(number // PER_CLASS, 1)
    calculator = AccuracyCalculator()
    took = _Stopwatch()
    for name, metrics in (
        ("k-NN metrics", calculator.requires_knn()),
        ("NMI and AMI", calculator.requires_clustering()),
    ):
        calculator.get_accuracy(vectors, vectors, labels, labels, True, include=metrics)
        took.note(name)
    return took.seconds


def leak_check(number: int, dim: int, folder: Path) -> Seconds:
    """Compare perceptual hashes of a pool with those of a tenth as many evaluated images."""
    rng = np.random.default_rng(0)
    hashes, others = (
        np.hstack([np.ones((n, 1), np.uint8), rng.integers(0, 256, (n, 8), np.uint8)])
        for n in (number, max(number // 10, 1))
    )
    took = _Stopwatch()
    near_identical(hashes, others, max_bits=4)
    took.note("hashes")
    return took.seconds


def sampler(number: int, dim: int, folder: Path) -> Seconds:
    """Run one pass of the sampler that balances clusters."""
    seed_everything(0)
    labels = np.random.default_rng(0).integers(0, max(number // PER_CLUSTER, 1), number)
    took = _Stopwatch()
    balanced = ResumableSampler(
        MPerClassSampler(labels, m=4, length_before_new_iter=number), lambda: None
    )
    took.note("setting up")
    for _ in balanced:
        pass
    took.note("one pass")
    return took.seconds


def tables(number: int, dim: int, folder: Path) -> Seconds:
    """Compare clusters with true classes and with the clusters of the last round."""
    rng = np.random.default_rng(0)
    many = max(number // PER_CLUSTER, 1)
    classes, last = rng.integers(0, many, (2, number))
    now = np.where(rng.random(number) < 0.2, rng.integers(0, many, number), last)
    took = _Stopwatch()
    compare_with_true_labels(last % usual_num_clusters(number), classes)
    took.note("true classes")
    compare_with_last_round(now, last)
    took.note("last round")
    return took.seconds


def listing(number: int, dim: int, folder: Path) -> Seconds:
    """List a tree with one folder per class, then compare its halves byte by byte."""
    root = folder / "tree"
    for start in range(0, number, PER_CLASS):
        place = root / f"class {start // PER_CLASS:06d}"
        place.mkdir(parents=True)
        for i in range(start, min(start + PER_CLASS, number)):
            (place / f"image {i:07d}.jpg").write_bytes(b"%07d" % i)
    took = _Stopwatch()
    images = read_class_folders(root)
    took.note("listing")
    files, sizes = [images.path(i) for i in range(len(images))], images.sizes
    half = number // 2
    identical_files(files[:half], sizes[:half], files[half:], sizes[half:])
    took.note("comparing files")
    return took.seconds


CASES: dict[str, Callable[..., Seconds]] = {
    case.__name__: case
    for case in (pseudo_labels, evaluation, leak_check, sampler, tables, listing)
}
OF_VECTORS = ("pseudo_labels", "evaluation")
# Processes are forked from one that has imported these and has run nothing.
_IMPORTED = ["benchmarks.paired_timing", "slade_plugin.host.testers", "faiss", "sklearn.metrics"]


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._last = time.perf_counter()

    def note(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._last = now


def measure(case: Callable[[Path], Seconds], folder: Path, threads: int) -> dict[str, Any]:
    """Run one case and watch its memory.

    Args:
        case: With its sizes.
        folder: Where to make a folder for it.
        threads: Of torch and faiss.

    Returns:
        {"seconds": of each part, "peak_mb": memory above that at the start}.
    """
    compat.apply()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=folder) as place, _watched_memory() as peak:
        seconds = case(Path(place))
    return {"seconds": seconds, "peak_mb": peak[0] / 2**20}


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    """Yield a list that holds the block's peak memory in bytes after it ends."""
    before, done = _anonymous_memory(), threading.Event()
    peak = [0]

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], _anonymous_memory() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        peak[0] = max(peak[0], _anonymous_memory() - before)
        done.set()
        watcher.join()


def _anonymous_memory() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return 1024 * int(kilobytes)


# ---- all cases -----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and report.

    Returns:
        The rows of the table, without settings and environment.

    Raises:
        ConfigError: If a number of the command line is too small.
    """
    args = _parser().parse_args(argv)
    least = {"images": 2 * PER_CLASS, "dims": 1, "threads": 1, "iterations": 1}
    given = vars(args) | {"images": min(args.images), "dims": min(args.dims)}
    check_at_least(least, **{name: given[name] for name in least})
    rows = []
    for name in args.cases:
        for dim in args.dims if name in OF_VECTORS else [0]:
            last: dict[str, Any] | None = None
            for number in sorted(args.images):
                last = _row(name, number, dim, last, args)
                rows.append(last)
                print(_line(last), flush=True)
    print("\n".join(["", *markdown(rows)]))
    if args.json is not None:
        settings = {**vars(args), "json": None, "folder": None}
        content = {"benchmark": "scale", "settings": settings, "rows": rows}
        write_json(args.json, content | {"environment": describe_environment()})
    return {"rows": rows}


def _row(
    name: str, number: int, dim: int, last: dict[str, Any] | None, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure one case at one size; predict it from the previous size if it takes too long."""
    row: dict[str, Any] = {"case": name, "images": number, "dim": dim or None}
    if name == "evaluation" and last is not None:
        # k-NN compares all pairs, and the clusters of NMI and the classes of AMI grow alike.
        quadratic = (number / last["images"]) ** 2
        predicted = {part: quadratic * took for part, took in last["seconds"].items()}
        if sum(predicted.values()) > args.limit:
            return row | {"seconds": predicted, "peak_mb": None, "growth": None, "measured": False}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with ProcessPoolExecutor(1, context) as pool:
        case = functools.partial(CASES[name], number, dim)
        if name == "pseudo_labels":
            case = functools.partial(case, iterations=args.iterations)
        job = functools.partial(measure, case, args.folder, args.threads)
        row |= pool.submit(job).result()
    growth = None
    if last is not None:
        ratio = math.log(number / last["images"])
        growth = math.log(sum(row["seconds"].values()) / sum(last["seconds"].values())) / ratio
    return row | {"growth": growth, "measured": True}


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Format the lines of a table."""
    heads = ["case", "images", "dim", "seconds", "parts", "peak, MB", "growth", "goal"]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *map(_line, rows)]


def _line(row: dict[str, Any]) -> str:
    parts = ", ".join(f"{part} {took:.1f}" for part, took in row["seconds"].items())
    peak, growth = row["peak_mb"], row["growth"]
    total = f"{sum(row['seconds'].values()):.1f}"
    cells = [
        row["case"],
        f"{row['images']:,}",
        str(row["dim"] or ""),
        total if row["measured"] else f"{total} (predicted, quadratic)",
        parts,
        "" if peak is None else f"{peak:.0f}",
        "" if growth is None else f"N^{growth:.2f}",
        _goal(row),
    ]
    return f"| {' | '.join(cells)} |"


def _goal(row: dict[str, Any]) -> str:
    if row["images"] != MILLION:
        return ""
    if row["case"] == "pseudo_labels" and row["dim"] == 512:
        return f"{MOST_MB} MB: {'met' if row['peak_mb'] <= MOST_MB else 'missed'}"
    if row["case"] == "listing":
        took = row["seconds"]["listing"]
        return f"{MOST_SECONDS} s: {'met' if took <= MOST_SECONDS else 'missed'}"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, MILLION])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 512], help="of the vectors")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--limit",
        type=float,
        default=1800,
        help="seconds; an evaluation that would take longer is predicted from the size before",
    )
    parser.add_argument("--iterations", type=int, default=50, help="of k-means")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where to put the embeddings (2 GB for a million of 512) and the tree",
    )
    parser.add_argument("--json", type=Path, help="where to write the result")
    return parser


if __name__ == "__main__":
    main()
