"""Agreement of a pool's pseudo labels with its true classes, if known."""

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from slade_plugin.base.errors import DataError
from slade_plugin.method.clusterers.clusterer import NOISE


def compare_with_true_labels(cluster_ids: np.ndarray, true_labels: np.ndarray) -> dict[str, float]:
    """Measure how well clusters agree with classes; never used for training.

    Args:
        cluster_ids: (N,) int; -1 is noise and excluded from every measure.
        true_labels: (N,) int; class ids, not comparable with cluster ids.

    Returns:
        NMI and AMI (arithmetic mean, 1 = equal up to renaming), purity (share of images whose
        class is the most frequent of their cluster), and pair_precision (share of same-cluster
        pairs that are of the same class).

    Raises:
        DataError: If the lengths differ.
    """
    if len(cluster_ids) != len(true_labels):
        raise DataError(
            f"{len(cluster_ids)} cluster ids but {len(true_labels)} true labels; expected equal."
        )
    clustered = cluster_ids != NOISE
    _, classes = np.unique(true_labels[clustered], return_inverse=True)
    _, clusters = np.unique(cluster_ids[clustered], return_inverse=True)
    table = contingency_matrix(clusters, classes, sparse=True, dtype=np.int64)
    sizes = np.bincount(clusters)
    pairs = (sizes * (sizes - 1)).sum()
    same = (table.data * (table.data - 1)).sum()
    return {
        "NMI": float(normalized_mutual_info_score(classes, clusters)),
        "AMI": float(adjusted_mutual_info_score(classes, clusters)),
        "purity": float(table.max(axis=1).sum() / len(clusters)),
        "pair_precision": float(same / pairs) if pairs else float("nan"),
    }
