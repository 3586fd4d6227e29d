"""Change of the pseudo labels from one round to the next."""

import numpy as np
from scipy.sparse import hstack, identity
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from slade_plugin.base.errors import DataError


def compare_with_last_round(cluster_ids: np.ndarray, last_ids: np.ndarray) -> dict[str, float]:
    """Compare two clusterings of the same images, whose ids do not correspond.

    Args:
        cluster_ids: (N,) int >= 0, of this round; -1 is noise, here a cluster like any other.
        last_ids: (N,) of the last round, likewise.

    Returns:
        NMI (arithmetic mean; 1 = equal up to renaming) and `moved`, 0 to 1. For the latter each
        cluster of this round is matched to at most one of the last round and the other way round,
        so that as many images as possible lie in matched clusters; the others have moved, whose
        share of all images this is.

    Raises:
        DataError: If the lengths differ.
    """
    if len(cluster_ids) != len(last_ids):
        raise DataError(
            f"{len(cluster_ids)} images have pseudo labels, {len(last_ids)} had some in the last "
            "round; expected the same pool. Check unlabeled_dataset in config_dataset."
        )
    table = contingency_matrix(cluster_ids, last_ids, sparse=True, dtype=np.float64)
    table.data += 1
    # One dummy column per cluster, so that it can stay unmatched; a stored 0 would not count as an
    # edge.
    table = hstack([table, identity(table.shape[0])], format="csr")
    matched = min_weight_full_bipartite_matching(table, maximize=True)
    stayed = table[matched].sum() - table.shape[0]
    return {
        "NMI": float(normalized_mutual_info_score(last_ids, cluster_ids)),
        "moved": float(1 - stayed / len(cluster_ids)),
    }
