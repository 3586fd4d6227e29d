"""A trained experiment with its test images as files, as a user of the model would have them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.experiments.report.embedded_split import load_with_data
from slade_plugin.retrieval.embedder import Embedder, load_embedder


@dataclass(frozen=True)
class Trained:
    """A model and the split of images that its tester evaluated.

    Attributes:
        experiment: The folder of the experiment.
        dataset: The test split, transformed.
        folder: The same images as PNG files, one folder per class.
        paths: Of the files, in the order of the split.
    """

    experiment: Path
    dataset: Any
    folder: Path
    paths: list[str]


@pytest.fixture(scope="session")
def trained(bench, finished, tmp_path_factory) -> Trained:
    """The tiny student on Glyphs. Read only."""
    saved = load_with_data(finished / "student", None, str(bench.dataset_root))
    dataset = saved.parser.split_manager.get_dataset("eval", "test")
    folder = tmp_path_factory.mktemp("test_images")
    raw = dataset.dataset
    paths = []
    for place in dataset.indices:
        path = folder / f"class{raw.labels[place]:03}" / f"{place:05}.png"
        path.parent.mkdir(exist_ok=True)
        transform, raw.transform = raw.transform, None
        raw[int(place)]["data"].save(path)
        raw.transform = transform
        paths.append(str(path))
    assert np.all(np.diff(raw.labels[dataset.indices]) >= 0)  # so the files sort as the split does
    return Trained(finished / "student", dataset, folder, paths)


@pytest.fixture(scope="session")
def embedder(trained) -> Embedder:
    """The model of the first split scheme. Read only."""
    return load_embedder(trained.experiment)
