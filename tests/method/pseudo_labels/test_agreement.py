import math
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels


def test_agreement_by_hand() -> None:
    """Clusters (rows) and classes (columns) 3 1 / 0 4.

    purity (3 + 4) / 8. Ordered pairs in a cluster: 12 + 12, of one class 3*2 + 4*3.
    MI = 3/8 ln 2 + 1/8 ln 2/5 + 4/8 ln 8/5, H(clusters) = ln 2, H(classes) of 3/8 and 5/8.
    """
    clusters = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    classes = np.array([7, 7, 7, 9, 9, 9, 9, 9])
    found = compare_with_true_labels(clusters, classes)
    assert found["purity"] == 7 / 8
    assert found["pair_precision"] == 18 / 24
    mi = 3 / 8 * math.log(2) + 1 / 8 * math.log(2 / 5) + 1 / 2 * math.log(8 / 5)
    h_classes = -3 / 8 * math.log(3 / 8) - 5 / 8 * math.log(5 / 8)
    assert found["NMI"] == pytest.approx(mi / ((math.log(2) + h_classes) / 2), abs=1e-12)


def test_adjusted_agreement_by_hand() -> None:
    """Table 1 1 / 1 1: MI = 0, expected MI = 4 * 1/6 * 1/2 ln 2 = ln 2 / 3, both entropies ln 2.

    AMI = (0 - ln 2 / 3) / (ln 2 - ln 2 / 3) = -1/2.
    """
    found = compare_with_true_labels(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert found["AMI"] == pytest.approx(-0.5, abs=1e-12)
    assert found["NMI"] == pytest.approx(0.0, abs=1e-12)
    assert (found["purity"], found["pair_precision"]) == (0.5, 0.0)


def test_trap_09_ids_are_not_compared_as_numbers() -> None:
    """Other names for the same clusters and classes change nothing, with gaps in the ids too."""
    clusters, classes = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1])
    renamed = compare_with_true_labels(np.array([40, 3, 7])[clusters], np.array([9, 2])[classes])
    assert renamed == pytest.approx(compare_with_true_labels(clusters, classes), abs=1e-12)


def test_shuffled_labels_agree_by_chance(blobs: Any) -> None:
    """8 classes of 50: of two images in a cluster about one in eight pairs is of one class."""
    labels = blobs(per_class=50).labels
    shuffled = np.random.default_rng(0).permutation(labels)
    found = compare_with_true_labels(labels, shuffled)
    assert abs(found["AMI"]) < 0.02
    assert found["pair_precision"] == pytest.approx(1 / 8, abs=0.02)
    assert found["purity"] < 0.3


def test_clusters_of_one_image_have_no_pair_precision() -> None:
    found = compare_with_true_labels(np.array([0, 1, 2]), np.array([0, 0, 1]))
    assert math.isnan(found["pair_precision"])
    assert found["purity"] == 1


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="3 cluster ids but 2 true labels"):
        compare_with_true_labels(np.array([0, 1, 2]), np.array([0, 0]))


def test_noise_is_left_out() -> None:
    clusters, classes = np.array([-1, 0, 0, 1, -1, 1]), np.array([5, 3, 3, 4, 5, 4])
    found = compare_with_true_labels(clusters, classes)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-12)
