import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.provenance import ENVIRONMENT_FILE
from slade_plugin.experiments.results.found import read_method, read_saved
from slade_plugin.experiments.results.record import (
    SCHEMA_PATH,
    benchmark_columns,
    portable,
    read_budget,
    search_budget,
    write_record,
)

Make = Callable[..., Path]
MAP_AT_R, RP, P_AT_1 = "mean_average_precision_at_r", "r_precision", "precision_at_1"


def test_a_student_s_record_stands_by_itself(finished: Path, bench: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "record"
    record = write_record(read_method(str(finished / "student")), folder, bench.dataset_root)
    assert json.loads((folder / "record.json").read_text())["results"] == record["results"]
    assert (record["of"], record["budget"]) == ("student", None)
    place = folder / "experiments" / "seed0"
    for mine, source in ((place, "student"), (place / "teacher", "teacher")):
        copied = {p.name: p.read_bytes() for p in (mine / "configs").iterdir()}
        saved = {p.name: p.read_bytes() for p in (finished / source / "configs").iterdir()}
        assert copied.keys() == saved.keys()
        changed = {name for name in saved if copied[name] != saved[name]}
        assert changed == ({"config_general.yaml"} if source == "student" else set())
    again = read_saved(place)
    assert again.saved_as.is_student
    assert again.teacher is not None
    assert again.teacher.folder.samefile(place / "teacher")
    labels = json.loads((place / "pseudo_labels.json").read_text())
    for scheme, facts in labels.items():
        manifest = json.loads((finished / "pseudo_labels" / f"{scheme}.json").read_text())
        assert facts == {k: manifest[k] for k in facts}
        assert {"ids_sha256", "teacher_sha256", "clusterer", "agreement"} <= {*facts}
    assert list(folder.parent.iterdir()) == [folder]
    text = "".join(p.read_text() for p in folder.rglob("*.*"))
    assert str(finished.parent) not in text
    assert str(bench.dataset_root) not in text
    assert sum(p.stat().st_size for p in folder.rglob("*.*")) < 40_000

    (run,) = record["runs"]
    state = json.loads((finished / "pipeline.json").read_text())
    assert run["data"] == state["data"]
    assert [e["packages"] for e in run["environment"]] == [
        e["packages"] for e in state["environment"]
    ]
    assert run["training"] == [
        {"stage": "teacher", "epochs": 2, "steps": 4},
        {"stage": "student", "epochs": 2, "steps": 4},
    ]
    for scheme, by_epoch in run["validation"].items():
        best = run["scores"]["val"]["separated"][MAP_AT_R][scheme]
        assert max(by_epoch.values()) == pytest.approx(best, abs=1e-6)
        assert [*by_epoch] == ["1", "2"]
        parts = run["classes"][scheme]
        # 8 letters: half of them test, half of the rest val
        assert [parts[s]["classes"] for s in ("train", "val", "test")] == [2, 2, 4]
        assert len({part["sha256"] for part in parts.values()}) == 3
    for scheme, hashes in run["weights"].items():
        models = finished / "student" / scheme / "saved_models"
        assert {"trunk", "embedder", "basis_loss"} <= {n.rsplit("_best")[0] for n in hashes}
        assert hashes == {name: sha256_of_file(models / name) for name in hashes}
    assert len(run["reproduce"]) == 5


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
    for path in (tmp_path / "run" / "student").glob("*/Test*.json"):
        path.unlink()
    with pytest.raises(ExperimentError, match=r"cannot be read: .*; expected the facts of"):
        write_record(read_method(str(tmp_path / "run" / "student")), folder, tmp_path)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(ExperimentError, match="exists; expected a new folder"):
        write_record(read_method(str(finished / "student")), folder, tmp_path)


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(SCHEMA_PATH.read_text()))


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("12 trials on val", (12, "val", "")),
        ("1 trial on val: rates alone", (1, "val", "rates alone")),
        ("0 trials: values of the paper", (0, None, "values of the paper")),
    ],
)
def test_a_budget_is_read(text: str, budget: tuple[Any, ...]) -> None:
    assert tuple(read_budget(text).values()) == budget


@pytest.mark.parametrize("text", ["", "many", "12 trials", "0 trials on val", "-1 trials on val"])
def test_a_budget_without_a_number_or_a_split_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget is .*; expected the number of trials and"):
        read_budget(text)


def test_runs_of_a_search_bring_their_budget(tmp_path: Path) -> None:
    search = tmp_path / "tuned"
    for name in ("tuned0", "tuned1", "tuned1_reproduction0", "logs"):
        (search / name / "student").mkdir(parents=True)
    for name in ("tuned0", "tuned1"):
        (search / name / "bayes_opt_parameters.yaml").touch()
    assert search_budget(search / "tuned1") is None
    (search / "search.json").write_text("{}")
    later = search / "tuned1" / "round2" / "student"
    for folder in (search / "tuned1", search / "tuned1_reproduction0" / "student", later):
        budget = search_budget(folder)
        assert budget == {"trials": 2, "split": "val", "note": "--bayes_opt_iters"}


def test_absolute_paths_are_reduced_to_names() -> None:
    content = {
        "teacher": "/a/b c/teacher",
        "words": ["--dataset_root", "/a/data", "{folder:", "/a/b/labels}", "{f: [/x/y.pth,/x/z]}"],
        "kept": ["../teacher", "a/b", "https://host/a/b", "1/2", 3, None],
    }
    assert portable(content) == {
        "teacher": "teacher",
        "words": ["--dataset_root", "data", "{folder:", "labels}", "{f: [y.pth,z]}"],
        "kept": ["../teacher", "a/b", "https://host/a/b", "1/2", 3, None],
    }


def test_a_student_without_its_teacher_is_refused(
    finished: Path, bench: Any, tmp_path: Path
) -> None:
    shutil.copytree(finished / "student", tmp_path / "alone")
    group = read_method(str(tmp_path / "alone"))
    with pytest.raises(ExperimentError, match=r"the teacher of .*alone is missing"):
        write_record(group, tmp_path / "record", bench.dataset_root)
    assert not (tmp_path / "record").exists()


def test_a_second_round_is_repeated_round_by_round(
    finished: Path, bench: Any, tmp_path: Path
) -> None:
    """Each round's commands use the folders of the one before."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.copytree(run / "student", run / "round2" / "student")
    config = run / "round2" / "student" / "configs" / "config_general.yaml"
    config.write_text(config.read_text().replace("../teacher", "../../student"))
    state = json.loads((run / "pipeline.json").read_text())
    state["plan"]["round2/student"] = state["plan"]["student"]
    state["stages"]["round2/student"] = state["stages"]["student"]
    (run / "pipeline.json").write_text(json.dumps(state))
    group = read_method(str(run / "round2" / "student"))
    (entry,) = write_record(group, tmp_path / "record", bench.dataset_root)["runs"]
    assert [training["stage"] for training in entry["training"]] == [
        "teacher", "student", "student",
    ]  # fmt: skip
    names = [command.split()[3].removeprefix("<NAME>_seed0/") for command in entry["reproduce"]]
    assert names == [
        "teacher", "teacher", "pseudo_labels", "student", "student",
        "round2/pseudo_labels", "round2/student", "round2/student",
    ]  # fmt: skip
    last = entry["reproduce"][-2]
    assert "--reproduce_results <RECORD>/experiments/seed0 " in last
    assert "--teacher_experiment experiments/<NAME>_seed0/student " in last
    assert "last_folder: experiments/<NAME>_seed0/pseudo_labels}" in last
    assert "<RECORD>/experiments/seed0/teacher/teacher" in entry["reproduce"][0]
