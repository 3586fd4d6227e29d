"""Score a trained model on new labeled images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.retrieval.embedder import Embedder
from slade_plugin.retrieval.vectors import list_images
from slade_plugin.stages.table import METRICS

_CLUSTERING = ("AMI", "NMI")  # slow, and not reported


def evaluate_images(
    embedder: Embedder,
    labeled: Path,
    ks: Sequence[int],
    batch_size: int | None = None,
    num_workers: int = 0,
) -> dict[str, float]:
    """Search for each image among all others, with the host's accuracy calculator.

    Args:
        embedder: The model.
        labeled: A folder with one folder per class, or a CSV file of path,label.
        ks: The numbers of neighbors of recall at k.
        batch_size: As in `Embedder.embed`.
        num_workers: As in `Embedder.embed`.

    Returns:
        MAP@R, RP, P@1 and R@k of each k, in percent. Images that are alone in their class
        are not counted.

    Raises:
        SladeError: If the images cannot be read, do not fit the model, or no class has two.
    """
    images = list_images(labeled, labeled=True, least_classes=2)
    if np.bincount(images.labels).max() < 2:
        raise DataError(
            f"{labeled} holds {len(images)} images, each of a different class; expected at least "
            "two images of one class, since an image is found by its class."
        )
    paths = [images.path(index) for index in range(len(images))]
    vectors = embedder.embed(paths, batch_size, num_workers, progress="embedding")
    calculator = RecallAtKCalculator(ks=list(ks), exclude=_CLUSTERING)
    found = calculator.get_accuracy(vectors, vectors, images.labels, images.labels, True)
    names = METRICS | {f"recall_at_{k}": f"R@{k}" for k in ks}
    return {title: 100 * float(found[metric]) for metric, title in names.items()}
