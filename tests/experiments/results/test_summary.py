from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.results.found import find_experiments, group_experiments
from slade_plugin.experiments.results.summary import missing_splits, summarize

Make = Callable[..., Path]
MAP_AT_R = "mean_average_precision_at_r"
T_2 = 4.302653  # Student's t, 97.5 %, 2 degrees of freedom


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return summarize(group_experiments(find_experiments([folder]))[0])


def test_several_runs_by_hand(make_experiment: Make, tmp_path: Path) -> None:
    """Means of the runs 11, 13, 15: mean 13, standard error 2 / sqrt(3)."""
    for seed, values in enumerate([(10, 12), (12, 14), (10, 20)]):
        make_experiment(tmp_path / str(seed), {"test": values}, {"test": 20 + seed}, seed=seed)
    separated, concatenated = rows_of(tmp_path)
    assert (separated["embedding"], separated["dim"], separated["over"]) == (
        "separated",
        16,
        "runs",
    )
    assert (separated["seeds"], separated["split_schemes"]) == ([0, 1, 2], 2)
    numbers = separated["metrics"][MAP_AT_R]
    assert numbers["values"] == pytest.approx([11, 13, 15])
    assert numbers["mean"] == pytest.approx(13)
    assert numbers["standard_error"] == pytest.approx(2 / 3**0.5)
    assert numbers["interval95"] == pytest.approx(T_2 * 2 / 3**0.5)
    assert (concatenated["embedding"], concatenated["dim"]) == ("concatenated", 32)
    assert concatenated["metrics"]["precision_at_1"]["values"] == pytest.approx([40, 41, 42])


def test_one_run_is_judged_by_its_split_schemes(make_experiment: Make, tmp_path: Path) -> None:
    make_experiment(tmp_path / "e", {"val": (10, 14)}, {"val": 15}, seed=0)
    separated, concatenated = rows_of(tmp_path)
    assert separated["over"] == "split schemes"
    assert separated["metrics"][MAP_AT_R]["standard_error"] == pytest.approx(2)
    assert concatenated["metrics"][MAP_AT_R] == {"mean": pytest.approx(15), "values": [15]}


def test_the_published_number_stands_beside_the_poster_s_row(
    make_experiment: Make, tmp_path: Path
) -> None:
    """512 numbers and test only: 4 split schemes would make 128 x 4, here 256 x 2."""
    make_experiment(
        tmp_path / "t1", {"val": (30, 32), "test": (20, 22)}, {"val": 31, "test": 26.02}, seed=0,
        dataset={"CUB200Files": {}},
        models={
            "trunk": {"resnet50": {"weights": "IMAGENET1K_V1"}},
            "embedder": {"MLP": {"layer_sizes": [256]}},
        },
    )  # fmt: skip
    rows = {(row["split"], row["embedding"]): row for row in rows_of(tmp_path)}
    assert {row["poster_row"] for row in rows.values()} == {"Contrastive (T1)"}
    numbers = {k: row["metrics"][MAP_AT_R] for k, row in rows.items()}
    found = numbers.pop(("test", "concatenated"))
    assert found["published"] == 25.02
    assert found["difference"] == pytest.approx(1)
    assert not any("published" in others for others in numbers.values())


def test_a_missing_split_is_named_with_its_command(make_experiment: Make, tmp_path: Path) -> None:
    make_experiment(tmp_path / "e [1]", {"val": (10, 14)})
    groups, _ = group_experiments(find_experiments([tmp_path]))
    (note,) = missing_splits(groups, ["val", "test"])
    assert "has no scores on test" in note
    place = f"--root_experiment_folder {tmp_path} --experiment_name 'e [1]'"
    assert note.endswith(f"run.py {place} --evaluate --splits_to_eval [test]")
