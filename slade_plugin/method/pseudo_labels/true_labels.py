"""The pool's true labels in place of pseudo labels: the oracle student, a control.

Not in the paper. What a student reaches with them bounds from above what better pseudo labels
could bring.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.pseudo_labels.record import PseudoLabels

CLUSTERS, TRUE_LABELS = "clusters", "true_labels"
SOURCES = (CLUSTERS, TRUE_LABELS)


def label_source(config: Mapping[str, Any]) -> str:
    """Where the labels of the pool come from; `source` of `pseudo_labels` in config_general.

    Raises:
        ConfigError: If it is none of `SOURCES`.
    """
    source = config.get("source", CLUSTERS)
    if source not in SOURCES:
        raise ConfigError(
            f"pseudo_labels: source is {source!r}; expected {' or '.join(SOURCES)} (config_general)"
        )
    return str(source)


def record_true_labels(true_labels: np.ndarray | None, min_cluster_size: int) -> PseudoLabels:
    """Writes true labels down in the form of pseudo labels.

    Args:
        true_labels: (N,) int, the classes of the pool, >= 0; None if it knows none.
        min_cluster_size: Images of smaller classes take no part in training.

    Returns:
        Ids from 0 on in the order of the classes, and a manifest that says where they come from.

    Raises:
        ConfigError: If the pool knows no classes.
        DataError: If a class is negative, which would make unknown images one class.
    """
    if true_labels is None:
        raise ConfigError(
            f"pseudo_labels: source is {TRUE_LABELS}, but the pool has no labels; expected a data "
            f"set with labels as unlabeled_dataset (config_dataset), or source: {CLUSTERS} "
            "(config_general)."
        )
    if len(true_labels) and true_labels.min() < 0:
        raise DataError(
            f"a true label of the pool is {true_labels.min()}; expected classes >= 0. Label every "
            f"image of the pool, or take source: {CLUSTERS} in pseudo_labels (config_general)."
        )
    classes, ids, sizes = np.unique(true_labels, return_inverse=True, return_counts=True)
    manifest = {
        "source": TRUE_LABELS,
        "num_clusters": len(classes),
        "min_cluster_size": min_cluster_size,
        "cluster_sizes": sizes.tolist(),
    }
    return PseudoLabels(ids.astype(np.int64), manifest)
