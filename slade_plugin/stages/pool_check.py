"""Checks of an unlabeled pool against the settings of clustering and sampling, before training."""

from slade_plugin.base.errors import ConfigError, DataError, SladeError
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.method.pseudo_labels.record import PseudoLabels


def check_pool(parser: APISladeStudent, pseudo_labels: PseudoLabels) -> None:
    """Check a pool as far as possible before a teacher exists.

    Args:
        parser: The student's, with its split manager.
        pseudo_labels: Its stand-in pseudo labels; true labels for an oracle.

    Raises:
        ConfigError: If the pool's sampler cannot be built.
        DataError: If the pool is too small or has too few distinct images.
        PseudoLabelError: If an oracle's pool has fewer than two trainable classes.
    """
    pool = parser.split_manager.get_unlabeled_dataset("train")
    if hasattr(parser.get_clusterer(), "num_clusters"):  # else the number is found later
        settings = parser.args.pseudo_labels
        check_clusters(len(pool), pseudo_labels.num_clusters, settings.get("min_cluster_size", 2))
        if hasattr(pool, "count_distinct"):
            distinct = pool.count_distinct(pseudo_labels.num_clusters)
            check_distinct(len(pool), distinct, pseudo_labels.num_clusters)
    parser.pseudo_labels = pseudo_labels
    try:
        parser.get_unlabeled_sampler()
    except SladeError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the unlabeled_sampler (config_loss) cannot be built: {error or type(error).__name__}"
        ) from error


def check_clusters(pool_size: int, num_clusters: int, min_cluster_size: int) -> None:
    """Check that at least two clusters can reach the minimum size.

    Raises:
        DataError: If k clusters of one image each leave too few images for two such clusters.
    """
    needed = num_clusters - 2 + 2 * min_cluster_size
    if pool_size < needed:
        raise DataError(
            f"the unlabeled pool has {pool_size} images, num_clusters is {num_clusters} and "
            f"min_cluster_size {min_cluster_size} (pseudo_labels), so no two clusters could hold "
            f"{min_cluster_size} images; expected at least {needed} images. Add images, or lower "
            "one of the two in config_general."
        )


def check_distinct(pool_size: int, distinct: int, num_clusters: int) -> None:
    """Check that the pool has at least as many distinct images as clusters.

    Args:
        pool_size: Number of images.
        distinct: Number of distinct images.
        num_clusters: k.

    Raises:
        DataError: If there are fewer: equal images have equal embeddings and share a cluster.
    """
    if distinct >= num_clusters:
        return
    lower = (
        f", or give --pseudo_labels {{clusterer: {{KMeans: {{num_clusters: {distinct // 2}}}}}}}"
        if distinct > 3
        else ""
    )
    raise DataError(
        f"the unlabeled pool has {pool_size} images, but only {distinct} distinct ones, and "
        f"num_clusters is {num_clusters}; expected at least one distinct image per cluster, since "
        f"equal images share a cluster. Add other images to the pool (--unlabeled){lower}."
    )
