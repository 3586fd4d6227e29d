import math
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.utils.common_functions import list_of_recordable_attributes_list_names
from record_keeper import RecordKeeper, RecordWriter

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.miners import (
    BasisSimilarityMiner,
    PairPrecisionRecords,
    PseudoLabelPairMiner,
)

COLUMNS = ("positive_precision", "negative_precision", "positive_recall", "negative_recall")
# Pseudo labels 5 5 5 6: three pairs are taken for positive, of which 0-1 is right.
PSEUDO_LABELS = torch.tensor([5, 5, 5, 6])
TRUE_LABELS = torch.tensor([1, 1, 0, 0])
EMBEDDINGS = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])


def shares(miner: PairPrecisionRecords) -> list[float]:
    return [getattr(miner, column) for column in COLUMNS]


def all_nan(miner: PairPrecisionRecords) -> bool:
    return all(math.isnan(share) for share in shares(miner))


def test_values_by_hand() -> None:
    """P: 0-1 right, 0-2 and 1-2 wrong: 1/3. N: 0-3 and 1-3 right, 2-3 wrong: 2/3.

    Truly of one class: 0-1 (mined) and 2-3 (not): recall 1/2. Truly of two: 0-2, 0-3, 1-2, 1-3, of
    which 0-3 and 1-3 are mined: 1/2.
    """
    miner = PseudoLabelPairMiner()
    miner.record_true_labels(miner(EMBEDDINGS, PSEUDO_LABELS), TRUE_LABELS)
    assert shares(miner) == pytest.approx([1 / 3, 2 / 3, 1 / 2, 1 / 2])


@pytest.mark.parametrize("miner", [PseudoLabelPairMiner(), BasisSimilarityMiner()])
def test_shares_are_unknown_before_true_labels_and_in_the_next_batch(
    miner: PseudoLabelPairMiner | BasisSimilarityMiner,
) -> None:
    if isinstance(miner, BasisSimilarityMiner):
        miner.set_running_means(0.9, 0.5)
    assert all_nan(miner)
    mined = miner(EMBEDDINGS, PSEUDO_LABELS)
    assert all_nan(miner)
    miner.record_true_labels(mined, TRUE_LABELS)
    assert not any(math.isnan(share) for share in shares(miner))
    miner(EMBEDDINGS, PSEUDO_LABELS)
    assert all_nan(miner)


def test_without_true_labels_the_shares_stay_unknown() -> None:
    miner = PseudoLabelPairMiner()
    miner.record_true_labels(miner(EMBEDDINGS, PSEUDO_LABELS), TRUE_LABELS)
    miner.record_true_labels(miner(EMBEDDINGS, PSEUDO_LABELS), None)
    assert all_nan(miner)


def test_trap_09_true_labels_are_compared_with_each_other_only() -> None:
    """Naming the true classes or the clusters otherwise changes no share."""
    expected = [1 / 3, 2 / 3, 1 / 2, 1 / 2]
    for pseudo, true in (([0, 0, 0, 1], [1, 1, 0, 0]), ([1, 1, 1, 0], [8, 8, 5, 5])):
        miner = PseudoLabelPairMiner()
        mined = miner(EMBEDDINGS, torch.tensor(pseudo))
        miner.record_true_labels(mined, torch.tensor(true))
        assert shares(miner) == pytest.approx(expected)


def test_trap_09_unknown_true_labels_are_not_one_class() -> None:
    miner = PseudoLabelPairMiner()
    mined = miner(EMBEDDINGS, PSEUDO_LABELS)
    with pytest.raises(DataError, match=r"true label -1; expected classes >= 0, or None"):
        miner.record_true_labels(mined, torch.tensor([1, -1, -1, 0]))


def test_switched_off_there_is_no_column() -> None:
    miner = PseudoLabelPairMiner(record_precision=False)
    miner.record_true_labels(miner(EMBEDDINGS, PSEUDO_LABELS), TRUE_LABELS)
    assert all_nan(miner)
    assert not set(COLUMNS) & set(miner._record_these_stats)


def test_wrong_configuration_is_named() -> None:
    with pytest.raises(ConfigError, match="PseudoLabelPairMiner: record_precision is 'yes'"):
        PseudoLabelPairMiner(record_precision="yes")  # type: ignore[arg-type]


def test_columns_are_equally_long_whatever_is_known(tmp_path: Path) -> None:
    """NaN is an empty cell of the host's table and its column stays a column of numbers."""
    keeper = RecordKeeper(
        record_writer=RecordWriter(str(tmp_path)),
        attributes_to_search_for=list_of_recordable_attributes_list_names(),
    )
    miner = BasisSimilarityMiner()
    for iteration, means in enumerate([(math.nan, math.nan), (0.9, 0.5), (0.2, 0.5)]):
        miner.set_running_means(*means)
        mined = miner(EMBEDDINGS, PSEUDO_LABELS)
        if iteration > 0:
            miner.record_true_labels(mined, TRUE_LABELS)
        keeper.update_records({"unlabeled_tuple_miner": miner}, iteration)
    keeper.save_records()
    name = "unlabeled_tuple_miner_BasisSimilarityMiner"
    table = keeper.query(f"SELECT * FROM {name}", return_dict=True)
    assert table["mining_active"] == [0, 1, 0]
    assert table["num_pos_pairs"] == [0, 6, 0]
    assert table["num_neg_pairs"] == [0, 6, 0]
    assert table["positive_precision"] == [None, pytest.approx(1 / 3), None]
    assert table["positive_recall"] == [None, pytest.approx(1 / 2), 0.0]
    assert table["negative_recall"] == [None, pytest.approx(1 / 2), 0.0]
    kind = keeper.query(f"SELECT typeof(positive_precision) AS kind FROM {name} WHERE id = 2")
    assert kind[0]["kind"] == "real"
