import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.composition import config_root
from slade_plugin.experiments.results.found import read_saved
from slade_plugin.experiments.results.poster import find_row
from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.poster_comparison import compare_with_poster
from slade_plugin.experiments.studies.study import Study
from slade_plugin.experiments.studies.study_file import read_study

Make = Callable[..., Path]
MAP_AT_R = "mean_average_precision_at_r"
LADDER = "ablation_2_components"
NAMES = ["teacher", "slade_pseudo_label", "slade_basis", "slade"]


@pytest.fixture
def made(
    make_experiment: Make, write_plan: Callable[..., None], tmp_path: Path
) -> Callable[..., tuple[Study, Any]]:
    """Runs of a shipped ablation whose students score 30 + seed, its teachers 20 + seed."""

    def make(
        dataset: str, class_name: str, size: int = 256, name: str = LADDER, rounds: int = 1,
        **config: Any,
    ) -> tuple[Study, dict[Any, Run]]:  # fmt: skip
        path = config_root() / "studies" / f"{name}.yaml"
        study = read_study(path).selected([dataset])
        runs = plan_runs(study, tmp_path / "runs", [0, 1])
        models = {"embedder": {"MLP": {"layer_sizes": [size]}}, **config.pop("models", {})}
        for (_, seed, setting), run in runs.items():
            if run.experiment.exists():
                continue  # shared
            stages = {"student": 30 + seed}
            stages |= {f"round{n}/student": 40 + seed for n in range(2, rounds + 1)}
            if setting == study.first:
                stages["teacher"] = 20 + seed
            for stage, score in stages.items():
                make_experiment(
                    run.experiment / stage, {"test": (9, 9)}, {"test": score}, seed=seed,
                    dataset={class_name: {}}, models=models, **config,
                )  # fmt: skip
            write_plan(run, dict.fromkeys(stages, 1))
            state = json.loads((run.experiment / "pipeline.json").read_text())
            state["stages"] = {stage: {"done": True} for stage in stages}
            (run.experiment / "pipeline.json").write_text(json.dumps(state))
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


@pytest.mark.parametrize(
    ("dataset", "class_name", "published"),
    [
        ("cub200_nabirds", "CUB200Files", [31.83, 32.61, 32.81, 33.59, 33.26]),
        ("cars196_compcars", "Cars196Files", [None] * 5),
    ],
)
def test_an_ablation_has_the_numbers_of_its_own_table(
    dataset: str, class_name: str, published: list[float | None], made: Any
) -> None:
    """Each setting looks like S2 of the main table, whatever its number of clusters.

    Ablation 4 has no cars.
    """
    s2 = {
        "name": "ablation_4_clusters",
        "models": {"trunk": {"resnet50": {"weights": "swav"}}},
        "mining_funcs": {"unlabeled_tuple_miner": {"BasisSimilarityMiner": {}}},
        "self_supervised": {"folder": "swav"},
    }
    study, runs = made(dataset, class_name, **s2)
    rows = compare_with_poster(study, runs, dataset)
    rows = [row for row in rows if row["method"] != "teacher"]
    experiment = read_saved(runs[dataset, 0, "k_100"].experiment / "student")
    assert find_row(experiment) == "SLADE (S2)"
    assert [row["metrics"][MAP_AT_R].get("published") for row in rows] == published
    for numbers in (numbers for row in rows for numbers in row["metrics"].values()):
        assert ("difference" in numbers) == ("published" in numbers)


def test_of_several_rounds_the_last_student_is_compared(made: Any) -> None:
    rows = compare_with_poster(*made("cub200_nabirds", "CUB200Files", rounds=2), "cub200_nabirds")
    means = [row["metrics"][MAP_AT_R]["mean"] for row in rows]
    assert means == pytest.approx([20.5, 40.5, 40.5, 40.5])


def test_what_is_not_finished_has_no_row(made: Any) -> None:
    study, runs = made("cub200_nabirds", "CUB200Files")
    used = {key: run for key, run in runs.items() if key[2] == "slade_basis"}
    assert [row["method"] for row in compare_with_poster(study, used, "cub200_nabirds")] == [
        "slade_basis"
    ]
