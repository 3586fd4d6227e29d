from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.composition import config_root
from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.poster_comparison import compare_with_poster
from slade_plugin.experiments.studies.study import Study
from slade_plugin.experiments.studies.study_file import read_study

Make = Callable[..., Path]
MAP_AT_R = "mean_average_precision_at_r"
LADDER = "ablation_2_components"
NAMES = ["teacher", "slade_pseudo_label", "slade_basis", "slade"]


@pytest.fixture
def made(make_experiment: Make, tmp_path: Path) -> Callable[..., tuple[Study, Any]]:
    """Runs of the shipped ablation 2 whose students score 30 + seed, its teachers 20 + seed."""

    def make(dataset: str, class_name: str, size: int = 256) -> tuple[Study, dict[Any, Run]]:
        path = config_root() / "studies" / f"{LADDER}.yaml"
        study = read_study(path).selected([dataset])
        runs = plan_runs(study, tmp_path / "runs", [0, 1])
        for (_, seed, name), run in runs.items():
            stages = {"student": 30 + seed}
            if name == study.first:
                stages["teacher"] = 20 + seed
            for stage, score in stages.items():
                make_experiment(
                    run.experiment / stage, {"test": (9, 9)}, {"test": score}, seed=seed,
                    dataset={class_name: {}}, models={"embedder": {"MLP": {"layer_sizes": [size]}}},
                )  # fmt: skip
        return study, runs

    return make


def test_the_mean_over_seeds_stands_beside_the_poster_s_number(made: Any) -> None:
    rows = compare_with_poster(*made("cub200_nabirds", "CUB200Files"), "cub200_nabirds")
    assert [row["method"] for row in rows] == NAMES
    assert [row["poster_row"] for row in rows] == [
        "Teacher (contrastive)", "Student (pseudo label)", "+ Basis", "+ Basis + Mining",
    ]  # fmt: skip
    numbers = [row["metrics"][MAP_AT_R] for row in rows]
    assert [n["mean"] for n in numbers] == pytest.approx([20.5, 30.5, 30.5, 30.5])
    assert [n["published"] for n in numbers] == [29.29, 30.81, 32.45, 33.59]
    assert numbers[3]["difference"] == pytest.approx(30.5 - 33.59)
    assert all(row["seeds"] == [0, 1] and row["dim"] == 512 for row in rows)
    assert "published" not in rows[1]["metrics"]["r_precision"]  # ablation 2 has MAP@R alone


def test_other_sizes_and_data_sets_have_no_number_of_the_poster(made: Any) -> None:
    for arguments in (("cars196_compcars", "Cars196Files", 128), ("in_shop_fashion200k", "InShop")):
        rows = compare_with_poster(*made(*arguments), arguments[0])
        assert [row["method"] for row in rows] == NAMES
        assert not any("published" in n for row in rows for n in row["metrics"].values())


def test_what_is_not_finished_has_no_row(made: Any) -> None:
    study, runs = made("cub200_nabirds", "CUB200Files")
    used = {key: run for key, run in runs.items() if key[2] == "slade_basis"}
    assert [row["method"] for row in compare_with_poster(study, used, "cub200_nabirds")] == [
        "slade_basis"
    ]
