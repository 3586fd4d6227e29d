"""What a miner of D^u accepts: one batch, every row with a pseudo label.

The host takes two images with the label -1 for a positive pair, as it does with any equal labels.
"""

from torch import Tensor

from slade_plugin.errors import ConfigError, DataError


def check_pool_batch(
    miner: str, embeddings: Tensor, labels: Tensor, reference_embeddings: Tensor
) -> None:
    """Refuse what a miner of D^u cannot mine.

    Args:
        miner: class name, for the message.
        embeddings: as the host passes them to ``mine``.
        labels: (N,) pseudo labels.
        reference_embeddings: the very same object unless the caller mines across batches.

    Raises:
        DataError: if a pseudo label is negative.
        ConfigError: if the pairs would lead into another batch.
    """
    if reference_embeddings is not embeddings:
        raise ConfigError(
            f"{miner} was given a second set of embeddings (ref_emb); expected none, as it mines "
            "within one batch. It cannot be the miner of CrossBatchMemory."
        )
    if (labels < 0).any():
        raise DataError(
            f"{miner} was given the pseudo label {int(labels.min())}; expected num_classes + "
            "cluster id, >= 0. An image without a pseudo label must not be in the batch: two of "
            "them would be taken for a positive pair."
        )
