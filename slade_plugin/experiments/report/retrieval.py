"""What a model retrieves for each query, and on which queries two models differ most."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pytorch_metric_learning.utils.accuracy_calculator import get_label_counts
from pytorch_metric_learning.utils.stat_utils import get_knn

from slade_plugin.base.errors import DataError
from slade_plugin.experiments.report.embedded_split import EmbeddedSplit

_SEED = 0  # of the random queries

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Retrieval:
    """The nearest images of Q queries.

    Attributes:
        queries: (Q,) places of the queries in the split.
        neighbors: (Q, K) places of the nearest images of the gallery, nearest first.
        average_precision: (Q,) average precision at R of each query, 0 to 1; their mean is the
            host's MAP@R. NaN if the gallery has no image of the query's class.
    """

    queries: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.int64]
    average_precision: Scores


def retrieve(split: EmbeddedSplit, top: int) -> Retrieval:
    """Search as the host's accuracy calculator does, and score each query.

    Args:
        split: N embedded images.
        top: Least number of neighbors, at least 1; fewer if the gallery is smaller.
    """
    own = split.searches_itself
    queries, gallery = np.flatnonzero(split.queries), np.flatnonzero(split.gallery)
    labels, query_labels = split.labels[gallery], split.labels[queries]
    counts, most = get_label_counts(labels)
    k = min(max(most, top), len(gallery) - own)
    found, _ = get_knn(split.embeddings[gallery], split.embeddings[queries], k, own)
    relevant = np.array([counts.get(label, 0) - own for label in query_labels])
    rank = np.arange(1, k + 1)
    hits = (labels[found] == query_labels[:, None]) & (rank <= np.minimum(relevant, most)[:, None])
    precision = np.cumsum(hits, axis=1) / rank
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is nothing to find
        score = (precision * hits).sum(axis=1) / np.minimum(relevant, most)
    return Retrieval(queries, gallery[found], score)


def check_same_queries(before: EmbeddedSplit, after: EmbeddedSplit) -> None:
    """Check that two models have the same queries.

    Raises:
        DataError: If the splits differ in images, classes or queries.
    """
    same = (
        len(before.dataset) == len(after.dataset)
        and np.array_equal(before.labels, after.labels)
        and np.array_equal(before.queries, after.queries)
        and _identity(before) == _identity(after)
    )
    if not same:
        raise DataError(
            f"the two experiments were evaluated on different images ({len(before.dataset)} and "
            f"{len(after.dataset)}); expected the same data set, split and split scheme, since a "
            "comparison shows the same queries. Report each separately, or see --split_scheme."
        )


def _identity(split: EmbeddedSplit) -> tuple[object, ...]:
    dataset = getattr(split.dataset, "dataset", split.dataset)
    indices = tuple(int(i) for i in getattr(split.dataset, "indices", ()))
    return type(dataset).__name__, getattr(dataset, "fingerprint", None), indices


def choose_queries(scores: Scores, reference: Scores | None, most: int) -> Mapping[str, list[int]]:
    """Choose the queries to show.

    Args:
        scores: (Q,) scores of the model.
        reference: (Q,) scores of the model that it is compared with; None if there is none.
        most: Queries per group, at most.

    Returns:
        Title of a group to rows of queries: the largest gains (the best queries without a
        reference), the largest losses (the worst), and some drawn at random; only the last are
        representative.
    """
    known = np.flatnonzero(~np.isnan(scores))
    if reference is None:
        order = known[np.argsort(-scores[known], kind="stable")]
        groups = {"Best queries": order, "Worst queries": order[::-1]}
    else:
        gain = scores - reference
        order = known[np.argsort(-gain[known], kind="stable")]
        groups = {
            "Largest gains": order[gain[order] > 0],
            "Largest losses": order[gain[order] < 0][::-1],
        }
    drawn = np.random.default_rng(_SEED).permutation(known)
    groups["Drawn at random"] = drawn
    return {title: [int(row) for row in rows[:most]] for title, rows in groups.items()}
