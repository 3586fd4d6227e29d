"""The best model of a saved experiment, and a split of images embedded as the host evaluates it."""

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from powerful_benchmarker.utils.dataset_utils import get_underlying_dataset

from slade_plugin import compat
from slade_plugin.base.errors import ExperimentError
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.data.datasets.retrieval_roles import queries_and_gallery
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.checkpoints.teacher import Teacher


@dataclass(frozen=True)
class EmbeddedSplit:
    """N images of a split and where a model puts them.

    Attributes:
        embeddings: (N, D) float32, as the tester compares them.
        labels: (N,) integers.
        queries: Which images search, (N,) bool.
        gallery: Which are searched, (N,) bool; the same object as `queries` where an image is
            searched for among all others.
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
        """The class of an image, by name where the data set knows it."""
        label = int(self.labels[index])
        names = getattr(get_underlying_dataset(self.dataset), "class_names", None)
        return str(label) if names is None else str(names[label])

    def picture(self, index: int) -> Any:
        """An image before its transform: what the data set gives without one."""
        raw = copy.copy(get_underlying_dataset(self.dataset))
        raw.transform = None
        place = self.dataset.indices[index] if hasattr(self.dataset, "indices") else index
        return raw[int(place)][IMAGE]


@dataclass(frozen=True)
class SavedModel:
    """The best model of one split scheme, and the parser that makes everything else around it.

    Attributes:
        parser: An API parser, not run, set to the split scheme.
        models: "trunk" and "embedder" on the parser's device.
        split_scheme: Name of the split scheme.
        weights: The files the models were read from.
    """

    parser: Any
    models: dict[str, torch.nn.Module]
    split_scheme: str
    weights: Teacher


def load_best(
    experiment: Path, split_scheme: str | None, dataset_root: str, with_pool: bool = False
) -> SavedModel:
    """Loads the best model of one split scheme. Nothing is written.

    Args:
        experiment: A trained experiment of the host.
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`.
        with_pool: Whether a student's parser looks for its pool; else it evaluates only.

    Raises:
        SladeError: If the experiment, its split scheme, its model or its data is not there.
    """
    parser = _saved_parser(experiment, dataset_root, with_pool)
    parser.transforms = parser.get_transforms()
    parser.split_manager = parser.get_split_manager()
    names = parser.split_manager.split_scheme_names
    scheme = split_scheme or names[0]
    if scheme not in names:
        raise ExperimentError(
            f"{experiment} has no split scheme {scheme}; expected one of {', '.join(names)} "
            "(--split_scheme)."
        )
    parser.split_manager.set_curr_split_scheme(scheme)
    models = {"trunk": parser.get_trunk(), "embedder": parser.get_embedder()}
    weights = Teacher(experiment, scheme)
    weights.load_into(models, parser.device)
    for model in models.values():
        model.to(parser.device)
    return SavedModel(parser, models, scheme, weights)


def embed_split(
    experiment: Path, split: str, split_scheme: str | None, dataset_root: str
) -> EmbeddedSplit:
    """Embeds a split by the best model of one split scheme. Nothing is written.

    Args:
        experiment: A trained experiment of the host.
        split: "train", "val" or "test".
        split_scheme: Name of the split scheme; the first if None.
        dataset_root: As in `run.py`.

    Raises:
        SladeError: If the experiment, its split scheme, its model or its data is not there.
    """
    saved = load_best(experiment, split_scheme, dataset_root)
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


def _saved_parser(experiment: Path, dataset_root: str, with_pool: bool) -> Any:
    """The API parser that would evaluate a saved experiment, not run."""
    from slade_plugin.runner import SladeRunner

    folder = experiment.resolve()
    before = sys.argv  # where the host's reader looks
    sys.argv = ["run.py", "--experiment_name", folder.name, "--evaluate"]
    try:
        compat.apply()
        runner = SladeRunner(dataset_root=dataset_root, root_experiment_folder=str(folder.parent))
        runner.set_YR()
        args = runner.read(runner.YR)
    finally:
        sys.argv = before
    if not with_pool and APISladeStudent.__name__ in (args.api_parser or {}):
        # A student is evaluated like any other model; its own parser would look for the pool.
        args.api_parser = {"BaseAPIParser": {}}
    return runner.get_api_parser(args)
