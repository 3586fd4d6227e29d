"""Records of a leaderboard, made by hand or written from made experiments."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.files import write_manifest
from slade_plugin.experiments.results.found import SPLIT_OF_SEED, read_method
from slade_plugin.experiments.results.record import write_record
from slade_plugin.experiments.results.summary import numbers_of
from slade_plugin.stages.table import METRICS
from tests.made_experiments import make_experiment

__all__ = ["make_experiment"]

Make = Callable[..., Path]


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """Makes what ranking and page read of a record: seed to MAP@R of one split scheme."""

    def make(
        method: str, scores: Mapping[int | None, float], test_classes: str = "c", **protocol: Any
    ) -> dict[str, Any]:
        classes = {"s": {"test": {"sha256": test_classes}}}
        runs = [
            {
                "seed": None if seed is None or seed < 0 else seed,
                "scores": {"test": {"separated": {m: {"s": score} for m in METRICS}}},
                "classes": classes,
                "data": {"labeled": "d"},
                "training": [{"stage": "teacher", "steps": 7}, {"stage": "student", "steps": 5}],
            }
            for seed, score in scores.items()
        ]
        metrics = {metric: numbers_of([{"s": x} for x in scores.values()]) for metric in METRICS}
        row = {"split": "test", "embedding": "separated", "dim": 8, "split_schemes": 1}
        shared = {
            "trunk": {"conv4": {}},
            "splits": {"split_manager": {"M": {"random_seed": SPLIT_OF_SEED}}},
            "evaluation": {"choice of the best epoch": {"untrained_model_can_be_best": False}},
        }
        return {
            "method": method,
            "of": "student",
            "dataset": "Glyphs",
            "protocol": shared | protocol,
            "budget": {"trials": 12, "split": "val", "note": ""},
            "results": [row | {"metrics": metrics}],
            "runs": runs,
        }

    return make


@pytest.fixture(scope="module")
def write_made(make_experiment: Make, bench: Any, tmp_path_factory: Any) -> Callable[..., Path]:
    """Writes a record of two made runs into a folder and returns its place."""

    def write(folder: Path, **config: Any) -> Path:
        root = tmp_path_factory.mktemp("runs")
        for seed in (0, 1):
            made = make_experiment(
                root / f"{folder.name}{seed}",
                {"val": (10 + seed, 12), "test": (20, 22 + seed)},
                seed=seed,
                **{
                    "dataset": {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}},
                    "trainer": {"MetricLossOnly": {"iterations_per_epoch": 3}},
                    **config,
                },
            )
            (made / "environment.json").write_text("[]")
        group = read_method(str(root / "*"))
        group.title = folder.name
        budget = {"trials": 12, "split": "val", "note": ""}
        write_record(group, folder, bench.dataset_root, budget)
        return folder

    return write


@pytest.fixture
def change() -> Callable[[Path, Callable[[dict[str, Any]], None]], None]:
    """Changes a record as someone would who also restores its hash."""

    def apply(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
        record = json.loads((folder / "record.json").read_text())
        edit(record)
        del record["manifest_sha256"]
        write_manifest(folder / "record.json", record)

    return apply
