import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from powerful_benchmarker.utils.constants import META_LOGS_FOLDER_NAME
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.logging_presets import HookContainer, get_record_keeper

from slade_plugin.base.errors import ExperimentError
from slade_plugin.stages.table import (
    METRICS,
    build_rows,
    mean_and_interval,
    read_curve,
    read_experiment,
    summarize,
    to_markdown,
    with_interval,
    write_tables,
)

TITLES = {"baseline": "baseline (equally long)", "student": "student"}
SCHEMES = ("Test50_50_Partitions4_0", "Test50_50_Partitions4_1")

# split -> [(epoch, MAP@R)]; the other two metrics are MAP@R + 0.1 and + 0.2
Records = Mapping[str, list[tuple[int, float]]]


def accuracies_of(map_at_r: float) -> dict[str, float]:
    values = dict(zip(METRICS, (map_at_r, map_at_r + 0.1, map_at_r + 0.2), strict=True))
    return {f"{metric}_level0": value for metric, value in values.items()}


def write_records(scheme: Path, records: Records) -> None:
    """Writes accuracies as the host's hooks do, by its own record keeper and names."""
    keeper, _, _ = get_record_keeper(str(scheme / "saved_csvs"))
    hooks = HookContainer(keeper)
    tester = GlobalEmbeddingSpaceTester(dataloader_num_workers=0, end_of_testing_hook=None)
    for split, rows in records.items():
        for epoch, map_at_r in rows:
            tester.all_accuracies = {split: {"epoch": epoch, **accuracies_of(map_at_r)}}
            tester.dim_reduced_embeddings = {}
            hooks.end_of_testing_hook(tester)
            keeper.save_records()


def save_models(scheme: Path, *suffixes: str) -> None:
    (scheme / "saved_models").mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        (scheme / "saved_models" / f"trunk_{suffix}.pth").touch()


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Two split schemes, best at epochs 2 and 4, and the host's empty folder of common logs."""
    save_models(tmp_path / SCHEMES[0], "best0", "best2", "6")
    write_records(
        tmp_path / SCHEMES[0],
        {"val": [(1, 0.1), (2, 0.25), (6, 0.2)], "test": [(0, 0.01), (2, 0.5)]},
    )
    save_models(tmp_path / SCHEMES[1], "best4", "4")
    write_records(tmp_path / SCHEMES[1], {"val": [(2, 0.3), (4, 0.35)], "test": [(4, 0.75)]})
    (tmp_path / META_LOGS_FOLDER_NAME / "saved_models").mkdir(parents=True)
    return tmp_path


# ---- reading ------------------------------------------------------------------------------------


def test_the_best_epoch_is_read_in_percent(experiment: Path) -> None:
    results = read_experiment(experiment, ["val", "test"])
    first, second = SCHEMES
    assert results["val"]["mean_average_precision_at_r"] == {first: 25.0, second: 35.0}
    assert results["test"]["mean_average_precision_at_r"] == {first: 50.0, second: 75.0}
    assert results["val"]["r_precision"] == pytest.approx({first: 35, second: 45})
    assert results["test"]["precision_at_1"] == pytest.approx({first: 70, second: 95})


def test_an_experiment_of_the_host_is_read(teacher_experiment: Path) -> None:
    """One that it trained itself, with the plugin's tester."""
    results = read_experiment(teacher_experiment, ["val"])
    values = results["val"]["precision_at_1"].values()
    assert len(values) == 2
    assert all(0 < value <= 100 for value in values)


def test_the_last_evaluation_of_an_epoch_counts(experiment: Path) -> None:
    """--evaluate with skip_eval_if_already_done: False adds a second row."""
    write_records(experiment / SCHEMES[0], {"test": [(2, 0.4)]})
    found = read_experiment(experiment, ["test"])["test"]["mean_average_precision_at_r"]
    assert found[SCHEMES[0]] == 40.0


def test_a_curve_has_every_epoch_in_percent(experiment: Path) -> None:
    metric = "mean_average_precision_at_r"
    first = experiment / SCHEMES[0]
    assert read_curve(first, "val", metric) == pytest.approx({1: 10, 2: 25, 6: 20})
    assert read_curve(first, "test", metric) == pytest.approx({0: 1, 2: 50})
    assert all(type(epoch) is int for epoch in read_curve(first, "val", metric))
    assert read_curve(experiment / "missing", "val", metric) == {}
    assert read_curve(first, "val", "recall_at_8") == {}  # not recorded


def test_a_split_that_was_not_evaluated_is_named_with_the_command(tmp_path: Path) -> None:
    save_models(tmp_path / SCHEMES[0], "best2")
    write_records(tmp_path / SCHEMES[0], {"val": [(2, 0.25)], "test": [(1, 0.5)]})
    with pytest.raises(
        ExperimentError, match=rf"{SCHEMES[0]} has no record of epoch 2 on test; .*\[test\]"
    ):
        read_experiment(tmp_path, ["val", "test"])


def test_a_metric_that_was_not_computed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a tester whose calculator excludes it."""
    save_models(tmp_path / SCHEMES[0], "best2")
    partial = {f"{metric}_level0": 0.5 for metric in METRICS if metric != "r_precision"}
    monkeypatch.setitem(globals(), "accuracies_of", lambda map_at_r: partial)
    write_records(tmp_path / SCHEMES[0], {"val": [(2, 0.25)]})
    with pytest.raises(ExperimentError, match=rf"{SCHEMES[0]} has no r_precision .* on val"):
        read_experiment(tmp_path, ["val"])


def test_recall_of_other_label_levels_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a tester with `label_hierarchy_level: all`."""
    save_models(tmp_path / SCHEMES[0], "best2")
    metrics = (*METRICS, "recall_at_2")
    found = {f"{metric}_level{level}": 0.5 + level for metric in metrics for level in (0, 1)}
    monkeypatch.setitem(globals(), "accuracies_of", lambda map_at_r: found)
    write_records(tmp_path / SCHEMES[0], {"val": [(2, 0.25)]})
    results = read_experiment(tmp_path, ["val"])["val"]
    assert list(results) == [*METRICS, "recall_at_2"]
    assert results["recall_at_2"] == {SCHEMES[0]: 50.0}


def test_missing_records_are_named(tmp_path: Path) -> None:
    save_models(tmp_path / SCHEMES[0], "best2")
    with pytest.raises(ExperimentError, match="no record of epoch 2 on val"):
        read_experiment(tmp_path, ["val"])
    assert list(tmp_path.rglob("logs.db")) == []


def test_a_folder_without_experiment_is_named(tmp_path: Path) -> None:
    (tmp_path / META_LOGS_FOLDER_NAME / "saved_models").mkdir(parents=True)
    with pytest.raises(ExperimentError, match="has no trained split scheme"):
        read_experiment(tmp_path, ["val"])


@pytest.mark.parametrize("suffixes", [(), ("3",)])
def test_a_split_scheme_without_best_model_is_named(
    experiment: Path, suffixes: tuple[str, ...]
) -> None:
    """Not left out: the mean would be one of fewer split schemes, and look like any other."""
    save_models(experiment / "Test50_50_Partitions4_2", *suffixes)
    with pytest.raises(ExperimentError, match="Test50_50_Partitions4_2 has no best model"):
        read_experiment(experiment, ["val"])


# ---- mean and interval --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([1, 2, 3], 2, 4.302653 / math.sqrt(3)),  # standard error 1 / sqrt(3), t with 2 degrees
        ([10, 14], 12, 12.706205 * 2),  # standard error sqrt(8) / sqrt(2), t with 1 degree
        ([5, 5, 5, 5], 5, 0),
    ],
)
def test_mean_and_interval_by_hand(values: list[float], mean: float, half: float) -> None:
    assert mean_and_interval(values) == (mean, pytest.approx(half, rel=1e-6))


def test_one_value_has_no_interval() -> None:
    mean, half = mean_and_interval([7])
    assert mean == 7
    assert math.isnan(half)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((36.614, 0.816), "36.61 ± 0.82"),
        ((36.614, None), "36.61"),
        ((36.614, math.nan), "36.61"),
        ((None, None), ""),
        ((0.25, 0.04, "+", 1), "+0.2 ± 0.0"),
        ((-0.25, 1.0, "+"), "-0.25 ± 1.00"),
    ],
)
def test_a_mean_and_its_interval_as_text(arguments: tuple[Any, ...], text: str) -> None:
    assert with_interval(*arguments) == text


# ---- the table ----------------------------------------------------------------------------------


@pytest.fixture
def results() -> dict[str, Any]:
    """Hand-worked: MAP@R of the student on test 10 and 14, of the baseline 8 and 8."""

    def of(first: float, second: float) -> dict[str, dict[str, float]]:
        return {metric: {"s0": first, "s1": second} for metric in METRICS}

    return {"baseline": {"test": of(8, 8)}, "student": {"val": of(1, 2), "test": of(10, 14)}}


def test_rows_by_hand(results: dict[str, Any]) -> None:
    rows = build_rows(results)
    keys = [(row["experiment"], row["split"], row["split_scheme"]) for row in rows]
    assert keys == [
        ("baseline", "test", "s0"), ("baseline", "test", "s1"), ("baseline", "test", "mean"),
        ("student", "val", "s0"), ("student", "val", "s1"), ("student", "val", "mean"),
        ("student", "test", "s0"), ("student", "test", "s1"), ("student", "test", "mean"),
    ]  # fmt: skip
    assert [row["precision_at_1"] for row in rows[-3:]] == [10, 14, 12]
    assert rows[-1]["precision_at_1_interval95"] == pytest.approx(25.41241)
    assert rows[2]["r_precision_interval95"] == 0
    assert "precision_at_1_interval95" not in rows[0]


def read_cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_summary_has_a_row_an_experiment(results: dict[str, Any]) -> None:
    cells = read_cells(summarize(build_rows(results), TITLES))
    assert cells[0] == ["experiment", "test MAP@R", "val MAP@R", "test P@1", "val P@1"]
    assert cells[2][1:] == ["8.00 ± 0.00", "", "8.00 ± 0.00", ""]  # not evaluated on val
    assert [row[0] for row in cells[3:]] == ["student"]
    assert [cells[3][column] for column in (1, 3)] == ["12.00 ± 25.41"] * 2


def test_markdown_by_hand(results: dict[str, Any]) -> None:
    lines = to_markdown(build_rows(results), TITLES).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["experiment", "split", "split scheme", "MAP@R", "RP", "P@1"]
    assert all(set(cell) <= {"-"} for cell in cells[1])
    assert cells[-2] == ["student", "test", "s1", "14.00", "14.00", "14.00"]
    assert cells[-1] == ["student", "test", "**mean**", *["12.00 ± 25.41"] * 3]
    assert cells[2][0].startswith("baseline (")
    assert len({len(line) for line in lines}) == 1


def test_recall_at_k_has_columns_where_an_experiment_recorded_it(
    results: dict[str, Any], tmp_path: Path
) -> None:
    """By k, not by the letter; the teacher of another evaluation leaves them empty."""
    recalls = {f"recall_at_{k}": {"s0": k / 10, "s1": k / 5} for k in (10, 2)}
    results["student"] = {"test": results["student"]["test"] | recalls}
    text, table = write_tables(tmp_path, results, TITLES)
    assert read_cells(text)[0][-2:] == ["test R@2", "test R@10"]  # none on val
    cells = read_cells((tmp_path / "table.md").read_text())
    assert cells[0][3:] == ["MAP@R", "RP", "P@1", "R@2", "R@10"]
    assert cells[2][-2:] == ["", ""]
    assert cells[-2][-2:] == ["0.40", "2.00"]
    assert cells[-1][-1].startswith("1.50 ± ")
    assert table["rows"][-1]["recall_at_2"] == pytest.approx(0.3)
    with (tmp_path / "table.csv").open(newline="") as file:
        header, *_, last = csv.reader(file)
    assert header[3:8] == [*METRICS, "recall_at_2", "recall_at_10"]
    assert last[7] == "1.5"


def test_the_three_files_say_the_same(results: dict[str, Any], tmp_path: Path) -> None:
    text, table = write_tables(tmp_path / "new" / "results", results, TITLES)
    folder = tmp_path / "new" / "results"
    assert sorted(p.name for p in folder.iterdir()) == ["table.csv", "table.json", "table.md"]
    assert text == summarize(table["rows"], TITLES)
    whole = to_markdown(table["rows"], TITLES)
    assert (folder / "table.md").read_text() == whole + "\n"
    assert json.loads((folder / "table.json").read_text()) == table
    assert (table["unit"], table["rows"]) == ("percent", build_rows(results))
    with (folder / "table.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert rows == [{k: str(v) for k, v in row.items()} for row in table["rows"]]


def test_a_single_split_scheme_has_no_interval_in_any_file(tmp_path: Path) -> None:
    """NaN would not be JSON: other programs than Python refuse it."""
    one = {"student": {"test": {metric: {"s0": 10.0} for metric in METRICS}}}
    text, _ = write_tables(tmp_path, one, TITLES)

    def refuse(constant: str) -> Callable[[], None]:
        raise AssertionError(f"{constant} is not JSON")

    content = (tmp_path / "table.json").read_text()
    rows = json.loads(content, parse_constant=refuse)["rows"]
    assert rows[-1]["split_scheme"] == "mean"
    assert rows[-1]["precision_at_1"] == 10
    assert "±" not in text
    assert "nan" not in text + (tmp_path / "table.csv").read_text()
