import pytest
import torch

from slade_plugin.errors import ConfigError, DataError
from slade_plugin.miners.pool_batch import check_pool_batch


def test_a_batch_of_pseudo_labels_passes() -> None:
    embeddings = torch.zeros(3, 2)
    check_pool_batch("AnyMiner", embeddings, torch.tensor([0, 7, 7]), embeddings)


def test_trap_09_a_negative_pseudo_label_is_an_error() -> None:
    embeddings = torch.zeros(3, 2)
    with pytest.raises(DataError, match=r"AnyMiner was given the pseudo label -1; expected num_cl"):
        check_pool_batch("AnyMiner", embeddings, torch.tensor([0, -1, -1]), embeddings)


def test_a_second_batch_is_an_error() -> None:
    embeddings = torch.zeros(3, 2)
    with pytest.raises(ConfigError, match=r"AnyMiner was given a second set.*CrossBatchMemory"):
        check_pool_batch("AnyMiner", embeddings, torch.arange(3), embeddings.clone())
