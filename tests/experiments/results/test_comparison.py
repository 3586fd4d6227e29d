from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.results.comparison import compare, to_text
from slade_plugin.experiments.results.found import Group, find_experiments, group_experiments

Make = Callable[..., Path]


@pytest.fixture
def method(make_experiment: Make, tmp_path: Path) -> Callable[..., Group]:
    """A method from the test MAP@R of the split schemes of each of its runs."""

    def make(name: str, runs: dict[int, tuple[float, float]], **config: Any) -> Group:
        for seed, values in runs.items():
            make_experiment(
                tmp_path / name / str(seed), {"test": values}, seed=seed, loss=name, **config
            )
        (group,), _ = group_experiments(find_experiments([tmp_path / name]))
        return group

    return make


def main_test(comparison: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = comparison["tests"][0]
    return first


def test_runs_are_paired_by_seed_by_hand(method: Callable[..., Group]) -> None:
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 2 sqrt(3), d = 2."""
    a = method("a", {0: (10, 12), 1: (20, 24), 2: (30, 36), 7: (90, 90)}, num_epochs_train=1)
    b = method("b", {2: (30, 30), 1: (20, 20), 0: (10, 10)})
    result = compare(a, b)
    test = main_test(result)
    assert (test["n"], test["over"], test["metric"]) == (3, "runs", "mean_average_precision_at_r")
    assert (test["a"], test["b"]) == (pytest.approx(22), pytest.approx(20))
    assert test["difference"] == pytest.approx(2)
    assert test["standard_error"] == pytest.approx(1 / 3**0.5)
    assert test["interval95"] == pytest.approx(4.302653 / 3**0.5)
    assert test["t"] == pytest.approx(2 * 3**0.5)
    assert test["p_value"] == pytest.approx(2 * stats.t.sf(2 * 3**0.5, 2))
    assert test["effect_size"] == pytest.approx(2)
    assert [Path(folder).name for folder in result["unpaired"]] == ["7"]
    assert result["verdict"].startswith("The difference is not significantly different from zero")
    assert {"where": "num_epochs_train", "a": 1, "b": 2} in result["other_differences"]


def test_one_run_each_is_paired_by_split_scheme(method: Callable[..., Group]) -> None:
    result = compare(method("a", {0: (10.0, 12.1)}), method("b", {5: (20, 22)}))
    assert (main_test(result)["n"], main_test(result)["over"]) == (2, "split schemes")
    assert main_test(result)["difference"] == pytest.approx(-9.95)
    assert result["verdict"].startswith("B is better: b against a, A - B on test MAP@R -9.95")
    assert "only one run each" in result["verdict"]
    assert {"where": "seed", "a": 0, "b": 5} in result["other_differences"]


def test_no_winner_where_the_protocol_differs(method: Callable[..., Group]) -> None:
    """However clear the numbers are."""
    a = method("a", {0: (10, 12), 1: (10, 12.1)})
    b = method("b", {0: (50, 52), 1: (50, 52)}, transforms={"train": {}, "eval": {"Flip": {}}})
    result = compare(a, b)
    assert main_test(result)["p_value"] < 0.01
    assert not result["comparable"]
    assert result["protocol_differences"][0]["where"] == "transforms/eval/Flip"
    assert result["verdict"].startswith("No winner:")
    assert "(transforms)" in result["verdict"]


def test_differences_that_are_all_equal_have_no_test(method: Callable[..., Group]) -> None:
    """Up to rounding, which must not make them certain."""
    result = compare(method("a", {0: (25.3, 50.7)}), method("b", {0: (25.2, 50.6)}))
    assert main_test(result)["interval95"] == pytest.approx(0, abs=1e-9)
    assert "p_value" not in main_test(result)
    assert result["verdict"] == "No winner: all pairs differ by exactly +0.10 points."


def test_the_better_of_two_methods_with_one_title_is_named(method: Callable[..., Group]) -> None:
    a, b = method("a", {0: (10, 12.1)}), method("b", {0: (20, 22)})
    b.title = a.title
    assert compare(a, b)["verdict"].startswith("B is better: a against a")


def test_one_pair_names_no_winner(make_experiment: Make, tmp_path: Path) -> None:
    groups = []
    for name, value in (("a", 10), ("b", 50)):
        alone = {"split_manager": {"PredefinedSplitManager": None}}
        make_experiment(tmp_path / name, {"test": (value,)}, loss=name, **alone)
        groups += group_experiments(find_experiments([tmp_path / name]))[0]
    result = compare(*groups)
    assert "interval95" not in main_test(result)
    assert result["verdict"] == (
        "No winner: a single pair cannot be tested; at least two are needed."
    )


def test_without_test_scores_no_winner_is_named(make_experiment: Make, tmp_path: Path) -> None:
    groups = []
    for name in ("a", "b"):
        make_experiment(tmp_path / name, {"val": (1, 2)}, {"val": 3}, loss=name)
        groups += group_experiments(find_experiments([tmp_path / name]))[0]
    result = compare(*groups)
    assert {test["embedding"] for test in result["tests"]} == {"separated", "concatenated"}
    assert "not both evaluated on test" in result["verdict"]


def test_runs_without_a_common_seed_are_refused(method: Callable[..., Group]) -> None:
    a, b = method("a", {0: (1, 2), 1: (2, 3)}), method("b", {2: (1, 2), 3: (2, 3)})
    with pytest.raises(ExperimentError, match=r"\[0, 1\] and \[2, 3\]; expected"):
        compare(a, b)


@pytest.mark.parametrize("form", ["simple", "github"])
def test_the_text_holds_all_of_it(form: str, method: Callable[..., Group]) -> None:
    a = method("a", {0: (10, 12), 1: (20, 24)}, num_epochs_train=1)
    result = compare(a, method("b", {0: (5, 5), 1: (5, 5), 2: (5, 5)}, transforms={}))
    text = to_text(result, form)
    assert result["verdict"] in text
    for part in ("num_epochs_train", "transforms", "b/2", "2 runs", "95 %"):
        assert part in text
    assert ("|" in text) == (form == "github")


def test_runs_of_other_seeds_with_classes_of_their_own_are_no_pair(
    method: Callable[..., Group],
) -> None:
    """Their split schemes have the same names and other test classes."""
    manager = {"num_training_partitions": 2, "num_training_sets": 2, "shuffle": True}
    groups = [
        method(name, {seed: (10, 12)},
               split_manager={"ClassDisjointSplitManager": {**manager, "random_seed": seed}})
        for name, seed in (("a", 3), ("b", 4))
    ]  # fmt: skip
    result = compare(*groups)
    assert not result["comparable"]
    assert result["protocol_differences"] == [{"where": "seed", "a": 3, "b": 4}]
