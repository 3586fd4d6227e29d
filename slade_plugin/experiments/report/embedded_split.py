"""Embed a split of images with a trained experiment, as in the host's evaluation."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from powerful_benchmarker.utils.dataset_utils import get_underlying_dataset

from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.data.datasets.retrieval_roles import queries_and_gallery
from slade_plugin.method.models.weight_files import without_published_weights
from slade_plugin.retrieval.saved_model import SavedModel, load_best


@dataclass(frozen=True)
class EmbeddedSplit:
    """N images of a split and their embeddings.

    Attributes:
        embeddings: (N, D) float32, as the tester compares them.
        labels: (N,) integers.
        queries: (N,) bool, which images are queries.
        gallery: (N,) bool, which are searched; the same object as `queries` if each image is
            searched among all others.
        dataset: The split; N items.
        split_scheme: The split scheme of the model.
    """

    embeddings: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    queries: npt.NDArray[np.bool_]
    gallery: npt.NDArray[np.bool_]
    dataset: Any
    split_scheme: str

    @property
    def searches_itself(self) -> bool:
        """Whether one set is both queries and gallery."""
        return self.queries is self.gallery

    def class_name(self, index: int) -> str:
        """Return the class of an image, by name if the data set has names."""
        label = int(self.labels[index])
        names = getattr(get_underlying_dataset(self.dataset), "class_names", None)
        return str(label) if names is None else str(names[label])

    def picture(self, index: int) -> Any:
        """Return an image before its transform."""
        raw = copy.copy(get_underlying_dataset(self.dataset))
        raw.transform = None
        place = self.dataset.indices[index] if hasattr(self.dataset, "indices") else index
        return raw[int(place)][IMAGE]


def load_with_data(
    experiment: Path, split_scheme: str | None, dataset_root: str, with_pool: bool = False
) -> SavedModel:
    """Load the best model of one split scheme and the splits of its data; write nothing.

    Args:
        experiment: A trained experiment of the host.
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`.
        with_pool: Whether a student's parser reads its pool; otherwise it only evaluates.

    Raises:
        SladeError: If the experiment, its split scheme, its model or its data is missing.
    """
    saved = load_best(experiment, split_scheme, dataset_root, with_pool)
    parser = saved.parser
    seed_everything(parser.args.seed)  # some split managers draw at random
    with without_published_weights():
        parser.transforms = parser.get_transforms()
    parser.split_manager = parser.get_split_manager()
    parser.split_manager.set_curr_split_scheme(saved.split_scheme)
    return saved


def embed_split(
    experiment: Path, split: str, split_scheme: str | None, dataset_root: str
) -> EmbeddedSplit:
    """Embed a split with the best model of one split scheme; write nothing.

    Args:
        experiment: A trained experiment of the host.
        split: "train", "val" or "test".
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`.

    Raises:
        SladeError: If the experiment, its split scheme, its model or its data is missing.
    """
    saved = load_with_data(experiment, split_scheme, dataset_root)
    parser, models = saved.parser, saved.models
    nothing = dict.fromkeys(["end_of_testing_hook", "plots_folder"])
    tester = parser.get_tester(**parser.nullify_kwargs(nothing))
    dataset = parser.split_manager.get_dataset("eval", split)
    embeddings, labels = tester.get_all_embeddings(
        dataset, models["trunk"], models["embedder"], parser.split_manager.collate_fn
    )
    level = tester.label_levels_to_evaluate(labels)[0]
    everything = np.ones(len(labels), dtype=bool)
    queries, gallery = queries_and_gallery(dataset) or (everything, everything)
    return EmbeddedSplit(
        embeddings, labels[:, level].astype(np.int64), queries, gallery, dataset, saved.split_scheme
    )
