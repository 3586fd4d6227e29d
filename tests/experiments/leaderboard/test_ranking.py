from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from slade_plugin.experiments.leaderboard.ranking import (
    Ranking,
    compare_records,
    holm,
    protocol_key,
    rank_records,
)

Make = Callable[..., dict[str, Any]]
A = {0: 50.0, 1: 55.0, 2: 60.0}


def measured(*records: dict[str, Any]) -> list[Ranking]:
    """The rankings without those of the poster."""
    rankings = rank_records({Path(f"r{i}"): record for i, record in enumerate(records)})
    return [ranking for ranking in rankings if ranking.protocol]


def ranks(ranking: Ranking) -> list[tuple[str, int | None, bool]]:
    return [(row.method, row.rank, row.shared) for row in ranking.rows]


def test_holm_by_hand() -> None:
    """0.005 * 4, 0.01 * 3, 0.03 * 2; 0.04 * 1 is less, so it takes the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_is_always_better_wins_although_the_seeds_differ_more(make_record: Make) -> None:
    """Seeds differ by 5 points, the methods by 2: paired, this is no tie."""
    better = {0: 52.0, 1: 57.1, 2: 61.9}
    (ranking,) = measured(make_record("a", A), make_record("b", better))
    assert ranks(ranking) == [("b", 1, False), ("a", 2, False)]
    test = ranking.rows[1].behind
    p = stats.ttest_rel(list(A.values()), list(better.values())).pvalue
    assert test["p_value"] == pytest.approx(p)
    assert test["p_value"] < 0.05
    assert test["difference"] == pytest.approx(-2.0)
    assert test["test"] == "paired, 3 seeds"
    assert ranking.rows[0].behind == {}
    assert ranking.comparisons == 1


def test_ties_share_a_rank_and_what_is_worse_than_both_is_third(make_record: Make) -> None:
    tied = {0: 50.5, 1: 54.6, 2: 59.7}
    worst = {0: 40.0, 1: 45.2, 2: 49.7}
    (ranking,) = measured(
        make_record("a", A), make_record("b", tied), make_record("c", worst), make_record("d", A)
    )
    # "a" and "d" have the same scores, so there is no test; the first of them stays first.
    assert ranks(ranking) == [("a", 1, True), ("d", 1, True), ("b", 1, True), ("c", 4, False)]
    assert ranking.comparisons == 5
    assert "p_value" not in ranking.rows[1].behind


def test_the_number_of_comparisons_counts(make_record: Make) -> None:
    """A difference of p = 0.03 alone is none among three comparisons."""
    other = {0: 48.9, 1: 54.4, 2: 59.1}
    a, b = make_record("a", A), make_record("b", other)
    p = compare_records(a, b)["p_value"]
    assert 0.025 < p < 0.05
    assert ranks(measured(a, b)[0]) == [("a", 1, False), ("b", 2, False)]
    (ranking,) = measured(a, b, make_record("c", {0: 49.0, 1: 58.0, 2: 57.0}))
    assert [row.rank for row in ranking.rows] == [1, 1, 1]
    assert ranking.rows[2].behind["p_value"] == pytest.approx(3 * p)


@pytest.mark.parametrize("seeds", [(5, 6, 7), (-1, -2, -3), (0, 6, 7)])
def test_without_common_seeds_the_test_is_unpaired(
    make_record: Make, seeds: tuple[int, ...]
) -> None:
    """Other seeds, no seeds (the host's), or one common seed."""
    a, b = make_record("a", A), make_record("b", dict(zip(seeds, (51.0, 58, 66), strict=True)))
    test = compare_records(a, b)
    welch = stats.ttest_ind(list(A.values()), (51, 58, 66), equal_var=False)
    assert test["p_value"] == pytest.approx(welch.pvalue)
    assert test["test"] == "unpaired"
    assert test["difference"] == pytest.approx(55 - 175 / 3)
    low, high = welch.confidence_interval()
    assert test["interval95"] == pytest.approx((high - low) / 2)


def test_the_same_seed_with_other_test_classes_is_no_pair(make_record: Make) -> None:
    other = make_record("b", {0: 51.0, 1: 58, 2: 66}, test_classes="others")
    assert compare_records(make_record("a", A), other)["test"] == "unpaired"


def test_one_run_is_never_tested(make_record: Make) -> None:
    (ranking,) = measured(make_record("a", {0: 50.0}), make_record("b", {0: 99.0}))
    assert ranks(ranking) == [("b", 1, True), ("a", 1, True)]
    assert ranking.rows[1].behind == {"difference": -49.0}


def test_other_protocols_are_other_lists(make_record: Make) -> None:
    a, b = make_record("a", A), make_record("b", A, trunk={"conv4": {"hidden_size": 64}})
    first, second = measured(a, b)
    assert [ranks(first), ranks(second)] == [[("a", 1, False)], [("b", 1, False)]] or [
        ranks(first), ranks(second)
    ] == [[("b", 1, False)], [("a", 1, False)]]  # fmt: skip
    assert first.title != second.title  # by their hashes
    assert first.title.startswith("Glyphs, conv4, 8-d, new classes for each seed (")
    other = make_record("c", A)
    other["runs"][0]["data"] = {"labeled": "other images"}
    assert protocol_key(other) != protocol_key(a)


def test_what_the_host_may_choose_without_effect_is_no_other_protocol(make_record: Make) -> None:
    choice = {"choice of the best epoch": {"untrained_model_can_be_best": True}}
    host = make_record("a", A, evaluation=choice)
    assert protocol_key(host) == protocol_key(make_record("b", A))
    assert host["protocol"]["evaluation"] == choice  # not modified


def test_published_numbers_are_quoted_last_and_not_ranked(make_record: Make) -> None:
    rankings = rank_records({Path("r"): make_record("a", A)})
    assert [bool(ranking.protocol) for ranking in rankings] == [True, False, False]
    cub = rankings[1]
    assert "quoted from the SLADE poster" in cub.title
    assert cub.rows[0].method == "SLADE (S4), ResNet-50, SwAV, 512-d"
    assert cub.rows[0].scores["mean_average_precision_at_r"] == {"mean": 33.9}
    assert {(row.rank, row.folder, row.shared) for row in cub.rows} == {(None, None, False)}
    assert "mean_average_precision_at_r" not in cub.rows[-1].scores  # P@1 alone
    assert len(rank_records({})) == 2
