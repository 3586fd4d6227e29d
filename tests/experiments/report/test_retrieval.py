import dataclasses

import numpy as np
import pytest
from torch.utils.data import Subset

from slade_plugin.base.errors import DataError
from slade_plugin.experiments.report.retrieval import check_same_queries, choose_queries, retrieve


def test_neighbors_and_scores_worked_out_by_hand(make_split) -> None:
    """Query 0 at 0 degrees: 4 (2°, wrong), 1 (4°, right), 2 (40°, right), 5 (50°), 3, 6, 7.

    R = 3, so ranks 1 to 3 count: precision 1/2 at rank 2, 2/3 at rank 3; (1/2 + 2/3) / 3.
    """
    found = retrieve(make_split(), top=3)
    assert found.neighbors[0, :3].tolist() == [4, 1, 2]
    assert found.average_precision[0] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert found.queries.tolist() == list(range(8))


def test_a_query_with_nothing_to_find_has_no_score(make_split) -> None:
    scores = retrieve(make_split(), top=2).average_precision
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7]


def test_more_neighbors_than_there_are_images_are_not_made_up(make_split) -> None:
    neighbors = retrieve(make_split(), top=50).neighbors
    assert neighbors.shape == (8, 7)
    assert all(sorted({*row, i}) == list(range(8)) for i, row in enumerate(neighbors.tolist()))


def test_queries_search_the_gallery_only(make_split) -> None:
    """Query 0 among 2, 3, 6, 7 of class 0, 0, 1, 2: 2 (right), 3 (right): R = 2, all found."""
    roles = np.array([True, True, False, False, True, True, False, False])
    split = dataclasses.replace(make_split(), queries=roles, gallery=~roles)
    found = retrieve(split, top=4)
    assert found.queries.tolist() == [0, 1, 4, 5]
    assert found.neighbors[0].tolist() == [2, 3, 6, 7]
    # 4 and 5 are of class 1, which has one image there, 6: third from both.
    assert found.average_precision.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_queries_are_chosen_by_their_change() -> None:
    before = np.array([0.5, 0.5, np.nan, 0.5, 0.5, 0.2])
    after = np.array([0.6, 0.1, np.nan, 0.9, 0.5, 0.1])
    groups = choose_queries(after, before, most=3)
    assert groups["Largest gains"] == [3, 0]
    assert groups["Largest losses"] == [1, 5]
    drawn = groups["Drawn at random"]
    assert len(set(drawn)) == 3
    assert 2 not in drawn
    assert choose_queries(after, before, most=3)["Drawn at random"] == drawn


def test_without_a_second_model_the_best_and_the_worst_are_chosen() -> None:
    groups = choose_queries(np.array([0.5, np.nan, 0.1, 0.9]), None, most=2)
    assert groups["Best queries"] == [3, 0]
    assert groups["Worst queries"] == [2, 0]


def test_other_images_are_not_compared(make_split) -> None:
    split = make_split()
    check_same_queries(split, make_split(angles=list(range(8))))
    dataset = split.dataset
    parts = [
        dataclasses.replace(split, dataset=Subset(dataset, indices))
        for indices in (range(8), [*range(7), 6])
    ]
    for first, second in ((split, make_split(labels=[0] * 8)), parts):
        with pytest.raises(DataError, match=r"different images .* same data set"):
            check_same_queries(first, second)
