"""NMI and the share of images that moved, after matching clusters."""

import itertools

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round


def test_by_hand() -> None:
    """Cluster 0 was 2 (3 of 4 images), 1 was 0 (2 of 2): one image of six moved."""
    change = compare_with_last_round(np.array([0, 0, 0, 0, 1, 1]), np.array([2, 2, 2, 1, 0, 0]))
    assert change["moved"] == pytest.approx(1 / 6)


def test_a_cluster_is_matched_once() -> None:
    """Split in two, only the larger half has stayed; merged again, only the larger one."""
    one, two = np.zeros(5, dtype=int), np.array([0, 0, 0, 1, 1])
    for now, last in ((two, one), (one, two)):
        assert compare_with_last_round(now, last)["moved"] == pytest.approx(2 / 5)


def test_the_matching_is_the_best_not_the_greedy_one() -> None:
    """Greedy: 4 stay in the largest cell, which leaves 0 to the other; best: 3 + 3."""
    table = [[4, 3], [3, 0]]
    now, last = (
        np.array([pair[side] for pair in itertools.product((0, 1), repeat=2)
                  for _ in range(table[pair[0]][pair[1]])])
        for side in (0, 1)
    )  # fmt: skip
    assert compare_with_last_round(now, last)["moved"] == pytest.approx(4 / 10)


@pytest.mark.parametrize("seed", range(4))
def test_against_all_matchings(seed: int) -> None:
    now, last = np.random.default_rng(seed).integers(0, 4, size=(2, 30))
    best = max(
        sum(((now == i) & (last == j)).sum() for i, j in enumerate(order))
        for order in itertools.permutations(range(4))
    )
    assert compare_with_last_round(now, last)["moved"] == pytest.approx(1 - best / 30)


def test_new_names_are_no_move() -> None:
    ids = np.random.default_rng(0).integers(0, 7, 50)
    renamed = np.random.default_rng(1).permutation(7)[ids]
    change = compare_with_last_round(renamed, ids)
    assert change == {"NMI": pytest.approx(1.0), "moved": pytest.approx(0.0)}


def test_both_directions_agree() -> None:
    now, last = np.random.default_rng(3).integers(0, 9, size=(2, 80))
    there, back = compare_with_last_round(now, last), compare_with_last_round(last, now)
    assert there == pytest.approx(back)


def test_unrelated_clusterings_have_little_in_common() -> None:
    now, last = np.random.default_rng(0).integers(0, 5, size=(2, 5000))
    change = compare_with_last_round(now, last)
    assert change["NMI"] < 0.01
    assert 0.7 < change["moved"] < 0.8


def test_another_pool_is_refused() -> None:
    with pytest.raises(DataError, match="3 images have pseudo labels, 2 had some in the last"):
        compare_with_last_round(np.zeros(3, dtype=int), np.zeros(2, dtype=int))


def test_noise_is_one_more_cluster() -> None:
    """Two images stay noise and one becomes so: of six images one has moved."""
    now, before = np.array([0, 0, -1, 1, -1, -1]), np.array([4, 4, 2, 2, -1, -1])
    assert compare_with_last_round(now, before)["moved"] == pytest.approx(1 / 6)
    assert compare_with_last_round(now, now) == {"NMI": pytest.approx(1.0), "moved": 0.0}
