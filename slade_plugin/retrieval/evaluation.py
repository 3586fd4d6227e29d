"""Score a trained model on new labeled images."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from powerful_benchmarker.utils.constants import TRAINED

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets import FolderImages
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE, LABEL
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.host.testers import SladeTester
from slade_plugin.retrieval.embedder import Embedder

_CLUSTERING = ("AMI", "NMI")  # slow, and not reported
_NAMES = {
    "mean_average_precision_at_r": "MAP@R",
    "r_precision": "RP",
    "precision_at_1": "P@1",
}
_SPLIT = "images"


def evaluate_images(
    embedder: Embedder,
    labeled: Path,
    ks: Sequence[int],
    batch_size: int | None = None,
    num_workers: int = 0,
) -> dict[str, float]:
    """Search for each image among all others, with the host's tester and accuracy calculator.

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
    dataset = FolderImages(
        "",
        embedder.preprocess,
        path=os.path.abspath(labeled),
        labeled=True,
        value_range=embedder.value_range,
    )
    if np.bincount(dataset.labels).max() < 2:
        raise DataError(
            f"{labeled} holds {len(dataset)} images, each of a different class; expected at least "
            "two images of one class, since an image is found by its class."
        )
    dataset[0]  # name an image that does not fit here rather than in a worker process
    tester = SladeTester(
        reference_set="compared_to_self",
        normalize_embeddings=embedder.unit_length,
        use_trunk_output=embedder.uses_trunk_output,
        batch_size=batch_size or embedder.batch_size,
        dataloader_num_workers=num_workers,
        data_device=embedder.device,
        data_and_label_getter=lambda batch: (batch[IMAGE], batch[LABEL]),
        accuracy_calculator=RecallAtKCalculator(ks=list(ks), exclude=_CLUSTERING),
    )
    tester.test({_SPLIT: dataset}, TRAINED, embedder.trunk, embedder.embedder, [_SPLIT])
    found = tester.all_accuracies[_SPLIT]
    names = _NAMES | {f"recall_at_{k}": f"R@{k}" for k in ks}
    return {
        title: 100 * float(found[tester.accuracies_keyname(metric)])
        for metric, title in names.items()
    }
