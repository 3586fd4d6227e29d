"""Project embeddings to two dimensions, with the same images for each model."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.report.embedded_split import EmbeddedSplit

_CLASSES = 20  # more colors are not distinguishable
_IMAGES = 1000
_SEED = 0

Points = npt.NDArray[np.floating]


def tsne(points: Points) -> Points:
    """Project embeddings (N, D) to (N, 2) with scikit-learn's t-SNE, with a fixed seed."""
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=_SEED).fit_transform(points)


def umap(points: Points) -> Points:
    """Project embeddings (N, D) to (N, 2) with umap-learn's UMAP, with a fixed seed."""
    from umap import UMAP  # slow: it compiles

    neighbors = min(15, len(points) - 1)
    # A seed allows only one thread; UMAP warns without n_jobs=1.
    reducer = UMAP(n_neighbors=neighbors, random_state=_SEED, n_jobs=1)
    with threadpool_limits(1):  # numba sets OpenMP's threads for the whole process; undone here
        return np.asarray(reducer.fit_transform(points))


METHODS = {"tsne": ("t-SNE", tsne), "umap": ("UMAP", umap)}


def choose_method(name: str) -> tuple[str, Callable[[Points], Points]]:
    """Return title and function of one of METHODS.

    Raises:
        ConfigError: If its package is missing.
    """
    if name == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "--embeddings umap: umap-learn is missing. Install it: pip install "
            "'slade-plugin[umap]'. Or use --embeddings tsne."
        )
    return METHODS[name]


def choose_images(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Choose the images to draw: from some classes, evenly spaced.

    Args:
        labels: (N,).
    """
    classes = np.unique(labels)
    classes = classes[np.linspace(0, len(classes) - 1, min(_CLASSES, len(classes))).astype(int)]
    places = np.flatnonzero(np.isin(labels, classes))
    return places[np.linspace(0, len(places) - 1, min(_IMAGES, len(places))).astype(int)]


def plot_embeddings(
    splits: Mapping[str, EmbeddedSplit], reduce: Callable[[Points], Points]
) -> Figure:
    """Draw one panel per model; an image has the same color in each.

    Args:
        splits: Title of a model to the split under it; all hold the same images.
        reduce: From (N, D) to (N, 2).
    """
    first = next(iter(splits.values()))
    places = choose_images(first.labels)
    shown: Sequence[int] = np.unique(first.labels[places]).tolist()
    figure = Figure(figsize=(4.8 * len(splits) + 2.4, 4.8), layout="constrained")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    for panel, (title, split) in zip(panels, splits.items(), strict=True):
        points = reduce(split.embeddings[places])
        for number, label in enumerate(shown):
            of_class = first.labels[places] == label
            name = first.class_name(int(places[of_class][0]))
            color = colormaps["tab20"](number % 20)
            panel.scatter(*points[of_class].T, s=9, color=color, label=name, linewidths=0)
        panel.set_title(title, fontsize="medium")
        panel.set_xticks([])
        panel.set_yticks([])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize="x-small", frameon=False)
    return figure
