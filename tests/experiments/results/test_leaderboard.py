import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.provenance import ENVIRONMENT_FILE
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.leaderboard import (
    SCHEMA_PATH,
    benchmark_columns,
    write_record,
)

Make = Callable[..., Path]
MAP_AT_R, RP, P_AT_1 = "mean_average_precision_at_r", "r_precision", "precision_at_1"


def test_a_student_s_record_stands_by_itself(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "record"
    record = write_record(read_method(str(finished / "student")), folder, Path("nowhere"))
    assert json.loads((folder / "record.json").read_text())["results"] == record["results"]
    place = folder / "experiments" / "seed0"
    for mine, source in ((place, "student"), (place / "teacher", "teacher")):
        copied = {p.name: p.read_bytes() for p in (mine / "configs").iterdir()}
        saved = finished / source / "configs"
        assert copied == {p.name: p.read_bytes() for p in saved.iterdir()}
    labels = sorted(p.name for p in (place / "pseudo_labels").iterdir())
    assert labels == sorted(p.name for p in (finished / "pseudo_labels").iterdir())
    assert list(folder.parent.iterdir()) == [folder]

    (run,) = record["runs"]
    state = json.loads((finished / "pipeline.json").read_text())
    assert (run["data"], run["environment"]) == (state["data"], state["environment"])
    for scheme, hashes in run["weights"].items():
        models = finished / "student" / scheme / "saved_models"
        assert {"trunk", "embedder", "basis_loss"} <= {n.rsplit("_best")[0] for n in hashes}
        assert hashes == {name: sha256_of_file(models / name) for name in hashes}
    assert len(run["reproduce"]) == 4


def test_a_plain_experiment_s_data_is_hashed(
    make_experiment: Make, bench: Any, tmp_path: Path
) -> None:
    """What the host made has no environment on record; ours notes it."""
    dataset = {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}}
    for name in ("a", "b"):
        make_experiment(tmp_path / name, {"test": (10, 12)}, dataset=dataset)
    (tmp_path / "b" / ENVIRONMENT_FILE).write_text('[{"command": ["run.py"]}]')
    method = read_method(str(tmp_path / "[ab]"))
    record = write_record(method, tmp_path / "record", bench.dataset_root)
    assert [run["folder"] for run in record["runs"]] == ["experiments/run0", "experiments/run1"]
    assert [run["environment"] for run in record["runs"]] == [[], [{"command": ["run.py"]}]]
    first, second = (run["data"]["labeled"] for run in record["runs"])
    assert first == second
    assert len(first) == 64


def test_the_columns_of_the_benchmark_by_hand() -> None:
    def row(kind: str, dim: int, **numbers: float) -> dict[str, Any]:
        metrics = {m: {"mean": 10.126 + i, **numbers} for i, m in enumerate((P_AT_1, RP, MAP_AT_R))}
        return {"split": "test", "embedding": kind, "dim": dim, "metrics": metrics}

    rows = [row("separated", 128, interval95=1.5), row("concatenated", 512)]
    header, line = csv.reader(benchmark_columns("a, b", "CUB200", rows).splitlines())
    assert header == [
        "Method", "Data set",
        "Concatenated (512-dim) P@1", "Concatenated (512-dim) RP", "Concatenated (512-dim) MAP@R",
        "Separated (128-dim) P@1", "Separated (128-dim) RP", "Separated (128-dim) MAP@R",
    ]  # fmt: skip
    assert line[:3] == ["a, b", "CUB200", "10.13"]
    assert line[5:] == ["10.13 ± 1.50", "11.13 ± 1.50", "12.13 ± 1.50"]


def test_with_a_self_supervised_stage_the_whole_run_is_the_command(
    make_experiment: Make, bench: Any, tmp_path: Path
) -> None:
    """Its trunks are not exported, so its parts cannot be run one by one."""
    dataset = {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}}
    folder = make_experiment(
        tmp_path / "e", {"test": (1, 2)}, dataset=dataset, self_supervised={"num_epochs": 1}
    )
    (folder / ENVIRONMENT_FILE).write_text('[{"command": ["run.py", "--x", "[a, b]"]}, {}]')
    record = write_record(read_method(str(folder)), tmp_path / "record", bench.dataset_root)
    assert record["runs"][0]["reproduce"] == ["python run.py --x '[a, b]'"]


def test_nothing_is_left_of_a_record_that_cannot_be_made(
    make_experiment: Make, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "record"
    make_experiment(tmp_path / "e", {"val": (1, 2)})
    with pytest.raises(ExperimentError, match="not evaluated on test; expected"):
        write_record(read_method(str(tmp_path / "e")), folder, tmp_path)
    make_experiment(tmp_path / "f", {"test": (1, 2)}, dataset={"CUB200Files": {}})
    with pytest.raises(ExperimentError, match="expected --dataset_root with the data"):
        write_record(read_method(str(tmp_path / "f")), folder, tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    for path in (tmp_path / "run" / "student").glob("*/*.npy"):
        path.unlink()
    with pytest.raises(ExperimentError, match=r"npy is missing; expected the pseudo labels"):
        write_record(read_method(str(tmp_path / "run" / "student")), folder, tmp_path)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(ExperimentError, match="exists; expected a new folder"):
        write_record(read_method(str(finished / "student")), folder, tmp_path)


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(SCHEMA_PATH.read_text()))
