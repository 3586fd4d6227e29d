"""Recall at k against loops over sorted distances; the host's metrics stay the host's."""

from typing import Any

import numpy as np
import pytest
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator

KS = (1, 10, 20, 30, 40)


def random_case(seed: int, queries: int = 90, references: int = 130) -> dict[str, Any]:
    """Noisy classes of very different sizes; some labels of queries are not among references."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, 6))
    query_labels = rng.integers(0, 30, queries)
    reference_labels = np.minimum(rng.geometric(0.12, references), 25)
    return {
        "query": np.float32(centres[query_labels] + 2 * rng.normal(size=(queries, 6))),
        "reference": np.float32(centres[reference_labels] + 2 * rng.normal(size=(references, 6))),
        "query_labels": query_labels.astype(float),
        "reference_labels": reference_labels.astype(float),
        "embeddings_come_from_same_source": False,
    }


def searched_in_itself(case: dict[str, Any]) -> dict[str, Any]:
    own = {"query": case["reference"], "query_labels": case["reference_labels"]}
    return case | own | {"embeddings_come_from_same_source": True}


def slow_scores(case: dict[str, Any], by_class: bool = False) -> dict[str, float]:
    """Recall at k, MAP@R and R-precision from their definitions, one query at a time."""
    names = [f"recall_at_{k}" for k in KS] + ["mean_average_precision_at_r", "r_precision"]
    scores: dict[float, list[list[float]]] = {}
    for i, (point, label) in enumerate(zip(case["query"], case["query_labels"], strict=True)):
        distances = ((case["reference"].astype(float) - point.astype(float)) ** 2).sum(axis=1)
        order = [j for j in np.argsort(distances, kind="stable")]
        if case["embeddings_come_from_same_source"]:
            order.remove(i)
        right = [case["reference_labels"][j] == label for j in order]
        relevant = sum(right)
        if relevant == 0:
            continue
        recalls = [float(any(right[:k])) for k in KS]
        precisions = [sum(right[: n + 1]) / (n + 1) for n in range(relevant) if right[n]]
        scores.setdefault(label, []).append(
            [*recalls, sum(precisions) / relevant, sum(right[:relevant]) / relevant]
        )
    rows: Any = [np.mean(found, axis=0) for found in scores.values()]
    if not by_class:
        rows = [row for found in scores.values() for row in found]
    return dict(zip(names, np.mean(rows, axis=0), strict=True))


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("same_source", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_a_slow_computation(
    seed: int, same_source: bool, by_class: bool
) -> None:
    case = searched_in_itself(random_case(seed)) if same_source else random_case(seed)
    expected = slow_scores(case, by_class)
    found = RecallAtKCalculator(avg_of_avgs=by_class).get_accuracy(**case)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    recalls = [found[f"recall_at_{k}"] for k in KS]
    assert recalls == sorted(recalls)
    assert 0 < recalls[0] < recalls[1] <= 1, "a case that tells nothing"
    assert found["recall_at_1"] == found["precision_at_1"]


@pytest.mark.parametrize("same_source", [False, True])
@pytest.mark.parametrize("settings", [{}, {"k": 3}, {"avg_of_avgs": True}, {"exclude": ("NMI",)}])
def test_the_hosts_metrics_keep_their_values_bit_for_bit(
    settings: dict[str, Any], same_source: bool
) -> None:
    case = searched_in_itself(random_case(7)) if same_source else random_case(7)
    host = AccuracyCalculator(**settings).get_accuracy(**case)
    ours = RecallAtKCalculator(**settings).get_accuracy(**case)
    assert {name: ours[name] for name in host} == host
    assert set(ours) - set(host) == {f"recall_at_{k}" for k in KS}


def test_recall_by_hand() -> None:
    """On a line. Queries a at 0 and b at 10; gallery b 1, a 2, b 3, a 9, b 12.

    From 0 the classes come b a b a b: a at rank 2. From 10: a b b a b: b at rank 2.
    """
    found = RecallAtKCalculator(ks=[1, 2, 3], include=["recall_at_1", "recall_at_2"]).get_accuracy(
        query=np.float32([[0], [10]]),
        reference=np.float32([[1], [2], [3], [9], [12]]),
        query_labels=np.array([0, 1]),
        reference_labels=np.array([1, 0, 1, 0, 1]),
        embeddings_come_from_same_source=False,
    )
    assert found == {"recall_at_1": 0, "recall_at_2": 1}


@pytest.mark.parametrize("same_source", [False, True])
def test_k_beyond_the_references_counts_them_all(same_source: bool) -> None:
    """The search answers -1 there, which as an index would be the last label: the only match."""
    case = {
        "query": np.float32([[0], [1], [5]]),
        "reference": np.float32([[0], [1], [5]]),
        "query_labels": np.array([7, 0, 7]),
        "reference_labels": np.array([7, 0, 7]) if same_source else np.array([0, 0, 7]),
        "embeddings_come_from_same_source": same_source,
    }
    found = RecallAtKCalculator(ks=[1, 2, 50]).get_accuracy(**case)
    assert found["recall_at_1"] == (0 if same_source else 2 / 3)
    assert found["recall_at_2"] == (1 if same_source else 2 / 3)
    assert found["recall_at_50"] == 1


def test_no_class_in_common_scores_nothing() -> None:
    case = random_case(0)
    case["reference_labels"] = case["reference_labels"] + 100
    found = RecallAtKCalculator(exclude=["AMI", "NMI"]).get_accuracy(**case)
    assert set(found.values()) == {0}


def test_metrics_can_be_left_out_and_chosen_anew_at_each_call() -> None:
    calculator = RecallAtKCalculator(ks=[5], exclude=["AMI", "NMI", "r_precision"])
    assert set(calculator.get_curr_metrics()) == {
        "mean_average_precision_at_r", "precision_at_1", "recall_at_5",
    }  # fmt: skip
    found = calculator.get_accuracy(**random_case(1), include=("recall_at_5",))
    assert set(found) == {"recall_at_5"}
    assert calculator.description() == ""


@pytest.mark.parametrize("ks", [[], [0], [1.5], [1, 1], "10", 10, [True]])
def test_ks_that_are_no_numbers_of_neighbours_are_refused(ks: Any) -> None:
    with pytest.raises(ConfigError, match=r"ks is .*expected distinct integers >= 1"):
        RecallAtKCalculator(ks=ks)
